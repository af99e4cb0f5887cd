"""Files and folders appear whole, and what a killed process left goes with the next writer."""

import os
import signal
import subprocess
import sys

import pytest

from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.files import MACHINE, whole_file, whole_folder

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
    left = tmp_path / f"partial-{ended}.{MACHINE}-abcd_123"
    for name in ("model", "old"):
        (left / name).mkdir(parents=True)
        (left / name / "weights").write_text(name)
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "model", taken="replace"):
        raise RuntimeError("this one fails, too")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (tmp_path / "model" / "weights").read_text() == "old"


def test_a_folder_that_was_moved_away_is_put_back_before_it_is_asked_for(tmp_path, ended):
    (tmp_path / f"partial-{ended}.{MACHINE}-abcdefgh" / "old").mkdir(parents=True)
    with pytest.raises(FileExistsError), whole_folder(tmp_path / "model"):
        pytest.fail("it is there")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_what_we_did_not_write_stays_and_what_another_machine_may_be_writing(tmp_path, ended):
    left = f"partial-{ended}.{MACHINE}-abcdefgh"
    for mine in (
        f"{left}/notes",
        f"{left}/model",
        f"partial-{ended}-results/model",
        "partial-x-abcdefgh/model",
        f"partial-{os.getpid()}.{MACHINE}-abcdefgh/model",
        f"partial-{ended}.00000000-abcdefgh/model",
    ):
        (tmp_path / mine).mkdir(parents=True)
    for mine in (f"{left[:-1]}9", "partial-mine-table.txt", f"partial-{ended}.00000000-table.txt"):
        (tmp_path / mine).write_text("a file")
    before = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    write(tmp_path / "model")
    with whole_file(tmp_path / "table.txt") as partial:
        partial.write_text("whole")
    after = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*"))
    assert [path for path in after if path.parts[0] not in ("model", "table.txt")] == before


def test_a_file_that_a_killed_process_left_goes_with_the_next_one(tmp_path, ended):
    (tmp_path / f"partial-{ended}.{MACHINE}-table.txt").write_text("half")
    with whole_file(tmp_path / "table.txt") as partial:
        partial.write_text("whole")
    assert [path.name for path in tmp_path.iterdir()] == ["table.txt"]
