"""The records of a training: one per step, read from the device and written to a file."""

import json
import warnings
from pathlib import Path

import numpy as np
import torch

from ..files import whole_file
from .checkpoints import last_checkpoint


class History:
    """The records of a training, in ``records`` and in ``folder/history.jsonl``.

    Args:
        folder: of the training; None: the records stay in memory.
        writes: whether this process writes the file; only one does.
        done: steps done before; their records are read from the file. It may lack some of them (a
            warning says so), or hold records of later steps, which are done again.

    Raises:
        ValueError: a line of the file isn't a record; the file stays as it is.
    """

    def __init__(self, folder: Path | None, writes: bool, done: int):
        self.folder, self.file = folder, None
        self.records: list[dict] = []
        # the numbers of a step are scalars on the device until they are read
        self.unread: list[tuple[dict, torch.Tensor, torch.Tensor]] = []
        if folder and (folder / "history.jsonl").exists():
            self.records = _read(folder / "history.jsonl", done)
        if folder and writes:
            self.file = folder / "history.jsonl"
            if len(self.records) < done:
                warnings.warn(f"{self.file} has records of {len(self.records)} steps, but the "
                              f"checkpoint is of step {done}: some are lost", stacklevel=2)
            with whole_file(self.file) as partial:
                partial.write_text(_lines(self.records), encoding="utf-8")

    def read(self) -> list[dict]:
        """Read the numbers of all steps in ``unread``, and return their records.

        This is the one place where Python waits for the device. Raises ``FloatingPointError`` when
        a loss is not finite; the message names the step and the last good checkpoint.
        """
        losses = torch.stack([loss.float() for _, loss, _ in self.unread])
        shares = torch.stack([kept.float() for _, _, kept in self.unread])
        values = torch.stack([losses, shares]).tolist()  # both in one go, to wait only once
        fresh = []
        for (record, _, _), loss, kept in zip(self.unread, *values, strict=True):
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is not finite at step {record['step']}: lower the learning rate, "
                    f"which was {record['lr']:g} there{last_checkpoint(self.folder)}")
            fresh.append({"step": record["step"], "loss": loss, "kept": kept} | record)
        self.unread = []
        self.records += fresh
        return fresh

    def append(self, fresh: list[dict]) -> None:
        """Add records to the end of the file."""
        if self.file:
            with open(self.file, "a", encoding="utf-8") as file:
                file.write(_lines(fresh))


def _read(file: Path, done: int) -> list[dict]:
    """The records of the first ``done`` steps."""
    records, text = [], file.read_text(encoding="utf-8", errors="replace")
    for number, line in enumerate(text.splitlines(keepends=True), 1):
        try:
            record = json.loads(line)
            if record["seconds"] >= 0 and record["step"] <= done:
                records.append(record)
        except (ValueError, KeyError, TypeError) as error:
            if line.startswith('{"step": ') and not line.endswith("\n"):
                break  # it was cut when the process was killed
            raise ValueError(f"line {number} of {file} is not a record of a training "
                             f"({error!r}): fix it, or move the file away") from error
    return records


def _lines(records: list[dict]) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)
