"""Long use takes no more memory than short use, and the number of threads changes no result.

``STRESS=1``: two thousand steps, ten million rows, the smoke chain; else a short form of each.
"""

import json
import os
import subprocess
import sys

import pytest

from sapbert_utils.course.profiles import REPOSITORY

STRESS = bool(os.environ.get("STRESS"))
STEPS, ROWS = (2000, 10_000_000) if STRESS else (120, 100_000)
ROOM = 60  # megabytes that an allocator may keep for itself
START = """
import json, sys
from pathlib import Path
import pandas as pd, psutil
from sapbert_utils.linking import Linker, link_csv
from sapbert_utils.model import encode, get_recipe, load_encoder, train
def megabytes():
    return psutil.Process().memory_info().rss / 1e6
def made_up(count):
    return pd.DataFrame({"cui": [f"C{i:07}" for i in range(count)],
                         "name1": [f"disease {i} of the heart" for i in range(count)],
                         "name2": [f"heart disorder {i}" for i in range(count)]})
"""


def in_a_process(code: str, threads: int = 2) -> list:
    """What Python code prints as JSON in a process of its own."""
    environment = {"OMP_NUM_THREADS": str(threads), "TQDM_DISABLE": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run([sys.executable, "-c", START + code], cwd=REPOSITORY,
                          env=os.environ | environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_steps_take_no_more_memory_the_longer_they_go_on(tmp_path):
    seen = in_a_process(f"""
seen, recipe = [], get_recipe("sapbert", batch_size=8, precision="fp32")
def look(encoder):
    seen.append(megabytes())
    return len(seen)
train(load_encoder("minilm", num_layers=1), made_up(400), recipe, steps={STEPS}, validate=look,
      validate_every={STEPS} // 10, folder=Path({str(tmp_path / "run")!r}))
print(json.dumps(seen))""")
    assert len(seen) == 10 and max(seen[5:]) - seen[1] < ROOM, seen


def test_rows_of_a_file_take_no_more_memory_the_more_they_are(tmp_path):
    for name, rows in (("short", 10_000), ("long", ROWS)):
        with open(tmp_path / f"{name}.csv", "w") as out:
            out.write("mention,text\n")
            out.writelines(f"gout {i % 97},a line of the letter\n" for i in range(rows))
    short, after, count = in_a_process(f"""
names = pd.DataFrame({{"cui": ["C1", "C2"], "name": ["gout", "flu"]}})
linker = Linker.from_terminology(load_encoder("minilm", num_layers=1), names)
folder = Path({str(tmp_path)!r})
link_csv(linker, folder / "short.csv", folder / "short.out.csv", "mention", k=1)
short = megabytes()
count = link_csv(linker, folder / "long.csv", folder / "long.out.csv", "mention", k=1)
print(json.dumps([short, megabytes(), count]))""")
    assert count == ROWS and after - short < ROOM, (short, after)


def test_the_number_of_threads_moves_no_vector_and_no_loss_beyond_rounding():
    code = """
encoder, recipe = load_encoder("minilm", num_layers=2), get_recipe("sapbert", batch_size=32,
                                                                   precision="fp32")
losses = [record["loss"] for record in train(encoder, made_up(64), recipe, steps=4)]
print(json.dumps([losses, encode(encoder, ["gout", "flu"], precision="fp32").ravel().tolist()]))"""
    one, two = in_a_process(code, 1), in_a_process(code, 2)
    assert one == in_a_process(code, 1) and two == in_a_process(code, 2)
    for some, others in zip(one, two):
        assert some == pytest.approx(others, rel=1e-4, abs=1e-4)


@pytest.mark.skipif(not STRESS, reason="part of the long form: make stress")
def test_the_smoke_chain_gives_the_same_metrics_with_one_thread_and_two(tmp_path):
    tables = []
    for threads in (1, 2):
        runs = tmp_path / str(threads)
        environment = {k: v for k, v in os.environ.items() if k != "SAPBERT_BENCHMARKS"}
        environment |= {"SAPBERT_RUNS": str(runs), "OMP_NUM_THREADS": str(threads)}
        command = [sys.executable, "-m", "sapbert_utils", "reproduce", "--profile", "smoke"]
        subprocess.run(command, cwd=REPOSITORY, env=environment, check=True)
        metrics = [(path.stem, m["name"], m["value"])
                   for path in sorted(runs.glob("smoke/results/*.json"))
                   for m in json.loads(path.read_text(encoding="utf-8"))["metrics"]
                   if m["unit"] not in ("s", "MB", "1/s") and "second" not in m["name"]]
        tables.append(metrics)
    assert len(tables[0]) > 50
    assert [row[:2] for row in tables[0]] == [row[:2] for row in tables[1]]
    assert [row[2] for row in tables[0]] == pytest.approx([row[2] for row in tables[1]], abs=0.2)
