"""Is a run still valid? Imports are followed to single files, and to all that may be used where a source is vague."""

import os

import pytest

from sapbert_utils.course import freshness
from sapbert_utils.course.notebooks import read_notebook


def used(package, texts, source, monkeypatch):
    """The files, without ``.py``, that a source uses of a package of these texts."""
    for name, text in texts.items():
        path = package / (name if "." in name else f"{name}.py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.setattr(freshness, "PACKAGE", package)
    return {path.relative_to(package).as_posix().removesuffix(".py") for path in freshness.used_files([source])}


@pytest.mark.parametrize("source, files", {
    "%time\nfrom sapbert_utils.a import x": "a data/c data/words.txt data/pairs",
    "from sapbert_utils.data import read": "data/pairs data/c data/words.txt",  # passed on by the wing
    "from sapbert_utils.data import own": "data/__init__ data/pairs data/c data/words.txt",  # its __init__ defines it
    "from sapbert_utils.data import c": "data/c data/words.txt",
    "from sapbert_utils.data.d import z": "data/d data/kept/a/one.json",  # it names a folder
    "import sapbert_utils.data.c as c": "data/c data/words.txt",
    "import sapbert_utils.data as d": "data/__init__ data/pairs data/c data/d data/words.txt data/kept/a/one.json",
    "from sapbert_utils import Anything": "__init__ a data/__init__ data/pairs data/c data/d data/words.txt "
                                          "data/kept/a/one.json course/__init__ course/plots",
    "from sapbert_utils.course import plots": "course/plots",
    "import torch": "",
}.items())
def test_follows_imports_to_single_files(source, files, tmp_path, monkeypatch):
    texts = {"__init__": "", "a": "from .data.pairs import read", "data/__init__": "from .pairs import read\nown = 1",
             "data/pairs": "from .c import z", "data/c": "open('words.txt')", "data/d": "z = 'kept'",
             "course/__init__": "", "course/plots": "import torch", "course/running": "from ..data import read",
             "data/words.txt": "one", "data/kept/a/one.json": "1", "data/kept/README.md": "no",
             "data/other.txt": "two", "data/SOURCES.md": "words.txt"}
    assert used(tmp_path / "sapbert_utils", texts, source, monkeypatch) == set(files.split())


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


VAGUE = {
    "__init__": "", "files": "",
    "data/__init__": "from .pairs import helper as read, read as parse\nfrom . import deep\nfrom .c import z\n"
                     "try:\n    from .fast import sort\nexcept ImportError:\n    from .slow import sort\n",
    "data/pairs": "def helper(): pass", "data/c": "", "data/fast": "", "data/slow": "",
    "data/deep/__init__": "from .inner import x", "data/deep/inner": "from ...files import whole_file",
    "data/deep/hidden": "from . import inner as i\nfrom .. import c",
    "model/__init__": "def __getattr__(name): return load(name)", "model/lazy": "",
    "model/typed": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from ..data.c import z",
    "stars/__init__": "from .one import *\nfrom .two import y", "stars/one": "", "stars/two": "",
    "course/__init__": "from .results import Run", "course/results": "", "course/running": "", "__main__": "",
}
DATA = "data/__init__ data/pairs data/c data/fast data/slow data/deep/__init__ data/deep/inner data/deep/hidden files"
MODEL = "model/__init__ model/lazy model/typed data/c"
STARS = "stars/__init__ stars/one stars/two"
ALL = f"__init__ {DATA} {MODEL} {STARS} course/__init__ course/results"


@pytest.mark.parametrize("source, files", {
    "from sapbert_utils.data import read": "data/pairs",  # passed on under a new name
    "from sapbert_utils.data import parse": "data/pairs",
    "from sapbert_utils.data import deep": "data/deep/__init__ data/deep/inner data/deep/hidden data/c files",
    "from sapbert_utils.data.deep import x": "data/deep/inner files",  # three dots lead to the package
    "from sapbert_utils.data.deep.hidden import x": "data/deep/hidden data/deep/inner data/c files",
    "import sapbert_utils.data.deep.inner as d": "data/deep/inner files",
    "from sapbert_utils.data import sort": "data/fast data/slow",
    "from sapbert_utils.data import *": DATA,
    "from sapbert_utils.stars import *": STARS,
    "from sapbert_utils.stars import x": STARS,
    "from sapbert_utils.stars import y": "stars/two",
    "from sapbert_utils import data": DATA,
    "from sapbert_utils.model import anything": MODEL,  # loaded when it is asked for
    "from sapbert_utils.model.typed import x": "model/typed data/c",  # an import for hints alone counts too
    "def f():\n    from sapbert_utils.data import z": "data/c",
    "import sapbert_utils.data.c": ALL,  # binds the package
    "names = !ls\nimport sapbert_utils": ALL,
    "import sapbert_utils.gone as g": ALL,
    "from sapbert_utils.gone.far import x\nfrom sapbert_utils.data.gone import x": "",  # the notebook will say so
    "from sapbert_utilsx import data\nimport os.path, sapbert": "",
}.items())
def test_where_a_source_is_vague_all_that_it_may_use_counts(source, files, tmp_path, monkeypatch):
    (tmp_path / "sapbert.py").write_text("")
    assert used(tmp_path / "sapbert_utils", VAGUE, source, monkeypatch) == set(files.split())


def test_a_table_beside_the_notebook_counts_where_it_is_named(course):
    course.write("02_alone", 'text = "03_grid.csv"')
    table, other = course.notebooks / "03_grid.csv", course.notebooks / "other.csv"
    table.write_text("a")
    other.write_text("a")
    first = freshness.fingerprint(read_notebook(course.notebooks / "02_alone.ipynb"), {})
    other.write_text("b")
    os.utime(table, (1, 1))  # as a fresh checkout does
    assert freshness.fingerprint(read_notebook(course.notebooks / "02_alone.ipynb"), {}) == first
    table.write_text("b")
    changed = freshness.fingerprint(read_notebook(course.notebooks / "02_alone.ipynb"), {})
    assert {key for key in first if first[key] != changed[key]} == {"tables"}


@pytest.mark.parametrize("named, folders", [
    ("~/no such folder", {os.path.join(os.path.expanduser("~"), "no such folder")}), ("", set())])
def test_the_folder_of_benchmarks_may_begin_at_home_or_be_empty(course, monkeypatch, named, folders):
    monkeypatch.setenv("SAPBERT_BENCHMARKS", named)
    notebook = read_notebook(course.write("02_alone", "from sapbert_utils.evaluation import corpora"))
    assert freshness.fingerprint(notebook, {})["folders"].keys() == folders
