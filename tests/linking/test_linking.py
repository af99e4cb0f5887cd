"""Exact search against brute force, the cache of vectors, and the Linker."""

import logging

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.__main__ import main
from sapbert_utils.linking import (
    Linker,
    Prepared,
    encode_cached,
    expand,
    fingerprint,
    make_index,
    search,
)
from sapbert_utils.model.encoder import load_encoder, save_encoder


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=2, pooling="mean", lower=True)


def brute_force(queries, dictionary, similarity):
    if similarity == "euclidean":
        return -np.linalg.norm(queries[:, None] - dictionary, axis=2)
    cosine = similarity == "cosine"
    a, b = (x / np.linalg.norm(x, axis=1, keepdims=True) if cosine else x for x in (queries, dictionary))
    return a @ b.T


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("block", [7, 50, 1000])
def test_search_equals_brute_force_whatever_the_block(similarity, block):
    rng = np.random.default_rng(0)
    queries, dictionary = rng.normal(size=(9, 8)).astype("f4"), rng.normal(size=(100, 8)).astype("f4")
    wanted = brute_force(queries, dictionary, similarity)
    expected = np.argsort(-wanted, axis=1)[:, :12]
    indices, scores = search(queries, dictionary, 12, similarity, block)
    assert np.array_equal(indices, expected)
    assert np.allclose(scores, np.take_along_axis(wanted, expected, 1), atol=1e-5)


def test_search_takes_many_queries_and_vectors_of_half_precision_on_disk(tmp_path):
    rng = np.random.default_rng(0)
    dictionary, queries = rng.normal(size=(3000, 16)).astype("f2"), rng.normal(size=(2500, 16)).astype("f4")
    np.save(tmp_path / "vectors.npy", dictionary)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    indices, _ = search(queries, mapped, 5, "dot", block=512)
    expected = np.argsort(-(queries @ dictionary.astype("f4").T), axis=1)[:, :5]
    assert (indices == expected).all(axis=1).mean() > 0.999  # sums of another order may turn a near-tie


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_a_prepared_dictionary_gives_the_same_answers_again_and_again(similarity):
    rng = np.random.default_rng(0)
    queries, dictionary = rng.normal(size=(9, 8)).astype("f4"), 5 * rng.normal(size=(200, 8)).astype("f4")
    prepared, rows = Prepared(dictionary, similarity), np.arange(0, 200, 3)
    for _ in range(2):
        for known, vectors in ((prepared, dictionary), (prepared.take(rows), dictionary[rows])):
            expected = search(queries, vectors, 5, similarity)
            for found in (search(queries, known, 5), search(queries, known, 5, block=7)):
                assert np.array_equal(found[0], expected[0]) and np.allclose(found[1], expected[1], atol=1e-4)
    assert search(queries, prepared, 5)[0].dtype == np.int64
    with pytest.raises(ValueError, match="NaN"):
        search(queries, Prepared(np.full((9, 8), np.nan, "f4"), similarity), 1)


def test_search_refuses_what_has_no_answer():
    x = np.ones((3, 2), "f4")
    with pytest.raises(ValueError, match="k = 4 does not fit a dictionary of 3 names"):
        search(x, x, 4)
    with pytest.raises(ValueError, match="dot, cosine, euclidean"):
        search(x, x, 1, "manhattan")
    with pytest.raises(ValueError, match="NaN"):
        search(x, np.array([[np.nan, 1]] * 3, "f4"), 1)


