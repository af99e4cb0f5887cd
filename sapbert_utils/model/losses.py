"""Losses on mined pairs: multi-similarity with the "all" miner in its exact O(N²) form; others by a library."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.utils import loss_and_miner_utils as indices
from torch.utils.checkpoint import checkpoint

MINERS = ("all", "hard", "semihard", "easy", "none")
LOSSES: dict[str, Callable] = {
    "ms": lambda: losses.MultiSimilarityLoss(alpha=1, beta=60, base=0.5),
    "circle": losses.CircleLoss,
    "triplet": losses.TripletMarginLoss,
    "infonce": lambda: losses.NTXentLoss(temperature=0.07),
    "lifted": losses.LiftedStructureLoss,
    "nca": losses.NCALoss,
    "cosine": lambda: losses.ContrastiveLoss(pos_margin=1, neg_margin=0, distance=distances.CosineSimilarity()),
}
BLOCK, LARGE_BLOCK = 512, 4096  # anchors whose rows of the N × N matrices are held at a time, on a CPU and on a GPU
LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], tuple[torch.Tensor, torch.Tensor]]


def get_loss(loss: str = "ms", miner: str = "all", margin: float = 0.2) -> LossFunction:
    """A function of ((n, d) embeddings, (n,) labels, (n, n) negatives to ignore, or None) that gives the loss and the
    share of positive pairs that the miner kept.

    ``ms`` with ``all`` or ``none`` is this module's; every other pair is pytorch-metric-learning's, with the settings
    of the original repository, and takes O(N³) memory where it mines. ``cosine``, which that repository names and
    lacks, pulls positives to a cosine of 1 and pushes negatives down to 0. Raises ``ValueError`` on an unknown name.
    """
    if loss not in LOSSES or miner not in MINERS:
        raise ValueError(f"unknown loss {loss!r} or miner {miner!r}; choose one of: {', '.join(LOSSES)}; "
                         f"and one of: {', '.join(MINERS)}")
    if loss == "ms" and miner in ("all", "none"):
        return partial(mined_multi_similarity, margin=margin if miner == "all" else torch.inf)
    return _library(LOSSES[loss](), loss, None if miner == "none" else miners.TripletMarginMiner(margin, miner))


def _library(function, loss: str, miner) -> LossFunction:
    def mined(embeddings, labels, ignore=None):
        if ignore is not None and loss == "nca":
            raise ValueError("the loss nca weighs anchors, not pairs: it cannot leave out negatives (mask_ambiguous)")
        found = miner(embeddings, labels) if miner else indices.get_all_pairs_indices(labels)
        if ignore is not None:
            keep = ~ignore[found[-3 if miner else -2], found[-1]]
            found = tuple(f[keep] for f in found) if miner else (*found[:2], found[2][keep], found[3][keep])
        kept = torch.zeros(len(labels), len(labels), dtype=torch.bool, device=labels.device)
        kept[found[0], found[1]] = True
        return function(embeddings, labels, found), _share(kept.sum(), labels)

    return mined


def never_waits(loss: LossFunction) -> bool:
    """Whether the loss is computed without the CPU waiting for a result of the GPU."""
    return getattr(loss, "func", None) is mined_multi_similarity


def _share(kept: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Positive pairs that were kept, as a share of all; a scalar on the device of ``labels``."""
    return kept / ((labels[:, None] == labels[None, :]).sum() - len(labels)).clamp(min=1)


def mined_multi_similarity(embeddings: torch.Tensor, labels: torch.Tensor, ignore: torch.Tensor | None = None,
                           margin: float = 0.2, block: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """:func:`multi_similarity_loss` on the pairs of :func:`mine_all`, and the share of positives kept, in O(block · n)
    memory: every anchor has its own terms, so blocks of anchors are summed, each computed again for its gradient."""
    def of(rows: slice) -> tuple[torch.Tensor, torch.Tensor]:
        positive, negative = mine_all(embeddings, labels, margin, ignore, rows)
        return multi_similarity_loss(embeddings, positive, negative, rows=rows) * len(positive), positive.sum()

    n, block = len(labels), block or (BLOCK if embeddings.device.type == "cpu" else LARGE_BLOCK)
    if n <= block:
        total, kept = of(slice(0, n))
    else:
        parts = [checkpoint(of, slice(i, min(i + block, n)), use_reentrant=False, preserve_rng_state=False)
                 for i in range(0, n, block)]
        total, kept = (sum(column) for column in zip(*parts, strict=True))
    return total / n, _share(kept, labels)


def mine_all(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.2, ignore: torch.Tensor | None = None,
             rows: slice = slice(None)) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs kept by the "all" triplet-margin miner: two (n, n) boolean masks, positives and negatives.

    A triplet (a, p, n) is kept when d(a, n) - d(a, p) <= margin, with d the Euclidean distance of unit vectors
    (NAACL 2021, equation 1). The loss asks only whether a pair is in some kept triplet, so no triplet is listed:
    (a, p) is kept iff d(a, p) >= min_n d(a, n) - margin, and (a, n) iff d(a, n) <= max_p d(a, p) + margin.
    ``embeddings`` (n, d) of any length, ``labels`` (n,) integer concepts; ``ignore`` (n, n) boolean, the pairs that
    are no negatives though their labels differ; ``rows`` the anchors wanted, which are then the first dimension.
    """
    with torch.no_grad():
        same = labels[rows, None] == labels[None, :]
        negative = ~same if ignore is None else ~same & ~ignore[rows]
        positive = same.clone()
        positive.diagonal(rows.start or 0).fill_(False)
        if margin == torch.inf:
            return positive, negative
        unit = F.normalize(embeddings.float(), dim=1)
        distance = torch.cdist(unit[rows], unit, compute_mode="donot_use_mm_for_euclid_dist" if len(unit) < 64 else
                               "use_mm_for_euclid_dist")
        nearest_negative = distance.masked_fill(~negative, torch.inf).amin(1, keepdim=True)
        farthest_positive = distance.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
        return positive & (nearest_negative - distance <= margin), negative & (distance - farthest_positive <= margin)


def multi_similarity_loss(embeddings: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, alpha: float = 1.0,
                          beta: float = 60.0, base: float = 0.5, rows: slice = slice(None)) -> torch.Tensor:
    """Multi-similarity loss over the given pairs, averaged over the anchors (NAACL 2021, equation 2).

    1/alpha log(1 + sum_p exp(-alpha (s_ap - base))) + 1/beta log(1 + sum_n exp(beta (s_an - base))), with s the
    cosine. Returns a scalar; zero, with a gradient of zero, when no pair is left. ``rows`` as in :func:`mine_all`.
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit[rows] @ unit.T
    pull = _log_one_plus_sum_exp(alpha * (base - similarity), positive) / alpha
    push = _log_one_plus_sum_exp(beta * (similarity - base), negative) / beta
    return (pull + push).mean()


def _log_one_plus_sum_exp(values: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    kept = values.masked_fill(~keep, torch.finfo(values.dtype).min)
    return torch.logsumexp(F.pad(kept, (1, 0)), dim=1)  # the padded zero is the one in log(1 + …)
