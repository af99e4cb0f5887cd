"""Files of a UMLS release: whole, gzipped, in parts, damaged."""

import gzip

import pytest

from sapbert_utils.data.rrf import (
    MRCONSO_FIELDS,
    bad_lines,
    read_mrconso,
    read_semantic_types,
    read_trade_names,
)

LINE = "C0000001|ENG|P|L1|PF|S1|Y|A1||M1|D1|MSH|PT|D1|fever|0|N||"
RELATION = "C1|A1|AUI|RO|C2|A2|AUI|has_tradename|R1||RXNORM|RXNORM|||N||"


def changed(**fields):
    values = dict(zip(MRCONSO_FIELDS, LINE.split("|")))
    return "|".join((values | fields).values()) + "|"


def rrf(folder, *lines, name="MRCONSO.RRF"):
    raw = [line if isinstance(line, bytes) else f"{line}\n".encode() for line in lines]
    (folder / name).write_bytes(b"".join(raw))
    return folder


def names(folder, **options):
    return read_mrconso(folder, **options).df()["name"].tolist()


def test_eight_columns_in_the_order_of_the_file(tmp_path):
    second = changed(STR="a", LAT="GER", SAB="ICD10", TTY="SY", CODE="A00", SUPPRESS="O", CVF="2")
    rrf(tmp_path, changed(STR="b"), second)
    assert read_mrconso(tmp_path).fetchall() == [
        ("C0000001", "b", "ENG", "MSH", "PT", "D1", "N", ""),
        ("C0000001", "a", "GER", "ICD10", "SY", "A00", "O", "2")]


def test_quotes_backslashes_empty_names_and_other_line_ends_are_data(tmp_path):
    written = ['"open quote', "back\\slash", "'", "a\u2028b", "None", "", "  wide  ", "#", "\u00a0",
               "a,b\tc"]
    assert names(rrf(tmp_path, *(changed(STR=n) for n in written))) == written


def test_windows_line_ends_and_a_last_line_without_one_are_read(tmp_path):
    assert names(rrf(tmp_path, f"{LINE}\r\n{LINE}\r\n{LINE}".encode())) == ["fever"] * 3


@pytest.mark.parametrize("on_bad_line", ["stop", "skip"])
@pytest.mark.parametrize("place", [0, 1, 4999])
@pytest.mark.parametrize("end, other", [(b"\r\n", b"\n"), (b"\n", b"\r\n")])
def test_one_line_that_ends_unlike_the_others_is_read_with_them(tmp_path, end, other, place,
                                                                on_bad_line):
    lines = [changed(STR=f"name {i}").encode() for i in range(5000)]
    rrf(tmp_path, *(line + (end if i == place else other) for i, line in enumerate(lines)))
    assert names(tmp_path, on_bad_line=on_bad_line) == [f"name {i}" for i in range(5000)]


BAD = [(LINE[:-1], "17 fields where MRCONSO.RRF has 18"), ("", "0 fields"),
       (LINE + "x|", "19 fields"), (LINE + "x", "18 fields"),
       (LINE.replace("fever", "fe|ver"), "19 fields"),
       (changed(CUI="C123"), "'C123' is not a CUI"),
       (changed(STR="a" * 3_000_000), "3,000,0.. bytes long"),
       (changed(CUI=""), "'' is not a CUI"), (changed(STR="a\rb"), "carriage return"),
       (LINE.encode().replace(b"fever", b"fi\xe8vre") + b"\n", "not UTF-8"),
       (LINE.encode().replace(b"L1", b"L\xff") + b"\n", "not UTF-8")]


@pytest.mark.parametrize("line, what", BAD)
def test_a_bad_line_names_file_line_and_content(tmp_path, line, what):
    rrf(tmp_path, LINE, line, LINE)
    with pytest.raises(ValueError, match=what) as error:
        read_mrconso(tmp_path)
    assert f"{tmp_path / 'MRCONSO.RRF'}, line 2: " in str(error.value)
    assert "on_bad_line=skip" in str(error.value)


