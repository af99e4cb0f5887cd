"""The trainings: each (setting, seed) that the table lacks, one after the other."""

import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..course.profiles import Profile
from ..course.results import machine
from ..evaluation import Benchmark, accuracy_at_k, bootstrap_interval, predict, score
from ..files import sha256
from ..linking.search import search
from ..model.encoder import Encoder, load_encoder
from ..model.encoding import encode
from ..model.precision import training_precision
from ..model.recipes import get_recipe
from ..model.saving import save_encoder
from ..model.training import train
from . import table
from .settings import SETTINGS, Setting, benchmarks_of, pairs_of

SEEDS = (1, 2, 3)


def train_setting(setting: Setting, seed: int, profile: Profile, **changes: Any) -> Encoder:
    """Train one setting, after the setting that it goes on from.

    A model that another setting goes on from is kept below ``models/claims``, unless ``changes`` of
    the recipe, or of ``steps``, make it another.
    """
    place = profile.models / "claims"

    def kept(name: str) -> Path:
        return place / f"{name.replace(' ', '-')}-{seed}"

    base = setting.base
    if setting.after:
        base = str(kept(setting.after))
        if not Path(base).is_dir():
            train_setting(SETTINGS[setting.after], seed, profile)
    own = setting.settings | changes
    steps = own.pop("steps", setting.steps)
    recipe = get_recipe(setting.recipe, **own, seed=seed)
    encoder = load_encoder(base, pooling=recipe.pooling, lower=recipe.lower)
    if not setting.steps:
        return encoder
    train(encoder, pairs_of(setting.data, profile), recipe, steps=steps)
    if not changes and any(other.after == setting.name for other in SETTINGS.values()):
        save_encoder(encoder, kept(setting.name))
    return encoder


def measure(encoder: Encoder, benchmarks: dict[str, Benchmark]) -> dict[str, np.ndarray]:
    """Ranks of the first hits by label, by cosine and upstream's protocol; one shared dictionary."""
    if not benchmarks:
        return {}
    precision = training_precision("auto", encoder.device)
    shared = next(iter(benchmarks.values()))
    vectors = encode(encoder, list(shared.names), precision=precision)

    def rank(texts: list[str]) -> np.ndarray:
        found = encode(encoder, texts, precision=precision)
        return search(found, vectors, min(5, len(vectors)))[0]

    return {label: score(predict(b, rank, composite=label.startswith("NCBI")))
            for label, b in benchmarks.items()}


def run_claims(profile: Profile, say: Callable[[str], None], only: Sequence[str] = (),
               seeds: Iterable[int] = SEEDS, again: bool = False) -> None:
    """Train and measure what the table lacks, and append it: one seed of all settings, then the next.

    Args:
        only: names of settings; empty: all.
        again: measure also what the table has, show both, and change nothing.

    Raises ``ValueError`` on an unknown setting, ``FileNotFoundError`` without the pair files.
    """
    for name in only:
        if name not in SETTINGS:
            raise ValueError(f"no setting {name!r}; choose from: {'; '.join(SETTINGS)}")
    for seed in seeds:
        for setting in (SETTINGS[name] for name in only or SETTINGS):
            if not setting.steps and seed != SEEDS[0]:
                continue  # nothing is drawn
            rows = table.read_rows(table.TABLE)
            mine = rows[(rows["setting"] == setting.name) & (rows["seed"] == seed)]
            if len(mine) and not again:
                continue
            say(f"{setting.name}, seed {seed} … ")
            try:
                found, about = run_setting(setting, seed, profile)
            except FileNotFoundError as error:
                if setting.data != "ncbi":
                    raise
                say(f"left out: {error}\n")
                continue
            if again:
                _compare(mine.set_index("benchmark"), found, say)
            else:
                table.append(table.TABLE, found, about)
                say(f"{about['seconds']:.0f} s\n")


def run_setting(setting: Setting, seed: int, profile: Profile, **changes: Any) -> tuple[
        dict[str, np.ndarray], dict[str, Any]]:
    """Train and measure one setting: ranks by benchmark, and the other columns of its rows."""
    started = time.perf_counter()
    encoder = train_setting(setting, seed, profile, **changes)
    seconds = time.perf_counter() - started
    found: dict[str, np.ndarray] = {}
    for kind in setting.measured:
        found |= measure(encoder, benchmarks_of(kind, profile))
    on, recipe = machine(), setting.settings
    file = profile.data / f"pairs_{setting.data.replace(' ', '_')}.txt"
    return found, {
        "setting": setting.name, "seed": seed, "steps": setting.steps,
        "pairs a step": recipe["batch_size"], "rate": recipe["learning_rate"],
        "precision": training_precision("auto", encoder.device), "seconds": round(seconds, 1),
        "pair file": sha256(file)[:12] if file.is_file() and setting.steps else "",
        "machine": on["gpu"] or f"{on['cores']} × {on['cpu']}",
        "torch": metadata.version("torch"), "transformers": metadata.version("transformers")}


def _compare(recorded: pd.DataFrame, found: dict[str, np.ndarray],
             say: Callable[[str], None]) -> None:
    say("\n")
    for label, ranks in found.items():
        low, high = bootstrap_interval(ranks)
        was = recorded.at[label, "acc@1"] if label in recorded.index else None
        verdict = "not recorded" if was is None else (
            f"recorded {was}: {'inside' if low <= was <= high else 'OUTSIDE'}")
        say(f"  {label}: acc@1 {accuracy_at_k(ranks, 1):.2f} ({low:.1f} to {high:.1f}), {verdict}\n")
