"""pyproject.toml, requirements.lock and environment.yml agree; nothing is listed twice or used undeclared."""

import ast
import sys
import tomllib
from collections import Counter

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sapbert_utils.course.profiles import REPOSITORY

PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
DECLARED = [Requirement(line) for line in PROJECT["dependencies"]]
EXTRAS = [Requirement(line) for lines in PROJECT["optional-dependencies"].values() for line in lines
          if not line.startswith(PROJECT["name"])]  # one extra may hold others
LINES = [x for x in (REPOSITORY / "requirements.lock").read_text().splitlines() if x and not x.startswith("#")]
LOCK = {canonicalize_name(r.name): r for r in map(Requirement, LINES)}
IMPORT_NAMES = {"faiss": "faiss-cpu", "PIL": "pillow", "sklearn": "scikit-learn", "umap": "umap-learn",
                "IPython": "ipython", "yaml": "pyyaml"}


def test_the_lock_pins_each_package_once_and_exactly():
    assert len(LOCK) == len(LINES)
    for requirement in LOCK.values():
        assert [s.operator for s in requirement.specifier] == ["=="] and "+" not in str(requirement), requirement
    assert str(LOCK["torch"]) == "torch==2.13.0" and "jupytext" not in LOCK


@pytest.mark.parametrize("requirement", DECLARED + EXTRAS, ids=str)
def test_every_dependency_is_in_the_lock_and_in_range(requirement):
    version = next(iter(LOCK[canonicalize_name(requirement.name)].specifier)).version
    assert requirement.specifier.contains(version, prereleases=True)


def test_nothing_is_declared_twice():
    counts = Counter(canonicalize_name(r.name) for r in DECLARED + EXTRAS)
    assert [name for name, count in counts.items() if count > 1] == []


def test_conda_installs_python_pip_and_the_lock():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    *conda, by_pip = environment["dependencies"]
    # one version: Binder's builder passes over a range and takes a Python of its own choice
    oldest = PROJECT["requires-python"].removeprefix(">=")
    assert conda == [f"python={oldest}", "pip"]
    assert by_pip == {"pip": ["-r requirements.lock", "-e ."]}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "sapbert_utils").rglob("*.py")),
                         ids=lambda path: path.relative_to(REPOSITORY).as_posix())
def test_everything_imported_is_declared_and_the_library_starts_without_an_extra(path):
    core = {canonicalize_name(r.name) for r in DECLARED}
    every = core | {canonicalize_name(r.name) for r in EXTRAS}
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        found = [a.name for a in node.names] if isinstance(node, ast.Import) else []
        found += [node.module] if isinstance(node, ast.ImportFrom) and node.level == 0 else []
        # what a function imports is loaded when it is called, and the course is an extra as a whole
        known = core if node in tree.body and "course" not in path.parts else every
        for top in {name.split(".")[0] for name in found} - {"sapbert_utils"} - sys.stdlib_module_names:
            assert canonicalize_name(IMPORT_NAMES.get(top, top)) in known, f"line {node.lineno} imports {top}"
