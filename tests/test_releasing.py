"""The command that trains a released model: two notebooks, adapters, a card; stopped and resumed; the same again."""

import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from sapbert_utils import releasing
from sapbert_utils.__main__ import main
from sapbert_utils.model import encode, get_recipe, load_encoder, train
from sapbert_utils.model.saving import save_adapters, save_encoder

PAIRS = pd.DataFrame({"cui": [f"C{i}" for i in range(40)], "name1": [f"wide nose {i}" for i in range(40)],
                      "name2": [f"broad nasal form {i}" for i in range(40)]})


@pytest.fixture(scope="module")
def trained():
    encoder = load_encoder("minilm", device="cpu")
    recipe = get_recipe("sapbert", pooling="mean", lora_rank=4, batch_size=8, learning_rate=5e-3, precision="fp32",
                        freeze_layers=3, dropout=0.0)
    train(encoder, PAIRS, recipe, steps=3)
    return encoder


def test_adapters_of_their_own_rank_keep_a_training_whole(trained, tmp_path):
    folder, lost = save_adapters(trained, "minilm", tmp_path / "adapters", rank=4, card="# mine")
    assert lost < 1e-9 and (folder / "README.md").read_text() == "# mine"
    again = load_encoder(str(folder), device="cpu")
    assert np.abs(encode(again, ["wide nose"]) - encode(trained, ["wide nose"])).max() < 1e-4
    assert (again.pooling, again.lower, again.max_length) == ("mean", True, 25)
    told = json.loads((folder / "adapter_config.json").read_text())
    assert told["target_modules"] == sorted(told["target_modules"])
    assert {part.split(".")[2] for part in told["target_modules"]} == {"3", "4", "5"}, "frozen layers have none"


def test_adapters_of_a_lower_rank_say_what_they_lose(trained, tmp_path):
    _, some = save_adapters(trained, "minilm", tmp_path / "one", rank=1)
    _, less = save_adapters(trained, "minilm", tmp_path / "two", rank=2)
    assert 0.01 < less < some < 1


def test_the_same_encoder_gives_the_same_files(trained, tmp_path):
    one, two = (save_adapters(trained, "minilm", tmp_path / name, rank=4)[0] for name in ("one", "two"))
    for path in one.iterdir():
        assert path.read_bytes() == (two / path.name).read_bytes(), path.name


def test_adapters_hold_a_change_of_the_word_embeddings_and_say_what_they_cannot_hold(tmp_path):
    encoder = load_encoder("minilm", device="cpu")
    table = encoder.model.embeddings
    words, position = table.word_embeddings.weight, table.position_embeddings.weight
    with torch.no_grad():
        words[encoder.tokenizer.convert_tokens_to_ids("nose")] += 0.1
        expected = encode(encoder, ["wide nose"], precision="fp32")
        position[:25] += 0.1  # 25 rows of the same size as the one above
    folder, lost = save_adapters(encoder, "minilm", tmp_path / "a", rank=1)
    assert lost == pytest.approx(25 / 26, abs=1e-4)
    again = encode(load_encoder(str(folder), device="cpu"), ["wide nose"], precision="fp32")
    assert np.abs(again - expected).max() < 1e-4
    untouched = encode(load_encoder("minilm", device="cpu"), ["wide nose"], "mean", precision="fp32")
    assert np.abs(again - untouched).max() > 0.01


def test_adapters_never_replace_what_is_not_theirs(trained, tmp_path):
    (tmp_path / "notes.md").write_text("mine")
    with pytest.raises(FileExistsError, match="notes.md"):
        save_adapters(trained, "minilm", tmp_path, rank=4)
    folder = save_encoder(trained, tmp_path / "model")
    save_adapters(trained, "minilm", folder, rank=4)
    assert not (folder / "config.json").exists(), "the whole model is gone, not half of it"


