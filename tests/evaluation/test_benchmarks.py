"""The benchmarks of open data: their sizes, their splits, and what is kept out of training."""

import pytest

from sapbert_utils.data import clean_names, leave_out, make_pairs, terminology
from sapbert_utils.data.open_data.ontologies import Term, read_hpo, read_icd10
from sapbert_utils.data.open_data.vocabularies import (
    read_drugs,
    read_icd11,
    read_medicines,
    read_mesh_records,
)
from sapbert_utils.data.splits import held_out, icd10_part, is_dev, layperson_strings, part_of
from sapbert_utils.data.terminology import open_terms
from sapbert_utils.evaluation import benchmarks
from sapbert_utils.evaluation.benchmarks import (
    ICD10_TARGETS,
    Benchmark,
    chemical_names,
    drug_brands,
    hpo_layperson,
    icd10_queries,
    icd11_queries,
    medicine_queries,
)


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """The wheels are parsed once for this file, not once a call."""
    hpo, icd10 = list(read_hpo()), list(read_icd10())
    with pytest.MonkeyPatch.context() as patch:
        for module in (benchmarks, terminology):
            patch.setattr(module, "read_hpo", lambda: hpo)
            patch.setattr(module, "read_icd10", lambda: icd10)
        yield


@pytest.fixture(scope="module")
def hpo():
    return hpo_layperson()


@pytest.fixture(scope="module")
def names():
    return open_terms()


def test_hpo_layperson_has_its_known_size(hpo):
    assert (len(hpo.mentions), len(hpo.gold)) == (7_096, 7_096)
    assert (len(hpo.names), len(hpo.concepts)) == (34_395, 34_395)
    assert "increased width of nose" in hpo.mentions and "wide nose" in hpo.names


def test_hpo_layperson_asks_only_what_the_dictionary_can_answer_and_does_not_say(hpo):
    answers = {c for several in hpo.concepts for c in several.split("|")}
    assert {c for several in hpo.gold for c in several.split("|")} <= answers
    assert not set(hpo.mentions) & set(hpo.names)
    assert len(set(hpo.mentions)) == len(hpo.mentions) and len(set(hpo.names)) == len(hpo.names)
    assert all(m == m.lower() for m in (*hpo.mentions, *hpo.names))


def test_a_smaller_dictionary_is_a_part_of_the_whole_and_keeps_only_its_queries(hpo):
    small = hpo_layperson(max_names=600)
    assert len(small.names) == 600 and set(small.names) <= set(hpo.names)
    assert 0 < len(small.mentions) < 600 and set(small.mentions) <= set(hpo.mentions)
    answers = {c for several in small.concepts for c in several.split("|")}
    assert {c for several in small.gold for c in several.split("|")} <= answers
    assert small == hpo_layperson(max_names=600)


def test_the_split_by_concept_is_fixed_and_disjoint(hpo):
    dev = hpo.only(lambda gold: is_dev(gold.split("|")[0]), "dev")
    test = hpo.only(lambda gold: not is_dev(gold.split("|")[0]), "test")
    assert (len(dev.mentions), len(test.mentions)) == (1_405, 5_691)
    assert not {g.split("|")[0] for g in dev.gold} & {g.split("|")[0] for g in test.gold}
    assert dev.names == test.names == hpo.names and dev.name == "dev"
    assert dict(zip(dev.mentions, dev.gold)).items() <= dict(zip(hpo.mentions, hpo.gold)).items()


def test_english_training_pairs_hold_no_layperson_string(names, hpo):
    english = clean_names(names[names["language"] == "ENG"]).df()
    held = set(hpo.mentions)
    assert held <= layperson_strings()
    assert held & set(english["name"]), "there must be something to leave out"
    left = leave_out(english, layperson_strings()).df()
    pairs = make_pairs(left[left["cui"] < "C0100000"]).df()
    assert len(left) > 100_000 and not held & set(left["name"])
    assert len(pairs) > 1_000 and set(pairs["name1"]) | set(pairs["name2"]) <= set(left["name"])


