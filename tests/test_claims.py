"""The experiments behind notebook 08: what is trained, what is kept, and how sure a difference is."""

import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from sapbert_utils.__main__ import main
from sapbert_utils.claims import (
    SETTINGS,
    append,
    benchmarks_of,
    difference,
    hits_file,
    measure,
    pairs_of,
    read_hits,
    read_rows,
    running,
    settings,
)
from sapbert_utils.claims import table as tables
from sapbert_utils.course.plots import bars
from sapbert_utils.course.profiles import get_profile
from sapbert_utils.course.results import Run
from sapbert_utils.data import held_out, is_dev, layperson_strings, read_mrconso
from sapbert_utils.evaluation import hpo_layperson
from sapbert_utils.files import write_json
from sapbert_utils.model import get_recipe, load_encoder


@pytest.fixture
def table(tmp_path, monkeypatch):
    monkeypatch.setenv("SAPBERT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(tables, "TABLE", tmp_path / "rows.csv")
    return tables.TABLE


def about(setting="SapBERT", seed=1):
    return {"setting": setting, "seed": seed, "steps": 400, "seconds": 1.0, "pair file": ""}


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
    assert hits["SapBERT", "layperson dev"].shape == (2, 9)
    assert (hits["SapBERT", "layperson test"] == (RANKS["layperson test"] == 1)).all()
    assert read_hits(table, 5)["SapBERT", "layperson test"].tolist() == [[False, True, True]] * 2


def test_answers_without_a_row_are_those_of_a_stopped_run(table):
    append(table, RANKS, about())
    before = table.read_bytes()
    append(table, RANKS, about(seed=2))
    table.write_bytes(before)  # stopped between the two files
    assert read_hits(table)["SapBERT", "layperson dev"].shape == (1, 9)
    append(table, RANKS, about(seed=2))  # the run goes on, and its answers are there twice
    assert read_hits(table)["SapBERT", "layperson dev"].shape == (2, 9)


def test_a_run_does_what_is_missing_seed_by_seed(table, monkeypatch):
    append(table, RANKS, about("no miner", 1))
    done = []
    monkeypatch.setattr(running, "run_setting", lambda s, seed, p: (
        done.append((s.name, seed)), (RANKS, about(s.name, seed)))[1])
    options = [word for name in ("untrained", "SapBERT", "no miner") for word in ("--only", name)]
    assert main(["claims", "--profile", "smoke", "--seeds", "1,2", *options]) == 0
    assert done == [("untrained", 1), ("SapBERT", 1), ("SapBERT", 2), ("no miner", 2)]
    assert main(["claims", "--profile", "smoke", "--seeds", "1,2", *options]) == 0
    assert len(done) == 4


def test_measuring_again_shows_both_and_writes_nothing(table, monkeypatch, capsys):
    append(table, RANKS, about())
    other = RANKS | {"layperson dev": np.zeros(9, int)}
    monkeypatch.setattr(running, "run_setting", lambda s, seed, p: (other, about(s.name, seed)))
    before = table.read_bytes(), hits_file(table).read_bytes()
    assert main(["claims", "--profile", "smoke", "--only", "SapBERT", "--seeds", "1", "--again"]) == 0
    assert (table.read_bytes(), hits_file(table).read_bytes()) == before
    said = capsys.readouterr().out
    assert "layperson dev: acc@1 0.00 (0.0 to 0.0), recorded 55.56: OUTSIDE" in said
    assert "recorded 33.33: inside" in said


def test_an_unknown_setting_is_refused(table, capsys):
    assert main(["claims", "--only", "sapbert"]) == 2
    assert "no setting 'sapbert'; choose from: untrained; untrained [CLS];" in capsys.readouterr().err


def test_the_interval_of_a_difference_covers_the_truth_as_often_as_it_says():
    draw, inside = np.random.default_rng(0), 0
    for _ in range(600):  # seeds differ in their true gain, and mentions in how hard they are
        gains = 0.10 + draw.normal(0, 0.02, 3)
        before, luck = draw.random((1, 400)) < 0.4, draw.random((3, 400))
        after = before | (luck < gains[:, None] / 0.6)
        _, low, high = difference(before, after)
        inside += low <= 10 <= high
    assert 0.93 <= inside / 600 <= 1.0


def test_with_one_seed_the_interval_is_that_of_a_paired_mean():
    before, after = np.random.default_rng(1).random((2, 1, 300)) < np.array([[[0.4]], [[0.5]]])
    gain, low, high = difference(before, after)
    moves = 100 * (after[0].astype(float) - before[0])
    assert gain == pytest.approx(moves.mean())
    assert (high - low) / 2 == pytest.approx(1.96 * moves.std(ddof=1) / 300**0.5)


def test_where_all_seeds_answer_alike_only_mentions_count():
    before, after = np.array([[True, False, False, True]]), np.array([[True, True, False, True]] * 3)
    assert difference(before, after)[0] == 25
    wide = difference(before, after)[2] - 25
    assert wide == pytest.approx(1.96 * 50 / 2)  # 25, 25, 25 from seed to seed; 0, 100, 0, 0 from mention to mention
    assert student.ppf(0.975, 2) == pytest.approx(4.303, abs=1e-3)


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
    hits = {k: read_hits(tables.TABLE, k) for k in (1, 5)}
    for (setting, benchmark), own in rows.sort_values("seed").groupby(["setting", "benchmark"]):
        for k, right in hits.items():
            assert right[setting, benchmark].shape == (len(own), own["mentions"].iloc[0])
            assert np.allclose(100 * right[setting, benchmark].mean(1), own[f"acc@{k}"], atol=0.006)
        assert own["mentions"].nunique() == 1 and (own["steps"] == SETTINGS[setting].steps).all()


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
