"""acc@k, intervals and comparisons, and an encoder on a benchmark."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from ..linking.search import search
from ..linking.vectors import encode_cached
from ..model.encoder import Encoder
from ..model.encoding import encode_poolings
from .benchmarks import Benchmark
from .protocols import Predictions, predict, score


def accuracy_at_k(first_hit: np.ndarray, k: int) -> float:
    """Share of queries, in per cent, whose first right candidate is among the top k.

    Args:
        first_hit: (q,) rank of the first right candidate, from 1; 0 where none is right.
    """
    return 100 * float(_hits(first_hit, k).mean())


def _hits(first_hit: np.ndarray, k: int) -> np.ndarray:
    if not len(first_hit):
        raise ValueError("no query to score")
    return (first_hit > 0) & (first_hit <= k)


def bootstrap_interval(first_hit: np.ndarray, k: int = 1, seed: int = 33,
                       draws: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of acc@k over the queries, in per cent."""
    hits = _hits(first_hit, k)
    # Queries drawn with replacement are right or wrong independently: a binomial counts them
    counts = np.random.default_rng(seed).binomial(len(hits), hits.mean(), draws)
    low, high = np.percentile(100 * (counts / len(hits)), [2.5, 97.5])
    return float(low), float(high)


def mean_reciprocal_rank(first_hit: np.ndarray) -> float:
    """Mean of 1/rank, in per cent; a query without a right candidate gives 0."""
    shares = np.zeros(len(_hits(first_hit, 1)))
    np.divide(1, first_hit, out=shares, where=first_hit > 0)
    return 100 * float(shares.mean())


def paired_comparison(before: np.ndarray, after: np.ndarray, k: int = 1, seed: int = 33,
                      draws: int = 2000) -> dict[str, float]:
    """Two systems on the same queries.

    Returns:
        ``difference`` of acc@k in points, ``low`` and ``high`` of its 95 % bootstrap interval, and
        ``p`` of the paired permutation test, two-sided.
    """
    moves = _hits(after, k).astype(int) - _hits(before, k)
    better, worse, count = int((moves > 0).sum()), int((moves < 0).sum()), len(moves)
    shares = np.array([better, worse, count - better - worse]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, draws)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / count, [2.5, 97.5])
    # Swapping the two answers of a query changes something only where one is right and the other
    # wrong, so a binomial counts all permutations at once (McNemar's exact test).
    p = binomtest(better, better + worse).pvalue if better + worse else 1.0
    return {"difference": 100 * (better - worse) / count, "low": float(low), "high": float(high),
            "p": float(p)}


def predict_with(encoder: Encoder, benchmark: Benchmark, cache: Path | str = "",
                 poolings: Sequence[str] = (), similarities: Sequence[str] = ("cosine", "dot"),
                 k: int = 10, progress: str = "",
                 composite: bool = True) -> dict[tuple[str, str], Predictions]:
    """Predictions by (pooling, similarity); the dictionary and every text are encoded once.

    Args:
        cache: the folder for the dictionary's vectors; empty: they are not kept.
        poolings: empty: the encoder's own.
        progress: title of a progress bar; empty: none.
        composite: split mentions at ``+`` and ``|``. Leave them whole where these signs do not join
            concepts: ICD-10, XL-BEL, and the corpora of upstream's fast path.
    """
    # all poolings come from one pass through the model
    poolings, names = list(poolings or [encoder.pooling]), list(benchmark.names)
    if cache:
        dictionary = encode_cached(encoder, names, cache, poolings, progress)
    else:
        dictionary = encode_poolings(encoder, names, poolings, progress=progress)
    queries: dict[str, np.ndarray] = {}

    def rank(texts: list[str], pooling: str, similarity: str) -> np.ndarray:
        if not queries:  # the texts are the same at each call
            queries.update(encode_poolings(encoder, texts, poolings))
        return search(queries[pooling], dictionary[pooling], min(k, len(names)), similarity)[0]

    found = {}
    for pooling in poolings:
        for similarity in similarities:
            ask = partial(rank, pooling=pooling, similarity=similarity)
            found[pooling, similarity] = predict(benchmark, ask, composite)
    return found


def evaluate(encoder: Encoder, benchmark: Benchmark, *arguments: Any,
             **settings: Any) -> dict[tuple[str, str], np.ndarray]:
    """Ranks of the first hits, (q,) int, by (pooling, similarity) and upstream's protocol.

    Takes the arguments of :func:`predict_with`.

    Example:
        >>> ranks = evaluate(load_encoder("minilm"), hpo_layperson(), poolings=["mean"])
        >>> accuracy_at_k(ranks["mean", "cosine"], 1)
    """
    found = predict_with(encoder, benchmark, *arguments, **settings)
    return {key: score(predictions) for key, predictions in found.items()}
