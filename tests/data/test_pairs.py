"""Names to positive pairs and back from their file."""

import itertools
import random
import signal
import subprocess
import sys
import time
import unicodedata

import duckdb
import pandas as pd
import pytest

from sapbert_utils.data.pairs import (
    ambiguous_names,
    clean_names,
    leave_out,
    make_pairs,
    read_labelled,
    read_pairs,
    read_parallel,
    select_names,
    write_pairs,
)


def table(**concepts):
    return pd.DataFrame([(cui, name) for cui, names in concepts.items() for name in names], columns=["cui", "name"],
                        dtype="str")


def drawn_from(names, **options):
    return make_pairs(names, **options).df()


def as_sets(pairs):
    return {(row.cui, frozenset((row.name1, row.name2))) for row in pairs.itertuples()}


MANY = [f"name {i}" for i in range(40)]  # 780 pairs


def test_below_the_cap_pairs_are_all_combinations_of_a_concept():
    concepts = {"C1": list("abcd"), "C2": ["x", "y"], "C3": ["alone"], "C4": ["twice", "twice"]}
    pairs = drawn_from(table(**concepts))
    expected = {(c, frozenset(p)) for c, names in concepts.items() for p in itertools.combinations(set(names), 2)}
    assert as_sets(pairs) == expected and len(pairs) == len(expected) == 7


@pytest.mark.parametrize("size, cap, count", [(4, 6, 6), (4, 5, 5), (11, 50, 50), (40, 50, 50), (40, 1000, 780)])
def test_the_cap_is_respected_without_duplicates_or_foreign_names(size, cap, count):
    names = MANY[:size]
    pairs = drawn_from(table(C1=names), max_pairs=cap)
    assert len(pairs) == len(as_sets(pairs)) == count
    assert (pairs["name1"] != pairs["name2"]).all()
    assert set(pairs["name1"]) | set(pairs["name2"]) <= set(names)


def test_the_draw_does_not_depend_on_the_order_of_rows_or_on_other_concepts():
    names = table(C1=MANY, C2=[f"other {n}" for n in MANY])
    pairs = drawn_from(names)
    assert drawn_from(names.sample(frac=1, random_state=4)).equals(pairs)
    assert drawn_from(names[names["cui"] == "C2"]).equals(pairs[pairs["cui"] == "C2"].reset_index(drop=True))


def test_the_draw_depends_on_the_seed_and_differs_between_concepts():
    names = table(C1=MANY, C2=MANY)
    pairs = drawn_from(names, seed=33)
    assert as_sets(drawn_from(names, seed=34)) != as_sets(pairs)
    drawn = {cui: {pair for c, pair in as_sets(pairs) if c == cui} for cui in ("C1", "C2")}
    assert drawn["C1"] != drawn["C2"]


def test_every_pair_of_a_large_concept_can_be_drawn():
    drawn = set().union(*(as_sets(drawn_from(table(C1=MANY[:8]), max_pairs=5, seed=s)) for s in range(100)))
    assert len(drawn) == 28


def test_no_pairs_from_no_names():
    assert drawn_from(table()).columns.tolist() == ["cui", "name1", "name2"]


def test_the_file_gives_the_pairs_back(tmp_path):
    names = table(C1=["Fièvre", "発熱", 'a "quoted" | \\ name', "nan"], C2=["a\u2028b", "b"])
    pairs = drawn_from(clean_names(names, lower=False))
    path = write_pairs(pairs, tmp_path / "new" / "pairs.txt")
    assert read_pairs(path).equals(pairs)
    assert path.read_text(encoding="utf-8").split("\n")[0].count("||") == 2
    assert [p.name for p in path.parent.iterdir()] == ["pairs.txt"]


def test_bars_in_names_cannot_break_the_file(tmp_path):
    names = clean_names(table(C1=["a||b", "|lead", "trail|", "c|||||d", "||", "one|two"])).df()
    assert names["name"].tolist() == ["a|b", "c|d", "lead", "one|two", "trail"]
    pairs = drawn_from(names)
    assert read_pairs(write_pairs(pairs, tmp_path / "pairs.txt")).equals(pairs)


@pytest.mark.parametrize("name", ["a||b", "|a", "a|", "a\nb"])
def test_writing_refuses_what_would_break_the_file_and_keeps_the_old_one(tmp_path, name):
    path = write_pairs(make_pairs(table(C1=["a", "b"])), tmp_path / "pairs.txt")
    with pytest.raises(ValueError, match="use clean_names"):
        write_pairs(pd.DataFrame([("C1", "x", name), ("C1", name, "x")], columns=["cui", "name1", "name2"]), path)
    assert path.read_text() == "C1||a||b\n"


