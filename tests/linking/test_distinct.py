"""The nearest concepts, however many names one of them has."""

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.linking import Linker, distinct, search
from sapbert_utils.linking.distinct import nearest_concepts

CROWD = 300  # names of the concept that lies nearest


@pytest.fixture
def crowded():
    """Vectors near one direction, most of them names of concept 0; four others have a name each."""
    rng = np.random.default_rng(0)
    vectors = np.eye(8, dtype="f4")[np.zeros(CROWD, int)]
    vectors = np.concatenate([vectors, np.eye(8, dtype="f4")[1:5] + 0.1])
    vectors += rng.normal(scale=1e-3, size=vectors.shape).astype("f4")
    concepts = np.array([0] * CROWD + [1, 2, 3, 4])
    queries = np.array([[1, 0.4, 0.3, 0.2, 0.1, 0, 0, 0], [0, 0, 0, 1, 0, 0, 0, 0]], "f4")
    return queries, vectors, concepts


def by_hand(queries, vectors, concepts, k):
    """The best name of each concept, among all names."""
    where, scores = search(queries, vectors, len(vectors))
    found = []
    for near, values in zip(where, scores):
        best = {}
        for row, value in zip(near.tolist(), values.tolist()):
            best.setdefault(int(concepts[row]), (row, value))
        found.append(list(best.values())[:k])
    return found


def same(found, wanted):
    assert [[row for row, _ in x] for x in found] == [[row for row, _ in x] for x in wanted]
    for one, other in zip(found, wanted):
        assert [s for _, s in one] == pytest.approx([s for _, s in other], abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 5, 9])
@pytest.mark.parametrize("answers", [1, 40, 1 << 22])
def test_k_concepts_come_back_if_there_are_k(crowded, k, answers, monkeypatch):
    monkeypatch.setattr(distinct, "ANSWERS", answers)
    queries, vectors, concepts = crowded
    found = nearest_concepts(queries, concepts, k, lambda q, depth: search(q, vectors, depth))
    assert [len(x) for x in found] == [min(k, 5)] * 2
    same(found, by_hand(queries, vectors, concepts, k))


def test_only_what_lacks_concepts_is_asked_again(crowded):
    queries, vectors, concepts = crowded
    asked = []

    def exact(some, depth):
        asked.append((len(some), depth))
        return search(some, vectors, depth)

    nearest_concepts(queries, concepts, 2, exact)
    assert asked == [(2, 20), (1, 80), (1, 304)]


def test_an_index_that_misses_names_hands_over_to_exact_search(crowded):
    queries, vectors, concepts = crowded
    depths = []

    def blind(some, depth):  # it never sees more than thirty names
        depths.append(depth)
        where, scores = search(some, vectors, min(depth, 30))
        more = ((0, 0), (0, depth - where.shape[1]))
        return np.pad(where, more, constant_values=-1), np.pad(scores, more, constant_values=-9)

    found = nearest_concepts(queries, concepts, 5,
                             lambda q, depth: search(q, vectors, depth), blind)
    assert depths == [50, 200, 304]
    same(found, by_hand(queries, vectors, concepts, 5))


@pytest.mark.parametrize("kind", ["exact", "hnsw", "ivfpq"])
def test_a_linker_gives_five_concepts_beside_one_of_two_hundred_names(encoder, kind):
    crowd = [("C0", f"heart attack, type {i}") for i in range(200)]
    others = [("C1", "heart failure"), ("C2", "wide nose"), ("C3", "fever"), ("C4", "gout"),
              ("C5", "kidney stone")]
    more = [(f"D{i}", f"disease of organ {i}") for i in range(100)]
    names = pd.DataFrame(crowd + others + more, columns=["cui", "name"])
    linker = Linker.from_terminology(encoder, names, index=kind)
    mentions = ["heart attack, type 7", "a heart attack"]
    answer = linker.link(mentions, k=5)
    assert answer.groupby("mention")["cui"].nunique().tolist() == [5, 5]
    assert answer.groupby("mention")["rank"].agg(list).tolist() == [[1, 2, 3, 4, 5]] * 2
    assert answer.loc[0, ["mention", "cui", "name"]].tolist() == [mentions[0], "C0", mentions[0]]
    # none but the crowd and the five others may answer: all six come, and no seventh
    only = ~names["cui"].str.startswith("D")
    few = linker.link(mentions, k=9, only=only)
    assert few.groupby("mention")["cui"].agg(set).tolist() == [{f"C{i}" for i in range(6)}] * 2
