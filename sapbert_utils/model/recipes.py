"""How to train, as data: the settings of each released model, and the plan of a run."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from math import inf
from pathlib import Path
from typing import Any

from .encoder import Encoder


@dataclass(frozen=True)
class Recipe:
    """The settings of one training; the defaults are those of the NAACL 2021 repository."""

    name: str
    base_model: str  # the paper's model
    stand_in: str  # what the demo trains instead
    pooling: str  # cls, mean, or mean_all_tok
    languages: tuple[str, ...] | None = ("ENG",)  # LAT codes; None: all
    lower: bool = True  # lower-case the names
    max_length: int = 25  # tokens
    batch_size: int = 256  # pairs of a step, over all processes
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    schedule: str = "constant"  # or linear; see learning_rate_factor
    epochs: int = 1
    seed: int = 33
    loss: str = "ms"  # a name of losses.LOSSES
    miner: str = "all"  # a name of losses.MINERS
    margin: float = 0.2  # of the miner, in Euclidean distance of unit vectors
    sampling: str = "pairs"  # or concepts: one pair of each concept per epoch
    names_per_concept: int = 2  # in a batch, for data of names rather than pairs
    mask_ambiguous: bool = False  # do not push a name away from another concept it belongs to
    precision: str = "auto"  # fp32, bf16, or fp16 with a loss scaler; auto: bf16 where it is fast
    deterministic: bool = False  # same seed, same weights, even on a GPU; slower
    cache_gradients: bool = False  # any batch fits in memory, for a quarter more time
    dropout: float = 0.1  # of hidden states and attention, as in the papers' base models
    freeze_word_embeddings: bool = False
    freeze_layers: int = 0  # above 0: train only the layers above this many of the lowest; cheaper
    blend: float = 1.0  # share of the trained weights in the result; the rest comes from the start
    lora_rank: int = 0  # above 0: train low-rank adapters, merged into the model at the end

    def __post_init__(self) -> None:
        """Raise ``ValueError`` on a number out of its range."""
        _check(self, max_length=3, batch_size=1, epochs=1, lora_rank=0, margin=-2)
        _check(self, inf, learning_rate=0, weight_decay=0)
        _check(self, 1, dropout=0)


@dataclass(frozen=True)
class Plan:
    """What a run needs besides its recipe: how far to go, what to validate and what to save."""

    steps: int | None = None  # where to stop; None: after the recipe's epochs
    validate: Callable[[Encoder], float] | None = None  # higher is better
    validate_every: int = 100  # steps; the last one is always validated
    on_step: Callable[[list[dict]], None] | None = None  # called with all records that are read
    read_every: int = 0  # steps between two readings of loss and share; 0: 1 on a CPU, else 10
    folder: Path | str | None = None  # of checkpoints, history.jsonl and the best model
    checkpoint_every: int = 0  # steps; 0: after each epoch and at the end
    keep: int = 2  # checkpoints
    resume: bool = False  # go on from the newest whole checkpoint of the folder
    track: tuple[str, ...] = ()  # trackers of accelerate (tensorboard, wandb)

    def __post_init__(self) -> None:
        """Raise ``ValueError`` on a number of steps that makes no sense."""
        _check(self, steps=1, validate_every=1, read_every=0, checkpoint_every=0, keep=1)


def _check(settings: Recipe | Plan, top: float | None = None, **lowest: float) -> None:
    """Raise ``ValueError`` on a setting below its value in ``lowest``, or not below ``top``."""
    below = "" if top is None else f" and less than {top}"
    for name, least in lowest.items():
        value = getattr(settings, name)
        if value is not None and not (least <= value and (top is None or value < top)):
            raise ValueError(f"{name} is {value}: give {least} or more{below}")


_PUBMEDBERT = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"
_ALL_LANGUAGES = "cambridgeltl/SapBERT-UMLS-2020AB-all-lang-from-XLMR"
_XLMR: dict[str, Any] = dict(stand_in="e5-multilingual", pooling="cls", languages=None, lower=False)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("sapbert", _PUBMEDBERT, "minilm", pooling="cls"),
        Recipe("sapbert-mean-token", _PUBMEDBERT, "minilm", pooling="mean_all_tok"),
        Recipe("sapbert-xlmr", "xlm-roberta-base", **_XLMR),
        Recipe("sapbert-xlmr-large", "xlm-roberta-large", **_XLMR),
        # word pairs of the general domain, after the terminology (ACL 2021)
        Recipe("xling-bitext", _ALL_LANGUAGES, **_XLMR, epochs=5),
    )
}


def get_recipe(name: str, **changes: Any) -> Recipe:
    """A recipe by name, with settings replaced.

    Raises ``ValueError`` on an unknown name or setting, or a value out of its range.

    Example:
        >>> get_recipe("sapbert", learning_rate=1e-4).batch_size
        256
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; choose one of: {', '.join(RECIPES)}")
    known = [field.name for field in fields(Recipe)]
    unknown = sorted(set(changes) - set(known))
    if unknown:
        raise ValueError(f"unknown setting {unknown[0]!r} of a recipe; choose one of: "
                         f"{', '.join(known)}")
    return replace(RECIPES[name], **changes)


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """What the learning rate is multiplied by at ``step`` (from 0) of ``steps``.

    ``constant`` is 1 throughout. ``linear`` rises over the first tenth of the steps and falls to
    zero over the rest. Raises ``ValueError`` on another schedule.
    """
    # Not transformers' get_scheduler: its first step has rate zero, and it counts steps by itself,
    # while a resumed run needs the rate from the step's number alone.
    if schedule == "constant":
        return 1.0
    if schedule != "linear":
        raise ValueError(f"unknown schedule {schedule!r}; choose constant or linear")
    warm_up = max(1, steps // 10)
    rising = (step + 1) / warm_up
    falling = (steps - step) / max(1, steps - warm_up)
    return min(rising, falling)


def model_card(recipe: Recipe, base_model: str, data: str, steps: int) -> str:
    """The README of a trained model's folder: how to compute its vectors, and how it was trained.

    Args:
        recipe: the one it was trained with.
        base_model: what was really trained, which may be a stand-in for the recipe's. If it's a
            folder, the card gives only its last name.
        data: a few words on the training data.
        steps: how many were taken.
    """
    pooled = {"cls": "`hidden[:, 0]`", "mean": "the mean of `hidden` over the real tokens",
              "mean_all_tok": "the mean of `hidden` over all positions, padded to "
                              f"{recipe.max_length}"}[recipe.pooling]
    if Path(base_model).is_dir():  # its path on this machine means nothing to others
        base_model = Path(base_model).name
    settings = "\n".join(f"| {key} | {value} |" for key, value in asdict(recipe).items())
    return Path(__file__).with_name("card.txt").read_text(encoding="utf-8").format(
        recipe=recipe, base_model=base_model, data=data, steps=steps, pooled=pooled,
        lower=", lower-cased names" if recipe.lower else "", settings=settings)
