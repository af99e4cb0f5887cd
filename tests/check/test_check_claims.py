"""The checkers of notebook 08."""

import numpy as np
import pandas as pd
from scipy import stats

from sapbert_utils.course import check

ROWS = pd.DataFrame([(setting, seed, f"layperson {part}", value + seed)
                     for setting, dev, test in (("SapBERT", 34, 36), ("no miner", 33.5, 34))
                     for part, value in (("dev", dev), ("test", test)) for seed in (1, 2)],
                    columns=["setting", "seed", "benchmark", "acc@1"])
ROWS.loc[(ROWS["setting"] == "SapBERT") & (ROWS["seed"] == 2), "acc@1"] += 0.2


def test_claims_1(judged):
    judged(check.claims_1, 0.6, {"share or points": 0.006, "comes first": -0.6, "first seed alone": 0.5,
                                 "made on dev": 2.1, "and subtract": 7.0}, ROWS)


def width(gains, t=None, ddof=1, root=True):
    t = t or stats.t.ppf(0.975, len(gains) - 1)
    return t * np.std(gains, ddof=ddof) / (len(gains) ** 0.5 if root else 1)


def test_claims_2(judged):
    judged(check.claims_2, width, {
        "1.96 is for many": lambda gains: width(gains, 1.96),
        "of a single seed": lambda gains: width(gains, root=False),
        "divide the squares": lambda gains: width(gains, ddof=0),
        "two degrees of freedom": lambda gains: width(gains, stats.t.ppf(0.975, len(gains))),
        "not for five": lambda gains: width(gains, 4.303),
        "about two and a half": lambda gains: 0.0,
    })


def verdict(intervals, widened, bonferroni=True, against=True):
    if all(low > 0 for low, _ in intervals):
        return "holds"
    kept = widened if bonferroni else intervals
    up, down = any(low > 0 for low, _ in kept), against and any(high < 0 for _, high in kept)
    return {(True, True): "mixed", (True, False): "holds in part", (False, True): "contradicted here",
            (False, False): "not seen here"}[up, down]


def test_claims_3(judged):
    judged(check.claims_3, verdict, {
        "one may be lucky": lambda *given: verdict(*given, bonferroni=False),
        "must be able to lose": lambda *given: verdict(*given, against=False),
        "that's enough": lambda intervals, widened: verdict(widened, widened),
    })
