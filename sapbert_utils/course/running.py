"""Run the notebooks of the course through papermill, and tell their outcome."""

import csv
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from ..files import whole_file, write_json
from .freshness import fingerprint, why_run
from .notebooks import Notebook
from .profiles import REPOSITORY, Profile

TRACEBACK_LINES = 8
FOLDERS = ("SAPBERT_BENCHMARKS", "SAPBERT_CACHE")


class Failed(Exception):
    """A notebook stopped; the message names the cell, the error and the executed notebook."""


def run_all(notebooks: list[Notebook], parameters: list[dict[str, object]], profile: Profile, force: bool,
            say: Callable[[str], object]) -> None:
    """Run in order what is not up to date, or everything with ``force``; stop at the first failure.

    ``say`` receives the progress, one line a notebook, in parts. Raises :class:`Failed`.
    """
    hashes: dict[Path, str] = {}
    for notebook, values in zip(notebooks, parameters, strict=True):
        say(f"{notebook.label} … ")
        reason = "forced" if force else why_run(notebook, values, profile, hashes)
        if reason:
            run_one(notebook, values, profile, say)
            hashes.clear()
        else:
            say("up to date\n")


def run_one(notebook: Notebook, parameters: dict[str, object], profile: Profile, say: Callable[[str], object]) -> None:
    """Run one notebook; on success its executed copy, results and stamp replace the last ones. Raises :class:`Failed`.

    A notebook that fails leaves ``<stem>.failed.ipynb`` beside the last good copy.
    """
    started = time.perf_counter()
    partial, failed = (profile.notebooks / f"{notebook.stem}.{kind}.ipynb" for kind in ("partial", "failed"))
    failed.unlink(missing_ok=True)
    before = fingerprint(notebook, parameters)
    last = _modified(notebook.results(profile))
    message = _execute(notebook, partial, {"profile": profile.name, **parameters}, profile)
    seconds = f"{time.perf_counter() - started:.0f} s\n"
    if not message and _modified(notebook.results(profile)) == last:
        message = f"{notebook.path.name} ended without writing its results: its last cell must call run.finish()"
    if message:
        if partial.exists():
            os.replace(partial, failed)
        say(f"failed after {seconds}")
        raise Failed(f"{message}\n  executed  {failed}")
    os.replace(partial, notebook.executed(profile))
    write_json(notebook.stamp(profile), before)
    say(seconds)


def run_grid(notebook: Notebook, parameters: list[dict[str, object]], profile: Profile,
             say: Callable[[str], object]) -> Path:
    """Run one notebook for each set of parameters, in run folders of their own below ``grid/<notebook>`` that start
    from what this one holds; returns ``table.csv`` there, parameters and metrics a row a run. Raises :class:`Failed`.
    """
    folder, rows = profile.folder / "grid" / notebook.stem, []
    for values in parameters:
        label = " ".join(f"{name}={value}" for name, value in values.items())
        one = replace(profile, folder=folder / label / profile.name)
        for kind in ("data", "models"):
            (one.folder / kind).mkdir(parents=True, exist_ok=True)
            for path in (profile.folder / kind).glob("*"):
                if not (link := one.folder / kind / path.name).exists():
                    link.symlink_to(path)
        one.notebooks.mkdir(exist_ok=True)
        say(f"{label} … ")
        run_one(notebook, values, one, say)
        (result,) = read_results([notebook], one)
        metrics = {m["name"]: m["value"] for m in result["metrics"]}
        rows.append(values | metrics | {"seconds": result["seconds"]})
    columns = list(dict.fromkeys(name for row in rows for name in row))
    with whole_file(folder / "table.csv") as partial, open(partial, "w", encoding="utf-8", newline="") as table:
        writer = csv.DictWriter(table, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return folder / "table.csv"


def run_solution(notebook: Notebook, profile: Profile, say: Callable[[str], object]) -> None:
    """Run one notebook of worked answers, which writes no results. Raises :class:`Failed`."""
    started = time.perf_counter()
    say(f"solutions/{notebook.label} … ")
    target = notebook.executed(profile)
    target.parent.mkdir(parents=True, exist_ok=True)
    if message := _execute(notebook, target, {"profile": profile.name}, profile):
        raise Failed(message)
    say(f"{time.perf_counter() - started:.0f} s\n")


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _execute(notebook: Notebook, target: Path, parameters: dict[str, object], profile: Profile) -> str:
    """Execute into ``target``; returns what went wrong, or nothing."""
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        with _kernel(profile), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # papermill's own
            papermill.execute_notebook(
                notebook.path, target, parameters, kernel_name="python3", language="python",
                cwd=notebook.path.parent, progress_bar=False,
            )
    except papermill.PapermillExecutionError as error:
        return _failure(notebook, target, error)
    except DeadKernelError:
        return (f"  notebook  {notebook.path}\n"
                "  error     the kernel stopped (interrupted, or out of memory: close other programs and run again)")
    return ""


def _failure(notebook: Notebook, executed: Path, error: Exception) -> str:
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    # papermill puts two cells before the failing one, and its own cell with the parameters
    tags = [cell["metadata"].get("tags", []) for cell in cells[: error.cell_index + 2]]
    place = sum(1 for t in tags if not {"papermill-error-cell-tag", "injected-parameters"} & set(t)) + 1
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback)).rstrip().splitlines()
    first = f"{error.ename}: {error.evalue}".splitlines()[0] if error.evalue else error.ename
    return "\n".join([
        f"  notebook  {notebook.path}", f"  cell      {place}, marked In [{error.exec_count}]", f"  error     {first}",
        *(f"    {line}" for line in trace[-TRACEBACK_LINES:]),
    ])


