"""Names -> positive pairs, and the file that holds them: one ``cui||name1||name2`` a line, UTF-8.

Wherever names go in, a relation of DuckDB or a data frame does, with at least the columns cui and name; what comes
out is a relation: a query that runs when its rows are asked for, and past memory spills to disk. ``.df()`` makes it
a data frame.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

import duckdb
import pandas as pd

from ..files import whole_file
from .rrf import Names, quoted

Relation = duckdb.DuckDBPyRelation
BLANKS = "".join(c for c in map(chr, range(0x3001)) if c.isspace())
# the engine's lower() maps letter by letter; str.lower() has two more rules: the dotted I, the sigma that ends a word
LOWER = r"""CASE WHEN strlen(name) = length(name) THEN lower(name) ELSE lower(replace(CASE WHEN contains(name, 'Σ') THEN
    regexp_replace(name, '(\p{L}\p{M}*)Σ($|[^\p{L}])', '\1ς\2', 'g') ELSE name END, 'İ', 'i' || chr(775))) END"""


def select_names(names: Names, suppressed: bool = False, languages: Iterable[str] = (), sources: Iterable[str] = (),
                 term_types: Iterable[str] = (), concepts: Names | None = None, trade_names: Names | None = None,
                 lower: bool = True, min_length: int = 1, max_length: int | None = None,
                 mode: str = "fixed") -> dict[str, Relation]:
    """From the rows of :func:`.rrf.read_mrconso` to distinct (cui, name), stage by stage.

    Keeps the given LAT, SAB and TTY codes (all when empty), the concepts in the column cui of ``concepts``, lengths in
    characters, and what no source suppresses unless ``suppressed``; adds ``trade_names``
    (:func:`.rrf.read_trade_names`). Returns what is left after each stage, which the key names; the last
    is the result.
    ``mode="compat"`` writes and keeps names as the original repository: lower-cased, and nothing else.
    """
    if mode not in ("fixed", "compat"):
        raise ValueError(f"unknown mode {mode!r}; choose fixed or compat")
    names = duckdb.sql("FROM names")
    stages = {"all": names}
    if not suppressed and mode == "fixed":
        stages["not suppressed"] = names = names.filter("suppress = 'N'")
    for column, codes in {"language": languages, "source": sources, "term_type": term_types}.items():
        if codes := list(codes):
            stages[f"{column.replace('_', ' ')} {', '.join(codes)}"] = names = names.filter(
                f"{column} IN ({', '.join(map(quoted, codes))})")
    if concepts is not None:
        stages["semantic type"] = names = duckdb.sql("FROM names SEMI JOIN concepts USING (cui)")
    if trade_names is not None:
        stages["with trade names"] = names = duckdb.sql("""FROM names UNION ALL BY NAME
            SELECT t.cui, n.* EXCLUDE cui FROM names n JOIN trade_names t ON n.cui = t.names_of""")
    stages["not empty"] = names = _written(names, lower, mode)
    if min_length > 1 or max_length:
        longest = f" AND length(name) <= {max_length}" if max_length else ""
        stages["length"] = names = names.filter(f"length(name) >= {min_length}{longest}")
    return stages | {"distinct": _distinct(names)}


def clean_names(names: Names, lower: bool = True) -> Relation:
    """Distinct (cui, name) in Unicode NFC, ordered, lower-cased when ``lower`` (as for the uncased PubMedBERT).

    ``||`` inside a name would break the pair file and becomes ``|``. Of equal rows the least stays.
    """
    return _distinct(_written(names, lower, "fixed"))


def _written(names: Names, lower: bool, mode: str) -> Relation:
    if mode == "fixed":  # most names are ASCII letters and digits at both ends: nothing to do, and that is seen quickly
        names = duckdb.sql(f"""SELECT * REPLACE (CASE WHEN strlen(name) = length(name) AND NOT contains(name, '|')
            AND ascii(name) > 32 AND ascii(right(name, 1)) > 32 THEN name
            ELSE trim(nfc_normalize(regexp_replace(name, '\\|{{2,}}', '|', 'g')), '{BLANKS}|') END AS name)
            FROM names""")
    if lower or mode == "compat":
        names = duckdb.sql(f"SELECT * REPLACE ({LOWER} AS name) FROM names")
    return names.filter("name <> ''")


def _distinct(names: Names) -> Relation:
    if others := ", ".join(f'"{c}"' for c in names.columns if c not in ("cui", "name")):
        return duckdb.sql(f"""SELECT cui, name, unnest(least) FROM (
            SELECT cui, name, min(struct_pack({others})) AS least FROM names GROUP BY cui, name) ORDER BY ALL""")
    return duckdb.sql("SELECT DISTINCT cui, name FROM names ORDER BY ALL")


def ambiguous_names(names: Names) -> Relation:
    """Names that stand under several concepts: name, number of concepts, the concepts. In a batch they are
    false negatives of each other."""
    return duckdb.sql("""SELECT name, count(DISTINCT cui) AS concepts, list_sort(list(DISTINCT cui)) AS cuis FROM names
        GROUP BY name HAVING concepts > 1 ORDER BY name""")


def leave_out(names: Names, strings: Iterable[str], concepts: Iterable[str] = ()) -> Relation:
    """The names whose lower-cased string is not in ``strings`` and whose concept is not in ``concepts``:
    keeps a benchmark's test strings and held-out concepts out of training."""
    held = pd.DataFrame({"name": list(strings)}, dtype="str")  # noqa: F841 (read by the query, as all frames here)
    gone = pd.DataFrame({"cui": list(concepts)}, dtype="str")  # noqa: F841
    return duckdb.sql(f"""FROM names WHERE {LOWER} NOT IN (SELECT {LOWER} FROM held) AND cui NOT IN (FROM gone)
        ORDER BY ALL""")


