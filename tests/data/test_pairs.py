"""Names to positive pairs and back from their file."""

import doctest
import hashlib
import importlib
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

from sapbert_utils.data import (
    make_pairs,
    read_labelled,
    read_pairs,
    read_parallel,
    write_pairs,
)
from sapbert_utils.data import pairs as pair_module
from sapbert_utils.data.names import clean_names


def table(**concepts):
    rows = [(cui, name) for cui, names in concepts.items() for name in names]
    return pd.DataFrame(rows, columns=["cui", "name"], dtype="str")


def drawn_from(names, **options):
    return make_pairs(names, **options).df()


def as_sets(pairs):
    return {(row.cui, frozenset((row.name1, row.name2))) for row in pairs.itertuples()}


MANY = [f"name {i}" for i in range(40)]  # 780 pairs


def test_below_the_cap_pairs_are_all_combinations_of_a_concept():
    concepts = {"C1": list("abcd"), "C2": ["x", "y"], "C3": ["alone"], "C4": ["twice", "twice"]}
    pairs = drawn_from(table(**concepts))
    expected = {(cui, frozenset(pair)) for cui, names in concepts.items()
                for pair in itertools.combinations(set(names), 2)}
    assert as_sets(pairs) == expected and len(pairs) == len(expected) == 7


@pytest.mark.parametrize("size, cap, count", [
    (4, 6, 6), (4, 5, 5), (11, 50, 50), (40, 50, 50), (40, 1000, 780)])
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
    second = pairs[pairs["cui"] == "C2"].reset_index(drop=True)
    assert drawn_from(names[names["cui"] == "C2"]).equals(second)


def test_the_draw_depends_on_the_seed_and_differs_between_concepts():
    names = table(C1=MANY, C2=MANY)
    pairs = drawn_from(names, seed=33)
    assert as_sets(drawn_from(names, seed=34)) != as_sets(pairs)
    drawn = {cui: {pair for c, pair in as_sets(pairs) if c == cui} for cui in ("C1", "C2")}
    assert drawn["C1"] != drawn["C2"]


def test_every_pair_of_a_large_concept_can_be_drawn():
    drawn = [as_sets(drawn_from(table(C1=MANY[:8]), max_pairs=5, seed=s)) for s in range(100)]
    assert len(set().union(*drawn)) == 28


def plainly_drawn(concepts, max_pairs, seed):
    """The draw of make_pairs, step by step: Floyd's algorithm over the ranks of all pairs."""
    found = []
    for cui, names in concepts.items():
        names = sorted(set(names))
        ranked = [(i, j) for j in range(len(names)) for i in range(j)]  # (0,1), (0,2), (1,2), …
        ranks = set(range(len(ranked)))
        if len(ranked) > max_pairs:
            ranks = set()
            for t in range(len(ranked) - max_pairs, len(ranked)):
                digest = hashlib.md5(f"{seed}|{cui}|{t}".encode()).digest()
                number = int.from_bytes(digest[8:], "little") % (t + 1)
                ranks.add(t if number in ranks else number)
        found += [(cui, names[ranked[rank][0]], names[ranked[rank][1]]) for rank in ranks]
    return sorted(found)


@pytest.mark.parametrize("cap, seed", [(1, 33), (5, 7), (50, 33), (50, -4), (781, 0)])
def test_the_query_draws_what_the_plain_algorithm_draws(cap, seed):
    rng = random.Random(cap)
    concepts = {f"C{i}é": [f"name {rng.randrange(60)}" for _ in range(size)]
                for i, size in enumerate([2, 3, 5, 11, 12, 40, 90])}
    pairs = make_pairs(table(**concepts), max_pairs=cap, seed=seed)
    assert pairs.fetchall() == plainly_drawn(concepts, cap, seed)


def test_a_large_concept_is_drawn_as_the_plain_algorithm_draws_it():
    concepts = {"C1": [f"name {i}" for i in range(2_000)]}  # 1,999,000 pairs
    drawn = make_pairs(table(**concepts), max_pairs=200).fetchall()
    assert len(set(drawn)) == 200 and drawn == plainly_drawn(concepts, 200, 33)


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
    rows = [("C1", "x", name), ("C1", name, "x")]
    with pytest.raises(ValueError, match="use clean_names"):
        write_pairs(pd.DataFrame(rows, columns=["cui", "name1", "name2"]), path)
    assert path.read_text() == "C1||a||b\n"


