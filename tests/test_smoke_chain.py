"""The whole course through papermill with the smoke profile: it runs, is skipped, and fails when it is broken."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import jsonschema
import nbformat
import pytest

from sapbert_utils.course.notebooks import NOTEBOOKS
from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.data.pairs import read_pairs
from sapbert_utils.data.rrf import read_mrconso
from sapbert_utils.data.splits import ENGLISH, MULTILINGUAL, held_out, layperson_strings
from sapbert_utils.data.terminology import open_terms

SCHEMA = REPOSITORY / "tests" / "course" / "results.schema.json"

STEMS = sorted(path.stem for path in NOTEBOOKS.glob("[0-9][0-9]_*.ipynb"))


def runner(runs, *arguments):
    """One command in a process of its own: the finished process and its seconds."""
    environment = {k: v for k, v in os.environ.items() if k not in ("SAPBERT_PROFILE", "SAPBERT_BENCHMARKS")}
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "sapbert_utils", *arguments], cwd=REPOSITORY, capture_output=True,
                          text=True, env={**environment, "SAPBERT_RUNS": str(runs)})
    return done, time.perf_counter() - started


@pytest.fixture(scope="module")
def chain(tmp_path_factory):
    # `make test` keeps this run for the notebooks that it tests next
    runs = Path(os.environ.get("SMOKE_RUNS") or tmp_path_factory.mktemp("runs"))
    done, seconds = runner(runs, "reproduce", "--profile", "smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    return runs, done, seconds


def test_the_chain_writes_nine_valid_results_and_its_table(chain):
    runs, done, _ = chain
    assert len(STEMS) == 9
    for stem in STEMS:
        record = json.loads((runs / "smoke" / "results" / f"{stem}.json").read_text())
        jsonschema.validate(record, json.loads(SCHEMA.read_text()))
        assert record["notebook"] == stem and record["profile"] == "smoke"
        assert (runs / "smoke" / "notebooks" / f"{stem}.ipynb").exists()
    assert done.stderr == "" and done.stdout.splitlines()[-1].startswith("9 notebooks, ")


def test_no_pair_of_the_multilingual_models_holds_a_name_or_concept_of_the_held_out_blocks(chain):
    strings, held_codes = held_out(MULTILINGUAL)
    held = {pair for pair in held_codes if pair[0] == "ICD10"}
    known = open_terms()
    carry = [pair in held for pair in zip(known["source"], known["code"], strict=True)]
    held = set(known.loc[carry, "cui"])
    for name in ("pairs_multilingual.txt", "pairs_english_cased.txt"):
        pairs = read_pairs(chain[0] / "smoke" / "data" / name)
        assert len(pairs) > 100 and not held & set(pairs["cui"])
        assert strings.isdisjoint(pairs["name1"].str.lower()) and strings.isdisjoint(pairs["name2"].str.lower())


def test_the_pairs_with_mesh_hold_more_and_neither_file_what_the_benchmarks_ask_for(chain):
    data = chain[0] / "smoke" / "data"
    without, with_mesh = (read_pairs(data / f"pairs_english{end}.txt") for end in ("", "_with_mesh"))
    rows = read_mrconso(data / "metathesaurus_with_mesh")
    mesh = set(rows.filter("source = 'MSH'").df()["cui"])
    assert json.loads((data / "manifest.json").read_text())["mesh"] == "without"
    assert not {cui for cui in without["cui"] if cui.startswith("MSH:")}
    assert mesh & set(with_mesh["cui"]) and len(with_mesh) > len(without) > 1_000
    assert set(without["cui"]) <= set(with_mesh["cui"])
    strings = held_out(ENGLISH)[0] | layperson_strings()
    for pairs in (without, with_mesh):
        assert strings.isdisjoint(pairs["name1"]) and strings.isdisjoint(pairs["name2"])


@pytest.mark.parametrize(("mixture", "message"), [
    ("HPO=0.8", "'HPO=0.8' in the mixture 'HPO=0.8' is not of the form SOURCE:SHARE"),
    ("HPO:0.5,SNOMED:0.5", "no pair is of a concept with a name in 'SNOMED'")])
def test_notebook_03_refuses_a_mixture_that_it_cannot_make(chain, tmp_path, mixture, message):
    runs = what_03_left(chain[0], tmp_path / "runs")
    done, _ = runner(runs, "run", "03", "--profile", "smoke", "-p", f"mixture={mixture}")
    assert done.returncode == 1 and message in done.stderr, done.stderr


def test_a_second_call_runs_nothing(chain):
    done, seconds = runner(chain[0], "reproduce", "--profile", "smoke")
    assert done.returncode == 0 and done.stdout.count("up to date") == 9, done.stdout + done.stderr
    assert seconds < 20


def test_a_second_run_of_the_maps_gives_the_same_coordinates(chain):
    page = chain[0] / "smoke" / "figures" / "06_map.html"
    first, written = page.read_bytes(), page.stat().st_mtime_ns
    done, _ = runner(chain[0], "run", "06", "--profile", "smoke")
    assert done.returncode == 0 and page.stat().st_mtime_ns > written, done.stdout + done.stderr
    assert page.read_bytes() == first


def what_03_left(runs, place):
    """A run folder of one's own, with the data and the English models of the chain."""
    for part in ("data", "models/sapbert", "models/sapbert-with-mesh"):
        shutil.copytree(runs / "smoke" / part, place / "smoke" / part,
                        ignore=shutil.ignore_patterns("vectors"))
    return place


