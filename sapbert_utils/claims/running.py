"""Train each (setting, seed) that the table lacks, one after the other."""

import json
import time
from collections.abc import Callable, Iterable, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..course.profiles import Profile
from ..course.results import machine
from ..data.splits import stable_hash
from ..evaluation import Benchmark, accuracy_at_k, predict, score
from ..files import write_json
from ..linking.search import search
from ..model.checkpoints import fingerprint
from ..model.encoder import Encoder, load_encoder
from ..model.encoding import encode
from ..model.precision import training_precision
from ..model.recipes import Recipe, get_recipe
from ..model.saving import save_encoder
from ..model.training import train
from . import table
from .settings import SETTINGS, Setting, benchmarks_of, pairs_of

SEEDS = (1, 2, 3)
SAME = ("steps", "pairs a step", "rate", "data")  # what all rows of a setting must have in common


def run_claims(profile: Profile, say: Callable[[str], None], only: Sequence[str] = (),
               seeds: Iterable[int] = SEEDS, again: bool = False) -> None:
    """Train and measure what the table lacks, and append it: all with one seed, then the next.

    A test set that isn't available is left out; a later call measures it once it is.

    Args:
        only: names of settings; empty: all.
        again: measure what the table already has too, show both, and change nothing.

    Raises:
        ValueError: an unknown setting; the table has rows of other settings, pairs or mentions;
            trainings diverged (after all the others).
        FileNotFoundError: the pair files are missing.
    """
    for name in only:
        if name not in SETTINGS:
            raise ValueError(f"no setting {name!r}; choose from: {'; '.join(SETTINGS)}")
    test_sets: dict[str, dict[str, Benchmark]] = {}
    diverged = []
    for seed in seeds:
        for setting in (SETTINGS[name] for name in only or SETTINGS):
            if not setting.steps and seed != SEEDS[0]:
                continue  # the seed changes nothing
            for kind in set(setting.measured) - set(test_sets):
                test_sets[kind] = benchmarks_of(kind, profile)
            asked = {label: b for kind in setting.measured for label, b in test_sets[kind].items()}
            before = _recorded(setting, seed)
            if not again:
                asked = {label: b for label, b in asked.items() if label not in before.index}
            if not asked:
                continue
            try:
                say(f"{setting.name}, seed {seed} … ")
                _same(setting, _prepared(setting, seed, profile, {})[2])  # before it takes minutes
                if not again:
                    table.note_mentions(table.TABLE, asked)
                encoder, about = train_setting(setting, seed, profile, keep=not again)
            except (FileNotFoundError, FloatingPointError) as error:
                if isinstance(error, FileNotFoundError) and setting.data != "ncbi":
                    raise
                say(f"left out: {error}\n")
                diverged += [setting.name] if isinstance(error, FloatingPointError) else []
                continue
            found = measure(encoder, asked)
            if again:
                _compare(setting, before, found, say)
            else:
                table.append(table.TABLE, found, about)
                say(f"{about['seconds']:.0f} s\n")
    if diverged:
        raise ValueError(f"diverged, so the table has no row of it: {', '.join(diverged)}; "
                         "lower the rate in sapbert_utils/claims/settings.py")


def train_setting(setting: Setting, seed: int, profile: Profile, keep: bool = True,
                  **changes: Any) -> tuple[Encoder, dict[str, Any]]:
    """Train one setting, after the setting that it continues, or load it if it was kept.

    Args:
        keep: keep a model that another setting continues, below ``models/claims``, under a name
            that says how and on what it was trained.
        changes: of the recipe, or of ``steps``.

    Returns:
        The encoder, and what the table says of its training.
    """
    recipe, pairs, about, base, place = _prepared(setting, seed, profile, changes)
    goes_on = any(other.after == setting.name for other in SETTINGS.values())
    if goes_on and place.is_dir():
        about = json.loads((place / "claims.json").read_text(encoding="utf-8"))
        encoder = load_encoder(str(place))
        return encoder, about | _made(encoder)
    if setting.after and not Path(base).is_dir():
        train_setting(SETTINGS[setting.after], seed, profile)
    encoder = load_encoder(base, pooling=recipe.pooling, lower=recipe.lower)
    started = time.perf_counter()
    if setting.steps:
        train(encoder, pairs, recipe, steps=about["steps"])
    about["seconds"] = round(time.perf_counter() - started, 1)
    if goes_on and keep:
        save_encoder(encoder, place)
        write_json(place / "claims.json", about)
    return encoder, about | _made(encoder)


