"""What is trained: settings that differ as little as possible, their pairs and their test sets."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from ..course.profiles import Profile
from ..data.open_data.translations import word_translations
from ..data.pairs import read_pairs
from ..data.rrf import read_mrconso
from ..data.splits import held_out, is_dev, stable_hash
from ..evaluation import (
    Benchmark,
    chemical_names,
    corpora,
    drug_brands,
    hpo_layperson,
    icd10_queries,
    split_mention,
)

ENGLISH = {"batch_size": 64, "learning_rate": 3e-4, "schedule": "linear", "sampling": "concepts",
           "dropout": 0.0, "freeze_layers": 3, "pooling": "mean"}
MANY = ENGLISH | {"learning_rate": 2e-4, "freeze_layers": 6, "freeze_word_embeddings": True}
WIDE = ("layperson", "NCBI", "chemicals", "brands")  # test sets for an English model
ACROSS = ("ICD-10", "XL-BEL")


@dataclass(frozen=True)
class Setting:
    """One way to train: the changes to a recipe, the data, and what to measure it on."""

    name: str
    changes: dict[str, Any] = field(default_factory=dict)  # besides ENGLISH or MANY
    data: str = "english"  # a key of `pairs_of`
    after: str = ""  # the setting that is trained first; empty: the base model
    steps: int = 400  # 0: the base model as it comes
    base: str = "minilm"
    measured: tuple[str, ...] = ("layperson",)  # keys of `benchmarks_of`

    @property
    def recipe(self) -> str:
        """The name of the recipe that is changed."""
        return "sapbert-xlmr" if self.base == "e5-multilingual" else "sapbert"

    @property
    def settings(self) -> dict[str, Any]:
        """All settings that replace the recipe's own."""
        return (MANY if self.base == "e5-multilingual" else ENGLISH) | self.changes


def _on_e5(name: str, data: str, after: str = "", steps: int = 400,
           measured: tuple[str, ...] = ACROSS, **changes: Any) -> Setting:
    return Setting(name, changes, data, after, steps, "e5-multilingual", measured)


SETTINGS = {setting.name: setting for setting in (
    Setting("untrained", steps=0, measured=WIDE),
    Setting("untrained [CLS]", {"pooling": "cls"}, steps=0, measured=WIDE),
    Setting("SapBERT", measured=WIDE),  # multi-similarity loss, miner "all", margin 0.2, mean
    Setting("no miner", {"miner": "none"}),
    Setting("InfoNCE loss", {"loss": "infonce"}),
    Setting("cosine loss", {"loss": "cosine"}),
    Setting("triplet loss", {"loss": "triplet"}),
    Setting("NCA loss", {"loss": "nca"}),
    Setting("lifted loss", {"loss": "lifted"}),
    Setting("circle loss", {"loss": "circle"}),
    Setting("hard miner", {"miner": "hard"}),
    Setting("semihard miner", {"miner": "semihard"}),
    Setting("easy miner", {"miner": "easy"}),
    Setting("margin as printed", {"margin": -0.2}),
    Setting("LoRA 8", {"lora_rank": 8, "learning_rate": 1e-3}),
    Setting("LoRA 64", {"lora_rank": 64, "learning_rate": 1e-3}),
    Setting("[CLS]", {"pooling": "cls"}),
    Setting("mean over all tokens", {"pooling": "mean_all_tok"}),
    Setting("fine-tuned on NCBI", {"learning_rate": 1e-4}, "ncbi", "SapBERT", 100,
            measured=("NCBI",)),
    Setting("fine-tuned on layperson names", {"learning_rate": 1e-4}, "layperson", "SapBERT", 100,
            measured=("layperson test",)),
    Setting("no alignment, fine-tuned on NCBI", {"learning_rate": 1e-4}, "ncbi", "", 100,
            measured=("NCBI",)),
    Setting("no alignment, fine-tuned on layperson names", {"learning_rate": 1e-4}, "layperson",
            "", 100, measured=("layperson test",)),
    _on_e5("e5 untrained", "english", steps=0, measured=("layperson", "NCBI", *ACROSS)),
    _on_e5("e5 (a)", "english cased", measured=("layperson", "NCBI", *ACROSS)),
    _on_e5("e5 (b)", "multilingual"),
    _on_e5("e5 (a)+(c)", "words", "e5 (a)", 100),
    _on_e5("e5 (b)+(c)", "words", "e5 (b)", 100),
    # five times the size: a night on two cores, or minutes on a GPU
    Setting("mpnet untrained", steps=0, base="mpnet", measured=("layperson", "NCBI")),
    Setting("mpnet", {"freeze_layers": 6, "learning_rate": 2e-4}, base="mpnet",
            measured=("layperson", "NCBI")),
)}


