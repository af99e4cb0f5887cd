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
CENTROIDS = 256  # of a compressed index's byte: it cannot be trained on fewer vectors


def check_index(kind: str) -> str:
    """The same kind of index, if it is one; else ``ValueError``."""
    if kind not in INDEXES:
        raise ValueError(f"unknown index {kind!r}; choose one of: {', '.join(INDEXES)}")
    return kind


def make_index(vectors: np.ndarray, kind: str) -> "faiss.Index":
    """A FAISS index of ``kind``, a name of `INDEXES`, over (n, d) vectors scaled to length one.

    Ask it with unit vectors too: it gives cosines. Below 256 names ``ivfpq`` is exact, because
    there is nothing to learn a compression from.
    """
    import faiss

    count, width = vectors.shape
    if check_index(kind) == "ivfpq" and count < CENTROIDS:
        kind = "exact"
    lists = max(1, min(4096, count // 64))
    recipe = INDEXES[kind].format(lists=lists, bytes=_bytes(width))
    # FAISS's hints know only what all indexes have in common
    index: Any = faiss.index_factory(width, recipe, faiss.METRIC_INNER_PRODUCT)
    if kind == "hnsw":
        index.hnsw.efConstruction, index.hnsw.efSearch = 200, 128
    if kind == "ivfpq":
        index.nprobe = max(1, lists // 16)
        # small dictionaries train too, and without a warning
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
    """One FAISS index over shards: an index of ``kind`` for each, searched side by side.

    Rows are numbered through all shards. Over unit vectors, as :func:`make_index`. All parts are
    here on one machine, but each may be written to a file (``faiss.write_index``) and served from
    another.
    """
    import faiss

    joined = faiss.IndexShards(shards[0].shape[1], True)  # each in a thread of its own
    joined.successive_ids = True  # rows are numbered through
    for shard in shards:
        joined.add_shard(make_index(shard, kind))
    return joined


def read_index(file: Path, names: int, width: int, advice: str) -> "faiss.Index":
    """The index of ``names`` vectors of length ``width`` in a file.

    Raises ``ValueError`` that names the file and gives ``advice`` when it is missing, cut, or
    another one.
    """
    import faiss

    try:
        index = faiss.read_index(str(file))
    except (RuntimeError, MemoryError):  # their text speaks to who wrote FAISS
        raise ValueError(f"{file} is missing or damaged: {advice}") from None
    if (index.ntotal, index.d) != (names, width):
        raise ValueError(f"{file} holds {index.ntotal} vectors of length {index.d}, not {names} of "
                         f"length {width}: {advice}")
    return index
