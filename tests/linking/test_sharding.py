"""Shards of a dictionary: resumable, the same from one process or two, refused if they differ."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from sapbert_utils.linking import (
    Linker,
    encode_shards,
    linker_of_shards,
    open_shards,
    search,
    shard_index,
)
from sapbert_utils.linking.sharding import main
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode

NAMES = [f"type {i} disease of organ {i % 7}" for i in range(250)]


@pytest.fixture(scope="module")
def encoder():
    return load_encoder("minilm", num_layers=2, pooling="mean", device="cpu")


@pytest.fixture(scope="module")
def names():
    return pd.DataFrame({"cui": [f"C{i}" for i in range(250)], "name": NAMES})


def test_ranks_share_the_shards_and_a_second_run_makes_only_what_is_missing(encoder, tmp_path):
    for rank in (0, 1):
        paths = encode_shards(encoder, NAMES, tmp_path, size=100, rank=rank, processes=2)
        there = [True, False, True] if rank == 0 else [True] * 3
        assert [p.exists() for p in paths] == there
    assert np.allclose(np.concatenate(open_shards(tmp_path)), encode(encoder, NAMES), atol=1e-5)
    before = {p: p.stat().st_mtime_ns for p in paths}
    paths[1].unlink()
    encode_shards(encoder, NAMES, tmp_path, size=100)
    assert [p.stat().st_mtime_ns == before[p] for p in paths] == [True, False, True]
    assert not list(tmp_path.glob("partial-*"))


def test_shards_that_do_not_belong_are_refused(encoder, names, tmp_path):
    paths = encode_shards(encoder, NAMES, tmp_path, size=100, dtype="float16")
    assert open_shards(tmp_path)[0].dtype == np.float16
    others = (NAMES[1:], NAMES[::-1])
    for other in others:
        with pytest.raises(ValueError, match="another model, other names or another size"):
            encode_shards(encoder, other, tmp_path, size=100, dtype="float16")
    with pytest.raises(ValueError, match="belong to another model or other names"):
        linker_of_shards(load_encoder("minilm", num_layers=1), names, tmp_path)
    paths[1].write_bytes(paths[1].read_bytes()[:1000])
    with pytest.raises(ValueError, match="00001-of-00003.npy is missing or damaged.*makes only wh"):
        open_shards(tmp_path)
    for shape in ((7, 384), (100, 8)):
        np.save(paths[1], np.zeros(shape, "f2"))
        with pytest.raises(ValueError, match=r"not vectors of shape \(100, 384\): remove it and"):
            open_shards(tmp_path)
    with pytest.raises(ValueError, match="no manifest.json"):
        open_shards(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no names"):
        encode_shards(encoder, [], tmp_path / "none")


def test_shards_without_their_manifest_are_refused_and_any_rank_may_come_first(encoder, tmp_path):
    paths = encode_shards(encoder, NAMES, tmp_path, size=100, rank=1, processes=2)
    encode_shards(encoder, NAMES, tmp_path, size=100, processes=2)
    (tmp_path / "manifest.json").unlink()
    before = [path.read_bytes() for path in paths]
    for other in (replace(encoder, pooling="cls"), encoder):
        with pytest.raises(ValueError, match="without the manifest.*another folder or remove"):
            encode_shards(other, NAMES[::-1], tmp_path, size=100)
    assert [path.read_bytes() for path in paths] == before and len(list(tmp_path.iterdir())) == 3


@pytest.mark.parametrize("changes", [{"pooling": "cls"}, {"prefix": "query: "}, {"lower": True},
                                     {"max_length": 12}])
def test_shards_of_the_same_weights_with_other_settings_are_refused(
        encoder, names, changes, tmp_path):
    encode_shards(encoder, NAMES, tmp_path, size=250)
    other = replace(encoder, **changes)
    with pytest.raises(ValueError, match="belong to another model or other names"):
        linker_of_shards(other, names, tmp_path)
    with pytest.raises(ValueError, match="another model, other names or another size"):
        encode_shards(other, NAMES, tmp_path, size=250)


@pytest.mark.parametrize("text", [
    "{}", "", "[]", '{"names": "many", "size": 1}', '{"names": 3, "size": 0, "dimension": 384}',
    '{"names": -1, "size": 5, "dimension": 384}'])
def test_a_manifest_that_says_nothing_is_refused(encoder, tmp_path, text):
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(ValueError, match="manifest.json"):
        open_shards(tmp_path)
    with pytest.raises(ValueError, match=f"{tmp_path}.*choose another folder"):
        encode_shards(encoder, NAMES, tmp_path)
    assert (tmp_path / "manifest.json").read_text() == text


def test_faiss_searches_the_shards_as_one(encoder, tmp_path):
    encode_shards(encoder, NAMES, tmp_path, size=100)
    shards = open_shards(tmp_path)
    queries = encode(encoder, NAMES[::10])
    unit = queries / np.linalg.norm(queries, axis=1, keepdims=True)
    found = shard_index(shards, "hnsw").search(unit, 5)[1]
    exact = search(queries, np.concatenate(shards), 5)[0]
    assert np.array_equal(found[:, 0], np.arange(0, 250, 10))
    same = [len(set(a) & set(b)) / 5 for a, b in zip(found.tolist(), exact.tolist())]
    assert np.mean(same) >= 0.98


def test_two_processes_write_a_linker_like_that_of_one(launch, names, tmp_path):
    names.to_csv(tmp_path / "names.tsv", sep="\t", index=False)
    run = launch(tmp_path, 2, "-m", "sapbert_utils.linking.sharding", "--model", "minilm",
                 "--names", str(tmp_path / "names.tsv"), "--output", str(tmp_path / "shards"),
                 "--size", "64", "--linker", str(tmp_path / "linker"))
    log = tmp_path / "log"
    assert run.wait(timeout=300) == 0, log.read_text()
    assert "process 0: shard" in log.read_text() and "process 1: shard" in log.read_text()
    two = Linker.load(tmp_path / "linker")
    one = Linker.from_terminology(load_encoder("minilm", device="cpu"), names)
    assert np.allclose(two.vectors, one.vectors, atol=1e-5)
    assert two.link(NAMES[:5], k=1)["cui"].tolist() == [f"C{i}" for i in range(5)]


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command on a file of these names; returns the exit code and what it says."""
    def run(text="cui\tname\nC1\tgout\nC2\tflu\n", *more, model="minilm"):
        file = tmp_path / "names.tsv"
        if text is not None:
            file.write_text(text)
        with pytest.raises(SystemExit) as stop:
            main(["--model", model, "--names", str(file), "--output", str(tmp_path / "shards"),
                  *more])
        return stop.value.code, capsys.readouterr().err

    return run


