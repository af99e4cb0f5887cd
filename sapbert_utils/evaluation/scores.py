"""acc@k, intervals and comparisons, and an encoder on a benchmark."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from scipy.stats import binomtest

from ..linking.search import search
from ..linking.vectors import encode_cached
from ..model.encoder import Encoder
from ..model.encoding import encode_poolings
from .benchmarks import Benchmark
from .protocols import Predictions, predict, score


def accuracy_at_k(first_hit: np.ndarray, k: int) -> float:
    """Share of queries, in per cent, whose first right candidate is among the top k."""
    if not len(first_hit):
        raise ValueError("no query to score")
    return 100 * float(((first_hit > 0) & (first_hit <= k)).mean())


def bootstrap_interval(first_hit: np.ndarray, k: int = 1, seed: int = 33, draws: int = 2000) -> tuple[float, float]:
    """95 % percentile bootstrap interval of acc@k over the queries, in per cent."""
    hits = ((first_hit > 0) & (first_hit <= k)).astype(np.float64)
    means = np.random.default_rng(seed).binomial(len(hits), hits.mean(), draws) / len(hits)
    low, high = np.percentile(100 * means, [2.5, 97.5])
    return float(low), float(high)


def mean_reciprocal_rank(first_hit: np.ndarray) -> float:
    """Mean of 1/rank, in per cent; a query without a right candidate gives 0."""
    return 100 * float(np.divide(1, first_hit, out=np.zeros(len(first_hit)), where=first_hit > 0).mean())


def paired_comparison(before: np.ndarray, after: np.ndarray, k: int = 1, seed: int = 33,
                      draws: int = 2000) -> dict[str, float]:
    """Two systems on the same queries: ``difference`` of acc@k in points, its 95 % bootstrap interval (``low``,
    ``high``), and ``p``, two-sided, of the paired permutation test.

    Swapping the two answers of a query changes something only where one is right and the other wrong, so all
    permutations are counted at once by a binomial (McNemar's exact test).
    """
    moves = ((after > 0) & (after <= k)).astype(int) - ((before > 0) & (before <= k))
    better, worse, count = int((moves > 0).sum()), int((moves < 0).sum()), len(moves)
    shares = np.array([better, worse, count - better - worse]) / count
    drawn = np.random.default_rng(seed).multinomial(count, shares, draws)
    low, high = np.percentile(100 * (drawn[:, 0] - drawn[:, 1]) / count, [2.5, 97.5])
    p = binomtest(better, better + worse).pvalue if better + worse else 1.0
    return {"difference": 100 * (better - worse) / count, "low": float(low), "high": float(high), "p": float(p)}


def predict_with(encoder: Encoder, benchmark: Benchmark, cache: Path | str = "", poolings: Sequence[str] = (),
                 similarities: Sequence[str] = ("cosine", "dot"), k: int = 10, progress: str = "",
                 composite: bool = True) -> dict[tuple[str, str], Predictions]:
    """(pooling, similarity) -> predictions, the dictionary and every text encoded once.

    ``cache`` is the folder for the dictionary's vectors (empty: not kept). ``composite=False`` leaves mentions
    whole where ``+`` and ``|`` do not join several concepts (ICD-10, XL-BEL, and upstream's fast path).
    """
    poolings, names, texts_of = list(poolings or [encoder.pooling]), list(benchmark.names), {}
    dictionary = (encode_cached(encoder, names, cache, poolings, progress) if cache else
                  encode_poolings(encoder, names, poolings, progress=progress))

    def rank(texts: list[str], pooling: str, similarity: str) -> np.ndarray:
        if not texts_of:
            texts_of.update(encode_poolings(encoder, texts, poolings))
        return search(texts_of[pooling], dictionary[pooling], min(k, len(names)), similarity)[0]

    return {(p, s): predict(benchmark, partial(rank, pooling=p, similarity=s), composite)
            for p in poolings for s in similarities}


def evaluate(*arguments, **settings) -> dict[tuple[str, str], np.ndarray]:
    """The predictions of :func:`predict_with`, scored by upstream's protocol: first-hit ranks of every query."""
    return {key: score(found) for key, found in predict_with(*arguments, **settings).items()}
