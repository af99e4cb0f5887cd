"""Each chapter has three exercises with a checker, its worked answers pass, and each checker is tested."""

import re
from pathlib import Path

import nbformat
import pytest

from sapbert_utils.course import check
from sapbert_utils.course.notebooks import NOTEBOOKS

COURSE = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
CHECKERS = [name for name in check.__all__ if re.fullmatch(r"[a-z]+_\d", name)]
each = pytest.mark.parametrize("path", COURSE, ids=lambda path: path.stem[:2])


def said(path):
    """Checker -> what the cell that calls it shows."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    return {name: [o.data["text/plain"] for o in cell.outputs if o.output_type == "execute_result"]
            for cell in code for name in re.findall(r"^check\.(\w+_\d)\(", cell.source, re.MULTILINE)}


@each
def test_three_exercises_wait_for_an_answer_and_the_worked_answers_pass(path):
    asked, answered = said(path), said(path.parent / "solutions" / path.name)
    assert len(asked) == 3 and list(asked) == list(answered) and set(asked) <= set(CHECKERS)
    assert all(len(text) == 1 and text[0].startswith("○ No answer yet") for text in asked.values()), asked
    assert all(len(text) == 1 and text[0].startswith("✓ Right.") for text in answered.values()), answered


@each
def test_a_chapter_asks_before_it_shows_and_ends_with_a_quiz(path):
    cells = nbformat.read(path, as_version=4).cells
    assert any("check.guess(" in cell.source for cell in cells)
    quiz = next(cell.source for cell in cells if cell.source.startswith("## Quiz"))
    assert len(re.findall(r"^\*\*\d\.", quiz, re.MULTILINE)) == 5
    for question in re.split(r"^\*\*\d\.", quiz, flags=re.MULTILINE)[1:]:
        options = re.findall(r"<details><summary>.*?</summary>\s*(\w+)", question, re.DOTALL)
        assert options.count("Right") == 1 and options.count("No") == len(options) - 1 >= 1, question
    stars = [line.count("★") for cell in cells for line in cell.source.splitlines()
             if line.startswith("**Exercise")]
    assert sorted(stars) == stars and stars[0] >= 1 and stars[-1] <= 3


def test_each_checker_is_in_a_chapter_and_has_a_test():
    used = {name for path in COURSE for name in said(path)}
    tests = "\n".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_check_*.py"))
    assert set(CHECKERS) == used and len(CHECKERS) >= 24
    assert [name for name in CHECKERS if f"judged(check.{name}," not in tests] == []
