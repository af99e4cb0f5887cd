"""The notebooks of the course: which there are, which parameters they take, what they measured."""

import ast
import itertools
import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .profiles import REPOSITORY, Profile

NOTEBOOKS = REPOSITORY / "notebooks"
PATH_PARAMETERS = ("_dir", "_file", "_path", "_csv")
Say = Callable[[str], object]  # shows a piece of text, as ``sys.stdout.write`` does
Values = dict[str, object]  # parameters, by name


class Refused(Exception):
    """A request can't be carried out. Nothing has run, and the message says why and what to do."""


@dataclass(frozen=True)
class Parameter:
    """One line of a notebook's parameters cell."""

    name: str
    annotation: str
    default: str  # as written in the notebook
    help: str


@dataclass(frozen=True)
class Notebook:
    """What the runner knows of a notebook without running it."""

    path: Path
    title: str
    code: tuple[str, ...]  # sources of the code cells
    parameters: dict[str, Parameter]

    @property
    def stem(self) -> str:
        return self.path.stem

    @property
    def label(self) -> str:
        """``03 pretrain_by_self_alignment``"""
        return self.stem.replace("_", " ", 1)

    def executed(self, profile: Profile) -> Path:
        folder = self.path.parent.name  # worked answers have the same names as the notebooks
        return profile.notebooks / (folder if folder == "solutions" else "") / self.path.name

    def stamp(self, profile: Profile) -> Path:
        return profile.notebooks / f"{self.stem}.stamp.json"

    def results(self, profile: Profile) -> Path:
        return profile.results / f"{self.stem}.json"


