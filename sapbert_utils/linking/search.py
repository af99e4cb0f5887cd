"""Exact nearest neighbours among all names, in blocks, on a CPU or a GPU."""

import copy

import numpy as np
import torch

SIMILARITIES = ("dot", "cosine", "euclidean")
BLOCK, LARGE_BLOCK = 1 << 15, 1 << 17  # vectors that queries meet at a time, on a CPU and on a GPU


class Prepared:
    """The vectors of a dictionary made ready once for many searches by one similarity; the array must not change.

    On a CPU they stay where they are, in memory or mapped from disk; their lengths are computed at the first search and
    kept. On a GPU a copy lies in its memory, in fp32, of length one where the similarity is the cosine, unless there
    is no room for it or ``keep`` is false: then each block is copied there when it is searched.
    """

    def __init__(self, vectors: np.ndarray, similarity: str = "cosine", device: str | torch.device | None = None,
                 keep: bool = True):
        self.vectors, self.similarity = vectors, check_similarity(similarity)
        self.device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        self.scales: dict[tuple[int, int], torch.Tensor | None] = {}  # of each block: one over the vectors' lengths
        if self.device.type == "cuda" and keep and vectors.size * 4 < 0.7 * torch.cuda.mem_get_info(self.device)[0]:
            self.vectors = torch.empty(vectors.shape, device=self.device)
            for i in range(0, len(vectors), LARGE_BLOCK):
                self.vectors[i : i + LARGE_BLOCK] = vectors_for(
                    similarity, vectors[i : i + LARGE_BLOCK], self.device)

    def __len__(self) -> int:
        return len(self.vectors)

    def take(self, rows: np.ndarray) -> "Prepared":
        """Some of the vectors."""
        part = copy.copy(self)
        part.scales = {}
        there = isinstance(self.vectors, torch.Tensor)
        part.vectors = self.vectors[torch.from_numpy(rows).to(self.device) if there else rows]
        return part

    def block(self, start: int, count: int) -> tuple[torch.Tensor, torch.Tensor | None]:
        """(count, d) vectors in fp32, and what their scores are to be multiplied by, if anything."""
        part = self.vectors[start : start + count]
        if self.device.type != "cpu":
            there = isinstance(part, torch.Tensor)
            return part if there else vectors_for(self.similarity, part, self.device), None
        if (start, count) not in self.scales:
            part = vectors_for("dot", part)  # checks it
            lengths = part.norm(dim=1).clamp(min=1e-12) if self.similarity == "cosine" else None
            self.scales[start, count] = None if lengths is None else 1 / lengths
        return part if isinstance(part, torch.Tensor) else _tensor(part), self.scales[start, count]


def search(queries: np.ndarray, dictionary: np.ndarray | Prepared, k: int = 10, similarity: str = "cosine",
           block: int | None = None, device: str | torch.device | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Exact top k by blocks: (q, d) and (n, d) -> indices (q, k) int64 and scores (q, k) float32, best first.

    The score is the dot product, the cosine, or minus the Euclidean distance, computed in fp32. A block of the
    dictionary, which may be memory-mapped and of half precision, meets some queries at a time, and only the best k so
    far are kept. ``device``: where to search; by default a GPU if there is one. Who searches one dictionary many times
    gives a :class:`Prepared` one, whose device and similarity count then. Raises ``ValueError`` on an unknown
    similarity, a k larger than the dictionary, or vectors that are not finite.
    """
    check_similarity(similarity)
    if not 0 < k <= len(dictionary):
        raise ValueError(f"k = {k} does not fit a dictionary of {len(dictionary)} names")
    if not isinstance(dictionary, Prepared):
        dictionary = Prepared(dictionary, similarity, device, keep=False)
    similarity, device, cpu = dictionary.similarity, dictionary.device, dictionary.device.type == "cpu"
    block = block or (BLOCK if cpu else LARGE_BLOCK)
    query = vectors_for(similarity, queries, device).split(1024 if cpu else 4096)
    found = [(torch.empty(len(q), 0, device=device), torch.empty(len(q), 0, dtype=torch.long, device=device))
             for q in query]
    for start in range(0, len(dictionary), block):
        part, scale = dictionary.block(start, block)
        for i, q in enumerate(query):
            scores = -torch.cdist(q, part) if similarity == "euclidean" else q @ part.T
            if scale is not None:
                scores *= scale
            best, where = scores.topk(min(k, scores.shape[1]), dim=1)
            scores, indices = (torch.cat(pair, 1) for pair in zip(found[i], (best, where + start), strict=True))
            scores, kept = scores.topk(min(k, scores.shape[1]), dim=1)
            found[i] = scores, indices.gather(1, kept)
    scores, indices = (torch.cat(parts).cpu() for parts in zip(*found, strict=True))
    return indices.numpy(), scores.numpy()


def check_similarity(similarity: str) -> str:
    if similarity not in SIMILARITIES:
        raise ValueError(f"unknown similarity {similarity!r}; choose one of: {', '.join(SIMILARITIES)}")
    return similarity


def _tensor(vectors: np.ndarray, device: str | torch.device = "cpu") -> torch.Tensor:
    """The same numbers in fp32 on ``device``, without a copy where none is needed."""
    array = np.asarray(vectors)
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device).float()


def vectors_for(similarity: str, vectors: np.ndarray, device: str | torch.device = "cpu") -> torch.Tensor:
    """(n, d) vectors as fp32, of length one for the cosine. Raises ``ValueError`` where one is not finite."""
    tensor = _tensor(vectors, device)
    if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():  # the sum alone is fifteen times as fast
        raise ValueError("the vectors hold NaN or infinity: the model that made them is broken")
    return torch.nn.functional.normalize(tensor, dim=1) if similarity == "cosine" else tensor
