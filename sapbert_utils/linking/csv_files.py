"""Link a column of a CSV file of any length: every row comes back, with its candidates."""

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np

from ..data.tables import read_table, write_rows
from ..files import whole_file
from .abbreviations import expand
from .linker import ANSWER, Linker

ROWS = 20_000  # rows linked at a time
Answer = tuple[object, ...]  # rank, cui, name, score, accepted


def link_csv(linker: Linker, source: Path | str, target: Path | str, column: str, k: int = 5,
             threshold: float | None = None, only: np.ndarray | None = None, **form: str) -> int:
    """Link a column of a CSV file; return how many rows were read.

    Every row comes back once for each of its ``k`` candidates, with rank, cui, name, score and
    ``accepted`` (true for the first one, if it reaches the threshold). A row without a mention
    comes back once, with these columns empty. If the file already has a column of that name, the
    new one is called ``rank_found`` and so on. A target that ends in ``.jsonl`` gets one object per
    row instead, with the cells by column and the candidates as a list. ``target`` appears only when
    it is complete.

    Args:
        column: the column of mentions.
        threshold: a cosine, from -1 to 1; None: the linker's own.
        only: a boolean for each name of the terminology, as :meth:`Linker.link` takes it.
        form: ``encoding`` of the source (utf-8-sig; the target is UTF-8) and ``context``, its
            column with the text around the mention, if any: an abbreviation that it explains is
            linked by its long form (:func:`expand`).

    Raises:
        ValueError: on a setting that makes no sense, and, with file and line, on a row that
            cannot be read.
    """
    threshold = linker.threshold if threshold is None else threshold
    _check(k, threshold)
    if Path(target).is_dir():
        raise ValueError(f"{target} is a folder: name a file to write")
    as_objects, count = Path(target).suffix == ".jsonl", 0
    rows, header, mention_of = _open(source, column, **form)
    if as_objects and len(set(header)) < len(header):
        raise ValueError(f"{source} has several columns of one name, but an object has one value "
                         f"per name: rename them, or write a .csv")
    added = []  # names of the new columns, none of them taken
    for name in [*ANSWER[1:], "accepted", "candidates"]:
        while name in header:
            name += "_found"
        added.append(name)
    listed = added.pop()
    with whole_file(target) as partial, open(partial, "w", encoding="utf-8", newline="") as out:
        if not as_objects:
            write_rows(out, [header + added])
        while part := list(islice(rows, ROWS)):
            mentions = [mention_of(cells) for cells in part]
            answers = _answers(linker, mentions, k, threshold, only)
            if as_objects:
                for cells, mention in zip(part, mentions, strict=True):
                    found = [dict(zip(added, answer, strict=True))
                             for answer in answers.get(mention, [])]
                    row = dict(zip(header, cells, strict=True)) | {listed: found}
                    out.write(json.dumps(row, ensure_ascii=False) + "\n")
            else:
                empty: list[Answer] = [("",) * len(added)]
                for cells, mention in zip(part, mentions, strict=True):
                    of_row = answers.get(mention, empty)
                    write_rows(out, [[*cells, *answer] for answer in of_row])
            count += len(part)
        if not count:
            raise ValueError(f"{source} has no rows")
    return count


def check_csv(source: Path | str, column: str, k: int = 5, threshold: float | None = None,
              **form: str) -> None:
    """Raise what :func:`link_csv` would, without linking, so that faults show before the work."""
    _check(k, threshold or 0.0)
    rows, _, _ = _open(source, column, **form)
    if not sum(1 for _ in rows):
        raise ValueError(f"{source} has no rows")


def _check(k: int, threshold: float) -> None:
    """Raise ``ValueError`` on a k or a threshold that makes no sense."""
    if k < 1:
        raise ValueError(f"k is {k}: ask for at least one concept")
    if not -1 <= threshold <= 1:
        raise ValueError(f"the threshold is {threshold}: give a cosine, from -1 to 1")


def _open(source: Path | str, column: str, encoding: str = "utf-8-sig", context: str = "") -> (
        tuple[Iterator[list[str]], list[str], Callable[[list[str]], str]]):
    """Open a file of mentions: return its rows, its header and what finds a row's mention."""
    rows = read_table(source, [column] + [context] * bool(context), encoding=encoding)
    _, header = next(rows)
    at, around = header.index(column), header.index(context) if context else -1

    def mention_of(cells: list[str]) -> str:
        mention = cells[at].strip()
        return expand(mention, cells[around]).strip() if context else mention

    return (cells for _, cells in rows), header, mention_of


def _answers(linker: Linker, mentions: list[str], k: int, threshold: float,
             only: np.ndarray | None) -> dict[str, list[Answer]]:
    """Find the candidates of each distinct mention; a blank one has none."""
    answers: dict[str, list[Answer]] = defaultdict(list)
    found = linker.link(sorted(set(mentions)), k, only)  # the same mention is linked once
    for mention, rank, cui, name, score in found.itertuples(index=False, name=None):
        accepted = bool(rank == 1 and score >= threshold)  # before the score is rounded
        answers[mention].append((rank, cui, name, round(float(score), 4), accepted))
    return answers
