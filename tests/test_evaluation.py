"""Upstream's rules on their traps, acc@k, intervals, and figures that were measured by hand."""

import numpy as np
import pytest

from sapbert_utils.benchmarks import Benchmark, hpo_layperson
from sapbert_utils.evaluation import (
    accuracy_at_k,
    bootstrap_interval,
    first_hits,
    score_upstream,
    split_mention,
    tfidf_first_hits,
)


def test_label_is_right_when_the_sets_meet():
    concepts, candidates = ["C1|C2", "C3", "C2", "C1"], np.array([[1, 0, 2], [1, 0, 3], [2, 3, 0], [1, 1, 1]])
    assert first_hits(candidates, concepts, ["C2", "C9", "C1+C7", "C3"]).tolist() == [2, 0, 2, 1]
    assert first_hits(np.array([[0]]), ["C10"], ["C1"]).tolist() == [0]  # no match by prefix


def test_composite_mentions_need_every_part():
    assert split_mention("a+b|c") == ["a", "b", "c"]
    assert split_mention("K+") == ["K", ""]  # upstream's trap: the charge of an ion makes an empty part
    unit = np.eye(3, dtype="f4")
    where = {"x": unit[0], "y": unit[1], "z": unit[2]}
    bench = Benchmark("toy", ("x|y", "x|z", "y"), ("C1|C2", "C1|C2", "C2"), ("x", "y", "z"), ("C1", "C2", "C3"))
    ranks = score_upstream(bench, unit, lambda m: np.stack([where[x] for x in m]), k=1)
    assert ranks.tolist() == [1, 0, 1]


def test_accuracy_and_interval():
    ranks = np.array([1, 2, 0, 6])
    assert [accuracy_at_k(ranks, k) for k in (1, 2, 5, 10)] == [25, 50, 50, 75]
    low, high = bootstrap_interval(np.array([1] * 300 + [0] * 700), seed=1)
    assert 27 < low < 28.5 and 31.5 < high < 33
    assert bootstrap_interval(ranks, seed=5) == bootstrap_interval(ranks, seed=5)
    with pytest.raises(ValueError, match="no query"):
        accuracy_at_k(np.array([]), 1)


def test_tfidf_on_hpo_layperson_is_the_figure_measured_by_hand():
    benchmark = hpo_layperson().sample(1500)
    ranks = tfidf_first_hits(benchmark)
    assert accuracy_at_k(ranks, 1) == pytest.approx(20.6, abs=3)
    assert accuracy_at_k(ranks, 5) == pytest.approx(39.3, abs=3.5)
