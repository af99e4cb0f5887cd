"""Take an encoder and its dictionary elsewhere: sentence-transformers, ONNX, Parquet.

For a Hugging Face folder there is :func:`sapbert_utils.model.saving.save_encoder`.
"""

import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, redirect_stdout
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

BATCH = 256  # names
SPECIAL = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token", "bos_token",
           "eos_token")
ONE_FILE = 1.9e9  # bytes of weights; an ONNX file ends at 2 GB


def portable_tokenizer(encoder: Encoder) -> PreTrainedTokenizerFast:
    """A copy of the tokenizer that takes raw names.

    It strips, lower-cases, prefixes and cuts them itself, as :meth:`Encoder.prepare` and
    :func:`encode` do, so another tool doesn't have to.
    """
    own = encoder.tokenizer
    # a copy: the encoder's own tokenizer must stay as it is
    core = tokenizers.Tokenizer.from_str(own.backend_tokenizer.to_str())
    steps: list[normalizers.Normalizer] = [normalizers.Strip()]
    if encoder.lower:
        steps.append(normalizers.Lowercase())
    if encoder.prefix:
        steps.append(normalizers.Prepend(encoder.prefix))
    if core.normalizer:  # the model's own comes last
        steps.append(core.normalizer)
    core.normalizer = normalizers.Sequence(steps)
    core.enable_truncation(encoder.max_length)
    # this pooling averages over pads too, so every name must be padded to the same length
    length = encoder.max_length if encoder.pooling == "mean_all_tok" else None
    core.enable_padding(pad_id=own.pad_token_id, pad_token=own.pad_token, length=length)
    special = {name: getattr(own, name) for name in SPECIAL if getattr(own, name)}
    return PreTrainedTokenizerFast(tokenizer_object=core, model_max_length=encoder.max_length,
                                   **special)


def to_sentence_transformers(encoder: Encoder, folder: Path | str) -> Path:
    """Write a new folder for ``SentenceTransformer(folder)``, which gives :func:`encode`'s vectors.

    It takes raw names. Raises ``ValueError`` on pooling ``mean_all_tok``, which has no counterpart
    there (``cls`` and ``mean`` have), and ``FileExistsError`` on a folder that exists.
    """
    if encoder.pooling == "mean_all_tok":
        raise ValueError("sentence-transformers cannot pool over pads (mean_all_tok): export to "
                         "ONNX instead")
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    with whole_folder(folder) as new, tempfile.TemporaryDirectory() as plain, quiet():
        encoder.model.save_pretrained(plain)
        portable_tokenizer(encoder).save_pretrained(plain)
        modules = [Transformer(plain, max_seq_length=encoder.max_length),
                   Pooling(encoder.model.config.hidden_size, encoder.pooling)]
        model = SentenceTransformer(modules=modules, device="cpu")
        model.save(str(new), create_model_card=False)
    return Path(folder)


class _Pooled(torch.nn.Module):
    """An encoder's model with its pooling: token ids and mask, (b, t) each -> vectors (b, d)."""

    def __init__(self, encoder: Encoder):
        super().__init__()
        self.model = copy.deepcopy(encoder.model).cpu().eval()
        self.model.set_attn_implementation("eager")  # the others cannot be exported
        self.pooling = encoder.pooling

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        output = self.model(input_ids=input_ids, attention_mask=attention_mask)
        return pool(output.last_hidden_state, attention_mask, self.pooling)


def to_onnx(encoder: Encoder, folder: Path | str) -> Path:
    """Write ``model.onnx`` and ``tokenizer.json`` into a new folder, for use without torch.

    The model takes token ids and mask, (b, t) int64 each, and gives vectors (b, d) float32; the
    pooling is inside. :func:`encode_onnx` runs it. Weights of more than 1.9 GB go into a separate
    file beside it.
    """
    with whole_folder(folder) as new:
        portable_tokenizer(encoder).backend_tokenizer.save(str(new / "tokenizer.json"))
        # Trace the graph on two names, one of the greatest length; both sizes stay variable.
        names = encoder.prepare(["heart attack", "long" * encoder.max_length])
        example = encoder.tokenizer(names, padding=True, truncation=True,
                                    max_length=encoder.max_length, return_tensors="pt")
        sizes = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
        weights = sum(weight.nbytes for weight in encoder.model.parameters())
        with _silent_export():
            torch.onnx.export(
                _Pooled(encoder).eval(), (example["input_ids"], example["attention_mask"]),
                str(new / "model.onnx"), dynamo=True, verbose=False,
                input_names=["input_ids", "attention_mask"], output_names=["vectors"],
                dynamic_shapes=(sizes, sizes), external_data=weights > ONE_FILE)
    return Path(folder)


@contextmanager
def _silent_export() -> Iterator[None]:
    """Silence torch's report of an export, then restore logging and warnings."""
    registration = logging.getLogger("torch.onnx._internal.exporter._registration")
    level = registration.level
    registration.setLevel(logging.ERROR)  # it warns that torchvision is not installed
    try:
        with redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch calls what it deprecates
            yield
    finally:
        registration.setLevel(level)


def encode_onnx(folder: Path | str, names: Sequence[str]) -> np.ndarray:
    """Vectors (n, d) float32 of raw names, from a folder of :func:`to_onnx`."""
    import onnxruntime

    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
    session = onnxruntime.InferenceSession(str(Path(folder, "model.onnx")),
                                           providers=["CPUExecutionProvider"])
    width = session.get_outputs()[0].shape[1]
    parts = [np.empty((0, width), np.float32)]  # without names: (0, d)
    for start in range(0, len(names), BATCH):
        tokens = tokenizer.encode_batch(list(names[start : start + BATCH]))
        inputs = {"input_ids": np.array([t.ids for t in tokens]),
                  "attention_mask": np.array([t.attention_mask for t in tokens])}
        parts.append(session.run(["vectors"], inputs)[0])
    return np.concatenate(parts)


def to_parquet(names: pd.DataFrame, vectors: np.ndarray, path: Path | str) -> Path:
    """Write a table of names with their vectors (n, d), as a column ``vector`` of lists.

    Any tool that reads Parquet can search it; DuckDB, for one, has ``list_cosine_similarity``. The
    file appears whole. Raises ``ValueError`` when there is not one vector for each name.
    """
    if len(names) != len(vectors):
        raise ValueError(f"{len(names)} names with {len(vectors)} vectors")
    # DuckDB can't take a matrix: give it a column for each number, and let it join them to lists
    numbers = pd.DataFrame(np.asarray(vectors, np.float32),
                           columns=[f"_{i}" for i in range(vectors.shape[1])])
    table = pd.concat([names.reset_index(drop=True), numbers], axis=1)
    kept = ", ".join('"{}"'.format(column.replace('"', '""')) for column in names.columns)
    listed = ", ".join(numbers.columns)
    with duckdb.connect() as connection, whole_file(path) as partial:
        connection.register("given", table)
        found = connection.sql(f"SELECT {kept}, [{listed}]::FLOAT[] AS vector FROM given")
        found.write_parquet(str(partial), compression="zstd", row_group_size=20_000)
    return Path(path)
