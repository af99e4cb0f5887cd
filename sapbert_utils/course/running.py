"""Run the notebooks of the course through papermill."""

import csv
import fcntl
import json
import logging
import os
import re
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from ..files import whole_file, write_json
from .freshness import fingerprint, why_run
from .notebooks import Notebook, Refused, Say, Values, read_results
from .playing import HEADLESS
from .profiles import REPOSITORY, Profile, named_folder

NOT_STARTED = ("Kernel didn't respond", "Kernel died before replying")  # as jupyter_client says it


class Failed(Exception):
    """A notebook stopped; the message names the cell, the error and the executed notebook."""


def run_all(notebooks: Sequence[Notebook], parameters: Sequence[Values], profile: Profile,
            force: bool, say: Say) -> None:
    """Run, in order, what isn't up to date, or all with ``force``; stop at the first failure."""
    hashes: dict[Path, str] = {}
    with _alone(profile.folder, say):
        for notebook, values in zip(notebooks, parameters, strict=True):
            say(f"{notebook.label} … ")
            if force or why_run(notebook, values, profile, hashes):
                _run_one(notebook, values, profile, say)
                hashes.clear()  # it has written files that the next ones read
            else:
                say("up to date\n")


def run_grid(notebook: Notebook, parameters: Sequence[Values], profile: Profile, say: Say) -> Path:
    """Run one notebook for each set of parameters, in run folders below ``grid/<notebook>``.

    Return ``table.csv`` there, with a row of parameters and metrics for each run.
    """
    folder = profile.folder / "grid" / notebook.stem
    target, rows = folder / "table.csv", []
    with _alone(folder, say):
        for values in parameters:
            label = " ".join(f"{name}={value}" for name, value in values.items())
            # one name: without slashes, and not too long for the disk
            below = folder / label.replace("%", "%25").replace("/", "%2F")[-200:]
            one = replace(profile, folder=below / profile.name)
            _link_inputs(notebook, profile, one)
            say(f"{label} … ")
            _run_one(notebook, values, one, say)
            (result,) = read_results([notebook], one)
            metrics = {m["name"]: m["value"] for m in result["metrics"]}
            rows.append(values | metrics | {"seconds": result["seconds"]})
            columns = list(dict.fromkeys(name for row in rows for name in row))
            # written after each run, because the next one may fail
            with whole_file(target) as partial:
                with open(partial, "w", encoding="utf-8", newline="") as table:
                    writer = csv.DictWriter(table, columns, lineterminator="\n")
                    writer.writeheader()
                    writer.writerows(rows)
    return target


def _link_inputs(notebook: Notebook, base: Profile, one: Profile) -> None:
    """Link each file that other notebooks wrote into ``base``, for the run ``one`` to read.

    Link no folders, and nothing that this notebook writes: it could then write into ``base``.
    """
    for path in [*one.data.rglob("*"), *one.models.rglob("*")]:
        if path.is_symlink():
            path.unlink()  # from the last grid
    outputs = {"data/vectors"}  # a cache whose files are named by their content
    for path in base.results.glob("*.json"):
        if path.stem != notebook.stem:
            outputs |= json.loads(path.read_text(encoding="utf-8"))["outputs"].keys()
    for name in [name for name in outputs if name.startswith(("data/", "models/"))]:
        for path in [base.folder / name, *(base.folder / name).rglob("*")]:
            link = one.folder / path.relative_to(base.folder)
            if path.is_file() and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(path)


