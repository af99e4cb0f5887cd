"""Exact nearest neighbours among all names, in blocks, on a CPU or a GPU."""

import copy

import numpy as np
import torch

SIMILARITIES = ("dot", "cosine", "euclidean")
# How many vectors of the dictionary and how many queries to compare at a time. On a CPU a block
# and its scores should stay near the caches; a GPU wants large products.
BLOCK, LARGE_BLOCK = 1 << 15, 1 << 17
QUERIES, MANY_QUERIES = 1024, 4096


class Prepared:
    """The vectors of a dictionary, prepared once for many searches by one similarity.

    On a CPU they stay where they are, in memory or mapped from disk; the first search computes
    their lengths and keeps them. On a GPU they are copied to its memory in fp32, scaled to length
    one if the similarity is the cosine. If there is no room for the copy, or ``keep`` is false,
    each block is copied when it is searched. The array must not change afterwards.
    """

    def __init__(self, vectors: np.ndarray, similarity: str = "cosine",
                 device: str | torch.device | None = None, keep: bool = True):
        self.similarity = check_similarity(similarity)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.vectors: np.ndarray | torch.Tensor = vectors
        # (start, count) of a block -> 1 / the lengths of its vectors; None: 1
        self.scales: dict[tuple[int, int], torch.Tensor | None] = {}
        if self.device.type == "cuda" and keep and self._has_room(vectors):
            self.vectors = torch.empty(vectors.shape, device=self.device)
            for i in range(0, len(vectors), LARGE_BLOCK):
                part = vectors_for(similarity, vectors[i : i + LARGE_BLOCK], self.device)
                self.vectors[i : i + LARGE_BLOCK] = part

    def _has_room(self, vectors: np.ndarray) -> bool:
        free, _ = torch.cuda.mem_get_info(self.device)
        return vectors.size * 4 < 0.7 * free  # the rest is for scores and the encoder

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> "Prepared":
        """Some of the vectors, in the order of ``rows``."""
        part = copy.copy(self)
        part.scales = {}
        if isinstance(self.vectors, torch.Tensor):
            part.vectors = self.vectors[torch.from_numpy(rows).to(self.device)]
        else:
            part.vectors = self.vectors[rows]
        return part

    def block(self, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(count, d) vectors in fp32, and what their scores must be multiplied by, if anything."""
        part = self.vectors[start : start + count]
        if isinstance(part, torch.Tensor):
            return part, None
        if self.device.type != "cpu":
            return vectors_for(self.similarity, part, self.device), None
        tensor = _tensor(part)
        if (start, count) not in self.scales:  # the first time: check the vectors and measure them
            _check_finite(tensor)
            scale = None
            if self.similarity == "cosine":
                scale = 1 / tensor.norm(dim=1).clamp(min=1e-12)
            self.scales[start, count] = scale
        return tensor, self.scales[start, count]


def search(queries: np.ndarray, dictionary: np.ndarray | Prepared, k: int = 10,
           similarity: str = "cosine", block: int | None = None,
           device: str | torch.device | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact top k: rows of the dictionary (q, k) int64 and scores (q, k) float32, best first.

    The score is the dot product, the cosine, or minus the Euclidean distance, computed in fp32. A
    block of the dictionary is compared with some queries at a time, and only the best k so far are
    kept.

    Args:
        queries: (q, d).
        dictionary: (n, d), may be memory-mapped or in half precision. To search one many times,
            give a :class:`Prepared` one; its device and similarity then apply.
        block: vectors of the dictionary at a time; None: what suits the device.
        device: where to search; None: on a GPU if there is one.

    Raises:
        ValueError: on an unknown similarity, a k that the dictionary is too small for, or vectors
            that are not finite.

    Example:
        >>> rows, scores = search(encode(encoder, ["MI"]), encode(encoder, names), k=5)
    """
    check_similarity(similarity)
    if not 0 < k <= len(dictionary):
        raise ValueError(f"k = {k} does not fit a dictionary of {len(dictionary)} names")
    if not isinstance(dictionary, Prepared):
        dictionary = Prepared(dictionary, similarity, device, keep=False)
    similarity, place = dictionary.similarity, dictionary.device
    cpu = place.type == "cpu"
    block = block or (BLOCK if cpu else LARGE_BLOCK)
    parts = vectors_for(similarity, queries, place).split(QUERIES if cpu else MANY_QUERIES)

    # (1) nothing is found yet: no scores and no rows for any query
    found = [(torch.empty(len(part), 0, device=place),
              torch.empty(len(part), 0, dtype=torch.long, device=place)) for part in parts]
    for start in range(0, len(dictionary), block):
        vectors, scale = dictionary.block(start, block)
        for i, part in enumerate(parts):
            # (2) the scores of this block: (queries of the part, block)
            if similarity == "euclidean":
                scores = -torch.cdist(part, vectors)
            else:
                scores = part @ vectors.T
            if scale is not None:
                scores *= scale
            # (3) join its best k and the best k so far, and keep the best k of both
            best, where = scores.topk(min(k, scores.shape[1]), dim=1)
            both = torch.cat([found[i][0], best], dim=1)
            rows = torch.cat([found[i][1], where + start], dim=1)
            kept, places = both.topk(min(k, both.shape[1]), dim=1)
            found[i] = kept, rows.gather(1, places)
    scores = torch.cat([scores for scores, _ in found])
    rows = torch.cat([rows for _, rows in found])
    return rows.cpu().numpy(), scores.cpu().numpy()


def check_similarity(similarity: str) -> str:
    """Return ``similarity`` if it is one; else raise ``ValueError``."""
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}; choose one of: "
                         f"{', '.join(SIMILARITIES)}")
    return similarity


def vectors_for(similarity: str, vectors: np.ndarray,
                device: str | torch.device = "cpu") -> torch.Tensor:
    """(n, d) vectors in fp32, of length one for the cosine; ``ValueError`` if one is not finite."""
    tensor = _tensor(vectors, device)
    _check_finite(tensor)
    return torch.nn.functional.normalize(tensor, dim=1) if similarity == "cosine" else tensor


def _tensor(vectors: np.ndarray, device: str | torch.device = "cpu") -> torch.Tensor:
    """The same numbers in fp32 on ``device``, without a copy where none is needed."""
    array = np.asarray(vectors)
    if not array.flags.writeable:  # torch warns about sharing memory that must not be written
        array = array.copy()
    return torch.from_numpy(array).to(device).float()


def _check_finite(tensor: torch.Tensor) -> None:
    # The sum takes only a fifteenth of the time; it may overflow, so it's only a suspicion.
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
        raise ValueError("the vectors hold NaN or infinity: the model that made them is broken")