@pytest.mark.parametrize("line", ["C1||only one", "C1||a||b||c", "C1||||b", "", "C1|a|b"])
def test_reading_names_file_and_line(tmp_path, line):
    path = tmp_path / "pairs.txt"
    path.write_text(f"C1||a||b\nC1||a||c\n{line}\nC1||b||c\n")
    with pytest.raises(ValueError, match="expected cui") as error:
        read_pairs(path)
    assert f"{path}, line 3: " in str(error.value)


def test_a_file_without_pairs_is_refused(tmp_path):
    (tmp_path / "pairs.txt").touch()
    with pytest.raises(ValueError, match="holds no pairs"):
        read_pairs(tmp_path / "pairs.txt")


def test_clean_names_lower_cases_on_demand_and_drops_what_is_then_equal():
    names = table(C1=["Fever", "fever", "  "], C2=["Fever"])
    assert list(zip(*clean_names(names).df().to_numpy().T)) == [("C1", "fever"), ("C2", "fever")]
    assert clean_names(names, lower=False).df()["name"].tolist() == ["Fever", "fever", "Fever"]


def test_leave_out_ignores_case_and_takes_whole_concepts():
    names = table(C1=["Wide nose", "Broad nose"], C2=["wide NOSE", "other"], C3=["gone", "too"])
    kept = leave_out(names, {"Wide Nose"}, {"C3"}).df()
    assert list(zip(*kept.to_numpy().T)) == [("C1", "Broad nose"), ("C2", "other")]
    assert kept.index.tolist() == [0, 1]


def test_ambiguous_names_are_those_of_several_concepts():
    found = ambiguous_names(table(C2=["cold", "flu"], C1=["cold"], C3=["cold", "cold", "own", "own"])).df()
    assert found["name"].tolist() == ["cold"] and found["concepts"].tolist() == [3]
    assert list(found["cuis"][0]) == ["C1", "C2", "C3"]


TRAPS = [("C1", 'say "aah"'), ("C1", "back\\slash"), ("C1", "A||B"), ("C1", "Crlf"), ("C1", "crlf"), ("C2", "crlf"),
         ("C1", ""), ("C2", "Fièvre"), ("C2", "Fie\u0300vre"), ("C3", "İstanbul ΣΑΣ"), ("C3", "Straße"),
         ("C4", "Brand"), *[("C5", f"Name {i}") for i in range(200)]]
TRADE = [("C2", "C4"), ("C2", "C3"), ("C4", "C2"), ("C3", "C2")]


def rows_of(traps, **columns):
    fixed = {"language": "ENG", "source": "MSH", "term_type": "PT", "suppress": "N"} | columns
    return pd.DataFrame(traps, columns=["cui", "name"], dtype="str").assign(**fixed)


def test_compat_selects_and_pairs_what_the_original_does():
    rows = TRAPS + [(cui, name) for cui, of in dict(TRADE).items() for c, name in TRAPS if c == of]
    expected = {(cui, name.lower()) for cui, name in rows if name}
    trade = pd.DataFrame(list(dict(TRADE).items()), columns=["cui", "names_of"])
    found = select_names(rows_of(TRAPS, suppress="O"), trade_names=trade, mode="compat")["distinct"].df()
    assert set(zip(found["cui"], found["name"])) == expected and len(found) == len(expected)
    pairs = drawn_from(found)
    for cui in {cui for cui, _ in expected}:
        every = {frozenset(p) for p in itertools.combinations([n for c, n in expected if c == cui], 2)}
        ours = {pair for c, pair in as_sets(pairs) if c == cui}
        assert ours <= every and len(ours) == min(len(every), 50)


def test_fixed_mends_unicode_bars_and_trade_names():
    trade = pd.DataFrame(TRADE, columns=["cui", "names_of"])
    found = select_names(rows_of(TRAPS), trade_names=trade)["distinct"].df()
    names_of = {cui: set(group) for cui, group in found.groupby("cui")["name"]}
    assert names_of["C2"] == {"crlf", "fièvre", "brand", *(n.lower() for c, n in TRAPS if c == "C3")}
    assert "a|b" in names_of["C1"] and "" not in set(found["name"])


