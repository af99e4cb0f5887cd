"""Self-alignment pretraining: the loop, on one process or many."""

import copy
import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object
from tqdm.auto import tqdm

from .batches import Batches, false_negatives, labels_of_ambiguous
from .checkpoints import fingerprint, load_checkpoint, save_checkpoint, write_history
from .encoder import Encoder, blend, freeze, merged, save_encoder, with_adapters
from .losses import get_loss
from .precision import agreed_precision
from .randomness import deterministic, random_state, set_random_state
from .recipes import Recipe
from .step import Step
from .tokens import Chunk, TokenStore, ahead

PATIENCE = InitProcessGroupKwargs(timeout=timedelta(hours=6))  # processes wait while the first one validates


@dataclass(frozen=True)
class Plan:
    """What a training does beside its steps."""

    steps: int | None = None  # where it ends; None: after the recipe's epochs
    validate: Callable[[Encoder], float] | None = None  # higher is better
    validate_every: int = 100  # steps; the last one is always validated
    on_step: Callable[[list[dict]], None] | None = None  # called with the records so far, each time they are read
    read_every: int = 0  # steps between two readings of loss and kept share; 0: 1 on a CPU, 10 elsewhere
    folder: Path | str | None = None  # of checkpoints, history.jsonl and the best model
    checkpoint_every: int = 0  # steps; 0: after each epoch and at the end
    keep: int = 2  # checkpoints
    resume: bool = False  # go on from the newest whole checkpoint of the folder
    track: tuple[str, ...] = ()  # trackers of accelerate (tensorboard, wandb)


def train(encoder: Encoder, data: pd.DataFrame, recipe: Recipe, **plan) -> list[dict]:
    """Train ``encoder`` in place; returns one record a step: step, loss, kept, lr, seconds[, validation].

    The encoder ends as ``recipe.blend`` of the trained weights and the rest of those it came with; validation, ``best``
    and checkpoints are of the trained alone. The seed fixes batches and dropout. On a CPU the same seed gives the same
    weights, resumed or not, and so it does on a GPU with ``recipe.deterministic``; else a GPU's weights agree to
    rounding. Under several processes (``accelerate launch``) the batch is that of one; the first alone validates.

    Args:
        encoder: an encoder; its pooling, max_length and lower become the recipe's.
        data: pairs (cui, name1, name2) or names (cui, name).
        recipe: the settings of the training.
        plan: fields of :class:`Plan`: steps, validation, checkpoints, …

    Raises:
        FloatingPointError: the loss is not finite; names the step and the last good checkpoint. Where numbers are
            read every few steps the weights in memory may be broken then; checkpoints never are.
        ValueError: settings that do not fit each other, the data, or a checkpoint.
        OSError: a checkpoint cannot be written.

    Example:
        >>> history = train(load_encoder("minilm"), read_pairs("pairs.txt"), get_recipe("sapbert"), steps=100)
    """
    training = Training(encoder, data, recipe, Plan(**plan))
    training.run()
    return training.finish()


