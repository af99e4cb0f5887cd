"""Checkers of notebook 03: the training."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from .judging import call, checker, expect


@checker
def training_1(factor: Callable[[int, int], float]) -> str:
    """Judge ``factor(step, steps)``: a rise over the first tenth of the steps, then a fall to 0."""
    for steps in (1000, 200):
        curve = np.array([float(call(factor, step, steps)) for step in range(steps)])
        top, end = int(curve.argmax()), steps // 10
        expect(curve.max() - curve.min() > 0.01, "Your factor never changes: that is the constant "
               "schedule of the paper.")
        expect(curve.min() >= -0.001, "Your factor falls below zero: a step would go backwards.")
        expect(0.95 <= curve.max() <= 1.02, "At its highest, the factor is 1: the full rate. "
               f"Yours reaches {curve.max():.2f}.")
        expect(curve[0] < 0.2, "Your run begins with the full rate. What are the first steps for?")
        expect(abs(top - end) <= 0.02 * steps, f"Of {steps} steps, yours is highest at step {top}. "
               "How long is a tenth?")
        expect(curve[-1] < 0.05, "The last step should hardly move the weights: fall to zero.")
        expect(abs(curve[end // 2] - 0.5) < 0.1 and abs(curve[(end + steps) // 2] - 0.5) < 0.1,
               "The ends are right, but the way between them is not straight.")
    return "The first steps are careful, and the last ones settle."


@checker
def training_2(answer: tuple[int, int, bool]) -> str:
    """Judge ``(positives, negatives, do they move)`` of six equal points, two of each concept."""
    expect(isinstance(answer, (tuple, list)) and len(answer) == 3,
           "Give three things: how many positives, how many negatives, and True or False.")
    positives, negatives, moves = (int(part) for part in answer)
    expect((positives, negatives) != (0, 0), "You say that nothing is kept. All distances are 0: "
           "is the negative farther than the positive by the margin?")
    expect((positives, negatives) != (3, 12), "You count each pair once. The miner looks from "
           "either name: each can be the anchor.")
    expect((positives, negatives) != (12, 24), "A name is not a positive of itself.")
    expect(positives == 6, "Each of the six points is an anchor, and has one positive.")
    expect(negatives == 24, "Each of the six points is an anchor. How many points are of other "
           "concepts, and which of them are dropped?")
    expect(not moves, "The pairs are right. Now print the gradient, or the points after a step: "
           "in which direction could equal vectors be pushed?")
    return "Every pair is kept, but none has a direction: a collapse doesn't repair itself."


def _toy(words: int, each: int) -> pd.DataFrame:
    """Pairs in random order: some concepts for each word, and three pairs for each concept."""
    rows = [(f"C{word:02}{number:02}", f"w{word} kind{number}", f"other{pair} of {word} {number}")
            for word in range(words) for number in range(each) for pair in range(3)]
    table = pd.DataFrame(rows, columns=["cui", "name1", "name2"])
    return table.sample(frac=1, random_state=0).reset_index(drop=True)


def _alike(names: pd.Series) -> float:
    """Share of the pairs of names that begin with the same word."""
    counts, n = names.str.split().str[0].value_counts(), len(names)
    return float((counts * (counts - 1)).sum() / (n * (n - 1)))


@checker
def training_3(look_alikes: Callable[[pd.DataFrame, int], pd.DataFrame]) -> str:
    """Judge ``look_alikes(pairs, size)``: pairs of different concepts, with similar names."""
    pairs, size = _toy(words=15, each=6), 12
    found = call(look_alikes, pairs.copy(), size)
    expect(isinstance(found, pd.DataFrame) and {"cui", "name1", "name2"} <= set(found.columns),
           "Return rows of the table, with its three columns.")
    expect(len(found) == size, f"Asked for {size} rows, you return {len(found)}.")
    known = set(pairs[["cui", "name1", "name2"]].itertuples(index=False, name=None))
    rows = list(found[["cui", "name1", "name2"]].itertuples(index=False, name=None))
    expect(known.issuperset(rows), "Your batch has rows that the table doesn't have. Keep the two "
           "names of a pair together, with their concept.")
    expect(found["cui"].is_unique, "A concept is in your batch twice. Two of its names aren't a "
           "negative pair: take one row of each concept.")
    alike = _alike(found["name1"])
    expect(alike > 2 * _alike(pairs.drop_duplicates("cui")["name1"]), "The names of your batch are "
           "no more alike than those of a random one.")
    expect(alike > 0.3, "The names are a little more alike than in a random batch. Take all "
           "concepts that share a word before you go on to the next word.")
    return "Nearly every negative now shares a word with its anchor."