def test_icd10_is_split_by_block():
    terms = benchmarks.read_icd10()
    parts = {}
    for term in terms:
        parts.setdefault(term.code[:3], set()).add(icd10_part(term.code))
    assert all(len(found) == 1 for found in parts.values())
    shares = {part: sum(icd10_part(term.code) == part for term in terms) / len(terms)
              for part in ("train", "dev", "test")}
    assert 0.07 < shares["test"] < 0.13 and 0.07 < shares["dev"] < 0.13
    assert sum(shares.values()) == pytest.approx(1)


def test_icd10_queries_are_native_names_of_their_part_alone():
    test, dev = (icd10_queries(part, 400) for part in ("test", "dev"))
    assert tuple(test) == ICD10_TARGETS
    for lat, benchmark in test.items():
        assert len(benchmark.names) == len(benchmark.concepts) == 14_416
        assert 380 <= len(benchmark.mentions) == len(benchmark.gold) <= 400
        assert {icd10_part(code) for code in benchmark.gold} == {"test"}
        assert {icd10_part(code) for code in dev[lat].gold} == {"dev"}
    assert "霍乱" not in test["CHI"].names
    codes = dict(zip(test["GER"].concepts, test["GER"].names))
    assert codes["I21"] == "Acute myocardial infarction"


def test_a_small_icd10_dictionary_holds_the_answers():
    for benchmark in icd10_queries("test", 20, max_names=300).values():
        assert len(benchmark.names) == 300 and len(benchmark.mentions) == 20
        assert set(benchmark.gold) <= set(benchmark.concepts)


def test_held_out_blocks_are_not_in_the_names_that_multilingual_pairs_are_made_of(names):
    strings, held_codes = held_out(["ICD10"])
    codes = {code for _, code in held_codes}
    held = set(names.loc[(names["source"] == "ICD10") & names["code"].isin(codes), "cui"])
    many = names[names.groupby("cui")["language"].transform("nunique") > 1]
    clean = clean_names(many, lower=False)
    left = leave_out(clean, strings | layperson_strings(), held).df()  # what pairs are made of
    trained = set(left["name"].str.lower())
    assert left["cui"].nunique() > 5_000 and not held & set(left["cui"])
    for part in ("test", "dev"):
        assert not {m.lower() for b in icd10_queries(part).values() for m in b.mentions} & trained


def answerable(benchmark):
    """Every query has an answer in the dictionary, is none of its names, and is in lower case."""
    answers = {code for several in benchmark.concepts for code in several.split("|")}
    return (all(set(gold.split("|")) & answers for gold in benchmark.gold)
            and not set(benchmark.mentions) & set(benchmark.names)
            and all(text == text.lower() for text in (*benchmark.mentions, *benchmark.names))
            and len(set(benchmark.names)) == len(benchmark.names))


def test_chemical_names_ask_for_one_name_of_each_held_out_record():
    test = chemical_names("test", 20_000)
    assert len(test.mentions) == 1_344 and len(test.names) == 20_000 and answerable(test)
    strings, codes = held_out(["MSH-NM"])
    asked = {("MSH", code) for gold in test.gold for code in gold.split("|")}
    assert set(test.mentions) <= strings and asked <= codes
    records = [found for found in read_mesh_records() if ("MSH", found.code) in asked]
    assert {part_of(found) for found in records} == {"test"}
    assert len(codes - asked) > 1_000  # dev, and what asks nothing
    # the other names of a record are what its query is linked to
    record = dict(zip(test.mentions, test.gold))["hexacol"]
    own = [name for name, code in zip(test.names, test.concepts) if record in code.split("|")]
    assert own and "hexacol" not in own


