"""Dictionary + index -> candidates: linking a mention is a nearest-neighbour search among all names."""

import hashlib
import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from .encoder import Encoder, encode, encode_poolings, load_encoder, save_encoder

SIMILARITIES = ("dot", "cosine", "euclidean")


def search(queries: np.ndarray, dictionary: np.ndarray, k: int = 10, similarity: str = "cosine",
           block: int = 32768) -> tuple[np.ndarray, np.ndarray]:
    """Exact top k by blocks: (q, d) and (n, d) -> indices (q, k) int64 and scores (q, k) float32, best first.

    The score is the dot product, the cosine, or minus the Euclidean distance. A block of the dictionary, which may be
    memory-mapped and of half precision, meets 1,024 queries at a time. Raises ``ValueError`` on an unknown
    similarity, a k larger than the dictionary, or vectors that are not finite.
    """
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}; choose one of: {', '.join(SIMILARITIES)}")
    if not 0 < k <= len(dictionary):
        raise ValueError(f"k = {k} does not fit a dictionary of {len(dictionary)} names")
    query = _prepared(queries, similarity).split(1024)
    found = [(torch.empty(len(q), 0), torch.empty(len(q), 0, dtype=torch.long)) for q in query]
    for start in range(0, len(dictionary), block):
        part = _prepared(dictionary[start : start + block], similarity)
        for i, q in enumerate(query):
            best, where = _scores(q, part, similarity).topk(min(k, len(part)), dim=1)
            scores, indices = (torch.cat(pair, 1) for pair in zip(found[i], (best, where + start), strict=True))
            scores, kept = scores.topk(min(k, scores.shape[1]), dim=1)
            found[i] = scores, indices.gather(1, kept)
    scores, indices = (torch.cat(parts) for parts in zip(*found, strict=True))
    return indices.numpy(), scores.numpy()


def _prepared(vectors: np.ndarray, similarity: str) -> torch.Tensor:
    tensor = torch.tensor(np.asarray(vectors, dtype=np.float32))
    if not torch.isfinite(tensor).all():
        raise ValueError("the vectors hold NaN or infinity: the model that made them is broken")
    return torch.nn.functional.normalize(tensor, dim=1) if similarity == "cosine" else tensor


def _scores(queries: torch.Tensor, part: torch.Tensor, similarity: str) -> torch.Tensor:
    return -torch.cdist(queries, part) if similarity == "euclidean" else queries @ part.T


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
    files = {p: Path(folder) / f"{key}-{p}.npy" for p in poolings}
    missing = [p for p in poolings if not files[p].exists()]
    if missing:
        Path(folder).mkdir(parents=True, exist_ok=True)
        for pooling, vectors in encode_poolings(encoder, names, missing, progress=progress).items():
            partial = files[pooling].with_suffix(".partial.npy")
            np.save(partial, vectors)
            os.replace(partial, files[pooling])
    return {p: np.load(files[p], allow_pickle=False) for p in poolings}


@dataclass
class Linker:
    """A terminology with its vectors: give it mentions, it gives concepts."""

    encoder: Encoder
    names: pd.DataFrame  # columns cui, name
    vectors: np.ndarray  # (n, d) float32

    @classmethod
    def from_terminology(cls, encoder: Encoder, names: pd.DataFrame, progress: str = "") -> "Linker":
        """Encode the names of a terminology (columns cui, name). Raises ``ValueError`` on an empty one."""
        if names.empty:
            raise ValueError("the terminology holds no names to link to")
        return cls(encoder, names.reset_index(drop=True), encode(encoder, names["name"].tolist(), progress=progress))

    def link(self, mentions: str | Sequence[str], k: int = 5) -> pd.DataFrame:
        """The ``k`` best distinct concepts of each mention: mention, rank, cui, name (that matched), score (cosine)."""
        mentions = [mentions] if isinstance(mentions, str) else list(mentions)
        index, score = search(encode(self.encoder, mentions), self.vectors, min(10 * k, len(self.vectors)))
        cui, name, rows = self.names["cui"].to_numpy(), self.names["name"].to_numpy(), []
        for mention, where, values in zip(mentions, index, score, strict=True):
            seen: dict[str, tuple] = {}
            for i, value in zip(where, values, strict=True):
                seen.setdefault(cui[i], (name[i], float(value)))
            rows += [(mention, rank, c, *best) for rank, (c, best) in enumerate(list(seen.items())[:k], 1)]
        return pd.DataFrame(rows, columns=["mention", "rank", "cui", "name", "score"])

    def save(self, folder: Path | str) -> Path:
        """Write encoder, names and vectors to a new folder, whole or not at all."""
        folder = Path(folder)
        if folder.exists():
            raise FileExistsError(f"{folder} exists: choose another folder or remove it first")
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as partial:
            new = Path(partial, "new")
            save_encoder(self.encoder, new / "encoder")
            self.names.to_csv(new / "names.tsv", sep="\t", index=False)
            np.save(new / "vectors.npy", self.vectors)
            os.replace(new, folder)
        return folder

    @classmethod
    def load(cls, folder: Path | str) -> "Linker":
        """Read what :meth:`save` wrote. Raises ``ValueError`` when names and vectors do not match."""
        folder = Path(folder)
        names = pd.read_csv(folder / "names.tsv", sep="\t", dtype="str", keep_default_na=False)
        vectors = np.load(folder / "vectors.npy", mmap_mode="r", allow_pickle=False)
        if len(names) != len(vectors):
            raise ValueError(f"{folder}: {len(names)} names but {len(vectors)} vectors; save the linker again")
        return cls(load_encoder(str(folder / "encoder")), names, vectors)