@contextmanager
def _alone(folder: Path, say: Say) -> Iterator[None]:
    """Hold the lock of a run folder; while another command holds it, say so and wait."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = open(folder / ".lock", "w")
    except OSError as error:
        raise Refused(f"the run folder {folder} cannot be written ({error.strerror}); "
                      "set SAPBERT_RUNS to a folder of yours") from error
    with lock:  # the system releases it when the process ends, however it ends
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f"another command is running in {folder}: waiting for it to end\n")
            fcntl.flock(lock, fcntl.LOCK_EX)
        except OSError:
            say(f"the disk of {folder} can't lock files: run one command at a time\n")
        yield


def _run_one(notebook: Notebook, parameters: Values, profile: Profile, say: Say) -> None:
    """Run one notebook. If it fails, its last good copy stays, beside ``<stem>.failed.ipynb``."""
    started = time.perf_counter()
    partial = profile.notebooks / f"{notebook.stem}.partial.ipynb"
    failed = profile.notebooks / f"{notebook.stem}.failed.ipynb"
    profile.notebooks.mkdir(parents=True, exist_ok=True)
    failed.unlink(missing_ok=True)
    stamp = fingerprint(notebook, parameters)  # now: a change during the run makes it stale
    last = _modified(notebook.results(profile))
    try:
        _execute(notebook, partial, {"profile": profile.name, **parameters}, profile)
        if _modified(notebook.results(profile)) == last:
            raise Failed(f"{notebook.path} wrote no results: its last cell must call run.finish()")
    except Failed as error:
        if partial.exists():
            os.replace(partial, failed)
        say(f"failed after {time.perf_counter() - started:.0f} s\n")
        raise Failed(f"{error}\n  executed  {failed}") from None
    os.replace(partial, notebook.executed(profile))
    write_json(notebook.stamp(profile), stamp)
    say(f"{time.perf_counter() - started:.0f} s\n")


def run_solution(notebook: Notebook, profile: Profile, say: Say) -> None:
    """Run one notebook of worked answers, which writes no results."""
    started = time.perf_counter()
    say(f"solutions/{notebook.label} … ")
    notebook.executed(profile).parent.mkdir(parents=True, exist_ok=True)
    _execute(notebook, notebook.executed(profile), {"profile": profile.name}, profile)
    say(f"{time.perf_counter() - started:.0f} s\n")


def _modified(path: Path) -> int:
    return path.stat().st_mtime_ns if path.exists() else 0


def _execute(notebook: Notebook, target: Path, parameters: Values, profile: Profile) -> None:
    import papermill
    from nbclient.exceptions import DeadKernelError

    logging.getLogger("papermill").setLevel(logging.CRITICAL)
    try:
        with _kernel(profile), warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # papermill's own
            for last in (False, True):
                try:
                    papermill.execute_notebook(
                        notebook.path, target, parameters, kernel_name="python3",
                        language="python", cwd=notebook.path.parent, progress_bar=False)
                    return
                except RuntimeError as error:
                    if not str(error).startswith(NOT_STARTED):
                        raise
                    # no cell has run: another program took the port of the kernel
                    if last:
                        raise Failed(f"  notebook  {notebook.path}\n  error     no kernel started: "
                                     f"run again ({error})") from None
    except papermill.PapermillExecutionError as error:
        raise Failed(_failure(notebook, target, error)) from None
    except DeadKernelError:
        raise Failed(
            f"  notebook  {notebook.path}\n  error     the kernel stopped "
            "(interrupted, or out of memory: close other programs and run again)") from None


def _failure(notebook: Notebook, executed: Path, error: Any) -> str:
    """Tell a reader what papermill's error says: the cell, the error, the traceback's end."""
    cells = json.loads(executed.read_text(encoding="utf-8"))["cells"]
    # papermill puts two cells before the failing one, and its own cell with the parameters
    added = {"papermill-error-cell-tag", "injected-parameters"}
    before = [cell["metadata"].get("tags", []) for cell in cells[: error.cell_index + 2]]
    place = sum(added.isdisjoint(tags) for tags in before) + 1
    trace = re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(error.traceback))  # no colours
    first = f"{error.ename}: {error.evalue}".splitlines()[0] if error.evalue else error.ename
    last = "".join(f"\n    {line}" for line in trace.rstrip().splitlines()[-8:])
    return (f"  notebook  {notebook.path}\n  cell      {place}, marked In [{error.exec_count}]\n"
            f"  error     {first}{last}")


@contextmanager
def _kernel(profile: Profile) -> Iterator[None]:
    """Make ``python3`` a kernel of this interpreter that knows the folders of the run."""
    from ipykernel.kernelspec import get_kernel_dict

    native = get_kernel_dict()
    paths = [str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {"PYTHONPATH": os.pathsep.join(paths), "SAPBERT_RUNS": str(profile.folder.parent),
                   HEADLESS: "1"}
    for variable in ("SAPBERT_BENCHMARKS", "SAPBERT_CACHE"):
        folder = named_folder(variable)  # absolute, because the notebook runs in another folder
        environment |= {variable: str(folder)} if folder else {}
    # this silences the kernel's own messages, such as the one about its shutdown
    command = [sys.executable, *native["argv"][1:], "--log-level=CRITICAL"]
    before = os.environ.get("JUPYTER_PATH")
    with tempfile.TemporaryDirectory() as place:
        write_json(Path(place) / "kernels" / "python3" / "kernel.json",
                   {**native, "argv": command, "env": environment})
        # another kernel may have that name: the first folder wins
        os.environ["JUPYTER_PATH"] = os.pathsep.join(filter(None, [place, before]))
        try:
            yield
        finally:
            del os.environ["JUPYTER_PATH"]
            if before is not None:
                os.environ["JUPYTER_PATH"] = before
