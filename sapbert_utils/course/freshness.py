"""Is a notebook's last run still valid? What its outcome depends on, and whether any of it has changed.

Nothing here imports torch or papermill, so that a course that is up to date says so within seconds.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from ..files import sha256
from .notebooks import Notebook
from .profiles import Profile
from .results import PACKAGES

PACKAGE = Path(__file__).resolve().parents[1]
# They run notebooks; no notebook's result depends on them.
RUNNER = ("__main__", "notebooks", "freshness", "running", "publishing")


def used_files(sources: list[str]) -> list[Path]:
    """The library's files that the sources use, themselves or through one another: modules, and data that they name.

    A name that a wing's ``__init__`` passes on counts as the module that defines it. A name imported from
    ``sapbert_utils`` itself may come from anywhere, so it counts as all modules.
    """
    found: set[Path] = set()
    waiting = [path for source in sources for path in _imported(source, PACKAGE.parent)]
    while waiting:
        path = waiting.pop()
        if path not in found:
            found.add(path)
            waiting += _imported(path.read_text(encoding="utf-8"), path.parent)
    data = {other for path in found for other in path.parent.iterdir()
            if other.suffix in (".txt", ".html") and other.name in path.read_text(encoding="utf-8")}
    return sorted(found | data)


def _below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*.py") if path.stem not in RUNNER]


def _imported(source: str, folder: Path) -> Iterator[Path]:
    """The library's files from which a source that lies in ``folder`` imports."""
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    try:
        tree = ast.parse(plain)
    except SyntaxError:
        yield from _below(PACKAGE)
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for module in [PACKAGE.parent.joinpath(*alias.name.split(".")) for alias in node.names]:
                if module.is_relative_to(PACKAGE):  # the names used of a module may be any
                    yield from _below(module) if module.is_dir() else [module.with_suffix(".py")]
        elif isinstance(node, ast.ImportFrom):
            module = _module(node, folder)
            if module.is_relative_to(PACKAGE):
                for alias in node.names:
                    yield from _home(module, alias.name)


def _module(node: ast.ImportFrom, folder: Path) -> Path:
    """Where the module of ``from module import …`` would lie, without its suffix."""
    start = folder.joinpath(*[".."] * (node.level - 1)) if node.level else PACKAGE.parent
    return start.joinpath(*(node.module or "").split(".")).resolve()


def _home(module: Path, name: str) -> list[Path]:
    """The file that defines a name which is imported from a module or a package."""
    if module == PACKAGE and not (module / name).is_dir():
        return [file] if (file := module / f"{name}.py").is_file() else _below(PACKAGE)
    if not module.is_dir():  # a module that is not there stops the notebook, not the runner
        return [file] if (file := module.with_suffix(".py")).is_file() else []
    init = module / "__init__.py"
    for node in ast.parse(init.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and name in [alias.name for alias in node.names]:
            return _home(_module(node, module), name)
    if (module / f"{name}.py").is_file():
        return [module / f"{name}.py"]
    return [module / name / "__init__.py"] if (module / name).is_dir() else [init]


def fingerprint(notebook: Notebook, parameters: dict[str, object]) -> dict:
    """All that decides a notebook's outcome, but for the files that an earlier one wrote."""
    files = used_files(list(notebook.code))
    outside = [value for value in parameters.values() if isinstance(value, str) and os.path.exists(value)]
    if PACKAGE / "evaluation" / "corpora.py" in files and os.environ.get("SAPBERT_BENCHMARKS"):
        outside.append(os.path.abspath(os.environ["SAPBERT_BENCHMARKS"]))
    return {
        "code": _hash(notebook.code),
        "modules": {path.relative_to(PACKAGE).as_posix(): sha256(path) for path in files},
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "parameters": parameters,
        "folders": {path: _listing(Path(path)) for path in outside},
    }


def _hash(content: object) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _listing(path: Path) -> str:
    """Hash of the names, sizes and times of the files below ``path``, which may be too large to read."""
    files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path] if path.exists() else []
    return _hash([[str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns] for p in files])


def why_run(notebook: Notebook, parameters: dict[str, object], profile: Profile, hashes: dict[Path, str]) -> str:
    """Why the notebook must run, in two or three words; empty when it is up to date.

    ``hashes`` remembers the files read so far; clear it after something has run.
    """
    try:
        stamp = json.loads(notebook.stamp(profile).read_text(encoding="utf-8"))
        results = json.loads(notebook.results(profile).read_text(encoding="utf-8"))
        files = [("input", results["inputs"]), ("output", results["outputs"])]
    except (OSError, ValueError, KeyError):
        return "not run yet"
    if not notebook.executed(profile).exists():
        return "not run yet"
    now = json.loads(json.dumps(fingerprint(notebook, parameters)))
    for key, name in (("code", "code"), ("modules", "modules"), ("packages", "packages"),
                      ("parameters", "parameters"), ("folders", "folder")):
        if stamp.get(key) != now[key]:
            return f"{name} changed"
    for kind, recorded in files:
        for name, digest in recorded.items():
            path = profile.folder / name
            if name.startswith("external/"):
                continue  # outside the run folder: followed by "folders"
            if path not in hashes:
                hashes[path] = sha256(path) if path.exists() else "missing"
            if hashes[path] != digest:
                return f"{kind} {name} {'missing' if hashes[path] == 'missing' else 'changed'}"
    return ""
