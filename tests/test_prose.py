"""The prose that readers see: spelled right, without the faults that a linter knows, and read aloud once."""

import json
import re
import subprocess
import sys

import pytest

from sapbert_utils.course.notebooks import NOTEBOOKS
from sapbert_utils.course.profiles import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
# quotes and symbols are the house's own; "very" and a cliché may be the everyday word
LEFT_TO_US = ("typography", "weasel_words.very", "cliches", "redundancy.misc.after_the_deadline")
# said once, and translated word by word
TRANSLATED = ("not in the letters cannot be weighed", "pays as well", "have one only", "smaller the steps become by",
              "told to part what is the same", "more steps than a minute has", "kept only against the other",
              "reorders, it does not yet part", "more of it only disturbs", "under the glass", "drawn by lot",
              "robbed of their concept")


@pytest.fixture
def prose(tmp_path_factory):
    """A folder with the pages, and the Markdown cells of each notebook as one page."""
    folder = tmp_path_factory.mktemp("prose")
    for page in PAGES:
        (folder / page.name).write_text(page.read_text(encoding="utf-8"), encoding="utf-8")
    for path in [*NOTEBOOKS.glob("0*.ipynb"), *NOTEBOOKS.glob("solutions/0*.ipynb")]:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        text = "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
        (folder / f"{path.parent.name}-{path.stem}.md").write_text(text, encoding="utf-8")
    return folder


def told(*command, cwd=REPOSITORY):
    done = subprocess.run([sys.executable, "-m", *command], cwd=cwd, capture_output=True, text=True)
    assert not done.stderr, done.stderr
    return done.stdout


def test_everything_is_spelled_right(prose, tmp_path):
    config = ["--toml", str(REPOSITORY / "pyproject.toml")]
    (tmp_path / "fault.md").write_text("seperate the neighbors", encoding="utf-8")
    assert "separate" in told("codespell_lib", *config, ".", cwd=tmp_path)  # it is awake
    assert told("codespell_lib", *config, ".", cwd=prose) == ""
    assert told("codespell_lib", *config, "sapbert_utils", "tests/evaluation", "tests/model", "benchmarks") == ""


def faults(*pages):
    found = json.loads(told("proselint", "check", "-o", "json", *map(str, pages)))["result"]
    return [(page.rsplit("/", 1)[-1], one["pos"], one["message"]) for page, of_page in found.items()
            for one in of_page["diagnostics"] if not one["check_path"].startswith(LEFT_TO_US)]


def test_a_linter_finds_nothing(prose, tmp_path):
    (tmp_path / "fault.md").write_text("The the margin is very unique.", encoding="utf-8")
    assert faults(tmp_path / "fault.md")
    for page in prose.iterdir():  # code isn't prose
        text = re.sub(r"```.*?```|`[^`\n]+`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
        page.write_text(text, encoding="utf-8")
    assert faults(*sorted(prose.iterdir())) == []


def test_nothing_reads_translated(prose):
    whole = {path.name: path.read_text(encoding="utf-8") for path in prose.iterdir()}
    assert [(name, words) for name, text in whole.items() for words in TRANSLATED if words in text] == []


def test_the_teachers_guide_sends_nobody_to_a_section_that_is_not_there():
    sections = {line.lstrip("# ").strip() for path in NOTEBOOKS.glob("0*.ipynb")
                for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
                for line in "".join(cell["source"]).splitlines()
                if cell["cell_type"] == "markdown" and line.startswith("#")}
    guide = re.sub(r"\s+", " ", (REPOSITORY / "docs" / "teaching.md").read_text(encoding="utf-8"))
    italic = re.findall(r"(?<!\*)\*([^*]+)\*(?!\*)", guide)
    named = {name for name in italic if re.match(r"[A-Z\d]", name)}
    assert len(named) > 30 and named - sections == {"Narrow nose", "Jaccard", "Levenshtein"}
    figures = {path.name for path in (REPOSITORY / "figures").glob("*.png")}
    assert set(re.findall(r"`(\d\d_\w+\.png)`", guide)) <= figures
