"""Names: selected, cleaned, left out; and whatever tables the reader's database holds."""

import itertools

import duckdb
import pandas as pd
import pytest

from sapbert_utils.data.names import (
    NameFilter,
    ambiguous_names,
    clean_names,
    leave_out,
    select_names,
)
from sapbert_utils.data.pairs import make_pairs, read_pairs, write_pairs
from sapbert_utils.data.rrf import Relation, read_mrconso


def table(**concepts):
    rows = [(cui, name) for cui, names in concepts.items() for name in names]
    return pd.DataFrame(rows, columns=["cui", "name"], dtype="str")


def as_sets(pairs):
    return {(row.cui, frozenset((row.name1, row.name2))) for row in pairs.itertuples()}


def test_clean_names_lower_cases_on_demand_and_drops_what_is_then_equal():
    names = table(C1=["Fever", "fever", "  "], C2=["Fever"])
    assert clean_names(names).fetchall() == [("C1", "fever"), ("C2", "fever")]
    assert clean_names(names, lower=False).df()["name"].tolist() == ["Fever", "fever", "Fever"]


@pytest.mark.parametrize("name", ["İstanbul", "ΣΑΣ", "ΑΣ, ΒΣ", "ΑΣ2", "Straße", "ΟΔΌΣ", "ǅ", "Σ",
                                  "FIÈVRE", "aΣ\u0301"])
def test_lower_case_is_pythons(name):
    assert clean_names(table(C1=[name])).df()["name"][0] == name.lower()


def test_leave_out_ignores_case_and_takes_whole_concepts():
    names = table(C1=["Wide nose", "Broad nose"], C2=["wide NOSE", "other"], C3=["gone", "too"])
    kept = leave_out(names, {"Wide Nose"}, {"C3"}).df()
    assert kept.to_numpy().tolist() == [["C1", "Broad nose"], ["C2", "other"]]
    assert kept.index.tolist() == [0, 1]


def test_leave_out_takes_a_missing_value_for_no_name_at_all():
    names = table(C1=["gout", "flu"])
    assert leave_out(names, ["gout", None], [None]).fetchall() == [("C1", "flu")]
    assert leave_out(names, []).fetchall() == [("C1", "flu"), ("C1", "gout")]


def test_a_plain_string_is_one_item():
    names = table(C1=["gout", "g"], C2=["flu"])
    assert leave_out(names, "gout", "C2").fetchall() == [("C1", "g")]
    rows = pd.concat([rows_of([("C1", "gout")]), rows_of([("C1", "Gicht")], language="GER")])
    found = select_names(rows, languages="ENG", sources="MSH", term_types="PT")
    assert list(found)[2:5] == ["language ENG", "source MSH", "term type PT"]
    assert found["distinct"].fetchall()[0][:2] == ("C1", "gout") and len(found["distinct"]) == 1


def test_the_order_of_the_readers_engine_changes_nothing():
    names = table(C2=["cold"], C1=["b", "a", "cold", "d"])
    def made():
        return [clean_names(names), make_pairs(names), ambiguous_names(names),
                leave_out(names, "a")]

    found = made()
    expected = [relation.fetchall() for relation in found]
    duckdb.sql("SET default_order = 'desc'")
    try:
        assert [relation.fetchall() for relation in made()] == expected
    finally:
        duckdb.sql("RESET default_order")


def test_ambiguous_names_are_those_of_several_concepts():
    names = table(C2=["cold", "flu"], C1=["cold"], C3=["cold", "cold", "own", "own"])
    found = ambiguous_names(names).df()
    assert found["name"].tolist() == ["cold"] and found["concepts"].tolist() == [3]
    assert list(found["cuis"][0]) == ["C1", "C2", "C3"]


TRAPS = [("C1", 'say "aah"'), ("C1", "back\\slash"), ("C1", "A||B"), ("C1", "Crlf"), ("C1", "crlf"),
         ("C2", "crlf"), ("C1", ""), ("C2", "Fièvre"), ("C2", "Fie\u0300vre"),
         ("C3", "İstanbul ΣΑΣ"), ("C3", "Straße"), ("C4", "Brand"),
         *[("C5", f"Name {i}") for i in range(200)]]
TRADE = [("C2", "C4"), ("C2", "C3"), ("C4", "C2"), ("C3", "C2")]


def rows_of(traps, **columns):
    fixed = {"language": "ENG", "source": "MSH", "term_type": "PT", "suppress": "N"} | columns
    return pd.DataFrame(traps, columns=["cui", "name"], dtype="str").assign(**fixed)


