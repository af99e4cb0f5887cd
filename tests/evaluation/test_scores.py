"""acc@k, intervals, comparisons, an encoder on a benchmark, figures that were measured by hand."""

import time

import numpy as np
import pytest
from scipy.stats import permutation_test

from sapbert_utils.evaluation import (
    accuracy_at_k,
    bootstrap_interval,
    evaluate,
    mean_reciprocal_rank,
    paired_comparison,
)
from sapbert_utils.evaluation.baselines import exact_match, fuzzy, hybrid, tfidf
from sapbert_utils.evaluation.benchmarks import Benchmark, hpo_layperson
from sapbert_utils.evaluation.protocols import first_hits, predict, score
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode

NAMES = ("heart attack", "myocardial infarction", "fever", "high fever", "ache of the head")


def test_label_is_right_when_the_sets_meet():
    concepts = ["C1|C2", "C3", "C2", "C1"]
    candidates = np.array([[1, 0, 2], [1, 0, 3], [2, 3, 0], [1, 1, 1]])
    assert first_hits(candidates, concepts, ["C2", "C9", "C1+C7", "C3"]).tolist() == [2, 0, 2, 1]
    assert first_hits(np.array([[0]]), ["C10"], ["C1"]).tolist() == [0]  # no match by prefix


def test_first_hits_equals_the_plain_rule_and_is_quick():
    draw = np.random.default_rng(0)
    concepts = [f"C{i}" + (f"|C{i + 7}" if i % 9 == 0 else "") for i in draw.integers(0, 40, 3000)]
    gold = [f"C{i}" + ("+C5" if i % 5 == 0 else "|C6" if i % 3 == 0 else "")
            for i in draw.integers(0, 40, 10_000)]
    candidates = draw.integers(0, 3000, (10_000, 10))
    start = time.process_time()
    found = first_hits(candidates, concepts, gold)
    assert time.process_time() - start < 5  # it takes a fifth of a second
    golds = [set(g.replace("+", "|").split("|")) for g in gold]
    right = np.array([[not g.isdisjoint(concepts[i].split("|")) for i in row]
                      for row, g in zip(candidates.tolist(), golds)])
    assert np.array_equal(found, np.where(right.any(1), right.argmax(1) + 1, 0))
    assert 0.02 < (found == 1).mean() < found.astype(bool).mean() < 1


def test_scores_of_no_query_are_refused():
    nothing = np.zeros(0, int)
    for scored in (lambda: accuracy_at_k(nothing, 1), lambda: bootstrap_interval(nothing),
                   lambda: mean_reciprocal_rank(nothing),
                   lambda: paired_comparison(nothing, nothing)):
        with pytest.raises(ValueError, match="no query to score"):
            scored()


def test_first_hits_is_lenient_where_there_is_nothing_to_find():
    assert first_hits(np.array([[0, 1], [1, 0]]), ["C1", "C2"], ["", "C1"]).tolist() == [0, 2]
    assert first_hits(np.array([[-1, -1], [0, -1]]), ["C1"], ["C1", "C1"]).tolist() == [0, 1]
    assert first_hits(np.empty((0, 3), int), ["C1"], []).tolist() == []


def test_accuracy_interval_and_reciprocal_rank():
    ranks = np.array([1, 2, 0, 6])
    assert [accuracy_at_k(ranks, k) for k in (1, 2, 5, 10)] == [25, 50, 50, 75]
    assert mean_reciprocal_rank(ranks) == pytest.approx(100 * (1 + 1 / 2 + 0 + 1 / 6) / 4)
    low, high = bootstrap_interval(np.array([1] * 300 + [0] * 700), seed=1)
    assert 27 < low < 28.5 and 31.5 < high < 33
    assert bootstrap_interval(ranks, seed=5) == bootstrap_interval(ranks, seed=5)
    with pytest.raises(ValueError, match="no query"):
        accuracy_at_k(np.array([]), 1)


