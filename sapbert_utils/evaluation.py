"""Protocols, acc@k, intervals and the baselines."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

from .batches import SIDES
from .benchmarks import Benchmark
from .encoder import Encoder, encode, encode_poolings
from .linking import encode_cached, search


def first_hits(candidates: np.ndarray, concepts: Sequence[str], gold: Sequence[str]) -> np.ndarray:
    """Rank (from 1) of the first right candidate of each query, 0 where none is: (q, k) indices -> (q,) int.

    A candidate is right when its concepts and the gold's, both split at ``|``, meet (the lenient rule of upstream).
    """
    golds = [set(g.replace("+", "|").split("|")) for g in gold]
    right = np.array([[not g.isdisjoint(concepts[i].split("|")) for i in row]
                      for row, g in zip(candidates.tolist(), golds, strict=True)])
    return np.where(right.any(1), right.argmax(1) + 1, 0)


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


def split_mention(mention: str) -> list[str]:
    """The parts of a composite mention, as upstream splits it: ``+`` counts as ``|``."""
    return mention.replace("+", "|").split("|")


def score_upstream(benchmark: Benchmark, vectors: np.ndarray, embed_mentions, similarity: str = "dot",
                   k: int = 10, split=split_mention) -> np.ndarray:
    """First-hit ranks by upstream's rules for BioSyn corpora: a query is right at k when every part of its mention
    has a right name among the top k. ``embed_mentions`` maps a list of strings to (m, d) vectors."""
    parts = [(i, part) for i, mention in enumerate(benchmark.mentions) for part in split(mention)]
    candidates, _ = search(embed_mentions([p for _, p in parts]), vectors, min(k, len(vectors)), similarity)
    ranks = first_hits(candidates, benchmark.concepts, [benchmark.gold[i] for i, _ in parts])
    worst = np.zeros(len(benchmark.mentions), dtype=int)
    for (i, _), rank in zip(parts, ranks, strict=True):
        worst[i] = -1 if rank == 0 or worst[i] == -1 else max(worst[i], rank)
    return np.maximum(worst, 0)


def evaluate(encoder: Encoder, benchmark: Benchmark, cache: Path | str = "", poolings: Sequence[str] = (),
             similarities: Sequence[str] = ("cosine", "dot"), k: int = 10,
             progress: str = "", composite: bool = True) -> dict[tuple[str, str], np.ndarray]:
    """(pooling, similarity) -> first-hit ranks of every query, the dictionary encoded once.

    ``cache`` is the folder for the dictionary's vectors (empty: not kept). ``composite=False`` leaves mentions
    whole where ``+`` and ``|`` do not join several concepts (ICD-10, XL-BEL).
    """
    split = split_mention if composite else lambda mention: [mention]
    poolings = list(poolings or [encoder.pooling])
    names = list(benchmark.names)
    dictionary = (encode_cached(encoder, names, cache, poolings, progress) if cache else
                  encode_poolings(encoder, names, poolings, progress=progress))
    parts = sorted({p for m in benchmark.mentions for p in split(m)})
    row, vectors = {p: i for i, p in enumerate(parts)}, encode_poolings(encoder, parts, poolings)
    return {(p, s): score_upstream(benchmark, dictionary[p], lambda m, p=p: vectors[p][[row[x] for x in m]], s, k,
                                   split)
            for p in poolings for s in similarities}


def tfidf_first_hits(benchmark: Benchmark, k: int = 10, block: int = 500) -> np.ndarray:
    """Baseline: character 2- to 4-grams in word bounds, sublinear TF-IDF, cosine; first-hit ranks."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    dictionary = vectorizer.fit_transform(benchmark.names).T.tocsr()
    queries, found = vectorizer.transform(benchmark.mentions), []
    for start in tqdm(range(0, queries.shape[0], block), desc="TF-IDF", unit="block"):
        scores = -(queries[start : start + block] @ dictionary).toarray()
        top = np.argpartition(scores, k, axis=1)[:, :k]
        found.append(np.take_along_axis(top, np.take_along_axis(scores, top, 1).argsort(1, kind="stable"), 1))
    return first_hits(np.concatenate(found), benchmark.concepts, benchmark.gold)


def linking_accuracy(held_out: pd.DataFrame, others: pd.DataFrame, size: int = 5000) -> Callable[[Encoder], float]:
    """A ``validate`` for ``training.train``: acc@1 (%) of linking, by cosine, one name of each held-out concept to
    another one of it, among all names of these concepts and up to ``size`` of others."""
    def names(data):
        sides = [data[["cui", side]].set_axis(["cui", "name"], axis=1) for side in SIDES if side in data]
        return pd.concat(sides).drop_duplicates()

    known = names(held_out).groupby("cui")["name"].agg(list)
    known = known[known.map(len) > 1]
    if known.empty:
        raise ValueError("no held-out concept has two names: hold out more")
    queries, gold = [found[0] for found in known], list(known.index)
    more = names(others)
    dictionary = pd.concat([known.map(lambda found: found[1:]).explode().rename("name").reset_index(),
                            more.sample(min(size, len(more)), random_state=0)])

    def validate(encoder: Encoder) -> float:
        q, d = (torch.nn.functional.normalize(torch.from_numpy(encode(encoder, list(x))), dim=1)
                for x in (queries, dictionary["name"]))
        return 100 * float((dictionary["cui"].to_numpy()[(q @ d.T).argmax(1).numpy()] == gold).mean())

    return validate
