"""The course as a chain of notebooks: which there are, and which parameters each takes.

Nothing here imports torch or papermill, so that a course that is up to date says so within seconds.
"""

import ast
import itertools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path

from .profiles import REPOSITORY, Profile, get_profile

NOTEBOOKS = REPOSITORY / "notebooks"
PATH_PARAMETERS = ("_dir", "_file", "_path", "_csv")
MODEL_PARAMETERS = ("_model",)  # a folder, or the name of a model


class Refused(Exception):
    """What was asked for cannot be done; the message says why and what to do. Nothing has run."""


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
    def number(self) -> str:
        return self.stem[:2]

    @property
    def label(self) -> str:
        """``03 pretrain_by_self_alignment``"""
        return f"{self.number} {self.stem[3:]}"

    def executed(self, profile: Profile) -> Path:
        return profile.notebooks / ("solutions" if self.path.parent.name == "solutions" else "") / self.path.name

    def stamp(self, profile: Profile) -> Path:
        return profile.notebooks / f"{self.stem}.stamp.json"

    def results(self, profile: Profile) -> Path:
        return profile.results / f"{self.stem}.json"


def read_notebook(path: Path) -> Notebook:
    """Read one notebook. Raises :class:`Refused` when the file is not one."""
    try:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Refused(f"{path} cannot be read as a notebook ({error!r}); restore it with git") from error
    sources = [(cell, "".join(cell["source"])) for cell in cells]
    lines = [line for cell, text in sources if cell["cell_type"] == "markdown" for line in text.splitlines()]
    tagged = [text for cell, text in sources if "parameters" in cell.get("metadata", {}).get("tags", [])]
    return Notebook(
        path=path,
        title=next((line[2:].strip() for line in lines if line.startswith("# ")), path.stem),
        code=tuple(text for cell, text in sources if cell["cell_type"] == "code"),
        parameters=read_parameters(tagged[0]) if tagged else {},
    )


def read_parameters(source: str) -> dict[str, Parameter]:
    """The annotated assignments of a parameters cell, each with the comment that ends its line."""
    lines = source.splitlines()
    parameters = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            rest = lines[node.end_lineno - 1].encode()[node.end_col_offset:].decode()
            parameters[node.target.id] = Parameter(
                node.target.id, ast.unparse(node.annotation), ast.unparse(node.value), rest.partition("#")[2].strip()
            )
    return parameters


def find_notebooks(folder: Path = NOTEBOOKS) -> list[Notebook]:
    """The notebooks of the course, in order."""
    paths = sorted(Path(folder).resolve().glob("[0-9][0-9]_*.ipynb"))
    if not paths:
        raise Refused(f"no notebook named like 00_title.ipynb in {folder}")
    return [read_notebook(path) for path in paths]


def choose(notebooks: list[Notebook], name: str) -> Notebook:
    """The notebook called by its number (``03`` or ``3``) or by its name."""
    wanted = name.removesuffix(".ipynb").rpartition("/")[2]
    for notebook in notebooks:
        if wanted.zfill(2) == notebook.number or wanted in (notebook.stem, notebook.stem[3:]):
            return notebook
    raise Refused(f"no notebook {name!r}; choose one of: {', '.join(n.stem for n in notebooks)}")


def parse_assignments(texts: list[str]) -> dict[str, str]:
    """``["seed=7"]`` -> ``{"seed": "7"}``"""
    for text in texts:
        if not text.partition("=")[1] or not text.partition("=")[0].isidentifier():
            raise Refused(f"-p {text}: write a parameter as name=value, for example -p seed=7")
    return {text.partition("=")[0]: text.partition("=")[2] for text in texts}


def combinations(axes: dict[str, str]) -> list[dict[str, str]]:
    """``{"a": "1,2", "b": "x"}`` -> ``[{"a": "1", "b": "x"}, {"a": "2", "b": "x"}]``"""
    values = [[(name, value) for value in text.split(",")] for name, text in axes.items()]
    return [dict(chosen) for chosen in itertools.product(*values)]


def convert(notebook: Notebook, given: dict[str, str]) -> dict[str, object]:
    """The given texts as values of the types that the notebook's parameters cell declares."""
    if "profile" in given:
        raise Refused("the profile is chosen with --profile, not with -p")
    offered = [name for name in notebook.parameters if name != "profile"]
    values = {}
    for name, text in given.items():
        if name not in offered:
            raise Refused(f"notebook {notebook.stem} has no parameter {name!r}; it has: {', '.join(offered)}")
        try:
            values[name] = _value(notebook.parameters[name], text)
        except ValueError:
            wanted = notebook.parameters[name].annotation
            raise Refused(f"parameter {name} of notebook {notebook.stem} is of type {wanted}, not {text!r}") from None
    return values


def convert_all(notebooks: list[Notebook], given: dict[str, str]) -> list[dict[str, object]]:
    """For each notebook those of the given parameters that it has; each must belong to one at least."""
    if "profile" in given:
        raise Refused("the profile is chosen with --profile, not with -p")
    known = list(dict.fromkeys(name for n in notebooks for name in n.parameters if name != "profile"))
    for name in given:
        if name not in known:
            raise Refused(f"no notebook has a parameter {name!r}; they have: {', '.join(known)}")
    return [convert(n, {name: text for name, text in given.items() if name in n.parameters}) for n in notebooks]


def _value(parameter: Parameter, text: str) -> object:
    types = {part.strip() for part in parameter.annotation.split("|")}
    if "None" in types and text in ("None", ""):
        return None
    if "bool" in types:
        if text.lower() not in ("true", "false"):
            raise ValueError(text)
        return text.lower() == "true"
    for name, kind in (("int", int), ("float", float)):
        if name in types:
            return kind(text)
    path = Path(text).expanduser()
    folder_of_a_model = parameter.name.endswith(MODEL_PARAMETERS) and path.is_dir()
    if text and (parameter.name.endswith(PATH_PARAMETERS) or folder_of_a_model):  # the notebook runs in another folder
        return str(path.resolve())
    return text


def choose_profile(name: str) -> Profile:
    """The profile of that name. Raises :class:`Refused` with the list of the right ones."""
    try:
        return get_profile(name)
    except ValueError as error:
        raise Refused(str(error)) from None


def check_writable(profile: Profile) -> None:
    """Raise :class:`Refused` when the run folder cannot be written."""
    try:
        profile.notebooks.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=profile.notebooks):
            pass
    except OSError as error:
        raise Refused(
            f"the run folder {profile.folder} cannot be written ({error.strerror}); "
            "set SAPBERT_RUNS to a folder that can"
        ) from error
