"""Files and folders appear whole, and what a killed process left goes with the next writer."""

import os
import signal
import subprocess
import sys

import pytest

from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.files import whole_folder

WRITE = """
import sys, time
from sapbert_utils.files import whole_folder
with whole_folder(sys.argv[1], taken="replace") as new:
    (new / "weights").write_text("half")
    print("writing", flush=True)
    time.sleep(60)
"""


def write(folder, text="whole"):
    with whole_folder(folder, taken="replace") as new:
        (new / "weights").write_text(text)


@pytest.fixture
def ended():
    """The number of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_killed_process_leaves_nothing_that_the_next_one_does_not_take_away(tmp_path):
    write(tmp_path / "model", "before")
    process = subprocess.Popen(
        [sys.executable, "-c", WRITE, str(tmp_path / "model")],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "writing\n"
    write(tmp_path / "model", "beside")  # the other process runs, so its folder is left alone
    assert len(list(tmp_path.glob("partial-*"))) == 1
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (tmp_path / "model" / "weights").read_text() == "beside"
    write(tmp_path / "other")  # of another folder's remains it knows nothing
    assert len(list(tmp_path.glob("partial-*"))) == 1
    write(tmp_path / "model")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model", "other"]


def test_a_process_killed_between_taking_the_old_one_away_and_putting_the_new_one_loses_nothing(
    tmp_path, ended
):
    left = tmp_path / f"partial-{ended}-abcd_123"
    for name in ("model", "old"):
        (left / name).mkdir(parents=True)
        (left / name / "weights").write_text(name)
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "model", taken="replace"):
        raise RuntimeError("this one fails, too")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_what_we_did_not_write_stays(tmp_path, ended):
    for mine in (
        f"partial-{ended}-abcdefgh/notes",
        f"partial-{ended}-results/model",
        "partial-x-abcdefgh/model",
        f"partial-{os.getpid()}-abcdefgh/model",
    ):
        (tmp_path / mine).mkdir(parents=True)
    (tmp_path / f"partial-{ended}-abcdefgh" / "model").mkdir()
    (tmp_path / f"partial-{ended}-12345678").write_text("a file")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    write(tmp_path / "model")
    after = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert [path for path in after if path.parts[0] != "model"] == before
