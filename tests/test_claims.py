"""The experiments behind notebook 08: what is trained, what is kept, and how sure a difference is."""

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from sapbert_utils.__main__ import main
from sapbert_utils.claims import (
    SETTINGS,
    Setting,
    append,
    benchmarks_of,
    difference,
    hits_file,
    measure,
    note_mentions,
    pairs_of,
    read_groups,
    read_hits,
    read_rows,
    running,
    settings,
    verdict,
)
from sapbert_utils.claims import table as tables
from sapbert_utils.course.plots import bars
from sapbert_utils.course.profiles import get_profile
from sapbert_utils.course.results import Run
from sapbert_utils.data import held_out, is_dev, layperson_strings, read_mrconso
from sapbert_utils.evaluation import Benchmark, hpo_layperson
from sapbert_utils.files import write_json
from sapbert_utils.model import get_recipe, load_encoder


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(tables, "TABLE", tmp_path / "rows.csv")
    return tables.TABLE


def about(setting="SapBERT", seed=1):
    return {"setting": setting, "seed": seed, "steps": 400, "pairs a step": 64, "rate": 3e-4, "data": "pairs",
            "seconds": 1.0}


RANKS = {"layperson dev": np.array([1, 0, 2, 1, 3, 1, 1, 0, 1]), "layperson test": np.array([0, 1, 5])}


def test_every_setting_is_a_recipe_and_goes_on_from_one_that_there_is():
    for setting in SETTINGS.values():
        recipe = get_recipe(setting.recipe, **setting.settings)
        assert recipe.batch_size == 64 and setting.steps in (0, 100, 130, 400)
        assert not setting.after or SETTINGS[setting.after].base == setting.base


def test_the_settings_of_losses_and_miners_differ_in_that_alone():
    usual = SETTINGS["SapBERT"]
    for name, setting in SETTINGS.items():
        if name.endswith((" loss", " miner")) and setting is not usual:
            assert set(setting.changes) <= {"loss", "miner"}
            assert (setting.data, setting.steps, setting.after) == (usual.data, usual.steps, usual.after)


def test_fine_tuning_on_layperson_names_sees_dev_concepts_alone():
    pairs = pairs_of("layperson", get_profile("smoke"))
    assert len(pairs) > 1_000 and all(is_dev(cui.split("|")[0]) for cui in pairs["cui"])
    asked = hpo_layperson().only(lambda gold: not is_dev(gold.split("|")[0]), "test").mentions
    assert not set(asked) & set(pairs["name1"]) and (pairs["name1"] != pairs["name2"]).all()


def test_translations_hold_no_name_of_a_held_out_block():
    strings, _ = held_out(["ICD10"])
    words = pairs_of("words", get_profile("smoke"))
    assert len(words) > 10_000 and strings.isdisjoint(words["name1"].str.lower()) and \
        strings.isdisjoint(words["name2"].str.lower())


def test_english_pairs_are_four_fifths_hpo_and_hold_no_layperson_name(tmp_path, monkeypatch):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="python -m sapbert_utils run 01 --profile smoke"):
        pairs_of("english", get_profile("smoke"))
    assert main(["run", "01", "--profile", "smoke"]) == 0
    pairs = pairs_of("english", get_profile("smoke"))
    names = read_mrconso(get_profile("smoke").data / "metathesaurus").df()
    hpo = set(names.loc[names["source"] == "HPO", "cui"])
    assert np.mean([cui in hpo for cui in pairs["cui"].unique()]) == pytest.approx(0.8, abs=0.01)
    assert layperson_strings().isdisjoint(pairs["name1"]) and layperson_strings().isdisjoint(pairs["name2"])


def test_rows_are_appended_and_read_with_the_answers(table):
    append(table, RANKS, about())
    append(table, RANKS, about(seed=2))
    rows = read_rows(table)
    assert len(rows) == 4 and rows["acc@1"].tolist()[:2] == [55.56, 33.33]
    assert rows["acc@5"].tolist()[:2] == [77.78, 66.67]
    hits = read_hits(table)
    assert list(hits["SapBERT", "layperson dev"]) == [1, 2] and len(hits["SapBERT", "layperson dev"][1]) == 9
    assert (hits["SapBERT", "layperson test"][2] == (RANKS["layperson test"] == 1)).all()
    assert read_hits(table, 5)["SapBERT", "layperson test"][1].tolist() == [False, True, True]


def test_answers_without_a_row_are_those_of_a_stopped_run(table):
    append(table, RANKS, about())
    before = table.read_bytes()
    append(table, RANKS, about(seed=2))
    table.write_bytes(before)  # stopped between the two files
    assert list(read_hits(table)["SapBERT", "layperson dev"]) == [1]
    append(table, RANKS, about(seed=2))  # the run goes on, and its answers are there twice
    assert list(read_hits(table)["SapBERT", "layperson dev"]) == [1, 2]


