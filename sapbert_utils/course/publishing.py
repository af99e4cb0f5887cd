"""Copy the outputs of a finished run into the committed notebooks, which show what was run."""

import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nbformat

from ..files import whole_file
from .freshness import why_run
from .notebooks import Notebook, Refused, Say, find_notebooks, read_results
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


def publish(notebooks: Sequence[Notebook], profile: Profile, figures: Path, say: Say) -> list[Path]:
    """Write a run's outputs into its notebooks, its gallery into ``figures``; return the paths.

    Also run the worked answers in ``solutions/`` on the notebooks' results, and write their
    outputs. Replace nothing if the run isn't up to date, an output is unfit or an answer fails.
    """
    hashes: dict[Path, str] = {}
    for notebook in notebooks:
        why = why_run(notebook, {}, profile, hashes)
        if why:
            raise Refused(f"notebook {notebook.stem} is not up to date ({why}); first run: "
                          f"python -m sapbert_utils reproduce --profile {profile.name}")
    answers = notebooks[0].path.parent / "solutions"
    solutions = find_notebooks(answers) if answers.is_dir() else []
    for notebook in solutions:
        run_solution(notebook, profile, say)
    texts = {n.path: published(n, profile) for n in [*notebooks, *solutions]}
    ran = read_results(notebooks, profile)
    pictures = [{name: of["figures"][name] for name in of["gallery"]} for of in ran]
    texts[figures / "README.md"] = _gallery(notebooks, pictures, profile)
    for path, text in texts.items():
        with whole_file(path) as partial:
            partial.write_text(text, encoding="utf-8")
    copies = [figures / name for alts in pictures for name in alts]
    for path in copies:
        shutil.copyfile(profile.figures / "slides" / path.name, path)
    return [*texts, *copies]


def _gallery(notebooks: Sequence[Notebook], pictures: Sequence[dict[str, str]],
             profile: Profile) -> str:
    """What each picture shows and which command makes it, as a page of Markdown."""
    name = profile.name
    text = (f"# Figures\n\nWritten by the notebooks (profile {name}) into `runs/{name}/figures/`, "
            "and copied here by `python -m sapbert_utils publish`, wide enough for a slide.\n")
    for notebook, alts in zip(notebooks, pictures):
        if alts:
            text += (f"\n## {notebook.label}\n\n`python -m sapbert_utils run {notebook.stem[:2]}`\n"
                     "\n| figure | shows |\n|---|---|\n")
        for name, alt in sorted(alts.items()):
            text += f"| [{name}]({name}) | {alt.replace('|', '/')} |\n"
    return text


def published(notebook: Notebook, profile: Profile) -> str:
    """The notebook's text with its own cells and the outputs of its executed copy."""
    page = nbformat.read(notebook.path, as_version=4)
    executed = nbformat.read(notebook.executed(profile), as_version=4)
    code = [cell for cell in page.cells if cell.cell_type == "code"]
    ran = [cell for cell in executed.cells if cell.cell_type == "code"
           and "injected-parameters" not in cell.metadata.get("tags", [])]  # papermill's own cell
    if [cell.source for cell in code] != [cell.source for cell in ran]:
        raise Refused(f"notebook {notebook.stem} has changed since it ran; run it again")
    for count, (cell, source) in enumerate(zip(code, ran), start=1):
        cell.execution_count = count
        cell.outputs = [output for output in source.outputs if not _is_progress(output)]
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = count  # the cell's: papermill's own had shifted it
    for cell in page.cells:
        tags = cell.metadata.get("tags")
        cell.metadata = {"tags": tags} if tags else {}
    page.metadata = nbformat.from_dict(METADATA)
    nbformat.validate(page)
    text = nbformat.writes(page) + "\n"
    folders = [profile.folder, REPOSITORY, notebook.path.parent, Path(sys.prefix), Path.home()]
    found = faults(page, folders)
    if len(text.encode()) > MAX_BYTES:
        found.append(f"{len(text.encode()):,} bytes, more than {MAX_BYTES:,}; "
                     "show fewer or smaller figures")
    if found:
        raise Refused(f"notebook {notebook.stem} cannot be published: {found[0]}")
    return text


def _is_progress(output: Mapping[str, Any]) -> bool:
    """Whether an output is a progress bar: a widget, or lines of tqdm on stderr."""
    if output.get("name") == "stderr":
        lines = [line for line in re.split(r"[\r\n]", output["text"]) if line.strip()]
        return all(_PROGRESS_BAR.search(line) for line in lines)
    return WIDGET in output.get("data", {})


def faults(notebook: Mapping[str, Any], folders: Sequence[Path] = ()) -> list[str]:
    """What makes a notebook's outputs unfit to be shown: errors, stderr, paths of this machine."""
    found = []
    # match whole names: /srv/run is not in /srv/runs, and "/" would be in every path
    names = [rf"(?<![\w.]){re.escape(str(f))}(?![\w-])" for f in folders if len(f.parts) > 1]
    paths = re.compile("|".join([_HOMES, *names]))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    for count, cell in enumerate(code, start=1):
        for output in cell["outputs"]:
            shown = output.get("data", output).items()
            match = paths.search(str({kind: text for kind, text in shown if kind != "image/png"}))
            if output["output_type"] == "error":
                found.append(f"code cell {count} ended in {output['ename']}: {output['evalue']}")
            elif output.get("name") == "stderr":
                found.append(f"code cell {count} wrote to stderr: {output['text'].strip()[:200]}")
            elif match:
                text = match.string[match.start():][:80]
                found.append(f"code cell {count} shows a path of this machine: {text}")
    return found
