"""Checkpoints of a training: written whole or not at all, checked before they are believed."""

import hashlib
import json
import shutil
import warnings
from pathlib import Path

import pandas as pd
import torch
from safetensors.torch import load_file, save_file

from ..files import sha256, whole_file, whole_folder, write_json

NAME = "step-{:08d}"
MARK = "checkpoint.json"  # what the folder holds, with the sha256 of each file; written last


def save_checkpoint(folder: Path | str, step: int, weights: dict[str, torch.Tensor], state: dict, about: dict,
                    keep: int = 2) -> Path:
    """Write ``folder/step-…`` (weights as safetensors; ``state``: optimizer, loss scaler, random numbers) and drop
    all but the ``keep`` newest. Raises ``OSError`` (a full disk, say) with the ones of before untouched."""
    folder, name = Path(folder), NAME.format(step)
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob("partial-*"):  # of a run that was killed
        shutil.rmtree(left)
    try:
        with whole_folder(folder / name, taken="replace") as new:
            save_file({key: tensor.contiguous() for key, tensor in weights.items()}, new / "model.safetensors")
            torch.save(state, new / "state.pt")
            files = {path.name: sha256(path) for path in sorted(new.iterdir())}
            write_json(new / MARK, {"step": step, "sha256": files} | about)
    except (OSError, RuntimeError) as error:  # torch and safetensors report a full disk as their own kinds
        last = max(folder.glob(NAME.format(0)[:5] + "*"), default=None)
        before = f"{last} is whole: free some space and resume" if last else "none was there before"
        raise OSError(f"checkpoint {folder / name} could not be written ({error}); {before}") from error
    for old in sorted(folder.glob("step-*"))[:-keep]:
        shutil.rmtree(old)
    return folder / name


def load_checkpoint(folder: Path | str, about: dict) -> tuple[int, dict[str, torch.Tensor], dict] | None:
    """(step, weights, state) of the newest whole checkpoint below ``folder``, or None. One that is cut short is passed
    over with a warning. Raises ``ValueError`` when ``about`` is not what the checkpoint was written with."""
    for path in sorted(Path(folder).glob("step-*"), reverse=True):
        try:
            mark = json.loads((path / MARK).read_text(encoding="utf-8"))
            if damaged := [name for name, found in mark["sha256"].items() if sha256(path / name) != found]:
                raise ValueError(f"{damaged[0]} is not what was written")
        except (OSError, ValueError, KeyError) as error:
            warnings.warn(f"{path} is cut short or damaged ({error}); going on from the one before", stacklevel=2)
            continue
        for key, value in json.loads(json.dumps(about)).items():
            if mark.get(key) != value:
                raise ValueError(f"{path} was written with another {key} ({_difference(mark.get(key), value)}): "
                                 f"resume with the same, or start anew in another folder")
        state = torch.load(path / "state.pt", map_location="cpu", weights_only=True)
        return mark["step"], load_file(path / "model.safetensors"), state
    return None


def _difference(then, now) -> str:
    if isinstance(then, dict) and isinstance(now, dict):
        return "; ".join(f"{k}: then {then.get(k)!r}, now {v!r}" for k, v in now.items() if then.get(k) != v)
    return f"then {then!r}, now {now!r}"


def fingerprint(data: pd.DataFrame) -> str:
    """sha256 over the rows in their order."""
    return hashlib.sha256(pd.util.hash_pandas_object(data, index=False).to_numpy().tobytes()).hexdigest()


def write_history(folder: Path, history: list[dict]) -> None:
    """Write the records of a training as JSON lines to ``folder/history.jsonl``, whole or not at all."""
    with whole_file(folder / "history.jsonl") as partial:
        partial.write_text("".join(json.dumps(record) + "\n" for record in history), encoding="utf-8")
