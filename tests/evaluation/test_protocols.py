"""Upstream's rules on their traps, against a plain rendering; the other protocols; files."""

import json

import numpy as np
import pytest

from sapbert_utils.evaluation import (
    PROTOCOLS,
    Benchmark,
    Predictions,
    accuracy_at_k,
    predict,
    read_predictions,
    score,
    split_mention,
    write_predictions,
)

NAMES = ("potassium", "", "magnesium", "2", "x", "y", "x", "z")
CONCEPTS = ("C1", "C9", "C2|C3", "C4", "C5", "C6", "C7", "C5|C8")
TRAPS = [("K+", "C1"), ("Mg2+", "C2"), ("x|y", "C5|C6"), ("x+y", "C5+C6"), ("x", "C7"),
         ("y|y", "C5|C6"), ("z", "C8|C2"), ("x", "C7"), ("unknown", "D1"), ("x y", "C5+C7")]
BENCH = Benchmark("traps", *map(tuple, zip(*TRAPS)), NAMES, CONCEPTS)


def scored(benchmark, composite):
    """Lists of four names, and acc@1 to @4 by the rules as they are told, name after name."""
    draw, lists, out = np.random.default_rng(3), {}, []
    for mention, gold in zip(benchmark.mentions, benchmark.gold):
        parts = mention.replace("+", "|").split("|") if composite else [mention]
        right = gold.replace("+", "|").split("|") if composite else gold.split("|")
        labels = []
        for part in parts:
            lists.setdefault(part, draw.permutation(len(benchmark.names))[:4].tolist())
            labels.append([any(c in right for c in benchmark.concepts[i].split("|"))
                           for i in lists[part]])
        out.append([all(any(row[: k + 1]) for row in labels) for k in range(4)])
    return lists, 100 * np.mean(out, axis=0)


@pytest.mark.parametrize("composite", [True, False])
def test_upstream_equals_its_rules_applied_one_by_one(composite):
    lists, wanted = scored(BENCH, composite)
    ranks = score(predict(BENCH, lambda texts: np.array([lists[t] for t in texts]), composite))
    assert [accuracy_at_k(ranks, k) for k in (1, 2, 3, 4)] == pytest.approx(wanted)
    assert 0 < wanted[3] < 100


def ranked(mentions, rows, **settings):
    return predict(Benchmark("toy", tuple(mentions), *settings.pop("rest")),
                   lambda texts: np.array([rows[t] for t in texts]), **settings)


def test_composite_mentions_need_every_part_and_an_ion_makes_an_empty_one():
    assert split_mention("a+b|c") == ["a", "b", "c"] and split_mention("K+") == ["K", ""]
    rest = (("C1|C2", "C1|C2", "C2"), ("x", "y", "z"), ("C1", "C2", "C3"))
    found = ranked(["x|y", "x|z", "y"], {"x": [0, 2], "y": [1, 0], "z": [2, 1]}, rest=rest)
    assert score(found).tolist() == [1, 2, 1]


def test_a_plus_in_the_gold_joins_concepts_only_where_mentions_are_split():
    rest = (("C1+C2",), ("x",), ("C1",))
    assert score(ranked(["x"], {"x": [0]}, rest=rest)).tolist() == [1]
    assert score(ranked(["x"], {"x": [0]}, rest=rest, composite=False)).tolist() == [0]


def test_ties_and_short_lists_count_as_they_stand():
    rest = (("C2", "C2", "C1"), ("x", "x", "y"), ("C1", "C2", "C3"))
    rows = {"x": [0, 1, -1], "none": [-1, -1, -1], "x ": [1, -1, -1]}
    found = ranked(["x", "none", "x "], rows, rest=rest)
    assert score(found).tolist() == [2, 0, 0]


def test_concepts_counts_each_concept_once():
    rest = (("C2",), ("a", "b", "c", "d"), ("C1", "C1", "C3", "C2"))
    found = ranked(["m"], {"m": [0, 1, 2, 3]}, rest=rest)
    assert (score(found)[0], score(found, "concepts")[0]) == (4, 3)


def test_strict_refuses_a_name_of_several_concepts_but_not_of_two_identifiers():
    names = ("ms", "ms", "sclerosis", "both", "more", "a", "b", "c")
    concepts = ("C1", "C2", "C1", "C3|C4", "C4", "C5|C6", "C5", "C6")
    found = ranked(["m1", "m2", "m3", "m4", "m5"],
                   {"m1": [0, 2], "m2": [2, 0], "m3": [3, 0], "m4": [3, 0], "m5": [5, 6]},
                   rest=(("C1", "C1", "C3", "C4", "C5"), names, concepts))
    assert score(found).tolist() == [1, 1, 1, 1, 1]
    # "ms" is C2 as well; C3 always stands beside C4, so the two are one concept; C5 and C6 also
    # stand apart
    assert score(found, "strict").tolist() == [2, 1, 1, 1, 2]


