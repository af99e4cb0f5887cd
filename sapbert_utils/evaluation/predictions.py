"""Write and read files of predictions, in upstream's JSON."""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ..files import write_json
from .benchmarks import Benchmark
from .protocols import Predictions, right_candidates, score


def write_predictions(predictions: Predictions, path: Path | str) -> Path:
    """Write upstream's JSON: queries, their parts, candidates with a 0/1 label, and acc1 … acck.

    The accuracies are shares of 1, by upstream's protocol.
    """
    benchmark, right = predictions.benchmark, right_candidates(predictions)
    queries: list[dict[str, list]] = [{"mentions": []} for _ in benchmark.mentions]
    for (query, text), rows, labels in zip(predictions.parts, predictions.candidates, right,
                                           strict=True):
        gold = benchmark.gold[query]
        queries[query]["mentions"].append({
            "mention": text,
            "golden_cui": gold.replace("+", "|") if predictions.plus else gold,
            "candidates": [{"name": benchmark.names[row], "labelcui": benchmark.concepts[row],
                            "label": int(label)}
                           for row, label in zip(rows, labels, strict=True) if row >= 0]})
    # up to the k that was asked for, even if the first query found fewer candidates
    ranks = score(predictions)
    shares = {f"acc{k}": float(((ranks > 0) & (ranks <= k)).mean())
              for k in range(1, predictions.candidates.shape[1] + 1)}
    return write_json(Path(path), {"queries": queries} | shares)


def read_predictions(path: Path | str) -> Predictions:
    """Read predictions of any system: upstream's JSON, or BioSyn's (``cui`` for ``labelcui``).

    Identifiers may be numbers, and several of them a list. The labels in the file aren't trusted
    but found again. Raises a ``ValueError`` that names the file and the query if something is
    malformed.
    """
    try:
        queries = json.loads(Path(path).read_text(encoding="utf-8-sig"))["queries"]
        numbered = list(enumerate(queries, 1))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path}: not a JSON file with queries ({error!r})") from None
    rows: dict[tuple[str, str], int] = {}  # of the dictionary: (name, concepts) -> number
    mentions, golds, parts, found = [], [], [], []
    for number, query in numbered:
        try:
            of_query = query["mentions"]
            mentions.append("|".join(part["mention"] for part in of_query))
            golds.append(_identifiers(of_query[0]["golden_cui"]))
            if not golds[-1]:
                raise KeyError("golden_cui")
            for part in of_query:  # of a composite mention
                pairs = [(_text(c["name"]), _identifiers(c["labelcui"] if "labelcui" in c
                                                         else c["cui"]))
                         for c in part["candidates"]]
                parts.append((number - 1, part["mention"]))
                found.append([rows.setdefault(pair, len(rows)) for pair in pairs])
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{path}, query {number}: mentions with mention, golden_cui and "
                             f"candidates (name and labelcui) are expected ({error!r})") from None
    if not rows:
        raise ValueError(f"{path}: no query has a candidate")
    k = max(map(len, found))
    candidates = np.full((len(found), k), -1)
    for part_rows, row in zip(found, candidates, strict=True):
        row[: len(part_rows)] = part_rows  # shorter lists end in -1
    names, concepts = zip(*rows, strict=True)
    benchmark = Benchmark(Path(path).stem, tuple(mentions), tuple(golds), names, concepts)
    # a system that splits at "+" writes "|" for it, so a "+" that is left joins nothing
    plus = not any("+" in gold for gold in golds)
    return Predictions(benchmark, tuple(parts), candidates, plus)


def _identifiers(value: Any) -> str:
    """Identifiers as one string: a string as it is, a number written out, a list joined by |."""
    if isinstance(value, list) and value:
        return "|".join(map(_identifiers, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is not text")
    return value