def _prepared(setting: Setting, seed: int, profile: Profile, changes: dict[str, Any]) -> tuple[
        Recipe, pd.DataFrame, dict[str, Any], str, Path]:
    """Return recipe, pairs, columns of the table, base model, and the folder to keep the model."""
    own = setting.settings | changes
    steps = own.pop("steps", setting.steps)
    recipe = get_recipe(setting.recipe, **own, seed=seed)
    pairs = pairs_of(setting.data, profile) if setting.steps else pd.DataFrame()
    about = {"setting": setting.name, "seed": seed, "steps": steps,
             "pairs a step": recipe.batch_size, "rate": recipe.learning_rate,
             "data": fingerprint(pairs)[:12] if setting.steps else ""}
    base = setting.base
    if setting.after:
        base = str(_prepared(SETTINGS[setting.after], seed, profile, {})[-1])
    digest = stable_hash(f"{recipe} {steps} {about['data']} {Path(base).name}")
    name = f"{setting.name.replace(' ', '-')}-{seed}-{digest:016x}"
    return recipe, pairs, about, base, profile.models / "claims" / name


def _made(encoder: Encoder) -> dict[str, Any]:
    """Return the columns that say where a row was made, and with what."""
    on = machine()
    return {"precision": training_precision("auto", encoder.device),
            "machine": on["gpu"] or f"{on['cores']} × {on['cpu']}",
            "torch": metadata.version("torch"), "transformers": metadata.version("transformers")}


def measure(encoder: Encoder, benchmarks: dict[str, Benchmark]) -> dict[str, np.ndarray]:
    """Ranks of the first hits by label, by cosine and upstream's protocol.

    A dictionary that several test sets share is encoded once.
    """
    precision = training_precision("auto", encoder.device)
    vectors: dict[int, np.ndarray] = {}
    found = {}
    for label, benchmark in benchmarks.items():
        key = id(benchmark.names)  # test sets of a kind share the same object
        if key not in vectors:
            vectors[key] = encode(encoder, list(benchmark.names), precision=precision)

        def rank(texts: list[str], dictionary: np.ndarray = vectors[key]) -> np.ndarray:
            asked = encode(encoder, texts, precision=precision)
            return search(asked, dictionary, min(5, len(dictionary)))[0]

        found[label] = score(predict(benchmark, rank, composite=label.startswith("NCBI")))
    return found


def _recorded(setting: Setting, seed: int) -> pd.DataFrame:
    """The rows of a setting and seed, by benchmark."""
    rows = table.read_rows(table.TABLE)
    mine = rows[(rows["setting"] == setting.name) & (rows["seed"] == seed)]
    return mine.set_index("benchmark")


def _same(setting: Setting, about: dict[str, Any]) -> None:
    """Raise ``ValueError`` when the table's rows of a setting come from another training."""
    rows = table.read_rows(table.TABLE)
    for row in rows[rows["setting"] == setting.name].to_dict("records"):
        for name in SAME:
            if row[name] != about[name]:
                raise ValueError(
                    f"the table's rows of {setting.name!r} have {name} {row[name]!r}, and this "
                    f"training has {about[name]!r}: run it with the profile and the pairs of "
                    f"those rows, or move {table.TABLE.name} away to begin a new table")


def _compare(setting: Setting, recorded: pd.DataFrame, found: dict[str, np.ndarray],
             say: Callable[[str], None]) -> None:
    """Say for each test set whether the recorded row and the new one differ for certain."""
    say("\n")
    groups = table.read_groups(table.TABLE)
    old = {label: own for (name, label), own in table.read_hits(table.TABLE).items()
           if name == setting.name}
    for label, ranks in found.items():
        now = f"  {label}: acc@1 {accuracy_at_k(ranks, 1):.2f}"
        if label not in recorded.index:
            say(f"{now}, not recorded\n")
            continue
        was = old[label][int(recorded.at[label, "seed"])]
        moves = 100 * ((ranks == 1).astype(float) - was)[None]
        gain, low, high = table.difference((moves, groups[label]))
        say(f"{now}, recorded {recorded.at[label, 'acc@1']}; the difference, {gain:+.2f} "
            f"({low:+.2f} to {high:+.2f}), {'contains' if low <= 0 <= high else 'EXCLUDES'} zero\n")