def test_unique_unseen_and_terminology():
    rest = (("C1", "C1", "C1", "C2"), ("x", "train mention", "y"), ("C1", "C1", "C2"))
    rows = {"a": [1, 0, 2], "b": [2, 1, 0], "c": [2, 0, 1]}
    found = ranked(["a", "a", "b", "c"], rows, rest=rest)
    assert score(found).tolist() == [1, 1, 2, 1]
    assert score(found, "unique").tolist() == [1, 2, 1]
    train = Benchmark("train", ("a",), ("C9",), *rest[1:])
    assert score(found, "unseen", train=train).tolist() == [2, 1]
    train = Benchmark("train", ("q",), ("C1",), *rest[1:])
    assert score(found, "unseen", train=train).tolist() == [1]
    before = Benchmark("before", ("a",), ("C1",), ("x", "y"), ("C1", "C2"))
    assert score(found, "terminology", terminology=before).tolist() == [1, 1, 2, 1]
    refused = {"unseen": "training part", "terminology": "dictionary has no training",
               "other": "choose one of"}
    for protocol, message in refused.items():
        with pytest.raises(ValueError, match=message):
            score(found, protocol)
    with pytest.raises(ValueError, match="leaves no query"):
        score(found, "unseen", train=found.benchmark)
    assert set(PROTOCOLS) == {"upstream", "concepts", "strict", "unique", "unseen", "terminology"}


def test_written_predictions_are_read_back_with_the_same_scores(tmp_path):
    lists, wanted = scored(BENCH, True)
    found = predict(BENCH, lambda texts: np.array([lists[t] for t in texts]))
    written = json.loads(write_predictions(found, tmp_path / "p.json").read_text())
    assert [100 * written[f"acc{k}"] for k in (1, 2, 3, 4)] == pytest.approx(wanted)
    assert written["queries"][0]["mentions"][1]["mention"] == ""
    again = read_predictions(tmp_path / "p.json")
    for protocol in ("upstream", "concepts"):
        assert score(again, protocol).tolist() == score(found, protocol).tolist()


def test_predictions_of_others_are_scored_by_what_they_name_not_by_their_labels(tmp_path):
    candidates = [{"name": "a", "cui": "D3", "label": 1}, {"name": "b", "cui": "D2|D4", "label": 0}]
    part = {"mention": "m", "golden_cui": "D1|D2", "candidates": candidates}
    file = tmp_path / "biosyn.json"
    queries = [{"mentions": [part]}, {"mentions": [part | {"candidates": []}]}]
    file.write_text(json.dumps({"queries": queries}))
    assert score(read_predictions(file)).tolist() == [2, 0]


def test_identifiers_may_be_numbers_and_gold_a_list(tmp_path):
    def query(gold, *concepts):
        candidates = [{"name": f"n{i}", "labelcui": c} for i, c in enumerate(concepts)]
        return {"mentions": [{"mention": "m", "golden_cui": gold, "candidates": candidates}]}

    queries = [query(7, "8", 7), query([1, "D2"], 2, 3, "D2|D3"), query("5"), query(["5"], [4, 5])]
    file = tmp_path / "p.json"
    file.write_text("\ufeff" + json.dumps({"queries": queries}), encoding="utf-8")
    found = read_predictions(file)
    assert found.benchmark.gold == ("7", "1|D2", "5", "5")
    assert found.benchmark.concepts == ("8", "7", "2", "3", "D2|D3", "4|5")
    assert score(found).tolist() == [2, 3, 0, 1]


def test_accuracies_are_written_even_if_the_first_query_has_no_candidate(tmp_path):
    rest = (("C9", "C1", "C2"), ("x", "y"), ("C1", "C2"))
    found = ranked(["none", "x", "y"], {"none": [-1, -1], "x": [0, -1], "y": [0, 1]}, rest=rest)
    written = json.loads(write_predictions(found, tmp_path / "p.json").read_text())
    assert written["acc1"] == pytest.approx(1 / 3) and written["acc2"] == pytest.approx(2 / 3)
    assert "acc3" not in written and written["queries"][0]["mentions"][0]["candidates"] == []
    assert score(read_predictions(tmp_path / "p.json")).tolist() == [0, 1, 2]


def one_query(gold, concept):
    candidates = [{"name": "n", "cui": concept}]
    mention = {"mention": "m", "golden_cui": gold, "candidates": candidates}
    return json.dumps({"queries": [{"mentions": [mention]}]})


@pytest.mark.parametrize("text, message", [
    ("{", "not a JSON file"), ('{"other": []}', "not a JSON file with queries"),
    ('{"queries": 5}', "not a JSON file with queries"),
    ('{"queries": [{"mentions": [{"mention": "m", "golden_cui": "C1"}]}]}',
     "query 1: .*candidates"),
    ('{"queries": [{"mentions": []}]}', "query 1"),
    (one_query(None, "C1"), "query 1: .*None is not text"), (one_query([], "C1"), "query 1"),
    (one_query("C1", True), "query 1: .*True is not text"), (one_query("", "C1"), "query 1"),
    ('{"queries": []}', "bad.json: no query has a candidate")])
def test_malformed_predictions_are_refused(tmp_path, text, message):
    file = tmp_path / "bad.json"
    file.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_predictions(file)


def test_no_candidate_at_all_is_refused():
    with pytest.raises(ValueError, match="no candidate"):
        score(Predictions(BENCH, ((0, "K"),), np.empty((1, 0), int)))
