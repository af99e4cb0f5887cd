"""In: the pair files of notebook 01. Out: rows of the table behind notebook 08, and differences.

``python -m sapbert_utils claims`` trains and measures every (setting, seed) that the table lacks.
Read in this order: settings, running, table, report.
"""
from .running import measure, run_claims, train_setting
from .settings import ENGLISH, MANY, SETTINGS, Setting, benchmarks_of, pairs_of
from .table import (
    append,
    difference,
    hits_file,
    note_mentions,
    read_groups,
    read_hits,
    read_rows,
    verdict,
)

__all__ = [
    "ENGLISH", "MANY", "SETTINGS", "Setting", "append", "benchmarks_of", "difference", "hits_file",
    "measure", "note_mentions", "pairs_of", "read_groups", "read_hits", "read_rows", "run_claims",
    "train_setting", "verdict",
]