def test_vectors_are_encoded_once_and_again_when_anything_changes(encoder, tmp_path):
    names = ["wide nose", "heart attack"]
    first = encode_cached(encoder, names, tmp_path)["mean"]
    written = {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    assert np.array_equal(first, encode_cached(encoder, names, tmp_path)["mean"])
    assert written == {f: f.stat().st_mtime_ns for f in tmp_path.iterdir()}
    key = fingerprint(encoder, names)
    assert fingerprint(encoder, names[::-1]) != key
    bias = encoder.model.encoder.layer[0].output.dense.bias.data
    bias[0] += 1
    assert fingerprint(encoder, names) != key
    bias[0] -= 1


def test_linker_gives_distinct_concepts_and_survives_saving(encoder, tmp_path):
    rows = [("C0027051", "myocardial infarction"), ("C0027051", "heart attack"), ("C0018799", "heart disease"),
            ("HP:0000445", "wide nose")]
    names = pd.DataFrame(rows, columns=["cui", "name"])
    linker = Linker.from_terminology(encoder, names)
    answer = linker.link(["Heart Attack", "broad nose"], k=3)
    assert answer.groupby("mention")["cui"].nunique().tolist() == [3, 3]
    first = answer[answer["rank"] == 1].set_index("mention")
    assert first.loc["Heart Attack", "cui"] == "C0027051"
    assert first.loc["Heart Attack", "score"] == pytest.approx(1, abs=1e-5)
    assert first.loc["broad nose", "cui"] == "HP:0000445"
    again = Linker.load(linker.save(tmp_path / "linker"))
    pd.testing.assert_frame_equal(again.link(["Heart Attack", "broad nose"], k=3), answer)
    with pytest.raises(FileExistsError):
        linker.save(tmp_path / "linker")
    with pytest.raises(ValueError, match="no names"):
        Linker.from_terminology(encoder, names.iloc[:0])
    assert linker.link("heart attack", only=names["cui"] == "HP:0000445")["cui"].tolist() == ["HP:0000445"]
    with pytest.raises(ValueError, match="restriction leaves no name"):
        linker.link("heart attack", only=names["cui"] == "none")


@pytest.fixture
def saved(encoder, tmp_path):
    names = pd.DataFrame({"cui": ["C1", "C2", "C3"], "name": ["heart attack", "wide nose", "fever"]})
    return Linker.from_terminology(encoder, names).save(tmp_path / "linker")


def test_a_folder_whose_parts_do_not_match_is_refused(encoder, saved):
    (saved / "names.tsv").write_text("cui\tname\nC1\theart attack\n")
    with pytest.raises(ValueError, match="'names': 1, 'vectors': 3.*manifest says 3"):
        Linker.load(saved)


def test_vectors_of_another_model_are_refused(encoder, saved):
    other = load_encoder("minilm", num_layers=1)
    save_encoder(other, saved / "encoder")
    with pytest.raises(ValueError, match="not the one that made the vectors"):
        Linker.load(saved)


@pytest.mark.parametrize("kind", ["hnsw", "ivfpq"])
def test_an_approximate_index_finds_what_exact_search_finds(encoder, kind, tmp_path):
    names = pd.DataFrame({"cui": [f"C{i}" for i in range(600)], "name": [f"type {i} disease of organ {i % 7}"
                                                                          for i in range(600)]})
    exact, near = (Linker.from_terminology(encoder, names, index=k) for k in ("exact", kind))
    mentions = names["name"].tolist()[::20]
    near = Linker.load(near.save(tmp_path / "linker"))
    found = [x.link(mentions, k=5).groupby("mention")["cui"].agg(set) for x in (exact, near)]
    recall = np.mean([len(a & b) / 5 for a, b in zip(*found)])
    assert recall >= (0.99 if kind == "hnsw" else 0.5)
    with pytest.raises(ValueError, match="exact, hnsw, ivfpq"):
        Linker.from_terminology(encoder, names, index="annoy")


@pytest.mark.parametrize("width", [5, 32, 384, 768, 1024])
def test_a_compressed_index_takes_vectors_of_any_length(width):
    vectors = np.random.default_rng(0).normal(size=(300, width)).astype(np.float32)
    index = make_index(vectors, "ivfpq")
    parts = index.pq.M
    assert index.ntotal == 300 and width % parts == 0 and parts <= max(1, width // 6)
    assert parts == {384: 64, 768: 128}.get(width, parts)  # a byte for six numbers, where that divides the length


@pytest.fixture(scope="module")
def linker(encoder):
    return Linker.from_terminology(encoder, pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", "wide nose"]}))


def test_a_csv_is_linked_in_parts_with_every_row_kept(linker, tmp_path):
    long = "nose " * 250
    rows = pd.DataFrame({"id": ["1", "NA", "3", "4"], "term": ["Heart Attack", "", long, " wide nose"]})
    rows.to_csv(tmp_path / "in.csv", index=False)
    for size in (2, 1000):
        assert linker.link_csv(tmp_path / "in.csv", tmp_path / "out.csv", "term", k=2, threshold=0.99, rows=size) == 4
        out = pd.read_csv(tmp_path / "out.csv", dtype="str", keep_default_na=False)
        assert out["id"].tolist() == ["1", "1", "NA", "3", "3", "4", "4"] and not list(tmp_path.glob("partial-*"))
        assert out["accepted"].tolist() == ["True", "False", "", "False", "False", "True", "False"]
        assert out.loc[out["id"] == "4", "cui"].tolist() == ["C2", "C1"] and out["term"][3] == long


@pytest.mark.parametrize("mention, text, long", [
    ("RLS", "Seen for restless legs syndrome (RLS) since May.", "restless legs syndrome"),
    ("RLS", "Seen for RLS since May.", "RLS"), ("legs", "restless legs syndrome (RLS)", "legs"), ("RLS", "", "RLS"),
    (" RLS ", "restless legs syndrome (RLS)", "restless legs syndrome"), ("RLS", "open ( bracket RLS", "RLS")])
def test_an_abbreviation_becomes_what_its_text_says(mention, text, long):
    handlers = logging.getLogger().handlers[:]
    assert expand(mention, text) == long
    assert logging.getLogger().handlers == handlers, "the package must not set up logging"


def test_a_csv_is_linked_by_the_long_form_that_its_context_gives(linker, tmp_path):
    rows = pd.DataFrame({"term": ["HA", "HA"], "text": ["A heart attack (HA) in May.", "HA in May."]})
    rows.to_csv(tmp_path / "in.csv", index=False)
    linker.link_csv(tmp_path / "in.csv", tmp_path / "out.csv", "term", k=1, context="text")
    out = pd.read_csv(tmp_path / "out.csv")
    assert out["term"].tolist() == ["HA", "HA"] and out["score"][0] > 0.999 > out["score"][1] and out["cui"][0] == "C1"
    with pytest.raises(ValueError, match="no column 'where'; its columns are: term, text"):
        linker.link_csv(tmp_path / "in.csv", tmp_path / "out.csv", "term", context="where")


@pytest.mark.parametrize("data, column, message", [
    (b"id,term\n1,x\n", "mention", "no column 'mention'; its columns are: id, term"),
    (b"term\nfi\xe8vre\n", "term", "not utf-8-sig .*cp1252"), (b"", "term", "is empty"), (b"term\n", "term", "no rows"),
    (b"id,term\n1,x\n2,y,z\n", "term", "line 3")])
def test_a_csv_that_cannot_be_read_is_refused_and_the_old_answer_kept(linker, tmp_path, data, column, message):
    (tmp_path / "in.csv").write_bytes(data)
    (tmp_path / "out.csv").write_text("before")
    with pytest.raises(ValueError, match=message):
        linker.link_csv(tmp_path / "in.csv", tmp_path / "out.csv", column)
    assert (tmp_path / "out.csv").read_text() == "before" and not list(tmp_path.glob("partial-*"))


def test_a_csv_may_have_columns_of_the_answers_names(linker, tmp_path):
    (tmp_path / "in.csv").write_text("rank,term,name\nfirst,heart attack,Ann\nsecond,,Ben\n")
    linker.link_csv(tmp_path / "in.csv", tmp_path / "out.csv", "term", k=1)
    out = pd.read_csv(tmp_path / "out.csv", dtype="str", keep_default_na=False)
    assert out["rank"].tolist() == ["first", "second"] and out["name"].tolist() == ["Ann", "Ben"]
    assert out["rank_found"].tolist() == ["1", ""] and out["name_found"].tolist() == ["heart attack", ""]


def test_a_csv_of_another_encoding_is_read_when_it_is_named(linker, tmp_path):
    (tmp_path / "in.csv").write_bytes("term\nfièvre\n".encode("cp1252"))
    assert linker.link_csv(tmp_path / "in.csv", tmp_path / "out.csv", "term", k=1, encoding="cp1252") == 1
    assert "fièvre" in (tmp_path / "out.csv").read_text(encoding="utf-8")


def test_the_command_writes_beside_the_file_and_says_what_it_cannot_do(saved, tmp_path, capsys):
    (tmp_path / "in.csv").write_text("term,text\nHA,A heart attack (HA) in May.\n")

    def link(*more, file="in.csv"):
        code = main(["link", str(tmp_path / file), "--linker", str(saved), "--k", "1", *more])
        return code, *capsys.readouterr()

    code, out, _ = link("--column", "term", "--context", "text", "--threshold", "0.9")
    assert code == 0 and out.startswith("1 rows linked: ")
    answer = pd.read_csv(tmp_path / "in.linked.csv").iloc[0]
    assert (answer["cui"], answer["name"], answer["accepted"]) == ("C1", "heart attack", True)
    for arguments, file, message in ((["--column", "no"], "in.csv", "no column 'no'"), ([], "none.csv", "none.csv"),
                                     (["--linker", str(tmp_path / "x")], "in.csv", "run notebook 07")):
        code, _, error = link(*arguments, file=file)
        assert code == 2 and message in error and "Traceback" not in error
