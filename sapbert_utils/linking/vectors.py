"""The vectors of a dictionary: what they depend on, a cache that keeps them, their files."""

import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..data.open_data.ontologies import is_blank
from ..files import whole_file
from ..model.encoder import Encoder
from ..model.encoding import encode_poolings
from ..model.tokens import check_names


def fingerprint(encoder: Encoder, names: Sequence[str] = ()) -> str:
    """Return 16 hexadecimal digits for everything that the vectors of ``names`` depend on.

    That is the weights, the tokenizer, pooling, prefix, lower-casing and length of the encoder, and
    the names in their order. Without names, the digits stand for the encoder alone.
    """
    settings = (encoder.pooling, encoder.max_length, encoder.prefix, encoder.lower)
    digest = hashlib.sha256(repr(settings).encode())
    for weight in encoder.model.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().numpy())  # the numbers alone, as bytes
    tokenizer = encoder.tokenizer.backend_tokenizer.to_str()
    # Truncation and padding come before "added_tokens"; every call sets them as it needs them.
    digest.update(tokenizer[tokenizer.index('"added_tokens"'):].encode())
    # JSON keeps names apart, even if they contain line ends or other separators
    digest.update(json.dumps(list(names)).encode())
    return digest.hexdigest()[:16]


def check_terminology(names: pd.DataFrame, where: str = "the terminology") -> None:
    """Raise ``ValueError`` with the row, counted from 0, if one lacks its concept or its name."""
    for column in ("cui", "name"):
        if column not in names:
            raise ValueError(f"{where} has no column {column!r}; its columns are: "
                             f"{', '.join(map(str, names))}")
    rows = zip(names["cui"].tolist(), names["name"].tolist(), strict=True)
    for row, (cui, name) in enumerate(rows):
        lacks = is_blank(cui) if isinstance(cui, str) else pd.isna(cui)
        if lacks or not isinstance(name, str) or is_blank(name):
            raise ValueError(f"row {row} of {where} (the first is 0) has cui {cui!r} and name "
                             f"{name!r}: give both, or leave out the row")


def encode_cached(encoder: Encoder, names: Sequence[str], folder: Path | str,
                  poolings: Sequence[str] = (), progress: str = "") -> dict[str, np.ndarray]:
    """Vectors of a dictionary by pooling, (n, d) float32 each, kept as .npy files in ``folder``.

    Args:
        poolings: the wanted ones; empty: the encoder's own.
        progress: title of a progress bar; empty: none.
    """
    check_names(names, "the dictionary")
    # Vectors that were encoded in half precision must not pass for those of a CPU.
    precision = "" if encoder.device.type == "cpu" else "-half"
    files = {}
    for pooling in poolings or [encoder.pooling]:
        key = fingerprint(replace(encoder, pooling=pooling), names)
        files[pooling] = Path(folder) / f"{key}{precision}-{pooling}.npy"
    found, width = {}, encoder.base.config.hidden_size
    for pooling, file in files.items():
        with suppress(ValueError):  # missing, cut or of another shape: encode again
            found[pooling] = np.array(open_vectors(file, len(names), width, "remove it"))
    missing = [pooling for pooling in files if pooling not in found]
    if missing:
        made = encode_poolings(encoder, names, missing, progress=progress)
        for pooling, vectors in made.items():
            with whole_file(files[pooling]) as partial:
                np.save(partial, vectors)
        found |= made
    return {pooling: found[pooling] for pooling in files}


def open_vectors(file: Path, names: int, width: int, advice: str) -> np.ndarray:
    """Map a file of ``names`` vectors of length ``width`` from disk, without reading it.

    Raises a ``ValueError`` that names the file and gives ``advice`` if it is missing, cut short, or
    holds something else.
    """
    try:
        vectors = np.load(file, mmap_mode="r", allow_pickle=False)
    except Exception as error:  # a damaged header makes NumPy fail in a dozen ways
        raise ValueError(f"{file} is missing or damaged ({error}): {advice}") from None
    if vectors.shape != (names, width) or vectors.dtype.kind != "f":
        raise ValueError(f"{file} holds {vectors.dtype} of shape {vectors.shape}, not vectors of "
                         f"shape {(names, width)}: {advice}")
    return vectors


def read_manifest(folder: Path, advice: str, **kinds: type) -> dict[str, Any]:
    """Read the ``manifest.json`` of a folder of vectors, with a value of each type in ``kinds``.

    Raises a ``ValueError`` that names the file and gives ``advice`` if it or a value is missing.
    """
    file = folder / "manifest.json"
    if not file.exists():
        raise ValueError(f"{folder} holds no manifest.json: {advice}")
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
        lacking = [key for key, kind in kinds.items() if not isinstance(said[key], kind)]
    except (OSError, ValueError, TypeError, LookupError) as error:
        raise ValueError(f"{file} is damaged ({error!r}): {advice}") from None
    if lacking:
        raise ValueError(f"{file} has no valid {lacking[0]!r}: {advice}")
    return said
