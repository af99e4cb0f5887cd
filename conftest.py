"""With ``--nbval-lax`` every notebook runs on smoke, into a folder that goes afterwards.

``SMOKE_RUNS`` names the folder of a finished smoke run: each notebook then starts from what that
run wrote, and several can run at once. Without it they must run in order, because each reads what
those before it wrote.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest

FOLDER = None


def pytest_configure(config):
    global FOLDER
    if config.getoption("nbval_lax", False) or config.getoption("nbval", False):
        FOLDER = tempfile.mkdtemp(prefix="sapbert-runs-")
        os.environ.update(SAPBERT_PROFILE="smoke", SAPBERT_RUNS=FOLDER)
        os.environ.pop("SAPBERT_BENCHMARKS", None)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    finished = os.environ.get("SMOKE_RUNS")
    # the folder's name, too, because worked answers have the names of the notebooks
    place = Path(FOLDER or "", item.path.parent.name, item.path.stem)
    if FOLDER and finished and not place.exists():  # the kernel starts after this
        # links cost no disk; what two notebooks write, the course replaces whole
        shutil.copytree(finished, place, copy_function=os.link)
        os.environ["SAPBERT_RUNS"] = str(place)


def pytest_unconfigure(config):
    if FOLDER:
        shutil.rmtree(FOLDER, ignore_errors=True)