def questions(*golds):
    return Benchmark("q", tuple(f"m{i}" for i in range(len(golds))), golds, ("a", "b"), ("C1", "C2"))


def test_mentions_of_one_concept_or_block_belong_together_and_must_stay_the_same(table):
    note_mentions(table, {"layperson test": questions("C1", "C2", "C1"),
                          "ICD-10 GER": questions("A001", "A002", "B00")})
    groups = read_groups(table)
    assert [len(set(groups[label][[0, i]])) for label in groups for i in (1, 2)] == [2, 1, 1, 2]
    before = hits_file(table).read_bytes()
    note_mentions(table, {"layperson test": questions("C1", "C2", "C1")})
    assert hits_file(table).read_bytes() == before
    with pytest.raises(ValueError, match="'layperson test' isn't the one of the rows .* begin a new table"):
        note_mentions(table, {"layperson test": questions("C1", "C2")})


@pytest.fixture
def trainings(table, monkeypatch):
    """No training, but a record of what would have been trained; all mentions are right."""
    done = []

    def train(setting, seed, profile, keep=True):
        if setting.name == "triplet loss":
            raise FloatingPointError("the loss of step 3 is not finite")
        done.append((setting.name, seed, keep))
        return None, about(setting.name, seed)

    test_sets = {"layperson": {"layperson dev": questions("C1", "C2"), "layperson test": questions("C1", "C2")},
                 "NCBI": {}, "chemicals": {"chemicals": questions("C2", "C1")},
                 "brands": {"brands": questions("C1", "C2")}}
    monkeypatch.setattr(running, "train_setting", train)
    monkeypatch.setattr(running, "_prepared", lambda setting, seed, *given: (None, None, about(setting.name, seed)))
    monkeypatch.setattr(running, "benchmarks_of", lambda kind, profile: test_sets[kind])
    monkeypatch.setattr(running, "measure", lambda encoder, asked: {
        label: np.ones(len(b.mentions), int) for label, b in asked.items()})
    return done, test_sets


def only(*names):
    return ["claims", "--profile", "smoke", *(word for name in names for word in ("--only", name))]


def test_a_run_does_what_is_missing_seed_by_seed(table, trainings):
    done, test_sets = trainings
    assert main([*only("untrained", "SapBERT", "no miner"), "--seeds", "1,2"]) == 0
    assert [one[:2] for one in done] == [("untrained", 1), ("SapBERT", 1), ("no miner", 1), ("SapBERT", 2),
                                         ("no miner", 2)]
    assert main([*only("untrained", "SapBERT", "no miner"), "--seeds", "1,2"]) == 0
    assert len(done) == 5
    test_sets["NCBI"] = {"NCBI test": questions("C1", "C2")}  # a corpus that was not at hand
    assert main([*only("SapBERT", "no miner"), "--seeds", "1"]) == 0
    assert len(done) == 6 and read_rows(table).iloc[-1]["benchmark"] == "NCBI test"
    assert not read_rows(table).duplicated(["setting", "seed", "benchmark"]).any()


def test_a_training_that_diverges_stops_no_other_and_is_said_in_the_end(table, trainings, capsys):
    assert main([*only("triplet loss", "no miner"), "--seeds", "1"]) == 2
    out, err = capsys.readouterr()
    assert "triplet loss, seed 1 … left out: the loss of step 3 is not finite" in out
    assert "diverged, so the table has no row of it: triplet loss" in err
    assert set(read_rows(table)["setting"]) == {"no miner"}


def test_rows_of_other_pairs_are_not_mixed(table, trainings, capsys):
    append(table, RANKS, about("no miner") | {"data": "other"})
    before = table.read_bytes()
    assert main([*only("no miner"), "--seeds", "2"]) == 2
    assert "the table's rows of 'no miner' have data 'other', and this training has 'pairs'" in capsys.readouterr().err
    assert table.read_bytes() == before and not trainings[0]  # refused before minutes went by


def test_measuring_again_shows_both_and_writes_nothing(table, trainings, capsys):
    assert main([*only("SapBERT"), "--seeds", "1"]) == 0
    before = table.read_bytes(), hits_file(table).read_bytes()
    assert main([*only("SapBERT"), "--seeds", "1", "--again"]) == 0
    assert (table.read_bytes(), hits_file(table).read_bytes()) == before and trainings[0][-1] == ("SapBERT", 1, False)
    assert "layperson dev: acc@1 100.00, recorded 100.0; the difference, +0.00 (+0.00 to +0.00), contains zero" in \
        capsys.readouterr().out