def test_compat_selects_and_pairs_what_the_original_does():
    last = dict(TRADE)  # the original keeps the last trade name of a concept
    rows = TRAPS + [(cui, name) for cui, of in last.items() for c, name in TRAPS if c == of]
    expected = {(cui, name.lower()) for cui, name in rows if name}
    trade = pd.DataFrame(list(last.items()), columns=["cui", "names_of"])
    stages = select_names(rows_of(TRAPS, suppress="O"), trade_names=trade, mode="compat")
    found = stages["distinct"].df()
    assert set(zip(found["cui"], found["name"])) == expected and len(found) == len(expected)
    pairs = make_pairs(found).df()
    for cui in {cui for cui, _ in expected}:
        names = [name for c, name in expected if c == cui]
        every = {frozenset(pair) for pair in itertools.combinations(names, 2)}
        ours = {pair for c, pair in as_sets(pairs) if c == cui}
        assert ours <= every and len(ours) == min(len(every), 50)


def test_fixed_mends_unicode_bars_and_trade_names():
    trade = pd.DataFrame(TRADE, columns=["cui", "names_of"])
    found = select_names(rows_of(TRAPS), trade_names=trade)["distinct"].df()
    names_of = {cui: set(group) for cui, group in found.groupby("cui")["name"]}
    taken = {name.lower() for cui, name in TRAPS if cui == "C3"}
    assert names_of["C2"] == {"crlf", "fièvre", "brand", *taken}
    assert "a|b" in names_of["C1"] and "" not in set(found["name"])


def test_filters_say_what_each_leaves():
    names = pd.concat([rows_of([("C1", "fever"), ("C2", "chill")]),
                       rows_of([("C1", "Fieber")], language="GER"),
                       rows_of([("C1", "old")], suppress="O"),
                       rows_of([("C1", "feverish")], source="SNOMEDCT_US"),
                       rows_of([("C1", "f")], term_type="AB")])
    stages = select_names(names, languages=["ENG"], sources=["MSH"], term_types=["PT", "AB"],
                          min_length=2, max_length=5, concepts=pd.DataFrame({"cui": ["C1"]}))
    assert {stage: len(left) for stage, left in stages.items()} == {
        "all": 6, "not suppressed": 5, "language ENG": 4, "source MSH": 3, "term type PT, AB": 3,
        "semantic type": 2, "not empty": 2, "length": 1, "distinct": 1}
    assert len(select_names(names, suppressed=True)["distinct"]) == 6
    with pytest.raises(ValueError, match="fixed or compat"):
        select_names(names, mode="both")


def test_settings_are_the_fields_of_the_filter_and_an_unknown_one_is_refused():
    assert NameFilter() == NameFilter(suppressed=False, lower=True, min_length=1, mode="fixed")
    with pytest.raises(TypeError, match="langages"):
        select_names(rows_of(TRAPS), langages=["ENG"])


LINE = "C000000{}|ENG|P|L1|PF|S1|Y|A1||M1|D1|MSH|PT|D1|{}|0|N||\n"
OURS = ("names", "concepts", "trade_names", "trade", "given", "held", "gone", "lowered", "lines",
        "pairs", "frame", "drawn", "guessed", "placed", "rows", "found", "stages")


def everything(folder):
    """What the wing's queries give, from a file to pairs and back, by name of the function."""
    rows = read_mrconso(folder)
    concepts = pd.DataFrame({"cui": ["C0000001", "C0000002"]})
    trade = pd.DataFrame({"cui": ["C0000001"], "names_of": ["C0000002"]})
    names = select_names(rows, concepts=concepts, trade_names=trade)["distinct"]
    frame = names.df()
    found = {"read": rows, "select": names, "clean": clean_names(frame),
             "ambiguous": ambiguous_names(frame).project("name, concepts"),
             "leave": leave_out(frame, ["gout"], ["C0000002"]), "pairs": make_pairs(frame, 2)}
    answers = {key: value.fetchall() for key, value in found.items() if isinstance(value, Relation)}
    path = write_pairs(found["pairs"].df(), folder / "pairs.txt")
    return answers | {"file": read_pairs(path).to_numpy().tolist()}


@pytest.mark.parametrize("kind", ["TABLE", "VIEW", "TEMP TABLE"])
def test_tables_of_the_readers_are_neither_read_nor_touched(tmp_path, kind):
    lines = [(1, "gout"), (1, "podagra"), (1, "Gicht"), (2, "flu"), (2, "gout"), (3, "cough")]
    text = "".join(LINE.format(*line) for line in lines)
    (tmp_path / "MRCONSO.RRF").write_text(text, encoding="utf-8")
    expected = everything(tmp_path)
    assert len(expected["pairs"]) == 3 and expected["ambiguous"] == [("flu", 2), ("gout", 2)]
    mine = "SELECT 'X' AS cui, 'mine' AS name, 'X' AS names_of, 'a' AS name1, 'b' AS name2"
    for name in OURS:
        duckdb.sql(f"CREATE {kind} {name} AS {mine}")
    try:
        assert everything(tmp_path) == expected
        assert all(duckdb.table(name).fetchall() == [("X", "mine", "X", "a", "b")] for name in OURS)
    finally:
        for name in OURS:
            duckdb.sql(f"DROP {kind.removeprefix('TEMP ')} {name}")
