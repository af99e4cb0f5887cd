"""A linker that is there at once: open names, made once, kept, restricted, and made anew when it is damaged."""

import pandas as pd
import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.data import open_names
from sapbert_utils.linking import Linker, best_threshold, opening

ASKED = {"heart attack": "Myocardial infarction", "very small head": "Microcephaly",
         "sugar in the urine": "Glycosuria"}


@pytest.fixture(scope="module")
def some():
    """All names of the concepts asked for, and every tenth of the others."""
    names = open_names()
    asked = names["cui"][names["name"].isin(ASKED.values())]
    return names[names["cui"].isin(asked) | (names.index % 10 == 0)].reset_index(drop=True)


@pytest.fixture
def made(monkeypatch, tmp_path, some):
    """How often names were read, with a cache of its own, the two-layer encoder and few names."""
    reads = []

    def few(sources, languages, lower):
        reads.append((sources, languages, lower))
        return some.head(40)

    monkeypatch.setattr(opening, "open_names", few)
    monkeypatch.setattr(opening, "cache_dir", lambda: tmp_path)
    return reads


def test_names_are_of_the_sources_and_languages_with_layperson_names_among_them(some):
    assert list(some) == ["cui", "name", "types", "sources"]
    hpo = open_names(["HPO"])
    assert set("|".join(hpo["sources"]).split("|")) == {"HPO"} and "Close sighted" in set(hpo["name"])
    assert not hpo.duplicated(["cui", "name"]).any()
    lowered = open_names(["HPO"], lower=True)["name"].str.lower()
    assert len(lowered) == len(hpo) < len(open_names(["HPO"], lower=False))
    german = open_names(["ICD10"], ["GER"])
    assert len(german) > 5000
    assert "Herzinsuffizienz" in set(german["name"]) and "Heart failure" not in set(german["name"])
    with pytest.raises(ValueError, match="no names of the sources HPO in the languages GER; there are DOID, EFO, HPO"):
        open_names(["HPO"], ["GER"])


def test_a_linker_is_made_once_and_again_when_it_is_damaged(made, tmp_path):
    first = Linker.open("minilm")
    again = Linker.open("minilm")
    assert len(made) == 1 and again.names.equals(first.names) and (again.vectors == first.vectors).all()
    assert Linker.open("minilm", ["HPO"]).kind == "exact" and len(made) == 2, "other sources are another linker"
    for damaged in ("vectors.npy", "encoder/model.safetensors", "manifest.json"):
        for folder in (tmp_path / "linkers").iterdir():
            (folder / damaged).write_bytes(b"x")
        before = len(made)
        assert (Linker.open("minilm").vectors == first.vectors).all() and len(made) == before + 1
        Linker.open("minilm", ["HPO"])


def test_other_languages_take_the_model_of_all_languages(made, monkeypatch):
    asked = []
    monkeypatch.setattr(opening, "load_encoder", lambda name: asked.append(name) or 1 / 0)
    for languages in (["ENG"], ["ENG", "GER"], []):
        with pytest.raises(ZeroDivisionError):
            Linker.open(languages=languages)
    assert asked == ["sapbert-minilm", "sapbert-e5", "sapbert-e5"]


def test_answers_may_be_of_some_sources_or_semantic_types_alone(encoder):
    names = pd.DataFrame({"cui": ["C1", "C2", "C3"], "name": ["heart attack", "wide nose", "fever"],
                          "types": ["T047", "T033|T184", ""], "sources": ["MONDO|HPO", "HPO", "DOID"]})
    linker = Linker.from_terminology(encoder, names)
    assert linker.part(["HPO"]).tolist() == [True, True, False]
    assert linker.part(["HPO", "DOID"], ["T184"]).tolist() == [False, True, False]
    assert linker.part().all()
    assert linker.link("heart attack", k=3, only=linker.part(types=["T184"]))["cui"].tolist() == ["C2"]
    with pytest.raises(ValueError, match="no name of this linker is of T999; its types are: T033, T047, T184"):
        linker.part(types=["T999"])
    old = Linker(encoder, names.rename(columns={"sources": "source"}).drop(columns="types"), linker.vectors)
    assert old.part(["DOID"]).tolist() == [False, False, True]
    with pytest.raises(ValueError, match="no column 'type"):
        old.part(types=["T047"])


def test_the_command_links_to_open_names_of_a_type(made, tmp_path, some, capsys):
    (tmp_path / "in.csv").write_text("mention\nnose\n")
    command = ["link", str(tmp_path / "in.csv"), "--model", "minilm", "--k", "1"]
    types = some.head(40)["types"].str.split("|").explode()
    assert main([*command, "--semantic-type", types.iloc[0]]) == 0
    cui = pd.read_csv(tmp_path / "in.linked.csv")["cui"].iloc[0]
    assert cui in set(some.head(40).loc[types[types == types.iloc[0]].index, "cui"])
    assert main([*command, "--sources", "HPO", "--json"]) == 0 and (tmp_path / "in.linked.jsonl").exists()
    assert made[-1] == (["HPO"], ["ENG"], False) and main([*command, "--languages", "all"]) == 0
    assert made[-1] == ([], [], False) and "1 rows linked" in capsys.readouterr().out


def test_the_released_model_finds_what_lay_people_say(some):
    """Among every tenth name; notebook 07 asks among all of them."""
    linker = Linker.from_terminology(opening.load_encoder("sapbert-minilm"), some)
    linker.threshold = opening.threshold_of("sapbert-minilm")
    silent = ["can't see far away things", "a ticket to the opera"]  # the first is myopia: a gap of this model
    found = linker.link([*ASKED, *silent], k=1).set_index("mention")
    for mention, name in ASKED.items():
        assert name in set(some["name"][some["cui"] == found.loc[mention, "cui"]]), found
    accepted = found.loc[["heart attack", "sugar in the urine"], "score"]  # "very small head" lies just below
    assert (accepted >= linker.threshold).all()
    assert (found.loc[silent, "score"] < linker.threshold).all()


def test_the_threshold_with_the_best_f1_of_answers_by_hand(encoder):
    names = pd.DataFrame({"cui": ["C1", "C2", "C3"], "name": ["heart attack", "wide nose", "fever"]})
    linker = Linker.from_terminology(encoder, names)
    gold = {"heart attacks": {"C1"}, "a wide nose": {"C2"}, "high fever": {"C3"}, "broad nose": {"C1"}}
    answers = []  # (score, right): kept, and with the concept removed
    for mention, right in gold.items():
        found = linker.link(mention, k=3)
        answers.append((found["score"][0], found["cui"][0] in right))
        answers.append((found.loc[~found["cui"].isin(right), "score"].iloc[0], False))

    def f1(threshold):
        given = [right for score, right in answers if score >= threshold]
        precision, recall = sum(given) / len(given), sum(given) / len(gold)
        return 2 * precision * recall / (precision + recall) if sum(given) else 0

    found = best_threshold(linker, gold)
    # a mention alone and among others: the last digits differ
    assert any(score == pytest.approx(found, abs=1e-6) for score, _ in answers)
    assert f1(found - 1e-6) == max(f1(score) for score, _ in answers)
    with pytest.raises(ValueError, match="one mention that isn't blank"):
        best_threshold(linker, {" ": {"C1"}})