def pairs_of(data: str, profile: Profile) -> pd.DataFrame:
    """The training pairs of a setting. Raises ``FileNotFoundError`` on a missing file.

    ``ncbi`` pairs each training mention of NCBI-disease with the names of its concept;
    ``layperson`` each layperson name of HPO's dev concepts with the clinical names of its concept.
    """
    if data == "words":
        held, _ = held_out(["ICD10"])
        words = word_translations()
        seen = [held.isdisjoint((a.lower(), b.lower()))
                for a, b in zip(words["name1"], words["name2"], strict=True)]
        return words[seen].reset_index(drop=True)
    if data == "ncbi":
        return _labelled(corpora.read_biosyn(corpora.find_corpus("ncbi-disease"), "traindev",
                                             dictionary="train_dictionary.txt"))
    if data == "layperson":
        return _labelled(hpo_layperson().only(lambda gold: is_dev(gold.split("|")[0]), "dev"))
    file = profile.data / f"pairs_{data.replace(' ', '_')}.txt"
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: write it with\n    python -m sapbert_utils "
                                f"run 01 --profile {profile.name}")
    pairs, rows = read_pairs(file), profile.data / "metathesaurus" / "MRCONSO.RRF"
    if data != "english" or not rows.is_file():  # a UMLS release has its place elsewhere
        return pairs
    # four fifths of the concepts have a name in HPO, as in notebook 03; the others are fixed, too
    names = read_mrconso(rows.parent).filter("source = 'HPO'")
    every, hpo = set(pairs["cui"]), set(names.project("cui").df()["cui"])
    others = sorted(every - hpo, key=stable_hash)[:len(every & hpo) // 4]
    return pairs[pairs["cui"].isin(hpo | set(others))].reset_index(drop=True)


def _labelled(task: Benchmark) -> pd.DataFrame:
    """Pair each mention with the dictionary's names of its concept."""
    names: dict[str, list[str]] = defaultdict(list)
    for name, concepts in zip(task.names, task.concepts, strict=True):
        for concept in concepts.split("|"):
            names[concept].append(name)
    rows = {(gold, mention, name)
            for mention, gold in zip(task.mentions, task.gold, strict=True)
            for name in names[gold] if name != mention}
    return pd.DataFrame(sorted(rows), columns=["cui", "name1", "name2"])


def benchmarks_of(kind: str, profile: Profile) -> dict[str, Benchmark]:
    """Return test sets by label; none if a corpus is missing. Those of a kind share a dictionary.

    ``layperson``: HPO's layperson names, dev and test concepts. ``NCBI``: the test part, and its
    mentions whose concept the training part lacks. ``chemicals``, ``brands``: vocabularies that no
    pair is from, among ten thousand names. ``ICD-10``: 200 native names per language from test
    blocks, among 5,000 English ones. ``XL-BEL``: the mentions that our names cover, as in notebook
    05.
    """
    if kind in ("layperson", "layperson test"):
        whole = hpo_layperson()
        test = whole.only(lambda gold: not is_dev(gold.split("|")[0]), kind)
        dev = {"layperson dev": whole.only(lambda gold: is_dev(gold.split("|")[0]), kind)}
        return (dev if kind == "layperson" else {}) | {"layperson test": test}
    if kind == "chemicals":
        return {kind: chemical_names("test", 10_000).sample(2000)}
    if kind == "brands":
        return {kind: drug_brands("test", 10_000)}
    if kind == "ICD-10":
        return {f"ICD-10 {lat}": b for lat, b in icd10_queries("test", 200, 5000).items()}
    try:
        folder = corpora.find_corpus({"NCBI": "ncbi-disease", "XL-BEL": "xl-bel"}[kind])
    except FileNotFoundError:
        return {}
    if kind == "NCBI":
        test = corpora.read_biosyn(folder)
        if not (folder / "processed_traindev").is_dir():
            return {"NCBI test": test}
        train = corpora.read_biosyn(folder, "traindev", dictionary="train_dictionary.txt")
        seen = {concept for gold in train.gold for concept in split_mention(gold)}
        return {"NCBI test": test, "NCBI test, concept not in training": test.only(
            lambda gold: seen.isdisjoint(split_mention(gold)), kind)}
    names = read_mrconso(profile.data / "metathesaurus").df()
    names = names[(names["language"] == "ENG") & names["cui"].str.fullmatch(r"C\d{7}")]
    preferred = names.assign(later=names["term_type"] != "PT").sort_values(["cui", "later", "name"])
    kept = preferred.drop_duplicates(["cui", "name"]).groupby("cui").head(2)
    shared, known, found = (tuple(kept["name"]), tuple(kept["cui"])), set(kept["cui"]), {}
    for file in sorted((folder / "v0.0").glob("*.txt")):
        rows = [(m, g) for g, m in corpora.read_queries(file) if known & set(g.split("|"))]
        if rows:
            mentions, gold = zip(*rows, strict=True)
            found[f"XL-BEL {file.name[:2]}"] = Benchmark(kind, mentions, gold, *shared)
    return found
