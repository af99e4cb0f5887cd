"""Ranked answers of any system, kept once, and how each protocol counts them."""

import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from .benchmarks import Benchmark

PROTOCOLS = {
    "upstream": "a name of any gold concept is among the k first names, for every part of the "
                "mention; duplicates count",
    "concepts": "as upstream, but among the names of the k first distinct concepts",
    "strict": "as upstream, but a name that stands for several concepts is right only when all of "
              "them are gold",
    "unique": "as upstream, each distinct pair of mention and gold counted once",
    "unseen": "as upstream, on the queries whose mention and gold concepts are not in the training "
              "part",
    "terminology": "as upstream, without the training mentions that were put into the dictionary",
}


@dataclass(frozen=True)
class Predictions:
    """The ranked dictionary names for every part of every mention of a benchmark."""

    benchmark: Benchmark
    parts: tuple[tuple[int, str], ...]  # (row of the query, text of the part), in order
    candidates: np.ndarray  # (parts, k) rows of the dictionary, best first; -1: no more
    plus: bool = True  # "+" in the gold joins concepts as "|" does; not so on upstream's fast path


def split_mention(mention: str) -> list[str]:
    """The parts of a composite mention, as upstream splits it: ``+`` counts as ``|``."""
    return mention.replace("+", "|").split("|")


def predict(benchmark: Benchmark, rank: Callable[[list[str]], np.ndarray],
            composite: bool = True) -> Predictions:
    """Ask a system about every distinct part of the mentions.

    Args:
        rank: n texts -> (n, k) rows of the dictionary, best first, -1 where there are no more.
        composite: split mentions, as upstream does for the BioSyn corpora. Its fast path, for
            COMETA and MedMentions, takes them whole.

    Example:
        >>> found = predict(benchmark, tfidf(benchmark.names))
        >>> accuracy_at_k(score(found), 1)
    """
    parts = []
    for query, mention in enumerate(benchmark.mentions):
        for text in split_mention(mention) if composite else [mention]:
            parts.append((query, text))
    texts = list(dict.fromkeys(text for _, text in parts))  # each is asked once
    found = np.asarray(rank(texts))
    row = {text: i for i, text in enumerate(texts)}
    candidates = found[[row[text] for _, text in parts]]
    return Predictions(benchmark, tuple(parts), candidates, plus=composite)


def score(predictions: Predictions, protocol: str = "upstream", train: Benchmark | None = None,
          terminology: Benchmark | None = None, only: np.ndarray | None = None) -> np.ndarray:
    """Rank (from 1) of the first right candidate of each query that the protocol counts, else 0.

    Every part of a composite mention must be right, and the worst rank counts.

    Args:
        train: the training part of the corpus, which ``unseen`` needs.
        terminology: a benchmark whose dictionary holds no training mentions, for ``terminology``.
        only: a boolean for each query: which to look at.

    Returns:
        (queries counted,) int, in the order of the benchmark.

    Raises:
        ValueError: on an unknown protocol, without what it needs, and if no query is left.
    """
    benchmark, found = predictions.benchmark, predictions.candidates
    if not found.size:
        raise ValueError(f"{benchmark.name}: no candidate was predicted")
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of: {', '.join(PROTOCOLS)}")

    # (1) which candidates are right, and which place each has: (parts, k)
    right = right_candidates(predictions, protocol == "strict")
    place = np.broadcast_to(np.arange(1, found.shape[1] + 1), found.shape)
    if protocol == "concepts":
        place = np.array([_places_of_concepts([benchmark.concepts[i] for i in row])
                          for row in found])
    if protocol == "terminology":
        kept = _in_terminology(benchmark, terminology)[found]
        right, place = right & kept, kept.cumsum(axis=1)

    # (2) the first right place of each part; the worst part counts for the query
    first = np.take_along_axis(place, right.argmax(axis=1)[:, None], axis=1)[:, 0]
    # infinity for a part without a right candidate: then the query has none
    first_of_part = np.where(right.any(axis=1), first, math.inf)
    worst = np.zeros(len(benchmark.mentions))
    np.maximum.at(worst, [query for query, _ in predictions.parts], first_of_part)
    ranks = np.where(np.isfinite(worst), worst, 0).astype(int)

    # (3) the queries that count
    counted = [i for i in _counted(benchmark, protocol, train) if only is None or only[i]]
    if not counted:
        raise ValueError(f"protocol {protocol} leaves no query of {benchmark.name}")
    return ranks[counted]


