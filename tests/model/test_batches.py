"""Batches: what is in them, what an epoch sees, where one can start, which negatives are false."""

import itertools

import numpy as np
import pandas as pd
import pytest
import torch

from sapbert_utils.model.batches import (
    Batches,
    batches,
    false_negatives,
    hold_out_concepts,
    labels_of_ambiguous,
)

PAIRS = pd.DataFrame([(f"C{i // 2:07}", f"disease of type {i} of the {o}", f"{o} disorder {i}")
                      for i in range(24) for o in ("heart", "lung")],
                     columns=["cui", "name1", "name2"])
NAMES = pd.DataFrame([(f"C{i:07}", f"name {j} of {i}") for i in range(20)
                      for j in range(1 + i % 5)], columns=["cui", "name"])


def test_a_batch_is_both_sides_in_order_and_an_epoch_sees_each_pair_once():
    stream = batches(PAIRS, 8, seed=1)
    epoch = [next(stream) for _ in range(Batches(PAIRS, 8, 1).per_epoch)]
    rows = [(n[i], n[i + 8]) for n, _ in epoch for i in range(8)]
    assert sorted(rows) == sorted(zip(PAIRS["name1"], PAIRS["name2"], strict=True))
    cui = dict(zip(PAIRS["name1"], PAIRS["cui"], strict=True))
    for names, labels in epoch:
        assert torch.equal(labels[:8], labels[8:])
        same = [[cui[a] == cui[b] for b in names[:8]] for a in names[:8]]
        assert same == (labels[:8, None] == labels[:8]).tolist()


def test_sampling_by_concept_draws_one_pair_of_each():
    names, labels = next(batches(PAIRS, 12, seed=1, sampling="concepts"))
    assert len(set(labels.tolist())) == 12
    rows = set(zip(PAIRS["name1"], PAIRS["name2"], strict=True))
    assert all(row in rows for row in zip(names[:12], names[12:], strict=True))


@pytest.mark.parametrize("m", [2, 3, 4])
def test_batches_of_names_hold_m_different_names_of_each_concept_or_all_it_has(m):
    size, seen = 2 * 6 // m, []
    steps = Batches(NAMES, 6, 1, names_per_concept=m).per_epoch
    for names, labels in itertools.islice(batches(NAMES, 6, 1, names_per_concept=m), steps):
        cuis = [NAMES.set_index("name")["cui"][name] for name in names]
        assert [cuis.index(c) for c in cuis] == [labels.tolist().index(c) for c in labels.tolist()]
        assert len(set(names)) == len(names) and len(set(cuis)) == size
        for cui in set(cuis):
            assert cuis.count(cui) == min(m, int((NAMES["cui"] == cui).sum())) > 1
        seen += set(cuis)
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize("data, settings", [(PAIRS, {}), (PAIRS, {"sampling": "concepts"}),
                                            (NAMES, {"names_per_concept": 3})])
def test_a_stream_can_start_anywhere_and_depends_on_the_seed(data, settings):
    whole = list(itertools.islice(batches(data, 8, 1, **settings), 14))
    for start in (1, Batches(data, 8, 1, **settings).per_epoch, 11):
        for found, expected in zip(batches(data, 8, 1, start=start, **settings), whole[start:]):
            assert found[0] == expected[0] and torch.equal(found[1], expected[1])
    assert whole[0][0] != next(batches(data, 8, 2, **settings))[0]


def test_refusals_say_what_is_right():
    for settings, message in (
            ({"batch_size": 64}, "48 pairs do not fill one batch of 64"),
            ({"batch_size": 13, "sampling": "concepts"}, "12 concepts do not fill one batch of 13"),
            ({"batch_size": 0}, "batch_size is 0: a batch needs at least one pair"),
            ({"batch_size": 8, "sampling": "names"}, "choose pairs or concepts")):
        with pytest.raises(ValueError, match=message):
            next(batches(PAIRS, seed=1, **settings))
    with pytest.raises(ValueError, match="0 concepts with two names or more do not fill"):
        next(batches(NAMES.drop_duplicates("cui"), 4, 1))
    with pytest.raises(ValueError, match="needs two names"):
        next(batches(NAMES, 4, 1, names_per_concept=1))
    with pytest.raises(ValueError, match="12 concepts cannot be held out of 12"):
        hold_out_concepts(PAIRS, 12, 1)


def test_held_out_concepts_are_whole_and_fixed_by_the_seed():
    rest, held = hold_out_concepts(PAIRS, 4, 1)
    assert held["cui"].nunique() == 4 and len(rest) + len(held) == len(PAIRS)
    assert not set(rest["cui"]) & set(held["cui"])
    again = PAIRS.sample(frac=1, random_state=3).sort_index()
    assert held.equals(hold_out_concepts(again, 4, 1)[1])
    assert not held.equals(hold_out_concepts(PAIRS, 4, 2)[1])


def test_false_negatives_are_the_names_that_stand_under_the_others_concept_too():
    pairs = pd.DataFrame([("C1", "cold", "common cold"), ("C2", "cold", "chill"),
                          ("C3", "flu", "influenza"), ("C2", "chill", "low temperature")],
                         columns=["cui", "name1", "name2"])
    names, labels = next(batches(pairs, 4, seed=1))
    concepts = pairs.set_index(["name1", "name2"])["cui"]
    own = [concepts[pair] for pair in zip(names[:4], names[4:], strict=True)] * 2
    owners = {name: set(pairs["cui"][(pairs == name).any(axis=1)]) for name in names}
    ambiguous = labels_of_ambiguous(pairs)
    masked = false_negatives(names, labels, ambiguous)
    for i, j in itertools.product(range(8), repeat=2):
        if own[i] != own[j]:
            expected = own[j] in owners[names[i]] or own[i] in owners[names[j]]
            assert masked[i, j] == expected, (names[i], names[j])
    assert set(ambiguous) == {"cold"} and masked.any()
    as_names = pd.concat([pairs[["cui", side]].rename(columns={side: "name"})
                          for side in ("name1", "name2")]).drop_duplicates()
    assert {n: len(c) for n, c in labels_of_ambiguous(as_names).items()} == {"cold": 2}
    assert np.array_equal(masked, masked.T)
