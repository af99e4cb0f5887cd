"""Which weights are trained: layers of any model with a list of them, adapters, refusals."""

import copy

import pytest
import torch
from tiny import PAIRS, flat, tiny

from sapbert_utils.model.batches import batches
from sapbert_utils.model.encoder import layers_of, load_encoder
from sapbert_utils.model.losses import get_loss
from sapbert_utils.model.step import train_step
from sapbert_utils.model.training import train
from sapbert_utils.model.weights import freeze

KINDS = {"bert": "encoder.layer", "distilbert": "transformer.layer", "modernbert": "layers",
         "mpnet": "encoder.layer"}


def trained(encoder, **changes):
    train(encoder, PAIRS, tiny(**{"learning_rate": 1e-2} | changes), steps=3)
    return encoder


def moved(encoder, before):
    after = dict(encoder.model.named_parameters())
    assert set(after) == set(before)
    return {name for name, weight in after.items() if not torch.equal(weight, before[name])}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rank", [0, 2])
def test_frozen_layers_stay_bit_equal_with_and_without_adapters(tiny_folder, kind, rank):
    encoder = load_encoder(tiny_folder(kind))
    before = {name: weight.detach().clone() for name, weight in encoder.model.named_parameters()}
    every = moved(trained(copy.deepcopy(encoder), lora_rank=rank), before)
    for layers in (1, 2):
        found = moved(trained(copy.deepcopy(encoder), freeze_layers=layers, lora_rank=rank), before)
        above = tuple(f"{KINDS[kind]}.{i}." for i in range(layers, 3))
        assert found == {name for name in every if name.startswith(above)} and len(found) > 3
    assert any(name.startswith(f"{KINDS[kind]}.0.") for name in every)
    with pytest.raises(ValueError, match="freeze_layers is 3 of 3 layers: choose 0 to 2"):
        trained(encoder, freeze_layers=3)
    with pytest.raises(ValueError, match="freeze_layers is -1 of 3 layers"):
        trained(encoder, freeze_layers=-1)


def test_a_model_without_a_list_of_layers_trains_whole_and_refuses_frozen_layers(tiny_folder):
    encoder = load_encoder(tiny_folder("albert"))
    message = "albert.* has no list of its 3 layers: leave out num_layers and freeze_layers"
    with pytest.raises(ValueError, match=message):
        trained(encoder, freeze_layers=1)
    before = {name: weight.detach().clone() for name, weight in encoder.model.named_parameters()}
    assert any("albert_layers.0." in name for name in moved(trained(encoder), before))


@pytest.mark.parametrize("kind, path", KINDS.items())
def test_the_layers_are_found_by_their_number(tiny_folder, kind, path):
    model = load_encoder(tiny_folder(kind)).model
    assert layers_of(model) is model.get_submodule(path)


def test_a_training_refuses_names_longer_than_the_model_has_positions(tiny_folder):
    encoder = load_encoder(tiny_folder("bert", max_position_embeddings=30))
    message = "max_length is 31, but this model has positions for 30 tokens"
    with pytest.raises(ValueError, match=message):
        trained(encoder, max_length=31)
    trained(encoder, max_length=30)


def test_frozen_word_embeddings_do_not_move(encoder):
    before = encoder.model.get_input_embeddings().weight.detach().clone()
    layer = encoder.model.encoder.layer[0].output.dense.weight.detach().clone()
    train(encoder, PAIRS, tiny(freeze_word_embeddings=True), steps=2)
    assert torch.equal(before, encoder.model.get_input_embeddings().weight)
    assert not torch.equal(layer, encoder.model.encoder.layer[0].output.dense.weight)


def test_frozen_layers_do_not_move_and_the_others_take_the_same_step(near):
    names, labels = next(batches(PAIRS, 8, 1))
    whole, frozen = load_encoder("minilm", 2), load_encoder("minilm", 2)
    freeze(frozen.model, layers=1)
    for encoder in (whole, frozen):
        train_step(encoder, names, labels, get_loss())
    for (name, a), b in zip(whole.model.named_parameters(), frozen.model.parameters(), strict=True):
        below = name.startswith(("embeddings.", "encoder.layer.0."))
        if below:
            assert b.grad is None, name
        else:
            assert torch.allclose(a.grad, b.grad, rtol=near, atol=near * 1e-3), name
    with pytest.raises(ValueError, match="freeze_layers is 2 of 2 layers"):
        train(frozen, PAIRS, tiny(freeze_layers=2), steps=1)
    train(frozen, PAIRS, tiny(), steps=1)
    assert all(w.requires_grad for w in frozen.model.parameters())


def test_blended_weights_lie_between_the_start_and_the_trained(loaded):
    ends = {}
    for share in (0.25, 1.0):
        encoder = copy.deepcopy(loaded)
        train(encoder, PAIRS, tiny(blend=share), steps=3)
        ends[share] = flat(encoder)
    assert not torch.equal(ends[1.0], flat(loaded))
    assert torch.allclose(ends[0.25], 0.75 * flat(loaded) + 0.25 * ends[1.0], atol=1e-6)
    with pytest.raises(ValueError, match="from 0 to 1"):
        train(encoder, PAIRS, tiny(blend=1.5), steps=3)


def test_adapters_train_few_weights_and_end_up_in_the_model(encoder, tmp_path):
    before = {name: w.detach().clone() for name, w in encoder.model.named_parameters()}
    history = train(encoder, PAIRS, tiny(lora_rank=2), steps=20, validate=lambda e: 1.0,
                    folder=tmp_path)
    after = dict(encoder.model.named_parameters())
    moved = {name for name, w in after.items() if not torch.equal(w, before[name])}
    assert set(after) == set(before) and moved
    assert all(name.endswith(("dense.weight", "word_embeddings.weight")) or ".self." in name for name in moved)
    assert "embeddings.word_embeddings.weight" in moved
    assert history[-1]["loss"] < history[0]["loss"]
    assert load_encoder(str(tmp_path / "best")).model.config.model_type == "bert"
