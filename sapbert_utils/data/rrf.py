"""Read files in the UMLS's Rich Release Format (RRF): names, trade names, semantic types.

A licensed UMLS release and the open metathesaurus take the same path: both are a folder that holds
``MRCONSO.RRF`` (18 fields, each followed by ``|``; UTF-8; no quoting; UMLS Reference Manual,
chapter 3).

The readers return *relations* of DuckDB, the query engine. A relation is a query: it runs when its
rows are asked for, and it spills to disk if it needs more memory than :func:`limit_memory` allows.
``.df()`` turns it into a data frame. Functions that take a relation take a data frame, too.
"""

import glob
import itertools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

import duckdb
import pandas as pd

from .rrf_parts import copied, ends_a_line, find_rrf, joined, numbered

MRCONSO_FIELDS = (
    "CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF".split())
MRREL_FIELDS = (
    "CUI1 AUI1 STYPE1 REL CUI2 AUI2 STYPE2 RELA RUI SRUI SAB SL RG DIR SUPPRESS CVF".split())
MRSTY_FIELDS = "CUI TUI STN STY ATUI CVF".split()
FIELDS = {"MRCONSO.RRF": MRCONSO_FIELDS, "MRREL.RRF": MRREL_FIELDS, "MRSTY.RRF": MRSTY_FIELDS}
COLUMNS = {"cui": "CUI", "name": "STR", "language": "LAT", "source": "SAB", "term_type": "TTY",
           "code": "CODE", "suppress": "SUPPRESS", "view": "CVF"}
# A CUI of the UMLS. The open metathesaurus also has codes of its sources, such as ICD10:A00.
CUI = r"C\d{7}|[A-Za-z]\w*:[^|\s]+"
LONGEST = 2_000_000  # bytes of a line
TABLES = itertools.count()  # numbers for the engine's tables, one for each file that is read

Relation = duckdb.DuckDBPyRelation
Names: TypeAlias = Relation | pd.DataFrame


def as_relation(names: Names) -> Relation:
    """Turn a data frame into a relation, and return a relation as it is.

    A query could also name the Python variable of a data frame. But if the reader has a table of
    that name, DuckDB takes the table. So the queries of this package start from relations.
    """
    return duckdb.from_df(names) if isinstance(names, pd.DataFrame) else names


def read_mrconso(folder: Path | str, on_bad_line: str = "stop") -> Relation:
    """Read all names of ``folder/MRCONSO.RRF``, in the order of the file.

    The file may be gzipped or split (:func:`find_rrf`). It is read and checked once, and the engine
    keeps the rows until the process ends.

    Args:
        on_bad_line: what to do with a line that isn't 18 fields in UTF-8 with a CUI. ``stop``
            raises an error. ``skip`` leaves the line out; :func:`bad_lines` then lists it.

    Returns:
        The columns cui, name, language, source, term_type, code, suppress and view (CVF).

    Raises:
        FileNotFoundError: the file or a part of it is missing.
        ValueError: a line is bad. The message says the file, the line number and what it holds.

    Example:
        >>> names = read_mrconso("2020AA/META")  # doctest: +SKIP
        >>> english = names.filter("language = 'ENG'").df()  # doctest: +SKIP
    """
    return _read(folder, "MRCONSO.RRF", COLUMNS, on_bad_line)


def read_trade_names(folder: Path | str, compat: bool = False,
                     on_bad_line: str = "stop") -> pd.DataFrame:
    """Read from ``folder/MRREL.RRF`` which concepts share the names of which trade names.

    The rows are the relations has_tradename and tradename_of (RELA). The file holds each of them
    in both directions. Raises the errors of :func:`read_mrconso`.

    Args:
        compat: select as the original repository does: take every line that contains one of the
            two words, and of the lines of a concept the last one.
        on_bad_line: as in :func:`read_mrconso`.

    Returns:
        The columns cui and names_of: the concept ``cui`` takes the names of ``names_of``.
    """
    columns = {"cui": "CUI1", "names_of": "CUI2", "relation": "RELA"}
    where = "contains(line, 'has_tradename') OR contains(line, 'tradename_of')"
    lines = _read(folder, "MRREL.RRF", columns, on_bad_line, where)
    if compat:
        found = lines.project("cui, names_of").df()
        return found.drop_duplicates("cui", keep="last", ignore_index=True)
    trade = lines.filter("relation IN ('has_tradename', 'tradename_of')")
    return trade.project("cui, names_of").distinct().df()


def read_semantic_types(folder: Path | str, on_bad_line: str = "stop") -> Relation:
    """Read ``folder/MRSTY.RRF``: cui, tui (such as ``T047``), semantic_type (its name).

    Raises the errors of :func:`read_mrconso`.
    """
    columns = {"cui": "CUI", "tui": "TUI", "semantic_type": "STY"}
    return _read(folder, "MRSTY.RRF", columns, on_bad_line)


class BadLine(NamedTuple):
    """A line of an RRF file that doesn't fit, and why."""

    path: Path
    number: int  # from 1, in that file
    reason: str
    content: str


def bad_lines(folder: Path | str, name: str) -> Iterator[BadLine]:
    """List the lines of an RRF file that don't fit, in the order of the file."""
    for path, number, raw in numbered(find_rrf(folder, name)):
        if reason := _reason(raw, name):
            content = raw[:200].decode("utf-8", "backslashreplace").rstrip("\r\n")
            yield BadLine(path, number, reason, content)


