"""Self-alignment pretraining: the loop, on one process or many."""

import time
from contextlib import closing
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import InitProcessGroupKwargs, broadcast_object_list, gather_object
from tqdm.auto import tqdm

from .batches import Batches, false_negatives
from .checkpoints import fingerprint, last_checkpoint, load_checkpoint, save_checkpoint
from .encoder import Encoder
from .history import History
from .losses import get_loss
from .precision import agreed_precision
from .randomness import deterministic, random_state, set_random_state
from .recipes import Plan, Recipe, learning_rate_factor
from .saving import save_encoder
from .step import Step
from .tokens import Chunk, TokenStore, ahead
from .weights import blend, merged, prepare

PATIENCE = InitProcessGroupKwargs(timeout=timedelta(hours=6))  # others wait while one validates


def train(encoder: Encoder, data: pd.DataFrame, recipe: Recipe, **plan: Any) -> list[dict]:
    """Train ``encoder`` in place.

    (1) Prepare batches, model and optimizer, or go on from a checkpoint. (2) For each step, compute
    the gradient and move the weights; now and then record, validate, save. (3) Merge the adapters,
    and blend the model with the start, if the recipe says so.

    On a CPU, the same seed gives the same weights, also after a resume. On a GPU they agree up to
    rounding, or exactly with ``recipe.deterministic``. Several processes (``accelerate launch``)
    share each batch; the first of them validates.

    Args:
        encoder: its pooling, max_length and lower become the recipe's.
        data: pairs (cui, name1, name2) or names (cui, name).
        recipe: the settings of the training.
        plan: fields of :class:`sapbert_utils.model.recipes.Plan`: steps, validation, checkpoints, …

    Returns:
        One record per step: step, loss, kept (share of positive pairs), lr, seconds and, on some
        steps, validation.

    Raises:
        FloatingPointError: the loss is not finite. The weights in memory may be broken then, but no
            checkpoint is.
        ValueError: settings don't fit each other, the data, the model or a checkpoint.
        OSError: a checkpoint cannot be written.

    Example:
        >>> pairs, recipe = read_pairs("pairs.txt"), get_recipe("sapbert")
        >>> history = train(load_encoder("minilm"), pairs, recipe, steps=100)
    """
    training = Training(encoder, data, recipe, Plan(**plan))  # (1)
    training.run()  # (2)
    return training.finish()  # (3)


