"""Notebook 01 on a small part of a UMLS release, as people cut it."""

import subprocess
import sys

import pytest

from sapbert_utils.course.profiles import REPOSITORY
from sapbert_utils.data.pairs import read_pairs

ENGLISH = [("C0000001", "gout"), ("C0000001", " podagra "), ("C0000002", "renal calculus "),
           ("C0000002", "urolith"), ("C0000003", "myopathy")]


def write_subset(folder, names, language):
    folder.mkdir()
    lines = [f"{cui}|{language}|P|L{i}|PF|S{i}|Y|A{i}||M{i}|D{i}|MSH|PT|D{i}|{name}|0|N||\n"
             for i, (cui, name) in enumerate(names)]
    (folder / "MRCONSO.RRF").write_text("".join(lines))


def notebook_01(folder, *parameters):
    command = [sys.executable, "-m", "sapbert_utils", "run", "01", "--profile", "smoke",
               "-p", f"umls_dir={folder}", *parameters]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)


@pytest.mark.parametrize("mode", ["fixed", "compat"])
def test_english_alone_without_an_ambiguous_name_and_with_outer_blanks_runs(tmp_path, mode):
    write_subset(tmp_path / "META", ENGLISH, "ENG")
    done = notebook_01(tmp_path / "META", "-p", f"mode={mode}")
    assert done.returncode == 0, done.stderr
    found = read_pairs(tmp_path / "runs" / "smoke" / "data" / "pairs_english.txt")
    assert sorted(map(sorted, found[["name1", "name2"]].to_numpy().tolist())) == [
        ["gout", "podagra"], ["renal calculus", "urolith"]]


def test_a_release_without_english_says_what_is_missing(tmp_path):
    write_subset(tmp_path / "META", ENGLISH, "GER")
    done = notebook_01(tmp_path / "META")
    assert done.returncode == 1
    assert ("no English name is left at the stage 'language ENG': choose other filters"
            in done.stderr)