def metrics_of(runs, stem):
    record = json.loads((runs / "smoke" / "results" / f"{stem}.json").read_text())
    return {metric["name"]: metric["value"] for metric in record["metrics"]}


def test_a_model_called_like_ours_gets_a_row_of_its_own(chain, tmp_path):
    runs = what_03_left(chain[0], tmp_path / "runs")
    other = shutil.copytree(runs / "smoke" / "models" / "sapbert", tmp_path / "sapbert")
    done, _ = runner(runs, "run", "04", "--profile", "smoke", "-p", f"models={other}/")
    assert done.returncode == 0, done.stdout + done.stderr
    executed = (runs / "smoke" / "notebooks" / f"{STEMS[4]}.ipynb").read_text()
    assert f"{other}/ cls·cosine" in executed and "sapbert mean·cosine" in executed
    assert metrics_of(runs, STEMS[4]) == metrics_of(chain[0], STEMS[4])


@pytest.mark.parametrize("sources", ["", " HPO, MONDO"])
def test_notebook_07_takes_all_sources_and_blanks_between_them(chain, tmp_path, sources):
    runs = what_03_left(chain[0], tmp_path / "runs")
    done, _ = runner(runs, "run", "07", "--profile", "smoke", "-p", f"sources={sources}")
    assert done.returncode == 0, done.stdout + done.stderr
    found, usual = (metrics_of(r, STEMS[7])["names in the index"] for r in (runs, chain[0]))
    assert found == usual if sources else found > usual


def test_each_notebook_alone_names_the_one_it_needs(tmp_path):
    done, _ = runner(tmp_path, "run", "04", "--profile", "smoke")
    assert done.returncode == 1 and "python -m sapbert_utils run 0" in done.stderr, done.stderr


def test_a_broken_notebook_fails_the_chain(chain, tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for stem in STEMS[:2]:
        notebook = nbformat.read(NOTEBOOKS / f"{stem}.ipynb", as_version=4)
        if stem == STEMS[1]:
            notebook.cells.insert(2, nbformat.v4.new_code_cell("broken = 1 / 0"))
        nbformat.write(notebook, folder / f"{stem}.ipynb")
    done, _ = runner(chain[0], "reproduce", "--profile", "smoke", "--notebooks", str(folder))
    assert done.returncode == 1 and "ZeroDivisionError" in done.stderr and STEMS[1] in done.stderr
    done, _ = runner(chain[0], "reproduce", "--profile", "smoke")
    assert done.stdout.count("up to date") == 9, "the failed copy must leave the last good run valid"
