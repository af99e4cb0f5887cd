"""Checkpoints: whole or not at all, the newest whole one, and no other settings."""

import errno

import pytest
import torch

from sapbert_utils.model import checkpoints
from sapbert_utils.model.checkpoints import load_checkpoint, save_checkpoint

WEIGHTS = {"w": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2).half()}
STATE = {"optimizer": {"state": {0: {"step": torch.tensor(3.0)}}},
         "random": [[torch.get_rng_state()]]}
ABOUT = {"recipe": {"name": "sapbert", "languages": ("ENG",)}, "steps": 9}


def save(folder, step, keep=9):
    weights = {k: v + step for k, v in WEIGHTS.items()}
    return save_checkpoint(folder, step, weights, STATE, ABOUT, keep)


def test_what_is_saved_comes_back_and_the_newest_stay(tmp_path):
    for step in (1, 2, 30):
        save(tmp_path, step, keep=2)
    assert [p.name for p in sorted(tmp_path.iterdir())] == ["step-00000002", "step-00000030"]
    step, weights, state = load_checkpoint(tmp_path, ABOUT)
    assert step == 30
    for key, weight in WEIGHTS.items():
        assert torch.equal(weights[key], weight + 30) and weights[key].dtype == weight.dtype
    assert torch.equal(state["random"][0][0], STATE["random"][0][0])
    assert load_checkpoint(tmp_path / "none", ABOUT) is None


@pytest.mark.parametrize("name", ["model.safetensors", "state.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", ["cut", "gone", "changed"])
def test_a_damaged_one_is_passed_over_with_a_warning(tmp_path, name, damage):
    save(tmp_path, 1)
    file = save(tmp_path, 2) / name
    data = file.read_bytes()
    file.write_bytes(data[: len(data) // 2] if damage == "cut" else b"{" + data[1:-1] + b"?")
    if damage == "gone":
        file.unlink()
    with pytest.warns(UserWarning, match="step-00000002 is cut short or damaged"):
        assert load_checkpoint(tmp_path, ABOUT)[0] == 1


@pytest.mark.parametrize("mark", ["[]", '{"sha256": []}', "3", "null", "{}"])
def test_a_list_of_sums_that_is_none_is_passed_over(tmp_path, mark):
    save(tmp_path, 1)
    (save(tmp_path, 2) / "checkpoint.json").write_text(mark)
    with pytest.warns(UserWarning, match="step-00000002 is cut short or damaged"):
        assert load_checkpoint(tmp_path, ABOUT)[0] == 1


def test_folders_of_the_reader_are_never_deleted(tmp_path):
    for mine in ("partial-notes", "partial-x/step-00000001/a", "partial-x/step-mine",
                 "step-by-step/b", "step-00000000/photos"):
        (tmp_path / mine).mkdir(parents=True)
    (tmp_path / "partial-file").write_text("mine")
    (tmp_path / "step-1").write_text("mine")
    before = set(tmp_path.rglob("*"))
    for step in (1, 2, 3):
        save(tmp_path, step, keep=1)
    assert {path for path in tmp_path.iterdir()} - before == {tmp_path / "step-00000003"}
    assert before <= set(tmp_path.rglob("*"))
    assert load_checkpoint(tmp_path, ABOUT)[0] == 3


def test_a_full_disk_loses_nothing_and_says_so(tmp_path, monkeypatch):
    save(tmp_path, 1)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(checkpoints, "save_file", full)
    with pytest.raises(OSError, match="step-00000002 could not be written.*No space left.*"
                                      "step-00000001 is whole"):
        save(tmp_path, 2)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]
    assert load_checkpoint(tmp_path, ABOUT)[0] == 1


def test_what_a_killed_run_left_is_cleared_and_never_read(tmp_path):
    (tmp_path / "partial-x" / "step-00000009").mkdir(parents=True)
    assert load_checkpoint(tmp_path, ABOUT) is None
    save(tmp_path, 1)
    assert [p.name for p in tmp_path.iterdir()] == ["step-00000001"]


def test_other_settings_are_refused_by_name(tmp_path):
    save(tmp_path, 1)
    with pytest.raises(ValueError, match="another recipe .name: then 'sapbert', now 'x'"):
        load_checkpoint(tmp_path, ABOUT | {"recipe": ABOUT["recipe"] | {"name": "x"}})
    with pytest.raises(ValueError, match="another steps .then 9, now 8"):
        load_checkpoint(tmp_path, ABOUT | {"steps": 8})
