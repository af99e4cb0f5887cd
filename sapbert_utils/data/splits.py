"""Which strings and concepts are held out of training, and which part of a benchmark a concept belongs to."""

import hashlib

from .open_data.ontologies import LAYPERSON, read_hpo, read_icd10


def stable_hash(text: str) -> int:
    """A number from 0 to 2^64 - 1 that depends on ``text`` alone, not on the process: for splits and fixed slices."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def is_dev(concept: str) -> bool:
    """The fixed split by concept of the HPO benchmark: 20 % dev, 80 % test."""
    return stable_hash(concept) % 5 == 0


def layperson_strings() -> set[str]:
    """All HPO layperson synonyms, lower-cased: what must stay out of training."""
    return {name.lower() for term in read_hpo() for name, term_type, _ in term.names if term_type == LAYPERSON}


def icd10_part(code: str) -> str:
    """``test``, ``dev`` or ``train``: the part of an ICD-10 code, the same for all codes of a three-character block.

    One block in ten is test and one in ten dev. Siblings within a block are near-duplicates, so they stay together.
    """
    return {0: "test", 1: "dev"}.get(stable_hash(f"block {code[:3]}") % 10, "train")


def held_out_icd10() -> tuple[set[str], set[str]]:
    """(all names, lower-cased, and all codes) of the dev and test blocks: kept out of cross-lingual training."""
    held = [term for term in read_icd10() if icd10_part(term.code) != "train"]
    return {name.lower() for term in held for name, _, _ in term.names}, {term.code for term in held}
