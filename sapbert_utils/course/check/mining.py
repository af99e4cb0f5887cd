"""Checkers of notebook 02: hard pairs."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .judging import call, checker, expect


@checker
def mining_1(keeps: Callable[[float, float, float], bool]) -> str:
    """Judge ``keeps(to_positive, to_negative, margin)``: is a triplet hard enough to be kept?"""
    expect(call(keeps, 0.9, 0.1, 0.2), "A negative that is nearer than the positive is the hardest "
           "of all, and your rule drops it: which way round is the comparison?")
    expect(not call(keeps, 0.1, 0.9, 0.2), "Your rule keeps a negative that is far beyond the "
           "positive. Nothing is left to learn from it.")
    expect(call(keeps, 0.4, 0.5, 0.2), "Your rule keeps only negatives that are nearer than the "
           "positive. What is the margin for?")
    expect(not call(keeps, 0.4, 0.5, 0.05), "The margin changes nothing in your rule.")
    expect(call(keeps, 0.25, 0.5, 0.25), "A negative that is farther by exactly the margin stays. "
           "Your rule drops it.")
    return "A triplet goes only if its negative is farther by more than the margin."


@checker
def mining_2(flagged: Callable[[list[str], np.ndarray, dict[str, set[str]]], Any]) -> str:
    """Judge ``flagged(names, labels, concepts_of)``: which pairs of a batch are false negatives?

    It gets n names, an array (n,) of labels, and each name's concepts. It returns (n, n) bool.
    """
    names = ["mi", "mitral insufficiency", "cold", "chill",
             "heart attack", "mi", "head cold", "chills"]
    labels = np.array([0, 1, 2, 3, 0, 1, 2, 3])
    concepts_of = {"mi": {"C0", "C1"}, "mitral insufficiency": {"C1"}, "heart attack": {"C0"},
                   "cold": {"C2", "C9"}, "head cold": {"C2"},
                   "chill": {"C3", "C9"}, "chills": {"C3"}}
    found = np.asarray(call(flagged, names, labels, concepts_of))
    expect(found.shape == (8, 8), "Return a square table: for each name a row, with a yes or no "
           f"for each name. For eight names yours has the shape {found.shape}.")
    found, same = found.astype(bool), labels[:, None] == labels[None, :]
    expect(not found[same].any(), "Your table flags positives: two names of one label share a "
           "concept, as they should, and so does a name with itself.")
    share = [bool(concepts_of[names[i]] & concepts_of[names[j]]) for i, j in np.argwhere(found)]
    expect(all(share), "Your table flags two names that share no concept at all.")
    expect(found[0, 1] or found[1, 0], "One name of a pair belongs to the other's concept as well "
           "as to its own, and your table misses it.")
    expect((found == found.T).all(), "Either name of a pair can be the anchor, and your table has "
           "the pair only once.")
    expect(found[0, 5], "The same string is in the batch twice, under two labels. That's the "
           "worst false negative, and your table misses it.")
    expect(found[2, 3], "Two names can share a concept that is the label of neither.")
    expect(found[4, 5], "Your table misses a pair. Compare every name with every other.")
    return "A batch's labels say who is pushed; only the terminology says who shouldn't be."


def _mine(distance: np.ndarray, labels: np.ndarray, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """Which (anchor, other name) are kept: positives, negatives; (n, n) bool each."""
    same = labels[:, None] == labels[None, :]
    positive, negative = same & ~np.eye(len(labels), dtype=bool), ~same
    nearest = np.where(negative, distance, np.inf).min(1, keepdims=True)
    farthest = np.where(positive, distance, -np.inf).max(1, keepdims=True)
    return positive & (distance >= nearest - margin), negative & (distance <= farthest + margin)


@checker
def mining_3(only_whole: Callable[[np.ndarray, np.ndarray, list[int], float], int]) -> str:
    """Judge ``only_whole(distance, labels, half, margin)``: what does a half batch miss?

    It gets distances (n, n), labels (n,) and the rows of the half. It returns how many (anchor,
    other name) inside the half are kept in the whole batch, but not in the half alone.
    """
    degrees = np.radians([0, 12, 40, 33, 70, 95, 20, 61, 150, 160, 200, 215])
    points = np.stack([np.cos(degrees), np.sin(degrees)], axis=1)
    distance = np.linalg.norm(points[:, None] - points[None, :], axis=2)
    labels, half = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3, 4, 4]), [0, 1, 2, 5, 7, 8]
    rows = np.ix_(half, half)
    for margin in (0.2, 0.5):
        whole = _mine(distance, labels, margin)
        alone = _mine(distance[rows], labels[half], margin)
        positive, negative = (int((w[rows] & ~a).sum()) for w, a in zip(whole, alone))
        kept = sum(int(w[rows].sum()) for w in whole)
        outside = sum(int(w.sum()) for w in whole) - sum(int(a.sum()) for a in alone)
        found = call(only_whole, distance.copy(), labels.copy(), list(half), margin)
        expect(np.ndim(found) == 0, "Return one number: how many pairs there are.")
        expect(found != 0, "You find none, but there are some. A half lacks names, so its nearest "
               "negative may be farther away: which of the two tables holds the larger set?")
        expect(found != kept, "You count every pair of the half that the whole batch keeps. Leave "
               "out those that the half finds by itself.")
        expect(found != outside, "You count pairs with a name outside the half, too. The half "
               "never sees that name.")
        expect(found not in (positive, negative), "You count one kind of pair. The miner returns "
               "two tables.")
        expect(found == positive + negative, "That isn't the number. Mine the half's own rows and "
               f"columns with the same margin as the whole, here {margin:g}.")
    return "A half misses hard pairs, and never finds one that the whole batch would drop."
