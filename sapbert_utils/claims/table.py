"""The committed table: its rows, which mentions each has right, and how sure a difference is."""

import base64
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..course.profiles import REPOSITORY
from ..evaluation import accuracy_at_k
from ..files import whole_file

TABLE = REPOSITORY / "notebooks" / "08_claims.csv"
AT = (1, 5)  # the k of acc@k


def append(table: Path, found: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Add the rows of one run to the table, and which mentions were right to the file beside it."""
    hits = hits_file(table)
    lines = hits.read_text(encoding="utf-8") if hits.is_file() else ""
    for label, ranks in found.items():
        packed = {f"right at {k}": base64.b64encode(np.packbits((ranks > 0) & (ranks <= k))).decode()
                  for k in AT}
        lines += json.dumps({"setting": about["setting"], "seed": about["seed"],
                             "benchmark": label} | packed) + "\n"
    with whole_file(hits) as partial:
        partial.write_text(lines, encoding="utf-8")
    new = pd.DataFrame([{"setting": about["setting"], "seed": about["seed"], "benchmark": label,
                         "mentions": len(ranks), "acc@1": round(accuracy_at_k(ranks, 1), 2),
                         "acc@5": round(accuracy_at_k(ranks, 5), 2)} | about
                        for label, ranks in found.items()])
    before = read_rows(table)  # without a row, its columns have no type
    with whole_file(table) as partial:
        (pd.concat([before, new]) if len(before) else new).to_csv(partial, index=False)


def read_rows(table: Path = TABLE) -> pd.DataFrame:
    """The rows so far; none without the file."""
    if not table.exists():
        return pd.DataFrame(columns=["setting", "seed", "benchmark"])
    return pd.read_csv(table, keep_default_na=False)


def hits_file(table: Path) -> Path:
    """The file beside a table that says which mentions each row has right."""
    return table.with_name(f"{table.stem}_right.jsonl")


def read_hits(table: Path = TABLE, k: int = 1) -> dict[tuple[str, str], np.ndarray]:
    """(seeds, mentions) boolean by setting and benchmark: one of the k first names is right.

    Args:
        k: 1 or 5.
    """
    sizes = {(row["setting"], row["seed"], row["benchmark"]): row["mentions"]
             for row in read_rows(table).to_dict("records")}
    found: dict[tuple[str, str], dict[int, np.ndarray]] = defaultdict(dict)
    for line in hits_file(table).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        size = sizes.get((row["setting"], row["seed"], row["benchmark"]))
        if size is not None:  # else the run was stopped between the two files
            bits = np.unpackbits(np.frombuffer(base64.b64decode(row[f"right at {k}"]), np.uint8))
            found[row["setting"], row["benchmark"]][row["seed"]] = bits[:size].astype(bool)
    return {key: np.stack([own[seed] for seed in sorted(own)]) for key, own in found.items()}


def difference(before: np.ndarray, after: np.ndarray) -> tuple[float, float, float]:
    """Gain in accuracy and its 95 % interval, in points, over mentions and over seeds.

    The variance is the sum of two: of the mean over seeds, from mention to mention, and of the
    mean over mentions, from seed to seed, the latter with Student's t of (seeds - 1). With one
    seed on both sides the interval is over mentions alone.

    Args:
        before, after: (seeds, mentions) boolean of the same mentions; one row stands for a
            setting in which nothing is drawn.
    """
    moves = 100 * (after.astype(float) - before)
    mean, (seeds, mentions) = float(moves.mean()), moves.shape
    wide = 1.96**2 * moves.mean(0).var(ddof=1) / mentions
    if seeds > 1:
        wide += student.ppf(0.975, seeds - 1)**2 * moves.mean(1).var(ddof=1) / seeds
    return mean, mean - wide**0.5, mean + wide**0.5
