"""The step against two padded passes, cached and shared among processes; the loop: determinism, resume, refusals."""

import copy
import json
import shutil
import subprocess
import time
from dataclasses import replace
from types import SimpleNamespace

import pandas as pd
import pytest
import torch
from accelerate import DistributedType
from safetensors.torch import load_file
from transformers import AutoModel, AutoTokenizer

from sapbert_utils.model.__main__ import main
from sapbert_utils.model.batches import batches, labels_of_ambiguous
from sapbert_utils.model.encoder import freeze, load_encoder, with_adapters
from sapbert_utils.model.encoding import encode, make_chunks, pool
from sapbert_utils.model.losses import get_loss, mine_all, multi_similarity_loss
from sapbert_utils.model.precision import agreed_precision
from sapbert_utils.model.recipes import RECIPES, get_recipe
from sapbert_utils.model.step import Step, train_step
from sapbert_utils.model.tokens import tokenize
from sapbert_utils.model.training import learning_rate_factor, train
from sapbert_utils.model.validation import linking_accuracy

PAIRS = pd.DataFrame([(f"C{i // 2:07}", f"disease of type {i} of the {o}", f"{o} disorder {i}")
                      for i in range(24) for o in ("heart", "lung")], columns=["cui", "name1", "name2"])


@pytest.fixture(scope="module")
def loaded():
    return load_encoder("minilm", num_layers=1)


@pytest.fixture
def encoder(loaded):
    return copy.deepcopy(loaded)


@pytest.fixture
def near(loaded):
    """How near two computations of the same must come: kernels of a GPU add up in other orders."""
    return 1e-5 if loaded.device.type == "cpu" else 1e-3


def tiny(**changes):
    return get_recipe("sapbert", **{"batch_size": 8, "learning_rate": 1e-3, "precision": "fp32"} | changes)


def flat(encoder, gradient=False):
    return torch.cat([(w.grad if gradient else w.detach()).flatten() for w in encoder.model.parameters()
                      if not gradient or w.grad is not None])


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
def test_one_step_has_the_loss_and_gradient_of_two_padded_forward_passes(encoder, pooling):
    encoder.pooling, encoder.lower = pooling, True
    names, labels = next(batches(PAIRS, 16, 0))
    sides = []
    for side in (names[:16], names[16:]):
        tokens = encoder.tokenizer(side, padding="max_length", truncation=True, max_length=25, return_tensors="pt")
        tokens = tokens.to(encoder.device)
        hidden, mask = encoder.model(**tokens).last_hidden_state, tokens["attention_mask"][..., None]
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
    assert (ours - gradient).norm() < 1e-3 * gradient.norm() and abs(ours.norm() / gradient.norm() - 1) < 1e-4


def in_double(loaded, pooling, words, rank):
    """A small encoder in double precision, where rounding cannot hide or feign a difference."""
    encoder = replace(loaded, model=copy.deepcopy(loaded.model).double(), pooling=pooling, lower=True)
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
        tokens = plain.tokenizer(side, padding="max_length", truncation=True, max_length=25, return_tensors="pt")
        tokens = tokens.to(plain.device)
        sides.append(pool(plain.model(**tokens).last_hidden_state, tokens["attention_mask"], pooling))
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
    exact = encoder.device.type == "cpu"
    assert found[True][0] == (found[False][0] if exact else pytest.approx(found[False][0], rel=near))
    assert torch.equal(found[True][2], found[False][2])
    assert (found[True][1] - found[False][1]).norm() < near * found[False][1].norm()
    torch.manual_seed(8)
    encoder.model.zero_grad(set_to_none=True)
    assert train_step(encoder, names, labels, get_loss(**recipe), cached=True)[0] != pytest.approx(
        found[True][0], rel=near)


