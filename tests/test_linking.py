"""Exact search against brute force, the cache of vectors, and the Linker."""

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.encoder import load_encoder
from sapbert_utils.linking import Linker, encode_cached, fingerprint, search


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
    names.iloc[:2].to_csv(tmp_path / "linker" / "names.tsv", sep="\t", index=False)
    with pytest.raises(ValueError, match="2 names but 4 vectors"):
        Linker.load(tmp_path / "linker")
