"""Say which strings and concepts training must not see, and how benchmarks are split."""

import hashlib

from .open_data.ontologies import LAYPERSON, read_hpo, read_icd10


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


def held_out_icd10() -> tuple[set[str], set[str]]:
    """Return the names (in lower case) and the codes of the dev and test blocks of ICD-10.

    Cross-lingual training must not see them.
    """
    held = [term for term in read_icd10() if icd10_part(term.code) != "train"]
    names = {name.lower() for term in held for name, _, _ in term.names}
    return names, {term.code for term in held}
