"""Read your own terminology (OBO, SNOMED CT or CSV), and say how two concepts of it relate."""

import re
from collections import defaultdict, deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .open_data.ontologies import clean, is_blank, parse_obo
from .tables import read_table

IS_A = "116680003"  # SNOMED CT's identifier of the relation
# SNOMED CT's identifiers of the types of description: fully specified name, synonym
DESCRIPTIONS = {"900000000000003001": "FN", "900000000000013009": "SY"}
COLUMNS = ["cui", "name", "source", "term_type"]


@dataclass(frozen=True)
class Terminology:
    """The names of a terminology and the direct parents of its concepts.

    ``names`` has the columns cui, name, source, term_type, and ``branch`` if the source has
    branches.
    """

    names: pd.DataFrame
    parents: dict[str, tuple[str, ...]]


def read_terminology(path: Path | str, columns: str = "cui,name",
                     language: str = "") -> Terminology:
    """Read an OBO file, a CSV file, or the folder of a SNOMED CT snapshot (release format 2).

    Args:
        path: a folder is read as SNOMED CT, a file that ends in ``.obo`` as OBO, any other as CSV.
        columns: the columns of the CSV file: identifier of the concept, name and, if there is one,
            identifiers of the parents with ``|`` between them. A row has one name.
        language: of the SNOMED CT names to read (languageCode), such as ``es``. Empty: English, or
            the language of the release if it has one only.

    Raises:
        FileNotFoundError: the path is missing, or a file of the release.
        ValueError: something can't be read. The message says the file, the line and what to do.

    Example:
        >>> own = read_terminology("clinic.csv", "code,label")  # doctest: +SKIP
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(
            f"{path} is missing: give an .obo file, a .csv file or the folder of an RF2 snapshot")
    if path.is_dir():
        found = _read_rf2(path, language)
    elif path.suffix.lower() == ".obo":
        found = _read_obo(path)
    else:
        found = _read_csv(path, [column.strip() for column in columns.split(",")])
    if found.names.empty:
        raise ValueError(f"{path} holds no names")
    # A source may give a concept the same name twice.
    return Terminology(found.names.drop_duplicates(ignore_index=True), found.parents)


def _utf8_lines(path: Path) -> Iterator[str]:
    # Read bytes: reading text would end a line at a carriage return inside a name.
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            try:
                yield raw.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise ValueError(f"{path} is not UTF-8 ({error.reason} in line {number}): "
                                 f"save it as UTF-8") from None


def _read_obo(path: Path) -> Terminology:
    text = "".join(_utf8_lines(path))
    rows, parents = [], {}
    for term in parse_obo(text, "", path.name):
        source = term.code.partition(":")[0]  # OBO identifiers begin with it: HP:0001250
        rows += [(term.code, name, source, tty) for name, tty, _ in term.names]
        parents[term.code] = term.parents
    return Terminology(pd.DataFrame(rows, columns=COLUMNS, dtype="str"), parents)


def _read_csv(path: Path, columns: Sequence[str]) -> Terminology:
    if len(columns) not in (2, 3):
        raise ValueError(f"columns are two or three names (identifier, name, parents), "
                         f"not {','.join(columns)!r}")
    rows: list[tuple[str, ...]] = []
    parents: dict[str, dict[str, None]] = {}  # the inner dict is a set that keeps the order
    table = read_table(path, columns)
    _, header = next(table)
    at = [header.index(column) for column in columns]
    for line, cells in table:
        cui, name, *above = (clean(cells[i]) for i in at)
        if is_blank(cui) or is_blank(name):
            empty = columns[0] if is_blank(cui) else columns[1]
            raise ValueError(f"{path}, line {line}: {empty!r} is empty")
        rows.append((cui, name, path.stem, "SY"))
        known = parents.setdefault(cui, {})
        for parent in "".join(above).split("|"):
            if parent.strip():
                known[parent.strip()] = None
    return Terminology(pd.DataFrame(rows, columns=COLUMNS, dtype="str"),
                       {cui: tuple(above) for cui, above in parents.items()})


def _read_rf2(folder: Path, language: str) -> Terminology:
    # a dictionary, not a set, so that the parents come in the order of the file in every process
    concepts = dict.fromkeys(cui for (cui,) in _rf2_rows(folder, "Concept", ["id"]))
    wanted = ["conceptId", "term", "typeId", "languageCode"]
    described = list(_rf2_rows(folder, "Description", wanted, DESCRIPTIONS))
    languages = sorted({code for *_, code in described})
    if not language:
        language = languages[0] if len(languages) == 1 else "en"
    spoken = [row for row in described if language in (row[3], row[3].partition("-")[0])]
    if not spoken:
        raise ValueError(f"{folder} holds no names in the language {language!r}; its languages "
                         f"are: {', '.join(languages)}")
    rows = []
    for cui, term, kind, _ in spoken:
        name, branch = clean(term), ""
        if cui not in concepts or is_blank(name):
            continue
        if DESCRIPTIONS[kind] == "FN":
            # A fully specified name ends with its branch: "Fever (finding)".
            if tagged := re.fullmatch(r"(.*?) \(([^()]+)\)", name):
                name, branch = tagged.groups()
        rows.append((cui, name, "SNOMEDCT", DESCRIPTIONS[kind], branch))
    names = pd.DataFrame(rows, columns=[*COLUMNS, "branch"], dtype="str")
    # Every name of a concept gets the branch of its first fully specified name.
    branches = names[names["branch"] != ""].groupby("cui")["branch"].first().to_dict()
    names["branch"] = [branches.get(cui, "") for cui in names["cui"]]
    # Relations may lead to concepts that are inactive; those have no names here.
    parents = defaultdict(list)
    for below, above in _rf2_rows(folder, "Relationship", ["sourceId", "destinationId"], [IS_A]):
        if below in concepts and above in concepts:
            parents[below].append(above)
    return Terminology(names, {cui: tuple(parents.get(cui, ())) for cui in concepts})


def _rf2_rows(folder: Path, kind: str, wanted: Sequence[str],
              types: Collection[str] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the active rows of all files of a kind, and if ``types`` are given, of these alone.

    An edition may come with extensions, and two releases may lie in one folder. Of the rows with
    the same id, the one with the newest effectiveTime counts, and it may be inactive.
    """
    # sct2_Description_UK_Edition-Snapshot-en,fr_GB_20260101.txt; a beta release begins with x
    pattern = re.compile(rf"x?sct2_{kind}_.*snapshot.*", re.IGNORECASE)
    files = sorted(path for path in folder.rglob("*")
                   if pattern.fullmatch(path.name) and path.is_file())
    for path in files:
        if not re.fullmatch(r"[-\w,]+\.txt", path.name, re.IGNORECASE):
            raise ValueError(f"{path} cannot be read as a file of the release: unpack it if it is "
                             f"packed, or remove it if it is a copy")
    if not files:
        raise FileNotFoundError(f"no sct2_{kind}_Snapshot_*.txt in {folder} or below: give the "
                                f"folder of an unpacked RF2 release; its Snapshot part is read")
    columns = ["id", "effectiveTime", "active", *wanted, *(["typeId"] if types else [])]
    newest: dict[str, tuple[str, ...]] = {}
    for path in files:
        # RF2 has no quoting, so a row is a line, and a quotation mark is part of a term.
        lines = _utf8_lines(path)
        header = next(lines, "").rstrip("\r\n").split("\t")
        missing = [column for column in columns if column not in header]
        if missing:
            raise ValueError(f"{path}, line 1: no column {missing[0]!r}: "
                             f"this isn't an RF2 file, or it is damaged")
        at = [header.index(column) for column in columns]
        for number, line in enumerate(lines, 2):
            fields = line.rstrip("\r\n").split("\t")
            if len(fields) != len(header):
                raise ValueError(f"{path}, line {number}: {len(fields)} fields instead of "
                                 f"{len(header)}; unpack the release again")
            key, *row = (fields[i] for i in at)
            if types and row[-1] not in types:
                continue  # a row keeps its type in every release
            known = newest.setdefault(key, tuple(row))
            if row[0] > known[0]:
                newest[key] = tuple(row)
            elif row[0] == known[0] and tuple(row) != known:
                raise ValueError(f"{path}, line {number}: another row of the same date has "
                                 f"the id {key}: which counts? Unpack the release again")
    for _, active, *values in newest.values():
        if active == "1":
            yield tuple(values[: len(wanted)])


