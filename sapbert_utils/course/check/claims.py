"""Checkers of notebook 08: comparisons, intervals, verdicts."""

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from .judging import call, checker, expect


@checker
def claims_1(gain: float, rows: pd.DataFrame) -> str:
    """Judge the mean gain at 1 of the miner over no miner on the dev queries, in points.

    ``rows`` is the committed table: setting, seed, benchmark, acc@1 in percent.
    """
    def mean(setting: str, benchmark: str) -> float:
        kept = rows[(rows["setting"] == setting) & (rows["benchmark"] == benchmark)]
        return float(kept["acc@1"].mean())

    dev, test = (mean("SapBERT", f"layperson {part}") - mean("no miner", f"layperson {part}")
                 for part in ("dev", "test"))
    first = rows[(rows["seed"] == 1) & (rows["benchmark"] == "layperson dev")].set_index("setting")
    one = float(first.at["SapBERT", "acc@1"] - first.at["no miner", "acc@1"])
    expect(abs(gain - dev / 100) > 0.002, "Is that a share or points? acc@1 is in percent here.")
    expect(abs(gain + dev) > 0.02 or abs(dev) < 0.02, "Your sign is reversed. Which of the two "
           "settings comes first in your difference?")
    expect(abs(gain - one) > 0.02, "That's the first seed alone. How many are there?")
    expect(abs(gain - test) > 0.02, "Those are the test queries. A choice is made on dev.")
    expect(abs(gain - dev) < 0.02, "Take the mean of acc@1 over the seeds of each setting, on "
           "`layperson dev`, and subtract.")
    return (f"{dev:+.2f} on dev, {test:+.2f} on test: another seed, or other mentions, would "
            "shift it by as much.")


@checker
def claims_2(half_width: Callable[[Sequence[float]], float]) -> str:
    """Judge ``half_width(gains)``: half the 95 % interval of a mean over seeds, by Student's t."""
    three, five = [1.0, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0, 5.0]
    found = call(half_width, three)
    expect(abs(found - 1.96 / 3**0.5) > 0.01, "1.96 is for many seeds. With three, the spread "
           "itself is uncertain: which distribution allows for that?")
    expect(abs(found - 4.303) > 0.01, "That's the interval of a single seed. How does the mean of "
           "several spread?")
    expect(abs(found - 4.303 * np.std(three) / 3**0.5) > 0.01, "You divide the squares by the "
           "number of seeds. One degree of freedom went into the mean.")
    expect(abs(found - 3.182 / 3**0.5) > 0.01, "Three seeds leave two degrees of "
           "freedom, not three.")
    expect(abs(found - 4.303 / 3**0.5) < 0.01, "For 1, 2 and 3 points the half width should be "
           "about two and a half: it takes the standard deviation, the root of the number and t.")
    expect(abs(call(half_width, five) - 2.776 * np.std(five, ddof=1) / 5**0.5) < 0.01,
           "It's right for three seeds, but not for five: t depends on their number.")
    return "With two degrees of freedom, t is more than twice the 1.96 of a normal distribution."


@checker
def claims_3(says: Callable[[list[tuple[float, float]], list[tuple[float, float]]], str]) -> str:
    """Judge ``says(intervals, widened)``: the verdict on several (low, high), by one rule."""
    above, across, below = (0.5, 2.0), (-0.4, 1.1), (-2.0, -0.5)
    expect(call(says, [above, above], [(0.1, 2.4), (-0.1, 2.6)]) == "holds",
           "All intervals lie above zero, and that's enough: widen them only otherwise.")
    expect(call(says, [above, across], [(-0.1, 2.6), (-0.9, 1.6)]) == "not seen here",
           "One interval was above zero, but not once it's widened. With several comparisons, one "
           "may be lucky.")
    expect(call(says, [above, across], [(0.1, 2.4), (-0.9, 1.6)]) == "holds in part",
           "One widened interval is above zero and none is below.")
    expect(call(says, [below, across], [(-2.4, -0.1), (-0.9, 1.6)]) == "contradicted here",
           "A claim must be able to lose: here a widened interval lies below zero, and none above.")
    expect(call(says, [above, below], [(0.1, 2.4), (-2.4, -0.1)]) == "mixed",
           "One widened interval lies above zero and another below.")
    return "Five verdicts, one rule for all claims, and it was fixed before the rows were seen."