def first_hits(candidates: np.ndarray, concepts: Sequence[str], gold: Sequence[str]) -> np.ndarray:
    """Rank (from 1) of the first right candidate of each query, 0 where none is: (q,) int.

    This is :func:`score` by upstream's protocol, for answers that aren't :class:`Predictions`. A
    candidate is right if it shares a concept with the gold; both are split at ``|``.

    Args:
        candidates: (q, k) rows of ``concepts``, best first; -1 where there are no more.
    """
    right = _meet(candidates, concepts, [set(split_mention(g)) for g in gold])
    return np.where(right.any(axis=1), right.argmax(axis=1) + 1, 0)


def right_candidates(predictions: Predictions, strict: bool = False) -> np.ndarray:
    """(parts, k) boolean: the candidate is right, leniently or by the protocol ``strict``."""
    benchmark = predictions.benchmark
    golds = [set(split_mention(g) if predictions.plus else g.split("|")) for g in benchmark.gold]
    of_parts = [query for query, _ in predictions.parts]
    if not strict:
        return _meet(predictions.candidates, benchmark.concepts, [golds[q] for q in of_parts])
    # a name means all concepts of all rows in which it occurs
    same = _inseparable(benchmark.concepts)
    meanings: dict[str, set[str]] = defaultdict(set)
    for name, concepts in zip(benchmark.names, benchmark.concepts, strict=True):
        meanings[name].update(same[c] for c in concepts.split("|"))
    golds = [{same.get(g, g) for g in gold} for gold in golds]  # gold may be in no dictionary
    right = np.zeros(predictions.candidates.shape, bool)
    for part, query in enumerate(of_parts):
        for rank, row in enumerate(predictions.candidates[part].tolist()):
            right[part, rank] = row >= 0 and meanings[benchmark.names[row]] <= golds[query]
    return right


def _meet(candidates: np.ndarray, concepts: Sequence[str], golds: Sequence[set[str]]) -> np.ndarray:
    """(q, k) boolean: the candidate shares a concept with the gold of its row."""
    # split only candidates, because a dictionary may hold millions of names
    split = {row: concepts[row].split("|") for row in np.unique(candidates).tolist()}
    right = [[row >= 0 and not gold.isdisjoint(split[row]) for row in rows]
             for rows, gold in zip(candidates.tolist(), golds, strict=True)]
    return np.array(right, dtype=bool).reshape(candidates.shape)


def _inseparable(concepts: Sequence[str]) -> dict[str, str]:
    """Map each identifier to the one that is beside it in all of its rows, else to itself.

    Two such identifiers mean one concept. Among several, the most frequent is taken, so that all of
    them lead to the same.
    """
    rows = defaultdict(list)
    for row in dict.fromkeys(concepts):
        identifiers = row.split("|")
        for identifier in identifiers:
            rows[identifier].append(identifiers)
    chosen = {}
    for identifier, own in rows.items():
        always = [x for x in own[0] if all(x in row for row in own)]  # the identifier is among them
        chosen[identifier] = max(always, key=lambda x: len(rows[x]))
    return chosen


def _places_of_concepts(row: Sequence[str]) -> list[int]:
    """Count the distinct concepts up to each place of a list."""
    seen: set[str] = set()
    places = []
    for concept in row:
        seen.add(concept)
        places.append(len(seen))
    return places


def _in_terminology(benchmark: Benchmark, terminology: Benchmark | None) -> np.ndarray:
    """(n,) boolean: the row of the dictionary is in the one without training mentions, too."""
    if terminology is None:
        raise ValueError("protocol terminology: give a benchmark whose dictionary has no "
                         "training mentions")
    known = set(zip(terminology.names, terminology.concepts, strict=True))
    rows = zip(benchmark.names, benchmark.concepts, strict=True)
    return np.array([row in known for row in rows])


def _counted(benchmark: Benchmark, protocol: str, train: Benchmark | None) -> list[int]:
    """The rows of the queries that a protocol counts."""
    queries = list(zip(benchmark.mentions, benchmark.gold, strict=True))
    if protocol == "unique":
        first: dict[tuple[str, str], int] = {}  # query -> the row in which it stands first
        for i, query in enumerate(queries):
            first.setdefault(query, i)
        return list(first.values())
    if protocol == "unseen":
        if train is None:
            raise ValueError("protocol unseen: give the training part of the corpus")
        mentions = set(train.mentions)
        concepts = {c for gold in train.gold for c in split_mention(gold)}
        return [i for i, (mention, gold) in enumerate(queries)
                if mention not in mentions and concepts.isdisjoint(split_mention(gold))]
    return list(range(len(queries)))
