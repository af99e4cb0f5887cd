"""A terminology of your own: OBO, SNOMED CT (RF2) or CSV -> names and a hierarchy; how two concepts stand in it."""

import csv
import re
from collections import defaultdict, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from .open_data.ontologies import clean, parse_obo

IS_A = "116680003"  # SNOMED CT's identifiers of the relation and of the two types of description
DESCRIPTIONS = {"900000000000003001": "FN", "900000000000013009": "SY"}  # fully specified name, synonym


@dataclass(frozen=True)
class Terminology:
    """Names (columns cui, name, source, term_type, and ``branch`` where the source has one), and direct parents."""

    names: pd.DataFrame
    parents: dict[str, tuple[str, ...]]


def read_terminology(path: Path | str, columns: str = "cui,name", language: str = "en") -> Terminology:
    """Read an OBO file, a CSV file, or the folder of a SNOMED CT snapshot in release format 2, by what ``path`` is.

    ``columns``: of a CSV file with one name a row, the columns of the concept's identifier and of the name, and, if it
    has one, of the parents' identifiers (joined by ``|``). ``language``: of a SNOMED CT release's descriptions. Raises
    ``FileNotFoundError`` or ``ValueError`` that says the file, the line and what to do.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: give an .obo file, a .csv file or the folder of an RF2 snapshot")
    try:
        if path.is_dir():
            found = _read_rf2(path, language)
        elif path.suffix.lower() == ".obo":
            found = _read_obo(path)
        else:
            found = _read_csv(path, [c.strip() for c in columns.split(",")])
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not UTF-8 ({error.reason} at byte {error.start}): save it as UTF-8") from None
    if found.names.empty:
        raise ValueError(f"{path} holds no names")
    return Terminology(found.names.drop_duplicates(ignore_index=True), found.parents)


def _read_obo(path: Path) -> Terminology:
    terms = list(parse_obo(path.read_text(encoding="utf-8-sig"), "", path.name))
    rows = [(t.code, name, t.code.partition(":")[0], tty) for t in terms for name, tty, _ in t.names]
    return Terminology(pd.DataFrame(rows, columns=["cui", "name", "source", "term_type"], dtype="str"),
                       {t.code: t.parents for t in terms})


def _read_csv(path: Path, columns: Sequence[str]) -> Terminology:
    if len(columns) not in (2, 3):
        raise ValueError(f"columns are two or three names (identifier, name, parents), not {','.join(columns)!r}")
    rows, parents = [], defaultdict(dict)
    with open(path, encoding="utf-8-sig", newline="") as file:
        lines = csv.reader(file)
        header = next(lines, [])
        missing = [c for c in columns if c not in header]
        if missing:
            raise ValueError(f"{path}, line 1: no column {missing[0]!r}; the columns are: {', '.join(header)}")
        at = [header.index(c) for c in columns]
        for fields in filter(None, lines):
            if len(fields) != len(header):
                raise ValueError(f"{path}, line {lines.line_num}: {len(fields)} fields in place of {len(header)}")
            cui, name, *above = (clean(fields[i]) for i in at)
            if not cui or not name:
                raise ValueError(f"{path}, line {lines.line_num}: {columns[0 if name else 1]!r} is empty")
            rows.append((cui, name, path.stem, "SY"))
            parents[cui] |= dict.fromkeys(p.strip() for p in "".join(above).split("|") if p.strip())
    return Terminology(pd.DataFrame(rows, columns=["cui", "name", "source", "term_type"], dtype="str"),
                       {cui: tuple(above) for cui, above in parents.items()})


def _read_rf2(folder: Path, language: str) -> Terminology:
    concepts = {cui for cui, in _rf2_rows(folder, "Concept", ["id"])}
    rows = []
    for cui, term, kind in _rf2_rows(folder, "Description", ["conceptId", "term", "typeId"], f"-{language}"):
        if cui in concepts and kind in DESCRIPTIONS:
            name, branch = re.fullmatch(r"(.*?)(?: \(([^()]+)\))?", clean(term)).groups()  # "Fever (finding)"
            specified = DESCRIPTIONS[kind] == "FN"
            rows.append((cui, name if specified else clean(term), "SNOMEDCT", DESCRIPTIONS[kind],
                         (branch or "") if specified else ""))
    names = pd.DataFrame(rows, columns=["cui", "name", "source", "term_type", "branch"], dtype="str")
    names["branch"] = names["cui"].map(names[names["branch"] != ""].groupby("cui")["branch"].first()).fillna("")
    parents = defaultdict(list)
    for below, above, kind in _rf2_rows(folder, "Relationship", ["sourceId", "destinationId", "typeId"]):
        if kind == IS_A and {below, above} <= concepts:
            parents[below].append(above)
    return Terminology(names, {cui: tuple(parents.get(cui, ())) for cui in concepts})


def _rf2_rows(folder: Path, kind: str, wanted: Sequence[str], language: str = "") -> Iterator[tuple[str, ...]]:
    """The wanted columns of the active lines of the snapshot's files of a kind (an edition and its extensions)."""
    pattern = f"sct2_{kind}_Snapshot{language}_*.txt"
    files = sorted(folder.rglob(pattern))
    if not files:
        raise FileNotFoundError(f"no {pattern} in {folder} or below: give the folder of an unpacked RF2 release; its "
                                f"Snapshot part is read")
    for path in files:
        with open(path, encoding="utf-8-sig", newline="\n") as lines:
            header = next(lines, "").rstrip("\r\n").split("\t")
            missing = [c for c in ("active", *wanted) if c not in header]
            if missing:
                raise ValueError(f"{path}, line 1: no column {missing[0]!r}: this is no RF2 file, or a damaged one")
            active, at = header.index("active"), [header.index(c) for c in wanted]
            for number, line in enumerate(lines, 2):
                fields = line.rstrip("\r\n").split("\t")
                if len(fields) != len(header):
                    raise ValueError(f"{path}, line {number}: {len(fields)} fields in place of {len(header)}; unpack "
                                     f"the release again")
                if fields[active] == "1":
                    yield tuple(fields[i] for i in at)


def ancestors(concept: str, parents: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """All concepts above ``concept`` with their least number of IS-A steps from it; itself at 0."""
    steps, waiting = {concept: 0}, deque([concept])
    while waiting:
        below = waiting.popleft()
        for above in parents.get(below, ()):
            if above not in steps:
                steps[above] = steps[below] + 1
                waiting.append(above)
    return steps


def relation(answer: str, gold: str, parents: Mapping[str, Sequence[str]]) -> tuple[str, int | None]:
    """How ``answer`` stands to ``gold``, in a word, and the IS-A steps between them over their nearest common ancestor.

    same, parent, child, ancestor, descendant, sibling (they share a parent), elsewhere; ``None`` steps without any
    common ancestor. Where several hold, the first of them is said.
    """
    up, right = ancestors(answer, parents), ancestors(gold, parents)
    shared = up.keys() & right.keys()
    if not shared:
        return "elsewhere", None
    steps = min(up[c] + right[c] for c in shared)
    if answer in right:
        return {0: "same", 1: "parent"}.get(right[answer], "ancestor"), steps
    if gold in up:
        return "child" if up[gold] == 1 else "descendant", steps
    return "sibling" if any(up[c] == right[c] == 1 for c in shared) else "elsewhere", steps
