"""Names -> positive pairs, and the file that holds them: one ``cui||name1||name2`` a line, UTF-8."""

import itertools
import os
import random
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from .terminology import stable_hash


def clean_names(names: pd.DataFrame, lower: bool = True) -> pd.DataFrame:
    """Distinct (cui, name), lower-cased when ``lower`` (as for the uncased PubMedBERT).

    ``||`` inside a name would break the pair file and becomes ``|``.
    """
    text = names["name"].str.replace(r"\|{2,}", "|", regex=True).str.strip().str.strip("|")
    if lower:
        text = text.str.lower()
    return names.assign(name=text)[text != ""].drop_duplicates(["cui", "name"], ignore_index=True)


def ambiguous_names(names: pd.DataFrame) -> pd.DataFrame:
    """Names that stand under several concepts: name, number of concepts, the concepts. In a batch they are
    false negatives of each other."""
    grouped = names.groupby("name")["cui"].unique()
    several = grouped[grouped.map(len) > 1]
    return pd.DataFrame({"name": several.index, "concepts": several.map(len).to_numpy(),
                         "cuis": several.map(sorted).to_numpy()})


def make_pairs(names: pd.DataFrame, max_pairs: int = 50, seed: int = 33) -> pd.DataFrame:
    """All unordered pairs of names of a concept, at most ``max_pairs`` of them, drawn without replacement.

    NAACL 2021, section 3 (the cap of 50 a concept: section 4.1). The draw depends on ``seed`` and the concept
    alone, so it is the same whatever the order of the rows. Columns: cui, name1, name2.
    """
    rows = []
    for cui, group in names.groupby("cui", sort=True)["name"]:
        found = sorted(set(group))
        count = len(found) * (len(found) - 1) // 2
        if count > max_pairs:
            draw = random.Random(stable_hash(f"{seed}|{cui}"))
            rows += [(cui, found[i], found[j]) for i, j in map(_unrank, sorted(draw.sample(range(count), max_pairs)))]
        else:
            rows += [(cui, a, b) for a, b in itertools.combinations(found, 2)]
    return pd.DataFrame(rows, columns=["cui", "name1", "name2"], dtype="str")


def _unrank(rank: int) -> tuple[int, int]:
    """The ``rank``-th pair i < j in the order (0,1), (0,2), (1,2), (0,3), …, without listing the others."""
    j = int(((8 * rank + 1) ** 0.5 + 1) / 2)
    while j * (j - 1) // 2 > rank:
        j -= 1
    while (j + 1) * j // 2 <= rank:
        j += 1
    return rank - j * (j - 1) // 2, j


def write_pairs(pairs: pd.DataFrame, path: Path | str) -> Path:
    """Write ``cui||name1||name2`` lines under a temporary name, then rename. Raises on a name that holds ``||``."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    with open(partial, "w", encoding="utf-8", newline="\n") as out:
        for row in pairs[["cui", "name1", "name2"]].itertuples(index=False):
            line = "||".join(row)
            if line.count("||") != 2 or "\n" in line or "|||" in line:
                raise ValueError(f"{path}: {tuple(row)!r} holds or touches || or a line end; use clean_names")
            out.write(line + "\n")
    os.replace(partial, path)
    return path


def read_pairs(path: Path | str) -> pd.DataFrame:
    """Read a pair file. Raises ``ValueError`` with file and line number on a line that is not three fields."""
    rows = []
    with open(path, encoding="utf-8", newline="\n") as lines:
        for number, line in enumerate(lines, 1):
            fields = line.rstrip("\r\n").split("||")
            if len(fields) != 3 or not all(fields):
                raise ValueError(f"{path}, line {number}: expected cui||name1||name2, found {line[:200]!r}")
            rows.append(fields)
    if not rows:
        raise ValueError(f"{path} holds no pairs: a concept needs two different names to make one")
    return pd.DataFrame(rows, columns=["cui", "name1", "name2"], dtype="str")


def leave_out(names: pd.DataFrame, strings: Iterable[str], concepts: Iterable[str] = ()) -> pd.DataFrame:
    """The names whose lower-cased string is not in ``strings`` and whose concept is not in ``concepts``:
    keeps a benchmark's test strings and held-out concepts out of training."""
    held = {s.lower() for s in strings}
    keep = ~names["name"].str.lower().isin(held) & ~names["cui"].isin(set(concepts))
    return names[keep].reset_index(drop=True)
