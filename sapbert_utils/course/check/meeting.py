"""Checkers of notebook 00: meet SapBERT."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .judging import call, checker, expect


def _pieces(text: str, n: int) -> set[str]:
    text = f" {text.lower()} "
    return {text[i : i + n] for i in range(len(text) - n + 1)}


@checker
def meeting_1(overlap_of: Callable[[str, str, int], float]) -> str:
    """Judge ``overlap_of(a, b, n)``: the Jaccard index of the strings' pieces of n characters."""
    expect(abs(call(overlap_of, "lazy eye", "lazy eye", 3) - 1) < 1e-9, "A string and itself share "
           "every piece, so their overlap is 1. What do you divide by?")
    expect(abs(call(overlap_of, "Lazy Eye", "lazy eye", 3) - 1) < 1e-9, "Your overlap "
           "treats capitals and small letters as different.")
    expect(call(overlap_of, "a", "ab", 2) > 0, "'a' and 'ab' begin alike, and with n = 2 only the "
           "blank before them can show it. Where are the blanks?")
    expect(call(overlap_of, "xa", "ya", 2) > 0, "'xa' and 'ya' end alike, but your overlap doesn't "
           "see it: is the last piece missing?")
    expect(abs(call(overlap_of, "a", "abc", 2) - call(overlap_of, "abc", "a", 2)) < 1e-9,
           "Your overlap changes when the two strings swap places.")
    expect(call(overlap_of, "wide nose", "broad nose", 2) != call(
        overlap_of, "wide nose", "broad nose", 4), "Your n changes nothing.")
    for a, b, n in (("wide nose", "broad nose", 3), ("runny nose", "rhinorrhea", 2)):
        one, other, found = _pieces(a, n), _pieces(b, n), call(overlap_of, a, b, n)
        expect(abs(found - 2 * len(one & other) / (len(one) + len(other))) > 1e-9, "Your divisor "
               "counts a piece that both strings have twice.")
        expect(abs(found - len(one & other) / len(one | other)) < 1e-9,
               f"The value for {a!r}, {b!r} and n = {n} is off. Count each different piece once.")
    return "Short pieces are shared more often, and more often by chance."


@checker
def meeting_2(ceiling: Any, ranks: Mapping[str, np.ndarray]) -> str:
    """Judge the share of mentions, in per cent, that at least one method puts right at rank 1.

    ``ranks`` has the array of each method: the rank of the first right name, 0 if there is none.
    """
    expect(isinstance(ceiling, (int, float, np.number)), "Give one number.")
    table = np.array(list(ranks.values()))
    first = table == 1
    right = 100 * first.any(axis=0).mean()
    mistakes = {
        "Give it in per cent of the mentions.": [right / 100, float(first.any(axis=0).sum())],
        "That counts a mention once for each method that gets it.": [100 * first.mean(1).sum()],
        "That's the best method alone. Another one may know what it doesn't.":
            [100 * first.mean(axis=1).max()],
        "For those mentions all methods are right. One is enough.":
            [100 * first.all(axis=0).mean()],
        "That counts right names anywhere among the first ten. What does a 2 in ranks mean, "
        "and what does a 0?": [100 * (table > 0).any(axis=0).mean()],
    }
    for hint, values in mistakes.items():
        wrong = any(abs(ceiling - value) <= 0.1 for value in values)
        expect(not wrong or abs(ceiling - right) <= 0.1, hint)
    expect(abs(ceiling - right) <= 0.1, "It can't be below the best method alone, nor above the "
           "sum of all of them. For each mention, ask whether any method has rank 1.")
    return "No choice among these methods' first answers can beat it."


@checker
def meeting_3(first_concepts: Callable[[Sequence[str], int], Sequence[str]]) -> str:
    """Judge ``first_concepts(found, k)``: the first k different concepts of the candidates."""
    found = list(call(first_concepts, ["B", "A", "B", "C", "D"], 3))
    expect(len(set(found)) == len(found), "Your list has a concept twice.")
    expect(sorted(found) != ["A", "B"], "You look at the first k names only, which may have fewer "
           "than k concepts.")
    expect(len(found) == 3, f"With k = 3 your list has {len(found)} concepts.")
    expect(found == ["B", "A", "C"], "The concepts aren't in the order of the candidates.")
    expect(list(call(first_concepts, ["A"], 5)) == ["A"], "Sometimes there are fewer than k "
           "concepts in all. Then give those.")
    found = list(call(first_concepts, ["A|B", "B", "C"], 3))
    expect(found == ["A", "B", "C"], "'A|B' stands for two concepts, A and B.")
    expect(list(call(first_concepts, ["A", "B|C"], 2)) == ["A", "B"], "A candidate with several "
           "concepts can make your list longer than k.")
    return "The search finds names, but its reader wants concepts."