def test_a_training_goes_on_from_the_one_before_and_keeps_it_by_its_settings(tmp_path, monkeypatch):
    """Two settings in a row, for one step each, on few pairs; a changed base is another base."""
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    pairs = pd.DataFrame([(f"C{i}", f"name {i}", f"other name {i}") for i in range(8)],
                         columns=["cui", "name1", "name2"])
    monkeypatch.setattr(running, "pairs_of", lambda data, profile: pairs)
    monkeypatch.setattr(running, "load_encoder", lambda name, **given: load_encoder(name, **(
        {"num_layers": 4} if name == "minilm" else {}), **given))
    first = Setting("first", {"batch_size": 4}, steps=1)
    second = Setting("second", {"batch_size": 4}, after="first", steps=1)
    monkeypatch.setattr(running, "SETTINGS", {"first": first, "second": second})
    profile = get_profile("smoke")
    _, told = running.train_setting(second, 1, profile)
    (kept,) = (profile.models / "claims").iterdir()
    assert told["setting"] == "second" and told["steps"] == 1 and kept.name.startswith("first-1-")
    again, told = running.train_setting(first, 1, profile)  # loaded, not trained
    assert told["setting"] == "first" and again.pooling == "mean"
    other = replace(first, changes={"batch_size": 4, "learning_rate": 1e-3})
    running.train_setting(other, 1, profile, keep=False)
    assert len(list((profile.models / "claims").iterdir())) == 1
    running.train_setting(other, 1, profile)
    assert len(list((profile.models / "claims").iterdir())) == 2


def test_an_unknown_setting_is_refused(table, capsys):
    assert main(["claims", "--seeds", "one"]) == 2
    assert "--seeds 'one': give whole numbers, such as 1,2,3" in capsys.readouterr().err
    assert main(["claims", "--only", "sapbert"]) == 2
    assert "no setting 'sapbert'; choose from: untrained; untrained [CLS];" in capsys.readouterr().err


def alone(count):
    return np.arange(count, dtype=np.uint32)


def test_the_interval_covers_the_truth_as_often_as_it_says():
    """Concepts of five mentions are gained or not together, and seeds differ in their true gain."""
    draw, inside, wider = np.random.default_rng(0), 0, []
    groups = np.repeat(np.arange(200), 5)
    for _ in range(600):
        chance = np.clip(draw.beta(0.5, 4.5, 200)[groups], 0, 1)  # 0.1 on average, alike in a concept
        luck = draw.random(1000)
        moves = np.stack([100 * (luck * (1 - 0.1 * draw.normal()) < chance) for _ in range(3)])
        _, low, high = difference((moves, groups))
        unaware = difference((moves, alone(1000)))
        inside, wider = inside + (low <= 10 <= high), [*wider, (high - low) / (unaware[2] - unaware[1])]
    assert 0.92 <= inside / 600 <= 0.995
    assert np.median(wider) > 1.1  # mentions of one concept say less than they seem to


def test_with_one_seed_the_interval_is_that_of_a_paired_mean():
    moves = 100 * np.random.default_rng(1).choice([-1.0, 0, 0, 1], (1, 300))
    gain, low, high = difference((moves, alone(300)))
    assert gain == pytest.approx(moves.mean())
    assert (high - low) / 2 == pytest.approx(student.ppf(0.975, 299) * moves.std(ddof=1) / 300**0.5)


def test_the_spread_of_seeds_counts_by_students_t():
    moves = np.array([[1.0] * 50, [2.0] * 50, [3.0] * 50])  # no difference from mention to mention
    gain, low, high = difference((moves, alone(50)))
    assert gain == 2 and high - 2 == pytest.approx(4.303 / 3**0.5, abs=1e-3)
    assert difference((moves, alone(50)), level=0.99)[2] > high


def test_a_gain_less_another_pairs_the_seeds():
    draw = np.random.default_rng(2)
    shared = draw.normal(0, 5, (3, 1))  # what a seed does to both
    first, second = shared + draw.normal(3, 1, (3, 400)), shared + draw.normal(1, 1, (3, 300))
    gain, low, high = difference((first, alone(400)), (-second, alone(300)))
    assert gain == pytest.approx(first.mean() - second.mean()) and high - low < 1
    with pytest.raises(ValueError, match="all parts need the same seeds: 3, 2"):
        difference((first, alone(400)), (second[:2], alone(300)))


def of(value, spread=0.1):
    return [(np.random.default_rng(3).normal(value, spread, (3, 500)), alone(500))]


def test_a_claim_can_be_contradicted_and_one_of_many_needs_more_to_count():
    assert verdict([of(1), of(2)]) == "holds"
    assert verdict([of(1), of(0, 9)]) == "holds in part"
    assert verdict([of(0, 9)]) == "not seen here"
    assert verdict([of(-1), of(0, 9)]) == "contradicted here"
    assert verdict([of(-1), of(1)]) == "mixed"
    near = of(1, 10)  # its interval lies above zero, but not the one for twelve comparisons
    assert difference(*near)[1] > 0 and verdict([near] + [of(0, 9)] * 11) == "not seen here"


