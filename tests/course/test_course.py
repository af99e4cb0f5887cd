"""The runner: order, skipping, parameters, refusals, failures."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sapbert_utils.course import freshness
from sapbert_utils.course.notebooks import convert, read_notebook, read_parameters
from sapbert_utils.course.profiles import REPOSITORY


def test_runs_in_order_skips_and_ends_with_the_table(course):
    code, out, err = course.call("reproduce")
    assert code == 0 and err == ""
    assert [line.split(" … ")[0] for line in out.splitlines() if " … " in line] == ["00 names", "01 pairs", "02 alone"]
    table = [line.split() for line in out.splitlines() if line.startswith("0") and " … " not in line]
    assert table == [["00_names", "names", "2", "1", "to", "3", "ok"],
                     ["01_pairs", "length", "2", "characters", "≥", "5", "outside"]]
    assert out.splitlines()[-1].startswith("3 notebooks, ")
    assert (course.runs / "demo/metrics.txt").read_text(encoding="utf-8") == out.partition("\n\n")[2]
    assert course.result("01_pairs")["inputs"].keys() == {"data/names.txt"}
    assert (course.runs / "demo/notebooks/01_pairs.ipynb").exists()
    assert course.lines() == ["up to date"] * 3
    assert course.lines("--force") == ["ran"] * 3


def test_reruns_what_changed_and_what_depends_on_it(course, tmp_path, monkeypatch):
    assert course.lines() == ["ran"] * 3
    course.write("02_alone", 'print("changed")')
    assert course.lines() == ["up to date", "up to date", "ran"]
    (course.runs / "demo/data/names.txt").write_text("by hand")
    assert course.lines() == ["ran", "up to date", "up to date"]  # 00 restores what 01 had read
    assert course.lines("-p", "seed=123") == ["ran", "ran", "ran"]
    assert course.result("00_names")["seed"] == 123 and course.result("01_pairs")["metrics"][0]["value"] == 3
    monkeypatch.setattr(freshness, "sha256", lambda path, old=freshness.sha256: (
        "changed" if path.name == "profiles.py" else old(path)))
    assert course.lines("-p", "seed=123") == ["ran", "ran", "ran"]
    (course.runs / "demo/notebooks/02_alone.ipynb").unlink()
    assert course.lines("-p", "seed=123") == ["up to date", "up to date", "ran"]


def test_a_changed_input_reruns_its_reader(course):
    course.lines()
    course.write("00_names", 'path = profile.data / "names.txt"\npath.write_text("other")\nrun.output(path);')
    assert course.lines() == ["ran", "ran", "up to date"]


def test_runs_one_with_parameters_of_the_declared_type(course):
    course.call("run", "00")
    code, out, _ = course.call("run", "1", "-p", "rate=1e-4", "-p", "mean=true", "-p", "seed=7", "--profile", "demo")
    assert code == 0 and "01 pairs … " in out and "length" in out
    cells = json.loads((course.runs / "demo/notebooks/01_pairs.ipynb").read_text())["cells"]
    injected = ["".join(c["source"]) for c in cells if "injected-parameters" in c["metadata"].get("tags", [])]
    assert "rate = 0.0001" in injected[0] and "mean = True" in injected[0] and 'profile = "demo"' in injected[0]


def test_a_folder_of_a_model_is_found_from_the_notebooks_folder_and_another_name_stays(course, tmp_path, monkeypatch):
    notebook = read_notebook(course.write("02_alone", parameters='base_model: str = ""  # a model'))
    (tmp_path / "pubmedbert").mkdir()
    monkeypatch.chdir(tmp_path)
    assert convert(notebook, {"base_model": "pubmedbert"}) == {"base_model": str(tmp_path / "pubmedbert")}
    for name in ("hub/pubmedbert", ""):
        assert convert(notebook, {"base_model": name}) == {"base_model": name}


@pytest.mark.parametrize("arguments, words", [
    (["run", "01", "-p", "speed=1"], ["no parameter 'speed'", "seed, rate, mean"]),
    (["reproduce", "-p", "speed=1"], ["'speed'", "seed, rate, mean"]),
    (["run", "01", "-p", "seed=abc"], ["seed", "int", "'abc'"]),
    (["reproduce", "-p", "mean=7"], ["mean", "bool", "'7'"]),
    (["run", "01", "-p", "seed"], ["name=value"]),
    (["run", "01", "-p", "profile=smoke"], ["--profile"]),
    (["run", "09"], ["'09'", "00_names, 01_pairs, 02_alone"]),
    (["reproduce", "--profile", "huge"], ["'huge'", "smoke, demo, full, paper"]),
])
def test_refuses_before_anything_runs(course, arguments, words):
    code, out, err = course.call(*arguments)
    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert all(word in err for word in words), err
    assert not course.runs.exists()


def test_a_grid_runs_each_combination_apart_and_tabulates(course):
    course.lines()
    last = course.result("01_pairs")
    code, out, err = course.call("run", "01", "--grid", "rate=0.1,0.2", "--grid", "mean=true,false", "-p", "seed=7")
    assert code == 0 and err == "" and out.count(" … ") == 4
    folder = course.runs / "demo/grid/01_pairs"
    rows = [line.split(",") for line in (folder / "table.csv").read_text().splitlines()]
    assert rows[0] == ["seed", "rate", "mean", "length", "seconds"]
    assert [row[:4] for row in rows[1:]] == [["7", r, m, "2.0"] for r in ("0.1", "0.2") for m in ("True", "False")]
    assert (folder / "seed=7 rate=0.1 mean=False/demo/notebooks/01_pairs.ipynb").exists()
    assert course.result("01_pairs") == last and course.lines() == ["up to date"] * 3
    code, _, err = course.call("run", "01", "--grid", "rate=0.1,fast")
    assert code == 2 and "rate of notebook 01_pairs is of type float, not 'fast'" in err


def test_refuses_a_run_folder_that_cannot_be_written(course, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path / "file" / "runs"))
    code, out, err = course.call("reproduce")
    assert code == 2 and out == "" and len(err.splitlines()) == 1
    assert "cannot be written" in err and "SAPBERT_RUNS" in err


def test_stops_at_the_failing_cell_and_keeps_the_last_good_copy(course):
    course.lines()
    good = (course.runs / "demo/notebooks/01_pairs.ipynb").read_text()
    course.write("01_pairs", "def broken():\n    raise ValueError('no such pair')", "broken()")
    code, out, err = course.call("reproduce")
    assert code == 1 and "01 pairs … failed after" in out and "02 alone" not in out
    failed = course.runs / "demo/notebooks/01_pairs.failed.ipynb"
    assert "cell      5, marked In [5]" in err and "ValueError: no such pair" in err and str(failed) in err
    assert len(err.splitlines()) < 20 and "\x1b" not in err
    assert failed.exists() and (course.runs / "demo/notebooks/01_pairs.ipynb").read_text() == good
    course.write("01_pairs", "pass")
    assert course.lines() == ["up to date", "ran", "up to date"] and not failed.exists()


def test_a_notebook_that_writes_no_results_fails(course):
    course.write("02_alone", "run.finish = lambda: None")
    code, _, err = course.call("reproduce")
    assert code == 1 and "run.finish()" in err


def test_a_killed_kernel_is_a_failure(course):
    course.write("02_alone", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)")
    code, out, err = course.call("reproduce")
    assert code == 1 and "02 alone … failed" in out and "memory" in err


def test_an_interrupted_run_keeps_what_had_finished(course):
    course.write("01_pairs", "import time\ntime.sleep(60)")
    command = [sys.executable, "-m", "sapbert_utils", "reproduce", "--notebooks", str(course.notebooks)]
    environment = {**os.environ, "SAPBERT_RUNS": str(course.runs)}
    # A background job inherits an ignored SIGINT: the run under test has to listen to it, as at a terminal.
    process = subprocess.Popen(command, cwd=REPOSITORY, env=environment, stderr=subprocess.PIPE, text=True,
                               stdout=subprocess.PIPE, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    deadline = time.monotonic() + 60
    while not (course.runs / "demo/notebooks/01_pairs.partial.ipynb").exists() and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode in (1, 130) and "running.py" not in err  # the kernel may complain, the runner not
    course.write("01_pairs", "pass")
    assert course.lines() == ["up to date", "ran", "ran"]


def test_the_kernel_is_this_interpreter_in_the_notebooks_folder(course, tmp_path, monkeypatch):
    other = tmp_path / "jupyter" / "kernels" / "python3"
    other.mkdir(parents=True)
    (other / "kernel.json").write_text('{"argv": ["false"], "display_name": "other", "language": "python"}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    course.write("02_alone", f"import sys, os\nassert sys.executable == {sys.executable!r}, sys.executable",
                 f"assert os.getcwd() == {str(course.notebooks)!r}")
    assert course.call("run", "02")[0] == 0
    assert os.environ["JUPYTER_PATH"] == str(tmp_path / "jupyter")


def test_lists_notebooks_parameters_and_times(course):
    course.call("run", "00", "--profile", "smoke")
    code, out, _ = course.call("list")
    assert code == 0 and "01  Do pairs" in out and "measured: smoke " in out and "not run yet" in out
    assert "rate: float = 0.5" in out and "of learning" in out


def test_parameters_are_read_with_their_comments():
    parameters = read_parameters('a: int | None = None  # at most; = all\nb: str = "x # y"  # über\nc = 1')
    assert [(p.name, p.annotation, p.default, p.help) for p in parameters.values()] == [
        ("a", "int | None", "None", "at most; = all"), ("b", "str", "'x # y'", "über")]


@pytest.mark.parametrize("source, files", {
    "%time\nfrom sapbert_utils.a import x": "a data/c data/words.txt data/pairs",
    "from sapbert_utils.data import read": "data/pairs data/c data/words.txt",  # passed on by the wing
    "from sapbert_utils.data import own": "data/__init__ data/pairs data/c data/words.txt",  # its __init__ defines it
    "from sapbert_utils.data import c": "data/c data/words.txt",
    "import sapbert_utils.data.c as c": "data/c data/words.txt",
    "import sapbert_utils.data as d": "data/__init__ data/pairs data/c data/words.txt",
    "from sapbert_utils import Anything": "__init__ a data/__init__ data/pairs data/c data/words.txt course/__init__ "
                                          "course/plots",
    "from sapbert_utils.course import plots": "course/plots",
    "import torch": "",
}.items())
def test_follows_imports_to_single_files(source, files, tmp_path, monkeypatch):
    package = tmp_path / "sapbert_utils"
    texts = {"__init__": "", "a": "from .data.pairs import read", "data/__init__": "from .pairs import read\nown = 1",
             "data/pairs": "from .c import z", "data/c": "open('words.txt')", "course/__init__": "",
             "course/plots": "import torch", "course/running": "from ..data import read"}
    for name, text in texts.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / f"{name}.py").write_text(text)
    (package / "data" / "words.txt").write_text("one")
    (package / "data" / "other.txt").write_text("two")
    monkeypatch.setattr(freshness, "PACKAGE", package)
    found = {path.relative_to(package).as_posix().removesuffix(".py") for path in freshness.used_files([source])}
    assert found == set(files.split())


def test_sees_the_page_of_the_map_and_the_versions_of_packages(course, monkeypatch):
    used = freshness.used_files(["from sapbert_utils.course.plots import maps"])
    assert [path.name for path in used] == ["plots.py", "webmap.html"]
    assert course.lines() == ["ran"] * 3
    monkeypatch.setattr(freshness.metadata, "version", lambda name: "another")
    assert course.lines() == ["ran"] * 3


def test_benchmarks_folder_counts_where_it_is_read(course, tmp_path, monkeypatch):
    reads = {True: [freshness.PACKAGE / "evaluation" / "corpora.py"], False: []}
    monkeypatch.setattr(freshness, "used_files", lambda sources: reads["alone" in str(sources)])
    course.lines()
    (tmp_path / "gold").mkdir()
    monkeypatch.setenv("SAPBERT_BENCHMARKS", str(tmp_path / "gold"))
    assert course.lines() == ["up to date", "up to date", "ran"]
    (tmp_path / "gold" / "test.txt").write_text("x")
    assert course.lines() == ["up to date", "up to date", "ran"]
    assert course.lines() == ["up to date"] * 3
