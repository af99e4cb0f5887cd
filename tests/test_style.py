"""House style of the helpers: checked by ruff, short, silent, finished."""

import ast
import json
import re
import subprocess
import sys

import pytest

from sapbert_utils.course.profiles import REPOSITORY

HELPERS = sorted((REPOSITORY / "sapbert_utils").rglob("*.py"))
FOLDERS = ("sapbert_utils", "tests", "notebooks", ".ci", ".github")
TEXTS = sorted(
    p for p in [*REPOSITORY.glob("*"), *(p for f in FOLDERS for p in (REPOSITORY / f).rglob("*"))]
    if p.is_file() and p.suffix in (".py", ".md", ".toml", ".txt", ".lock", ".yml", ".cff", ".ipynb", "")
    and p.name != ".git" and not {"__pycache__", ".ipynb_checkpoints"} & set(p.parts)
)
MACHINE = re.compile("|".join([re.escape(str(REPOSITORY)), r"/home/\w", r"/Users/\w", r"(?<![\w.])/root/", r"/tmp/\w"]))
HOME_FREE = ("test_style.py", "publishing.py", "test_notebooks.py")  # they name the patterns that they search for


def name(path):
    return str(path.relative_to(REPOSITORY))


def test_ruff_finds_nothing():
    done = subprocess.run([sys.executable, "-m", "ruff", "check", "--no-cache", "."], cwd=REPOSITORY,
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("path", HELPERS, ids=name)
def test_a_helper_is_short_documented_and_silent(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    tree = ast.parse(text)
    assert ast.get_docstring(tree), "a module says what it is for"
    prints = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and getattr(n.func, "id", "") == "print"]
    assert not prints or path.name == "__main__.py"


@pytest.mark.parametrize("path", TEXTS, ids=name)
def test_a_file_is_finished_and_names_no_machine(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":  # outputs hold data (47,XXX is a karyotype); test_notebooks looks at them
        text = "\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"])
    if path.name not in HOME_FREE:
        assert not re.search(r"\b(TODO|FIXME|XXX|HACK)\b|NotImplementedError", text)
        assert not (found := MACHINE.search(text)), found
    assert "\t" not in text or path.name == "Makefile" or path.suffix == ".ipynb"
