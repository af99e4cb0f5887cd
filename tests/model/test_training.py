"""The loop: determinism, resume, records, callbacks, validation, refusals."""

import copy
import json
import shutil
import warnings
from dataclasses import replace

import pandas as pd
import pytest
import torch
from accelerate.tracking import GeneralTracker
from tiny import PAIRS, flat, tiny

from sapbert_utils.model.batches import batches, labels_of_ambiguous
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode
from sapbert_utils.model.history import History
from sapbert_utils.model.losses import get_loss
from sapbert_utils.model.recipes import RECIPES, get_recipe, learning_rate_factor
from sapbert_utils.model.step import train_step
from sapbert_utils.model.training import train
from sapbert_utils.model.validation import linking_accuracy


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

    def validate(encoder):
        at.append(flat(encoder))
        return next(seen)

    history = train(encoder, PAIRS, tiny(), steps=40, validate=validate, validate_every=10,
                    folder=tmp_path)
    assert sum(r["loss"] for r in history[-5:]) < sum(r["loss"] for r in history[:5])
    assert [r["validation"] for r in history if "validation" in r] == [1.0, 5.0, 4.0, 3.0]
    assert torch.equal(flat(load_encoder(str(tmp_path / "best"))), at[1])
    assert not encoder.model.training
    lines = (tmp_path / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == history


@pytest.mark.parametrize("stopped_at, precision", [(4, "fp32"), (7, "fp32"), (4, "bf16")])
def test_a_stopped_run_resumes_to_the_same_weights_bit_by_bit(loaded, tmp_path, stopped_at,
                                                              precision):
    class Stop(Exception):
        pass

    def stop(history):
        if len(history) == stopped_at:
            raise Stop

    recipe = tiny(schedule="linear", precision=precision, deterministic=True)
    whole, resumed = copy.deepcopy(loaded), copy.deepcopy(loaded)
    expected = train(whole, PAIRS, recipe, steps=10)
    with pytest.raises(Stop):
        train(copy.deepcopy(loaded), PAIRS, recipe, steps=10, folder=tmp_path, checkpoint_every=3,
              on_step=stop, read_every=1)
    with pytest.raises(ValueError, match="holds checkpoints of a run.*resume it"):
        train(copy.deepcopy(loaded), PAIRS, recipe, steps=10, folder=tmp_path)
    history = train(resumed, PAIRS, recipe, steps=10, folder=tmp_path, checkpoint_every=3,
                    resume=True)
    assert torch.equal(flat(whole), flat(resumed))
    same = [[(r["step"], r["loss"], r["lr"]) for r in records] for records in (history, expected)]
    assert same[0] == same[1]
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 10
    with pytest.raises(ValueError, match="learning_rate: then 0.001, now 0.002"):
        train(resumed, PAIRS, replace(recipe, learning_rate=2e-3), steps=10, folder=tmp_path,
              resume=True)


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
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            records = train(encoder, PAIRS, recipe, steps=6, folder=folder, checkpoint_every=3,
                            resume=True)
        said = [str(w.message) for w in caught if "history.jsonl" in str(w.message)]
        assert len(said) == (folder.name == "cut")
        assert all("records of 1 steps, but the checkpoint is of step 3" in text for text in said)
        ends.append((flat(encoder), [r["step"] for r in records]))
    assert torch.equal(ends[0][0], ends[1][0])
    assert ends[0][1] == [1, 2, 3, 4, 5, 6] and ends[1][1] == [1, 4, 5, 6]


RECORD = '{"step": 1, "loss": 0.5, "kept": 1.0, "lr": 0.1, "seconds": 0.1}\n'


@pytest.mark.parametrize("line, text", [
    (1, "my notes"), (1, '{"epoch": 1}\n'), (1, '{"step": 1, "note": "mine"}\n'),
    (2, RECORD + "\n"), (2, RECORD + '{"loss": 0.1, "st'), (2, RECORD + "[1]\n" + RECORD),
    (1, '{"step": 1, "lo\n' + RECORD),
    (1, '{"step": "one", "seconds": 1}\n'), (1, "3\n")])
def test_a_history_that_is_not_ours_is_refused_with_its_line_and_stays(tmp_path, line, text):
    (tmp_path / "history.jsonl").write_text(text)
    for done in (0, 1):
        with pytest.raises(ValueError, match=f"line {line} of .*history.jsonl is not a record"):
            History(tmp_path, True, done)
    assert (tmp_path / "history.jsonl").read_text() == text


def test_a_last_line_that_a_kill_cut_does_not_keep_a_run_from_going_on(tmp_path):
    (tmp_path / "history.jsonl").write_text(RECORD + '{"step": 2, "loss": 0.')
    assert History(tmp_path, True, 1).records == [json.loads(RECORD)]
    assert (tmp_path / "history.jsonl").read_text() == RECORD


@pytest.mark.parametrize("name, good, bad", [
    ("batch_size", 1, (0, -5)), ("epochs", 1, (0, -1)), ("max_length", 3, (0, 1, 2)),
    ("lora_rank", 0, (-1,)), ("learning_rate", 0.0, (float("inf"), float("nan"), -1e-3)),
    ("weight_decay", 0.0, (float("nan"), -1)),
    ("dropout", 0.0, (75, 1, -1)), ("margin", float("inf"), (float("nan"), -3))])
def test_a_setting_out_of_its_range_is_refused_by_name(name, good, bad):
    assert getattr(tiny(**{name: good}), name) == good
    for value in bad:
        with pytest.raises(ValueError, match=f"{name} is {value}: give .* or more"):
            tiny(**{name: value})
    with pytest.raises(ValueError, match="dropout is 75: give 0 or more and less than 1"):
        tiny(dropout=75)


def test_numbers_read_every_few_steps_are_those_of_every_step(loaded, tmp_path):
    kept = {}
    for every in (1, 4):
        seen = []
        history = train(copy.deepcopy(loaded), PAIRS, tiny(deterministic=True), steps=10,
                        folder=tmp_path / str(every), read_every=every,
                        on_step=lambda h, seen=seen: seen.append(len(h)))
        kept[every] = [(r["step"], r["loss"], r["kept"]) for r in history]
        if every == 1:
            assert seen == list(range(1, 11))
        else:
            assert seen[0] <= 4 and seen[-1] == 10 and len(seen) < 10
        assert len((tmp_path / str(every) / "history.jsonl").read_text().splitlines()) == 10
    assert kept[1] == kept[4]


def test_a_broken_model_stops_with_the_step_and_the_last_good_checkpoint(encoder, tmp_path):
    def poison(history):
        if len(history) == 3:
            encoder.model.embeddings.LayerNorm.weight.data.fill_(float("nan"))

    message = "not finite at step 4: .*was 0.001 there; .*/step-00000002 is the last good"
    with pytest.raises(FloatingPointError, match=message):
        train(encoder, PAIRS, tiny(), steps=9, folder=tmp_path, checkpoint_every=2,
              on_step=poison, read_every=1)


def test_a_broken_step_is_named_and_never_saved_when_numbers_are_read_later(encoder, tmp_path):
    def poison(history):
        encoder.model.embeddings.LayerNorm.weight.data.fill_(float("nan"))

    message = "not finite at step 3: .*/step-00000002 is the last good"
    with pytest.raises(FloatingPointError, match=message):
        train(encoder, PAIRS, tiny(), steps=9, folder=tmp_path, checkpoint_every=2,
              on_step=poison, read_every=2)
    assert len((tmp_path / "history.jsonl").read_text().splitlines()) == 2


def test_ambiguous_names_are_not_pushed_apart(loaded):
    pairs = pd.DataFrame([("C1", "cold", "common cold"), ("C2", "cold", "chill"),
                          ("C3", "flu", "influenza"), ("C2", "chill", "low temperature")],
                         columns=["cui", "name1", "name2"])
    assert set(labels_of_ambiguous(pairs)) == {"cold"}
    recipes = [get_recipe("sapbert", batch_size=4, mask_ambiguous=mask) for mask in (False, True)]
    loss = [train(copy.deepcopy(loaded), pairs, recipe, steps=1)[0]["loss"] for recipe in recipes]
    assert loss[1] < loss[0]


def test_dropout_is_the_recipes(loaded):
    def loss_of_a_step(rate):
        recipe = tiny(dropout=rate, seed=1)
        return train(copy.deepcopy(loaded), PAIRS, recipe, steps=1)[0]["loss"]

    steps = {rate: [loss_of_a_step(rate), loss_of_a_step(rate)] for rate in (0.0, 0.1, 0.5)}
    assert all(one == two for one, two in steps.values())
    assert len({one for one, _ in steps.values()}) == 3
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
        history = train(encoder, PAIRS, recipe, steps=4, on_step=call, read_every=1)
        losses.append([record["loss"] for record in history])
    assert losses[0] == losses[1]


class Noted(GeneralTracker):
    """A tracker that keeps what it is told."""

    name, requires_logging_directory = "noted", False

    def __init__(self):
        super().__init__()
        self.settings, self.logged, self.finished = {}, [], False

    @property
    def tracker(self):
        return self.logged

    def store_init_configuration(self, values):
        self.settings = values

    def log(self, values, step, **_):
        self.logged.append((step, values))

    def finish(self):
        self.finished = True


def test_a_tracker_is_told_the_settings_and_every_record(encoder):
    tracker = Noted()
    history = train(encoder, PAIRS, tiny(), steps=3, track=(tracker,), validate=lambda e: 5.0)
    assert tracker.settings["learning_rate"] == 1e-3 and "languages" not in tracker.settings
    assert [{"step": step} | values for step, values in tracker.logged] == history
    assert tracker.logged[-1][1]["validation"] == 5.0 and tracker.finished


def test_a_missing_name_is_refused(encoder):
    for missing in (None, float("nan"), 5):
        name2 = [missing if i == 3 else name for i, name in enumerate(PAIRS["name2"])]
        with pytest.raises(ValueError, match="row 3 of the data lacks a name"):
            train(encoder, PAIRS.assign(name2=name2), tiny(), steps=1)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_half_precision_stays_near_and_weights_stay_fp32(loaded, precision):
    losses = []
    for kind in ("fp32", precision):
        copied = copy.deepcopy(loaded)
        history = train(copied, PAIRS, tiny(precision=kind), steps=3)
        losses.append([record["loss"] for record in history])
        assert all(w.dtype == torch.float32 for w in copied.model.parameters())
    assert losses[1] != losses[0] and losses[1] == pytest.approx(losses[0], rel=0.05)


def test_names_in_place_of_pairs(encoder):
    names = pd.concat([PAIRS[["cui", side]].rename(columns={side: "name"})
                       for side in ("name1", "name2")], ignore_index=True)
    history = train(encoder, names, tiny(names_per_concept=4), steps=20)
    assert history[-1]["loss"] < history[0]["loss"]


def test_schedule_warms_up_and_decays():
    factors = [learning_rate_factor("linear", s, 100) for s in range(100)]
    assert factors[0] == 0.1 and max(factors) == factors[9] == factors[10] == 1
    assert factors[-1] == pytest.approx(1 / 90)
    assert learning_rate_factor("constant", 50, 100) == 1


def test_recipes_are_the_released_ones_and_refusals_say_what_is_right(encoder):
    assert list(RECIPES) == ["sapbert", "sapbert-mean-token", "sapbert-xlmr", "sapbert-xlmr-large",
                             "xling-bitext"]
    assert RECIPES["xling-bitext"].epochs == 5
    assert RECIPES["sapbert-mean-token"].pooling == "mean_all_tok"
    for call, message in (
            (lambda: get_recipe("sapbort"), "sapbert, sapbert-mean-token, sapbert-xlmr"),
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
