"""Tell whether a notebook's last run is still valid: what it depends on, and what has changed."""

import ast
import json
import os
import re
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path

from ..files import sha256
from .notebooks import Notebook, Values
from .profiles import Profile, named_folder
from .results import PACKAGES

PACKAGE = Path(__file__).resolve().parents[1]
# They run the notebooks; no notebook's result depends on them.
RUNNER = ("__main__", "actions", "releasing", "claims/report", "course/notebooks",
          "course/freshness", "course/running", "course/publishing", "course/playing")


def used_files(sources: Sequence[str]) -> list[Path]:
    """Find the library's modules that sources use, directly or not, and the data that they name.

    If a source doesn't say which module it uses, every module in its reach counts: an unneeded run
    costs minutes, but a stale result misleads.
    """
    found: set[Path] = set()
    waiting = [(source, PACKAGE.parent) for source in sources]
    while waiting:
        for place, name, _ in _imports(*waiting.pop()):
            for path in set(_homes(place, name)) - found:
                text = path.read_text(encoding="utf-8")
                found |= {path, *_data_files(path.parent, text)}
                waiting.append((text, path.parent))
    return sorted(found)


def _data_files(folder: Path, source: str) -> list[Path]:
    """Find the files of a folder that a source names, or whose folder it names.

    Code and documentation do not count.
    """
    named = [path for path in folder.iterdir() if path.name in source]
    files = [path for path in named if path.is_file()]
    for path in named:
        if path.is_dir() and not (path / "__init__.py").exists():  # not a package: released models
            files += [below for below in path.rglob("*") if below.is_file()]
    return [path for path in files if path.suffix not in (".py", ".ipynb", ".md")]


def _imports(source: str, folder: Path) -> Iterator[tuple[Path, str, str]]:
    """What a source in ``folder`` imports: the place of a module, a name in it, its new name."""
    try:
        tree = ast.parse(re.sub(r"^[ \t]*[%!].*", "", source, flags=re.M))  # IPython's own lines
    except SyntaxError:
        tree = ast.parse(f"import {PACKAGE.name}")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            # one dot means the folder itself, each further dot the folder above
            start = folder.joinpath(*[".."] * (node.level - 1)) if node.level else PACKAGE.parent
            place = start.joinpath(*(node.module or "").split(".")).resolve()
            yield from ((place, a.name, a.asname or a.name) for a in node.names)
        elif isinstance(node, ast.Import):
            for a in node.names:
                parts = a.name.split(".")
                # ``import a.b`` binds ``a``, from which all of it can be reached
                module = PACKAGE.parent.joinpath(*(parts if a.asname else parts[:1]))
                yield module.parent, module.name, module.name


def _homes(place: Path, name: str) -> list[Path]:
    """The library's modules that may define a name imported from a module or package."""
    if not (place / name).is_relative_to(PACKAGE):
        return []
    init = place / "__init__.py"
    source = init.read_text(encoding="utf-8") if init.is_file() else ""
    # where ``__init__`` takes the name from (``*`` stands for all names), unless that is itself
    passed_on = {(other, old) for other, old, new in _imports(source, place) if new == name != "*"}
    homes = [path for origin in passed_on - {(place, name)} for path in _homes(*origin)]
    modules = [path for path in (place.with_suffix(".py"), place / f"{name}.py") if path.is_file()]
    own = [init] if source else []
    # it defines all other names, or loads them on demand, from anywhere
    lazy = place == PACKAGE or "__getattr__" in source
    return homes or modules or _below(place / name) or (_below(place) if lazy else own)


def _below(place: Path) -> list[Path]:
    runner = [PACKAGE / f"{name}.py" for name in RUNNER]
    checks = PACKAGE / "course" / "check"  # they judge answers, and nobody answers in a run
    return [path for path in place.rglob("*.py")
            if path not in runner and checks not in path.parents]


def fingerprint(notebook: Notebook, parameters: Values) -> dict[str, object]:
    """Collect what decides a notebook's outcome, except for the files that earlier ones wrote."""
    modules = used_files(notebook.code)
    beside = _data_files(notebook.path.parent, "\n".join(notebook.code))
    folders = [Path(x) for x in parameters.values() if isinstance(x, str) and os.path.exists(x)]
    benchmarks = named_folder("SAPBERT_BENCHMARKS")
    if benchmarks and PACKAGE / "evaluation" / "corpora.py" in modules:
        folders.append(benchmarks)
    return {
        "code": notebook.code,
        "modules": {path.relative_to(PACKAGE).as_posix(): sha256(path) for path in modules},
        "tables": {path.name: sha256(path) for path in beside},
        "packages": {name: metadata.version(name) for name in PACKAGES},
        "parameters": parameters,
        "folders": {str(path): _listing(path) for path in folders},
    }


def _listing(path: Path) -> list[tuple[str, int, int]]:
    """Names, sizes and times of the files below ``path``, which may be too large to read."""
    files = [p for p in sorted([path, *path.rglob("*")]) if p.is_file()]
    return [(str(p.relative_to(path)), p.stat().st_size, p.stat().st_mtime_ns) for p in files]


def why_run(notebook: Notebook, parameters: Values, profile: Profile,
            hashes: dict[Path, str]) -> str:
    """Say why the notebook must run; empty if it needn't. ``hashes`` caches hashes of files."""
    try:
        notebook.executed(profile).stat()
        stamp = json.loads(notebook.stamp(profile).read_text(encoding="utf-8"))
        results = json.loads(notebook.results(profile).read_text(encoding="utf-8"))
        recorded = results["inputs"] | results["outputs"]
    except (OSError, ValueError, KeyError):
        return "not run yet"
    for key, now in json.loads(json.dumps(fingerprint(notebook, parameters))).items():
        if stamp.get(key) != now:
            return f"{key} changed"
    for name, digest in recorded.items():
        path = profile.folder / name
        if path not in hashes:
            hashes[path] = sha256(path) if path.exists() else "missing"
        # "external" files lie outside the run folder; "folders" watches them
        if hashes[path] != digest and not name.startswith("external/"):
            return f"{name} {'missing' if hashes[path] == 'missing' else 'changed'}"
    return ""