def test_adapters_that_only_a_pickle_holds_are_refused(trained, tmp_path):
    folder, _ = save_adapters(trained, "minilm", tmp_path / "adapters", rank=4)
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(OSError, match="adapter_model.safetensors is missing"):
        load_encoder(str(folder))


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """A release that trains for seconds: two layers and the smoke profile, but all else as it is."""
    base = str(save_encoder(load_encoder("minilm", num_layers=2), tmp_path / "base"))
    release = releasing.Release("sapbert", base, "Apache-2.0", 4,
                                {"steps": "4", "learning_rate": "1e-2", "english_model": base})
    monkeypatch.setitem(releasing.RELEASES, "tiny", release)
    smoke = releasing.get_profile("smoke")
    monkeypatch.setattr(releasing, "get_profile", lambda name: replace(smoke, folder=tmp_path / "runs" / "smoke"))
    monkeypatch.setattr(releasing, "_measured", lambda encoder, release, cache: "| none | – | – | – | – |")
    monkeypatch.setattr(releasing, "thresholds", lambda encoder, release: {"": 0.5})
    return release


def test_the_command_trains_and_writes_a_model_that_loads(tiny, tmp_path, capsys):
    assert main(["train-released", "tiny", "--output", str(tmp_path / "tiny")]) == 0
    folder, out = tmp_path / "tiny", capsys.readouterr().out
    assert "01 build" in out and "03 pretrain" in out and out.rstrip().endswith(str(folder))
    encoder = load_encoder(str(folder), device="cpu")
    assert np.abs(encode(encoder, list(releasing.CHECKED), precision="fp32")
                  - np.load(folder / "vectors.npy")).max() < 1e-3
    card = (folder / "README.md").read_text()
    assert "pairs of" in card and "| lora_rank | 4 |" in card and "SHA-256" in card
    assert "steps=4" in card
    assert pd.read_csv(folder / "history.csv")["step"].tolist() == [1, 2, 3, 4]
    assert main(["train-released", "tiny", "--output", str(tmp_path / "tiny")]) == 0
    assert capsys.readouterr().out.count("up to date") == 2, "what is trained is not trained again"


def test_the_share_of_a_release_replaces_that_of_its_training(tiny, tmp_path, monkeypatch):
    """A run of several languages blends its model by itself, and a release may want more of the training."""
    base, encoder = load_encoder(tiny.base, device="cpu"), load_encoder(tiny.base, device="cpu", pooling="mean")
    name = "encoder.layer.0.attention.self.query.weight"
    before, weight = dict(base.model.named_parameters())[name], dict(encoder.model.named_parameters())[name]
    difference = torch.randn(384, 3) @ torch.randn(3, 384) / 100
    with torch.no_grad():
        weight.add_(0.7 * difference)  # as the run left it
    monkeypatch.setitem(releasing.RELEASES, "tiny", replace(tiny, blend=0.85))
    told = dict.fromkeys("command data steps hash pooling machine precision torch settings parameters".split(), "–")
    folder = releasing.write_adapters("tiny", encoder, pd.DataFrame({"step": [1], "loss": [0.5]}), tmp_path / "tiny",
                                      tmp_path / "cache", blended=0.7, minutes=1.0, **told)
    after = dict(load_encoder(str(folder), device="cpu").model.named_parameters())
    assert torch.allclose(after[name] - before, 0.85 * difference, atol=2e-4)
    assert all(torch.equal(after[key], w) for key, w in base.model.named_parameters() if key != name)


def test_a_folder_of_the_readers_is_refused_before_training_and_left_alone(tiny, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    assert main(["train-released", "tiny", "--output", str(tmp_path / "mine")]) == 2
    out, err = capsys.readouterr()
    assert out == "" and "thesis.txt" in err and (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"


def test_an_unknown_model_is_refused(capsys):
    assert main(["train-released", "sapbert-maxi"]) == 2
    assert "choose one of: sapbert-minilm" in capsys.readouterr().err


def test_two_runs_of_the_first_steps_of_a_released_recipe_are_the_same_bit_by_bit():
    """What `train-released` does in its first twenty steps, on few names: rank, rate and schedule are the release's."""
    release, weights = releasing.RELEASES["sapbert-minilm"], []
    recipe = get_recipe("sapbert", lora_rank=release.rank, learning_rate=float(release.parameters["learning_rate"]),
                        pooling="mean", schedule="linear", sampling="concepts", dropout=0.0, batch_size=8,
                        precision="fp32")
    for _ in range(2):
        encoder = load_encoder("minilm", device="cpu")
        train(encoder, PAIRS, recipe, steps=20)
        weights.append(encoder.model.state_dict())
    assert all(torch.equal(weights[0][key], weights[1][key]) for key in weights[0])
