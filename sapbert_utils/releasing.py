"""The models that ship with the course: how each was trained, and the command to train it again.

``python -m sapbert_utils train-released sapbert-minilm`` runs notebooks 01 and 03 with the
parameters below, and writes what training changed as adapters, with a card, into a folder.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from .course.notebooks import choose, convert, find_notebooks, read_results
from .course.profiles import Profile, get_profile
from .course.running import run_all
from .data.splits import is_dev, layperson_strings
from .data.terminology import open_concepts, open_names
from .evaluation import (
    Benchmark,
    accuracy_at_k,
    bootstrap_interval,
    corpora,
    evaluate,
    hpo_layperson,
    icd10_queries,
)
from .files import sha256, whole_folder, write_json
from .linking import Linker, best_threshold
from .model.encoder import Encoder, load_encoder
from .model.encoding import encode
from .model.precision import training_precision
from .model.saving import check_replaceable, save_adapters
from .model.weights import blend

CHECKED = ("heart attack", "myocardial infarction", "wide nose", "can't see far away things",
           "Herzinfarkt")  # names whose vectors are kept, to check a copy against them
SOURCES: tuple[tuple[str, ...], ...] = ((), ("HPO",), ("MONDO",), ("HPO", "MONDO"))


@dataclass(frozen=True)
class Release:
    """How one model was trained: the parameters of notebooks 01 and 03, on the full profile."""

    recipe: str  # of notebook 03
    base: str  # what load_encoder takes
    licence: str  # of the base model
    rank: int
    parameters: dict[str, str]
    blend: float = 1.0  # share of the trained weights; the rest stays the base's; chosen on dev
    languages: tuple[str, ...] = ("ENG",)
    limits: str = ""


RELEASES = {
    "sapbert-minilm": Release(
        "sapbert", "minilm", "Apache-2.0", 64,
        {"vocabularies": "none", "mixture": "HPO:0.8", "steps": "2000", "learning_rate": "4e-4"},
        blend=0.8,
        limits="For English only, and mainly for phenotypes and diseases: four fifths of the "
               "concepts it saw have a name in HPO. It may know less than its base about words "
               "that are in no training name."),
    "sapbert-minilm-mean-token": Release(
        "sapbert-mean-token", "minilm", "Apache-2.0", 64,
        {"vocabularies": "MSH", "mixture": "HPO:0.75,MSH:0.2", "steps": "1600",
         "learning_rate": "1e-3"}, blend=0.8,
        limits="Those of sapbert-minilm. Its mean is over all 25 positions, so it is slower."),
    "sapbert-e5": Release(  # trained whole: adapters learned less in as many steps
        "sapbert-xlmr", "e5-multilingual", "MIT", 64,
        {"vocabularies": "none", "steps": "900", "lora_rank": "0"}, blend=0.85, languages=(),
        limits="Trained on disease names of ICD-10 in nine languages, and on English names; what "
               "it knows about other languages and subjects comes from its base. The model that "
               "ships was trained without validation on held-out concepts."),
}


def train_released(name: str, target: Path | None, say: Callable[[str], None],
                   **changes: str) -> Path:
    """Train one of `RELEASES`, or resume where an earlier call stopped; return its folder.

    Its runs go to ``released/<name>``, beside those of the profiles.

    Args:
        target: the folder to write; None: ``adapters`` in that folder.
        changes: parameters of notebooks 01 and 03 that replace the release's own.

    Raises ``ValueError`` on an unknown name, ``FileExistsError`` on a target with other files.
    """
    if name not in RELEASES:
        raise ValueError(f"no model {name!r} is released; choose one of: {', '.join(RELEASES)}")
    release, full = RELEASES[name], get_profile("full")
    profile = replace(full, folder=full.folder.parent / "released" / name / full.name)
    target = target or profile.folder.parent / "adapters"
    check_replaceable(target)  # fail now, not after an hour of training
    every = find_notebooks()
    notebooks = [choose(every, "01"), choose(every, "03")]
    given = {"recipes": release.recipe, "lora_rank": str(release.rank), "resume": "true",
             **release.parameters, **changes}
    run_all(notebooks, convert(notebooks, given), profile, False, say)
    say(f"measuring {name} …\n")
    return write_released(name, profile, target, **changes)


def write_released(name: str, profile: Profile, target: Path, **changes: str) -> Path:
    """Turn the model that a run trained into a folder of adapters, measured and described.

    Raises ``FileExistsError`` on a target with other files in it.
    """
    release = RELEASES[name]
    encoder = load_encoder(str(profile.models / release.recipe))
    history = pd.read_json(profile.data / f"history_{release.recipe}.json")
    command = " -p ".join([f"python -m sapbert_utils train-released {name}",
                           *(f"{key}={value}" for key, value in changes.items())])
    blended = profile.recipe_settings(release.languages != ("ENG",)).get("blend", 1.0)
    return write_adapters(name, encoder, history, target, profile.data / "vectors", blended,
                          command=command, **_told(profile, release))


def write_adapters(name: str, encoder: Encoder, history: pd.DataFrame, target: Path, cache: Path,
                   blended: float = 1.0, **told: object) -> Path:
    """Write a trained encoder as a released model: adapters, figures, thresholds and a card.

    All figures are measured on the adapters after loading them back.

    Args:
        name: one of `RELEASES`.
        history: the records of the training.
        target: a new folder, or one of a released model.
        cache: a folder for the vectors of the test sets.
        blended: the share of the trained weights that ``encoder`` has.
        told: the remaining fields of the card.
    """
    check_replaceable(target)
    release = RELEASES[name]
    base = load_encoder(release.base, device=encoder.device.type)
    blend(encoder, base, release.blend / blended)
    with whole_folder(target, taken="replace") as new:
        _, lost = save_adapters(encoder, release.base, new, release.rank)
        cut = load_encoder(str(new))
        columns = [c for c in ("step", "loss", "kept", "validation") if c in history]
        history[columns].round(4).to_csv(new / "history.csv", index=False)
        np.save(new / "vectors.npy", encode(cut, list(CHECKED), precision="fp32"))
        write_json(new / "thresholds.json", thresholds(cut, release))
        card = Path(__file__).with_name("released_card.txt").read_text(encoding="utf-8").format(
            name=name, release=release, lost=f"{lost:.2g}",
            measured=_measured(cut, release, cache), **told)
        (new / "README.md").write_text(card, encoding="utf-8")
    return target


def _told(profile: Profile, release: Release) -> dict[str, object]:
    """Read the data, steps, time, machine and settings from the records of the run."""
    every = find_notebooks()
    (result,) = read_results([choose(every, "03")], profile)
    seconds = next(m["value"] for m in result["metrics"] if m["name"].endswith("training time"))
    trained_card = (profile.models / release.recipe / "README.md").read_text(encoding="utf-8")
    lines = {line.split(":**")[0]: line.split(":** ")[1] for line in trained_card.splitlines()
             if line.startswith("- **")}
    kind = "english" if release.languages == ("ENG",) else "multilingual"
    machine = result["machine"]
    return {"data": lines["- **Data"], "steps": lines["- **Steps"], "minutes": seconds / 60,
            "hash": sha256(profile.data / f"pairs_{kind}.txt")[:16],
            "pooling": lines["- **Pooling"],
            "machine": machine["gpu"] or f"{machine['cores']} cores of one {machine['cpu']}",
            "precision": result["parameters"]["precision"], "torch": result["packages"]["torch"],
            "settings": trained_card[trained_card.index("| setting"):].rstrip(),
            "parameters": ", ".join(f"{k}={v}" for k, v in release.parameters.items())}


def _measured(encoder: Encoder, release: Release, cache: Path) -> str:
    """Measure the base and the model on the test sets, for the rows of the card's table."""
    base = load_encoder(release.base, pooling="mean", lower=encoder.lower)
    rows = []
    for name, parts in _benchmarks(release).items():
        cells = []
        for model in (base, encoder):
            hits = [evaluate(model, part, cache, similarities=["cosine"])[model.pooling, "cosine"]
                    for part in parts]
            for k in (1, 5):
                value = np.mean([accuracy_at_k(ranks, k) for ranks in hits])
                low, high = bootstrap_interval(np.concatenate(hits), k)
                around = f" ({low:.1f} to {high:.1f})" if len(hits) == 1 else ""
                cells.append(f"{value:.1f}{around}")
        rows.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(rows)