@pytest.mark.parametrize("row", list(itertools.permutations(["C1", "a", None])))
@pytest.mark.parametrize("missing", [None, float("nan")])
def test_writing_refuses_a_missing_value_and_keeps_the_old_file(tmp_path, row, missing):
    path = write_pairs(make_pairs(table(C1=["a", "b"])), tmp_path / "pairs.txt")
    for rows in ([row], [("C1", "x", "y"), row]):
        frame = pd.DataFrame([[cell or missing for cell in r] for r in rows],
                             columns=["cui", "name1", "name2"])
        with pytest.raises(ValueError, match="lacks a value; use clean_names"):
            write_pairs(frame, path)
    assert path.read_text() == "C1||a||b\n"


@pytest.mark.parametrize("line", ["C1||only one", "C1||a||b||c", "C1||||b", "", "C1|a|b"])
def test_reading_names_file_and_line(tmp_path, line):
    path = tmp_path / "pairs.txt"
    path.write_text(f"C1||a||b\nC1||a||c\n{line}\nC1||b||c\n")
    with pytest.raises(ValueError, match="expected cui") as error:
        read_pairs(path)
    assert f"{path}, line 3: " in str(error.value) and repr(line) in str(error.value)


def test_reading_refuses_what_is_not_utf8(tmp_path):
    (tmp_path / "pairs.txt").write_bytes(b"C1||a||b\nC1||a||fi\xe8vre\n")
    with pytest.raises(ValueError, match="pairs.txt, line 2: not UTF-8 .*content: b'C1"):
        read_pairs(tmp_path / "pairs.txt")
    with pytest.raises(FileNotFoundError):
        read_pairs(tmp_path / "missing.txt")


BLANKS = "".join(c for c in map(chr, range(sys.maxunicode)) if c.isspace() and c not in "\r\n")


@pytest.mark.parametrize("text, rows", [
    ("\ufeffC1||a||b\nC2||c||d\n", ["C1 a b", "C2 c d"]),
    ("C1||a||b\r\nC2||c||d\r\n", ["C1 a b", "C2 c d"]),
    ("C1||a||b\nC2||c||d", ["C1 a b", "C2 c d"]),
    (f"{BLANKS}C1{BLANKS}||\ta\u00a0||\u3000b \n", ["C1 a b"]),
    # what the engine refuses and Python reads
    ("\ufeffC1||a||b\r\nC2||c||d\n", ["C1 a b", "C2 c d"]),
    ("C1||a\rx||b\n", ["C1 a\rx b"]),
    ("C1||a\x01x||b\n", ["C1 a\x01x b"]),
    (f"C1||{'a' * 3_000_000}||b\n", [f"C1 {'a' * 3_000_000} b"]),
], ids="mark crlf no_end blanks mixed return one long".split())
def test_a_pair_file_of_any_editor_is_read(tmp_path, text, rows):
    (tmp_path / "pairs [1].txt").write_bytes(text.encode())
    pairs = read_pairs(tmp_path / "pairs [1].txt")
    assert [" ".join(row) for row in pairs.itertuples(index=False)] == rows
    assert pairs.dtypes.astype(str).to_dict() == {"cui": "str", "name1": "str", "name2": "str"}


def test_a_line_that_ends_in_a_carriage_return_alone_is_not_two_lines(tmp_path):
    (tmp_path / "pairs.txt").write_bytes(b"C1||a||b\rC2||c||d\n")
    with pytest.raises(ValueError, match="line 1: expected cui"):
        read_pairs(tmp_path / "pairs.txt")


def test_a_long_file_is_read_by_the_engine_and_equal_strings_are_kept_once(tmp_path, monkeypatch):
    monkeypatch.setattr(pair_module, "_split_lines", None)  # not line by line
    names = table(**{f"C{i:05}": [f"{i} {letter}" for letter in "abcdé"] for i in range(10_000)})
    pairs = drawn_from(names)
    read = read_pairs(write_pairs(pairs, tmp_path / "pairs.txt"))
    assert read.equals(pairs) and len(read) == 100_000
    strings = [string for column in read for string in read[column]]
    assert len(set(map(id, strings))) < 1.01 * len(set(strings)) == 60_600


