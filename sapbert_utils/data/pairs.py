"""Turn names into positive pairs, and keep the pairs in a file: ``cui||name1||name2``, UTF-8."""

import codecs
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import duckdb
import numpy as np
import pandas as pd

from ..files import whole_file
from .names import BLANKS
from .rrf import Names, Relation, as_relation, whole_lines

PAIR = ["cui", "name1", "name2"]


def make_pairs(names: Names, max_pairs: int = 50, seed: int = 33) -> Relation:
    """Pair the names of each concept: all pairs, or ``max_pairs`` of them drawn at random.

    Pairs and the limit of 50 a concept are those of NAACL 2021. The draw depends only on the seed
    and the concept, not on the order of the rows or the number of threads.

    (1) Rank the pairs of a concept: (0,1) has rank 0, (0,2) 1, (1,2) 2, (0,3) 3, and so on.
    (2) Draw ranks without replacement by Floyd's algorithm (Bentley and Floyd 1987).
    (3) Compute each pair from its rank, so that a large concept never lists all its pairs.

    Returns:
        The columns cui, name1 and name2, sorted in that order; name1 < name2.

    Raises:
        ValueError: ``max_pairs`` is below one.

    Example:
        >>> make_pairs(pd.DataFrame({"cui": "C1", "name": ["flu", "grippe", "flu"]})).fetchall()
        [('C1', 'flu', 'grippe')]
    """
    if max_pairs < 1:
        raise ValueError(f"max_pairs is {max_pairs}: a concept needs room for at least one pair")
    # The different names of each concept, and how many pairs they have.
    concepts = """
        SELECT cui, list_sort(list_distinct(list(name)), 'ASC') AS found,
               len(found) * (len(found) - 1) // 2 AS pairs
        FROM names GROUP BY cui HAVING count(*) > 1"""
    # A concept with max_pairs pairs or fewer gets them all.
    every = f"""
        SELECT cui, found, unnest(range(pairs)) AS rank FROM concepts WHERE pairs <= {max_pairs}"""
    # A larger concept gets Floyd's draw. For each of the last max_pairs ranks t, draw a number from
    # 0 to t and add it to the ranks; if it is there already, add t, which can't be there yet.
    # The number comes from MD5, so it is the same on every machine and in every version.
    number = f"(md5_number_lower('{int(seed)}|' || cui || '|' || t) % (t + 1)::UBIGINT)::BIGINT"
    floyd = f"""
        SELECT cui, found, unnest(list_reduce(
            list_transform(range(pairs - {max_pairs}, pairs), lambda t: [t, {number}]),
            lambda ranks, t: list_append(
                ranks, CASE WHEN list_contains(ranks, t[2]) THEN t[1] ELSE t[2] END), [])) AS rank
        FROM concepts WHERE pairs > {max_pairs}"""
    # The pair of the names i < j has the rank j (j - 1) / 2 + i. Solve this for j. The square root
    # is rounded, so the guess may be too high or too low by one.
    guessed = "SELECT *, floor((sqrt(8.0 * rank + 1) + 1) / 2)::BIGINT AS guess FROM drawn"
    too_high, too_low = "guess * (guess - 1) // 2 > rank", "guess * (guess + 1) // 2 <= rank"
    placed = f"SELECT *, guess - ({too_high})::BIGINT + ({too_low})::BIGINT AS j FROM guessed"
    # The lists of DuckDB count from 1.
    query = f"""
        WITH concepts AS MATERIALIZED ({concepts}), drawn AS ({every} UNION ALL {floyd}),
             guessed AS ({guessed}), placed AS ({placed})
        SELECT cui, found[rank - j * (j - 1) // 2 + 1] AS name1, found[j + 1] AS name2
        FROM placed ORDER BY ALL ASC"""
    # Here "names" means the given names only, even if the reader has a table of that name.
    return cast(Relation, as_relation(names).query("names", query))


def write_pairs(pairs: Names, path: Path | str) -> Path:
    """Write the lines ``cui||name1||name2``, and return the path of the file.

    Raises:
        ValueError: a name is missing, holds or touches ``||``, or holds a line end. An older file
            then stays.
        OSError: the disk is full. An older file stays then, too.
    """
    # a missing value makes the whole line NULL
    breaks = ["line IS NULL", "contains(line, '|||')", "contains(line, chr(10))",
              "contains(line, chr(13))", *(f"contains({column}::VARCHAR, '||')" for column in PAIR)]
    lines = as_relation(pairs).project("*, cui || '||' || name1 || '||' || name2 AS line")
    shown = f"error(concat_ws('||', {', '.join(PAIR)}))"
    checked = lines.project(f"CASE WHEN {' OR '.join(breaks)} THEN {shown} ELSE line END")
    try:
        with whole_file(path) as partial:
            checked.write_csv(str(partial), header=False, sep="\x01", quotechar="", escapechar="")
    except duckdb.InvalidInputException as error:
        raise ValueError(
            f"{path}: {error} contains or touches || or a line end, or lacks a value; "
            f"use clean_names") from error
    return Path(path)


