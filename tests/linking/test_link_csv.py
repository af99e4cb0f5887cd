"""A column of a CSV file, linked: every row kept as it is, and refused where it cannot be read."""

import csv
import json
from dataclasses import replace

import pandas as pd
import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.data.tables import read_table
from sapbert_utils.linking import Linker, csv_files, link_csv
from sapbert_utils.linking import linker as linker_module


@pytest.fixture
def link(linker, tmp_path):
    """Link a file of this content; returns how many rows went in, and the rows that came out."""
    def run(data, column="term", **settings):
        content = data if isinstance(data, bytes) else data.encode()
        (tmp_path / "in.csv").write_bytes(content)
        count = link_csv(linker, tmp_path / "in.csv", tmp_path / "out.csv", column, **settings)
        return count, [cells for _, cells in read_table(tmp_path / "out.csv")]

    return run


@pytest.mark.parametrize("size", [1, 2, 1000])
def test_a_csv_is_linked_in_parts_with_every_row_kept(link, tmp_path, monkeypatch, size):
    monkeypatch.setattr(csv_files, "ROWS", size)
    long = "nose " * 250
    rows = pd.DataFrame({"id": ["1", "NA", "3", "4"],
                         "term": ["Heart Attack", "", long, " wide nose"]})
    count, _ = link(rows.to_csv(index=False), k=2, threshold=0.99)
    out = pd.read_csv(tmp_path / "out.csv", dtype="str", keep_default_na=False)
    assert count == 4 and not list(tmp_path.glob("partial-*"))
    assert out["id"].tolist() == ["1", "1", "NA", "3", "3", "4", "4"]
    assert out["accepted"].tolist() == ["True", "False", "", "False", "False", "True", "False"]
    assert link("term\n\u200b\n\ufeff \n")[1][1:] == [["\u200b", *[""] * 5], ["\ufeff ", *[""] * 5]]
    assert out.loc[out["id"] == "4", "cui"].tolist() == ["C2", "C1"] and out["term"][3] == long


def test_a_csv_is_linked_by_the_long_form_that_its_context_gives(link):
    text = "term,text\nHA,A heart attack (HA) in May.\nHA,HA in May.\n"
    _, (header, first, second) = link(text, k=1, context="text")
    score = header.index("score")
    assert [first[0], second[0]] == ["HA", "HA"] and first[header.index("cui")] == "C1"
    assert float(first[score]) > 0.999 > float(second[score])
    with pytest.raises(ValueError, match="no column 'where'; its columns are: term, text"):
        link(text, context="where")


@pytest.mark.parametrize("data, column, message", [
    (b"id,term\n1,x\n", "", "no column ''; its columns are: id, term"),
    (b"id,term\n1,x\n", "mention", "no column 'mention'; its columns are: id, term"),
    (b"term\nfi\xe8vre\n", "term", "line 2: not utf-8-sig .*cp1252"), (b"", "term", "is empty"),
    (b"term\n", "term", "no rows"), (b"id,term\n1,x\n2,y,z\n", "term", "line 3"),
    # a comma at the end of every line but the first, as spreadsheets write it
    (b"id,mention\n1,gout,\n2,flu,\n", "mention", "line 2: the header has 2 cells, this row has 3"),
    (b"id,term\n1\n", "term", "line 2: the header has 2 cells, this row has 1"),
    (b'id,term\n1,gout\n2,"flu\n3,cold\n4,fever\n', "term", "line 3: a quotation mark is not clo"),
    (b'id,term\n1,"flu\n2,cold\n3,"gout"\n', "term", "line 2: a quotation mark is not closed"),
    (b"term,term\nx,y\n", "term", "several columns are called 'term'")])
def test_a_csv_that_cannot_be_read_is_refused_and_the_old_answer_kept(
        link, tmp_path, data, column, message):
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(ValueError, match=message) as error:
        link(data, column)
    assert str(tmp_path / "in.csv") in str(error.value)
    assert (tmp_path / "out.csv").read_text() == "before" and not list(tmp_path.glob("partial-*"))


def test_a_comma_at_the_end_of_every_line_is_a_column_without_a_name(link):
    count, (header, *rows) = link("id,term,\n1,heart attack,\n2,wide nose,\n", k=1)
    assert count == 2 and header[:3] == ["id", "term", ""]
    assert [row[:5] for row in rows] == [["1", "heart attack", "", "1", "C1"],
                                         ["2", "wide nose", "", "1", "C2"]]