class Training:
    """One run of :func:`train`, section by section."""

    def __init__(self, encoder: Encoder, data: pd.DataFrame, recipe: Recipe, plan: Plan):
        # (1) the processes and the precision, which accelerate launch may set, too
        self.encoder, self.plan = encoder, plan
        self.folder = Path(plan.folder) if plan.folder else None
        self.accelerator = Accelerator(
            log_with=list(plan.track) or None, project_dir=self.folder, kwargs_handlers=[PATIENCE])
        if self.accelerator.num_processes > 1:
            encoder.model.to(self.accelerator.device)
        precision = agreed_precision(self.accelerator, recipe.precision, encoder.device)
        self.recipe = recipe = replace(recipe, precision=precision)

        # (2) the batches; on a GPU, waiting for every single loss would leave the card idle
        self.read_every = plan.read_every or (1 if encoder.device.type == "cpu" else 10)
        self.batches = Batches(data, recipe.batch_size, recipe.seed, recipe.sampling,
                               recipe.names_per_concept)
        self.ambiguous = self.batches.ambiguous() if recipe.mask_ambiguous else None
        self.steps = plan.steps or recipe.epochs * self.batches.per_epoch

        # (3) the model, and what computes its gradient and moves its weights
        self.start = prepare(encoder, recipe)
        self._prepare_step()

        # (4) where a stopped run goes on: the checkpoint must come from the same training
        self.about = {"recipe": asdict(recipe), "steps": self.steps, "data": fingerprint(data)}
        self.done = self._resume() if plan.resume else 0
        if not plan.resume and last_checkpoint(self.folder):
            raise ValueError(f"{self.folder} holds checkpoints of a run"
                             f"{last_checkpoint(self.folder)}: resume it, or name another folder")
        self.history = History(self.folder, self.accelerator.is_main_process, self.done)
        before = self.history.records  # of the run that was stopped
        self.spent = before[-1]["seconds"] if before else 0.0
        self.best = max((r["validation"] for r in before if "validation" in r), default=-np.inf)
        if plan.track:
            known = {key: value for key, value in asdict(recipe).items()
                     if value is not None and not isinstance(value, tuple)}
            self.accelerator.init_trackers(recipe.name, config=known)

    def _prepare_step(self) -> None:
        """Make the optimizer, the loss scaler, the step and the store of token ids."""
        encoder, recipe = self.encoder, self.recipe
        torch.manual_seed(recipe.seed + self.accelerator.process_index)  # own dropout for each
        weights = [w for w in encoder.model.parameters() if w.requires_grad]
        self.optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate,
                                           weight_decay=recipe.weight_decay, fused=True)
        # fp16 has a small range: gradients are scaled up, so that they do not vanish
        self.scaler = torch.amp.GradScaler(encoder.device.type, enabled=recipe.precision == "fp16")
        loss = get_loss(recipe.loss, recipe.miner, recipe.margin)
        self.step = Step(encoder, loss, recipe.precision, recipe.cache_gradients, self.scaler,
                         self.accelerator)
        self.store = TokenStore(encoder, self.batches.names)

    def _resume(self) -> int:
        """Load the newest whole checkpoint, if there is one; returns the number of its step."""
        found = None
        if self.folder and self.accelerator.is_main_process:
            found = load_checkpoint(self.folder / "checkpoints", self.about)
        (found,) = broadcast_object_list([found])  # the others may not see the folder
        if found is None:
            return 0
        step, weights, state = found
        self.encoder.model.load_state_dict(weights)
        self.optimizer.load_state_dict(state["optimizer"])
        if state["scaler"]:  # only fp16 has one
            self.scaler.load_state_dict(state["scaler"])
        if self.step.twin:
            self.step.twin.refresh()
        # with another number of processes, dropout starts anew; the batches stay the same
        if len(state["random"]) == self.accelerator.num_processes:
            own = state["random"][self.accelerator.process_index]
            set_random_state(own, self.encoder.device)
        return step

    def run(self) -> None:
        """Take all steps that are left."""
        recipe, started, first = self.recipe, time.perf_counter(), self.done
        on_gpu = self.encoder.device.type == "cuda"
        self.step.train()
        with (deterministic(recipe.deterministic and on_gpu),
              closing(ahead(self._prepared, self.batches(first))) as stream,
              tqdm(total=self.steps, initial=first, desc=recipe.name, unit="step",
                   disable=not self.accelerator.is_main_process) as bar):
            for number in range(first + 1, self.steps + 1):
                # (1) the batch: tokenised in the background, while the step before was computed
                chunks, labels, ignore = next(stream)

                # (2) the rate: from the step's number alone, so that a resumed run has the same
                factor = learning_rate_factor(recipe.schedule, number - 1, self.steps)
                lr = recipe.learning_rate * factor
                for group in self.optimizer.param_groups:
                    group["lr"] = lr

                # (3) the gradient: loss and share stay on the device, as reading them means waiting
                loss, kept = self.step(chunks, labels, ignore)
                seconds = round(self.spent + time.perf_counter() - started, 2)
                record = {"step": number, "lr": lr, "seconds": seconds}
                self.history.unread.append((record, loss, kept))

                # (4) the weights: if the loss is read first and isn't finite, none moves
                fresh = self.history.read() if self.read_every == 1 else []
                self.scaler.step(self.optimizer)
                self.scaler.update()
                self.done = number
                bar.update()

                # (5) the record, validation and checkpoint, where they are due
                read, validate, save = self._due(number)
                if read:
                    fresh = fresh or self.history.read()
                    self._record(fresh, validate, save)
                    rate = (number - first) * len(labels) / (time.perf_counter() - started)
                    bar.set_postfix(loss=f"{fresh[-1]['loss']:.3f}",
                                    kept=f"{fresh[-1]['kept']:.0%}", names_a_second=f"{rate:.0f}")

    def _prepared(self, drawn: tuple[np.ndarray, np.ndarray]) -> (
            tuple[list[Chunk], torch.Tensor, torch.Tensor | None]):
        """Prepare a batch in the background: this process's chunks, all labels, pairs to ignore."""
        numbers, labels = drawn[0], torch.from_numpy(drawn[1])
        chunks, ignore = self.step.chunks(self.store.take(numbers)), None
        if self.ambiguous:
            names = self.batches.names[numbers].tolist()
            ignore = false_negatives(names, labels, self.ambiguous)
        if self.encoder.device.type == "cuda":
            labels = labels.pin_memory()
        return chunks, labels, ignore

    def _due(self, number: int) -> tuple[bool, bool, bool]:
        """Whether to read the numbers so far, to validate, and to save after a step."""
        plan, last = self.plan, number == self.steps
        validate = bool(plan.validate) and (number % plan.validate_every == 0 or last)
        save = number % self.batches.per_epoch == 0 or last
        if plan.checkpoint_every and number % plan.checkpoint_every == 0:
            save = True
        return number % self.read_every == 0 or validate or save, validate, save

    def _record(self, fresh: list[dict], validate: bool, save: bool) -> None:
        """Validate, write the new records, save, and call back."""
        main = self.accelerator.is_main_process
        # (1) validate: one process is enough, and the others wait for it in the next step
        if validate and self.plan.validate and main:
            self.encoder.model.eval()
            fresh[-1]["validation"] = self.plan.validate(self.encoder)
            if self.folder and fresh[-1]["validation"] > self.best:
                self.best = fresh[-1]["validation"]
                save_encoder(merged(self.encoder), self.folder / "best")

        # (2) record: before the checkpoint, so that no checkpoint lacks its records
        self.history.append(fresh)

        # (3) save: with what every process needs to draw the same dropout after a resume
        if self.folder and save:
            random = gather_object([random_state(self.encoder.device)])
            if main:
                state = {"optimizer": self.optimizer.state_dict(),
                         "scaler": self.scaler.state_dict(), "random": random}
                save_checkpoint(self.folder / "checkpoints", self.done,
                                self.encoder.model.state_dict(), state, self.about, self.plan.keep)
            self.accelerator.wait_for_everyone()

        # (4) report to the trackers and the caller
        if self.plan.track:
            for record in fresh:
                values = {key: value for key, value in record.items() if key != "step"}
                self.accelerator.log(values, step=record["step"])
        if self.plan.on_step:
            self.plan.on_step(self.history.records)
        self.step.train()  # the callback may have encoded names, which switches dropout off

    def finish(self) -> list[dict]:
        """Finish the encoder as the recipe says: merge adapters, blend, set evaluation mode."""
        for tracker in self.accelerator.trackers if self.plan.track else []:
            tracker.finish()
        self.encoder.model, self.encoder.twin = merged(self.encoder).model.eval(), None
        if self.start:
            blend(self.encoder, self.start, self.recipe.blend)
        return self.history.records
