"""Ranked answers of any system, kept once, and what each protocol makes of them."""

import json
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..files import write_json
from .benchmarks import Benchmark

PROTOCOLS = {
    "upstream": "a name of any gold concept among the k first names, for every part of the mention; duplicates count",
    "concepts": "as upstream, but among the names of the k first distinct concepts",
    "strict": "as upstream, but a name that stands for several concepts is right only when all of them are gold",
    "unique": "as upstream, each distinct pair of mention and gold counted once",
    "unseen": "as upstream, on the queries of which neither the mention nor a gold concept stands in the training part",
    "terminology": "as upstream, without the training mentions that were put into the dictionary",
}


@dataclass(frozen=True)
class Predictions:
    """For every part of every mention of a benchmark its ranked dictionary names."""

    benchmark: Benchmark
    parts: tuple[tuple[int, str], ...]  # (row of the query, text of the part), in order
    candidates: np.ndarray  # (parts, k) rows of the dictionary, best first; -1: no more
    plus: bool = True  # a "+" in the gold joins concepts, as "|" does; upstream's fast path does not read it so


def split_mention(mention: str) -> list[str]:
    """The parts of a composite mention, as upstream splits it: ``+`` counts as ``|``."""
    return mention.replace("+", "|").split("|")


def predict(benchmark: Benchmark, rank: Callable[[list[str]], np.ndarray], composite: bool = True) -> Predictions:
    """Ask ``rank`` (n texts -> (n, k) rows of the dictionary, best first, -1 for none) about every distinct part.

    ``composite`` splits mentions as upstream does for the BioSyn corpora; its fast path (COMETA, MedMentions) takes
    them whole.
    """
    parts = tuple((i, part) for i, mention in enumerate(benchmark.mentions)
                  for part in (split_mention(mention) if composite else [mention]))
    texts = list(dict.fromkeys(text for _, text in parts))
    row, found = {text: i for i, text in enumerate(texts)}, np.asarray(rank(texts))
    return Predictions(benchmark, parts, found[[row[text] for _, text in parts]], plus=composite)


def score(predictions: Predictions, protocol: str = "upstream", train: Benchmark | None = None,
          terminology: Benchmark | None = None, only: np.ndarray | None = None) -> np.ndarray:
    """Rank (from 1) of the first right candidate of each query that the protocol counts, 0 where none is.

    Of a composite mention every part must be right, and the worst rank counts. ``unseen`` needs the training part of
    the corpus, ``terminology`` a benchmark whose dictionary holds no training mentions. ``only``, a boolean for each
    query, says which to look at. Raises ``ValueError`` without what is needed, and when no query is left.
    """
    if not predictions.candidates.size:
        raise ValueError(f"{predictions.benchmark.name}: no candidate was predicted")
    if protocol not in PROTOCOLS:
        raise ValueError(f"unknown protocol {protocol!r}; choose one of: {', '.join(PROTOCOLS)}")
    benchmark, found = predictions.benchmark, predictions.candidates
    right = _right(predictions, protocol == "strict")
    place = np.broadcast_to(np.arange(1, found.shape[1] + 1), found.shape)
    if protocol == "concepts":
        place = np.array([_distinct([benchmark.concepts[i] for i in row]) for row in found])
    if protocol == "terminology":
        if terminology is None:
            raise ValueError("protocol terminology: give a benchmark with the dictionary before training mentions")
        known = set(zip(terminology.names, terminology.concepts, strict=True))
        kept = np.array([pair in known for pair in zip(benchmark.names, benchmark.concepts, strict=True)])[found]
        right, place = right & kept, kept.cumsum(1)
    of_part = np.where(right.any(1), np.take_along_axis(place, right.argmax(1)[:, None], 1)[:, 0], math.inf)
    worst = np.zeros(len(benchmark.mentions))
    np.maximum.at(worst, [i for i, _ in predictions.parts], of_part)
    ranks = np.where(np.isfinite(worst), worst, 0).astype(int)
    counted = ranks[[i for i in _counted(benchmark, protocol, train) if only is None or only[i]]]
    if not len(counted):
        raise ValueError(f"protocol {protocol} leaves no query of {benchmark.name}")
    return counted


def first_hits(candidates: np.ndarray, concepts: Sequence[str], gold: Sequence[str]) -> np.ndarray:
    """Rank (from 1) of each query's first right candidate, 0 where none is: (q, k) rows of ``concepts`` -> (q,) int.

    :func:`score` by upstream's protocol, for answers that are no :class:`Predictions`: a candidate is right when its
    concepts and the gold's, both split at ``|``, meet.
    """
    queries = tuple(gold)
    benchmark = Benchmark("candidates", queries, queries, tuple(concepts), tuple(concepts))
    return score(Predictions(benchmark, tuple(enumerate(queries)), candidates))