def test_bad_lines_are_left_out_and_listed_on_request(tmp_path):
    rrf(tmp_path, LINE, *(line for line, _ in BAD), changed(STR="chill"))
    assert names(tmp_path, on_bad_line="skip") == ["fever", "chill"]
    numbers = [bad.number for bad in bad_lines(tmp_path, "MRCONSO.RRF")]
    assert numbers == list(range(2, len(BAD) + 2))
    with pytest.raises(ValueError, match="stop or skip"):
        read_mrconso(tmp_path, on_bad_line="ignore")


@pytest.mark.parametrize("suffix", ["", ".gz", ".aa"])
def test_a_byte_order_mark_is_no_bad_line(tmp_path, suffix):
    def write(*lines):
        data = "".join(f"{line}\n" for line in lines).encode("utf-8-sig")
        path.write_bytes(gzip.compress(data) if suffix == ".gz" else data)

    path = tmp_path / f"MRCONSO.RRF{suffix}"
    write(LINE, changed(STR="chill"))
    assert list(bad_lines(tmp_path, "MRCONSO.RRF")) == []
    assert names(tmp_path) == names(tmp_path, on_bad_line="skip") == ["fever", "chill"]
    write(LINE, changed(STR="chill"), "x")
    with pytest.raises(ValueError, match="line 3: 0 fields"):
        read_mrconso(tmp_path)
    assert names(tmp_path, on_bad_line="skip") == ["fever", "chill"]


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("cut", [0, 20])  # a part may end inside a line
def test_parts_are_one_file(tmp_path, packed, cut):
    lines = [changed(STR=f"name {i}") + "\n" for i in range(30)]
    text, at = "".join(lines).encode(), len("".join(lines[:12])) + cut
    for part, suffix in ((text[:at], "aa"), (text[at:], "ab")):
        path = tmp_path / f"MRCONSO.RRF.{suffix}{'.gz' if packed else ''}"
        path.write_bytes(gzip.compress(part) if packed else part)
    assert names(tmp_path) == [f"name {i}" for i in range(30)]


def test_a_missing_part_and_a_truncated_one_are_errors(tmp_path):
    for suffix in ("aa", "ac"):
        (tmp_path / f"MRCONSO.RRF.{suffix}").write_text(LINE + "\n")
    with pytest.raises(FileNotFoundError, match="MRCONSO.RRF.ab is missing"):
        read_mrconso(tmp_path)
    whole = gzip.compress("".join(changed(STR=f"name {i}") + "\n" for i in range(5000)).encode())
    (tmp_path / "MRCONSO.RRF.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="MRCONSO.RRF.gz is cut off or damaged"):
        read_mrconso(tmp_path)


def test_a_folder_without_the_file_says_what_to_give(tmp_path):
    with pytest.raises(FileNotFoundError, match="META folder.*leave umls_dir empty"):
        read_mrconso(tmp_path)


def test_a_failed_read_leaves_what_was_read_before(tmp_path):
    before = read_mrconso(rrf(tmp_path, LINE))
    with pytest.raises(ValueError, match="line 1"):
        read_mrconso(rrf(tmp_path, "x"))
    assert len(before) == 1


def test_trade_names_from_every_relation_or_as_the_original_from_the_last(tmp_path):
    def relation(one, two, rela):
        fields = RELATION.split("|")
        fields[0], fields[4], fields[7] = f"C000000{one}", f"C000000{two}", rela
        return "|".join(fields)

    rrf(tmp_path, relation(1, 2, "has_tradename"), relation(2, 1, "tradename_of"),
        relation(1, 3, "has_tradename"), relation(1, 4, "isa"), relation(1, 3, "has_tradename"),
        name="MRREL.RRF")
    assert set(read_trade_names(tmp_path).itertuples(index=False, name=None)) == {
        ("C0000001", "C0000002"), ("C0000002", "C0000001"), ("C0000001", "C0000003")}
    assert set(read_trade_names(tmp_path, compat=True).itertuples(index=False, name=None)) == {
        ("C0000001", "C0000003"), ("C0000002", "C0000001")}


def test_semantic_types(tmp_path):
    rrf(tmp_path, "C0000001|T047|B2.2.1.2.1|Disease or Syndrome|AT1|256|", name="MRSTY.RRF")
    assert read_semantic_types(tmp_path).fetchall() == [("C0000001", "T047", "Disease or Syndrome")]
