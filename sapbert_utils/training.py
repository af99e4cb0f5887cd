"""Self-alignment pretraining: one optimiser step, the loop, and its command line, on one process or many.

    accelerate launch -m sapbert_utils.training --recipe sapbert --pairs pairs.txt --output models/sapbert
"""

import argparse
import copy
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, fields
from pathlib import Path

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from tqdm.auto import tqdm

from .batches import batches, false_negatives, hold_out_concepts, labels_of_ambiguous, steps_per_epoch
from .checkpoints import fingerprint, load_checkpoint, save_checkpoint, write_history
from .encoder import (
    Encoder,
    blend,
    forward_chunk,
    freeze,
    load_encoder,
    merged,
    save_encoder,
    token_chunks,
    with_adapters,
)
from .evaluation import linking_accuracy
from .losses import LossFunction, get_loss
from .pairs import read_labelled, read_pairs
from .recipes import RECIPES, Recipe, get_recipe, model_card

BUDGET = {"cpu": 768}  # tokens of a chunk: what stays in a core's caches; other devices want large ones
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def train_step(encoder: Encoder, names: list[str], labels: torch.Tensor, loss: LossFunction,
               ignore: torch.Tensor | None = None, accelerator: Accelerator | None = None, precision: str = "fp32",
               cached: bool = False, scaler: torch.amp.GradScaler | None = None,
               budget: int | None = None) -> tuple[float, float]:
    """Add the gradient of one batch to the weights' ``grad``; returns the loss and the share of positives kept.

    One forward pass over the names in chunks of like length, then the loss over the vectors of all processes: each
    encodes its share of the names, and the sum over processes is the gradient of the whole batch. ``cached`` keeps no
    activations but encodes every chunk again, with the same dropout, for its part of the gradient (Gao et al. 2021,
    arXiv 2101.06983): the same gradient in the memory of one chunk.
    """
    rank, processes = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
    if len(names) % processes:
        raise ValueError(f"{len(names)} names cannot be shared by {processes} processes: change batch_size")
    share = slice(rank * len(names) // processes, (rank + 1) * len(names) // processes)
    device, labels = encoder.device, labels.to(encoder.device)
    autocast = torch.autocast(device.type, DTYPES[precision]) if DTYPES[precision] else nullcontext()
    chunks = list(token_chunks(encoder, names[share], budget or BUDGET.get(device.type, 1 << 16)))
    words = encoder.model.get_input_embeddings()
    words.sparse = True  # else each chunk's gradient is a matrix of the whole vocabulary, filled with zeros
    states, parts = [], []
    for _, ids, mask in chunks:
        states.append(_random_state(device))
        with torch.set_grad_enabled(not cached), autocast:
            parts.append(forward_chunk(encoder, ids, mask).float())
    order = [i for indices, *_ in chunks for i in indices]
    own = torch.cat(parts)
    vectors = torch.empty_like(own, requires_grad=False)
    vectors[order] = own.detach()
    vectors = (accelerator.gather(vectors) if processes > 1 else vectors).requires_grad_()
    value, kept = loss(vectors, labels, None if ignore is None else ignore.to(device))
    # NaN is in no hard pair: the loss alone may not show it
    if not (torch.isfinite(vectors).all() and torch.isfinite(value)):
        return torch.nan, kept
    gradient = torch.autograd.grad(value, vectors)[0][share][order] if value.requires_grad else torch.zeros_like(own)
    scale = scaler.scale if scaler else lambda surrogate: surrogate
    if not cached:
        scale((own * gradient).sum()).backward()
    else:
        gradients = gradient.split([len(part) for part in parts])
        for (_, ids, mask), state, part in zip(chunks, states, gradients, strict=True):
            with _replayed(state, device), autocast:
                scale((forward_chunk(encoder, ids, mask).float() * part).sum()).backward()
    words.sparse = False
    if words.weight.grad is not None and words.weight.grad.is_sparse:
        words.weight.grad = words.weight.grad.to_dense()
    if processes > 1:
        for weight in encoder.model.parameters():
            if weight.grad is not None:
                weight.grad = accelerator.reduce(weight.grad, "sum")
    return value.item(), kept


def _random_state(device: torch.device) -> list[torch.Tensor]:
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def _set_random_state(state: list[torch.Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda" and len(state) > 1:
        torch.cuda.set_rng_state(state[1], device)


@contextmanager
def _replayed(state: list[torch.Tensor], device: torch.device) -> Iterator[None]:
    now = _random_state(device)
    _set_random_state(state, device)
    try:
        yield
    finally:
        _set_random_state(now, device)


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """Factor on the learning rate at ``step`` (from 0) of ``steps``."""
    if schedule == "constant":
        return 1.0
    if schedule != "linear":
        raise ValueError(f"unknown schedule {schedule!r}; choose constant or linear")
    warm_up = max(1, steps // 10)
    return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))


def train(encoder: Encoder, data: pd.DataFrame, recipe: Recipe, steps: int | None = None,
          validate: Callable[[Encoder], float] | None = None, validate_every: int = 100,
          on_step: Callable[[list[dict]], None] | None = None, folder: Path | str | None = None,
          checkpoint_every: int = 0, keep: int = 2, resume: bool = False, track: tuple[str, ...] = ()) -> list[dict]:
    """Train ``encoder`` in place; returns one record a step: step, loss, kept, lr, seconds[, validation].

    ``data`` holds pairs (cui, name1, name2) or names (cui, name); ``steps`` ends the run (default: the recipe's
    epochs). With a ``folder``: checkpoints every ``checkpoint_every`` steps (0: none) and every epoch, the ``keep``
    newest kept; the best model by ``validate`` in ``best``; and the records in ``history.jsonl``. ``resume`` goes on
    from the newest whole checkpoint there. ``track`` names trackers of accelerate (tensorboard, wandb).

    The encoder ends as ``recipe.blend`` of the trained weights and the rest of those it came with; validation, ``best``
    and checkpoints are of the trained alone. The seed fixes batches and dropout: the same seed gives the same weights
    on a CPU, resumed or not. Under several processes (``accelerate launch``) the batch is that of one. Raises
    ``FloatingPointError`` when the loss is not finite, ``ValueError`` on settings that do not fit, ``OSError`` when a
    checkpoint cannot be written.
    """
    accelerator = Accelerator(log_with=list(track) or None, project_dir=str(folder) if folder else None)
    if recipe.precision not in DTYPES:
        raise ValueError(f"unknown precision {recipe.precision!r}; choose one of: {', '.join(DTYPES)}")
    if accelerator.num_processes > 1:
        encoder.model.to(accelerator.device)
    epoch = steps_per_epoch(data, recipe.batch_size, recipe.sampling, recipe.names_per_concept)
    steps = steps or recipe.epochs * epoch
    encoder.pooling, encoder.max_length, encoder.lower = recipe.pooling, recipe.max_length, recipe.lower
    start = blend(copy.deepcopy(encoder), encoder, recipe.blend) if recipe.blend != 1 else None  # checks the share
    torch.manual_seed(recipe.seed)
    base, device = encoder.model, encoder.device
    freeze(base, recipe.freeze_layers, recipe.freeze_word_embeddings)
    for module in base.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = recipe.dropout
    if recipe.lora_rank:
        encoder.model = with_adapters(encoder, recipe.lora_rank).model
    torch.manual_seed(recipe.seed + accelerator.process_index)  # dropout differs between processes
    weights = [p for p in encoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    loss_of = get_loss(recipe.loss, recipe.miner, recipe.margin)
    about = {"recipe": asdict(recipe), "steps": steps, "data": fingerprint(data)}
    history = []
    if folder and resume:
        history = _resume(Path(folder), about, encoder, optimizer, scaler, accelerator)
    elif _last(folder):
        raise ValueError(f"{folder} holds checkpoints of a run{_last(folder)}: resume it, or name another folder")
    done, spent = len(history), history[-1]["seconds"] if history else 0.0
    if folder and accelerator.is_main_process:
        write_history(Path(folder), history)
    if track:
        accelerator.init_trackers(recipe.name, config={k: v for k, v in about["recipe"].items() if v is not None
                                                       and not isinstance(v, tuple)})
    stream = batches(data, recipe.batch_size, recipe.seed, recipe.sampling, recipe.names_per_concept, start=done)
    ambiguous = labels_of_ambiguous(data) if recipe.mask_ambiguous else None
    best = max((r["validation"] for r in history if "validation" in r), default=-torch.inf)
    seen, started = 0, time.perf_counter()
    with tqdm(total=steps, initial=done, desc=recipe.name, unit="step", disable=not accelerator.is_main_process) as bar:
        for step in range(done + 1, steps + 1):
            names, labels = next(stream)
            for group in optimizer.param_groups:
                group["lr"] = recipe.learning_rate * learning_rate_factor(recipe.schedule, step - 1, steps)
            encoder.model.train()
            optimizer.zero_grad()
            ignore = false_negatives(names, labels, ambiguous) if ambiguous else None
            loss, kept = train_step(encoder, names, labels, loss_of, ignore, accelerator, recipe.precision,
                                    recipe.cache_gradients, scaler)
            if loss != loss:
                raise FloatingPointError(f"the loss is not finite at step {step}: lower the learning rate (now "
                                         f"{recipe.learning_rate:g}){_last(folder)}")
            scaler.step(optimizer)
            scaler.update()
            seen += len(names)
            seconds = time.perf_counter() - started
            record = {"step": step, "loss": loss, "kept": kept, "lr": optimizer.param_groups[0]["lr"],
                      "seconds": round(spent + seconds, 2)}
            if validate and (step % validate_every == 0 or step == steps):
                encoder.model.eval()
                record["validation"] = validate(encoder)
            history.append(record)
            if folder and record.get("validation", -torch.inf) > best:
                best = record["validation"]
                if accelerator.is_main_process:
                    save_encoder(merged(encoder), Path(folder) / "best")
            if folder and accelerator.is_main_process:
                with open(Path(folder) / "history.jsonl", "a", encoding="utf-8") as lines:
                    lines.write(json.dumps(record) + "\n")
            if folder and (checkpoint_every and step % checkpoint_every == 0 or step % epoch == 0 or step == steps):
                random = gather_object([_random_state(device)])
                if accelerator.is_main_process:
                    save_checkpoint(Path(folder) / "checkpoints", step, encoder.model.state_dict(),
                                    {"optimizer": optimizer.state_dict(), "scaler": scaler.state_dict(),
                                     "random": random}, about, keep)
                accelerator.wait_for_everyone()
            if track:
                accelerator.log({k: v for k, v in record.items() if k != "step"}, step=step)
            bar.update()
            bar.set_postfix(loss=f"{loss:.3f}", kept=f"{kept:.0%}", names_a_second=f"{seen / seconds:.0f}")
            if on_step:
                on_step(history)
    for tracker in accelerator.trackers if track else []:
        tracker.finish()
    encoder.model = merged(encoder).model.eval()
    if start:
        blend(encoder, start, recipe.blend)
    return history


def _resume(folder: Path, about: dict, encoder: Encoder, optimizer, scaler, accelerator: Accelerator) -> list[dict]:
    found = load_checkpoint(folder / "checkpoints", about)
    if found is None:
        return []
    step, weights, state = found
    encoder.model.load_state_dict(weights)
    optimizer.load_state_dict(state["optimizer"])
    scaler.load_state_dict(state["scaler"])
    if len(state["random"]) == accelerator.num_processes:  # else dropout starts anew; the batches are the same
        _set_random_state(state["random"][accelerator.process_index], encoder.device)
    lines = (folder / "history.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines[:step]]


def _last(folder: Path | str | None) -> str:
    found = sorted(Path(folder, "checkpoints").glob("step-*")) if folder else []
    return f"; {found[-1]} is the last good checkpoint" if found else ""


def main(arguments: list[str] | None = None) -> None:
    """The command line: ``python -m sapbert_utils.training --help``."""
    parser = argparse.ArgumentParser(prog="sapbert_utils.training", description="Self-alignment pretraining.")
    parser.add_argument("--recipe", default="sapbert", choices=RECIPES)
    data = parser.add_mutually_exclusive_group(required=True)
    data.add_argument("--pairs", type=Path, help="file of cui||name1||name2 lines")
    data.add_argument("--names", type=Path, help="file of cui||name lines")
    parser.add_argument("--output", type=Path, required=True, help="folder of the trained model")
    parser.add_argument("--model", help="in place of the recipe's base model: a folder, a hub name, minilm")
    parser.add_argument("--steps", type=int, help="in place of the recipe's epochs")
    parser.add_argument("--validation", type=int, default=0, help="concepts held out to validate on")
    parser.add_argument("--validate-every", type=int, default=1000, help="steps")
    parser.add_argument("--checkpoint-every", type=int, default=1000, help="steps")
    parser.add_argument("--keep", type=int, default=2, help="checkpoints")
    parser.add_argument("--resume", action="store_true", help="go on from the newest whole checkpoint")
    parser.add_argument("--track", nargs="*", default=[], help="trackers of accelerate: tensorboard, wandb")
    kinds = {int: int, float: float, str: str, bool: lambda text: {"true": True, "false": False}[text.lower()]}
    settings = [f for f in fields(Recipe) if f.type in kinds and f.name not in ("name", "base_model", "stand_in")]
    for field in settings:
        parser.add_argument(f"--{field.name.replace('_', '-')}", type=kinds[field.type], help="setting of the recipe")
    options = parser.parse_args(arguments)
    changes = {f.name: getattr(options, f.name) for f in settings if getattr(options, f.name) is not None}
    recipe, model = get_recipe(options.recipe, **changes), options.model or RECIPES[options.recipe].base_model
    names = read_pairs(options.pairs) if options.pairs else read_labelled(options.names)
    validate = None
    if options.validation:
        names, held = hold_out_concepts(names, options.validation, recipe.seed)
        validate = linking_accuracy(held, names)
    encoder, work = load_encoder(model), options.output.with_name(options.output.name + ".training")
    history = train(encoder, names, recipe, options.steps, validate, options.validate_every, folder=work,
                    checkpoint_every=options.checkpoint_every, keep=options.keep, resume=options.resume,
                    track=tuple(options.track))
    accelerator = Accelerator()
    if accelerator.is_main_process:
        source = options.pairs or options.names
        about = f"{len(names):,} lines of {source.name}, {names['cui'].nunique():,} concepts"
        save_encoder(encoder, options.output, model_card(recipe, model, about, len(history)))
    accelerator.end_training()


if __name__ == "__main__":
    main()