def test_same_seed_same_weights_other_seed_other_weights(loaded):
    def weights(seed):
        copied = copy.deepcopy(loaded)
        history = train(copied, PAIRS, tiny(seed=seed, deterministic=True), steps=3)
        return flat(copied), history

    first, history = weights(1)
    assert torch.equal(first, weights(1)[0])
    assert not torch.equal(first, weights(2)[0])
    assert [r["step"] for r in history] == [1, 2, 3] and all(r["loss"] > 0 for r in history)


def test_training_lowers_the_loss_and_keeps_the_best_by_validation(encoder, tmp_path):
    seen = iter([1.0, 5.0, 4.0, 3.0])
    at = []
    history = train(encoder, PAIRS, tiny(), steps=40, validate=lambda e: at.append(flat(e)) or next(seen),
                    validate_every=10, folder=tmp_path)
    assert sum(r["loss"] for r in history[-5:]) < sum(r["loss"] for r in history[:5])
    assert [r["validation"] for r in history if "validation" in r] == [1.0, 5.0, 4.0, 3.0]
    assert torch.equal(flat(load_encoder(str(tmp_path / "best"))), at[1]) and not encoder.model.training
    assert [json.loads(line) for line in (tmp_path / "history.jsonl").read_text().splitlines()] == history


@pytest.mark.parametrize("stopped_at, precision", [(4, "fp32"), (7, "fp32"), (4, "bf16")])
def test_a_stopped_run_resumes_to_the_same_weights_bit_by_bit(loaded, tmp_path, stopped_at, precision):
    class Stop(Exception):
        pass

    def stop(history):
        if len(history) == stopped_at:
            raise Stop

    recipe = tiny(schedule="linear", precision=precision, deterministic=True)
    whole, resumed = copy.deepcopy(loaded), copy.deepcopy(loaded)
    expected = train(whole, PAIRS, recipe, steps=10)
    with pytest.raises(Stop):
        train(copy.deepcopy(loaded), PAIRS, recipe, steps=10, folder=tmp_path, checkpoint_every=3, on_step=stop,
              read_every=1)
    with pytest.raises(ValueError, match="holds checkpoints of a run.*resume it"):
        train(copy.deepcopy(loaded), PAIRS, recipe, steps=10, folder=tmp_path)
    history = train(resumed, PAIRS, recipe, steps=10, folder=tmp_path, checkpoint_every=3, resume=True)
    assert torch.equal(flat(whole), flat(resumed))
    assert [(r["step"], r["loss"], r["lr"]) for r in history] == [(r["step"], r["loss"], r["lr"]) for r in expected]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 10
    with pytest.raises(ValueError, match="learning_rate: then 0.001, now 0.002"):
        train(resumed, PAIRS, replace(recipe, learning_rate=2e-3), steps=10, folder=tmp_path, resume=True)


def test_the_checkpoint_says_where_to_go_on_when_the_history_lacks_lines(loaded, tmp_path):
    recipe, ends = tiny(schedule="linear", deterministic=True), []
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        train(copy.deepcopy(loaded), PAIRS, recipe, steps=6, folder=folder, checkpoint_every=3)
        for checkpoint in (folder / "checkpoints").glob("step-00000006"):
            shutil.rmtree(checkpoint)
    history = tmp_path / "cut" / "history.jsonl"
    history.write_text("".join(history.read_text().splitlines(keepends=True)[:1]))
    for folder in (tmp_path / "whole", tmp_path / "cut"):
        encoder = copy.deepcopy(loaded)
        records = train(encoder, PAIRS, recipe, steps=6, folder=folder, checkpoint_every=3, resume=True)
        ends.append((flat(encoder), [r["step"] for r in records]))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1] == [1, 2, 3, 4, 5, 6] and ends[1][1] == [1, 4, 5, 6]


