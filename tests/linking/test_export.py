"""What leaves the project gives the same vectors elsewhere, for raw names, whatever the pooling."""

import logging

import duckdb
import numpy as np
import pandas as pd
import pytest

from sapbert_utils.linking.export import encode_onnx, to_onnx, to_parquet, to_sentence_transformers
from sapbert_utils.model.encoder import load_encoder
from sapbert_utils.model.encoding import encode

NAMES = [" Heart Attack", "MI", "myocardial infarction of the anterior wall, unspecified, " * 3,
         "Fièvre"]


@pytest.fixture(scope="module", params=["minilm", "e5-multilingual"])
def model(request):
    return request.param


def make(model, pooling, lower=True):
    return load_encoder(model, num_layers=1, pooling=pooling, lower=lower, device="cpu")


@pytest.mark.parametrize("pooling, lower", [("cls", True), ("mean", False)])
def test_sentence_transformers_has_the_pooling_and_the_vectors(model, pooling, lower, tmp_path):
    from sentence_transformers import SentenceTransformer

    encoder = make(model, pooling, lower)
    folder = to_sentence_transformers(encoder, tmp_path / "out")
    there = SentenceTransformer(str(folder), device="cpu")
    assert there[1].pooling_mode == pooling
    assert np.allclose(there.encode(NAMES), encode(encoder, NAMES), atol=1e-5)
    with pytest.raises(FileExistsError):
        to_sentence_transformers(encoder, tmp_path / "out")


def test_sentence_transformers_has_no_pooling_over_pads(tmp_path):
    with pytest.raises(ValueError, match="mean_all_tok.*ONNX"):
        to_sentence_transformers(make("minilm", "mean_all_tok"), tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def levels():
    """The level of torch's loggers and of the root, with the number of its handlers."""
    loggers = {name: logging.getLogger(name).level for name in logging.Logger.manager.loggerDict
               if name.startswith("torch")}
    changed = {name: level for name, level in loggers.items() if level}
    return changed, logging.getLogger().level, len(logging.getLogger().handlers)


@pytest.mark.parametrize("pooling", ["cls", "mean", "mean_all_tok"])
def test_onnx_has_the_vectors_of_every_pooling(pooling, tmp_path):
    encoder = make("minilm", pooling)
    attention, before = encoder.model.config._attn_implementation, levels()
    folder = to_onnx(encoder, tmp_path / "out")
    assert np.allclose(encode_onnx(folder, NAMES), encode(encoder, NAMES), atol=1e-5)
    # another number of names, another length, and none at all
    assert np.allclose(encode_onnx(folder, NAMES[:1]), encode(encoder, NAMES[:1]), atol=1e-5)
    none = encode_onnx(folder, [])
    assert none.shape == (0, 384) and none.dtype == np.float32
    assert encoder.model.config._attn_implementation == attention
    assert {f.name for f in folder.iterdir()} == {"model.onnx", "tokenizer.json"}
    assert len(list(tmp_path.iterdir())) == 1
    assert levels() == before, "no logger may be changed"


def test_onnx_of_an_encoder_with_a_prefix(tmp_path):
    encoder = make("e5-multilingual", "mean")
    assert encoder.prefix
    folder = to_onnx(encoder, tmp_path / "out")
    assert np.allclose(encode_onnx(folder, NAMES), encode(encoder, NAMES), atol=1e-5)


def test_parquet_holds_names_and_vectors(tmp_path):
    names = pd.DataFrame({"cui": ["C1", "C2"], "name": ["heart attack", 'a "b"'],
                          'the "source"': ["X", ""]}, index=[5, 7])
    vectors = np.random.default_rng(0).normal(size=(2, 384)).astype("f4")
    file = to_parquet(names, vectors, tmp_path / "names.parquet")
    found = duckdb.sql(f"SELECT *, typeof(vector) AS kind FROM '{file}'").df()
    assert found[list(names)].values.tolist() == names.values.tolist()
    assert found["kind"][0] == "FLOAT[]"
    assert np.array_equal(np.stack(found["vector"]), vectors)
    assert [f.name for f in tmp_path.iterdir()] == ["names.parquet"]
    with pytest.raises(ValueError, match="2 names with 1 vectors"):
        to_parquet(names, vectors[:1], file)
