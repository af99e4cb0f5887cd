"""The runner: order, skipping, parameters, refusals, failures."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.course import freshness
from sapbert_utils.course.notebooks import Refused, convert, metrics_table, read_notebook, read_parameters
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
    assert convert([notebook], {"base_model": "pubmedbert"}) == [{"base_model": str(tmp_path / "pubmedbert")}]
    for name in ("hub/pubmedbert", "", "~nobody/pubmedbert"):
        assert convert([notebook], {"base_model": name}) == [{"base_model": name}]


@pytest.mark.parametrize("arguments, words", [
    (["run", "01", "-p", "speed=1"], ["no parameter 'speed'", "seed, rate, mean"]),
    (["reproduce", "-p", "speed=1"], ["'speed'", "seed, rate, mean"]),
    (["run", "01", "-p", "seed=abc"], ["seed", "int", "'abc'"]),
    (["reproduce", "-p", "mean=7"], ["mean", "bool", "'7'"]),
    (["run", "01", "-p", "seed"], ["name=value"]),
    (["run", "01", "-p", "profile=smoke"], ["--profile"]),
    (["run", "09"], ["'09'", "00_names, 01_pairs, 02_alone"]),
    (["reproduce", "--profile", "huge"], ["'huge'", "smoke, demo, full, paper"]),
    (["run", "01", "--grid", "rate"], ["rate", "name=value"]),
    (["run", "01", "--grid", "speed=1,2"], ["no parameter 'speed'", "seed, rate, mean"]),
    (["publish"], ["00_names is not up to date", "reproduce --profile demo"]),
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


def contents(folder):
    """The files of a run folder with their contents, but for its grids and its lock."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
    return {path: path.read_bytes() for path in files if path.relative_to(folder).parts[0] != "grid"}


def test_a_grid_writes_below_grid_alone(course):
    """As notebook 01 does: a recorded file and one that is not, both in place; and a file that 00 wrote is read."""
    course.write("01_pairs", "from pathlib import Path", 'names = run.input(profile.data / "names.txt", "00_names")',
                 '(profile.data / "folder").mkdir(exist_ok=True)\n'
                 'for name in ("pairs.txt", "own.txt", "folder/part.txt"):\n'
                 '    (profile.data / name).write_text(f"{seed} {names.read_text()}")\n'
                 'run.output(profile.data / "pairs.txt"), run.output(profile.data / "folder");')
    course.lines()
    before = contents(course.runs / "demo")
    assert course.call("run", "01", "--grid", "seed=7,8")[0] == 0
    assert contents(course.runs / "demo") == before
    for seed in (7, 8):
        one = course.runs / f"demo/grid/01_pairs/seed={seed}/demo"
        assert all((one / "data" / name).read_text() == f"{seed} 33" for name in ("pairs.txt", "own.txt"))
        record = json.loads((one / "results/01_pairs.json").read_text())
        assert record["inputs"].keys() == {"data/names.txt"} and (one / "data/names.txt").is_symlink()
    course.write("00_names", 'path, new = profile.data / "names.txt", profile.data / "new.txt"\npath.rename(new)',
                 "run.output(new);")
    course.call("run", "00")  # the file that the last grid read is gone: its link must not be in the way
    course.write("01_pairs", "links = [path.name for path in profile.data.iterdir() if path.is_symlink()]",
                 'assert links == ["new.txt"], links')
    code, _, err = course.call("run", "01", "--grid", "seed=7")
    assert code == 0, err


def test_a_grid_runs_where_the_notebook_replaces_its_own_folder(course):
    """As notebook 07 does: it removes the linker that it saved last, and saves another."""
    course.write("02_alone", 'import shutil\nplace = profile.models / "linker"',
                 "shutil.rmtree(place, ignore_errors=True)\nplace.mkdir(parents=True)",
                 '(place / "names.tsv").write_text(str(seed))\nrun.output(place);')
    course.lines()
    code, _, err = course.call("run", "02", "--grid", "seed=7")
    assert code == 0, err
    folder = course.runs / "demo"
    assert (folder / "models/linker/names.tsv").read_text() == "33"
    assert (folder / "grid/02_alone/seed=7/demo/models/linker/names.tsv").read_text() == "7"