def test_numbers_read_every_few_steps_are_those_of_every_step(loaded, tmp_path):
    kept = {}
    for every in (1, 4):
        seen = []
        history = train(copy.deepcopy(loaded), PAIRS, tiny(deterministic=True), steps=10, folder=tmp_path / str(every),
                        read_every=every, on_step=lambda h, seen=seen: seen.append(len(h)))
        kept[every] = [(r["step"], r["loss"], r["kept"]) for r in history]
        assert seen == list(range(1, 11)) if every == 1 else seen[0] <= 4 and seen[-1] == 10 and len(seen) < 10
        assert len((tmp_path / str(every) / "history.jsonl").read_text().splitlines()) == 10
    assert kept[1] == kept[4]


def test_a_broken_model_stops_with_the_step_and_the_last_good_checkpoint(encoder, tmp_path):
    def poison(history):
        if len(history) == 3:
            encoder.model.embeddings.LayerNorm.weight.data.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match="not finite at step 4: .*/step-00000002 is the last good"):
        train(encoder, PAIRS, tiny(), steps=9, folder=tmp_path, checkpoint_every=2, on_step=poison, read_every=1)


def test_a_broken_step_is_named_and_never_saved_when_numbers_are_read_later(encoder, tmp_path):
    def poison(history):
        encoder.model.embeddings.LayerNorm.weight.data.fill_(float("nan"))

    with pytest.raises(FloatingPointError, match="not finite at step 3: .*/step-00000002 is the last good"):
        train(encoder, PAIRS, tiny(), steps=9, folder=tmp_path, checkpoint_every=2, on_step=poison, read_every=2)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_ambiguous_names_are_not_pushed_apart(loaded):
    pairs = pd.DataFrame([("C1", "cold", "common cold"), ("C2", "cold", "chill"), ("C3", "flu", "influenza"),
                          ("C2", "chill", "low temperature")], columns=["cui", "name1", "name2"])
    assert set(labels_of_ambiguous(pairs)) == {"cold"}
    recipes = [get_recipe("sapbert", batch_size=4, mask_ambiguous=mask) for mask in (False, True)]
    loss = [train(copy.deepcopy(loaded), pairs, recipe, steps=1)[0]["loss"] for recipe in recipes]
    assert loss[1] < loss[0]


def test_dropout_is_the_recipes(loaded):
    steps = {rate: [train(copy.deepcopy(loaded), PAIRS, tiny(dropout=rate, seed=1), steps=1)[0]["loss"]
                    for _ in range(2)] for rate in (0.0, 0.1, 0.5)}
    assert all(one == two for one, two in steps.values()) and len({one for one, _ in steps.values()}) == 3
    encoder = copy.deepcopy(loaded)
    names, labels = next(batches(PAIRS, 8, 1))
    encoder.lower = True
    in_evaluation = train_step(encoder, names, labels, get_loss())[0]
    exact = encoder.device.type == "cpu"
    assert steps[0.0][0] == (in_evaluation if exact else pytest.approx(in_evaluation, rel=1e-6))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_dropout_stays_on_when_a_callback_encodes(loaded, precision):
    losses, encoder = [], None

    def look(history):
        encode(encoder, ["heart disorder"])

    for call in (None, look):
        encoder = copy.deepcopy(loaded)
        recipe = tiny(dropout=0.5, precision=precision, deterministic=True)
        losses.append([r["loss"] for r in train(encoder, PAIRS, recipe, steps=4, on_step=call, read_every=1)])
    assert losses[0] == losses[1]


def test_half_precision_adds_up_many_chunks_as_full_precision_does(loaded):
    names, labels = next(batches(PAIRS, 48, 0))
    found = {}
    for precision, budget in (("fp32", 768), ("bf16", 768), ("bf16", 32)):
        encoder = copy.deepcopy(loaded)
        encoder.pooling = "mean"
        train_step(encoder, names, labels, get_loss(), precision=precision, budget=budget, cached=budget == 32)
        found[precision, budget] = flat(encoder, gradient=True)
    for half in (("bf16", 768), ("bf16", 32)):
        apart = (found[half] - found["fp32", 768]).norm() / found["fp32", 768].norm()
        assert 0 < apart < 0.05, half


