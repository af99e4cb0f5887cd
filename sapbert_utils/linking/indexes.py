"""FAISS indexes over the vectors of a dictionary: exact, near-exact, or compressed."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .search import vectors_for

if TYPE_CHECKING:  # FAISS is slow to import, and exact search does without it
    import faiss

INDEXES = {  # FAISS factory strings, over unit vectors; notebook 07 shows recall and memory
    "exact": "Flat",  # all vectors, compared one by one
    "hnsw": "HNSW32,Flat",  # a graph: near-exact, and more memory than the vectors
    "ivfpq": "IVF{lists},PQ{bytes}np",  # compressed: a byte for six numbers, and less recall
}
CENTROIDS = 256  # per byte of a compressed index; training needs as many vectors


def check_index(kind: str) -> str:
    """Return ``kind`` if it is a kind of index; else raise ``ValueError``."""
    if kind not in INDEXES:
        raise ValueError(f"unknown index {kind!r}; choose one of: {', '.join(INDEXES)}")
    return kind


def make_index(vectors: np.ndarray, kind: str) -> "faiss.Index":
    """A FAISS index of ``kind``, a name of `INDEXES`, over (n, d) vectors scaled to length one.

    Query it with unit vectors too, and it gives cosines. Below 256 names ``ivfpq`` is exact,
    because they are too few to learn a compression from.
    """
    import faiss

    count, width = vectors.shape
    if check_index(kind) == "ivfpq" and count < CENTROIDS:
        kind = "exact"
    lists = max(1, min(4096, count // 64))
    recipe = INDEXES[kind].format(lists=lists, bytes=_bytes(width))
    # FAISS's type hints cover only what all indexes have in common
    index: Any = faiss.index_factory(width, recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
    if kind == "ivfpq":
        index.nprobe = max(1, lists // 16)
        # let small dictionaries train too, without a warning
        index.cp.min_points_per_centroid = index.pq.cp.min_points_per_centroid = 1
        drawn = np.random.default_rng(0).permutation(count)[: 64 * lists]
        index.train(vectors_for("cosine", vectors[np.sort(drawn)]).numpy())
    for start in range(0, count, 100_000):
        index.add(vectors_for("cosine", vectors[start : start + 100_000]).numpy())
    return index


def _bytes(width: int) -> int:
    """Bytes for a vector of ``width`` numbers: about one for six, and a divisor of ``width``."""
    most = max(1, width // 6)
    return max(count for count in range(1, most + 1) if width % count == 0)


def shard_index(shards: Sequence[np.ndarray], kind: str) -> "faiss.Index":
    """Make one FAISS index over shards: an index of ``kind`` for each, searched in parallel.

    Rows are numbered across all shards. Query it with unit vectors, as for :func:`make_index`. All
    parts are on one machine here, but each can be written to a file (``faiss.write_index``) and
    served from another.
    """
    import faiss

    joined = faiss.IndexShards(shards[0].shape[1], True)  # each in a thread of its own
    joined.successive_ids = True  # number rows across shards
    for shard in shards:
        joined.add_shard(make_index(shard, kind))
    return joined


def read_index(file: Path, names: int, width: int, advice: str) -> "faiss.Index":
    """Read the index of ``names`` vectors of length ``width`` from a file.

    Raises a ``ValueError`` that names the file and gives ``advice`` if it is missing, cut short, or
    another index.
    """
    import faiss

    try:
        index = faiss.read_index(str(file))
    except (RuntimeError, MemoryError):  # their text is meant for FAISS's developers
        raise ValueError(f"{file} is missing or damaged: {advice}") from None
    if (index.ntotal, index.d) != (names, width):
        raise ValueError(f"{file} holds {index.ntotal} vectors of length {index.d}, not {names} of "
                         f"length {width}: {advice}")
    return index
