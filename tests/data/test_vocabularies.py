"""The wider vocabularies: what they hold, which terms join a concept, what training may not see."""

import hashlib
import os
import pickle
from collections import Counter, defaultdict

import pandas as pd
import pytest

from sapbert_utils.data import leave_out, make_pairs, select_names, splits
from sapbert_utils.data.merging import Placed, join
from sapbert_utils.data.open_data import vocabularies
from sapbert_utils.data.open_data.ontologies import Term, read_icd10
from sapbert_utils.data.open_data.vocabularies import (
    VOCABULARIES,
    mesh_types,
    plain_data,
    semantic_types,
)
from sapbert_utils.data.rrf import read_mrconso, read_semantic_types, read_trade_names
from sapbert_utils.data.splits import ENGLISH, MULTILINGUAL, concepts_of, held_out, part_of
from sapbert_utils.data.terminology import build_open_metathesaurus, open_concepts, open_terms


@pytest.fixture(scope="module")
def placed():
    """Every term of every vocabulary, read and merged once for this file."""
    return open_concepts(VOCABULARIES)


@pytest.fixture(scope="module")
def folder(placed, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sapbert_utils.data.terminology.open_concepts", lambda *given: placed)
        return build_open_metathesaurus(tmp_path_factory.mktemp("wide")).parent


@pytest.fixture(scope="module")
def names(folder):
    return read_mrconso(folder)


def test_each_vocabulary_has_its_known_size(placed):
    concepts = Counter(
        (row.term.source, row.term.code[0] == "C") for row in placed if row.term.source == "MSH"
    )
    assert concepts == {("MSH", False): 30_764, ("MSH", True): 323_304}
    sizes = Counter(row.term.source for row in placed)
    assert (sizes["GO"], sizes["HGNC"], sizes["ICD11"], sizes["WHOEML"]) == (
        42_442,
        43_837,
        27_870,
        359,
    )
    term_types = Counter(
        kind for row in placed if row.term.source == "DRUGS" for _, kind, _ in row.term.names
    )
    assert term_types["BN"] == 138 and term_types["PT"] > 20_000


def test_known_terms_are_read_with_their_term_types_and_semantic_types(placed):
    by_code = {(row.term.source, row.term.code): row.term for row in placed}
    abattoirs = by_code["MSH", "D000003"]
    kinds = {name: kind for name, kind, _ in abattoirs.names}
    assert (
        kinds["Abattoirs"] == "MH"
        and kinds["Slaughter Houses"] == "ET"
        and kinds["Houses, Slaughter"] == "PM"
    )
    assert abattoirs.types == ("T073",)
    # one record's synonyms stand in quotes, because one of them holds a tab
    assert any(
        "Duffy blood group protein, mouse" == name for name, *_ in by_code["MSH", "C483025"].names
    )
    assert ("heart attack", "ET", "ENG") in [
        (n.lower(), t, lat) for n, t, lat in by_code["MSH", "D009203"].names
    ]
    assert set(by_code["HGNC", "HGNC:1100"].names) >= {
        ("BRCA1", "ACR", "ENG"),
        ("RNF53", "SYN", "ENG"),
    }
    assert ("Cólera", "PT", "SPA") in by_code["ICD11", "1A00"].names
    assert {lat for name, _, lat in by_code["WHOEML", "meds_em1"].names} >= {
        "ENG",
        "ARA",
        "ITA",
        "JPN",
        "CHI",
    }
    assert by_code["DRUGS", "humira"].brand_of == "adalimumab"


def test_a_descriptor_has_the_types_of_its_branches_the_longest_first():
    assert mesh_types(["C04.588"]) == ("T191",) and mesh_types(["C23.888.119", "C23.550"]) == (
        "T046",
        "T184",
    )
    assert mesh_types(["A11.284.149", "A01"]) == ("T017", "T026") and mesh_types(
        ["D12.776", "D02"]
    ) == ("T103", "T116")
    assert mesh_types(["C16.1310"]) == ("T047",)  # not C16.131, whose number it begins like


def test_every_semantic_type_is_named_once_and_every_concept_has_one(folder, placed):
    types = read_semantic_types(folder).df()
    assert set(types["tui"]) <= semantic_types().keys() and not types.duplicated().any()
    assert set(types["cui"]) == {row.concept for row in placed}
    assert types.loc[types["cui"] == "C0011860", "tui"].tolist() == [
        "T033",
        "T047",
    ]  # type 2 diabetes


def term(source, code, *given, types=("T047",), mesh=(), kind="PT"):
    named = [(given[0], kind, "ENG"), *((name, "SY", "ENG") for name in given[1:])]
    return Term(source, code, tuple(named), mesh=mesh, types=types)


def concepts(placed, vocabulary, ways=("xref", "name")):
    return [(row.concept, row.way) for row in join(placed, [vocabulary], ways)[len(placed) :]]


def test_a_cross_reference_joins_only_one_to_one_and_with_a_name_in_common():
    base = [
        Placed(term("MONDO", "MONDO:1", "gout", "podagra", mesh=("D1",)), "C0000001"),
        Placed(term("MONDO", "MONDO:2", "flu", mesh=("D2", "D3")), "C0000002"),
        Placed(term("MONDO", "MONDO:3", "rare syndrome", mesh=("D4",)), "C0000003"),
        Placed(term("DOID", "DOID:5", "fever", mesh=("D5",)), "C0000005"),
        Placed(term("DOID", "DOID:6", "high fever", mesh=("D5",)), "C0000006"),
    ]
    mesh = [
        term("MSH", "D1", "Arthritis, Gouty", "Podagra"),
        term("MSH", "D2", "Influenza", "flu"),
        term("MSH", "D3", "Influenza A", "flu"),
        term("MSH", "D4", "Other Thing"),
        term("MSH", "D5", "Pyrexia", "Fever"),
    ]
    assert concepts(base, mesh, ["xref"]) == [
        ("C0000001", "xref"),
        ("MSH:D2", ""),
        ("MSH:D3", ""),
        ("MSH:D4", ""),
        ("MSH:D5", ""),
    ]
    assert concepts(base, mesh, []) == [(f"MSH:D{i}", "") for i in range(1, 6)]
    with pytest.raises(ValueError, match="unknown way to merge"):
        join(base, [mesh], ["guess"])


def test_a_name_joins_only_where_it_is_unique_preferred_and_of_one_group():
    base = [
        Placed(term("HPO", "HP:1", "Gout"), "C0000001"),
        Placed(term("HPO", "HP:2", "cold"), "C0000002"),
        Placed(term("HPO", "HP:3", "chill", "cold"), "C0000003"),
        Placed(term("HPO", "HP:4", "colon cancer", "COAD"), "C0000004"),
        Placed(term("HPO", "HP:5", "Lead", types=("T033",)), "C0000005"),
        Placed(term("HPO", "HP:6", "Cough"), "C0000006"),
    ]
    mesh = [
        term("MSH", "D1", "Arthritis", "gout"),  # the preferred name of the concept
        term("MSH", "D2", "Cold"),  # the name of two concepts
        term("MSH", "D3", "Chronic lung disease", "COAD"),  # an abbreviation, preferred by neither
        term("MSH", "D4", "Lead", types=("T103",)),  # a metal, not a finding
        term("MSH", "D5", "Coughing", "cough"),
        term("MSH", "D6", "Tussis", "cough"),
    ]  # two terms
    assert [concept for concept, _ in concepts(base, mesh)] == [
        "C0000001",
        *(f"MSH:D{i}" for i in range(2, 7)),
    ]


def test_a_concept_takes_one_term_of_a_source_and_a_brand_stays_alone():
    base = [Placed(term("HPO", "HP:1", "Gout", types=("T121",)), "C0000001")]
    one, two = (
        [term("MSH", "D1", "Gout", types=("T121",))],
        [term("MSH", "C1", "gout", types=("T121",))],
    )
    drugs = [
        Term("DRUGS", "gout", (("gout", "BN", "ENG"),), types=("T121",)),
        term("DRUGS", "x", "gout", types=("T121",)),
    ]
    after = join(base, [one, two, drugs])
    assert [row.concept for row in after] == [
        "C0000001",
        "C0000001",
        "MSH:C1",
        "DRUGS:gout",
        "DRUGS:x",
    ]
    assert join(base, [one, drugs])[-1].concept == "C0000001"


def test_merges_are_one_to_one_on_real_data_and_agree_with_a_plain_count(placed):
    """The rules again, written another way and applied to the descriptors of MeSH."""
    base = open_concepts()
    mesh = [row for row in placed if row.term.source == "MSH" and row.term.code[0] == "D"]
    assert Counter(row.way for row in mesh) == {"xref": 2_551, "name": 749, "": 27_464}
    said = defaultdict(set)
    of_concept = defaultdict(set)
    for row in base:
        of_concept[row.concept] |= {name.lower() for name, *_ in row.term.names}
        for code in row.term.mesh:
            said[code].add(row.concept)
    for row in mesh:
        if row.way == "xref":
            assert said[row.term.code] == {row.concept}
            assert of_concept[row.concept] & {name.lower() for name, *_ in row.term.names}
    for source in ("MSH", "GO", "HGNC", "ICD11", "WHOEML", "DRUGS"):
        taken = Counter(row.concept for row in placed if row.term.source == source and row.way)
        assert not taken or max(taken.values()) == 1
    assert [
        row
        for row in placed
        if row.term.source not in ("MSH", "GO", "HGNC", "ICD11", "WHOEML", "DRUGS")
    ] == base


def test_without_vocabularies_it_is_the_metathesaurus_of_before(tmp_path):

    path = build_open_metathesaurus(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest == "8e505a03df20bd94b99ad7b5c753c1233635d3738466355fb7ffed6c87cff7f4"
    assert read_trade_names(tmp_path).empty
    with pytest.raises(ValueError, match="unknown vocabulary SNOMED; choose from MSH, MSH-NM"):
        open_terms(["MSH", "SNOMED"])


def test_the_wide_metathesaurus_has_a_million_english_names_and_pairs(names):
    english = names.filter("language = 'ENG'")
    assert len(english) > 700_000
    sizes = (
        select_names(names, languages=["ENG"])["distinct"].aggregate("cui, count(*) AS n").df()["n"]
    )
    assert (sizes * (sizes - 1) // 2).clip(upper=50).sum() > 1_000_000
    assert {"ARA", "ITA"} <= set(names.aggregate("language").df()["language"])
    ways = names.aggregate("view, count(DISTINCT (source, code))").df().set_index("view").iloc[:, 0]
    assert set(ways.index) == {"", "1", "2"} and ways["1"] > 6_500 and ways["2"] > 20_000


def test_brands_take_the_names_of_their_drug_and_back(folder, names):
    found = read_trade_names(folder)
    assert len(found) == 2 * 138
    adalimumab = names.filter("source = 'DRUGS' AND code = 'adalimumab'").df()["cui"].iloc[0]
    assert {("DRUGS:humira", adalimumab), (adalimumab, "DRUGS:humira")} <= set(
        found.itertuples(index=False, name=None)
    )
    mine = names.filter(f"cui IN ('DRUGS:humira', '{adalimumab}')")
    apart, together = (
        select_names(mine, trade_names=trade)["distinct"].df() for trade in (None, found)
    )
    assert apart[apart["cui"] == "DRUGS:humira"]["name"].tolist() == ["humira"]
    assert "adalimumab" in together[together["cui"] == "DRUGS:humira"]["name"].tolist()
    assert "humira" in together[together["cui"] == adalimumab]["name"].tolist()


@pytest.mark.parametrize(
    ("benchmarks", "languages"),
    [(ENGLISH, ["ENG"]), (ENGLISH + MULTILINGUAL, [])],
    ids=["English", "multilingual"],
)
def test_no_name_of_a_held_out_concept_is_in_a_pair(names, benchmarks, languages):
    strings, codes = held_out(benchmarks)
    rows = names.df()
    carry = [pair in codes for pair in zip(rows["source"], rows["code"], strict=True)]
    held = concepts_of(names, codes)
    assert held == set(rows.loc[carry, "cui"])
    assert len(strings) > 5_000 and len(held) > 1_000
    # the names that must go, and some others: to pair all of them takes a minute
    near = select_names(names, languages=languages, lower=not languages == [])["distinct"].df()
    near = near[near["cui"].isin(held) | near["name"].str.lower().isin(strings)]
    near = pd.concat(
        [near, select_names(names, languages=languages)["distinct"].limit(50_000).df()]
    )
    pairs = make_pairs(leave_out(near, strings, held), 50).df()
    seen = {name.lower() for side in ("name1", "name2") for name in pairs[side]}
    assert len(pairs) > 10_000 and not seen & strings and not set(pairs["cui"]) & held


@pytest.mark.parametrize("added", [[], ["MSH"]], ids=["base", "with MeSH"])
def test_the_base_and_mesh_hold_no_string_of_the_english_benchmarks(added):
    """So notebook 01 need not read them all where no vocabulary is added."""
    strings, _ = held_out(ENGLISH)
    assert strings.isdisjoint(open_terms(added)["name"].str.lower())


def test_parts_are_drawn_by_concept_and_in_their_shares():
    medicines = Counter(part_of(found) for found in vocabularies.read_medicines())
    assert medicines["test"] > medicines["dev"] > 50
    stems = defaultdict(set)
    for found in vocabularies.read_icd11():
        stems[found.code.partition(".")[0]].add(part_of(found))
    assert all(len(parts) == 1 for parts in stems.values())
    shares = Counter(part_of(found) for found in vocabularies.read_icd11())
    assert 0.07 < shares["test"] / 27_870 < 0.13 and 0.07 < shares["dev"] / 27_870 < 0.13
    brands = defaultdict(set)
    for found in vocabularies.read_drugs():
        if found.brand_of:
            brands[found.brand_of].add(part_of(found))
    assert all(len(parts) == 1 for parts in brands.values())
    records = Counter(part_of(found) for found in vocabularies.read_mesh_records())
    assert records["test"] > 1_000 and records["dev"] > 1_000
    assert {part_of(found) for found in vocabularies.read_mesh()} == {"train"}
    assert all(part_of(found) == splits.icd10_part(found.code) for found in read_icd10())


def test_a_concept_of_a_held_out_icd10_block_is_held_out_whatever_the_code_behind_the_dot():
    strings, codes = held_out(["ICD10"])
    block = next(found.code[:3] for found in read_icd10() if part_of(found) == "test")
    train = next(found.code[:3] for found in read_icd10() if part_of(found) == "train")
    columns = ["cui", "source", "code"]
    rows = [("C1", "ICD10", f"{block}.99"), ("C2", "ICD10", f"{train}.9"), ("C3", "MSH", "D1"),
            ("C4", "ICD10PCS", f"{block}0ZZ")]  # procedures, whose codes only look alike
    assert concepts_of(pd.DataFrame(rows, columns=columns), codes) == {"C1"} and strings
    assert concepts_of(pd.DataFrame(rows, columns=columns), set()) == set()


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_asks_for_code_is_refused(tmp_path):
    assert plain_data(pickle.dumps({"a": ["b", 1, 2.5, None, True]})) == {
        "a": ["b", 1, 2.5, None, True]
    }
    for value in (Bomb(tmp_path / "ran"), Counter("a"), print, Term):
        with pytest.raises(
            pickle.UnpicklingError, match="it may hold plain data only, so nothing of it was loaded"
        ):
            plain_data(pickle.dumps(value))
    assert not (tmp_path / "ran").exists()
