"""Shards of a dictionary: by one process or two the same vectors, resumable, refused when they do not match."""

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.linking import Linker, search
from sapbert_utils.linking.sharding import encode_shards, linker_of_shards, open_shards, shard_index
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode

NAMES = [f"type {i} disease of organ {i % 7}" for i in range(250)]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=2, pooling="mean", device="cpu")


def test_ranks_share_the_shards_and_a_second_run_makes_only_what_is_missing(encoder, tmp_path):
    for rank in (0, 1):
        paths = encode_shards(encoder, NAMES, tmp_path, size=100, rank=rank, processes=2)
        assert [p.exists() for p in paths] == ([True, False, True] if rank == 0 else [True] * 3)
    assert np.allclose(np.concatenate(open_shards(tmp_path)), encode(encoder, NAMES), atol=1e-5)
    before = {p: p.stat().st_mtime_ns for p in paths}
    paths[1].unlink()
    encode_shards(encoder, NAMES, tmp_path, size=100)
    assert [p.stat().st_mtime_ns == before[p] for p in paths] == [True, False, True]
    assert not list(tmp_path.glob("partial-*"))


def test_shards_that_do_not_belong_are_refused(encoder, tmp_path):
    paths = encode_shards(encoder, NAMES, tmp_path, size=100, dtype="float16")
    assert open_shards(tmp_path)[0].dtype == np.float16
    with pytest.raises(ValueError, match="another model, other names or another size"):
        encode_shards(encoder, NAMES[1:], tmp_path, size=100, dtype="float16")
    names = pd.DataFrame({"cui": NAMES, "name": NAMES})
    with pytest.raises(ValueError, match="belong to another model or other names"):
        linker_of_shards(load_encoder("minilm", num_layers=1), names, tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    with pytest.raises(ValueError, match="00001-of-00003.npy is missing or damaged.*makes only what is missing"):
        open_shards(tmp_path)
    np.save(paths[1], np.zeros((7, 384), "f2"))
    with pytest.raises(ValueError, match="holds 7 vectors, not 100"):
        open_shards(tmp_path)
    with pytest.raises(ValueError, match="no manifest.json"):
        open_shards(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no names"):
        encode_shards(encoder, [], tmp_path / "none")


def test_faiss_searches_the_shards_as_one(encoder, tmp_path):
    encode_shards(encoder, NAMES, tmp_path, size=100)
    shards = open_shards(tmp_path)
    queries = encode(encoder, NAMES[::10])
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    found = shard_index(shards, "hnsw").search(unit, 5)[1]
    exact = search(queries, np.concatenate(shards), 5)[0]
    assert np.array_equal(found[:, 0], np.arange(0, 250, 10))
    assert np.mean([len(set(a) & set(b)) / 5 for a, b in zip(found.tolist(), exact.tolist())]) >= 0.98


def test_two_processes_write_a_linker_like_that_of_one(launch, encoder, tmp_path):
    names = pd.DataFrame({"cui": [f"C{i}" for i in range(250)], "name": NAMES})
    names.to_csv(tmp_path / "names.tsv", sep="\t", index=False)
    run = launch(tmp_path, 2, "-m", "sapbert_utils.linking.sharding", "--model", "minilm", "--names",
                 str(tmp_path / "names.tsv"), "--output", str(tmp_path / "shards"), "--size", "64", "--linker",
                 str(tmp_path / "linker"))
    log = tmp_path / "log"
    assert run.wait(timeout=300) == 0, log.read_text()
    assert "process 0: shard" in log.read_text() and "process 1: shard" in log.read_text()
    two, one = Linker.load(tmp_path / "linker"), Linker.from_terminology(load_encoder("minilm", device="cpu"), names)
    assert np.allclose(two.vectors, one.vectors, atol=1e-5)
    assert two.link(NAMES[:5], k=1)["cui"].tolist() == [f"C{i}" for i in range(5)]
