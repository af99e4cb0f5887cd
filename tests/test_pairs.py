"""Names to positive pairs and back from their file."""

import itertools

import pandas as pd
import pytest

from sapbert_utils.pairs import (
    _unrank,
    ambiguous_names,
    clean_names,
    leave_out,
    make_pairs,
    read_pairs,
    write_pairs,
)


def table(**concepts):
    return pd.DataFrame([(cui, name) for cui, names in concepts.items() for name in names], columns=["cui", "name"],
                        dtype="str")


def as_sets(pairs):
    return {(row.cui, frozenset((row.name1, row.name2))) for row in pairs.itertuples()}


MANY = [f"name {i}" for i in range(40)]  # 780 pairs


def test_below_the_cap_pairs_are_all_combinations_of_a_concept():
    concepts = {"C1": list("abcd"), "C2": ["x", "y"], "C3": ["alone"], "C4": ["twice", "twice"]}
    pairs = make_pairs(table(**concepts))
    expected = {(c, frozenset(p)) for c, names in concepts.items() for p in itertools.combinations(set(names), 2)}
    assert as_sets(pairs) == expected and len(pairs) == len(expected) == 7


@pytest.mark.parametrize("size, cap, count", [(4, 6, 6), (4, 5, 5), (11, 50, 50), (40, 50, 50), (40, 1000, 780)])
def test_the_cap_is_respected_without_duplicates_or_foreign_names(size, cap, count):
    names = MANY[:size]
    pairs = make_pairs(table(C1=names), max_pairs=cap)
    assert len(pairs) == len(as_sets(pairs)) == count
    assert (pairs["name1"] != pairs["name2"]).all()
    assert set(pairs["name1"]) | set(pairs["name2"]) <= set(names)


def test_the_draw_does_not_depend_on_the_order_of_rows_or_on_other_concepts():
    names = table(C1=MANY, C2=[f"other {n}" for n in MANY])
    pairs = make_pairs(names)
    assert make_pairs(names.sample(frac=1, random_state=4)).equals(pairs)
    assert make_pairs(names[names["cui"] == "C2"]).equals(pairs[pairs["cui"] == "C2"].reset_index(drop=True))


def test_the_draw_depends_on_the_seed_and_differs_between_concepts():
    names = table(C1=MANY, C2=MANY)
    pairs = make_pairs(names, seed=33)
    assert as_sets(make_pairs(names, seed=34)) != as_sets(pairs)
    drawn = {cui: {pair for c, pair in as_sets(pairs) if c == cui} for cui in ("C1", "C2")}
    assert drawn["C1"] != drawn["C2"]


def test_every_pair_of_a_large_concept_can_be_drawn():
    drawn = set().union(*(as_sets(make_pairs(table(C1=MANY[:8]), max_pairs=5, seed=s)) for s in range(100)))
    assert len(drawn) == 28


def test_unrank_equals_enumeration():
    expected = [(i, j) for j in range(1, 60) for i in range(j)]
    assert [_unrank(rank) for rank in range(len(expected))] == expected


def test_unrank_is_exact_where_square_roots_are_not():
    j = 2**31 + 11
    first = j * (j - 1) // 2
    assert _unrank(first) == (0, j) and _unrank(first - 1) == (j - 2, j - 1)


def test_no_pairs_from_no_names():
    assert make_pairs(table()).columns.tolist() == ["cui", "name1", "name2"]


def test_the_file_gives_the_pairs_back(tmp_path):
    names = table(C1=["Fièvre", "発熱", 'a "quoted" | \\ name', "nan"], C2=["a\u2028b", "b"])
    pairs = make_pairs(clean_names(names, lower=False))
    path = write_pairs(pairs, tmp_path / "new" / "pairs.txt")
    assert read_pairs(path).equals(pairs)
    assert path.read_text(encoding="utf-8").split("\n")[0].count("||") == 2
    assert [p.name for p in path.parent.iterdir()] == ["pairs.txt"]


def test_bars_in_names_cannot_break_the_file(tmp_path):
    names = clean_names(table(C1=["a||b", "|lead", "trail|", "c|||||d", "||", "one|two"]))
    assert names["name"].tolist() == ["a|b", "lead", "trail", "c|d", "one|two"]
    pairs = make_pairs(names)
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
    assert list(zip(*clean_names(names).to_numpy().T)) == [("C1", "fever"), ("C2", "fever")]
    assert clean_names(names, lower=False)["name"].tolist() == ["Fever", "fever", "Fever"]


def test_leave_out_ignores_case_and_takes_whole_concepts():
    names = table(C1=["Wide nose", "Broad nose"], C2=["wide NOSE", "other"], C3=["gone", "too"])
    kept = leave_out(names, {"Wide Nose"}, {"C3"})
    assert list(zip(*kept.to_numpy().T)) == [("C1", "Broad nose"), ("C2", "other")]
    assert kept.index.tolist() == [0, 1]


def test_ambiguous_names_are_those_of_several_concepts():
    found = ambiguous_names(table(C2=["cold", "flu"], C1=["cold"], C3=["cold", "cold", "own", "own"]))
    assert found["name"].tolist() == ["cold"] and found["concepts"].tolist() == [3]
    assert list(found["cuis"][0]) == ["C1", "C2", "C3"]