def _right(predictions: Predictions, strict: bool) -> np.ndarray:
    """(parts, k) boolean: the candidate is right."""
    benchmark = predictions.benchmark
    golds = [frozenset((g.replace("+", "|") if predictions.plus else g).split("|")) for g in benchmark.gold]
    sets = [frozenset(c.split("|")) for c in benchmark.concepts]
    if strict:
        same = _inseparable(benchmark.concepts)
        of_name = defaultdict(set)
        for name, concepts in zip(benchmark.names, sets, strict=True):
            of_name[name] |= {same[c] for c in concepts}
        sets = [frozenset(of_name[name]) for name in benchmark.names]
        golds = [frozenset(same.get(g, g) for g in gold) for gold in golds]
    fits = (lambda found, gold: found <= gold) if strict else (lambda found, gold: not found.isdisjoint(gold))
    return np.array([[i >= 0 and fits(sets[i], golds[query]) for i in row]
                     for (query, _), row in zip(predictions.parts, predictions.candidates.tolist(), strict=True)])


def _inseparable(concepts: Sequence[str]) -> dict[str, str]:
    """Identifier -> the one that it never stands without, if there is such: two identifiers of one concept."""
    rows = defaultdict(list)
    for row in dict.fromkeys(concepts):
        for identifier in row.split("|"):
            rows[identifier].append(row.split("|"))
    return {identifier: max((x for x in found[0] if all(x in row for row in found)), key=lambda x: len(rows[x]))
            for identifier, found in rows.items()}


def _distinct(row: list[str]) -> list[int]:
    seen: set[str] = set()
    return [len(seen) for concept in row if not seen.add(concept)]


def _counted(benchmark: Benchmark, protocol: str, train: Benchmark | None) -> list[int]:
    rows = range(len(benchmark.mentions))
    if protocol == "unique":
        return list({pair: i for i, pair in reversed([*enumerate(zip(benchmark.mentions, benchmark.gold))])}.values())
    if protocol == "unseen":
        if train is None:
            raise ValueError("protocol unseen: give the training part of the corpus")
        mentions, concepts = set(train.mentions), {c for g in train.gold for c in split_mention(g)}
        return [i for i in rows if benchmark.mentions[i] not in mentions
                and concepts.isdisjoint(split_mention(benchmark.gold[i]))]
    return list(rows)


def write_predictions(predictions: Predictions, path: Path | str) -> Path:
    """Write upstream's JSON: queries, their parts, candidates with a 0/1 label; acc1 … acck as shares of 1."""
    benchmark, right = predictions.benchmark, _right(predictions, strict=False)
    queries: list[dict] = [{"mentions": []} for _ in benchmark.mentions]
    for (query, text), row, labels in zip(predictions.parts, predictions.candidates, right, strict=True):
        gold = benchmark.gold[query]
        queries[query]["mentions"].append({
            "mention": text, "golden_cui": gold.replace("+", "|") if predictions.plus else gold,
            "candidates": [{"name": benchmark.names[i], "labelcui": benchmark.concepts[i], "label": int(label)}
                           for i, label in zip(row, labels, strict=True) if i >= 0]})
    ranks, k = score(predictions), len(queries[0]["mentions"][0]["candidates"])
    shares = {f"acc{i}": float(((ranks > 0) & (ranks <= i)).mean()) for i in range(1, k + 1)}
    return write_json(Path(path), {"queries": queries} | shares)


def read_predictions(path: Path | str) -> Predictions:
    """Read upstream's JSON of predictions, or BioSyn's (``cui`` for ``labelcui``), of any system.

    Labels in the file are not believed but found again. Raises ``ValueError`` with file and query on what is malformed.
    """
    try:
        queries = json.loads(Path(path).read_text(encoding="utf-8"))["queries"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a JSON file with queries ({error!r})") from None
    row: dict[tuple[str, str], int] = {}
    mentions, golds, parts, found = [], [], [], []
    for number, query in enumerate(queries, 1):
        try:
            of_query = query["mentions"]
            mentions.append("|".join(part["mention"] for part in of_query))
            golds.append(of_query[0]["golden_cui"])
            for part in of_query:
                pairs = [(c["name"], c["labelcui"] if "labelcui" in c else c["cui"]) for c in part["candidates"]]
                parts.append((number - 1, part["mention"]))
                found.append([row.setdefault(pair, len(row)) for pair in pairs])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{path}, query {number}: mentions with mention, golden_cui and candidates (name and "
                             f"labelcui) are expected ({error!r})") from None
    k = max(map(len, found), default=0)
    candidates = np.array([r + [-1] * (k - len(r)) for r in found], dtype=int).reshape(len(found), k)
    benchmark = Benchmark(Path(path).stem, tuple(mentions), tuple(golds), *map(tuple, zip(*row)) if row else ((), ()))
    return Predictions(benchmark, tuple(parts), candidates, plus=not any("+" in gold for gold in golds))