class Training:
    """One run of :func:`train`, section by section."""

    def __init__(self, encoder: Encoder, data: pd.DataFrame, recipe: Recipe, plan: Plan):
        self.encoder, self.plan = encoder, plan
        self.folder = Path(plan.folder) if plan.folder else None
        self.accelerator = Accelerator(log_with=list(plan.track) or None, project_dir=plan.folder and str(plan.folder),
                                       kwargs_handlers=[PATIENCE])
        if self.accelerator.num_processes > 1:
            encoder.model.to(self.accelerator.device)
        recipe = replace(recipe, precision=agreed_precision(self.accelerator, recipe.precision, encoder.device))
        self.recipe = recipe
        self.read_every = plan.read_every or (1 if encoder.device.type == "cpu" else 10)

        # (1) what is in a step, and how many there are
        self.batches = Batches(data, recipe.batch_size, recipe.seed, recipe.sampling, recipe.names_per_concept)
        self.ambiguous = labels_of_ambiguous(data) if recipe.mask_ambiguous else None
        self.steps = plan.steps or recipe.epochs * self.batches.per_epoch

        # (2) the model: which weights are trained, and what is put beside them
        encoder.pooling, encoder.max_length, encoder.lower = recipe.pooling, recipe.max_length, recipe.lower
        self.start = None
        if recipe.blend != 1:  # keep the start; blending it with itself refuses a share out of range now, not later
            self.start = blend(copy.deepcopy(encoder), encoder, recipe.blend)
        torch.manual_seed(recipe.seed)
        freeze(encoder.model, recipe.freeze_layers, recipe.freeze_word_embeddings)
        for module in encoder.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = recipe.dropout
        if recipe.lora_rank:
            encoder.model = with_adapters(encoder, recipe.lora_rank).model
        torch.manual_seed(recipe.seed + self.accelerator.process_index)  # dropout differs between processes

        # (3) optimiser, scaler, step
        weights = [w for w in encoder.model.parameters() if w.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay,
                                           fused=True)
        self.scaler = torch.amp.GradScaler(encoder.device.type, enabled=recipe.precision == "fp16")
        self.step = Step(encoder, get_loss(recipe.loss, recipe.miner, recipe.margin), recipe.precision,
                         recipe.cache_gradients, self.scaler, self.accelerator)
        self.store = TokenStore(encoder, self.batches.names)

        # (4) where a run that was stopped goes on
        self.about = {"recipe": asdict(recipe), "steps": self.steps, "data": fingerprint(data)}
        self.history: list[dict] = []
        self.unread: list[tuple[dict, torch.Tensor, torch.Tensor]] = []  # records whose numbers are on the device
        self.done = 0
        if self.folder and plan.resume:
            self._resume()
        elif _last(self.folder):
            raise ValueError(f"{self.folder} holds checkpoints of a run{_last(self.folder)}: resume it, or name "
                             f"another folder")
        self.spent = self.history[-1]["seconds"] if self.history else 0.0
        self.best = max((r["validation"] for r in self.history if "validation" in r), default=-torch.inf)
        if self.folder and self.accelerator.is_main_process:
            write_history(self.folder, self.history)
        if plan.track:
            known = {k: v for k, v in self.about["recipe"].items() if v is not None and not isinstance(v, tuple)}
            self.accelerator.init_trackers(recipe.name, config=known)

    def run(self) -> None:
        """All steps that are left."""
        with deterministic(self.recipe.deterministic and self.encoder.device.type == "cuda"):
            self._loop()

    def _loop(self) -> None:
        main, started, first = self.accelerator.is_main_process, time.perf_counter(), self.done
        self.step.train()
        with (closing(ahead(self._prepared, self.batches(first))) as stream,
              tqdm(total=self.steps, initial=first, desc=self.recipe.name, unit="step", disable=not main) as bar):
            for number in range(first + 1, self.steps + 1):
                chunks, labels, ignore = next(stream)
                lr = self.recipe.learning_rate * learning_rate_factor(self.recipe.schedule, number - 1, self.steps)
                for group in self.optimizer.param_groups:
                    group["lr"] = lr
                loss, kept = self.step(chunks, labels, ignore)
                record = {"step": number, "lr": lr, "seconds": round(self.spent + time.perf_counter() - started, 2)}
                self.unread.append((record, loss, kept))
                if self.read_every == 1:  # a step that is not finite is never taken
                    self._read()
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.done = number
                bar.update()
                if self._due(number):
                    if self.read_every != 1:
                        self._read()
                    self._record(number)
                    rate = (number - first) * len(labels) / (time.perf_counter() - started)
                    loss, kept = self.history[-1]["loss"], self.history[-1]["kept"]
                    bar.set_postfix(loss=f"{loss:.3f}", kept=f"{kept:.0%}", names_a_second=f"{rate:.0f}")

    def _prepared(self, drawn: tuple) -> tuple[list[Chunk], torch.Tensor, torch.Tensor | None]:
        """A step ready for the device: this process's chunks, all labels, pairs to ignore. Runs in the background."""
        numbers, labels, ignore = drawn[0], torch.from_numpy(drawn[1]), None
        chunks = self.step.chunks(self.store.take(numbers))
        if self.ambiguous:
            ignore = false_negatives(self.batches.names[numbers].tolist(), labels, self.ambiguous)
        return chunks, labels.pin_memory() if self.encoder.device.type == "cuda" else labels, ignore

    def _due(self, number: int) -> bool:
        """Whether the numbers of the steps so far are wanted now."""
        return number % self.read_every == 0 or self._validates(number) or self._saves(number)

    def _validates(self, number: int) -> bool:
        every = self.plan.validate_every
        return bool(self.plan.validate) and (number % every == 0 or number == self.steps)

    def _saves(self, number: int) -> bool:
        every = self.plan.checkpoint_every
        return bool(every) and number % every == 0 or number % self.batches.per_epoch == 0 or number == self.steps

    def _read(self) -> None:
        """Bring losses and shares over from the device: the one place that waits for it."""
        losses, shares = torch.stack([torch.stack([x.float() for x in found]) for _, *found in self.unread]).T.tolist()
        for (record, *_), loss, kept in zip(self.unread, losses, shares, strict=True):
            if not np.isfinite(loss):
                raise FloatingPointError(
                    f"the loss is not finite at step {record['step']}: lower the learning rate (now "
                    f"{self.recipe.learning_rate:g}){_last(self.folder)}")
            self.history.append({"step": record["step"], "loss": loss, "kept": kept} | record)

    def _record(self, number: int) -> None:
        """Validate, write the new records, save, and call back, each where it is due."""
        records, main = self.history[-len(self.unread):], self.accelerator.is_main_process
        self.unread = []
        if self._validates(number) and main:  # the others wait in the next step
            self.encoder.model.eval()
            records[-1]["validation"] = self.plan.validate(self.encoder)
            if self.folder and records[-1]["validation"] > self.best:
                self.best = records[-1]["validation"]
                save_encoder(merged(self.encoder), self.folder / "best")
        if self.folder and main:
            with open(self.folder / "history.jsonl", "a", encoding="utf-8") as lines:
                lines.writelines(json.dumps(record) + "\n" for record in records)
        if self.folder and self._saves(number):
            random = gather_object([random_state(self.encoder.device)])
            if main:
                state = {"optimizer": self.optimizer.state_dict(), "scaler": self.scaler.state_dict(), "random": random}
                save_checkpoint(self.folder / "checkpoints", number, self.encoder.model.state_dict(), state, self.about,
                                self.plan.keep)
            self.accelerator.wait_for_everyone()
        if self.plan.track:
            for record in records:
                self.accelerator.log({k: v for k, v in record.items() if k != "step"}, step=record["step"])
        if self.plan.on_step:
            self.plan.on_step(self.history)
        self.step.train()  # whoever was called may have encoded something, and switched dropout off for it

    def _resume(self) -> None:
        """Go on from the newest whole checkpoint that the first process finds; the others get it from there."""
        found = [None]
        if self.accelerator.is_main_process:
            found = [load_checkpoint(self.folder / "checkpoints", self.about)]
        if self.accelerator.num_processes > 1:
            broadcast_object_list(found)
        if found[0] is None:
            return
        self.done, weights, state = found[0]
        self.encoder.model.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # of fp16 only
            self.scaler.load_state_dict(state["scaler"])
        if self.step.twin:
            self.step.twin.refresh()
        if len(state["random"]) == self.accelerator.num_processes:  # else dropout starts anew; the batches are the same
            set_random_state(state["random"][self.accelerator.process_index], self.encoder.device)
        history = self.folder / "history.jsonl"
        if history.exists():  # a record may be missing, or come from a step that is done again
            records = map(json.loads, history.read_text(encoding="utf-8").splitlines())
            self.history = [record for record in records if record["step"] <= self.done]

    def finish(self) -> list[dict]:
        """Leave the encoder as the recipe says: adapters merged, blended, in evaluation mode."""
        for tracker in self.accelerator.trackers if self.plan.track else []:
            tracker.finish()
        self.encoder.model, self.encoder.twin = merged(self.encoder).model.eval(), None
        if self.start:
            blend(self.encoder, self.start, self.recipe.blend)
        return self.history


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """Factor on the learning rate at ``step`` (from 0) of ``steps``."""
    if schedule == "constant":
        return 1.0
    if schedule != "linear":
        raise ValueError(f"unknown schedule {schedule!r}; choose constant or linear")
    warm_up = max(1, steps // 10)
    return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))


def _last(folder: Path | str | None) -> str:
    found = sorted(Path(folder, "checkpoints").glob("step-*")) if folder else []
    return f"; {found[-1]} is the last good checkpoint" if found else ""
