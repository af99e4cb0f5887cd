"""The committed table: its rows, which mentions each gets right, and how sure a difference is."""

import base64
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from ..course.profiles import REPOSITORY
from ..data.splits import stable_hash
from ..evaluation import Benchmark, accuracy_at_k
from ..files import whole_file

TABLE = REPOSITORY / "notebooks" / "08_claims.csv"
AT = (1, 5)  # the k of acc@k


def append(table: Path, found: dict[str, np.ndarray], about: dict[str, Any]) -> None:
    """Add the rows of one run to the table, and which mentions were right to the file beside it.

    Only one process at a time may call it.
    """
    for label, ranks in found.items():
        packed = {f"right at {k}": _packed(np.packbits((ranks > 0) & (ranks <= k))) for k in AT}
        _add_line(table, {"setting": about["setting"], "seed": about["seed"], "benchmark": label}
                  | packed)
    new = pd.DataFrame([{"setting": about["setting"], "seed": about["seed"], "benchmark": label,
                         "mentions": len(ranks), "acc@1": round(accuracy_at_k(ranks, 1), 2),
                         "acc@5": round(accuracy_at_k(ranks, 5), 2)} | about
                        for label, ranks in found.items()])
    before = read_rows(table)  # without a row, its columns have no type
    with whole_file(table) as partial:
        (pd.concat([before, new]) if len(before) else new).to_csv(partial, index=False)


def note_mentions(table: Path, benchmarks: dict[str, Benchmark]) -> None:
    """Record which mentions of a test set ask for the same thing: their answers go together.

    Mentions belong together when their gold is the same; in ICD-10, also across languages, when its
    three-character block is. Raises ``ValueError`` when a test set isn't the one of earlier rows.
    """
    known = read_groups(table)
    for label, benchmark in benchmarks.items():
        keys = [gold[:3] if label.startswith("ICD-10") else gold for gold in benchmark.gold]
        groups = np.array([stable_hash(key) >> 32 for key in keys], dtype=np.uint32)
        if label not in known:
            _add_line(table, {"benchmark": label, "groups": _packed(groups)})
        elif not np.array_equal(known[label], groups):
            raise ValueError(f"the test set {label!r} isn't the one of the rows in {table}: its "
                             f"mentions have changed. Move {table.name} and "
                             f"{hits_file(table).name} away to begin a new table")


def read_rows(table: Path = TABLE) -> pd.DataFrame:
    """Read the rows so far; there are none without the file."""
    if not table.exists():
        return pd.DataFrame(columns=["setting", "seed", "benchmark"])
    return pd.read_csv(table, keep_default_na=False)


def hits_file(table: Path) -> Path:
    """The file beside a table that says which mentions each row gets right."""
    return table.with_name(f"{table.stem}_right.jsonl")


def read_hits(table: Path = TABLE, k: int = 1) -> dict[tuple[str, str], dict[int, np.ndarray]]:
    """(mentions,) boolean by setting and benchmark, then by seed: one of the k first is right.

    Args:
        k: 1 or 5.
    """
    sizes = {(row["setting"], row["seed"], row["benchmark"]): row["mentions"]
             for row in read_rows(table).to_dict("records")}
    found: dict[tuple[str, str], dict[int, np.ndarray]] = defaultdict(dict)
    for row in _lines(table):
        size = sizes.get((row.get("setting"), row.get("seed"), row["benchmark"]))
        if size is not None:  # else the run was stopped between the two files
            bits = np.unpackbits(_unpacked(row[f"right at {k}"], np.uint8))
            found[row["setting"], row["benchmark"]][row["seed"]] = bits[:size].astype(bool)
    return dict(found)


def read_groups(table: Path = TABLE) -> dict[str, np.ndarray]:
    """(mentions,) numbers by benchmark; mentions with the same number ask for the same."""
    return {row["benchmark"]: _unpacked(row["groups"], np.uint32)
            for row in _lines(table) if "groups" in row}


def difference(*parts: tuple[np.ndarray, np.ndarray], level: float = 0.95) -> tuple[
        float, float, float]:
    """Return a gain, or the sum of several parts' gains, and its interval over mentions and seeds.

    Two variances are added: that of the means over seeds, between groups of mentions (answers to
    mentions of one concept go together), and that of the means over mentions, between seeds. Each
    has the quantile of Student's t for its number. With one seed, the second is left out.

    Args:
        parts: (seeds, mentions) moves in points, as 100 × (after - before), and the (mentions,)
            group of each mention. All parts are of the same seeds; the mentions of different parts
            count as independent.
        level: of the interval.

    Raises:
        ValueError: the parts have different numbers of seeds, or one has a single group.
    """
    if len({len(moves) for moves, _ in parts}) != 1:
        raise ValueError("all parts need the same seeds: " + ", ".join(
            str(len(moves)) for moves, _ in parts))
    per_seed = np.sum([moves.mean(1) for moves, _ in parts], axis=0)
    mean, seeds, wide = float(per_seed.mean()), len(per_seed), 0.0
    for moves, groups in parts:
        over_seeds = moves.mean(0)
        _, number = np.unique(groups, return_inverse=True)
        sums = np.bincount(number, over_seeds - over_seeds.mean())
        if len(sums) < 2:
            raise ValueError("one group of mentions alone gives no interval")
        variance = (sums**2).sum() / len(over_seeds)**2 * len(sums) / (len(sums) - 1)
        wide += student.ppf((1 + level) / 2, len(sums) - 1)**2 * variance
    if seeds > 1:
        wide += student.ppf((1 + level) / 2, seeds - 1)**2 * per_seed.var(ddof=1) / seeds
    return mean, mean - wide**0.5, mean + wide**0.5


def verdict(parts_of: Sequence[Sequence[tuple[np.ndarray, np.ndarray]]]) -> str:
    """Judge the claim that several gains all lie above zero.

    ``holds``: every 95 % interval lies above zero. Otherwise one of several may do so by luck, so
    the intervals are widened for their number (Bonferroni): ``holds in part`` if some lie above
    zero and none below, ``contradicted here`` if some lie below and none above, ``mixed`` if
    both, ``not seen here`` if all contain zero.
    """
    if all(difference(*parts)[1] > 0 for parts in parts_of):
        return "holds"
    bounds = [difference(*parts, level=1 - 0.05 / len(parts_of)) for parts in parts_of]
    above, below = (any(low > 0 for _, low, _ in bounds), any(high < 0 for *_, high in bounds))
    return {(True, False): "holds in part", (False, True): "contradicted here",
            (True, True): "mixed", (False, False): "not seen here"}[above, below]


def _lines(table: Path) -> list[dict[str, Any]]:
    path = hits_file(table)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


def _add_line(table: Path, row: dict[str, Any]) -> None:
    lines = [*_lines(table), row]
    with whole_file(hits_file(table)) as partial:
        partial.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")


def _packed(values: np.ndarray) -> str:
    return base64.b64encode(values.tobytes()).decode()


def _unpacked(text: str, dtype: type) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype)