def test_a_file_without_pairs_is_refused(tmp_path):
    (tmp_path / "pairs.txt").touch()
    with pytest.raises(ValueError, match="holds no pairs"):
        read_pairs(tmp_path / "pairs.txt")


def test_any_names_make_pairs_within_a_concept_in_any_order_and_number_of_threads(tmp_path):
    rng, letters = random.Random(33), "aB|\"\\' \t,;İΣσßé\u0300\u3000発"
    for _ in range(20):
        rows = [(f"C{int(rng.paretovariate(0.7)) % 9}",
                 "".join(rng.choices(letters, k=rng.randint(0, 4)))) for _ in range(300)]
        files = []
        for threads in (1, 2):
            duckdb.sql(f"SET threads = {threads}")
            rng.shuffle(rows)
            clean = clean_names(pd.DataFrame(rows, columns=["cui", "name"], dtype="str"))
            pairs = drawn_from(clean, max_pairs=7)
            files.append(write_pairs(pairs, tmp_path / f"{threads}.txt").read_bytes())
        assert files[0] == files[1] and read_pairs(tmp_path / "1.txt").equals(pairs)
        owned = set(clean.fetchall())
        for _, name in owned:
            assert unicodedata.is_normalized("NFC", name) and name.strip() == name
        for side in ("name1", "name2"):
            assert set(zip(pairs["cui"], pairs[side])) <= owned
        assert (pairs["name1"] < pairs["name2"]).all() and len(as_sets(pairs)) == len(pairs)
        assert pairs.groupby("cui").size().max() <= 7


def test_a_cap_below_one_is_refused():
    with pytest.raises(ValueError, match="max_pairs is 0"):
        make_pairs(table(C1=["a", "b"]), max_pairs=0)


MAKE = """import sys, pandas as pd
from sapbert_utils.data.pairs import make_pairs, write_pairs
rows = [(f"C{i // 30}", f"name {i * 7919 % 1000003}") for i in range(300_000)]
names = pd.DataFrame(rows, columns=["cui", "name"])
write_pairs(make_pairs(names), sys.argv[1])"""


def test_a_run_killed_while_it_writes_leaves_no_pair_file_and_the_next_succeeds(tmp_path):
    path = tmp_path / "pairs.txt"
    child = subprocess.Popen([sys.executable, "-c", MAKE, str(path)])
    while not list(tmp_path.glob("partial-*-pairs.txt")) and child.poll() is None:
        time.sleep(0.001)
    child.kill()
    assert child.wait() == -signal.SIGKILL and not path.exists()
    subprocess.run([sys.executable, "-c", MAKE, str(path)], check=True)
    assert len(read_pairs(path)) == 500_000
    assert [p.name for p in tmp_path.iterdir()] == ["pairs.txt"]


def test_labelled_names_and_parallel_lists_become_names(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("\ufeff7||fever||pyrexia\n7||febrile\n8||cough\n", encoding="utf-8")
    assert read_labelled(path).to_numpy().tolist() == [
        ["7", "fever"], ["7", "pyrexia"], ["7", "febrile"], ["8", "cough"]]
    path.write_text("\ufefffever\tFieber\ncough\tHusten\n", encoding="utf-8")
    assert drawn_from(read_parallel(path)).to_numpy().tolist() == [
        ["own:1", "Fieber", "fever"], ["own:2", "Husten", "cough"]]
    wrong = (("7||\n", read_labelled), ("fever\n", read_parallel), ("a\tb\tc\n", read_parallel))
    for text, read in wrong:
        path.write_text(text)
        with pytest.raises(ValueError, match="own.txt, line 1: expected"):
            read(path)


@pytest.mark.parametrize("text", ["8||flu\n7||fever\r8||cough\n", "8||flu\n7||a||b\rc\r\n"])
def test_a_lone_carriage_return_among_labelled_names_is_refused(tmp_path, text):
    (tmp_path / "own.txt").write_bytes(text.encode())
    with pytest.raises(ValueError, match="own.txt, line 2: a carriage return inside the line"):
        read_labelled(tmp_path / "own.txt")


@pytest.mark.parametrize("module", ["names", "own_terms", "pairs"])
def test_the_examples_of_the_docstrings_run(module):
    tested = doctest.testmod(importlib.import_module(f"sapbert_utils.data.{module}"))
    assert tested.attempted and not tested.failed