def _reason(raw: bytes, name: str) -> str:
    """Say why a line doesn't fit; empty if it fits."""
    if len(raw) > LONGEST:
        return f"{len(raw):,} bytes long, where the engine reads at most {LONGEST:,}"
    try:
        text = raw.decode("utf-8").removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        return f"not UTF-8 ({error})"
    fields, wanted = text.split("|"), len(FIELDS[name])
    if len(fields) != wanted + 1 or fields[-1]:  # the last | leaves an empty field behind it
        return f"{len(fields) - 1} fields where {name} has {wanted}, each closed by |"
    if not re.fullmatch(CUI, fields[0], re.ASCII):
        return f"{fields[0]!r} is not a CUI (C and seven digits)"
    if "\r" in text or "\x01" in text:  # the engine would end the line or the column there
        return "a carriage return or \\x01 inside the line"
    return ""


def _read(folder: Path | str, name: str, columns: dict[str, str], on_bad_line: str,
          where: str = "true") -> Relation:
    if on_bad_line not in ("stop", "skip"):
        raise ValueError(f"unknown on_bad_line {on_bad_line!r}; choose stop or skip")
    parts = find_rrf(folder, name)
    if on_bad_line == "skip":
        return _kept(_fitting(parts, name), name, columns, where)
    try:
        # The engine reads every file by itself, so parts that end inside a line are joined first.
        whole = all(ends_a_line(part) for part in parts[:-1])
        return _kept(parts if whole else [joined(parts)], name, columns, where)
    except (duckdb.Error, EOFError, OSError, ValueError) as error:
        # The engine can't always say which line is bad, so read again, line by line.
        if bad := next(bad_lines(folder, name), None):
            raise ValueError(
                f"{bad.path}, line {bad.number}: {bad.reason}; content: {bad.content!r}. "
                f"Fix the line, or leave such lines out with on_bad_line=skip") from error
    # No line is at fault. The engine may want the same end of all lines, which a copy gives it.
    try:
        return _kept(_fitting(parts, name), name, columns, where)
    except (duckdb.Error, OSError, ValueError) as error:  # no room to keep the table, say
        raise ValueError(f"{Path(folder) / name} cannot be read ({error})") from error


def _kept(paths: Sequence[Path], name: str, columns: dict[str, str], where: str) -> Relation:
    """Let the engine read the wanted lines into a table. Raises ``ValueError`` on a bad line."""
    table = f"temp.sapbert_rrf_{next(TABLES)}"
    try:
        duckdb.sql(f"CREATE TEMP TABLE {table} AS {_query(paths, name, columns, where)}")
        # The table holds the wanted lines and the bad ones.
        if len(duckdb.table(table).filter("NOT fits").limit(1)):
            raise ValueError("a line does not fit")
    except (duckdb.Error, ValueError):
        duckdb.sql(f"DROP TABLE IF EXISTS {table}")
        raise
    return duckdb.table(table).project("* EXCLUDE fits")


def _fitting(parts: Sequence[Path], name: str) -> list[Path]:
    """Copy the lines that fit into a temporary file, each with a line feed at its end."""
    return [copied(raw.removesuffix(b"\n").removesuffix(b"\r") + b"\n"
                   for _, _, raw in numbered(parts) if not _reason(raw, name))]


def _query(paths: Sequence[Path], name: str, columns: dict[str, str], where: str) -> str:
    """Write the query that splits the wanted lines into fields and marks those that don't fit."""
    last = len(FIELDS[name]) + 1  # the last | leaves an empty field behind it
    chosen = ", ".join(f"f[{FIELDS[name].index(field) + 1}] AS {column}"
                       for column, field in columns.items())
    # An empty line is NULL to the engine; coalesce makes it a line that doesn't fit.
    fits = f"len(f) = {last} AND f[{last}] = '' AND regexp_full_match(f[1], '{CUI}')"
    return f"""
        SELECT {chosen}, coalesce({fits}, false) AS fits
        FROM (SELECT line, string_split(line, '|') AS f FROM {whole_lines(paths)})
        WHERE NOT fits OR ({where})"""


def whole_lines(paths: Sequence[Path]) -> str:
    r"""Write the table expression that reads files as one column ``line``.

    The engine then splits and checks lines that are exactly as the file has them. It refuses a file
    with a line that isn't UTF-8, that ends unlike the others, that is longer than 2,000,000 bytes,
    or that holds \x01, which it takes for the end of a column.
    """
    files = ", ".join(quoted(glob.escape(str(path))) for path in paths)
    return f"""read_csv([{files}], columns = {{line: 'VARCHAR'}}, delim = '\x01', quote = '',
        escape = '', header = false, auto_detect = false)"""


def limit_memory(gigabytes: float, spill: Path | str) -> None:
    """Limit the engine's memory (in units of 10**9 bytes); the rest goes to folder ``spill``."""
    duckdb.sql(f"SET memory_limit = '{gigabytes} GB'")
    duckdb.sql(f"SET temp_directory = {quoted(str(spill))}")


def quoted(text: str) -> str:
    """Write ``text`` as an SQL string."""
    return "'" + text.replace("'", "''") + "'"
