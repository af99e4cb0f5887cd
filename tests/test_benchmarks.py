"""The gold corpora: their sizes, their splits, what is kept out of training, and malformed files."""

import pytest

from sapbert_utils import benchmarks, terminology
from sapbert_utils.benchmarks import (
    ICD10_TARGETS,
    Benchmark,
    benchmarks_folder,
    held_out_icd10,
    hpo_layperson,
    icd10_part,
    icd10_queries,
    is_dev,
    layperson_strings,
    read_biosyn,
    read_xlbel,
)
from sapbert_utils.open_data.ontologies import read_hpo, read_icd10
from sapbert_utils.pairs import clean_names, leave_out, make_pairs
from sapbert_utils.terminology import open_terms


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
    assert (len(hpo.mentions), len(hpo.gold), len(hpo.names), len(hpo.concepts)) == (7_096, 7_096, 34_395, 34_395)
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
    assert held <= layperson_strings() and held & set(english["name"])  # there is something to leave out
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
    shares = {p: sum(icd10_part(t.code) == p for t in terms) / len(terms) for p in ("train", "dev", "test")}
    assert 0.07 < shares["test"] < 0.13 and 0.07 < shares["dev"] < 0.13 and sum(shares.values()) == pytest.approx(1)


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
    left = leave_out(clean_names(many, lower=False), strings | layperson_strings(), held).df()  # what pairs are made of
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


@pytest.fixture
def biosyn(tmp_path):
    (tmp_path / "processed_test").mkdir()
    (tmp_path / "processed_test" / "1.concept").write_text(
        "1||0|5||SpecificDisease||Wide Nose||D9\n1||9|12||CompositeMention||Left|Right tumour||D1|D2\n")
    (tmp_path / "processed_test" / "2.concept").write_text("2||0|5||Modifier||fièvre||D8+D2\n", encoding="utf-8")
    (tmp_path / "test_dictionary.txt").write_text("D9||Broad nose\nD1|D7||tumour\n")
    return tmp_path


def test_a_biosyn_corpus_is_read_whole_and_lower_cased(biosyn):
    assert read_biosyn(biosyn, name="toy") == Benchmark(
        "toy", ("wide nose", "left|right tumour", "fièvre"), ("D9", "D1|D2", "D8+D2"),
        ("broad nose", "tumour"), ("D9", "D1|D7"))


@pytest.mark.parametrize("file, line, fields", [("processed_test/1.concept", "1||0|5||Modifier||no concept", 4),
                                                ("processed_test/2.concept", "1||0|5||M||a||b||c", 6),
                                                ("test_dictionary.txt", "no concept", 1),
                                                ("test_dictionary.txt", "D1||a||b", 3)])
def test_a_malformed_biosyn_line_names_file_and_line(biosyn, file, line, fields):
    lines = (biosyn / file).read_text(encoding="utf-8").splitlines()
    (biosyn / file).write_text("\n".join([lines[0], line]) + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match=f"{fields} fields where") as error:
        read_biosyn(biosyn)
    assert f"{biosyn / file}, line 2: " in str(error.value)


def test_a_biosyn_folder_without_mentions_or_dictionary_is_refused(biosyn):
    with pytest.raises(FileNotFoundError, match="processed_dev holds no .concept file"):
        read_biosyn(biosyn, "dev")
    (biosyn / "test_dictionary.txt").unlink()
    with pytest.raises(FileNotFoundError, match="test_dictionary.txt"):
        read_biosyn(biosyn)


def test_xlbel_files_of_both_versions_are_read(tmp_path):
    path = tmp_path / "de.txt"
    path.write_text("C3||Lunge\nC4|C5||Herz\nC1||Niere||die <tgt>Niere</tgt> ist\n",
                    encoding="utf-8")
    assert read_xlbel(path) == [("C3", "Lunge"), ("C4|C5", "Herz"), ("C1", "Niere")]


@pytest.mark.parametrize("line", ["C1", "C1|name", "C1||a||b||c", "", "||name", "C1||"])
def test_a_malformed_xlbel_line_names_file_and_line(tmp_path, line):
    path = tmp_path / "de.txt"
    path.write_text(f"C1||good\n{line}\n")
    with pytest.raises(ValueError, match="expected CUI") as error:
        read_xlbel(path)
    assert f"{path}, line 2: " in str(error.value)


def test_the_folder_of_gold_corpora_comes_from_the_environment(monkeypatch, tmp_path):
    assert benchmarks_folder() is None
    monkeypatch.setenv("SAPBERT_BENCHMARKS", str(tmp_path))
    assert benchmarks_folder() == tmp_path