def _benchmarks(release: Release) -> dict[str, list[Benchmark]]:
    """The test sets of a model by name; if there are several, the card reports their mean."""
    if release.languages != ("ENG",):
        return {"ICD-10, eight languages, test blocks (mean)": [*icd10_queries("test").values()]}
    test = hpo_layperson().only(lambda gold: not is_dev(gold.split("|")[0]), "HPO layperson test")
    found = {"HPO layperson, test part": [test]}
    try:
        folder = corpora.find_corpus("ncbi-disease")
    except FileNotFoundError:
        return found
    return found | {"NCBI-disease, test": [corpora.read_biosyn(folder)]}


def thresholds(encoder: Encoder, release: Release) -> dict[str, float]:
    """Choose the best threshold on dev (`best_threshold`), by sources joined by commas."""
    names = open_names()
    names = names[~names["name"].str.lower().isin(layperson_strings())].reset_index(drop=True)
    concept_of = {term.code: concept for term, concept, _ in open_concepts()}
    queries = hpo_layperson().only(lambda gold: is_dev(gold.split("|")[0]), "dev").sample(400)
    golds = {m: {concept_of[code] for code in gold.split("|") if code in concept_of}
             for m, gold in zip(queries.mentions, queries.gold, strict=True)}
    whole, found = Linker.from_terminology(
        encoder, names, precision=training_precision("auto", encoder.device)), {}
    for sources in SOURCES:
        kept = whole.part(sources) if sources else np.ones(len(names), dtype=bool)
        part = Linker(encoder, names[kept].reset_index(drop=True), whole.vectors[kept])
        known = set(part.names["cui"])
        asked = {mention: gold for mention, gold in golds.items() if gold & known}
        found[",".join(sources)] = round(best_threshold(part, asked), 4)
    return found
