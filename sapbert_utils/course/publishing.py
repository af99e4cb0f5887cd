"""Put the outputs of a finished run into the notebooks that are committed, so that what is shown is what was run."""

import copy
import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat

from ..files import whole_file
from .freshness import why_run
from .notebooks import Notebook, Refused, find_notebooks
from .profiles import REPOSITORY, Profile
from .running import run_solution

MAX_BYTES = 500_000
WIDGET = "application/vnd.jupyter.widget-view+json"
METADATA = {
    "kernelspec": {"display_name": "Python 3 (ipykernel)", "language": "python", "name": "python3"},
    "language_info": {"file_extension": ".py", "mimetype": "text/x-python", "name": "python",
                      "pygments_lexer": "ipython3"},
}
_PROGRESS_BAR = re.compile(r"\d+%\|.*\||\d+(it|s)\b.*\[\d\d:\d\d")
_HOMES = r"/home/\w|/Users/\w|[A-Z]:\\+Users\\+|/ipykernel_\d+/"


def publish(notebooks: list[Notebook], profile: Profile, figures: Path, say: Callable[[str], object]) -> list[Path]:
    """Write the outputs of the run into the notebooks and its figures into ``figures``; returns what was written.

    The worked answers in ``solutions/`` beside the notebooks are run on what the notebooks left, and written too.
    Raises :class:`Refused` when the run is not up to date or an output is unfit to be shown, ``running.Failed`` when
    an answer stops; nothing is replaced then.
    """
    hashes: dict[Path, str] = {}
    for notebook in notebooks:
        if why := why_run(notebook, {}, profile, hashes):
            raise Refused(f"notebook {notebook.stem} is not up to date ({why}); first run: "
                          f"python -m sapbert_utils reproduce --profile {profile.name}")
    answers = notebooks[0].path.parent / "solutions"
    solutions = find_notebooks(answers) if answers.is_dir() else []
    for notebook in solutions:
        run_solution(notebook, profile, say)
    texts = {n.path: published(n, n.executed(profile), profile) for n in [*notebooks, *solutions]}
    shown = [(n, json.loads(n.results(profile).read_text(encoding="utf-8"))["figures"]) for n in notebooks]
    texts[figures / "README.md"] = _gallery(shown, profile)
    figures.mkdir(parents=True, exist_ok=True)
    for path, text in texts.items():
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    pictures = [profile.figures / name for _, of_notebook in shown for name in of_notebook]
    return [*texts, *(Path(shutil.copyfile(picture, figures / picture.name)) for picture in pictures)]


def _gallery(shown: list[tuple[Notebook, dict[str, str]]], profile: Profile) -> str:
    """What each picture shows and which command makes it, as a page of Markdown."""
    lines = ["# Figures", "", f"Written by the notebooks (profile {profile.name}) into `runs/{profile.name}/figures/`, "
             "and copied here by `python -m sapbert_utils publish`."]
    for notebook, figures in shown:
        if figures:
            lines += ["", f"## {notebook.label}", "", f"`python -m sapbert_utils run {notebook.number}`", "",
                      "| figure | shows |", "|---|---|",
                      *(f"| [{name}]({name}) | {alt.replace('|', '/')} |" for name, alt in sorted(figures.items()))]
    return "\n".join(lines) + "\n"


def published(notebook: Notebook, executed: Path, profile: Profile) -> str:
    """The notebook's text with its own cells and the outputs of its executed copy."""
    shown = nbformat.read(notebook.path, as_version=4)
    ran = [c for c in nbformat.read(executed, as_version=4).cells
           if c.cell_type == "code" and "injected-parameters" not in c.metadata.get("tags", [])]
    code = [c for c in shown.cells if c.cell_type == "code"]
    if [c.source for c in code] != [c.source for c in ran]:
        raise Refused(f"notebook {notebook.stem} has changed since it ran; run it again")
    for count, (cell, source) in enumerate(zip(code, ran), start=1):
        cell.execution_count = count
        cell.outputs = [_clean(output, count) for output in source.outputs if not _is_progress(output)]
    for cell in shown.cells:
        cell.metadata = {key: value for key, value in cell.metadata.items() if key == "tags" and value}
    shown.metadata = copy.deepcopy(METADATA)
    nbformat.validate(shown)
    text = nbformat.writes(shown) + "\n"
    for fault in faults(shown, [profile.folder, REPOSITORY, notebook.path.parent, Path(sys.prefix), Path.home()]):
        raise Refused(f"notebook {notebook.stem} cannot be published: {fault}")
    if len(text.encode()) > MAX_BYTES:
        raise Refused(f"notebook {notebook.stem} cannot be published: {len(text.encode()):,} bytes, "
                      f"more than {MAX_BYTES:,}; show fewer or smaller figures")
    return text


def _is_progress(output: dict) -> bool:
    """Progress bars: a widget, or lines of tqdm on stderr."""
    if WIDGET in output.get("data", {}):
        return True
    lines = [x for x in re.split(r"[\r\n]", output.get("text", "")) if x.strip()] if output.get("name") else []
    return output.get("name") == "stderr" and all(_PROGRESS_BAR.search(line) for line in lines)


def _clean(output: dict, count: int) -> dict:
    output = copy.deepcopy(output)
    if output["output_type"] == "execute_result":
        output["execution_count"] = count
    return output


def faults(notebook: dict, folders: list[Path] = ()) -> list[str]:
    """What makes the outputs of a notebook unfit to be shown: errors, stderr, paths of the machine it ran on."""
    found = []
    names = {str(folder) for folder in folders if len(folder.parts) > 1}
    paths = re.compile("|".join([_HOMES, *(rf"(?<![\w.]){re.escape(name)}(?![\w-])" for name in sorted(names))]))
    code = [c for c in notebook["cells"] if c["cell_type"] == "code"]
    for count, cell in enumerate(code, start=1):
        for output in cell["outputs"]:
            text = str({key: value for key, value in output.get("data", output).items() if key != "image/png"})
            if output["output_type"] == "error":
                found.append(f"code cell {count} ended in {output['ename']}: {output['evalue']}")
            elif output.get("name") == "stderr":
                found.append(f"code cell {count} wrote to stderr: {output['text'].strip()[:200]}")
            elif match := paths.search(text):
                found.append(f"code cell {count} shows a path of this machine: {text[match.start():][:80]}")
    return found
