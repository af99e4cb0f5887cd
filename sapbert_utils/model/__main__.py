"""The command line of self-alignment pretraining, on one process or many.

    accelerate launch -m sapbert_utils.model --recipe sapbert --pairs pairs.txt --output models/sapbert
"""

import argparse
from dataclasses import fields
from pathlib import Path

import pandas as pd
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..data.pairs import read_labelled, read_pairs
from .batches import hold_out_concepts
from .encoder import load_encoder, save_encoder
from .recipes import RECIPES, Recipe, get_recipe, model_card
from .training import PATIENCE, Plan, Training
from .validation import linking_accuracy


def main(arguments: list[str] | None = None) -> None:
    """The command line: ``python -m sapbert_utils.model --help``."""
    parser = argparse.ArgumentParser(prog="sapbert_utils.model", description="Self-alignment pretraining.")
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
    # before anything goes to a device: it says which one is this process's
    accelerator = Accelerator(kwargs_handlers=[PATIENCE])
    names = _read_once(options, accelerator)
    validate = None
    if options.validation:
        names, held = hold_out_concepts(names, options.validation, recipe.seed)
        validate = linking_accuracy(held, names)
    encoder = load_encoder(model, device=str(accelerator.device))
    work = options.output.with_name(options.output.name + ".training")
    training = Training(encoder, names, recipe, Plan(
        options.steps, validate, options.validate_every, folder=work, checkpoint_every=options.checkpoint_every,
        keep=options.keep, resume=options.resume, track=tuple(options.track)))
    training.run()
    training.finish()
    if accelerator.is_main_process:
        source = options.pairs or options.names
        about = f"{len(names):,} lines of {source.name}, {names['cui'].nunique():,} concepts"
        save_encoder(encoder, options.output, model_card(training.recipe, model, about, training.done))
    accelerator.end_training()


def _read_once(options: argparse.Namespace, accelerator: Accelerator) -> pd.DataFrame:
    """The pairs or names, read by the first process alone."""
    found = [None]
    if accelerator.is_main_process:
        found = [read_pairs(options.pairs) if options.pairs else read_labelled(options.names)]
    if accelerator.num_processes > 1:
        broadcast_object_list(found)
    return found[0]


if __name__ == "__main__":
    main()
