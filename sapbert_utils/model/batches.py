"""Batches for training: which names are in a step, and under which labels."""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from .tokens import check_names

SIDES = ("name1", "name2", "name")  # the columns that hold names: two in pairs, or one


class Numbered:
    """Pairs or names as numbers: one for each distinct name, and one for each concept.

    Args:
        data: r rows of pairs (columns cui, name1, name2) or of names (columns cui, name).

    Raises:
        ValueError: a row lacks a name.
    """

    def __init__(self, data: pd.DataFrame):
        sides = [data[side].to_numpy(dtype=object) for side in SIDES if side in data]
        for side in sides:
            check_names(side, "the data")
        numbers, self.names = pd.factorize(np.concatenate(sides))
        self.numbers = numbers.reshape(len(sides), -1)  # (sides, r), an index into names
        self.labels = pd.factorize(data["cui"])[0]  # (r,), the same for rows of one concept

    def ambiguous(self) -> dict[str, list[int]]:
        """Return the names that belong to several concepts, each with those concepts' labels."""
        labels = np.tile(self.labels, len(self.numbers))
        found = pd.DataFrame({"name": self.numbers.ravel(), "label": labels}).drop_duplicates()
        found = found[found.duplicated("name", keep=False)]
        found = found.assign(name=self.names[found["name"]])
        return found.groupby("name")["label"].agg(list).to_dict()


class Batches(Numbered):
    """Endless batches that depend only on data, settings and seed.

    From pairs, a batch has ``batch_size`` of them: all first names, then all second names. An epoch
    shuffles all pairs, as the original repository does, so a concept with many pairs counts more.
    With ``sampling="concepts"``, an epoch has one pair of every concept, drawn at random.

    From names, a batch has ``names_per_concept`` names of each of its concepts (or all names of a
    concept that has fewer), about 2 * ``batch_size`` names in total. Concepts with a single name
    are left out.

    Rows at the end of an epoch that do not fill a batch are dropped.

    Args:
        data: pairs or names, as :class:`Numbered` takes them.
        batch_size: pairs of a batch.
        seed: decides the order.
        sampling: ``pairs`` or ``concepts``.
        names_per_concept: at least 2; only for names.

    Raises:
        ValueError: the data don't fill a batch or lack a name, or a setting is wrong.
    """

    def __init__(self, data: pd.DataFrame, batch_size: int, seed: int, sampling: str = "pairs",
                 names_per_concept: int = 2):
        super().__init__(data)
        self.seed, self.names_per_concept = seed, names_per_concept
        # units: what an epoch goes through (rows, or labels); size: how many of them make a batch
        self.by_concept, self.size, kind = sampling == "concepts", batch_size, sampling
        if batch_size < 1:
            raise ValueError(f"batch_size is {batch_size}: a batch needs at least one pair")
        if sampling not in ("pairs", "concepts"):
            raise ValueError(f"unknown sampling {sampling!r}; choose pairs or concepts")
        if len(self.numbers) == 1:
            if names_per_concept < 2:
                raise ValueError(f"names_per_concept is {names_per_concept}: a positive pair needs "
                                 f"two names of a concept")
            self.units = np.flatnonzero(np.bincount(self.labels) > 1)
            kind = "concepts with two names or more"
            self.size = max(1, 2 * batch_size // names_per_concept)
        elif self.by_concept:
            self.units = np.unique(self.labels)
        else:
            self.units = np.arange(len(data))
        if len(self.units) < self.size:
            raise ValueError(f"{len(self.units)} {kind} do not fill one batch of {self.size}: "
                             f"lower batch_size or add data")
        self.per_epoch = len(self.units) // self.size  # batches of an epoch

    def __call__(self, start: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Batches of n names, from number ``start`` on: (n,) numbers of names, (n,) labels."""
        for epoch in itertools.count(start // self.per_epoch):
            rows, end = self._epoch(epoch)
            for step in range(max(0, start - epoch * self.per_epoch), self.per_epoch):
                first = end[step * self.size - 1] if step else 0
                chosen = rows[first : end[(step + 1) * self.size - 1]]
                labels = np.tile(self.labels[chosen], len(self.numbers))
                yield self.numbers[:, chosen].ravel(), labels

    def _epoch(self, epoch: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of an epoch in their order, and where each unit ends: a pair, or a concept."""
        draw = np.random.default_rng([self.seed, epoch])  # so that a run can start at any epoch
        if len(self.numbers) == 2 and not self.by_concept:
            rows = draw.permutation(self.units)
            return rows, np.arange(1, len(rows) + 1)

        # the rows concept by concept, and where the rows of each concept begin
        by_label = np.argsort(self.labels, kind="stable")
        count = np.bincount(self.labels)
        first = np.cumsum(count) - count
        if len(self.numbers) == 2:
            rows = draw.permutation(by_label[first + draw.integers(count)])
            return rows, np.arange(1, len(rows) + 1)

        # the same with the rows of each concept in random order; then take the first few of each
        rows = draw.permutation(len(self.labels))
        rows = rows[np.argsort(self.labels[rows], kind="stable")]
        concepts = draw.permutation(self.units)
        taken = np.minimum(count[concepts], self.names_per_concept)
        end = np.cumsum(taken)
        place = np.arange(end[-1]) - np.repeat(end - taken, taken)  # 0, 1, … within each concept
        return rows[np.repeat(first[concepts], taken) + place], end


def batches(data: pd.DataFrame, batch_size: int, seed: int, sampling: str = "pairs",
            names_per_concept: int = 2, start: int = 0) -> Iterator[tuple[list[str], Tensor]]:
    """The batches of :class:`Batches` as (n names, (n,) concept labels), from number ``start`` on.

    Example:
        >>> names, labels = next(batches(pairs, batch_size=256, seed=33))
    """
    drawn = Batches(data, batch_size, seed, sampling, names_per_concept)
    for numbers, labels in drawn(start):
        yield drawn.names[numbers].tolist(), torch.from_numpy(labels)


def labels_of_ambiguous(data: pd.DataFrame) -> dict[str, list[int]]:
    """The names that belong to several concepts, each with these concepts' labels in batches."""
    return Numbered(data).ambiguous()


def false_negatives(names: list[str], labels: Tensor, ambiguous: dict[str, list[int]]) -> Tensor:
    """Find pairs of names that aren't negatives: one also belongs to the other's concept.

    Args:
        names: n names of a batch.
        labels: (n,) their concepts in this batch.
        ambiguous: as :func:`labels_of_ambiguous` returns it.

    Returns:
        (n, n) boolean, symmetric.
    """
    also = torch.zeros(len(names), len(names), dtype=torch.bool)
    for i, name in enumerate(names):
        if name in ambiguous:
            also[i] = torch.isin(labels, torch.tensor(ambiguous[name]))
    return also | also.T


def hold_out_concepts(data: pd.DataFrame, concepts: int,
                      seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split pairs or names for a validation on unseen concepts.

    Returns:
        The rows without ``concepts`` randomly drawn concepts, and the rows of those concepts.

    Raises:
        ValueError: ``concepts`` is below 0, or the data have no more concepts than that.
    """
    every = np.sort(data["cui"].unique())
    if not 0 <= concepts < len(every):
        raise ValueError(f"{concepts} concepts cannot be held out of {len(every)}")
    drawn = np.random.default_rng(seed).choice(every, concepts, replace=False)
    held = data["cui"].isin(drawn)
    return data[~held].reset_index(drop=True), data[held].reset_index(drop=True)
