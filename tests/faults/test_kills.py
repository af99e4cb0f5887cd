"""A run that is killed at random moments, and started again until it is done, ends as one that nobody disturbed.

In the ordinary tests a tiny course takes six kills; ``STRESS=1`` gives fifty to the smoke chain.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time

import psutil
import pytest

from sapbert_utils.course.notebooks import NOTEBOOKS
from sapbert_utils.course.profiles import REPOSITORY

STRESS = bool(os.environ.get("STRESS"))
KILLS, LONGEST = (50, 60.0) if STRESS else (6, 5.0)
SIGNALS = (signal.SIGKILL, signal.SIGINT, signal.SIGTERM)
NOT_COMPARED = ("seconds", "peak_memory_mb")


def started(notebooks, runs):
    """``reproduce`` in a process group of its own."""
    environment = {k: v for k, v in os.environ.items() if k != "SAPBERT_BENCHMARKS"}
    profile = "smoke" if STRESS else "demo"
    command = [sys.executable, "-m", "sapbert_utils", "reproduce", "--profile", profile, "--notebooks", str(notebooks)]
    # a background job inherits an ignored SIGINT: the run has to listen to it, as at a terminal
    return subprocess.Popen(command, cwd=REPOSITORY, env=environment | {"SAPBERT_RUNS": str(runs)},
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))


def outcome(runs):
    """A run's records, without what differs from run to run, and the names of its files."""
    records = {}
    for path in sorted(runs.glob("*/results/*.json")):
        record = json.loads(path.read_text(encoding="utf-8"))
        record["metrics"] = [m for m in record["metrics"]
                             if m["unit"] not in ("s", "MB", "GB") and "second" not in m["name"]]
        # data and models depend on the seed alone, but for the seconds in a training's history
        record["outputs"] = {name: digest for name, digest in record["outputs"].items()
                             if name.startswith(("data/", "models/")) and "history" not in name}
        record["inputs"] = sorted(record["inputs"])
        records[path.name] = {k: v for k, v in record.items() if k not in NOT_COMPARED}
    files = sorted(path.relative_to(runs).as_posix() for path in runs.rglob("*") if path.is_file())
    return records, files


def test_killed_at_random_moments_it_ends_as_undisturbed(course, tmp_path):
    notebooks = NOTEBOOKS if STRESS else course.notebooks
    undisturbed, disturbed = tmp_path / "undisturbed", tmp_path / "disturbed"
    whole = started(notebooks, undisturbed)
    assert whole.wait(3600) == 0, whole.stdout.read()
    draw, struck = random.Random(33), 0
    while struck < KILLS:
        run, how = started(notebooks, disturbed), draw.choice(SIGNALS)
        try:
            run.wait(draw.uniform(0.3, LONGEST))
            # it ended before it was struck: take back what it had done last, and go on
            assert run.returncode == 0, run.stdout.read()
            max(disturbed.glob("*/notebooks/*.stamp.json"), key=lambda path: path.stat().st_mtime).unlink()
        except subprocess.TimeoutExpired:
            (os.killpg if how == signal.SIGKILL and draw.random() < 0.5 else os.kill)(run.pid, how)
            run.wait(60)
            struck += 1
        finally:
            run.stdout.close()
    time.sleep(3)  # a kernel without its runner ends by itself
    last = started(notebooks, disturbed)
    assert last.wait(3600) == 0, last.stdout.read()
    assert outcome(disturbed) == outcome(undisturbed)
    left = [path.name for path in disturbed.rglob("*")]
    assert not [name for name in left if "partial" in name or name.endswith(".failed.ipynb")]


@pytest.mark.skipif(not STRESS, reason="part of the long form: make stress")
def test_two_hundred_runs_leave_no_kernel_and_no_file(course, tmp_path):
    for _ in range(200):
        assert course.call("run", "02")[0] == 0
    # a kernel ends within seconds of its notebook
    _, alive = psutil.wait_procs(psutil.Process().children(recursive=True), timeout=10)
    assert alive == []
    assert psutil.Process().num_fds() < 100