def test_filters_say_what_each_leaves():
    names = pd.concat([rows_of([("C1", "fever"), ("C2", "chill")]), rows_of([("C1", "Fieber")], language="GER"),
                       rows_of([("C1", "old")], suppress="O"), rows_of([("C1", "feverish")], source="SNOMEDCT_US"),
                       rows_of([("C1", "f")], term_type="AB")])
    stages = select_names(names, languages=["ENG"], sources=["MSH"], term_types=["PT", "AB"], min_length=2,
                          max_length=5, concepts=pd.DataFrame({"cui": ["C1"]}))
    assert {stage: len(left) for stage, left in stages.items()} == {
        "all": 6, "not suppressed": 5, "language ENG": 4, "source MSH": 3, "term type PT, AB": 3, "semantic type": 2,
        "not empty": 2, "length": 1, "distinct": 1}
    assert len(select_names(names, suppressed=True)["distinct"]) == 6
    with pytest.raises(ValueError, match="fixed or compat"):
        select_names(names, mode="both")


def test_any_names_make_pairs_within_a_concept_in_any_order_and_number_of_threads(tmp_path):
    rng, letters = random.Random(33), "aB|\"\\' \t,;İΣσßé\u0300\u3000発"
    for _ in range(20):
        rows = [(f"C{int(rng.paretovariate(0.7)) % 9}", "".join(rng.choices(letters, k=rng.randint(0, 4))))
                for _ in range(300)]
        files = []
        for threads in (1, 2):
            duckdb.sql(f"SET threads = {threads}")
            rng.shuffle(rows)
            clean = clean_names(pd.DataFrame(rows, columns=["cui", "name"], dtype="str"))
            pairs = drawn_from(clean, max_pairs=7)
            files.append(write_pairs(pairs, tmp_path / f"{threads}.txt").read_bytes())
        assert files[0] == files[1] and read_pairs(tmp_path / "1.txt").equals(pairs)
        owned = set(clean.fetchall())
        assert all(unicodedata.is_normalized("NFC", name) and name.strip() == name for _, name in owned)
        assert {(c, n) for side in ("name1", "name2") for c, n in zip(pairs["cui"], pairs[side])} <= owned
        assert (pairs["name1"] < pairs["name2"]).all() and len(as_sets(pairs)) == len(pairs)
        assert pairs.groupby("cui").size().max() <= 7


def test_a_cap_below_one_is_refused():
    with pytest.raises(ValueError, match="max_pairs is 0"):
        make_pairs(table(C1=["a", "b"]), max_pairs=0)


MAKE = """import sys, pandas as pd
from sapbert_utils.data.pairs import make_pairs, write_pairs
names = pd.DataFrame([(f"C{i // 30}", f"name {i * 7919 % 1000003}") for i in range(300_000)], columns=["cui", "name"])
write_pairs(make_pairs(names), sys.argv[1])"""


def test_a_run_killed_while_it_writes_leaves_no_pair_file_and_the_next_succeeds(tmp_path):
    path = tmp_path / "pairs.txt"
    child = subprocess.Popen([sys.executable, "-c", MAKE, str(path)])
    while not list(tmp_path.glob("partial-*-pairs.txt")) and child.poll() is None:
        time.sleep(0.001)
    child.kill()
    assert child.wait() == -signal.SIGKILL and not path.exists()
    subprocess.run([sys.executable, "-c", MAKE, str(path)], check=True)
    assert len(read_pairs(path)) == 500_000 and [p.name for p in tmp_path.iterdir()] == ["pairs.txt"]


def test_labelled_names_and_parallel_lists_become_names(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("7||fever||pyrexia\n7||febrile\n8||cough\n", encoding="utf-8")
    assert read_labelled(path).to_numpy().tolist() == [["7", "fever"], ["7", "pyrexia"], ["7", "febrile"],
                                                       ["8", "cough"]]
    path.write_text("fever\tFieber\ncough\tHusten\n", encoding="utf-8")
    assert drawn_from(read_parallel(path)).to_numpy().tolist() == [["own:1", "Fieber", "fever"],
                                                                   ["own:2", "Husten", "cough"]]
    for text, read in (("7||\n", read_labelled), ("fever\n", read_parallel), ("a\tb\tc\n", read_parallel)):
        path.write_text(text)
        with pytest.raises(ValueError, match="own.txt, line 1: expected"):
            read(path)
