"""Batches for training: which names stand in a step, under which labels, and which of them are false negatives."""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch

SIDES = ("name1", "name2", "name")  # the columns of names: two of pairs, or one


class Batches:
    """Which names stand in which step, under which labels: a function of data, settings and seed alone.

    Of pairs (columns cui, name1, name2): ``batch_size`` of them, all first sides, then all second sides. An epoch of
    ``sampling="pairs"`` shuffles all pairs, as upstream does, so that a concept counts by its number of pairs; one of
    ``"concepts"`` draws one pair of every concept. Of names (columns cui, name): ``names_per_concept`` names, or all
    if it has fewer, of each of so many concepts that it makes 2 ``batch_size`` names; concepts with one name are left
    out. What does not fill a batch is dropped. Raises ``ValueError`` when an epoch does not fill one batch.
    """

    def __init__(self, data: pd.DataFrame, batch_size: int, seed: int, sampling: str = "pairs",
                 names_per_concept: int = 2):
        self.label, units, size = _units(data, batch_size, sampling, names_per_concept)
        self.units, self.size, self.per_epoch = units, size, len(units) // size
        self.seed, self.sampling, self.names_per_concept = seed, sampling, names_per_concept
        sides = [data[side].to_numpy(dtype=object) for side in SIDES if side in data]
        numbers, self.names = pd.factorize(np.concatenate(sides))  # every distinct name has a number
        if (numbers < 0).any():
            raise ValueError(f"row {int(np.argmax(numbers < 0)) % len(data)} of the data lacks a name")
        self.numbers = numbers.reshape(len(sides), -1)  # (sides, rows)

    def __call__(self, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Endless batches of (numbers of names, their labels), from batch number ``start`` on."""
        for epoch in itertools.count(start // self.per_epoch):
            rows, end = self._epoch(epoch)
            for step in range(max(0, start - epoch * self.per_epoch), self.per_epoch):
                first = end[step * self.size - 1] if step else 0
                chosen = rows[first : end[(step + 1) * self.size - 1]]
                yield self.numbers[:, chosen].ravel(), np.tile(self.label[chosen], len(self.numbers))

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of an epoch in their order, and where each of its groups ends: a pair, or a concept's names."""
        draw = np.random.default_rng([self.seed, epoch])
        if self.sampling == "pairs" and len(self.numbers) == 2:
            rows = draw.permutation(self.units)
            return rows, np.arange(1, len(rows) + 1)
        by_label = np.argsort(self.label, kind="stable")
        first, count = np.unique(self.label[by_label], return_index=True, return_counts=True)[1:]
        if len(self.numbers) == 2:
            rows = draw.permutation(by_label[first + draw.integers(count)])
            return rows, np.arange(1, len(rows) + 1)
        shuffled = draw.permutation(len(self.label))
        shuffled = shuffled[np.argsort(self.label[shuffled], kind="stable")]  # concept by concept, in random order
        concepts = draw.permutation(self.units)
        sizes = np.minimum(count[concepts], self.names_per_concept)
        end = np.cumsum(sizes)
        return shuffled[np.repeat(first[concepts] - (end - sizes), sizes) + np.arange(end[-1])], end


def batches(data: pd.DataFrame, batch_size: int, seed: int, sampling: str = "pairs", names_per_concept: int = 2,
            start: int = 0) -> Iterator[tuple[list[str], torch.Tensor]]:
    """Endless :class:`Batches` as (names, (names,) concept labels), from number ``start`` on."""
    drawn = Batches(data, batch_size, seed, sampling, names_per_concept)
    for numbers, labels in drawn(start):
        yield drawn.names[numbers].tolist(), torch.from_numpy(labels)


def steps_per_epoch(data: pd.DataFrame, batch_size: int, sampling: str = "pairs", names_per_concept: int = 2) -> int:
    """Batches of an epoch of :class:`Batches`."""
    _, units, size = _units(data, batch_size, sampling, names_per_concept)
    return len(units) // size


def _units(data: pd.DataFrame, batch_size: int, sampling: str,
           names_per_concept: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Labels of the rows, what an epoch goes through (rows, or labels), and how many of these make a batch."""
    if sampling not in ("pairs", "concepts"):
        raise ValueError(f"unknown sampling {sampling!r}; choose pairs or concepts")
    label, kind, size = pd.factorize(data["cui"])[0], sampling, batch_size
    if "name" in data:
        if names_per_concept < 2:
            raise ValueError(f"names_per_concept is {names_per_concept}: a positive pair needs two names of a concept")
        units, kind = np.flatnonzero(np.bincount(label) > 1), "concepts with two names or more"
        size = max(1, 2 * batch_size // names_per_concept)
    else:
        units = np.arange(len(data)) if sampling == "pairs" else np.unique(label)
    if len(units) < size:
        raise ValueError(f"{len(units)} {kind} do not fill one batch of {size}: lower batch_size or add data")
    return label, units, size


def labels_of_ambiguous(data: pd.DataFrame) -> dict[str, list[int]]:
    """Names that stand under several concepts of ``data``, with the labels that :class:`Batches` gives these."""
    sides = [side for side in SIDES if side in data]
    found = pd.DataFrame({"name": pd.concat([data[side] for side in sides]).to_numpy(),
                          "label": np.tile(pd.factorize(data["cui"])[0], len(sides))}).drop_duplicates()
    return found[found.duplicated("name", keep=False)].groupby("name")["label"].agg(list).to_dict()


def false_negatives(names: list[str], labels: torch.Tensor, ambiguous: dict[str, list[int]]) -> torch.Tensor:
    """(n, n) boolean: one of the two names stands under the other's concept too."""
    also = torch.zeros(len(names), len(names), dtype=torch.bool)
    for i, name in enumerate(names):
        if name in ambiguous:
            also[i] = torch.isin(labels, torch.tensor(ambiguous[name]))
    return also | also.T


def hold_out_concepts(data: pd.DataFrame, concepts: int, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """(the data without ``concepts`` randomly drawn concepts, the data of these): for validation on unseen concepts."""
    all_concepts = np.sort(data["cui"].unique())
    if concepts >= len(all_concepts):
        raise ValueError(f"{concepts} concepts cannot be held out of {len(all_concepts)}")
    held = data["cui"].isin(np.random.default_rng(seed).choice(all_concepts, concepts, replace=False))
    return data[~held].reset_index(drop=True), data[held].reset_index(drop=True)
