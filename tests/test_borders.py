"""The wings stand in one order: data -> model -> linking -> evaluation, the course beside. Nothing imports upward."""

import ast
import subprocess
import sys

import pytest

from sapbert_utils.course.profiles import REPOSITORY

PACKAGE = REPOSITORY / "sapbert_utils"
MAY_USE = {
    "files.py": set(),
    "__init__.py": set(),  # its names are loaded when they are asked for
    "data": {"files"},
    "model": {"files", "data"},
    "linking": {"files", "data", "model"},
    "evaluation": {"files", "data", "model", "linking"},
    "course": {"files"},
    "releasing.py": {"files", "data", "model", "linking", "evaluation", "course"},
    "claims": {"files", "data", "model", "linking", "evaluation", "course"},
    "actions.py": {"files", "data", "model", "linking", "evaluation", "course", "releasing", "claims"},
    "__main__.py": {"files", "course", "actions"},
}
HEAVY = ("matplotlib", "papermill", "IPython", "sapbert_utils.course", "sapbert_utils.releasing")


def used_wings(path):
    """(wing, line) of every import of ours in a file, whatever its form."""
    package = path.relative_to(REPOSITORY).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            modules = [alias.name.split(".") for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = [*package[: len(package) - node.level + 1]] if node.level else []
            start += node.module.split(".") if node.module else []
            modules = [[*start, alias.name] for alias in node.names]
        else:
            continue
        yield from ((m[1] if len(m) > 1 else "", node.lineno) for m in modules if m[0] == PACKAGE.name)


def test_every_file_and_wing_has_its_place():
    assert {p.name for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} == set(MAY_USE)


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda p: p.relative_to(PACKAGE).as_posix())
def test_a_file_imports_nothing_from_above(path):
    own = path.relative_to(PACKAGE).parts[0]
    allowed = MAY_USE[own] | {own}
    assert [f"line {line}: {wing}" for wing, line in used_wings(path) if wing not in allowed] == []


@pytest.mark.parametrize("wing", ["data", "model", "linking", "evaluation", "course"])
def test_a_wing_opens_with_what_comes_in_what_goes_out_and_what_it_may_use(wing):
    lines = ast.get_docstring(ast.parse((PACKAGE / wing / "__init__.py").read_text(encoding="utf-8"))).splitlines()
    assert lines[0].startswith("In: ") and " Out: " in lines[0] and lines[1].startswith("May use ")
    assert lines[2].startswith("Read in this order: ") and len(lines) <= 4


def test_the_library_loads_neither_figures_nor_the_runner():
    code = ("import sys, sapbert_utils.data, sapbert_utils.model, sapbert_utils.linking, sapbert_utils.evaluation; "
            f"print([name for name in {HEAVY} if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=REPOSITORY)
    assert done.stdout.strip() == "[]"


def test_the_package_alone_loads_no_wing_and_its_names_are_the_wings():
    code = ("import sys, sapbert_utils; assert not [m for m in sys.modules if m.startswith('sapbert_utils.')]; "
            "from sapbert_utils import Linker, make_pairs; import sapbert_utils.linking; "
            "assert Linker is sapbert_utils.linking.Linker")
    subprocess.run([sys.executable, "-c", code], check=True, cwd=REPOSITORY)