def test_a_grid_that_fails_keeps_the_rows_of_the_runs_before(course):
    course.write("02_alone", 'assert seed != 9, "nine"', 'run.metric("twice", 2 * seed);')
    code, out, err = course.call("run", "02", "--grid", "seed=7,8,9,10")
    assert code == 1 and "nine" in err and "seed=9 … failed" in out and "seed=10" not in out
    rows = (course.runs / "demo/grid/02_alone/table.csv").read_text().splitlines()
    assert [row.rpartition(",")[0] for row in rows] == ["seed,twice", "7,14.0", "8,16.0"]


def test_no_value_leads_a_grid_out_of_its_folder(course):
    course.write("02_alone", "pass", parameters='profile: str = ""\nseed: int = 33\nmodel_name: str = ""')
    code, _, err = course.call("run", "02", "--grid", "model_name=../../out,hub/model")
    assert code == 0, err
    grid = course.runs / "demo/grid/02_alone"
    assert {path.name for path in grid.iterdir()} == {".lock", "table.csv", "model_name=..%2F..%2Fout",
                                                      "model_name=hub%2Fmodel"}


def start(course, *arguments):
    command = [sys.executable, "-m", "sapbert_utils", *arguments, "--notebooks", str(course.notebooks)]
    return subprocess.Popen(command, cwd=REPOSITORY, env={**os.environ, "SAPBERT_RUNS": str(course.runs)}, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_second_command_waits_for_the_first_and_a_killed_one_holds_nothing(course, tmp_path):
    seen = tmp_path / "seen"
    course.write("00_names", f"import os, time\nfirst = not os.path.exists({str(seen)!r})",
                 f"open({str(seen)!r}, 'w').close()\nif first: time.sleep(120)",
                 'path = profile.data / "names.txt"\npath.write_text("two")\nrun.output(path);')
    first = start(course, "run", "00")
    while not seen.exists() and first.poll() is None:
        time.sleep(0.1)
    second = start(course, "reproduce")
    said = second.stdout.readline()
    assert "another command is running in" in said and str(course.runs / "demo") in said, said + second.stderr.read()
    time.sleep(1)
    assert first.poll() is None and second.poll() is None
    first.kill()
    out, err = second.communicate(timeout=120)
    first.communicate()
    assert second.returncode == 0 and "00 names … " in out, err


def test_a_disk_without_locks_is_no_hindrance(course, monkeypatch):
    def refuse(file, how):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", refuse)
    code, out, _ = course.call("run", "02")
    assert code == 0 and "one command at a time" in out.splitlines()[0]


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


def test_the_kernel_gets_folders_from_home_as_absolute_paths(course, monkeypatch):
    monkeypatch.setenv("SAPBERT_BENCHMARKS", "~/no such folder")
    monkeypatch.setenv("SAPBERT_CACHE", "")
    folder = os.path.join(os.path.expanduser("~"), "no such folder")
    course.write("02_alone", f"import os\nassert os.environ['SAPBERT_BENCHMARKS'] == {folder!r}",
                 "assert not os.environ['SAPBERT_CACHE']")
    code, _, err = course.call("run", "02")
    assert code == 0, err


@pytest.mark.parametrize("arguments, words", [
    (["link", "terms.csv", "--linker", "none"], ["no linker in", "notebook 07", "--linker"]),
    (["link", "terms.csv", "--linker", "linker", "--output", "terms.csv"], ["terms.csv", "--output"]),
    (["link", "terms.csv", "--linker", "linker"], ["linker"]),
    (["link", "terms.csv", "--linker", "linker", "--output", "linker"],
     ["linker is a folder", "--output"]),
    (["fetch", "cometa"], ["cometa cannot be fetched", "on request"]),
    (["fetch", "umls"], ["umls cannot be fetched"]),
])
def test_linking_and_fetching_refuse_in_one_line(arguments, words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "linker").mkdir()
    (tmp_path / "terms.csv").write_text("mention\ngout\n")
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.splitlines()) == 1 and err.startswith("sapbert_utils: "), err
    assert all(word in err for word in words), err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linker", "terms.csv"]
    assert (tmp_path / "terms.csv").read_text() == "mention\ngout\n"