def read_pairs(path: Path | str) -> pd.DataFrame:
    """Read a pair file as a data frame with the columns cui, name1 and name2.

    Raises:
        ValueError: a line isn't three fields in UTF-8, or the file is empty. The message says the
            file, the line number and what the line holds.
    """
    try:
        pairs = _read_fast(path)
    except duckdb.Error:
        # A line doesn't fit. Python finds it, or reads a file that only the engine refuses, such
        # as one with mixed line ends.
        lines = _split_lines(path, "||", "cui||name1||name2", 3, 3)
        pairs = pd.DataFrame([fields for _, fields in lines], columns=PAIR, dtype="str")
    if pairs.empty:
        raise ValueError(f"{path} holds no pairs: a concept needs two different names to make one")
    return pairs


def _read_fast(path: Path | str) -> pd.DataFrame:
    """Read a pair file with the engine, which raises ``duckdb.Error`` if any line doesn't fit."""
    # Trim only what begins or ends with white space, because trim() is slow.
    edge = f"contains('{BLANKS}', field[1]) OR contains('{BLANKS}', field[-1])"
    trimmed = f"CASE WHEN {edge} THEN trim(field, '{BLANKS}') ELSE field END"
    split = f"list_transform(string_split(line, '||'), lambda field: {trimmed})"
    # An empty line is NULL to the engine; coalesce makes it a line that doesn't fit.
    fits = "coalesce(len(f) = 3 AND NOT list_contains(f, ''), false)"
    query = f"""
        SELECT CASE WHEN {fits} THEN f[1] ELSE error('a line does not fit') END AS cui,
               f[2] AS name1, f[3] AS name2
        FROM (SELECT {split} AS f FROM {whole_lines([Path(path)])})"""
    parts = {column: [np.array([], dtype=object)] for column in PAIR}
    # A relation can't hand out its rows in chunks, so this query has a connection of its own.
    with duckdb.connect() as engine:
        rows = engine.execute(query)
        while len(chunk := rows.fetch_df_chunk(10)):  # about 20,000 rows
            # Keep equal strings once, or the frame takes three times the memory. The pairs of a
            # concept are neighbours in the file, so looking within a chunk is enough.
            pool: dict[str, str] = {}
            for column, part in parts.items():
                strings = chunk[column].tolist()
                shared = list(map(pool.setdefault, strings, strings))
                part.append(np.array(shared, dtype=object))
    columns = {column: np.concatenate(part) for column, part in parts.items()}
    return pd.DataFrame(columns, dtype="str")


def read_labelled(path: Path | str) -> pd.DataFrame:
    """Read names with your own labels, one ``label||name`` a line, as the columns cui and name.

    A line may hold several names of its label; the original repository fine-tunes on such lines.
    Raises the errors of :func:`read_pairs`.
    """
    lines = _split_lines(path, "||", "label||name or label||name1||name2", 2, None)
    rows = []
    for number, (label, *names) in lines:
        if any("\r" in field for field in (label, *names)):
            raise ValueError(f"{path}, line {number}: a carriage return inside the line may hide "
                             f"the end of another; save the file with one line end for all lines")
        rows += [(label, name) for name in names]
    return pd.DataFrame(rows, columns=["cui", "name"], dtype="str")


def read_parallel(path: Path | str, separator: str = "\t") -> pd.DataFrame:
    """Read words and their translations, one pair a line, as the columns cui and name.

    Each line becomes a concept of its own, called ``file:line``. ACL 2021 trains on
    such general-domain translations. Raises the errors of :func:`read_pairs`.
    """
    form = "two words with a tab or the given separator between them"
    lines = _split_lines(path, separator, form, 2, 2)
    stem = Path(path).stem
    rows = [(f"{stem}:{number}", word) for number, words in lines for word in words]
    return pd.DataFrame(rows, columns=["cui", "name"], dtype="str")


def _split_lines(path: Path | str, separator: str, form: str, least: int,
                 most: int | None) -> Iterator[tuple[int, list[str]]]:
    """Yield the number (from 1) and the fields of each line, without white space around them."""
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            if number == 1:  # some editors begin a file with a byte order mark
                raw = raw.removeprefix(codecs.BOM_UTF8)
            try:
                text = raw.decode("utf-8").rstrip("\r\n")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number}: not UTF-8 ({error}); "
                                 f"content: {raw[:200]!r}") from error
            fields = [field.strip() for field in text.split(separator)]
            too_many = most is not None and len(fields) > most
            if len(fields) < least or too_many or not all(fields):
                raise ValueError(f"{path}, line {number}: expected {form}, found {text[:200]!r}")
            yield number, fields
