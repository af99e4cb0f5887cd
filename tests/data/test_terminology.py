"""What the open metathesaurus is made of, and its way to RRF and back."""

import random
import re

import pandas as pd
import pytest

from sapbert_utils.data import terminology
from sapbert_utils.data.open_data.ontologies import Term
from sapbert_utils.data.rrf import MRCONSO_FIELDS, read_mrconso
from sapbert_utils.data.splits import stable_hash
from sapbert_utils.data.terminology import build_open_metathesaurus, open_terms, write_mrconso


def table(*rows):
    columns = ["cui", "name", "language", "source", "term_type", "code"]
    return pd.DataFrame(rows, columns=columns, dtype="str")


@pytest.fixture(scope="module")
def everything():
    return open_terms()


def test_round_trip_of_names_and_eighteen_fields(tmp_path):
    names = table(("C0018681", "Headache", "ENG", "HPO", "PT", "HP:0002315"),
                  ("C0018681", "Kopfschmerz", "GER", "ICD10", "PT", "R51"),
                  ("C0018681", 'a "quoted" \\ name, 50 % \'x\'', "ENG", "HPO", "SY", "HP:0002315"),
                  ("ICD10:A00", "霍乱", "CHI", "ICD10", "PT", "A00"),
                  ("C0000002", "NA", "ENG", "HPO", "PT", "HP:1"))
    path = write_mrconso(names, tmp_path / "new")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(MRCONSO_FIELDS) == 18
    assert all(line.count("|") == 18 and line.endswith("|") for line in lines)
    back = read_mrconso(path.parent).df()
    assert set(back["suppress"]) == {"N"}
    given, read = names.to_numpy().tolist(), back[names.columns].to_numpy().tolist()
    assert sorted(read) == sorted(given)
    assert not list(path.parent.glob("partial-*"))


def test_identifiers_of_names_and_strings_repeat_where_the_strings_do(tmp_path):
    path = write_mrconso(table(("C1", "Fever", "ENG", "A", "PT", "1"),
                               ("C1", "fever", "ENG", "B", "SY", "2"),
                               ("C2", "Fever", "ENG", "B", "PT", "3")), tmp_path)
    rows = [dict(zip(MRCONSO_FIELDS, line.split("|"))) for line in path.read_text().splitlines()]
    assert [len({row[field] for row in rows}) for field in ("LUI", "SUI", "AUI")] == [1, 2, 3]


def test_a_bar_in_a_name_cannot_break_the_format(tmp_path):
    write_mrconso(table(("C0000001", "a|b", "ENG", "A", "PT", "1")), tmp_path)
    assert read_mrconso(tmp_path).df()["name"].tolist() == ["a/b"]


def test_concepts_are_cuis_where_the_cross_reference_is_an_equivalence(monkeypatch):
    def term(source, code, name, *cuis, native=()):
        return Term(source, code, ((name, "PT", "ENG"), *native), cuis)

    hpo = [term("HPO", "HP:1", "one", "C0000001"),
           term("HPO", "HP:2", "several", "C0000001", "C0000002"), term("HPO", "HP:3", "none")]
    indra = {"mondo": [term("MONDO", "MONDO:1", "none here")],
             "doid": [term("DOID", "DOID:1", "left out")],
             "efo": [term("EFO", "EFO:1", "twofold", "C0000003"),
                     term("EFO", "EFO:2", "twofold", "C0000004")]}
    icd = [term("ICD10", "A00", "One", native=(("eins", "PT", "GER"),)),
           term("ICD10", "A01", "twofold"), term("ICD10", "A02", "other")]
    monkeypatch.setattr(terminology, "read_hpo", lambda: hpo)
    monkeypatch.setattr(terminology, "read_indra", indra.get)
    monkeypatch.setattr(terminology, "read_icd10", lambda: icd)
    found = open_terms()
    assert dict(zip(found["code"], found["cui"])) == {
        "HP:1": "C0000001", "HP:3": "HP:3", "MONDO:1": "MONDO:1", "EFO:1": "C0000003",
        "EFO:2": "C0000004", "A00": "C0000001", "A01": "ICD10:A01", "A02": "ICD10:A02"}
    assert ("C0000001", "eins", "GER") in set(zip(found["cui"], found["name"], found["language"]))


def test_the_open_metathesaurus_has_real_cuis_and_nine_languages(everything):
    real = everything["cui"].str.fullmatch(r"C\d{7}")
    other = everything.loc[~real, "cui"]
    assert real.sum() > 100_000 and other.str.match(r"(HP|MONDO|ICD10):").all()
    languages = {"ENG", "GER", "SPA", "FRE", "POR", "VIE", "GRE", "CHI", "JPN"}
    assert set(everything["language"]) == languages
    assert set(everything["source"]) == {"HPO", "MONDO", "DOID", "EFO", "ICD10"}
    assert not everything.duplicated().any() and (everything["name"] != "").all()
    assert not everything["name"].map(lambda n: bool(re.search(r"[\r\n\t]", n))).any()


def test_terms_with_several_cuis_are_dropped(everything):
    several = {t.code for t in terminology.read_hpo() if len(t.cuis) > 1}
    assert len(several) == 1_023
    assert several.isdisjoint(everything["code"])


def test_the_slice_is_deterministic_and_a_part_of_the_whole(monkeypatch, everything, tmp_path):
    placed = terminology.open_concepts()
    monkeypatch.setattr(terminology, "open_concepts", lambda *given: placed)
    first = build_open_metathesaurus(tmp_path / "a", 50).read_bytes()
    random.Random(1).shuffle(placed)
    second = build_open_metathesaurus(tmp_path / "b", 50).read_bytes()
    assert first == second
    part = read_mrconso(tmp_path / "a").df()
    assert 50 <= part["cui"].nunique() <= 100 and part["language"].nunique() == 9
    keys = set(zip(everything["cui"], everything["code"], everything["term_type"]))
    assert set(zip(part["cui"], part["code"], part["term_type"])) <= keys


def test_stable_hash_is_the_same_in_every_process():
    assert stable_hash("C0018681") == 16203181417876974462


def test_every_parent_is_a_term():
    parents = terminology.hpo_parents()
    assert {p for several in parents.values() for p in several} <= set(parents)
    assert parents["HP:0000118"] == ("HP:0000001",)
