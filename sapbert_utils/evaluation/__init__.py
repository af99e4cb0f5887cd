"""In: a benchmark and the ranked answers of any system. Out: predictions, acc@k, intervals, tests.
May use ``files``, ``data``, ``model`` and ``linking``; knows nothing of the course.
Read in this order: benchmarks, corpora, protocols, scores; baselines are systems without a model.
"""

from .baselines import exact_match, fuzzy, hybrid, tfidf
from .benchmarks import (
    Benchmark,
    chemical_names,
    drug_brands,
    hpo_layperson,
    icd10_queries,
    icd11_queries,
    medicine_queries,
)
from .predictions import read_predictions, write_predictions
from .protocols import PROTOCOLS, Predictions, first_hits, predict, score, split_mention
from .scores import (
    accuracy_at_k,
    bootstrap_interval,
    evaluate,
    mean_reciprocal_rank,
    paired_comparison,
    predict_with,
)

__all__ = [
    "PROTOCOLS", "Benchmark", "Predictions", "accuracy_at_k", "bootstrap_interval",
    "chemical_names", "drug_brands", "evaluate", "exact_match", "first_hits", "fuzzy",
    "hpo_layperson", "hybrid", "icd10_queries", "icd11_queries", "mean_reciprocal_rank",
    "medicine_queries", "paired_comparison", "predict", "predict_with", "read_predictions",
    "score", "split_mention", "tfidf", "write_predictions",
]
