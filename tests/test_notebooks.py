"""House style of the committed notebooks, and outputs that are fit to be shown."""

import ast
import json
import re
from statistics import median

import nbformat
import papermill
import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.course.notebooks import NOTEBOOKS, read_notebook
from sapbert_utils.course.profiles import PROFILES
from sapbert_utils.course.publishing import MAX_BYTES, METADATA, faults
from sapbert_utils.data import (
    ENGLISH,
    MULTILINGUAL,
    held_out,
    read_mrconso,
    read_pairs,
    read_semantic_types,
)

COURSE = sorted(NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))
SOLUTIONS = sorted((NOTEBOOKS / "solutions").glob("*.ipynb"))
SCALARS = {"str", "int", "float", "bool"}
each = pytest.mark.parametrize("path", COURSE, ids=lambda p: p.stem[:2])
every = pytest.mark.parametrize("path", COURSE + SOLUTIONS, ids=lambda p: p.parent.name[:1] + p.stem[:2])


def cells(path, kind=None):
    return [c for c in nbformat.read(path, as_version=4).cells if kind in (None, c.cell_type)]


def headings(path):
    lines = [line for c in cells(path, "markdown") for line in c.source.splitlines()]
    return [line.lstrip("# ").strip().lower() for line in lines if re.match(r"#+ ", line)]


def test_nine_notebooks_in_order_each_with_its_solutions():
    assert [p.stem[:2] for p in COURSE] == [f"{i:02}" for i in range(9)]
    assert {p.stem for p in SOLUTIONS} <= {p.stem for p in COURSE}


@each
def test_opens_with_title_promises_and_the_table_of_profiles(path):
    assert cells(path)[0].cell_type == "markdown" and re.match(r"# \S", cells(path)[0].source)
    before = cells(path)
    before = before[: next(i for i, c in enumerate(before) if c.cell_type == "code")]
    opening = "\n".join(c.source for c in before)
    for promise in ("What you'll do", "What you'll learn", "What you'll need"):
        assert promise in opening.replace("’", "'")
    head = next(line for line in opening.splitlines() if line.startswith("|")).lower()
    assert all(word in head for word in ("time", "memory", "download", "hardware")), head
    assert all(re.search(rf"^\|[ `*]*{name}\b", opening, re.MULTILINE) for name in PROFILES)


@each
def test_has_one_parameters_cell_of_annotated_commented_scalars(path):
    tagged = [c for c in cells(path) if "parameters" in c.metadata.get("tags", [])]
    assert len(tagged) == 1 and tagged[0].cell_type == "code"
    nodes = ast.parse(tagged[0].source).body
    assert all(isinstance(node, ast.AnnAssign) for node in nodes)
    parameters = read_notebook(path).parameters
    assert list(parameters)[:1] == ["profile"] and "seed" in parameters
    assert all(p.annotation in SCALARS and p.help for p in parameters.values()), parameters
    seen = papermill.inspect_notebook(path)  # what papermill --help-notebook shows is the same
    assert {p["name"]: p["help"] for p in seen.values()} == {p.name: p.help for p in parameters.values()}


@each
def test_records_its_run_under_its_own_name(path):
    code = cells(path, "code")
    assert f'Run("{path.stem}"' in "\n".join(c.source for c in code)
    assert any("run.finish()" in c.source for c in code)


@every
def test_code_cells_are_short_and_told_about(path):
    code, prose = cells(path, "code"), cells(path, "markdown")
    lines = [c.source.splitlines() for c in code]
    assert all(c.source.strip() for c in code)
    assert [of_cell[0] for of_cell in lines if len(of_cell) > 20] == []
    assert [line for of_cell in lines for line in of_cell if len(line) > 100] == []
    text = re.sub(r"```.*?```|\$\$.*?\$\$", "", "\n".join(c.source for c in prose), flags=re.DOTALL)
    # tables, quotes and links can't be wrapped
    assert [line for line in text.splitlines() if len(line) > 100 and line[0] not in "|>["] == []
    assert len(prose) >= 0.7 * len(code)
    if path in COURSE:
        assert 40 <= len(cells(path)) <= 75
        assert median(map(len, lines)) <= 6, sorted(map(len, lines))


@each
def test_closes_with_recap_exercises_reading_and_what_is_next(path):
    found = headings(path)
    for word in ("recap", "exercises", "further reading", "next"):
        assert any(word in heading for heading in found), word
    text = "\n".join(c.source for c in cells(path, "markdown"))
    after = re.split(r"^#+ .*exercises", text, flags=re.MULTILINE | re.IGNORECASE)[-1]
    after = re.split(r"^#+ .*further reading", after, flags=re.MULTILINE | re.IGNORECASE)[0]
    assert len(re.findall(r"^(?:#+ .*\b|\*{0,2})(?:exercise )?[123][.):]", after, re.MULTILINE | re.IGNORECASE)) == 3


