"""Select and clean names: from the rows of a terminology to distinct (cui, name).

Names go in as a relation of DuckDB or as a data frame with at least the columns cui and name. What
comes out is a relation (see :mod:`.rrf`): a query that runs when its rows are asked for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd

from .rrf import Names, Relation, as_relation, quoted

# What str.strip() takes off. The engine's trim() takes off only blanks unless it is told more.
BLANKS = "".join(letter for letter in map(chr, range(0x3001)) if letter.isspace())
# The engine's lower() maps letter by letter. str.lower() has two more rules: İ becomes i and a
# combining dot, and a Σ that ends a word becomes ς, not σ. LOWER adds both. A name with as many
# bytes as letters is ASCII and needs neither; most names are.
SIGMA = r"regexp_replace(name, '(\p{L}\p{M}*)Σ($|[^\p{L}])', '\1ς\2', 'g')"
LOWER = f"""CASE WHEN strlen(name) = length(name) THEN lower(name)
    ELSE lower(replace(CASE WHEN contains(name, 'Σ') THEN {SIGMA} ELSE name END,
                       'İ', 'i' || chr(775))) END"""


@dataclass(frozen=True)
class NameFilter:
    """Which names :func:`select_names` keeps, and how it writes them."""

    suppressed: bool = False  # also keep the names that a source suppresses (SUPPRESS is not N)
    languages: Iterable[str] = ()  # LAT codes, such as ENG; all when empty
    sources: Iterable[str] = ()  # SAB codes; all when empty
    term_types: Iterable[str] = ()  # TTY codes; all when empty
    lower: bool = True  # write names in lower case
    min_length: int = 1  # in characters
    max_length: int | None = None
    # compat does what the original repository does: it lower-cases names and cleans nothing
    mode: str = "fixed"

    def __post_init__(self) -> None:
        if self.mode not in ("fixed", "compat"):
            raise ValueError(f"unknown mode {self.mode!r}; choose fixed or compat")


def select_names(names: Names, *, concepts: Names | None = None,
                 trade_names: Names | None = None, **settings: Any) -> dict[str, Relation]:
    """Select the distinct (cui, name) from the rows of :func:`.rrf.read_mrconso`, stage by stage.

    Args:
        concepts: keep only the concepts in its column cui.
        trade_names: add the trade names that :func:`.rrf.read_trade_names` found.
        settings: fields of :class:`NameFilter`, such as ``languages=["ENG"]``.

    Returns:
        A dictionary: the name of each stage and what is left after it. The last is the result.

    Raises:
        ValueError: ``mode`` is unknown.
    """
    keep = NameFilter(**settings)
    left = as_relation(names)
    stages = {"all": left}
    if not keep.suppressed and keep.mode == "fixed":
        stages["not suppressed"] = left = left.filter("suppress = 'N'")
    codes_of = {"language": keep.languages, "source": keep.sources, "term_type": keep.term_types}
    for column, wanted in codes_of.items():
        if codes := _listed(wanted):
            left = left.filter(f"{column} IN ({', '.join(map(quoted, codes))})")
            stages[f"{column.replace('_', ' ')} {', '.join(codes)}"] = left
    if concepts is not None:
        # a semi join keeps each row once, even if ``concepts`` lists its concept several times
        left = left.join(as_relation(concepts), "cui", how="semi")
        stages["semantic type"] = left
    if trade_names is not None:
        trade = as_relation(trade_names).set_alias("trade")
        taken = left.set_alias("given").join(trade, "given.cui = trade.names_of")
        # by name, because cui comes first here and may stand elsewhere in the reader's rows
        left = left.union_by_name(taken.project("trade.cui, given.* EXCLUDE cui"))
        stages["with trade names"] = left
    stages["not empty"] = left = _written(left, keep.lower, keep.mode)
    if keep.min_length > 1 or keep.max_length:
        left = left.filter(f"length(name) >= {keep.min_length}")
        if keep.max_length:
            left = left.filter(f"length(name) <= {keep.max_length}")
        stages["length"] = left
    return stages | {"distinct": _distinct(left)}


def _listed(items: Iterable[str]) -> list[str]:
    # list() would take a plain string letter by letter
    return [items] if isinstance(items, str) else list(items)


def clean_names(names: Names, lower: bool = True) -> Relation:
    """Write names in Unicode NFC and return the distinct (cui, name), sorted.

    A ``||`` inside a name would break the pair file, so it becomes ``|``. Where several rows have
    the same cui and name, the one that sorts first stays.

    Args:
        lower: write names in lower case, as the uncased PubMedBERT needs.

    Example:
        >>> clean_names(pd.DataFrame({"cui": "C1", "name": ["Fever", "fever "]})).fetchall()
        [('C1', 'fever')]
    """
    return _distinct(_written(as_relation(names), lower, "fixed"))


def _written(names: Relation, lower: bool, mode: str) -> Relation:
    """Write every name as the mode wants it, and leave out the names that are then empty."""
    if mode == "fixed":
        # Most names are ASCII, have no bar, and begin and end with a visible character. They need
        # no cleaning, and the first branch finds that out quickly.
        names = names.project(f"""* REPLACE (
            CASE WHEN strlen(name) = length(name) AND NOT contains(name, '|')
                      AND ascii(name) > 32 AND ascii(right(name, 1)) > 32 THEN name
            ELSE trim(nfc_normalize(regexp_replace(name, '\\|{{2,}}', '|', 'g')), '{BLANKS}|')
            END AS name)""")
    if lower or mode == "compat":
        names = names.project(f"* REPLACE ({LOWER} AS name)")
    return names.filter("name <> ''")


def _distinct(names: Relation) -> Relation:
    others = [f'"{column}"' for column in names.columns if column not in ("cui", "name")]
    if not others:
        return names.project("cui, name").distinct().order("ALL ASC")
    # Taking the minimum of one struct, not of each column, keeps the values of a row together.
    least = f"cui, name, min(struct_pack({', '.join(others)})) AS least"
    return names.aggregate(least, "cui, name").project("cui, name, unnest(least)").order("ALL ASC")


def ambiguous_names(names: Names) -> Relation:
    """Find the names that belong to several concepts.

    In a batch they are false negatives of each other.

    Returns:
        The columns name, concepts (how many) and cuis (a sorted list).
    """
    cuis = "name, count(DISTINCT cui) AS concepts, list_sort(list(DISTINCT cui), 'ASC') AS cuis"
    return as_relation(names).aggregate(cuis, "name").filter("concepts > 1").order("name ASC")


def leave_out(names: Names, strings: Iterable[str], concepts: Iterable[str] = ()) -> Relation:
    """Leave out the given strings, whatever their case, and all names of the given concepts.

    Use it to keep the test strings and the held-out concepts of a benchmark out of training.
    """
    held = pd.DataFrame({"name": _listed(strings)}, dtype="str")
    gone = pd.DataFrame({"cui": _listed(concepts)}, dtype="str")
    lowered = as_relation(held).project(f"{LOWER} AS lowered")
    # An anti join, not NOT IN: a missing value among the strings would make NOT IN drop every name.
    left = as_relation(names).join(lowered, f"{LOWER} = lowered", how="anti")
    return left.join(as_relation(gone), "cui", how="anti").order("ALL ASC")
