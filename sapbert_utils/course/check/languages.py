"""Checkers of notebook 05: linking across languages."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from .judging import call, checker, expect

Array = np.ndarray


@checker
def languages_1(average: Callable[[Array, Array], float]) -> str:
    """Judge ``average(ranks, language)``: acc@1 in per cent, each language counting the same.

    ``ranks`` are those of the first right candidate, from 1, or 0 where none is right: (m,) int.
    ``language`` names the language of each mention: (m,).
    """
    ranks, language = np.array([1, 0, 1, 1, 1, 3, 1, 2]), np.array(["GER", "JPN"] + 6 * ["GER"])
    language[5] = "JPN"  # German: 5 of 6 right, Japanese: 0 of 2
    given = float(call(average, ranks, language))
    expect(given > 1, "acc@1 is a number from 0 to 100 here: per cent, not a share.")
    expect(not np.isclose(given, 500 / 8), "German has six mentions in my toy and Japanese two, "
           "and you let every mention count the same. That's the other average.")
    expect(not np.isclose(given, 75), "You count every mention whose gold name is among the "
           "candidates. acc@1 asks for the first place.")
    expect(not np.isclose(given, 200 / 3), "Rank 0 isn't better than rank 1: it says that no "
           "candidate was right.")
    expect(np.isclose(given, 125 / 3), "One of my languages has five of six right and the other "
           "none of two. Your result isn't the mean of these two shares.")
    alone = float(call(average, np.array([1, 1, 0, 2]), np.array(4 * ["FRE"])))
    expect(np.isclose(alone, 50), "With a single language, the average must be that language's own "
           "acc@1. Do you divide by a fixed number of languages?")
    return "A language with few mentions weighs as much as one with many."


@checker
def languages_2(answer: str, gold: Sequence[str], found: Sequence[str],
                language: Sequence[str]) -> str:
    """Judge the language whose acc@1 gains most if an answer in the right block counts as right.

    ``gold`` and ``found`` are the codes of each mention and of its best candidate, ``language``
    names its language: (m,) each. A block is a code's first three characters.
    """
    codes, best = pd.Series(list(gold)), pd.Series(list(found))
    rows = pd.DataFrame({"code": 100.0 * (codes == best), "language": list(language),
                         "block": 100.0 * (codes.str[:3] == best.str[:3])})
    share = rows.groupby("language")[["code", "block"]].mean()
    gain = share["block"] - share["code"]
    near = (rows["block"] - rows["code"])[rows["code"] == 0].groupby(rows["language"]).mean()
    lat = str(answer).strip().upper()
    expect(lat in gain, f"Answer with one of {', '.join(gain.index)}, as text.")
    top = gain[lat] >= gain.max() - 1e-9
    expect(top or lat != share["block"].idxmax(), f"{lat} has the highest accuracy by block, but "
           "it was high by code as well. Which language *gains* most?")
    expect(top or lat != gain.idxmin(), f"{lat} gains least of all. Which way round did you take "
           "the difference?")
    expect(top or lat != near.idxmax(), f"In {lat}, the largest share of *failures* stays in the "
           "right block. I'm asking for points of accuracy, over all mentions.")
    expect(top, f"{lat} gains {gain[lat]:.1f} points, and another language gains more.")
    return f"{lat} gains {gain[lat]:.1f} points: that many of its errors stay within the block."


@checker
def languages_3(centred: Callable[[Array, Array], Array]) -> str:
    """Judge ``centred(vectors, language)``: each language moved to the origin, then length one.

    ``vectors`` are (m, d) float, ``language`` names the language of each row: (m,).
    """
    language = np.array(["GER", "JPN", "JPN", "GER", "GER", "JPN", "GER"])
    vectors = np.random.default_rng(0).normal(size=(7, 4))
    vectors += np.where(language[:, None] == "GER", [3.0, 0, 0, 0], [0, -4.0, 0, 0])
    before = vectors.copy()
    given = np.asarray(call(centred, vectors, language), dtype=float)
    expect(np.array_equal(vectors, before), "Your function changes the vectors that it is given. "
           "Return new ones, and leave the old ones as they are.")
    expect(given.shape == vectors.shape, f"I gave {vectors.shape[0]} vectors of {vectors.shape[1]} "
           f"numbers, and got back an array of shape {given.shape}.")
    means = np.stack([before[language == lat].mean(0) for lat in language])
    length = np.linalg.norm(given, axis=1)
    expect(not np.allclose(given, _unit(before)) and not np.allclose(given, before),
           "No mean has been taken away: the languages are as far apart as before.")
    one_mean = before - before.mean(0)
    expect(not np.allclose(given, one_mean) and not np.allclose(given, _unit(one_mean)),
           "You subtract one mean from all vectors. Then the languages stay as far from each other "
           "as they were: each needs a mean of its own.")
    expect(np.allclose(length, 1), "The vectors don't have length one at the end. The cosine "
           "doesn't mind, but the dot product does.")
    right = _unit(before - means)
    same_rows = np.allclose(np.sort(given.sum(1)), np.sort(right.sum(1)))
    expect(np.allclose(given, right) or not same_rows, "These are the right vectors in another "
           "order. Row i of the result must belong to row i of what you were given.")
    expect(np.allclose(given, right), "The lengths are right and the directions aren't. What is "
           "the mean of the vectors of one language, before you scale anything?")
    return "What all names of a language share is gone, so it can't keep languages apart any more."


def _unit(vectors: Array) -> Array:
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
