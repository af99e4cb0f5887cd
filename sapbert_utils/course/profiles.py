"""The four sizes of a run, and where a run writes.

The same notebooks serve a test (smoke), a laptop (demo), one GPU (full) and the papers (paper).
"""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Profile:
    """Sizes of one run; the defaults are those of ``full``, open data on one GPU.

    ``None`` means "no limit": every concept, a whole epoch, every layer.
    """

    name: str
    english_model: str = "minilm"  # an embedded default, a Hugging Face name, or a folder
    multilingual_model: str = "e5-multilingual"
    num_layers: int | None = None  # keep only the first layers of the encoder
    max_concepts: int | None = None  # concepts of the terminology that enter the run
    vocabularies: str = "none"  # added to the open metathesaurus (notebook 01), such as "MSH,GO"
    steps: int | None = None  # optimiser steps of the English recipes
    multilingual_steps: int | None = None
    batch_size: int = 256  # pairs per step, English
    multilingual_batch_size: int = 256
    learning_rate: float = 5e-4
    multilingual_learning_rate: float = 2e-4
    multilingual_blend: float = 0.7  # share of the trained weights; the rest stays the base's
    schedule: str = "linear"
    pooling: str = "mean"  # the small models were built for it; "cls" is the papers' choice
    sampling: str = "concepts"  # each concept once; "pairs", as upstream, some fifty times
    dropout: float = 0.0  # none, because a short run is far from fitting its data
    freeze_layers: int = 0  # of the English model: training only the upper ones allows more steps
    mixture: str = ""  # shares of concepts by source in a short English run, such as HPO:0.8
    freeze_word_embeddings: bool = True  # multilingual: 250,000 are too many to train on a CPU
    max_queries: int | None = None  # queries per benchmark and language
    dictionary_names: int | None = None  # of chemicals, drugs and ICD-11, with the right answers
    map_names: int = 10000  # names on a map of the embedding space
    folder: Path = field(default=Path(), compare=False)  # where the run writes

    def recipe_settings(self, multilingual: bool) -> dict[str, Any]:
        """What this profile changes in a recipe of ``sapbert_utils.model`` (for ``get_recipe``)."""
        shared = {"schedule": self.schedule, "sampling": self.sampling, "dropout": self.dropout}
        if multilingual:
            return shared | {"batch_size": self.multilingual_batch_size,
                             "learning_rate": self.multilingual_learning_rate,
                             "freeze_word_embeddings": self.freeze_word_embeddings,
                             "blend": self.multilingual_blend}
        return shared | {"batch_size": self.batch_size, "learning_rate": self.learning_rate,
                         "freeze_layers": self.freeze_layers}

    @property
    def altered(self) -> bool:
        """Whether a base model or a size was changed (see :func:`get_profile`)."""
        return self != PROFILES[self.name]

    data = property(lambda self: self.folder / "data")
    models = property(lambda self: self.folder / "models")
    results = property(lambda self: self.folder / "results")
    notebooks = property(lambda self: self.folder / "notebooks")
    figures = property(lambda self: self.folder / "figures")


PROFILES = {profile.name: profile for profile in (
    Profile("smoke", num_layers=2, max_concepts=600, steps=4, multilingual_steps=2, max_queries=60,
            batch_size=32, multilingual_batch_size=16, freeze_layers=1, mixture="HPO:0.8",
            map_names=200, dictionary_names=500),
    Profile("demo", steps=220, multilingual_steps=80, multilingual_batch_size=128, freeze_layers=3,
            mixture="HPO:0.8", max_queries=400, map_names=4000, dictionary_names=10_000),
    Profile("full", vocabularies="all"),
    Profile("paper", multilingual_model="xlm-roberta-base", learning_rate=2e-5,
            english_model="microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext",
            multilingual_learning_rate=2e-5, multilingual_blend=1.0, schedule="constant",
            pooling="cls", sampling="pairs", dropout=0.1, freeze_word_embeddings=False),
)}


def get_profile(name: str = "", english_model: str = "", multilingual_model: str = "",
                **sizes: int) -> Profile:
    """Return the profile of that name; without one, that of ``$SAPBERT_PROFILE``, else ``demo``.

    Its run folder is ``runs/<name>`` in the repository, or below ``$SAPBERT_RUNS`` if that is set.
    The base models (as ``load_encoder`` takes them) and the sizes (fields of :class:`Profile`)
    replace the profile's own, unless they are empty or 0. Raises ``ValueError`` on an unknown name.
    """
    name = name or os.environ.get("SAPBERT_PROFILE", "") or "demo"
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; choose one of: {', '.join(PROFILES)}")
    models = {"english_model": english_model, "multilingual_model": multilingual_model}
    given: dict[str, Any] = {key: value for key, value in (models | sizes).items() if value}
    runs = named_folder("SAPBERT_RUNS") or (REPOSITORY / "runs").resolve()
    return replace(PROFILES[name], folder=runs / name, **given)


def named_folder(variable: str) -> Path | None:
    """The folder that an environment variable names, absolute; ``None`` when unset or empty."""
    value = os.environ.get(variable)
    return Path(os.path.expanduser(value)).resolve() if value else None
