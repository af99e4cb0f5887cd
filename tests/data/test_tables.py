"""Tables as text: read strictly, refused with the line, written so that they read back."""

import csv
import io

import pandas as pd
import pytest

from sapbert_utils.data import tables
from sapbert_utils.data.tables import read_frame, read_table, write_frame, write_rows


@pytest.fixture
def write(tmp_path):
    def file(data):
        (tmp_path / "t.csv").write_bytes(data if isinstance(data, bytes) else data.encode())
        return tmp_path / "t.csv"

    return file


def test_rows_come_with_the_line_on_which_they_begin(write):
    file = write('id,name\n1,gout\n\n2,"two\nlines"\n3,"a ""b"", c"\n')
    assert list(read_table(file, ["name"])) == [
        (1, ["id", "name"]), (2, ["1", "gout"]), (4, ["2", "two\nlines"]), (6, ["3", 'a "b", c'])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_an_empty_line_is_an_empty_cell_in_a_table_of_one_column_alone(write, end):
    for last in ("flu", f"flu{end}"):
        rows = list(read_table(write(end.join(["", "mention", "gout", "", last]))))
        assert rows == [(2, ["mention"]), (3, ["gout"]), (4, [""]), (5, ["flu"])]
    rows = list(read_table(write(end.join(["id,name", "", "1,gout", "", ""]))))
    assert rows == [(1, ["id", "name"]), (3, ["1", "gout"])]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_every_kind_and_a_byte_order_mark_are_read(write, end):
    file = write("\ufeff" + end.join(["id\tname", "1\tgoût", "2\tflu"]))
    for encoding in ("utf-8", "UTF8", "utf-8-sig"):
        rows = [cells for _, cells in read_table(file, ["id"], "\t", encoding)]
        assert rows == [["id", "name"], ["1", "goût"], ["2", "flu"]]


@pytest.mark.parametrize("data, message", [
    ("", "is empty"), ("\n\n", "is empty"),
    ("a,b\n", "line 1: no column 'id'; its columns are: a, b"),
    ("id,id\n", "line 1: several columns are called 'id'"),
    ("id,name\n1,gout,\n", r"line 2: the header has 2 cells, this row has 3: \['1', 'gout', ''\]"),
    ("id,name\n1,gout\n2\n", "line 3: the header has 2 cells, this row has 1"),
    ('id,name\n1,"gout\n2,flu\n3,cold\n', "line 2: a quotation mark is not closed"),
    ('id,name\n1,"gout\n2,"flu"\n', "line 2: a quotation mark is not closed"),
    ('id,name\n1,"gout" x\n', "line 2: a quotation mark is not closed, or text follows"),
    (b"id,name\n1,gout\n2,fi\xe8vre\n", "line 3: not utf-8-sig .*save it as UTF-8"),
    (b"id,name\n1,gout\n2,fi\xc3", "line 3: not utf-8-sig")])
def test_what_cannot_be_read_is_refused_with_file_and_line(write, data, message):
    file = write(data)
    with pytest.raises(ValueError, match=message) as error:
        list(read_table(file, ["id"]))
    assert str(error.value).startswith(str(file)) and "\n" not in str(error.value)


def test_a_bad_letter_is_found_far_behind_the_rows_that_were_read(write):
    file = write(b"id\n" + b"1\n" * 50_000 + b"\xff\n" + b"1\n" * 10)
    with pytest.raises(ValueError, match="line 50002: not utf-8-sig"):
        list(read_table(file))


@pytest.mark.parametrize("chunk", [1, 3, 250])
def test_rows_are_the_same_whatever_the_chunk(write, monkeypatch, chunk):
    monkeypatch.setattr(tables, "CHUNK", chunk)
    monkeypatch.setattr(tables, "FRAME", 2 * chunk)
    file = write("id,name\n" + "\n" * 4 + "".join(f"{i},n{i}\n" for i in range(10)))
    rows = list(read_table(file))
    assert rows[0] == (1, ["id", "name"])
    assert rows[1:] == [(6 + i, [f"{i}", f"n{i}"]) for i in range(10)]
    assert read_frame(file, separator=",")["name"].tolist() == [f"n{i}" for i in range(10)]


def test_a_long_cell_is_read_and_the_programs_limit_stays(write, monkeypatch):
    long = "x" * 140_000
    before = csv.field_size_limit()
    assert list(read_table(write(f"id,name\n1,{long}\n")))[1] == (2, ["1", long])
    assert csv.field_size_limit() == before
    monkeypatch.setattr(tables, "LONGEST", 1000)  # an unclosed quote cannot fill the memory
    with pytest.raises(ValueError, match="line 2: a quotation mark is not closed"):
        list(read_table(write(f'id,name\n1,"{long}\n')))
    assert csv.field_size_limit() == before


def test_a_frame_is_strings_and_nothing_else(write):
    found = read_frame(write("cui\tname\tn\n1\tNA\t007\n2\t\t1e5\n"), ["cui", "name"])
    wanted = pd.DataFrame({"cui": ["1", "2"], "name": ["NA", ""], "n": ["007", "1e5"]}, dtype="str")
    pd.testing.assert_frame_equal(found, wanted)
    assert list(read_frame(write("cui\tname\n"))) == ["cui", "name"]


def test_a_written_frame_reads_back(tmp_path, monkeypatch):
    monkeypatch.setattr(tables, "FRAME", 2)
    odd = ["a\rb", "a\nb", "a\r\nb", '"', "a\tb", "", "é\u2028e", " blank "]
    frame = pd.DataFrame({"name": odd, "n": [None, 1.5] * 4}, index=range(3, 11))
    write_frame(frame, tmp_path / "t.tsv")
    found = read_frame(tmp_path / "t.tsv")
    assert found["name"].tolist() == odd and found["n"].tolist() == ["", "1.5"] * 4
    assert b"\r\n" not in (tmp_path / "t.tsv").read_bytes().replace(b"a\r\nb", b"")


def test_only_cells_that_need_quotation_marks_have_them():
    out = io.StringIO()
    write_rows(out, [["a", 1, ""], ["a,b", 'c"d', "e\rf"]])
    assert out.getvalue() == 'a,1,\n"a,b","c""d","e\rf"\n'
