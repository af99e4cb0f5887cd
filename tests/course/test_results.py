"""results.json: one schema, and files that are either whole or untouched."""

import json
import os
from pathlib import Path

import jsonschema
import matplotlib
import PIL.Image
import pytest
from matplotlib.figure import Figure

from sapbert_utils.course.profiles import PROFILES, REPOSITORY, get_profile
from sapbert_utils.course.results import Run
from sapbert_utils.files import sha256, write_json

SCHEMA = REPOSITORY / "tests" / "course" / "results.schema.json"


@pytest.fixture
def run():
    return Run("03_pretrain", get_profile("smoke"), 33, learning_rate=1e-4)


def test_a_finished_run_is_valid_and_names_no_folder(run, tmp_path):
    run.profile.data.mkdir(parents=True)
    (run.profile.data / "pairs.txt").write_text("a||b")
    (tmp_path / "own.txt").write_text("elsewhere")
    run.input(run.profile.data / "pairs.txt", "01_build")
    run.input(tmp_path / "own.txt", "01_build")
    run.output(run.profile.data)
    run.metric("acc@1", 0.12345678, expected=(None, 1), unit="%")
    run.metric("steps", 4)
    record = json.loads(run.finish().read_text())
    jsonschema.validate(record, json.loads(SCHEMA.read_text()))
    assert record["inputs"].keys() == {"data/pairs.txt", "external/own.txt"}
    assert record["inputs"]["data/pairs.txt"] == sha256(run.profile.data / "pairs.txt")
    assert record["metrics"][0] == {"name": "acc@1", "value": 0.1235, "unit": "%", "expected": [None, 1]}
    assert record["parameters"] == {"learning_rate": 1e-4} and record["peak_memory_mb"] > 0
    assert str(tmp_path) not in json.dumps(record)


def test_a_missing_input_says_which_notebook_and_command(run):
    with pytest.raises(FileNotFoundError) as caught:
        run.input(run.profile.data / "pairs.txt", "01_build_synonym_pairs_from_umls")
    message = str(caught.value)
    assert "pairs.txt" in message and "01_build_synonym_pairs_from_umls" in message
    assert "python -m sapbert_utils run 01 --profile smoke" in message


def test_a_broken_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = write_json(tmp_path / "a" / "results.json", {"old": 1})
    with pytest.raises(TypeError):
        write_json(path, {"new": object()})
    monkeypatch.setattr(os, "replace", lambda *paths: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(OSError, match="disk full"):
        write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"old": 1}


def test_hash_of_a_folder_follows_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    first = sha256(tmp_path / "a")
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    renamed = sha256(tmp_path / "a")
    (tmp_path / "a" / "y").write_text("2")
    assert len({first, renamed, sha256(tmp_path / "a")}) == 3


def test_a_figure_is_saved_and_recorded(run, monkeypatch):
    matplotlib.use("Agg")
    run.figure(Figure(figsize=(1, 1)), "map", alt="an empty map")
    assert (run.profile.figures / "map.png").read_bytes().startswith(b"\x89PNG")
    first = run.record["outputs"]["figures/map.png"]
    run.figure(Figure(figsize=(2, 1)), "map", alt="a later one")  # takes its place
    assert run.record["figures"] == {"map.png": "a later one"} and run.record["gallery"] == ["map.png"]
    assert run.record["outputs"].keys() == {"figures/map.png", "figures/slides/map.png"}
    assert run.record["outputs"]["figures/map.png"] != first
    assert PIL.Image.open(run.profile.figures / "slides" / "map.png").size == (1920, 960)
    run.figure(Figure(figsize=(1, 1)), "detail", alt="a detail", gallery=False)
    assert not (run.profile.figures / "slides" / "detail.png").exists()
    assert "detail.png" in run.record["figures"] and run.record["gallery"] == ["map.png"]


def test_profiles_come_from_the_name_the_environment_or_demo(monkeypatch):
    assert get_profile().name == "demo" and get_profile("full").name == "full"
    monkeypatch.setenv("SAPBERT_PROFILE", "smoke")
    assert get_profile() == PROFILES["smoke"] and get_profile("paper").name == "paper"
    with pytest.raises(ValueError, match="huge.*smoke, demo, full, paper"):
        get_profile("huge")


def test_a_run_folder_is_the_repositorys_or_the_one_that_is_named(monkeypatch, tmp_path):
    for named, folder in ((str(tmp_path), tmp_path / "demo"), ("~/x", Path.home() / "x" / "demo"),
                          ("", REPOSITORY / "runs" / "demo")):
        monkeypatch.setenv("SAPBERT_RUNS", named)
        assert get_profile("demo").folder == folder and get_profile("demo").data == folder / "data"


def test_base_models_and_sizes_stand_in_for_those_of_the_profile():
    changed = get_profile("paper", "models/pubmedbert", "xlm-roberta-large", map_names=50, max_queries=0)
    assert (changed.english_model, changed.multilingual_model) == ("models/pubmedbert", "xlm-roberta-large")
    assert changed.map_names == 50 and changed.max_queries is PROFILES["paper"].max_queries
    assert changed.name == "paper" and changed.pooling == "cls"
    assert changed.folder == get_profile("paper").folder
    assert changed.altered and not PROFILES["paper"].altered and not get_profile("paper", "", "", map_names=0).altered


def test_no_range_is_expected_of_other_models_than_the_profiles_own():
    for profile, expected in ((get_profile("demo"), [1, 3]), (get_profile("demo", "another/model"), None)):
        other = Run("03_pretrain", profile, 33)
        assert other.metric("accuracy", 2, expected=(1, 3)) == 2
        assert other.record["metrics"] == [{"name": "accuracy", "value": 2.0, "unit": "", "expected": expected}]


def test_a_notebook_takes_the_model_asked_for_else_the_runs_own_else_the_released_one(run):
    folder = run.profile.models / "sapbert"
    assert run.trained("sapbert", "sapbert-minilm") == "sapbert-minilm"
    assert run.record["inputs"] == {"models/sapbert": "missing"}, "so that it is stale once there is one"
    assert run.trained("sapbert", "sapbert-minilm", "minilm") == "minilm"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    assert run.trained("sapbert", "sapbert-minilm") == str(folder)
    assert run.record["inputs"]["models/sapbert"] == sha256(folder)
    assert run.record["parameters"]["model for sapbert"] == "sapbert"
    jsonschema.validate(json.loads(run.finish().read_text()), json.loads(SCHEMA.read_text()))
