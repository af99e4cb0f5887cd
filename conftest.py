"""With ``--nbval-lax`` every notebook runs with the smoke profile, into a folder of its own that goes afterwards."""

import os
import shutil
import tempfile

FOLDER = None


def pytest_configure(config):
    global FOLDER
    if config.getoption("nbval_lax", False) or config.getoption("nbval", False):
        FOLDER = tempfile.mkdtemp(prefix="sapbert-runs-")
        os.environ.update(SAPBERT_PROFILE="smoke", SAPBERT_RUNS=FOLDER)
        os.environ.pop("SAPBERT_BENCHMARKS", None)


def pytest_unconfigure(config):
    if FOLDER:
        shutil.rmtree(FOLDER, ignore_errors=True)