@pytest.mark.parametrize("name", ["_mention", "mention", "accepted", "rank_found"])
def test_a_column_of_the_readers_is_kept_whatever_it_is_called(link, name):
    _, (header, row) = link(f"{name},term,rank\nmine,wide nose,first\n", k=1)
    assert row[header.index(name)] == "mine" and row[header.index("rank")] == "first"
    assert len(set(header)) == len(header) == 8
    assert row[3:5] == ["1", "C2"]


def test_columns_of_the_same_name_are_kept_as_they_stand(link):
    _, (header, row) = link("a,term,a\n1,wide nose,2\n", k=1)
    assert header[:3] == ["a", "term", "a"] and row[:3] == ["1", "wide nose", "2"]


def test_a_csv_may_have_columns_of_the_answers_names(link):
    _, (header, *rows) = link("rank,term,name\nfirst,heart attack,Ann\nsecond,,Ben\n", k=1)
    out = pd.DataFrame(rows, columns=header)
    assert out["rank"].tolist() == ["first", "second"] and out["name"].tolist() == ["Ann", "Ben"]
    assert out["rank_found"].tolist() == ["1", ""]
    assert out["name_found"].tolist() == ["heart attack", ""]


def test_as_many_rows_come_out_as_go_in_whatever_line_ends_the_cells_hold(link, tmp_path):
    texts = ["gout\rfoot", "gout\nfoot", "gout\r\nfoot", 'said "gout"', "a, b", "plain"]
    rows = "".join('"{}"\n'.format(text.replace('"', '""')) for text in texts)
    count, (_, *out) = link(f"term\n{rows}", k=1)
    assert count == len(out) == 6 and [row[0] for row in out] == texts
    assert (tmp_path / "out.csv").read_bytes().endswith(b"\n")
    assert len(pd.read_csv(tmp_path / "out.csv")) == 6


def test_a_long_cell_and_a_byte_order_mark_are_read(link):
    long = "x" * 140_000
    before = csv.field_size_limit()
    for mark in (b"", b"\xef\xbb\xbf"):
        for encoding in ("utf-8", "utf-8-sig"):
            data = mark + f"term,note\nwide nose,{long}\n".encode()
            _, (header, row) = link(data, k=1, encoding=encoding)
            assert header[0] == "term" and row[1] == long
    assert csv.field_size_limit() == before, "the program's own limit must stay"


def test_a_csv_of_another_encoding_is_read_when_it_is_named(link, tmp_path):
    for encoding in ("cp1252", "utf-16"):
        assert link("term\nfièvre\n".encode(encoding), k=1, encoding=encoding)[0] == 1
        assert "fièvre" in (tmp_path / "out.csv").read_text(encoding="utf-8")
    with pytest.raises(ValueError, match="in.csv, line 1: not utf-16"):
        link("term\nfièvre\n", encoding="utf-16")
    with pytest.raises(LookupError, match="utf-99"):
        link("term\nfever\n", encoding="utf-99")


@pytest.mark.parametrize("settings, message", [
    ({"threshold": 75}, "threshold is 75: give a cosine"), ({"threshold": -1.1}, "threshold is"),
    ({"threshold": float("nan")}, "threshold is nan"), ({"k": 0}, "k is 0"),
    ({"k": -5}, "k is -5")])
def test_settings_that_make_no_sense_are_refused(link, settings, message):
    with pytest.raises(ValueError, match=message):
        link("term\nfever\n", **settings)