def test_a_paired_comparison_is_the_permutation_test_and_the_bootstrap_over_queries():
    draw = np.random.default_rng(0)
    before, after = draw.integers(0, 3, 300), draw.integers(0, 2, 300)
    found = paired_comparison(before, after, draws=20_000)
    hits = [(r == 1).astype(float) for r in (before, after)]
    by_scipy = permutation_test(hits, lambda a, b, axis: (b - a).mean(axis), vectorized=True,
                                permutation_type="samples", n_resamples=20_000, random_state=draw)
    assert found["difference"] == pytest.approx(accuracy_at_k(after, 1) - accuracy_at_k(before, 1))
    assert found["p"] == pytest.approx(by_scipy.pvalue, abs=0.02)
    rows = draw.integers(300, size=(20_000, 300))
    wanted = np.percentile(100 * (hits[1] - hits[0])[rows].mean(1), [2.5, 97.5])
    assert [found["low"], found["high"]] == pytest.approx(wanted, abs=0.5)
    assert paired_comparison(before, before) == {"difference": 0, "low": 0, "high": 0, "p": 1}


def test_baselines_rank_by_letters():
    texts = ["fever", "head ache", "the attack heart"]
    assert exact_match(NAMES, 2)(texts).tolist() == [[2, -1], [-1, -1], [-1, -1]]
    assert tfidf(NAMES, 2)(texts)[0].tolist() == [2, 3]
    assert fuzzy(NAMES, 2)(texts)[:2].tolist() == [[2, 3], [4, 0]]
    vectors = np.eye(5, dtype="f4")

    def towards_infarction(texts):
        return np.tile(vectors[1], (len(texts), 1))

    meaning, letters = (hybrid(NAMES, vectors, towards_infarction, weight, k=1)
                        for weight in (0.0, 9.0))
    assert meaning(texts).tolist() == [[1], [1], [1]]
    assert letters(texts)[:2].tolist() == [[2], [4]]
    assert tfidf(NAMES, 99)(texts).shape == (3, 5)  # no more than the dictionary holds
    assert tfidf(NAMES, 2)([]).shape == fuzzy(NAMES, 2)([]).shape == (0, 2)


def test_an_encoder_on_a_benchmark_equals_vectors_compared_one_by_one():
    encoder = load_encoder("minilm", num_layers=1, pooling="mean")
    bench = Benchmark("toy", ("heart attacks", "fevers|headache"), ("C1", "C3|C5"), NAMES,
                      ("C1", "C1", "C3", "C4", "C5"))
    found = evaluate(encoder, bench, poolings=["cls", "mean"],
                     similarities=["dot", "cosine", "euclidean"], k=5)
    assert len(found) == 6
    a, b = encode(encoder, ["fevers", "headache"]), encode(encoder, NAMES)
    order = np.linalg.norm(a[:, None] - b, axis=2).argsort(1)
    parts = [min(row.tolist().index(i) for i in (2, 4)) + 1 for row in order]
    assert found["mean", "euclidean"][1] == max(parts)


def test_tfidf_on_hpo_layperson_is_the_figure_measured_by_hand():
    benchmark = hpo_layperson().sample(1500)
    ranks = score(predict(benchmark, tfidf(benchmark.names)))
    assert accuracy_at_k(ranks, 1) == pytest.approx(20.6, abs=3)
    assert accuracy_at_k(ranks, 5) == pytest.approx(39.3, abs=3.5)


@pytest.mark.parametrize("k", [1, 3, 64])
def test_of_names_with_equal_scores_the_first_wins_however_many_are_asked_for(k):
    names = ["flu", "gout", "cold"] * 100
    found = tfidf(names, k)(["gout", "日本", "flu"])  # the second shares no letter with any name
    assert found.tolist() == [list(range(1, 300, 3))[:k], list(range(k)), list(range(0, 300, 3))[:k]]