def make_pairs(names: Names, max_pairs: int = 50, seed: int = 33) -> Relation:
    """All unordered pairs of names of a concept, at most ``max_pairs`` of them, drawn without replacement.

    NAACL 2021, section 3 (the cap of 50 a concept: section 4.1). Columns: cui, name1 < name2, in that order. Pairs are
    not enumerated to draw from them: the pair of rank r, in the order (0,1), (0,2), (1,2), (0,3), …, is computed
    from r, and the ranks are drawn by Floyd's algorithm (Bentley and Floyd 1987) from numbers that depend on seed
    and concept alone. So neither the order of the rows nor the number of threads changes anything.
    """
    if max_pairs < 1:
        raise ValueError(f"max_pairs is {max_pairs}: a concept needs room for one pair at least")
    number = f"(md5_number_lower('{int(seed)}|' || cui || '|' || t) % (t + 1)::UBIGINT)::BIGINT"
    return duckdb.sql(f"""
        WITH concepts AS MATERIALIZED (
            SELECT cui, list_sort(list_distinct(list(name))) AS found, len(found) * (len(found) - 1) // 2 AS pairs
            FROM names GROUP BY cui HAVING count(*) > 1),
        drawn AS (
            SELECT cui, found, unnest(range(pairs)) AS rank FROM concepts WHERE pairs <= {max_pairs} UNION ALL
            SELECT cui, found, unnest(list_reduce(
                list_transform(range(pairs - {max_pairs}, pairs), lambda t: [t, {number}]),
                lambda ranks, t: list_append(ranks, t[CASE WHEN list_contains(ranks, t[2]) THEN 1 ELSE 2 END]),
                [])) FROM concepts WHERE pairs > {max_pairs}),
        guessed AS (SELECT *, floor((sqrt(8.0 * rank + 1) + 1) / 2)::BIGINT AS g FROM drawn),
        placed AS (  -- g is j but for the rounding of the root
            SELECT *, g - (g * (g - 1) // 2 > rank)::BIGINT + (g * (g + 1) // 2 <= rank)::BIGINT AS j FROM guessed)
        SELECT cui, found[rank - j * (j - 1) // 2 + 1] AS name1, found[j + 1] AS name2 FROM placed ORDER BY ALL""")


def write_pairs(pairs: Names, path: Path | str) -> Path:
    """Write ``cui||name1||name2`` lines under a temporary name, then rename. Raises ``ValueError`` on a name that holds
    or touches ``||``, and leaves the file of before."""
    breaks = " OR ".join(["contains(line, '|||')", "contains(line, chr(10))", "contains(line, chr(13))",
                          *(f"contains({column}, '||')" for column in ("cui", "name1", "name2"))])
    lines = duckdb.sql(f"""SELECT CASE WHEN {breaks} THEN error(line) ELSE line END
        FROM (SELECT *, cui || '||' || name1 || '||' || name2 AS line FROM pairs)""")
    try:
        with whole_file(path) as partial:
            lines.write_csv(str(partial), header=False, sep="\x01", quotechar="", escapechar="")
    except duckdb.InvalidInputException as error:
        raise ValueError(f"{path}: {error} holds or touches || or a line end; use clean_names") from error
    return Path(path)


def read_pairs(path: Path | str) -> pd.DataFrame:
    """Read a pair file: cui, name1, name2. Raises ``ValueError`` with file and line number on any other line."""
    rows = [fields for _, fields in _split_lines(path, "||", "cui||name1||name2", (3, 3))]
    if not rows:
        raise ValueError(f"{path} holds no pairs: a concept needs two different names to make one")
    return pd.DataFrame(rows, columns=["cui", "name1", "name2"], dtype="str")


def read_labelled(path: Path | str) -> pd.DataFrame:
    """Names that a reader labelled, as cui, name: one ``label||name`` a line, or more names of that label after it (the
    three-field lines on which the original repository fine-tunes are such). Errors as :func:`read_pairs`."""
    lines = _split_lines(path, "||", "label||name or label||name1||name2", (2, None))
    return pd.DataFrame([(label, name) for _, (label, *names) in lines for name in names], columns=["cui", "name"],
                        dtype="str")


def read_parallel(path: Path | str, separator: str = "\t") -> pd.DataFrame:
    """A word list of two languages, one word and its translation a line, as cui, name: each line is its own concept
    (``file:line``; ACL 2021, section 3, general-domain translations). Errors as :func:`read_pairs`."""
    lines = _split_lines(path, separator, "two words with a tab or the given separator between them", (2, 2))
    stem = Path(path).stem
    return pd.DataFrame([(f"{stem}:{number}", word) for number, words in lines for word in words],
                        columns=["cui", "name"], dtype="str")


def _split_lines(path: Path | str, separator: str, form: str, count: tuple[int, int | None]) -> Iterator[tuple]:
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            try:
                fields = [field.strip() for field in raw.decode("utf-8").rstrip("\r\n").split(separator)]
            except UnicodeDecodeError as error:
                raise ValueError(f"{path}, line {number}: not UTF-8 ({error}); content: {raw[:200]!r}") from error
            if not all(fields) or len(fields) < count[0] or count[1] and len(fields) > count[1]:
                found = raw[:200].decode("utf-8", "replace")
                raise ValueError(f"{path}, line {number}: expected {form}, found {found!r}")
            yield number, fields
