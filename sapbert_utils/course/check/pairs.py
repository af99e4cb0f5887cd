"""Checkers of notebook 01: names and pairs."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from .judging import call, checker, expect


@checker
def pairs_1(count_pairs: Callable[[Sequence[int], int], int]) -> str:
    """Judge ``count_pairs(sizes, cap)``: pairs of concepts with these many names, each capped."""
    expect(call(count_pairs, [4], 50) != 16, "Four names make 16 pairs only if a name goes with "
           "itself, too.")
    expect(call(count_pairs, [4], 50) != 12, "You count each pair in both orders.")
    expect(call(count_pairs, [4], 50) == 6, "Four names should make as many pairs as the toy's.")
    expect(call(count_pairs, [1, 4], 50) == 6, "A concept with one name makes no pair, and the "
           "others are still counted.")
    expect(call(count_pairs, [10], 5) != 45, "Your cap changes nothing.")
    expect(call(count_pairs, [10], 5) != 10, "The cap is on the pairs, not on the names.")
    expect(call(count_pairs, [10, 10], 5) != 5, "The cap is for each concept, not for all of them "
           "together.")
    for sizes, cap in (([10, 10], 5), ([1, 2, 3, 30], 50), ([11, 4], 50)):
        right = sum(min(k * (k - 1) // 2, cap) for k in sizes)
        expect(call(count_pairs, sizes, cap) == right,
               f"With the sizes {sizes} and a cap of {cap}, the number of pairs is off.")
    return "The cap cuts the largest concepts down and leaves the others as they are."


@checker
def pairs_2(nameless: Any, names: pd.DataFrame) -> str:
    """Judge how many concepts have no name left once every ambiguous name is dropped.

    ``names`` has the columns ``cui`` and ``name``, one row for each name of each concept.
    """
    expect(isinstance(nameless, (int, np.integer)), "Give a whole number.")
    shared = names.groupby("name")["cui"].transform("nunique") > 1
    clear = (~shared).groupby(names["cui"]).sum()
    right = int((clear == 0).sum())
    mistakes = {
        "That's the number of ambiguous names. Ask for concepts.":
            names["name"][shared].nunique(),
        "That's the number of rows that are dropped. Ask for concepts.": shared.sum(),
        "Those concepts lose a name, but some keep another one.": names["cui"][shared].nunique(),
        "Those concepts still have a name. Which have none?": (clear > 0).sum(),
        "Those concepts make no pair. One name is enough to be linked to.": (clear < 2).sum(),
    }
    for hint, wrong in mistakes.items():
        expect(nameless == right or nameless != int(wrong), hint)
    expect(nameless == right, "Compare the concepts before with the concepts that still have a row "
           "when the ambiguous names are gone.")
    return "Drop such names from the pairs if you like, but not from the dictionary."


@checker
def pairs_3(leaks: Callable[[Sequence[str], set[str]], Sequence[str]]) -> str:
    """Judge ``leaks(names, held)``: held-out strings, whatever the order, case and punctuation."""
    held = {"large feet", "red blood cell and red nose"}
    expect("large feet" in call(leaks, ["large feet"], held), "A name that equals a held-out "
           "string leaks as well.")
    expect("feet large" in call(leaks, ["feet large"], held), "The order of the words still counts "
           "in your comparison.")
    expect("feet, large" in call(leaks, ["feet, large"], held), "A comma still hides a leak.")
    expect("Feet, Large" in call(leaks, ["Feet, Large"], held), "Capitals still hide a leak.")
    expect(not call(leaks, ["flat feet", "feet"], held), "You report names that share a word "
           "with a held-out string. All words have to be the same.")
    expect(not call(leaks, ["very large feet"], held), "You report names that have more words than "
           "the held-out string.")
    expect(not call(leaks, ["fleet gear"], held), "You compare letters, not words: 'fleet gear' "
           "has the letters of 'large feet'.")
    expect(not call(leaks, ["red blood cell and nose"], held), "A word that occurs twice in the "
           "held-out string has to occur twice in the name.")
    names = ["feet, large", "flat feet", "large feet!", "nose, red, and red blood cell"]
    right = [n for n in names if sorted(re.findall(r"\w+", n)) in [sorted(h.split()) for h in held]]
    expect(sorted(call(leaks, names, held)) == sorted(right), "Return the names as they were "
           "written, each one once.")
    return "Plurals and small words would still pass. What matters is to say which rule you used."