def read_notebook(path: Path) -> Notebook:
    """Read one notebook. Raises :class:`Refused` when the file is not one."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts = [("".join(cell["source"]), cell["cell_type"]) for cell in cells]
        tagged = ["parameters" in cell["metadata"].get("tags", []) for cell in cells]
        parameters = read_parameters(texts[tagged.index(True)][0]) if any(tagged) else {}
    except SyntaxError as error:
        raise Refused(f"the parameters cell of {path} is not Python ({error}); fix it") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise Refused(f"{path} is not a notebook ({error!r}); restore it with git") from error
    lines = [line for text, kind in texts if kind == "markdown" for line in text.splitlines()]
    title = next((line[2:].strip() for line in lines if line.startswith("# ")), path.stem)
    return Notebook(path, title, tuple(text for text, kind in texts if kind == "code"), parameters)


def read_parameters(source: str) -> dict[str, Parameter]:
    """Read the annotated assignments of a parameters cell, and the comments beside them."""
    lines = source.split("\n")
    parameters = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value and node.end_lineno:
            # ``ast`` counts columns in bytes of UTF-8, not in characters
            rest = lines[node.end_lineno - 1].encode()[node.end_col_offset:].decode()
            name, annotation, value = map(ast.unparse, (node.target, node.annotation, node.value))
            parameters[name] = Parameter(name, annotation, value, rest.partition("#")[2].strip())
    return parameters


def find_notebooks(folder: Path = NOTEBOOKS) -> list[Notebook]:
    """The notebooks of the course, in order."""
    paths = sorted(Path(folder).resolve().glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise Refused(f"{folder} has no notebook named like 00_title.ipynb; choose another folder")
    return [read_notebook(path) for path in paths]


def choose(notebooks: Sequence[Notebook], name: str) -> Notebook:
    """The notebook called by its number (``03`` or ``3``) or by its name."""
    wanted = name.removesuffix(".ipynb").rpartition("/")[2]
    for notebook in notebooks:
        if wanted in (notebook.stem, notebook.stem[3:]) or wanted.zfill(2) == notebook.stem[:2]:
            return notebook
    raise Refused(f"no notebook {name!r}; choose one of: {', '.join(n.stem for n in notebooks)}")


def parse_assignments(texts: Sequence[str]) -> dict[str, str]:
    """``["seed=7"]`` -> ``{"seed": "7"}``"""
    values = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.isidentifier():
            raise Refused(f"{text}: write a parameter as name=value, for example seed=7")
        values[name] = value
    return values


def combinations(axes: dict[str, str]) -> list[dict[str, str]]:
    """``{"a": "1,2", "b": "x"}`` -> ``[{"a": "1", "b": "x"}, {"a": "2", "b": "x"}]``"""
    values = [text.split(",") for text in axes.values()]
    return [dict(zip(axes, chosen)) for chosen in itertools.product(*values)]


def convert(notebooks: Sequence[Notebook], given: dict[str, str]) -> list[Values]:
    """Give each notebook the parameters that it has, in the types that its cell declares."""
    if "profile" in given:
        raise Refused("choose the profile with --profile, not with -p")
    names = list(dict.fromkeys(p for n in notebooks for p in n.parameters if p != "profile"))
    for name in given:
        if name not in names:
            whose = f"notebook {notebooks[0].stem}" if len(notebooks) == 1 else "the course"
            raise Refused(f"{whose} has no parameter {name!r}; choose one of: {', '.join(names)}")
    return [{name: _value(n, name, text) for name, text in given.items() if name in n.parameters}
            for n in notebooks]


def _value(notebook: Notebook, name: str, text: str) -> object:
    parameter = notebook.parameters[name]
    types = {part.strip() for part in parameter.annotation.split("|")}
    if "None" in types and text in ("None", ""):
        return None
    try:
        if "bool" in types:
            return {"true": True, "false": False}[text.lower()]
        if "int" in types:
            return int(text)
        if "float" in types:
            return float(text)
    except (KeyError, ValueError):
        raise Refused(f"parameter {name} of notebook {notebook.stem} is of type "
                      f"{parameter.annotation}, not {text!r}") from None
    path = Path(os.path.expanduser(text)).resolve()  # because the notebook runs in another folder
    is_model = name.endswith("_model") and path.is_dir()  # else it's a model's name
    return str(path) if text and (name.endswith(PATH_PARAMETERS) or is_model) else text


def read_results(notebooks: Sequence[Notebook], profile: Profile) -> list[dict[str, Any]]:
    """The results.json of those notebooks that have one."""
    paths = [n.results(profile) for n in notebooks]
    return [json.loads(path.read_text(encoding="utf-8")) for path in paths if path.exists()]


def metrics_table(results: Sequence[dict[str, Any]]) -> str:
    """Tabulate each metric with its value and expected range, then total time and peak memory."""
    rows = [("notebook", "metric", "value", "unit", "expected", "")]
    for result in results:
        for m in result["metrics"]:
            value = f"{m['value']:g}"
            rows.append((result["notebook"], m["name"], value, m["unit"], *_expected(m)))
    seconds = sum(r["seconds"] for r in results)
    memory = max((r["peak_memory_mb"] for r in results), default=0)
    last = f"{len(results)} notebooks, {seconds:.0f} s, at most {memory:.0f} MB of memory"
    return f"{_columns(rows, right=2)}\n\n{last}" if len(rows) > 1 else last


def _expected(metric: dict[str, Any]) -> tuple[str, str]:
    """The range as text, and ``ok``, ``outside`` or ``–`` when none is given."""
    value, (low, high) = metric["value"], metric["expected"] or (None, None)
    if low is None and high is None:
        return "", "–"
    text = f"≤ {high:g}" if low is None else f"≥ {low:g}"
    if low is not None and high is not None:
        text = f"{low:g} to {high:g}"
    inside = (low is None or value >= low) and (high is None or value <= high)
    return text, "ok" if inside else "outside"


def _columns(rows: Sequence[Sequence[str]], right: int = -1) -> str:
    """Align the columns of rows of text to the left, but column ``right`` to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    cells = [[cell.rjust(width) if i == right else cell.ljust(width)
              for i, (cell, width) in enumerate(zip(row, widths))] for row in rows]
    return "\n".join("  ".join(row).rstrip() for row in cells)


def listing(notebooks: Sequence[Notebook], profiles: Sequence[Profile]) -> str:
    """List each notebook's title, parameters, and time on each profile that has run."""
    blocks = []
    for notebook in notebooks:
        parameters = notebook.parameters.values()
        rows = [(f"    {p.name}: {p.annotation} = {p.default}", p.help) for p in parameters]
        times = [f"{profile.name} {results['seconds']:.0f} s" for profile in profiles
                 for results in read_results([notebook], profile)]
        lines = [f"{notebook.stem[:2]}  {notebook.title}", *([_columns(rows)] if rows else [])]
        blocks.append("\n".join([*lines, f"    measured: {', '.join(times) or 'not run yet'}"]))
    return "\n\n".join(blocks)
