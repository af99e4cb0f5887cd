"""Take an encoder and its dictionary elsewhere: sentence-transformers, ONNX, Parquet (a Hugging Face folder:
:func:`sapbert_utils.model.encoder.save_encoder`)."""

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import tokenizers
import torch
from tokenizers import normalizers
from transformers import PreTrainedTokenizerFast

from ..files import whole_file, whole_folder
from ..model.encoder import Encoder, quiet
from ..model.encoding import pool

BATCH = 256


def portable_tokenizer(encoder: Encoder) -> PreTrainedTokenizerFast:
    """A copy of the tokenizer that itself strips, lower-cases, prefixes and cuts names as ``encoder.prepare`` does, so
    that another tool has nothing to remember."""
    core = tokenizers.Tokenizer.from_str(encoder.tokenizer.backend_tokenizer.to_str())
    steps = [normalizers.Strip(), *([normalizers.Lowercase()] if encoder.lower else []),
             *([normalizers.Prepend(encoder.prefix)] if encoder.prefix else []),
             *([core.normalizer] if core.normalizer else [])]
    core.normalizer = normalizers.Sequence(steps)
    core.enable_truncation(encoder.max_length)
    pad = {"pad_id": encoder.tokenizer.pad_token_id, "pad_token": encoder.tokenizer.pad_token}
    core.enable_padding(**pad, length=encoder.max_length if encoder.pooling == "mean_all_tok" else None)
    special = {name: getattr(encoder.tokenizer, name) for name in
               ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token", "eos_token")}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=encoder.max_length,
                                   **{name: token for name, token in special.items() if token})


def to_sentence_transformers(encoder: Encoder, folder: Path | str) -> Path:
    """Write a folder for ``SentenceTransformer(folder)``, which gives the vectors of :func:`encode` for raw names.

    Pooling ``cls`` and ``mean`` are its modes of the same name. Raises ``ValueError`` on ``mean_all_tok``, which means
    over pads and has no counterpart there, and ``FileExistsError`` on a folder that exists.
    """
    if encoder.pooling == "mean_all_tok":
        raise ValueError("sentence-transformers cannot pool over pads (mean_all_tok): export to ONNX instead")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with whole_folder(folder) as new, tempfile.TemporaryDirectory() as plain, quiet():
        encoder.model.save_pretrained(plain)
        portable_tokenizer(encoder).save_pretrained(plain)
        modules = [Transformer(plain, max_seq_length=encoder.max_length),
                   Pooling(encoder.model.config.hidden_size, encoder.pooling)]
        SentenceTransformer(modules=modules, device="cpu").save(str(new), create_model_card=False)
    return Path(folder)


class _Pooled(torch.nn.Module):
    def __init__(self, encoder: Encoder):
        super().__init__()
        self.model, self.pooling = copy.deepcopy(encoder.model).cpu().eval(), encoder.pooling
        self.model.set_attn_implementation("eager")

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden = self.model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return pool(hidden, attention_mask, self.pooling)


def to_onnx(encoder: Encoder, folder: Path | str) -> Path:
    """Write ``model.onnx`` (token ids and mask, both (b, t) int64 -> vectors (b, d) float32, the pooling inside) and
    ``tokenizer.json`` into a new folder; :func:`encode_onnx` uses them without torch. Weights of more than 1.9 GB go
    to a file of their own beside."""
    with whole_folder(folder) as new:
        portable_tokenizer(encoder).backend_tokenizer.save(str(new / "tokenizer.json"))
        names = encoder.prepare(["heart attack", "long" * encoder.max_length])
        example = encoder.tokenizer(names, padding=True, truncation=True, max_length=encoder.max_length,
                                    return_tensors="pt")
        sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        logging.getLogger("torch.onnx._internal.exporter._registration").setLevel(logging.ERROR)  # no torchvision here
        large = sum(weight.nbytes for weight in encoder.model.parameters()) > 1.9e9  # beyond what one file may hold
        given = (example["input_ids"], example["attention_mask"])
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():  # it reports its progress
            warnings.simplefilter("ignore", FutureWarning)  # torch calls what torch deprecates
            torch.onnx.export(_Pooled(encoder).eval(), given, str(new / "model.onnx"), dynamo=True, verbose=False,
                              input_names=["input_ids", "attention_mask"], output_names=["vectors"],
                              dynamic_shapes=(sizes, sizes), external_data=large)
    return Path(folder)


def encode_onnx(folder: Path | str, names: Sequence[str]) -> np.ndarray:
    """Vectors (n, d) float32 of raw names from a folder of :func:`to_onnx`."""
    import onnxruntime

    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
    session = onnxruntime.InferenceSession(str(Path(folder, "model.onnx")), providers=["CPUExecutionProvider"])
    parts = []
    for start in range(0, len(names), BATCH):
        tokens = tokenizer.encode_batch(list(names[start : start + BATCH]))
        inputs = {"input_ids": np.array([t.ids for t in tokens]),
                  "attention_mask": np.array([t.attention_mask for t in tokens])}
        parts.append(session.run(["vectors"], inputs)[0])
    return np.concatenate(parts)


def to_parquet(names: pd.DataFrame, vectors: np.ndarray, path: Path | str) -> Path:
    """Write a table of names with their vectors (n, d), a column ``vector`` of lists; the file appears whole.

    Any tool that reads Parquet can search it; in DuckDB ``list_cosine_similarity`` does.
    """
    if len(names) != len(vectors):
        raise ValueError(f"{len(names)} names with {len(vectors)} vectors")
    width = vectors.shape[1]
    columns = pd.DataFrame(np.asarray(vectors, np.float32), columns=[f"_{i}" for i in range(width)])
    table = pd.concat([names.reset_index(drop=True), columns], axis=1)
    kept = ", ".join(f'"{c}"' for c in names.columns)
    listed = ", ".join(columns.columns)
    with duckdb.connect() as connection, whole_file(path) as partial:
        connection.register("given", table)
        connection.sql(f"SELECT {kept}, [{listed}]::FLOAT[] AS vector FROM given").write_parquet(
            str(partial), compression="zstd", row_group_size=20_000)
    return Path(path)

