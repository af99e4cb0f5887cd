"""Checkpoints of a training: complete or absent, and verified before they are used."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..files import sha256, whole_folder, write_json

NAME, PATTERN = "step-{:08d}", "step-" + 8 * "[0-9]"
MARK = "checkpoint.json"  # what the folder holds, with the sha256 of each file; written last


def save_checkpoint(folder: Path | str, step: int, weights: dict[str, torch.Tensor],
                    state: dict[str, Any], about: dict[str, Any], keep: int = 2) -> Path:
    """Write ``folder/step-…`` and delete all checkpoints but the newest.

    Args:
        folder: of all checkpoints of the training.
        step: steps done.
        weights: go into model.safetensors.
        state: optimizer, loss scaler and random numbers; go into state.pt.
        about: recipe, steps and data, which a resumed training must share; go into checkpoint.json.
        keep: how many checkpoints to keep, this one included.

    Returns:
        The folder of this checkpoint.

    Raises:
        OSError: it can't be written, for example on a full disk; older checkpoints stay.
    """
    folder = Path(folder)
    target = folder / NAME.format(step)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("partial-*"):  # of a killed run; all else is the reader's own
        inside = sorted(left.iterdir()) if left.is_dir() and not left.is_symlink() else []
        if len(inside) == 1 and inside[0].match(PATTERN) and inside[0].is_dir():
            shutil.rmtree(left)
    try:
        with whole_folder(target, taken="replace") as new:
            whole = {key: tensor.contiguous() for key, tensor in weights.items()}
            save_file(whole, new / "model.safetensors")
            torch.save(state, new / "state.pt")
            files = {path.name: sha256(path) for path in sorted(new.iterdir())}
            write_json(new / MARK, {"step": step, "sha256": files} | about)
    except (OSError, RuntimeError) as error:  # torch raises RuntimeError on a full disk
        last = max(folder.glob(PATTERN), default=None)
        before = f"{last} is whole: free some space and resume" if last else "there is no older one"
        raise OSError(f"checkpoint {target} could not be written ({error}); {before}") from error
    every = [path for path in sorted(folder.glob(PATTERN)) if (path / MARK).is_file()]
    for old in every[:-keep]:
        shutil.rmtree(old)
    return target


def load_checkpoint(folder: Path | str, about: dict[str, Any]) -> (
        tuple[int, dict[str, torch.Tensor], dict[str, Any]] | None):
    """The newest complete checkpoint of a folder as (step, weights, state); None if there is none.

    A damaged checkpoint is skipped with a warning. Raises ``ValueError`` when the checkpoint was
    written with another ``about``.
    """
    for path in sorted(Path(folder).glob(PATTERN), reverse=True):
        try:
            mark = json.loads((path / MARK).read_text(encoding="utf-8"))
            for name, written in mark["sha256"].items():
                if sha256(path / name) != written:
                    raise ValueError(f"{name} is not what was written")
            if path.name != NAME.format(mark["step"]):
                raise ValueError(f"{MARK} says step {mark['step']}")
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            _pass_over(path, error)
            continue
        for key, value in json.loads(json.dumps(about)).items():  # turns tuples into lists
            if mark.get(key) != value:
                raise ValueError(f"{path} was written with another {key} "
                                 f"({_difference(mark.get(key), value)}): resume with the same, or "
                                 f"start again in another folder")
        try:
            state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
            return mark["step"], load_file(path / "model.safetensors"), state
        except (RuntimeError, SafetensorError, UnpicklingError) as error:
            _pass_over(path, error)  # the hashes match, but no training wrote this
    return None


def _pass_over(path: Path, error: Exception) -> None:
    reason = str(error).splitlines()[0]
    warnings.warn(f"{path} is cut short or damaged ({reason}); going on from the one before",
                  stacklevel=3)


def last_checkpoint(folder: Path | None) -> str:
    """Return the end of a message that names the newest checkpoint of a training, or nothing."""
    found = sorted((folder / "checkpoints").glob(PATTERN)) if folder else []
    return f"; {found[-1]} is the last good checkpoint" if found else ""


def _difference(then: Any, now: Any) -> str:
    if isinstance(then, dict) and isinstance(now, dict):
        changed = [key for key, value in now.items() if then.get(key) != value]
        return "; ".join(f"{key}: then {then.get(key)!r}, now {now[key]!r}" for key in changed)
    return f"then {then!r}, now {now!r}"


def fingerprint(data: pd.DataFrame) -> str:
    """sha256 over the rows in their order."""
    rows = pd.util.hash_pandas_object(data, index=False).to_numpy()
    return hashlib.sha256(rows.tobytes()).hexdigest()
