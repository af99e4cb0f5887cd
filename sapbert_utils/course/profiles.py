"""The four sizes of a run, and where a run writes.

A notebook never hard-codes a size: it reads one from the profile, so that the same cells serve a
test (``smoke``), a laptop (``demo``), one GPU (``full``) and the papers' own set-up (``paper``).
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Profile:
    """Sizes of one run. ``None`` means "no limit": every concept, a whole epoch, every layer."""

    name: str
    english_model: str  # an embedded default, a Hugging Face name, or a folder
    multilingual_model: str
    num_layers: int | None  # keep only the first layers of the encoder
    max_concepts: int | None  # concepts of the terminology that enter the run
    steps: int | None  # optimiser steps of the English recipes
    multilingual_steps: int | None
    batch_size: int  # pairs a step, English
    multilingual_batch_size: int
    learning_rate: float
    multilingual_learning_rate: float
    multilingual_blend: float  # of trained and untrained weights (training.Recipe.blend), for languages never seen
    schedule: str
    pooling: str  # in place of [CLS]: the small stand-in models were built for mean pooling; "cls": as in the papers
    sampling: str  # "concepts": a short run sees each concept once rather than some fifty times; "pairs": as upstream
    dropout: float  # 0 on short runs, which are far from fitting their data
    freeze_layers: int  # of the English model: a short run trains the upper ones, and takes more steps for it
    focus: str  # the source (SAB) whose concepts make up most of a short English run; "": all concepts alike
    freeze_word_embeddings: bool  # of the multilingual model: 250,000 words are too many to train on a CPU
    max_queries: int | None  # queries a benchmark and language
    map_names: int  # names on a map of the embedding space
    folder: Path = field(default=Path(), compare=False)  # where the run writes

    def recipe_settings(self, multilingual: bool) -> dict:
        """What this profile changes in a recipe of ``training.RECIPES`` (its ``get_recipe`` takes them)."""
        if multilingual:
            return {"batch_size": self.multilingual_batch_size, "learning_rate": self.multilingual_learning_rate,
                    "schedule": self.schedule, "sampling": self.sampling, "dropout": self.dropout,
                    "freeze_word_embeddings": self.freeze_word_embeddings, "blend": self.multilingual_blend}
        return {"batch_size": self.batch_size, "learning_rate": self.learning_rate, "schedule": self.schedule,
                "sampling": self.sampling, "dropout": self.dropout, "freeze_layers": self.freeze_layers}

    @property
    def altered(self) -> bool:
        """Whether a model or a size is another than the profile's own (see :func:`get_profile`)."""
        return self != PROFILES[self.name]

    @property
    def data(self) -> Path:
        return self.folder / "data"

    @property
    def models(self) -> Path:
        return self.folder / "models"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def notebooks(self) -> Path:
        return self.folder / "notebooks"

    @property
    def figures(self) -> Path:
        return self.folder / "figures"


_OPEN = dict(english_model="minilm", multilingual_model="e5-multilingual")
_SHORT = dict(learning_rate=5e-4, multilingual_learning_rate=2e-4, multilingual_blend=0.7, schedule="linear",
              pooling="mean", sampling="concepts", dropout=0.0, freeze_word_embeddings=True)

PROFILES = {
    p.name: p
    for p in (
        Profile("smoke", **_OPEN, **_SHORT, num_layers=2, max_concepts=600, steps=4, multilingual_steps=2,
                freeze_layers=1, focus="HPO",
                batch_size=32, multilingual_batch_size=16, max_queries=60, map_names=200),
        Profile("demo", **_OPEN, **_SHORT, num_layers=None, max_concepts=None, steps=220, multilingual_steps=80,
                freeze_layers=3, focus="HPO",
                batch_size=256, multilingual_batch_size=128, max_queries=400, map_names=4000),
        Profile("full", **_OPEN, **_SHORT, num_layers=None, max_concepts=None, steps=None, multilingual_steps=None,
                freeze_layers=0, focus="",
                batch_size=256, multilingual_batch_size=256, max_queries=None, map_names=10000),
        Profile("paper", english_model="microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext",
                multilingual_model="xlm-roberta-base", num_layers=None, max_concepts=None, steps=None,
                multilingual_steps=None, batch_size=256, multilingual_batch_size=256, learning_rate=2e-5,
                multilingual_learning_rate=2e-5, multilingual_blend=1.0, schedule="constant", pooling="cls",
                sampling="pairs", dropout=0.1, freeze_layers=0, focus="", freeze_word_embeddings=False,
                max_queries=None, map_names=10000),
    )
}


def get_profile(name: str = "", english_model: str = "", multilingual_model: str = "", **sizes: int) -> Profile:
    """The profile called ``name``; empty: ``$SAPBERT_PROFILE``, else ``demo``. Raises ``ValueError``.

    Its run folder is ``runs/<name>`` in the repository, or below ``$SAPBERT_RUNS`` when that is set.

    The two base models (as :func:`encoder.load_encoder` takes them) and ``sizes`` (fields of :class:`Profile`) stand
    in for the profile's own; an empty text or 0 keeps the profile's.
    """
    name = name or os.environ.get("SAPBERT_PROFILE", "") or "demo"
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of: {', '.join(PROFILES)}")
    given = {"english_model": english_model, "multilingual_model": multilingual_model} | sizes
    given = {field: value for field, value in given.items() if value}
    runs = Path(os.environ.get("SAPBERT_RUNS") or REPOSITORY / "runs").expanduser().resolve()
    return replace(PROFILES[name], folder=runs / name, **given)
