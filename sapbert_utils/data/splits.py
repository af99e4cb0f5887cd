"""Say which strings and concepts training must not see, and how benchmarks are split."""

import hashlib
from collections.abc import Iterable

from .open_data.ontologies import LAYPERSON, Term, read_hpo, read_icd10
from .open_data.vocabularies import VOCABULARIES, semantic_types
from .rrf import Names, as_relation, quoted


def stable_hash(text: str) -> int:
    """Return a number from 0 to 2^64 - 1 that depends on ``text`` alone, for splits and slices.

    Python's own ``hash`` gives a string another number in every process.
    """
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def is_dev(concept: str) -> bool:
    """Say whether a concept of the HPO benchmark is dev (20 %) rather than test (80 %)."""
    return stable_hash(concept) % 5 == 0


def layperson_strings() -> set[str]:
    """Return HPO's layperson synonyms in lower case: they test the model and must not train it."""
    return {name.lower() for term in read_hpo()
            for name, term_type, _ in term.names if term_type == LAYPERSON}


def icd10_part(code: str) -> str:
    """Return the part of an ICD-10 code: ``test``, ``dev`` or ``train``.

    One three-character block in ten is test, and one in ten is dev.
    """
    # The codes of a block are near-duplicates of each other, so the block decides, not the code.
    return {0: "test", 1: "dev"}.get(stable_hash(f"block {code[:3]}") % 10, "train")


def part_of(term: Term) -> str:
    """Return the part of a term that may be asked for: ``test``, ``dev`` or ``train``.

    In ICD-10 and ICD-11, one block in ten is test and one in ten is dev. Among MeSH's records of
    chemicals with several names, one in a hundred is test and one in a hundred is dev. Among the
    few essential medicines, and the substances with brands, three fifths are test and one fifth is
    dev.
    """
    if term.source == "ICD10":
        return icd10_part(term.code)
    if term.source == "ICD11":  # a block has one stem, the part before the dot
        return _drawn(f"stem {term.code.partition('.')[0]}", 10, 10)
    if term.source == "MSH":
        chemical = {semantic_types()[tui][0] for tui in term.types} == {"CHEM"}
        asked = chemical and term.code.startswith("C") and len(term.names) > 1
        return _drawn(f"record {term.code}", 1, 1) if asked else "train"
    return _drawn(f"{term.source} {term.brand_of or term.code}", 60, 20)


def _drawn(key: str, test: int, dev: int) -> str:
    """Draw a part: ``test`` and ``dev`` are percentages."""
    number = stable_hash(key) % 100
    return "test" if number < test else "dev" if number < test + dev else "train"


# What the benchmarks ask for, by the language of the model that they test.
ENGLISH = ("MSH-NM", "DRUGS")
MULTILINGUAL = ("ICD10", "ICD11", "WHOEML")
READERS = VOCABULARIES | {"ICD10": read_icd10}


def held_out(benchmarks: Iterable[str]) -> tuple[set[str], set[tuple[str, str]]]:
    """Return what training must not see: names in lower case, and (source, code).

    They are the dev and test terms of the benchmarks, in every language. For drugs, only the brands
    are held out, because training may see all other names of a substance.

    Args:
        benchmarks: some of :data:`ENGLISH` and :data:`MULTILINGUAL`.
    """
    held = [term for name in benchmarks for term in READERS[name]()
            if (term.brand_of or name != "DRUGS") and part_of(term) != "train"]
    return ({name.lower() for term in held for name, _, _ in term.names},
            {(term.source, term.code) for term in held})


def concepts_of(names: Names, codes: set[tuple[str, str]]) -> set[str]:
    """Return the concepts that carry one of the codes (source, code).

    For ICD-10, the block of a code decides: a release may have codes of that block that are not in
    ``codes``, and it writes them with a dot.
    """
    sources = ", ".join(quoted(source) for source in sorted({source for source, _ in codes}))
    blocks = {code[:3] for source, code in codes if source == "ICD10"}
    found = as_relation(names).filter(f"source IN ({sources or 'NULL'})")
    return {cui for cui, source, code in found.project("cui, source, code").distinct().fetchall()
            if (source, code) in codes or source == "ICD10" and code[:3] in blocks}
