"""The command line, on one process and on two: options, processes that agree, a killed run."""

import json
import re
import time
from types import SimpleNamespace

import pandas as pd
import psutil
import pytest
import torch
from accelerate import DistributedType
from safetensors.torch import load_file
from tiny import PAIRS
from transformers import AutoModel, AutoTokenizer

from sapbert_utils.model.__main__ import main
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode
from sapbert_utils.model.precision import agreed_precision
from sapbert_utils.model.recipes import get_recipe, model_card


def write_lines(path, data):
    lines = ["||".join(row) + "\n" for row in data.itertuples(index=False)]
    path.write_text("".join(lines), encoding="utf-8")
    return str(path)


def command(tmp_path, *more):
    file = write_lines(tmp_path / "pairs.txt", PAIRS)
    return ["--pairs", file, "--model", "minilm", "--batch-size", "8", "--learning-rate", "1e-3",
            *more]


def test_the_command_trains_a_folder_that_plain_transformers_loads(tmp_path):
    main(command(tmp_path, "--output", str(tmp_path / "model"), "--steps", "2", "--pooling", "cls",
                 "--validation", "3"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "**Pooling:** cls" in card and "| learning_rate | 0.001 |" in card
    assert "36 lines of pairs.txt, 9 concepts" in card
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    plain = AutoModel.from_pretrained(tmp_path / "model").eval()
    with torch.inference_mode():
        tokens = tokenizer(["heart disorder"], return_tensors="pt")
        vector = plain(**tokens).last_hidden_state[:, 0]
    ours = encode(load_encoder(str(tmp_path / "model")), ["heart disorder"], precision="fp32")
    assert torch.allclose(vector, torch.from_numpy(ours), atol=1e-5)


def test_a_card_names_a_base_model_without_the_place_where_it_lay(tmp_path):
    (tmp_path / "sapbert-xlmr").mkdir()
    recipe = get_recipe("xling-bitext")
    card = model_card(recipe, str(tmp_path / "sapbert-xlmr"), "words", 2)
    assert "**Base model:** sapbert-xlmr (" in card and str(tmp_path) not in card
    assert "**Base model:** org/base (" in model_card(recipe, "org/base", "words", 2)


def test_options_change_a_recipe_and_what_is_not_given_stays_the_recipes(tmp_path):
    main(command(tmp_path, "--output", str(tmp_path / "model"), "--steps", "1", "--lower", "false",
                 "--recipe", "sapbert-mean-token", "--cache-gradients", "true",
                 "--max_length", "20", "--names_per_concept", "3"))
    card = (tmp_path / "model" / "README.md").read_text()
    for setting, value in {"lower": False, "cache_gradients": True, "max_length": 20,
                           "names_per_concept": 3, "batch_size": 8, "pooling": "mean_all_tok",
                           "dropout": 0.1, "mask_ambiguous": False, "loss": "ms"}.items():
        assert f"| {setting} | {value} |" in card
    assert load_encoder(str(tmp_path / "model")).max_length == 20


@pytest.mark.parametrize("options, message", [
    (["--pairs", "a", "--lower", "maybe"], "argument --lower: .*got maybe.*true/false"),
    (["--pairs", "a", "--batch-size", "x"], "--batch-size: invalid int value: 'x'"),
    (["--pairs", "a", "--rate", "1"], "unrecognized arguments: --rate 1"),
    (["--pairs", "a", "--recipe", "sapbort"], "invalid choice: 'sapbort'"),
    (["--pairs", "a", "--names", "b"], "give either --pairs or --names"),
    ([], "give either --pairs or --names")])
def test_a_wrong_option_is_refused_in_a_sentence(tmp_path, capsys, options, message):
    with pytest.raises(SystemExit) as stopped:
        main(["--output", str(tmp_path / "model"), *options])
    assert stopped.value.code == 2 and re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def processes(launch, tmp_path, count, *more):
    return launch(tmp_path, count, "-m", "sapbert_utils.model", *command(tmp_path, *more))


GRADIENT = """
import sys, torch
from accelerate import Accelerator
from sapbert_utils.model.batches import batches
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.losses import get_loss
from sapbert_utils.data.pairs import read_pairs
from sapbert_utils.model.step import train_step

accelerator = Accelerator()
encoder = load_encoder("minilm", 1, pooling="mean", device=str(accelerator.device))
assert accelerator.num_processes == int(sys.argv[3])
names, labels = next(batches(read_pairs(sys.argv[1]), 16, 0))
names, labels = names[:-1], labels[:-1]  # 31 names: no equal shares
loss, kept = train_step(encoder, names, labels, get_loss(), accelerator=accelerator)
if accelerator.is_main_process:
    grads = [w.grad.flatten() for w in encoder.model.parameters() if w.grad is not None]
    torch.save({"loss": loss, "kept": kept, "gradient": torch.cat(grads)}, sys.argv[2])
accelerator.end_training()
"""


def test_two_processes_have_the_gradient_of_one(launch, tmp_path):
    (tmp_path / "gradient.py").write_text(GRADIENT)
    file, found = command(tmp_path)[1], {}
    for count in (1, 2):
        out = tmp_path / f"{count}.pt"
        run = launch(tmp_path, count, str(tmp_path / "gradient.py"), file, str(out), str(count))
        assert run.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
        found[count] = torch.load(out, weights_only=True)
    assert found[1]["loss"] == pytest.approx(found[2]["loss"], rel=1e-6)
    assert found[1]["kept"] == found[2]["kept"]
    difference = found[1]["gradient"] - found[2]["gradient"]
    assert difference.norm() < 1e-5 * found[1]["gradient"].norm()


def test_two_processes_train_the_model_of_one(launch, tmp_path, loaded):
    loaded.model.save_pretrained(tmp_path / "base")
    loaded.tokenizer.save_pretrained(tmp_path / "base")
    for count in (1, 2):
        run = processes(launch, tmp_path, count, "--model", str(tmp_path / "base"),
                        "--output", str(tmp_path / f"of-{count}"), "--steps", "20",
                        "--pooling", "mean", "--dropout", "0", "--precision", "fp32")
        assert run.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
    one, two, base = (load_file(tmp_path / name / "model.safetensors")
                      for name in ("of-1", "of-2", "base"))

    def length(tensors):
        return sum(w.norm() ** 2 for w in tensors) ** 0.5

    difference = length([one[k] - two[k] for k in one])
    assert difference < 1e-4 * length(one.values())
    assert difference < 0.05 * length([one[k] - base[k] for k in one])


def test_two_processes_train_on_names_with_three_a_concept(launch, tmp_path):
    rows = [(cui, name) for cui, one, two in PAIRS.itertuples(index=False) for name in (one, two)]
    names = pd.DataFrame(rows[1:], columns=["cui", "name"])
    kept = names.groupby("cui").head(3)  # the first concept has fewer
    file = write_lines(tmp_path / "names.txt", kept)
    ends = []
    for count in (1, 2):
        run = launch(tmp_path, count, "-m", "sapbert_utils.model", "--names", file,
                     "--model", "minilm", "--output", str(tmp_path / f"of-{count}"),
                     "--batch-size", "6", "--names-per-concept", "3", "--steps", "5",
                     "--dropout", "0", "--precision", "fp32", "--learning-rate", "1e-3")
        assert run.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
        lines = (tmp_path / f"of-{count}.training" / "history.jsonl").read_text().splitlines()
        ends.append([json.loads(line)["loss"] for line in lines])
    assert len(ends[0]) == 5 and ends[0] == pytest.approx(ends[1], rel=1e-4)


def test_ways_to_launch_that_are_not_known_are_refused():
    def asks(kind, mixed="no", precision="auto"):
        launched = SimpleNamespace(distributed_type=kind, mixed_precision=mixed)
        return agreed_precision(launched, precision, torch.device("cpu"))

    for kind in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        with pytest.raises(ValueError, match=f"{kind}.*accelerate launch --multi_gpu"):
            asks(DistributedType[kind])
    assert asks(DistributedType.MULTI_GPU, "bf16") == "bf16"
    assert asks(DistributedType.NO, "fp16", "fp16") == "fp16"
    with pytest.raises(ValueError, match="--mixed_precision fp16, but the recipe says precision bf16"):
        asks(DistributedType.NO, "fp16", "bf16")


def test_a_killed_process_resumes_to_the_weights_of_an_undisturbed_one(launch, tmp_path):
    options = ("--steps", "60", "--checkpoint-every", "5", "--pooling", "mean")
    assert processes(launch, tmp_path, 1, "--output", str(tmp_path / "whole"), *options).wait() == 0
    run = processes(launch, tmp_path, 1, "--output", str(tmp_path / "killed"), *options)
    history = tmp_path / "killed.training" / "history.jsonl"
    while run.poll() is None and not (history.exists() and history.read_text().count("\n") > 12):
        time.sleep(0.02)
    launcher = psutil.Process(run.pid)
    for process in [*launcher.children(recursive=True), launcher]:
        process.kill()
    run.wait()
    assert run.returncode != 0 and not (tmp_path / "killed").exists()
    run = processes(launch, tmp_path, 1, "--output", str(tmp_path / "killed"), *options, "--resume")
    assert run.wait() == 0
    whole, resumed = (load_file(tmp_path / name / "model.safetensors")
                      for name in ("whole", "killed"))
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)


@pytest.mark.parametrize("option, value", [
    ("--steps", "-3"), ("--keep", "0"), ("--validate-every", "-1"), ("--batch_size", "-5"),
    ("--epochs", "0"),
    ("--max_length", "2"), ("--learning_rate", "inf"), ("--margin", "nan"), ("--dropout", "75.0")])
def test_a_number_that_means_nothing_is_refused_and_nothing_is_written(tmp_path, capsys, option, value):
    with pytest.raises(SystemExit) as stop:
        main(command(tmp_path, "--output", str(tmp_path / "model"), option, value))
    assert stop.value.code == 2 and f"is {value}: give" in capsys.readouterr().err
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("error", [FloatingPointError, RuntimeError, ModuleNotFoundError])
def test_a_failure_of_the_training_is_one_line(tmp_path, capsys, monkeypatch, error):
    def fail(*_, **__):
        raise error("it failed:\nconnect to the network")

    monkeypatch.setattr("sapbert_utils.model.__main__.load_encoder", fail)
    with pytest.raises(SystemExit) as stop:
        main(command(tmp_path, "--output", str(tmp_path / "model")))
    assert stop.value.code == 2
    assert capsys.readouterr().err == "sapbert_utils.model: it failed: connect to the network\n"


@pytest.mark.parametrize("options, message", [
    (["--output", "."], "--output . has no name of its own: name a folder"),
    (["--output", "model", "--validation", "-1"], "-1 concepts cannot be held out of 12")])
def test_an_option_without_a_meaning_is_refused_in_a_sentence(tmp_path, capsys, monkeypatch,
                                                              options, message):
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(SystemExit) as stop:
        main(command(tmp_path, *options))
    assert stop.value.code == 2 and message in capsys.readouterr().err
    assert not list((tmp_path / "empty").iterdir())


def test_a_tilde_in_an_option_is_the_home_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "taken").write_text("mine")
    for output, option, named in (
            ("~/model", "--pairs", "none.txt"), ("~/model", "--names", "none.txt"),
            ("~/taken", "--pairs", "taken")):
        with pytest.raises(SystemExit) as stop:
            main(["--output", output, option, "~/none.txt", "--model", "minilm"])
        assert stop.value.code == 2 and str(tmp_path / named) in capsys.readouterr().err