def test_files_of_more_languages_join_xl_bel(tmp_path, monkeypatch):
    """The five that a reader adds, in their scripts, load and are scored like the others."""
    names = pd.DataFrame({"cui": ["C0004096", "C0004096", "C0015967"], "language": "ENG", "source": "HPO",
                          "name": ["Asthma", "Bronchial asthma", "Fever"], "term_type": ["PT", "SY", "PT"]})
    monkeypatch.setattr(settings, "read_mrconso", lambda folder: type("Rows", (), {"df": lambda self: names})())
    folder = tmp_path / "xl-bel" / "v0.0"
    folder.mkdir(parents=True)
    for language, word in {"fi": "astma", "ja": "喘息", "ko": "천식", "ru": "астма", "th": "โรคหืด"}.items():
        (folder / f"{language}_1k_test_query.txt").write_text(
            f"C3714497|C0004096||{word}\nC9999999||?\n", encoding="utf-8")
    monkeypatch.setenv("SAPBERT_BENCHMARKS", str(tmp_path))
    found = benchmarks_of("XL-BEL", get_profile("smoke"))
    assert list(found) == [f"XL-BEL {language}" for language in ("fi", "ja", "ko", "ru", "th")]
    assert found["XL-BEL th"].mentions == ("โรคหืด",) and found["XL-BEL th"].names[:2] == ("Asthma", "Bronchial asthma")
    encoder = load_encoder("minilm", 1)
    ranks = measure(encoder, found)
    assert {label: len(r) for label, r in ranks.items()} == dict.fromkeys(found, 1)


def test_the_committed_table_is_whole():
    rows = read_rows(tables.TABLE)
    assert set(rows["setting"]) <= set(SETTINGS) and not rows.duplicated(["setting", "seed", "benchmark"]).any()
    assert not rows.empty
    hits, groups = {k: read_hits(tables.TABLE, k) for k in (1, 5)}, read_groups(tables.TABLE)
    for row in rows.to_dict("records"):
        setting = SETTINGS[row["setting"]]
        for k in (1, 5):
            right = hits[k][row["setting"], row["benchmark"]][row["seed"]]
            assert len(right) == row["mentions"] == len(groups[row["benchmark"]])
            assert 100 * right.mean() == pytest.approx(row[f"acc@{k}"], abs=0.006)
        assert (row["steps"], row["rate"]) == (setting.steps, setting.settings["learning_rate"])
        assert row["pairs a step"] == setting.settings["batch_size"] and row["machine"]
    assert (rows.groupby("setting")["data"].nunique() == 1).all()


def test_the_report_links_each_number_to_its_results(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path))
    assert main(["report", "--profile", "smoke"]) == 2
    assert "python -m sapbert_utils run 08 --profile smoke" in capsys.readouterr().err
    compared = {"before": "no miner", "after": "SapBERT", "test set": "layperson test", "seeds": 3.0,
                "gain": 1.25, "low": 0.5, "high": 2.0}
    write_json(tmp_path / "smoke" / "data" / "verdicts.json", {
        "4. mining | helps": {"verdict": "holds", "above zero": "1 of 1", "compared": [compared], "why": "so it is"},
        "12. larger": {"verdict": "open: one seed", "above zero": "", "compared": [{"seeds": 0.0}], "why": ""}})
    run = Run("04_evaluate_entity_linking", get_profile("smoke"), 33)
    run.metric("acc@1 | dev", 1234.5, unit="%")
    run.figure(bars({"a": 1.0}, "t", "x"), "04_hpo_layperson", alt="one bar")
    run.finish()
    assert main(["report", "--profile", "smoke"]) == 0
    page = (tmp_path / "smoke" / "report.md").read_text(encoding="utf-8")
    assert "| 04 | acc@1 \\| dev | [1,234.5](results/04_evaluate_entity_linking.json) % |" in page
    assert "SapBERT over no miner, layperson test: [+1.2](data/verdicts.json) (+0.5 to +2.0), 3 seeds" in page
    assert "| 4. mining \\| helps | holds |" in page and "![one bar](figures/04_hpo_layperson.png)" in page
    for place in re.findall(r"\]\(([a-z]+/[^)]+)\)", page):
        assert (tmp_path / "smoke" / place).is_file(), place
    web = (tmp_path / "smoke" / "report.html").read_text(encoding="utf-8")
    assert web.count("<table>") == 4 and 'alt="one bar"' in web and "results/04_evaluate_entity_linking.json" in web
