"""The GPU benchmark runs, in small, on whatever machine the tests run on."""

import json
import subprocess
import sys

import pandas as pd

from sapbert_utils.course.profiles import REPOSITORY


def test_the_gpu_benchmark_measures_every_way_in_small(tmp_path):
    done = subprocess.run([sys.executable, str(REPOSITORY / "benchmarks" / "bench_gpu.py"), "--small", "--output",
                           str(tmp_path / "gpu.json"), "--table", str(tmp_path / "steps.csv")],
                          capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found, table = json.loads((tmp_path / "gpu.json").read_text()), pd.read_csv(tmp_path / "steps.csv")
    ways = {(n, way) for n in (16, 64) for way in ("original", "ours")}
    assert {(row["pairs"], row["way"]) for row in found["steps"]} == ways
    assert all(row["ms"] > 0 and 0 < row["of peak"] < 1 for row in found["steps"])
    assert found["encoding"][0]["largest difference to the original"] < 0.1
    assert all(row["seconds"] > 0 for row in found["search"]) and found["card"]
    recorded = pd.read_csv(REPOSITORY / "notebooks" / "03_gpu.csv")
    assert list(recorded) == list(table), "notebook 03 shows another table than the benchmark writes"