def test_a_missing_name_is_refused(encoder):
    with pytest.raises(ValueError, match="row 3 of the data lacks a name"):
        train(encoder, PAIRS.assign(name2=[None if i == 3 else name for i, name in enumerate(PAIRS["name2"])]),
              tiny(), steps=1)


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
        assert b.grad is None if below else torch.allclose(a.grad, b.grad, rtol=near, atol=near * 1e-3), name
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
    history = train(encoder, PAIRS, tiny(lora_rank=2), steps=20, validate=lambda e: 1.0, folder=tmp_path)
    after = dict(encoder.model.named_parameters())
    moved = {name for name, w in after.items() if not torch.equal(w, before[name])}
    assert set(after) == set(before) and moved
    assert all(name.endswith("dense.weight") or ".self." in name for name in moved)
    assert history[-1]["loss"] < history[0]["loss"]
    assert load_encoder(str(tmp_path / "best")).model.config.model_type == "bert"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_near_and_weights_stay_fp32(loaded, precision):
    losses = []
    for kind in ("fp32", precision):
        copied = copy.deepcopy(loaded)
        losses.append([record["loss"] for record in train(copied, PAIRS, tiny(precision=kind), steps=3)])
        assert all(w.dtype == torch.float32 for w in copied.model.parameters())
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.05)


def test_names_in_place_of_pairs(encoder):
    names = pd.concat([PAIRS[["cui", side]].set_axis(["cui", "name"], axis=1) for side in ("name1", "name2")])
    history = train(encoder, names.reset_index(drop=True), tiny(names_per_concept=4), steps=20)
    assert history[-1]["loss"] < history[0]["loss"]


def test_schedule_warms_up_and_decays():
    factors = [learning_rate_factor("linear", s, 100) for s in range(100)]
    assert factors[0] == 0.1 and max(factors) == factors[9] == factors[10] == 1 and factors[-1] == pytest.approx(1 / 90)
    assert learning_rate_factor("constant", 50, 100) == 1


def test_recipes_are_the_released_ones_and_refusals_say_what_is_right(encoder):
    assert list(RECIPES) == ["sapbert", "sapbert-mean-token", "sapbert-xlmr", "sapbert-xlmr-large", "xling-bitext"]
    assert RECIPES["xling-bitext"].epochs == 5 and RECIPES["sapbert-mean-token"].pooling == "mean_all_tok"
    for call, message in ((lambda: get_recipe("sapbort"), "sapbert, sapbert-mean-token, sapbert-xlmr"),
                          (lambda: get_recipe("sapbert", rate=1), "unknown setting 'rate'.*learning_rate"),
                          (lambda: train(encoder, PAIRS, tiny(precision="fp8")), "auto, fp32, bf16, fp16"),
                          (lambda: train(encoder, PAIRS, tiny(loss="mse")), "ms, circle, triplet"),
                          (lambda: learning_rate_factor("cosine", 0, 1), "constant or linear")):
        with pytest.raises(ValueError, match=message):
            call()


def test_validation_links_names_of_unseen_concepts(encoder):
    validate = linking_accuracy(PAIRS.iloc[:8], PAIRS.iloc[8:])
    assert 0 <= validate(encoder) <= 100
    with pytest.raises(ValueError, match="hold out more"):
        linking_accuracy(PAIRS.iloc[:0], PAIRS)


def command(tmp_path, *more):
    file = tmp_path / "pairs.txt"
    file.write_text("".join("||".join(row) + "\n" for row in PAIRS.itertuples(index=False)), encoding="utf-8")
    return ["--pairs", str(file), "--model", "minilm", "--batch-size", "8", "--learning-rate", "1e-3", *more]


