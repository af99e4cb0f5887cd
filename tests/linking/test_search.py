"""Exact search against brute force, and FAISS's indexes over the same vectors."""

import numpy as np
import pytest

from sapbert_utils.linking import INDEXES, Prepared, make_index, search, shard_index
from sapbert_utils.linking.indexes import read_index


def brute_force(queries, dictionary, similarity):
    if similarity == "euclidean":
        return -np.linalg.norm(queries[:, None] - dictionary, axis=2)
    if similarity == "cosine":
        queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
        dictionary = dictionary / np.linalg.norm(dictionary, axis=1, keepdims=True)
    return queries @ dictionary.T


def drawn(*shapes):
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape).astype("f4") for shape in shapes]


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
@pytest.mark.parametrize("block", [7, 50, 1000])
def test_search_equals_brute_force_whatever_the_block(similarity, block):
    queries, dictionary = drawn((9, 8), (100, 8))
    wanted = brute_force(queries, dictionary, similarity)
    expected = np.argsort(-wanted, axis=1)[:, :12]
    indices, scores = search(queries, dictionary, 12, similarity, block)
    assert np.array_equal(indices, expected)
    assert np.allclose(scores, np.take_along_axis(wanted, expected, 1), atol=1e-5)


def test_search_takes_many_queries_and_vectors_of_half_precision_on_disk(tmp_path):
    dictionary, queries = drawn((3000, 16), (2500, 16))
    dictionary = dictionary.astype("f2")
    np.save(tmp_path / "vectors.npy", dictionary)
    mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
    indices, _ = search(queries, mapped, 5, "dot", block=512)
    expected = np.argsort(-(queries @ dictionary.astype("f4").T), axis=1)[:, :5]
    # sums of another order may turn a near-tie
    assert (indices == expected).all(axis=1).mean() > 0.999


@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean"])
def test_a_prepared_dictionary_gives_the_same_answers_again_and_again(similarity):
    queries, dictionary = drawn((9, 8), (200, 8))
    dictionary *= 5
    prepared, rows = Prepared(dictionary, similarity), np.arange(0, 200, 3)
    for _ in range(2):
        pairs = (prepared, dictionary), (prepared.take(rows), dictionary[rows])
        for known, vectors in pairs:
            expected = search(queries, vectors, 5, similarity)
            for found in (search(queries, known, 5), search(queries, known, 5, block=7)):
                assert np.array_equal(found[0], expected[0])
                assert np.allclose(found[1], expected[1], atol=1e-4)
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


@pytest.mark.parametrize("width", [5, 32, 128, 256, 257, 320, 384, 512, 768, 1024])
def test_a_compressed_index_takes_vectors_of_any_length(width):
    vectors, = drawn((300, width))
    index = make_index(vectors, "ivfpq")
    parts = index.pq.M
    assert index.ntotal == 300 and width % parts == 0 and parts <= max(1, width // 6)
    # a byte for six numbers, where that divides the length
    assert parts == {384: 64, 768: 128}.get(width, parts)


@pytest.mark.parametrize("count", [1, 2, 255])
def test_a_compressed_index_of_few_names_is_exact(count):
    vectors, = drawn((count, 128))
    scores, rows = make_index(vectors, "ivfpq").search(vectors / np.linalg.norm(
        vectors, axis=1, keepdims=True), 1)
    assert rows[:, 0].tolist() == list(range(count)) and scores == pytest.approx(1)


@pytest.mark.parametrize("kind", INDEXES)
def test_shards_of_any_size_are_searched_as_one(kind):
    vectors, = drawn((600, 32))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    joined = shard_index([vectors[:400], vectors[400:590], vectors[590:]], kind)
    assert joined.ntotal == 600
    own = joined.search(vectors, 1)[1][:, 0] == np.arange(600)
    assert own.all() if kind == "exact" else own.mean() > 0.95
    if kind == "exact":
        expected = search(vectors[:50], vectors, 5)[0]
        assert np.array_equal(joined.search(vectors[:50], 5)[1], expected)


def test_an_index_file_that_is_missing_cut_or_another_is_refused(tmp_path):
    import faiss

    vectors, = drawn((50, 8))
    file = tmp_path / "index.faiss"
    with pytest.raises(ValueError, match="index.faiss is missing or damaged: mend it"):
        read_index(file, 50, 8, "mend it")
    faiss.write_index(make_index(vectors, "hnsw"), str(file))
    assert read_index(file, 50, 8, "").ntotal == 50
    for shape in ((51, 8), (50, 9)):
        with pytest.raises(ValueError, match="50 vectors of length 8, not 5. of length .: mend"):
            read_index(file, *shape, "mend it")
    whole = file.read_bytes()
    for size in (0, 4, 60, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(ValueError, match="missing or damaged: mend it"):
            read_index(file, 50, 8, "mend it")
