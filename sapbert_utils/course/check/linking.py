"""Checkers of notebook 04: ranks, similarities and intervals."""

from collections.abc import Callable
from typing import Any

import numpy as np

from .judging import call, checker, expect


@checker
def linking_1(mean_reciprocal_rank: Callable[[np.ndarray], float]) -> str:
    """Judge ``mean_reciprocal_rank(first_hit)``: (q,) ranks from 1, 0 if not found -> a share."""
    def of(*ranks: int) -> float:
        with np.errstate(divide="ignore", invalid="ignore"):  # a hint covers it
            return float(call(mean_reciprocal_rank, np.array(ranks)))

    top = of(1, 1)
    expect(not np.isclose(top, 100), "A mention at rank 1 gives 1, not 100: return a share.")
    expect(not np.isclose(top, 2), "Two mentions at rank 1 give you 2. It's a mean, not a sum.")
    expect(not np.isclose(of(2, 4), 1 / 3), "You average the ranks and then divide. First give "
           "each mention its own share.")
    expect(np.isclose(top, 1) and np.isclose(of(2, 4), 3 / 8), "Ranks 2 and 4 should give the "
           "mean of a half and a quarter. Look at these two by hand.")
    lost = of(2, 0)
    expect(np.isfinite(lost), "A rank of 0 breaks your division. What should such a mention give?")
    expect(not np.isclose(lost, 1 / 2), "You leave out the mentions that were never found. They "
           "give nothing, but they count.")
    expect(not np.isclose(lost, 3 / 4), "A mention that was never found counts in full. What does "
           "a rank of 0 mean?")
    expect(np.isclose(lost, 1 / 4) and of(0, 0) == 0, "Something is wrong with mentions that were "
           "never found: rank 0 gives nothing.")
    return "Unlike acc@1, it gives a right name at rank 2 half of the credit."


@checker
def linking_2(rows: Any, by_cosine: np.ndarray, by_dot: np.ndarray) -> str:
    """Judge ``rows``, each mention's first row of the dictionary, found by a dot product.

    ``by_cosine`` and ``by_dot`` are the (q,) rows that cosine and the raw dot product put first.
    """
    found = rows if isinstance(rows, np.ndarray) else np.array(rows, dtype=object)
    expect(found.shape == by_cosine.shape, f"Give one row of the dictionary for each of "
           f"the {len(by_cosine):,} mentions: `search` returns a pair, and its first part is "
           "(mentions, k).")
    if np.mean(found == by_cosine) < 0.99:  # rounding may separate two equal names
        expect(np.mean(found == by_dot) < 0.99, "These are the winners of the raw dot product. A "
               "mention's length is the same for all its candidates: whose lengths matter?")
        expect(False, "These win by neither similarity. Each vector needs length one by itself: "
               "check the axis over which you take the norm.")
    return "Store unit vectors, and every dot-product index ranks by cosine."


@checker
def linking_3(one_draw: Callable[[np.ndarray, np.ndarray, np.random.Generator], float]) -> str:
    """Judge ``one_draw(difference, concept, rng)``: the mean difference of a draw of concepts.

    ``difference`` and ``concept`` are (q,), by mention.
    """
    rng = np.random.default_rng(33)

    def of(differences: list[int], sizes: list[int]) -> set[float]:
        """The values of 60 draws; each concept's mentions share one difference."""
        concept = np.repeat([f"C{i}" for i in range(len(sizes))], sizes)
        draws = [call(one_draw, np.repeat(differences, sizes), concept, rng) for _ in range(60)]
        return {round(float(value), 6) for value in draws}

    two = of([1, 0], [20, 20])
    expect(max(two) <= 1, "A mean of differences is at most 1. Divide by the mentions that "
           "you've drawn.")
    expect(len(two) > 1, "All your draws give the same. Draw with replacement, and by `rng`.")
    expect(two <= {0, 0.5, 1}, "If one of two concepts gains 1 everywhere and the other 0, a draw "
           "gives 0, ½ or 1. Draw as many concepts as there are, each with all its mentions.")
    expect(0.5 not in of([1, 0], [3, 1]), "Each concept weighs the same in your mean, however many "
           "mentions it has.")
    expect(of([1, 0, -1], [1, 1, 1]) <= {round(n / 3, 6) for n in range(-3, 4)}, "A concept that "
           "was drawn twice must count twice.")
    return "Mentions of one concept come and go together, so the interval gets wider."