def test_the_command_trains_a_folder_that_plain_transformers_loads(tmp_path):
    main(command(tmp_path, "--output", str(tmp_path / "model"), "--steps", "2", "--pooling", "cls",
                 "--validation", "3"))
    card = (tmp_path / "model" / "README.md").read_text()
    assert "**Pooling:** cls" in card and "pairs.txt" in card and "| learning_rate | 0.001 |" in card
    tokenizer, plain = AutoTokenizer.from_pretrained(tmp_path / "model"), AutoModel.from_pretrained(tmp_path / "model")
    with torch.inference_mode():
        vector = plain.eval()(**tokenizer(["heart disorder"], return_tensors="pt")).last_hidden_state[:, 0]
    ours = encode(load_encoder(str(tmp_path / "model")), ["heart disorder"], precision="fp32")
    assert torch.allclose(vector, torch.from_numpy(ours), atol=1e-5)


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
    assert found[1]["loss"] == pytest.approx(found[2]["loss"], rel=1e-6) and found[1]["kept"] == found[2]["kept"]
    difference = found[1]["gradient"] - found[2]["gradient"]
    assert difference.norm() < 1e-5 * found[1]["gradient"].norm()


def test_two_processes_train_the_model_of_one(launch, tmp_path, loaded):
    loaded.model.save_pretrained(tmp_path / "base")
    loaded.tokenizer.save_pretrained(tmp_path / "base")
    for count in (1, 2):
        run = processes(launch, tmp_path, count, "--model", str(tmp_path / "base"), "--output",
                        str(tmp_path / f"of-{count}"), "--steps", "20", "--pooling", "mean", "--dropout", "0")
        assert run.wait(timeout=300) == 0, (tmp_path / "log").read_text()[-3000:]
    one, two, base = (load_file(tmp_path / name / "model.safetensors") for name in ("of-1", "of-2", "base"))

    def length(tensors):
        return sum(w.norm() ** 2 for w in tensors) ** 0.5

    difference = length([one[k] - two[k] for k in one])
    assert difference < 1e-4 * length(one.values()) and difference < 0.05 * length([one[k] - base[k] for k in one])


def test_two_processes_train_on_names_with_three_a_concept(launch, tmp_path):
    rows = [(cui, name) for cui, one, two in PAIRS.itertuples(index=False) for name in (one, two)]
    kept = pd.DataFrame(rows[1:], columns=["cui", "name"]).groupby("cui").head(3)  # the first concept has fewer
    file = tmp_path / "names.txt"
    file.write_text("".join("||".join(row) + "\n" for row in kept.itertuples(index=False)), encoding="utf-8")
    ends = []
    for count in (1, 2):
        run = launch(tmp_path, count, "-m", "sapbert_utils.model", "--names", str(file), "--model", "minilm",
                     "--output", str(tmp_path / f"of-{count}"), "--batch-size", "6", "--names-per-concept", "3",
                     "--steps", "5", "--dropout", "0", "--precision", "fp32", "--learning-rate", "1e-3")
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
    assert asks(DistributedType.MULTI_GPU, "bf16") == "bf16" and asks(DistributedType.NO, "fp16", "fp16") == "fp16"
    with pytest.raises(ValueError, match="--mixed_precision fp16, the recipe says precision bf16"):
        asks(DistributedType.NO, "fp16", "bf16")


def test_a_killed_process_resumes_to_the_weights_of_an_undisturbed_one(launch, tmp_path):
    options = ("--steps", "60", "--checkpoint-every", "5", "--pooling", "mean")
    assert processes(launch, tmp_path, 1, "--output", str(tmp_path / "whole"), *options).wait() == 0
    run = processes(launch, tmp_path, 1, "--output", str(tmp_path / "killed"), *options)
    history = tmp_path / "killed.training" / "history.jsonl"
    while run.poll() is None and not (history.exists() and history.read_text().count("\n") > 12):
        time.sleep(0.02)
    subprocess.run(["pkill", "-KILL", "-f", str(tmp_path / "killed")], check=False)
    run.wait()
    assert run.returncode != 0 and not (tmp_path / "killed").exists()
    assert processes(launch, tmp_path, 1, "--output", str(tmp_path / "killed"), *options, "--resume").wait() == 0
    whole, resumed = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "killed"))
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