def test_the_command_writes_beside_the_file_and_says_what_it_cannot_do(saved, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("term,text\nHA,A heart attack (HA) in May.\n")

    def link(*more, file="in.csv"):
        code = main(["link", str(tmp_path / file), "--linker", str(saved), "--k", "1", *more])
        return code, *capsys.readouterr()

    code, out, _ = link("--column", "term", "--context", "text", "--threshold", "0.9")
    assert code == 0 and out.startswith("1 rows linked: ")
    answer = pd.read_csv(tmp_path / "in.linked.csv").iloc[0]
    assert (answer["cui"], answer["name"], answer["accepted"]) == ("C1", "heart attack", True)
    for arguments, file, message in (
            (["--column", "no"], "in.csv", "no column 'no'"), ([], "none.csv", "none.csv"),
            (["--linker", str(tmp_path / "x")], "in.csv", "run notebook 07"),
            (["--column", "term", "--threshold", "75"], "in.csv", "the threshold is 75"),
            (["--column", "term", "--k", "0"], "in.csv", "k is 0"),
            (["--column", ""], "in.csv", "no column ''"),
            (["--output", str(tmp_path)], "in.csv", "is a folder: name a file")):
        code, _, error = link(*arguments, file=file)
        assert code == 2 and message in error and "Traceback" not in error
    (saved / "manifest.json").write_text("{}")
    code, _, error = link("--column", "term")
    assert code == 2 and len(error.splitlines()) == 1 and "save the linker again" in error


def test_a_target_that_is_a_folder_is_refused_before_linking(link, tmp_path, monkeypatch):
    monkeypatch.setattr(linker_module, "encode", None)
    (tmp_path / "out.csv").mkdir()
    with pytest.raises(ValueError, match="out.csv is a folder: name a file"):
        link("term\nfever\n")


def test_a_wave_in_the_commands_paths_is_the_home_folder(saved, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "in.csv").write_text("mention\nwide nose\n")
    assert main(["link", "~/in.csv", "--linker", "~/linker", "--output", "~/new.csv"]) == 0
    assert str(tmp_path / "new.csv") in capsys.readouterr().out and (tmp_path / "new.csv").exists()


def test_objects_a_row_hold_the_cells_and_the_candidates(linker, tmp_path):
    (tmp_path / "in.csv").write_text("id,term,candidates\n1,wide nose,mine\n2,,\n")
    assert link_csv(linker, tmp_path / "in.csv", tmp_path / "out.jsonl", "term", k=2, threshold=0.9) == 2
    first, second = map(json.loads, (tmp_path / "out.jsonl").read_text().splitlines())
    assert (first["id"], first["candidates"], second["candidates_found"]) == ("1", "mine", [])
    found = [(c["rank"], c["cui"], c["accepted"]) for c in first["candidates_found"]]
    assert found == [(1, "C2", True), (2, "C1", False)]
    (tmp_path / "twice.csv").write_text("term,a,a\nx,1,2\n")
    with pytest.raises(ValueError, match="several columns of one name"):
        link_csv(linker, tmp_path / "twice.csv", tmp_path / "new.jsonl", "term")
    assert not (tmp_path / "new.jsonl").exists()


def test_the_linkers_own_threshold_counts_unless_another_is_given(linker, tmp_path):
    (tmp_path / "in.csv").write_text("term\nwide noses\n")

    def accepted(own, **settings):
        link_csv(replace(linker, threshold=own), tmp_path / "in.csv", tmp_path / "out.csv", "term", k=1, **settings)
        return pd.read_csv(tmp_path / "out.csv")["accepted"].tolist()

    assert accepted(0.9999) == [False] and accepted(0.5) == [True]
    assert accepted(0.9999, threshold=0.5) == [True] and accepted(0.5, threshold=0.9999) == [False]


def test_a_linkers_threshold_is_saved_with_it_and_an_older_linker_has_none(encoder, saved, tmp_path):
    names = pd.DataFrame({"cui": ["C1"], "name": ["heart attack"]})
    linker = Linker.from_terminology(encoder, names)
    linker.threshold = 0.71
    assert Linker.load(linker.save(tmp_path / "new")).threshold == 0.71
    said = json.loads((saved / "manifest.json").read_text())
    del said["threshold"]
    (saved / "manifest.json").write_text(json.dumps(said))
    assert Linker.load(saved).threshold == 0


def test_a_fault_of_the_file_shows_before_the_names_are_encoded(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Linker, "open", None)
    (tmp_path / "in.csv").write_text("term\nwide nose\n")
    for more, message in (([], "no column 'mention'"), (["--column", "term", "--k", "0"], "k is 0"),
                          (["--column", "term", "--threshold", "2"], "the threshold is 2"),
                          (["--json", "--output", "x.csv"], "does not end in .jsonl"),
                          (["--output", str(tmp_path / "x.jsonl")], "add --json")):
        assert main(["link", str(tmp_path / "in.csv"), *more]) == 2
        assert message in capsys.readouterr().err
