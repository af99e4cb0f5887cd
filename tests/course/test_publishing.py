"""Publishing: what is committed is what was run, and nothing that is unfit to be shown."""

import nbformat
import pytest

from sapbert_utils.course.publishing import faults

FIGURE = '''import matplotlib.pyplot as plt
from tqdm.auto import tqdm
for _ in tqdm(range(3)): pass
figure, axes = plt.subplots(figsize=(1, 1)); plt.close(figure)
run.figure(figure, "map", alt="an empty map")
run.figure(figure, "detail", alt="a detail", gallery=False)'''


def publish(course):
    return course.call("publish", "--figures", str(course.figures))


def test_publishes_outputs_without_run_metadata(course):
    course.write("02_alone", FIGURE, "1 + 1")
    before = {p.name: [c.source for c in nbformat.read(p, 4).cells] for p in course.notebooks.iterdir()}
    course.lines()
    code, _, err = publish(course)
    assert code == 0, err
    for path in sorted(course.notebooks.iterdir()):
        notebook = nbformat.read(path, 4)
        assert [c.source for c in notebook.cells] == before[path.name]
        assert set(notebook.metadata) == {"kernelspec", "language_info"}
        assert all(set(c.metadata) <= {"tags"} for c in notebook.cells)
        code_cells = [c for c in notebook.cells if c.cell_type == "code"]
        assert [c.execution_count for c in code_cells] == list(range(1, len(code_cells) + 1))
        assert not faults(notebook)
    outputs = [output for cell in code_cells for output in cell.outputs]  # of 02_alone, the last one
    assert [list(o.data) for o in outputs] == [["image/png", "text/plain"]] * 2 + [["text/plain"]]
    assert outputs[0].metadata["image/png"]["alt"] == "an empty map" and outputs[2].execution_count == 4
    assert {path.name for path in course.figures.iterdir()} == {"map.png", "README.md"}  # no detail
    gallery = (course.figures / "README.md").read_text()
    assert "| [map.png](map.png) | an empty map |" in gallery and "`python -m sapbert_utils run 02`" in gallery
    assert course.lines() == ["up to date"] * 3


def write_answer(course, source):
    make = nbformat.v4
    first = make.new_code_cell('profile: str = ""', metadata={"tags": ["parameters"]})
    path = course.notebooks / "solutions" / "01_pairs.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(make.new_notebook(cells=[first, make.new_code_cell(source)]), path)
    return path


def test_runs_and_publishes_the_worked_answers(course):
    answer = write_answer(course, "print('answered on', profile)")
    course.lines()
    code, out, err = publish(course)
    assert code == 0 and "solutions/01 pairs … " in out, err
    assert nbformat.read(answer, 4).cells[-1].outputs[0].text == "answered on demo\n"
    write_answer(course, "1 / 0")
    before = {p: p.read_bytes() for p in course.notebooks.rglob("*.ipynb")}
    code, _, err = publish(course)
    assert code == 1 and "ZeroDivisionError" in err
    assert {p: p.read_bytes() for p in course.notebooks.rglob("*.ipynb")} == before


def test_refuses_what_has_not_run(course):
    course.lines()
    course.write("01_pairs", "pass")
    code, out, err = publish(course)
    assert code == 2 and out == "" and "01_pairs" in err and "reproduce --profile demo" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("cell, words", [
    ("import sys\nprint('careful', file=sys.stderr)", "stderr"),
    ("import sys\nprint(sys.prefix + '/lib')", "path of this machine"),
    ("print(profile.folder)", "path of this machine"),
    ("from IPython.display import HTML\nHTML('x' * 600_000)", "bytes"),
])
def test_refuses_unfit_outputs_and_replaces_nothing(course, cell, words):
    course.write("02_alone", cell)
    before = {p.name: p.read_bytes() for p in course.notebooks.iterdir()}
    course.lines()
    code, _, err = publish(course)
    assert code == 2 and "02_alone" in err and words in err
    assert {p.name: p.read_bytes() for p in course.notebooks.iterdir()} == before and not course.figures.exists()


def test_refuses_an_error(course):
    course.lines()
    path = course.runs / "demo/notebooks/02_alone.ipynb"
    notebook = nbformat.read(path, 4)
    notebook.cells[-1].outputs = [nbformat.v4.new_output("error", ename="ValueError", evalue="no", traceback=[])]
    nbformat.write(notebook, path)
    code, _, err = publish(course)
    assert code == 2 and "02_alone" in err and "ValueError: no" in err