@pytest.mark.parametrize("path", COURSE[1:5], ids=lambda p: p.stem[:2])
def test_toy_cells_are_checked_by_their_output(path):
    checked = [c for c in cells(path, "code") if "nbval-check-output" in c.metadata.get("tags", [])]
    assert checked and all(c.outputs for c in checked)


@every
def test_outputs_are_complete_clean_and_described(path):
    notebook = nbformat.read(path, as_version=4)
    code = cells(path, "code")
    assert [c.execution_count for c in code] == list(range(1, len(code) + 1))
    assert faults(notebook, [NOTEBOOKS.parent]) == []
    for output in (o for c in code for o in c.outputs):
        assert "Warning" not in str(output.get("text", ""))
        if "image/png" in output.get("data", {}):
            assert output.metadata.get("image/png", {}).get("alt"), "an image needs alternative text"


@every
def test_metadata_is_clean_and_the_file_small(path):
    notebook = nbformat.read(path, as_version=4)
    assert notebook.metadata == METADATA
    assert all(set(c.metadata) <= {"tags"} for c in notebook.cells)
    assert path.stat().st_size <= MAX_BYTES
    nbformat.validate(notebook)


def test_notebook_06_refuses_a_method_that_it_does_not_have(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    assert main(["run", "06", "--profile", "smoke", "-p", "method=pca"]) == 1
    assert "unknown method 'pca'; choose umap or tsne" in capsys.readouterr().err


def test_notebook_01_adds_vocabularies_their_types_and_their_brands(tmp_path, monkeypatch):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    given = {"vocabularies": "ICD11,WHOEML,DRUGS", "trade_names": "true",
             "semantic_types": "DISO,CHEM"}
    words = [word for name, value in given.items() for word in ("-p", f"{name}={value}")]
    assert main(["run", "01", "--profile", "smoke", *words]) == 0
    data = tmp_path / "smoke" / "data"
    rows, wider = (read_mrconso(data / f"metathesaurus{end}").df() for end in ("", "_with_mesh"))
    assert {"HPO", "ICD10", "ICD11", "DRUGS"} <= set(rows["source"])
    types = read_semantic_types(data / "metathesaurus").df()
    assert {"T047", "T121"} <= set(types["tui"]) and set(types["cui"]) == set(rows["cui"])
    assert "way,source,terms" in (data / "01_merged.csv").read_text()
    record = json.loads((tmp_path / "smoke" / "results" / f"{COURSE[1].stem}.json").read_text())
    assert record["parameters"]["vocabularies"] == "ICD11,WHOEML,DRUGS"
    for file, benchmarks in (("pairs_english.txt", ENGLISH),
                             ("pairs_english_with_mesh.txt", ENGLISH),
                             ("pairs_multilingual.txt", (*ENGLISH, *MULTILINGUAL)),
                             ("pairs_english_cased.txt", (*ENGLISH, *MULTILINGUAL))):
        names = wider if "with_mesh" in file else rows
        strings, codes = held_out(benchmarks)
        pairs = read_pairs(data / file)
        assert strings.isdisjoint(pairs["name1"].str.lower())
        assert strings.isdisjoint(pairs["name2"].str.lower())
        held = [pair in codes for pair in zip(names["source"], names["code"], strict=True)]
        assert len(pairs) > 1_000 and set(names.loc[held, "cui"]).isdisjoint(pairs["cui"])


def test_notebook_01_makes_pairs_without_mesh_where_mesh_is_in_the_metathesaurus(tmp_path, monkeypatch):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    data = tmp_path / "smoke" / "data"
    data.mkdir(parents=True)
    (data / "pairs_english_with_mesh.txt").write_text("C1||of a run||without MeSH\n", encoding="utf-8")
    assert main(["run", "01", "--profile", "smoke", "-p", "vocabularies=MSH"]) == 0
    assert not (data / "pairs_english_with_mesh.txt").exists()  # notebook 03 would train on it
    with_mesh, without = (read_pairs(data / f"pairs_english{end}.txt") for end in ("", "_without_mesh"))
    rows = read_mrconso(data / "metathesaurus").df()
    other = set(zip(rows["cui"], rows["name"].str.lower(), rows["source"] != "MSH", strict=True))
    for name in ("name1", "name2"):
        assert {(cui, text, True) for cui, text in zip(without["cui"], without[name])} <= other
    assert len(with_mesh) > len(without) > 1_000


def test_notebook_01_refuses_a_vocabulary_that_there_is_not(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    assert main(["run", "01", "--profile", "smoke", "-p", "vocabularies=SNOMED"]) == 1
    assert "unknown vocabulary SNOMED; choose from MSH, MSH-NM, GO" in capsys.readouterr().err
