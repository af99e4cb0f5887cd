"""Shared by the tests: a clean environment, and a tiny course of three notebooks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.course.profiles import REPOSITORY

PARAMETERS = '''profile: str = ""  # smoke, demo, full or paper
seed: int = 33  # of everything random'''
START = '''from sapbert_utils.course import results
from sapbert_utils.course.profiles import get_profile
from sapbert_utils.course.results import Run
results.machine = lambda: {{"python": "3", "cpu": "", "cores": 1, "gpu": None}}  # without importing torch
profile = get_profile(profile)
run = Run("{stem}", profile, seed)
profile.data.mkdir(parents=True, exist_ok=True)'''


# minutes each: at the end, one of them would run alone
LONGEST = ("test_smoke_chain.py", "test_paper_profile.py")


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.path.name not in LONGEST)


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch, tmp_path):
    """No variable of the caller reaches a test; runs go to the test's own folder."""
    for name in ("SAPBERT_PROFILE", "SAPBERT_BENCHMARKS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path / "runs"))


def write_notebook(path: Path, *cells: str, parameters: str = PARAMETERS) -> Path:
    """A notebook with a title, a parameters cell, the start of a run, the given cells, and its end."""
    make = nbformat.v4
    first = make.new_code_cell(parameters, metadata={"tags": ["parameters"]})
    code = [first, *map(make.new_code_cell, [START.format(stem=path.stem), *cells, "run.finish();"])]
    cells = [make.new_markdown_cell(f"# Do {path.stem[3:]}"), *code]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path.parent.mkdir(exist_ok=True)
    nbformat.write(make.new_notebook(cells=cells, metadata=metadata), path)
    return path


class TinyCourse:
    """Three notebooks: ``00_names`` writes a file, ``01_pairs`` reads it, ``02_alone`` stands alone."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture):
        self.notebooks, self.runs, self.figures = folder / "notebooks", folder / "runs", folder / "figures"
        self.capsys = capsys
        self.write("00_names", 'path = profile.data / "names.txt"\npath.write_text(f"{seed}")\nrun.output(path);',
                   'run.metric("names", 2, expected=(1, 3));', "print('two names')")
        self.write("01_pairs", 'text = run.input(profile.data / "names.txt", "00_names").read_text()',
                   'run.metric("length", len(text), expected=(5, None), unit="characters");',
                   parameters=f"{PARAMETERS}\nrate: float = 0.5  # of learning\nmean: bool = False  # pool all tokens")
        self.write("02_alone", 'print("alone")')

    def write(self, stem: str, *cells: str, parameters: str = PARAMETERS) -> Path:
        return write_notebook(self.notebooks / f"{stem}.ipynb", *cells, parameters=parameters)

    def call(self, command: str, *arguments: str) -> tuple[int, str, str]:
        """Exit code, stdout and stderr of one command."""
        try:
            code = main([command, "--notebooks", str(self.notebooks), *arguments])
        except SystemExit as stop:
            code = stop.code
        return code, *self.capsys.readouterr()

    def lines(self, *arguments: str) -> list[str]:
        """How each notebook fared in ``reproduce``: ``up to date``, ``ran`` or ``failed``."""
        out = self.call("reproduce", *arguments)[1]
        ends = [line.partition(" … ")[2] for line in out.splitlines() if " … " in line]
        return [end if end == "up to date" else end.split()[0] if "failed" in end else "ran" for end in ends]

    def result(self, stem: str, profile: str = "demo") -> dict:
        return json.loads((self.runs / profile / "results" / f"{stem}.json").read_text())


@pytest.fixture
def course(tmp_path, capsys):
    return TinyCourse(tmp_path, capsys)


@pytest.fixture
def launch():
    """Start ``count`` processes of a program by ``accelerate launch``, on the CPU; their output goes to a log."""
    def start(tmp_path, count, *arguments):
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(REPOSITORY), "ACCELERATE_USE_CPU": "true"}
        kind = "--cpu" if count == 1 else "--multi_gpu"  # --cpu starts one process, whatever is asked for
        options = ["-m", "accelerate.commands.launch", kind, "--num_processes", str(count), "--num_machines", "1",
                   "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
        with open(tmp_path / "log", "w") as log:
            return subprocess.Popen([sys.executable, *options, *arguments], env=environment, stdout=log, stderr=log)

    return start