def test_drug_brands_ask_for_the_substance():
    test, dev, train = (drug_brands(part) for part in ("test", "dev", "train"))
    assert (len(test.mentions), len(dev.mentions)) == (68, 36)
    assert all(map(answerable, (test, dev, train)))
    assert dict(zip(test.mentions, test.gold))["actos"] == "pioglitazone"
    assert not set(test.gold) & {*dev.gold, *train.gold} and len(test.names) > 100_000
    brands = {found.names[0][0].lower() for found in read_drugs() if found.brand_of}
    assert not brands & set(test.names)
    small = drug_brands("test", 100)
    assert len(small.names) == 100 and set(small.mentions) <= set(test.mentions)
    assert answerable(small)


def test_icd11_queries_are_spanish_and_new_to_a_model_that_knows_icd10():
    test, dev = icd11_queries("test"), icd11_queries("dev", 100, 500)
    assert (len(test.mentions), len(test.names)) == (1_139, 12_488)
    assert answerable(test) and answerable(dev)
    assert (len(dev.mentions), len(dev.names)) == (100, 500)
    parts = {found.code: part_of(found) for found in read_icd11()}
    assert {parts[code] for gold in test.gold for code in gold.split("|")} == {"test"}
    spanish = {name.lower() for term in read_icd10() for name, _, lat in term.names if lat == "SPA"}
    assert not spanish & {*test.mentions, *dev.mentions}
    assert not [code for gold in test.gold for code in gold.split("|") if code.startswith("X")]


def test_medicines_are_asked_for_in_nine_languages():
    test = medicine_queries("test", max_names=500)
    assert sorted(test) == ["ARA", "CHI", "FRE", "GER", "GRE", "ITA", "JPN", "POR", "SPA"]
    assert {lat: len(found.mentions) for lat, found in test.items()} == {
        "ARA": 219, "CHI": 219, "FRE": 112, "GER": 109, "GRE": 215, "ITA": 129, "JPN": 219,
        "POR": 104, "SPA": 107}
    assert all(answerable(found) and len(found.names) == 500 for found in test.values())
    assert len({found.names for found in test.values()}) == 1  # one dictionary for all languages
    by_code = {found.code: part_of(found) for found in read_medicines()}
    gold = {code for found in test.values() for codes in found.gold for code in codes.split("|")}
    assert {by_code[code] for code in gold & by_code.keys()} == {"test"}
    arabic = dict(zip(test["ARA"].mentions, test["ARA"].gold))
    assert arabic["اتازنفير"] == "atazanavir|meds_em129"


def test_a_query_that_is_a_name_asks_nothing(monkeypatch):
    drugs = (Term("DRUGS", "x", (("Exa", "PT", "ENG"), ("Brandex", "SY", "ENG"))),
             *(Term("DRUGS", name, ((name, "BN", "ENG"),), brand_of="x")
               for name in ("brandex", "other")))
    monkeypatch.setattr(benchmarks, "read_drugs", lambda: drugs)
    monkeypatch.setattr(benchmarks, "part_of", lambda term: "test")
    assert drug_brands("test").mentions == ("other",)


def test_a_sample_depends_on_the_mentions_alone():
    whole = Benchmark("toy", tuple("abcdefgh"), tuple("ABCDEFGH"), ("x",), ("X",))
    turned = Benchmark("toy", whole.mentions[::-1], whole.gold[::-1], ("x",), ("X",))
    part = whole.sample(3)
    assert part == turned.sample(3) and len(part.mentions) == 3
    assert all(m.upper() == g for m, g in zip(part.mentions, part.gold))
    assert len(whole.sample(None).mentions) == 8


def test_a_benchmark_without_a_dictionary_or_a_gold_concept_is_refused():
    with pytest.raises(ValueError, match="toy: a dictionary of 0 names"):
        Benchmark("toy", ("a",), ("C1",), (), ())
    with pytest.raises(ValueError, match="toy: 2 mentions, of which 1 have a gold"):
        Benchmark("toy", ("a", "b"), ("C1", ""), ("x",), ("C1",))