@contextmanager
def _kernel(profile: Profile) -> Iterator[None]:
    """Let ``python3`` be the kernel of this very interpreter, whatever else is registered under that name.

    Folders given relative to where the command was started stay valid in the notebook's folder.
    """
    from ipykernel.kernelspec import get_kernel_dict

    native = get_kernel_dict()
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "SAPBERT_RUNS": str(profile.folder.parent)}
    environment |= {name: os.path.abspath(os.environ[name]) for name in FOLDERS if os.environ.get(name)}
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as folder:
        write_json(Path(folder) / "kernels" / "python3" / "kernel.json", {
            **native, "argv": [sys.executable, *native["argv"][1:], "--log-level=CRITICAL"], "env": environment,
        })  # the level is that of the kernel's own messages, such as that it was shut down; not of the notebook's
        os.environ["JUPYTER_PATH"] = os.pathsep.join([folder, *([before] if before else [])])
        try:
            yield
        finally:
            os.environ.pop("JUPYTER_PATH") if before is None else os.environ.update(JUPYTER_PATH=before)


# --- the outcome, as text


def read_results(notebooks: list[Notebook], profile: Profile) -> list[dict]:
    """The results.json of those notebooks that have one."""
    paths = [n.results(profile) for n in notebooks]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def metrics_table(results: list[dict]) -> str:
    """Each metric, its value and the range to expect; below, the sum of the times and the largest memory."""
    rows = [("notebook", "metric", "value", "unit", "expected", "")]
    for result in results:
        for m in result["metrics"]:
            rows.append((result["notebook"], m["name"], f"{m['value']:g}", m["unit"], *_expected(m)))
    seconds, memory = sum(r["seconds"] for r in results), max((r["peak_memory_mb"] for r in results), default=0)
    last = f"{len(results)} notebooks, {seconds:.0f} s, at most {memory:.0f} MB of memory"
    return f"{_columns(rows, right=(2,))}\n\n{last}" if len(rows) > 1 else last


def _expected(metric: dict) -> tuple[str, str]:
    """The range as text, and ``ok``, ``outside`` or ``–`` when none is given."""
    if metric["expected"] is None or metric["expected"] == [None, None]:
        return "", "–"
    low, high = metric["expected"]
    mark = "ok" if (low is None or metric["value"] >= low) and (high is None or metric["value"] <= high) else "outside"
    if low is None or high is None:
        return (f"≤ {high:g}" if low is None else f"≥ {low:g}"), mark
    return f"{low:g} to {high:g}", mark


def _columns(rows: list[tuple[str, ...]], right: tuple[int, ...] = ()) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    cells = [[c.rjust(w) if i in right else c.ljust(w) for i, (c, w) in enumerate(zip(row, widths))] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def listing(notebooks: list[Notebook], profiles: list[Profile]) -> str:
    """For each notebook its title, its parameters, and its time on each profile that has run."""
    blocks = []
    for notebook in notebooks:
        rows = [(f"    {p.name}: {p.annotation} = {p.default}", p.help) for p in notebook.parameters.values()]
        times = [f"{p.name} {r['seconds']:.0f} s" for p in profiles for r in read_results([notebook], p)]
        lines = [f"{notebook.number}  {notebook.title}", *([_columns(rows)] if rows else [])]
        blocks.append("\n".join([*lines, f"    measured: {', '.join(times) or 'not run yet'}"]))
    return "\n\n".join(blocks)
