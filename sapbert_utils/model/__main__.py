"""The command line of self-alignment pretraining, on one process or many.

    accelerate launch -m sapbert_utils.model --pairs pairs.txt --output models/sapbert
"""

import os
import sys
from argparse import HelpFormatter
from dataclasses import asdict, dataclass, make_dataclass
from pathlib import Path
from typing import Any, get_type_hints

import pandas as pd
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from transformers.hf_argparser import HfArg, HfArgumentParser

from ..data.pairs import read_labelled, read_pairs
from .batches import hold_out_concepts
from .encoder import load_encoder
from .recipes import RECIPES, Plan, Recipe, get_recipe, model_card
from .saving import check_replaceable, save_encoder
from .training import PATIENCE, Training
from .validation import linking_accuracy


@dataclass
class Options:
    """The command's options besides the settings of the recipe."""

    output: Path = HfArg(help="folder of the trained model")
    pairs: str = HfArg(default="", help="file of cui||name1||name2 lines")
    names: str = HfArg(default="", help="file of cui||name lines, instead of pairs")
    recipe: str = HfArg(default="sapbert", help="how to train", metadata={"choices": list(RECIPES)})
    model: str = HfArg(default="", help="base model instead of the recipe's: folder or hub name")
    steps: int | None = HfArg(default=None, help="steps to train, instead of epochs")
    validation: int = HfArg(default=0, help="concepts to hold out for validation")
    validate_every: int = HfArg(default=1000, help="steps between validations")
    checkpoint_every: int = HfArg(default=1000, help="steps between checkpoints")
    keep: int = HfArg(default=2, help="checkpoints to keep")
    resume: bool = HfArg(default=False, help="resume from the newest whole checkpoint")
    track: list[str] = HfArg(default_factory=list, help="trackers: tensorboard, wandb")


TYPES = get_type_hints(Recipe)
FIXED = ("name", "base_model", "stand_in", "languages")  # what no option changes
# The settings of a recipe as options; None keeps the recipe's own value.
Settings = make_dataclass(
    "Settings", [(name, kind | None, None) for name, kind in TYPES.items() if name not in FIXED],
    namespace={"_argument_group_name": "settings of the recipe"})


def main(arguments: list[str] | None = None) -> None:
    """The command line: ``python -m sapbert_utils.model --help``. A refusal ends with status 2."""
    try:
        options, recipe = _parse(arguments)
        check_replaceable(options.output)  # fail now, not after hours of training
        _train(options, recipe)
    # a loss that is not finite; a wheel that cannot be fetched; a tracker that is not installed
    except (ValueError, OSError, FloatingPointError, RuntimeError, ImportError) as error:
        print("sapbert_utils.model:", *str(error).split(), file=sys.stderr)
        raise SystemExit(2) from error


def _train(options: Options, recipe: Recipe) -> None:
    model = options.model or recipe.base_model
    # first of all, because it says which device is this process's
    accelerator = Accelerator(kwargs_handlers=[PATIENCE])
    names = _read_once(options, accelerator)
    validate = None
    if options.validation:
        names, held = hold_out_concepts(names, options.validation, recipe.seed)
        validate = linking_accuracy(held, names)
    encoder = load_encoder(model, device=str(accelerator.device))
    work = options.output.with_name(options.output.name + ".training")
    plan = Plan(options.steps, validate, options.validate_every, folder=work,
                checkpoint_every=options.checkpoint_every, keep=options.keep,
                resume=options.resume, track=tuple(options.track))
    training = Training(encoder, names, recipe, plan)
    training.run()
    training.finish()
    if accelerator.is_main_process:
        source = Path(options.pairs or options.names).name
        about = f"{len(names):,} lines of {source}, {names['cui'].nunique():,} concepts"
        card = model_card(training.recipe, model, about, training.done)
        save_encoder(encoder, options.output, card)
    accelerator.end_training()


def _parse(arguments: list[str] | None) -> tuple[Options, Recipe]:
    """The options and the recipe that a command line asks for."""
    parser = HfArgumentParser([Options, Settings], prog="sapbert_utils.model",
                              description="Self-alignment pretraining.",
                              formatter_class=HelpFormatter)  # else it shows a default of None
    options, settings, unknown = parser.parse_args_into_dataclasses(
        arguments, return_remaining_strings=True, look_for_args_file=False)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if bool(options.pairs) == bool(options.names):
        parser.error("give either --pairs or --names")
    options.output = Path(os.path.expanduser(options.output))
    options.pairs, options.names = map(os.path.expanduser, (options.pairs, options.names))
    if options.output.name in ("", ".."):
        parser.error(f"--output {options.output} has no name of its own: name a folder")
    given = {key: value for key, value in asdict(settings).items() if value is not None}
    return options, get_recipe(options.recipe, **given)


def _read_once(options: Options, accelerator: Accelerator) -> pd.DataFrame:
    """Read the pairs or names in the first process, and send them to the others."""
    found: list[Any] = [None]
    if accelerator.is_main_process:
        found = [read_pairs(options.pairs) if options.pairs else read_labelled(options.names)]
    return broadcast_object_list(found)[0]


if __name__ == "__main__":
    main()
