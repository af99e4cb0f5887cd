"""Pooling, length-sorted encoding, and folders that load elsewhere."""

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from sapbert_utils.encoder import (
    Dropout,
    encode,
    encode_poolings,
    length_sorted_chunks,
    load_encoder,
    pool,
    save_encoder,
)

NAMES = ["heart attack", "MI", "myocardial infarction of the anterior wall, unspecified", "wide nose", "MI", ""]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=2)


def test_pooling_leaves_pads_out_except_where_the_released_model_counts_them():
    hidden = torch.tensor([[[1.0], [3.0], [100.0]]])
    mask = torch.tensor([[1, 1, 0]])
    assert pool(hidden, mask, "cls").item() == 1
    assert pool(hidden, mask, "mean").item() == 2
    assert pool(hidden, mask, "mean_all_tok").item() == pytest.approx(104 / 3)
    with pytest.raises(ValueError, match="cls, mean, mean_all_tok"):
        pool(hidden, mask, "max")


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
def test_sorted_chunks_give_the_vectors_of_one_padded_batch(encoder, pooling):
    tokens = encoder.tokenizer(NAMES, padding="max_length", truncation=True, max_length=25, return_tensors="pt")
    with torch.inference_mode():
        expected = pool(encoder.model(**tokens).last_hidden_state, tokens["attention_mask"], pooling)
    assert np.allclose(encode(encoder, NAMES, pooling, budget=30), expected.numpy(), atol=1e-5)


def test_several_poolings_come_from_one_pass(encoder):
    found = encode_poolings(encoder, NAMES, ["cls", "mean"])
    assert np.allclose(found["mean"], encode(encoder, NAMES, "mean"), atol=1e-6)
    assert not np.allclose(found["cls"], found["mean"])


def test_chunks_hold_every_index_once_within_the_budget():
    ids = [[0] * n for n in (9, 1, 5, 5, 2, 25, 3)]
    chunks = length_sorted_chunks(ids, 12)
    assert sorted(i for c in chunks for i in c) == list(range(7))
    assert all(len(c) * max(len(ids[i]) for i in c) <= 12 or len(c) == 1 for c in chunks)
    assert length_sorted_chunks([], 12) == []


def test_saved_folder_brings_its_settings_and_loads_in_plain_transformers(encoder, tmp_path):
    encoder.lower, encoder.pooling = True, "mean"
    folder = save_encoder(encoder, tmp_path / "model")
    again = load_encoder(str(folder))
    assert (again.pooling, again.lower, again.max_length) == ("mean", True, 25)
    assert np.allclose(encode(again, ["Wide Nose"]), encode(encoder, ["wide nose"]), atol=1e-6)
    tokens = AutoTokenizer.from_pretrained(folder)("wide nose", return_tensors="pt")
    plain = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        vector = plain(**tokens).last_hidden_state.mean(1).numpy()
    assert np.allclose(vector, encode(encoder, ["wide nose"]), atol=1e-5)
    save_encoder(encoder, folder)  # writing over an older model leaves one whole folder and nothing beside it
    assert [f.name for f in tmp_path.iterdir()] == ["model"]


def test_a_model_that_cannot_be_had_says_what_to_give():
    with pytest.raises(OSError, match="minilm, e5-multilingual, a folder"):
        load_encoder("no/such-model-here")


def test_quick_dropout_drops_the_share_scales_the_rest_and_repeats_with_the_seed(encoder):
    layer, x = Dropout(0.1), torch.ones(401, 33, requires_grad=True)
    torch.manual_seed(1)
    first = layer(x)
    first.sum().backward()
    torch.manual_seed(1)
    assert torch.equal(layer(x), first) and not torch.equal(layer(x), first)
    assert first.unique().tolist() == [0.0, pytest.approx(1 / 0.9)] and torch.equal(x.grad, first)
    dropped = (first == 0).float()
    assert abs(dropped.mean() - 0.1) < 0.01 and (dropped.mean(0) - 0.1).abs().max() < 0.08
    assert torch.equal(layer.eval()(x), x)
    kinds = {type(m) for m in encoder.model.modules() if isinstance(m, torch.nn.Dropout)}
    assert kinds == {Dropout}


def test_a_model_without_a_fast_tokenizer_is_refused(encoder, tmp_path, monkeypatch):
    folder = save_encoder(encoder, tmp_path / "model")
    slow = type("Slow", (), {"is_fast": False})()
    monkeypatch.setattr("sapbert_utils.encoder.AutoTokenizer.from_pretrained", lambda folder: slow)
    with pytest.raises(ValueError, match="model has no fast tokenizer .tokenizer.json.; convert it"):
        load_encoder(str(folder))
