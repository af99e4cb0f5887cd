"""The step against two padded passes: plain, cached, packed, in half precision."""

import copy
from dataclasses import replace

import pytest
import torch
from tiny import PAIRS, flat

from sapbert_utils.model.batches import batches
from sapbert_utils.model.encoding import make_chunks, pool
from sapbert_utils.model.losses import get_loss, mine_all, multi_similarity_loss
from sapbert_utils.model.step import Step, train_step
from sapbert_utils.model.tokens import tokenize
from sapbert_utils.model.weights import freeze, with_adapters


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
def test_one_step_has_the_loss_and_gradient_of_two_padded_forward_passes(encoder, pooling):
    encoder.pooling, encoder.lower = pooling, True
    names, labels = next(batches(PAIRS, 16, 0))
    sides = []
    for side in (names[:16], names[16:]):
        tokens = encoder.tokenizer(side, padding="max_length", truncation=True, max_length=25,
                                   return_tensors="pt").to(encoder.device)
        hidden, mask = encoder.model(**tokens).last_hidden_state, tokens["attention_mask"]
        mask = mask[..., None]
        sides.append({"cls": hidden[:, 0], "mean": (hidden * mask).sum(1) / mask.sum(1),
                      "mean_all_tok": hidden.mean(1)}[pooling])
    padded = torch.cat(sides)
    expected = multi_similarity_loss(padded, *mine_all(padded, labels.to(encoder.device)))
    expected.backward()
    gradient = flat(encoder, gradient=True)
    encoder.model.zero_grad(set_to_none=True)
    loss, kept = train_step(encoder, names, labels, get_loss(), budget=100)
    assert loss == pytest.approx(expected.item(), rel=1e-4) and 0 < kept <= 1
    ours = flat(encoder, gradient=True)
    assert not encoder.model.get_input_embeddings().weight.grad.is_sparse
    assert (ours - gradient).norm() < 1e-3 * gradient.norm()
    assert abs(ours.norm() / gradient.norm() - 1) < 1e-4


def in_double(loaded, pooling, words, rank):
    """A small encoder in double precision, where rounding cannot hide or feign a difference."""
    double = copy.deepcopy(loaded.model).double()
    encoder = replace(loaded, model=double, pooling=pooling, lower=True)
    freeze(encoder.model, words=words == "frozen")
    if rank:
        torch.manual_seed(0)
        encoder = with_adapters(encoder, rank)
        for name, weight in encoder.model.named_parameters():
            if "lora_B" in name:  # zero at the start, where half of the adapters have no gradient
                torch.nn.init.normal_(weight, std=0.02)
        encoder.model.double()
    return encoder


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
@pytest.mark.parametrize("words, rank", [("trained", 0), ("frozen", 0), ("trained", 4)])
def test_every_way_to_a_gradient_is_the_plain_steps(loaded, pooling, words, rank):
    names, labels = next(batches(PAIRS, 16, 0))
    plain, sides = in_double(loaded, pooling, words, rank), []
    for side in (names[:16], names[16:]):
        tokens = plain.tokenizer(side, padding="max_length", truncation=True, max_length=25,
                                 return_tensors="pt").to(plain.device)
        hidden = plain.model(**tokens).last_hidden_state
        sides.append(pool(hidden, tokens["attention_mask"], pooling))
    labels = labels.to(plain.device)
    multi_similarity_loss(torch.cat(sides), *mine_all(torch.cat(sides), labels)).backward()
    expected = flat(plain, gradient=True)
    for cached in (False, True):
        for packed in (False, True):
            encoder = in_double(loaded, pooling, words, rank)
            step = Step(encoder, get_loss(), cached=cached)
            tokens = tokenize(encoder.tokenizer, encoder.prepare(names), 25)
            step(make_chunks(encoder, tokens, 100, packed=packed), labels)
            found = flat(encoder, gradient=True)
            assert len(found) == len(expected) and expected.norm() > 0
            assert (found - expected).norm() < 1e-5 * expected.norm(), (cached, packed)


@pytest.mark.parametrize("recipe", [{}, {"loss": "infonce", "miner": "none"}])
def test_cached_gradients_are_the_same_with_dropout(encoder, recipe, near):
    encoder.pooling = "mean"
    names, labels = next(batches(PAIRS, 16, 0))
    found = {}
    for cached in (False, True):
        torch.manual_seed(7)
        encoder.model.train().zero_grad(set_to_none=True)
        loss, _ = train_step(encoder, names, labels, get_loss(**recipe), cached=cached, budget=100)
        found[cached] = loss, flat(encoder, gradient=True), torch.rand(3)
    expected = found[False][0]
    if encoder.device.type != "cpu":
        expected = pytest.approx(expected, rel=near)
    assert found[True][0] == expected
    assert torch.equal(found[True][2], found[False][2])
    assert (found[True][1] - found[False][1]).norm() < near * found[False][1].norm()
    torch.manual_seed(8)
    encoder.model.zero_grad(set_to_none=True)
    assert train_step(encoder, names, labels, get_loss(**recipe), cached=True)[0] != pytest.approx(
        found[True][0], rel=near)


@pytest.mark.parametrize("rank", [0, 4])
def test_half_precision_adds_up_many_chunks_as_full_precision_does(loaded, rank):
    names, labels = next(batches(PAIRS, 48, 0))
    found = {}
    for precision, budget in (("fp32", 768), ("bf16", 768), ("bf16", 32)):
        encoder = copy.deepcopy(loaded)
        encoder.pooling = "mean"
        if rank:  # beside the word embeddings, too, whose own gradient is sparse on a CPU
            torch.manual_seed(0)
            encoder = with_adapters(encoder, rank)
        train_step(encoder, names, labels, get_loss(), precision=precision, budget=budget,
                   cached=budget == 32)
        found[precision, budget] = flat(encoder, gradient=True)
    for half in (("bf16", 768), ("bf16", 32)):
        apart = (found[half] - found["fp32", 768]).norm() / found["fp32", 768].norm()
        assert 0 < apart < 0.05, half
