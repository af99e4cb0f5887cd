"""Is a notebook's last run still valid? What its outcome depends on, and whether any of it has changed.

Nothing here imports torch or papermill, so that a course that is up to date says so within seconds.
"""

import ast
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from sapbert_utils.course import Notebook
from sapbert_utils.profiles import Profile
from sapbert_utils.results import sha256

PACKAGE = Path(__file__).resolve().parent
# They run notebooks; no notebook's result depends on them.
RUNNER = {"__main__", "course", "freshness", "running", "publishing"}


def imported_modules(sources: list[str]) -> set[str]:
    """Names of the modules of sapbert_utils that the sources import, themselves or through one another.

    A name imported from the package itself may come from any module, so it counts as all of them.
    """
    everything = {p.stem for p in PACKAGE.iterdir() if p.suffix == ".py" or (p / "__init__.py").exists()} - RUNNER
    found: set[str] = set()
    waiting = {name for source in sources for name in _imports(source)}
    while waiting:
        name = waiting.pop()
        if name not in everything or name == "__init__":
            return everything
        found.add(name)
        waiting |= {x for p in _files(name) if p.suffix == ".py" for x in _imports(p.read_text(), p)} - found
    return found | {"__init__"} & everything


def _imports(source: str, path: Path | None = None) -> Iterator[str]:
    """First-level modules of sapbert_utils named in the imports of one source."""
    plain = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    try:
        tree = ast.parse(plain)
    except SyntaxError:
        yield "__init__"
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            parts = [alias.name.split(".") + ["__init__"] for alias in node.names]
            yield from (p[1] for p in parts if p[0] == PACKAGE.name)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if node.level == 0:
                if module.split(".")[0] != PACKAGE.name:
                    continue
                module = module.partition(".")[2]
            elif path and path.parent != PACKAGE and node.level == 1:
                continue  # inside a sub-package, which counts as a whole
            yield from [module.split(".")[0]] if module else (alias.name for alias in node.names)


def _files(module: str) -> list[Path]:
    """The files of one module; of a sub-package also its data, such as the list of wheels."""
    folder = PACKAGE / module
    if folder.is_dir():
        return sorted(p for p in folder.rglob("*") if p.suffix in (".py", ".txt"))
    return [folder.with_suffix(".py")]


def fingerprint(notebook: Notebook, parameters: dict[str, object]) -> dict:
    """All that decides a notebook's outcome, but for the files that an earlier one wrote."""
    modules = sorted(imported_modules(list(notebook.code)))
    outside = [value for value in parameters.values() if isinstance(value, str) and os.path.exists(value)]
    if "corpora" in modules and os.environ.get("SAPBERT_BENCHMARKS"):
        outside.append(os.path.abspath(os.environ["SAPBERT_BENCHMARKS"]))
    return {
        "code": _hash(notebook.code),
        "modules": {name: _hash([sha256(p) for p in _files(name)]) for name in modules},
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
    for key, name in (("code", "code"), ("modules", "modules"), ("parameters", "parameters"), ("folders", "folder")):
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
