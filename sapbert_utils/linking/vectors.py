"""The vectors of a dictionary: what they depend on, and a cache that keeps them."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ..files import whole_file
from ..model.encoder import Encoder
from ..model.encoding import encode_poolings


def fingerprint(encoder: Encoder, names: Sequence[str]) -> str:
    """What a dictionary's vectors depend on (weights, tokenizer settings, names), as 16 hexadecimal digits."""
    digest = hashlib.sha256(repr((encoder.max_length, encoder.prefix, encoder.lower)).encode())
    for weight in encoder.model.state_dict().values():
        digest.update(weight.detach().cpu().contiguous().numpy())
    digest.update("\n".join(names).encode())
    return digest.hexdigest()[:16]


def encode_cached(encoder: Encoder, names: Sequence[str], folder: Path, poolings: Sequence[str] | None = None,
                  progress: str = "") -> dict[str, np.ndarray]:
    """Vectors of a dictionary, pooling -> (n, d) float32, kept in ``folder`` as .npy by content hash."""
    poolings, key = list(poolings or [encoder.pooling]), fingerprint(encoder, names)
    key += "" if encoder.device.type == "cpu" else "-half"  # encoded in another precision
    files = {p: Path(folder) / f"{key}-{p}.npy" for p in poolings}
    missing = [p for p in poolings if not files[p].exists()]
    if missing:
        for pooling, vectors in encode_poolings(encoder, names, missing, progress=progress).items():
            with whole_file(files[pooling]) as partial:
                np.save(partial, vectors)
    return {p: np.load(files[p], allow_pickle=False) for p in poolings}
