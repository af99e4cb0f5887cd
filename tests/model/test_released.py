"""The models that ship with the course: complete, small, loaded by name, and the ones that were trained."""

import csv
import json

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors import safe_open
from sentence_transformers import SentenceTransformer
from transformers import AutoModel

from sapbert_utils.data import open_data
from sapbert_utils.files import sha256
from sapbert_utils.linking import encode_onnx, to_onnx, to_sentence_transformers
from sapbert_utils.model import encode, load_encoder, pool, released, save_encoder
from sapbert_utils.model.encoder import RELEASED
from sapbert_utils.releasing import CHECKED, RELEASES


@pytest.fixture(params=released())
def name(request):
    return request.param


def test_all_ship_and_are_small_enough_to_commit():
    sizes = {name: sum(f.stat().st_size for f in (RELEASED / name).iterdir()) for name in released()}
    assert set(sizes) == set(RELEASES)
    assert max(sizes.values()) <= 12e6 and sum(sizes.values()) <= 35e6, sizes


def test_a_released_model_gives_the_vectors_of_its_training(name):
    encoder = load_encoder(name, device="cpu")
    ours, theirs = encode(encoder, list(CHECKED), precision="fp32"), np.load(RELEASED / name / "vectors.npy")
    assert np.abs(ours - theirs).max() < 1e-3
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (ours, theirs)]
    assert (unit[0] * unit[1]).sum(1).min() >= 0.9999
    base = load_encoder(RELEASES[name].base, device="cpu", pooling=encoder.pooling)
    assert np.abs(encode(base, list(CHECKED), precision="fp32") - theirs).max() > 0.01, "training moves it"


def test_peft_alone_gives_the_same_vectors(name):
    encoder, base = load_encoder(name, device="cpu"), load_encoder(RELEASES[name].base, device="cpu")
    model = PeftModel.from_pretrained(base.model, RELEASED / name).eval()
    tokens = encoder.tokenizer(encoder.prepare(CHECKED), padding=True, truncation=True, return_tensors="pt",
                               max_length=encoder.max_length)
    if encoder.pooling == "mean_all_tok":
        tokens = encoder.tokenizer(encoder.prepare(CHECKED), padding="max_length", return_tensors="pt",
                                   max_length=encoder.max_length)
    with torch.inference_mode():
        hidden = model(**tokens).last_hidden_state
    vectors = pool(hidden, tokens["attention_mask"], encoder.pooling)
    assert np.allclose(vectors.numpy(), encode(encoder, list(CHECKED), precision="fp32"), atol=1e-3)


def test_its_export_loads_in_plain_transformers_sentence_transformers_and_as_onnx(name, tmp_path):
    encoder = load_encoder(name, device="cpu")
    vectors = encode(encoder, list(CHECKED), precision="fp32")
    folder = save_encoder(encoder, tmp_path / "whole")
    weights = dict(AutoModel.from_pretrained(folder, add_pooling_layer=False).named_parameters())
    assert all(torch.equal(w, weights[key]) for key, w in encoder.model.named_parameters())
    to_onnx(encoder, tmp_path / "onnx")
    assert np.allclose(encode_onnx(tmp_path / "onnx", list(CHECKED)), vectors, atol=1e-4)
    if encoder.pooling == "mean_all_tok":
        with pytest.raises(ValueError, match="cannot pool over pads"):
            to_sentence_transformers(encoder, tmp_path / "st")
        return
    to_sentence_transformers(encoder, tmp_path / "st")
    elsewhere = SentenceTransformer(str(tmp_path / "st"), device="cpu")
    assert np.allclose(elsewhere.encode(list(CHECKED), show_progress_bar=False), vectors, atol=1e-4)


def test_its_card_says_what_it_is_what_it_reaches_and_how_to_make_it(name):
    card = (RELEASED / name / "README.md").read_text(encoding="utf-8")
    for part in (f"# {name}", "## What it reaches", "| base, acc@1 |", "## Train it again", "SHA-256", "| seed | 33 |",
                 f"train-released {name}", "## Limits and licence", RELEASES[name].licence, " minutes (torch 2"):
        assert part in card, part
    rows = list(csv.DictReader((RELEASED / name / "history.csv").open()))
    steps = [int(row["step"]) for row in rows]
    assert steps == list(range(1, int(RELEASES[name].parameters["steps"]) + 1))
    if "validation" in rows[0]:
        assert len([row for row in rows if row["validation"]]) >= 10, "a curve, not two points"
    else:
        assert name == "sapbert-e5" and "without validation on held-out concepts" in card


def test_its_files_are_what_they_should_be(name):
    folder = RELEASED / name
    with safe_open(folder / "adapter_model.safetensors", "pt") as weights:
        parts = [weights.get_tensor(key) for key in weights.keys()]
    assert parts and all(part.dtype == torch.float16 and part.isfinite().all() and part.any() for part in parts)
    settings = json.loads((folder / "sapbert.json").read_text())
    assert settings["base"] == RELEASES[name].base
    found = json.loads((folder / "thresholds.json").read_text())
    assert "" in found and all(0.4 < value < 1 for value in found.values())


def test_the_licence_of_every_base_is_the_one_of_the_sources():
    sources = (open_data.__path__[0] + "/SOURCES.md")
    text = open(sources, encoding="utf-8").read()
    for release in RELEASES.values():
        assert release.licence in text


def test_loading_changes_nothing_in_the_package(name):
    before = sha256(RELEASED / name)
    load_encoder(name, num_layers=2)
    assert sha256(RELEASED / name) == before