@pytest.mark.parametrize("text, message", [
    (None, "No such file or directory"), ("", "is empty"),
    ("id,name\nC1,gout\n", "line 1: no column 'cui'; its columns are: id,name"),
    ("cui\tname\nC1\tgout\t\nC2\tflu\t\n", "line 2: the header has 2 cells, this row has 3"),
    ('cui\tname\nC1\t"gout\nC2\tflu\n', "line 2: a quotation mark is not closed"),
    ("cui\tname\n", "there are no names to encode"),
    ("cui\tname\nC1\tgout\nC2\t\u200b\n", "row 1 of "), ("cui\tname\n\tgout\n", "row 0 of ")])
def test_a_wrong_names_file_is_refused_in_one_line(command, tmp_path, text, message):
    code, said = command(text)
    assert code == 2 and message in said and len(said.splitlines()) == 1
    assert not (tmp_path / "shards").exists()


def test_wrong_settings_are_refused_in_one_line(command, tmp_path):
    (tmp_path / "linker").mkdir()
    (tmp_path / "file").write_text("mine")
    text = "cui\tname\nC1\tgout\n"
    for more, message in ((["--size", "-5"], "size of a shard is -5"),
                          (["--size", "0"], "size of a shard is 0"),
                          (["--linker", str(tmp_path / "linker")], "linker exists: choose"),
                          (["--output", str(tmp_path / "file")], "file")):
        code, said = command(text, *more)
        assert code == 2 and message in said and len(said.splitlines()) == 1
    for more, message in ((["--linker", str(tmp_path / "shards")], "where the shards go"),
                          (["--output", str(tmp_path / "new/s"), "--linker", str(tmp_path / "new")],
                           "where the shards go")):
        code, said = command(text, *more)
        assert code == 2 and message in said and len(said.splitlines()) == 1
    code, said = command(text, model=str(tmp_path / "no-model"))
    assert code == 2 and "no-model" in said and len(said.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine" and not (tmp_path / "shards").exists()


def test_a_wave_in_a_path_is_the_home_folder(command, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    for more in (["--names", "~/none.tsv"], ["--linker", "~/shards"]):
        code, said = command("cui\tname\nC1\tgout\n", *more)
        assert code == 2 and ("where the shards go" in said or str(tmp_path / "none.tsv") in said)
    with pytest.raises(ValueError, match="no column 'name'"):
        linker_of_shards(None, pd.DataFrame({"cui": ["C1"]}), tmp_path)