def ancestors(concept: str, parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Find all concepts above ``concept``, each with its least number of IS-A steps.

    Example:
        >>> ancestors("nose", {"nose": ["face"], "face": ["body"]})
        {'nose': 0, 'face': 1, 'body': 2}
    """
    steps = {concept: 0}
    waiting = deque([concept])
    # Go breadth first, so that the first visit has the fewest steps. A circle ends, too, because
    # no concept is visited twice.
    while waiting:
        below = waiting.popleft()
        for above in parents.get(below, ()):
            if above not in steps:
                steps[above] = steps[below] + 1
                waiting.append(above)
    return steps


def relation(answer: str, gold: str,
             parents: Mapping[str, Sequence[str]]) -> tuple[str, int | None]:
    """Say in a word how ``answer`` relates to ``gold``, and count the IS-A steps between them.

    Returns:
        The first of these words that holds: same, parent, ancestor, child, descendant, sibling
        (they share a parent), elsewhere. Then the number of steps by way of the nearest common
        ancestor, or None if there is none.

    Example:
        >>> relation("face", "nose", {"nose": ["face"]})
        ('parent', 1)
    """
    above_answer, above_gold = ancestors(answer, parents), ancestors(gold, parents)
    shared = above_answer.keys() & above_gold.keys()
    if not shared:
        return "elsewhere", None
    steps = min(above_answer[concept] + above_gold[concept] for concept in shared)
    if answer == gold:
        return "same", steps
    if answer in above_gold:
        return "parent" if above_gold[answer] == 1 else "ancestor", steps
    if gold in above_answer:
        return "child" if above_answer[gold] == 1 else "descendant", steps
    if any(above_answer[concept] == above_gold[concept] == 1 for concept in shared):
        return "sibling", steps
    return "elsewhere", steps
