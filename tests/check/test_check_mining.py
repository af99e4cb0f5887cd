"""The checkers of notebook 02."""

import numpy as np

from sapbert_utils.course import check
from sapbert_utils.course.check.mining import _mine


def test_mining_1(judged):
    judged(check.mining_1, lambda p, n, margin: n - p <= margin, {
        "which way round": lambda p, n, margin: p - n <= margin,
        "What is the margin for": lambda p, n, margin: n - p <= -margin,
        "changes nothing": lambda p, n, margin: n - p <= 0.2,
        "far beyond the positive": lambda p, n, margin: True,
        "by exactly the margin": lambda p, n, margin: n - p < margin,
    })


def flagged(names, labels, concepts_of, counts=lambda i, j: True):
    return [[labels[i] != labels[j] and bool(concepts_of[one] & concepts_of[two]) and counts(i, j)
             for j, two in enumerate(names)] for i, one in enumerate(names)]


def ambiguous(names, labels, concepts_of):
    """As the library's mask: a third concept counts for nothing."""
    own = [set.intersection(*(concepts_of[n] for n, x in zip(names, labels) if x == label))
           for label in labels]
    return [[labels[i] != labels[j] and bool(concepts_of[one] & own[j] or own[i] & concepts_of[two])
             for j, two in enumerate(names)] for i, one in enumerate(names)]


def test_mining_2(judged):
    judged(check.mining_2, flagged, {
        "a square table": lambda names, labels, concepts_of: [True] * len(names),
        "flags positives": lambda names, labels, concepts_of: [
            [bool(concepts_of[a] & concepts_of[b]) for b in names] for a in names],
        "no concept at all": lambda names, labels, concepts_of: labels[:, None] != labels[None, :],
        "your table misses it": lambda names, labels, concepts_of: np.zeros((8, 8), dtype=bool),
        "only once": lambda *given: flagged(*given, counts=lambda i, j: i < j),
        "in the batch twice": lambda names, *given: flagged(
            names, *given, counts=lambda i, j: names[i] != names[j]),
        "the label of neither": ambiguous,
        "misses a pair": lambda *given: flagged(*given, counts=lambda i, j: {i, j} != {4, 5}),
    })


def only_whole(distance, labels, half, margin, kinds=slice(None), whole_margin=None):
    rows = np.ix_(half, half)
    whole = _mine(distance, labels, margin if whole_margin is None else whole_margin)[kinds]
    alone = _mine(distance[rows], labels[half], margin)[kinds]
    return sum(int((w[rows] & ~a).sum()) for w, a in zip(whole, alone))


def all_of_the_half(distance, labels, half, margin):
    return sum(int(w[np.ix_(half, half)].sum()) for w in _mine(distance, labels, margin))


def whole_minus_half(distance, labels, half, margin):
    whole, alone = (_mine(*given, margin) for given in (
        (distance, labels), (distance[np.ix_(half, half)], labels[half])))
    return sum(int(x.sum()) for x in whole) - sum(int(x.sum()) for x in alone)


def test_mining_3(judged):
    judged(check.mining_3, only_whole, {
        "which of the two tables": lambda *given: 0,
        "finds by itself": all_of_the_half,
        "outside the half": whole_minus_half,
        "one kind of pair": lambda *given: only_whole(*given, kinds=slice(1)),
        "here 0.2": lambda *given: only_whole(*given, whole_margin=0.3),
        "here 0.5": lambda distance, labels, half, margin: only_whole(distance, labels, half, 0.2),
        "one number": lambda *given: [1, 2],
    })
    assert "one kind" in check.mining_3(lambda *given: only_whole(*given, kinds=slice(1, 2))).text
