"""The loop: batches, one step against two padded passes, determinism, refusals."""

import copy
import itertools

import pandas as pd
import pytest
import torch

from sapbert_utils.encoder import load_encoder
from sapbert_utils.losses import mine_all, multi_similarity_loss
from sapbert_utils.training import (
    batches,
    false_negatives,
    get_recipe,
    labels_of_ambiguous,
    learning_rate_factor,
    step_loss,
    train,
)

PAIRS = pd.DataFrame([(f"C{i // 2:07}", f"disease of type {i} of the {o}", f"{o} disorder {i}")
                      for i in range(24) for o in ("heart", "lung")], columns=["cui", "name1", "name2"])


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=1)


def tiny(**changes):
    return get_recipe("sapbert", batch_size=8, learning_rate=1e-3, **changes)


def test_a_batch_is_both_sides_in_order_and_an_epoch_sees_each_pair_once():
    stream = batches(PAIRS, 8, seed=1)
    epoch = [next(stream) for _ in range(len(PAIRS) // 8)]
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
    with pytest.raises(ValueError, match="12 concepts do not fill one batch of 13"):
        next(batches(PAIRS, 13, seed=1, sampling="concepts"))
    with pytest.raises(ValueError, match="choose pairs or concepts"):
        next(batches(PAIRS, 8, seed=1, sampling="names"))


def test_one_step_equals_two_padded_forward_passes(encoder):
    encoder.pooling, encoder.lower = "cls", True
    names, labels = next(batches(PAIRS, 16, 0))
    encoder.model.eval()
    tokens = encoder.tokenizer(names, padding="max_length", truncation=True, max_length=25, return_tensors="pt")
    padded = encoder.model(**tokens).last_hidden_state[:, 0]
    expected = multi_similarity_loss(padded, *mine_all(padded, labels))
    loss, kept = step_loss(encoder, names, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-4)
    assert 0 <= kept <= 1


def test_same_seed_same_weights_other_seed_other_weights(encoder):
    def weights(seed):
        copied = copy.deepcopy(encoder)
        history = train(copied, PAIRS, tiny(seed=seed), steps=3)
        return torch.cat([w.flatten() for w in copied.model.state_dict().values()]), history

    first, history = weights(1)
    assert torch.equal(first, weights(1)[0])
    assert not torch.equal(first, weights(2)[0])
    assert [r["step"] for r in history] == [1, 2, 3] and all(r["loss"] > 0 for r in history)


def test_training_lowers_the_loss_and_validation_is_called(encoder):
    copied, seen = copy.deepcopy(encoder), []
    history = train(copied, PAIRS, tiny(), steps=40, validate=lambda e: seen.append(e) or 1.0, validate_every=10)
    assert sum(r["loss"] for r in history[-5:]) < sum(r["loss"] for r in history[:5])
    assert len(seen) == 4 and not copied.model.training


def test_ambiguous_names_are_no_negatives_of_their_other_concept(encoder):
    pairs = pd.DataFrame([("C1", "cold", "common cold"), ("C2", "cold", "chill"), ("C3", "flu", "influenza"),
                          ("C2", "chill", "low temperature")], columns=["cui", "name1", "name2"])
    ambiguous, (names, labels) = labels_of_ambiguous(pairs), next(batches(pairs, 4, seed=1))
    owners = {name: set(pairs["cui"][(pairs == name).any(axis=1)]) for name in names}
    concepts = pairs.set_index(["name1", "name2"])["cui"]
    own = [concepts[pair] for pair in zip(names[:4], names[4:], strict=True)] * 2
    masked = false_negatives(names, labels, ambiguous)
    for i, j in itertools.product(range(8), repeat=2):
        if own[i] != own[j]:
            assert masked[i, j] == (own[j] in owners[names[i]] or own[i] in owners[names[j]]), (names[i], names[j])
    assert set(ambiguous) == {"cold"} and masked.any()
    encoder.model.eval()
    plain, mask = (step_loss(encoder, names, labels, a)[0].item() for a in (None, ambiguous))
    assert mask < plain
    encoder.model.train()
    recipes = [get_recipe("sapbert", batch_size=4, mask_ambiguous=mask) for mask in (False, True)]
    loss = [train(copy.deepcopy(encoder), pairs, recipe, steps=1)[0]["loss"] for recipe in recipes]
    assert loss[1] < loss[0]


def test_frozen_word_embeddings_do_not_move(encoder):
    copied = copy.deepcopy(encoder)
    before = copied.model.get_input_embeddings().weight.detach().clone()
    layer = copied.model.encoder.layer[0].output.dense.weight.detach().clone()
    train(copied, PAIRS, tiny(freeze_word_embeddings=True), steps=2)
    assert torch.equal(before, copied.model.get_input_embeddings().weight)
    assert not torch.equal(layer, copied.model.encoder.layer[0].output.dense.weight)


def test_schedule_warms_up_and_decays():
    factors = [learning_rate_factor("linear", s, 100) for s in range(100)]
    assert factors[0] == 0.1 and max(factors) == factors[9] == factors[10] == 1 and factors[-1] == pytest.approx(1 / 90)
    assert learning_rate_factor("constant", 50, 100) == 1


def test_refusals_say_what_is_right(encoder):
    with pytest.raises(ValueError, match="48 pairs do not fill one batch of 64"):
        next(batches(PAIRS, 64, 0))
    with pytest.raises(ValueError, match="sapbert, sapbert-mean-token, sapbert-xlmr"):
        get_recipe("sapbort")
    with pytest.raises(ValueError, match="constant or linear"):
        learning_rate_factor("cosine", 0, 1)
    broken = copy.deepcopy(encoder)
    broken.model.embeddings.LayerNorm.weight.data.fill_(float("nan"))
    with pytest.raises(FloatingPointError, match="step 1"):
        train(broken, PAIRS, tiny(), steps=2)