def test_a_missing_package_is_named_with_the_command_that_installs_it(course, monkeypatch):
    monkeypatch.setitem(sys.modules, "papermill", None)
    code, _, err = course.call("run", "02")
    assert code == 2 and "papermill is missing" in err and "pip install" in err


def test_listing_loads_nothing_heavy(course):
    code = ("import sys; from sapbert_utils.__main__ import main; main(sys.argv[1:]); import sapbert_utils.course; "
            "print({'torch', 'transformers', 'pandas', 'numpy', 'matplotlib', 'papermill', 'nbformat', 'IPython'} "
            "& sys.modules.keys())")
    done = subprocess.run([sys.executable, "-c", code, "list", "--notebooks", str(course.notebooks)], cwd=REPOSITORY,
                          capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_lists_notebooks_parameters_and_times(course):
    course.call("run", "00", "--profile", "smoke")
    code, out, _ = course.call("list")
    assert code == 0 and "01  Do pairs" in out and "measured: smoke " in out and "not run yet" in out
    assert "rate: float = 0.5" in out and "of learning" in out


@pytest.mark.parametrize("text, words", [
    ("{", "not a notebook"), ("[]", "not a notebook"), ('{"cells": [{"cell_type": "code"}]}', "not a notebook"),
    ('{"cells": [{"cell_type": "code", "source": "a: int = ", "metadata": {"tags": ["parameters"]}}]}', "not Python"),
])
def test_a_file_that_is_no_notebook_is_refused(course, text, words):
    (course.notebooks / "01_pairs.ipynb").write_text(text)
    code, out, err = course.call("list")
    assert code == 2 and out == "" and "01_pairs.ipynb" in err and words in err and len(err.splitlines()) == 1
    with pytest.raises(Refused):
        read_notebook(course.notebooks / "01_pairs.ipynb")


def test_the_table_marks_what_is_outside_its_range():
    metrics = [{"name": "m", "value": value, "unit": "%", "expected": expected} for value, expected in (
        (2, [1, 3]), (4, [1, 3]), (2, [None, 1]), (2, [None, 3]), (2, [3, None]), (2, [None, None]), (2, None),
        (float("nan"), [1, 3]))]
    table = metrics_table([{"notebook": "n", "metrics": metrics, "seconds": 1.0, "peak_memory_mb": 2.0}])
    assert [line.split("%")[1].strip() for line in table.splitlines()[1:9]] == [
        "1 to 3    ok", "1 to 3    outside", "≤ 1       outside", "≤ 3       ok", "≥ 3       outside", "–", "–",
        "1 to 3    outside"]


def test_parameters_are_read_with_their_comments():
    parameters = read_parameters('a: int | None = None  # at most; = all\nb: str = "x # y"  # über\nc = 1')
    assert [(p.name, p.annotation, p.default, p.help) for p in parameters.values()] == [
        ("a", "int | None", "None", "at most; = all"), ("b", "str", "'x # y'", "über")]


@pytest.mark.parametrize("failures", [1, 2])
def test_a_kernel_that_does_not_start_is_started_once_more(course, monkeypatch, failures):
    import papermill
    starts, execute = [], papermill.execute_notebook

    def start(*args, **kwargs):
        starts.append(args)
        if len(starts) <= failures:  # another program has the port
            raise RuntimeError("Kernel didn't respond in 60 seconds")
        return execute(*args, **kwargs)

    monkeypatch.setattr(papermill, "execute_notebook", start)
    code, out, err = course.call("run", "02")
    assert len(starts) == 2
    assert code == 0 if failures == 1 else code == 1 and "no kernel started: run again" in err
