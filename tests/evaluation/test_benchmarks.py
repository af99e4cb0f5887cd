"""The benchmarks of open data: their sizes, their splits, and what is kept out of training."""

import pytest

from sapbert_utils.data import clean_names, leave_out, make_pairs, terminology
from sapbert_utils.data.open_data.ontologies import read_hpo, read_icd10
from sapbert_utils.data.splits import held_out_icd10, icd10_part, is_dev, layperson_strings
from sapbert_utils.data.terminology import open_terms
from sapbert_utils.evaluation import benchmarks
from sapbert_utils.evaluation.benchmarks import (
    ICD10_TARGETS,
    Benchmark,
    hpo_layperson,
    icd10_queries,
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
    strings, codes = held_out_icd10()
    held = set(names.loc[(names["source"] == "ICD10") & names["code"].isin(codes), "cui"])
    many = names[names.groupby("cui")["language"].transform("nunique") > 1]
    clean = clean_names(many, lower=False)
    left = leave_out(clean, strings | layperson_strings(), held).df()  # what pairs are made of
    trained = set(left["name"].str.lower())
    assert left["cui"].nunique() > 5_000 and not held & set(left["cui"])
    for part in ("test", "dev"):
        assert not {m.lower() for b in icd10_queries(part).values() for m in b.mentions} & trained


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
