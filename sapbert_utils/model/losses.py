"""Losses on mined pairs: multi-similarity with the "all" miner in O(n²); others by a library."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from pytorch_metric_learning import distances, losses, miners
from pytorch_metric_learning.utils import loss_and_miner_utils as indices
from torch import Tensor
from torch.utils.checkpoint import checkpoint

MINERS = ("all", "hard", "semihard", "easy", "none")
LOSSES: dict[str, Callable[[], torch.nn.Module]] = {
    "ms": lambda: losses.MultiSimilarityLoss(alpha=1, beta=60, base=0.5),
    "circle": losses.CircleLoss,
    "triplet": losses.TripletMarginLoss,
    "infonce": lambda: losses.NTXentLoss(temperature=0.07),
    "lifted": losses.LiftedStructureLoss,
    "nca": losses.NCALoss,
    # the original repository names this one, but has no code for it
    "cosine": lambda: losses.ContrastiveLoss(pos_margin=1, neg_margin=0,
                                             distance=distances.CosineSimilarity()),
}
# How many rows of the (n, n) matrices are held at a time, on a CPU and on a GPU.
BLOCK, LARGE_BLOCK = 512, 4096
# ((n, d) vectors, (n,) labels, (n, n) negatives to ignore or None) -> (loss, share kept)
LossFunction = Callable[[Tensor, Tensor, Tensor | None], tuple[Tensor, Tensor]]
# (anchors, positives, negatives) of triplets, or (anchors, positives, anchors, negatives) of pairs
Mined = tuple[Tensor, ...]


def get_loss(loss: str = "ms", miner: str = "all", margin: float = 0.2) -> LossFunction:
    """The loss of a batch, on the pairs of names that a miner keeps.

    ``ms`` with the miner ``all`` or ``none`` is this module's own. Every other combination is
    pytorch-metric-learning's, with the original repository's settings; it mines in O(n³) memory.

    Args:
        loss: a key of ``LOSSES``. ``cosine`` pulls positives to a cosine of 1 and pushes negatives
            down to 0.
        miner: one of ``MINERS``; ``none`` keeps all pairs.
        margin: of the miner, in Euclidean distance of unit vectors.

    Returns:
        A function of (n, d) vectors, (n,) integer labels and, if some pairs must not count as
        negatives, an (n, n) boolean mask of them. It returns two scalars: the loss, and the share
        of positive pairs that the miner kept.

    Raises:
        ValueError: the loss or the miner is unknown.

    Example:
        >>> value, kept = get_loss()(torch.randn(4, 8), torch.tensor([0, 1, 0, 1]), None)
    """
    if loss not in LOSSES or miner not in MINERS:
        raise ValueError(f"unknown loss {loss!r} or miner {miner!r}; choose one of: "
                         f"{', '.join(LOSSES)}; and one of: {', '.join(MINERS)}")
    if loss == "ms" and miner in ("all", "none"):
        return partial(mined_multi_similarity, margin=margin if miner == "all" else torch.inf)
    mine = None if miner == "none" else miners.TripletMarginMiner(margin, miner)
    return _library(LOSSES[loss](), loss, mine)


def _library(function: torch.nn.Module, loss: str, miner: torch.nn.Module | None) -> LossFunction:
    """A loss of pytorch-metric-learning, called like this module's own."""
    def mined(vectors: Tensor, labels: Tensor,
              ignore: Tensor | None = None) -> tuple[Tensor, Tensor]:
        if ignore is not None and loss == "nca":
            raise ValueError("the loss nca weighs anchors, not pairs: it cannot leave out "
                             "negatives (mask_ambiguous)")
        found = miner(vectors, labels) if miner else indices.get_all_pairs_indices(labels)
        if ignore is not None:
            found = _without(found, ignore)
        kept = torch.zeros(len(labels), len(labels), dtype=torch.bool, device=labels.device)
        kept[found[0], found[1]] = True
        return function(vectors, labels, found), _share(kept.sum(), labels)

    return mined


def _without(found: Mined, ignore: Tensor) -> Mined:
    """The mined triplets or pairs, without those whose negative is to be ignored."""
    if len(found) == 3:
        anchor, positive, negative = found
        keep = ~ignore[anchor, negative]
        return anchor[keep], positive[keep], negative[keep]
    anchor, positive, other, negative = found
    keep = ~ignore[other, negative]
    return anchor, positive, other[keep], negative[keep]


def never_waits(loss: LossFunction) -> bool:
    """Whether the loss is computed without making the CPU wait for the GPU."""
    return getattr(loss, "func", None) is mined_multi_similarity


def _share(kept: Tensor, labels: Tensor) -> Tensor:
    """Positive pairs that were kept, as a share of all; a scalar on the device of ``labels``."""
    positives = (labels[:, None] == labels[None, :]).sum() - len(labels)  # a name is not its own
    return kept / positives.clamp(min=1)


def mined_multi_similarity(embeddings: Tensor, labels: Tensor, ignore: Tensor | None = None,
                           margin: float = 0.2, block: int | None = None) -> tuple[Tensor, Tensor]:
    """:func:`multi_similarity_loss` on the pairs of :func:`mine_all`, in O(block · n) memory.

    Every anchor has its own terms, so the loss is a sum over blocks of anchors. The matrices of a
    block aren't kept for the backward pass; they are computed again. Returns the loss and the share
    of positive pairs kept, both scalars.
    """
    def of(rows: slice) -> tuple[Tensor, Tensor]:
        positive, negative = mine_all(embeddings, labels, margin, ignore, rows)
        mean = multi_similarity_loss(embeddings, positive, negative, rows=rows)
        return mean * len(positive), positive.sum()

    n, block = len(labels), block or (BLOCK if embeddings.device.type == "cpu" else LARGE_BLOCK)
    if n <= block:
        total, kept = of(slice(0, n))
    else:
        parts = [checkpoint(of, slice(i, min(i + block, n)), use_reentrant=False,
                            preserve_rng_state=False) for i in range(0, n, block)]
        total, kept = (sum(column) for column in zip(*parts, strict=True))
    return total / n, _share(kept, labels)


def mine_all(embeddings: Tensor, labels: Tensor, margin: float = 0.2, ignore: Tensor | None = None,
             rows: slice = slice(None)) -> tuple[Tensor, Tensor]:
    """Pairs that the "all" triplet-margin miner keeps.

    It keeps a triplet (a, p, n) when d(a, n) - d(a, p) <= margin, with d the Euclidean distance of
    unit vectors (NAACL 2021, equation 1). The loss asks only whether a pair is in some kept
    triplet, so no triplet is listed: (a, p) is kept if d(a, p) >= min over n of d(a, n) - margin,
    and (a, n) if d(a, n) <= max over p of d(a, p) + margin.

    Args:
        embeddings: (n, d) vectors of any length.
        labels: (n,) integers, one for each concept.
        margin: infinity keeps all pairs.
        ignore: (n, n) boolean, pairs that are no negatives although their labels differ.
        rows: which anchors to look at; they are then the first dimension of the masks.

    Returns:
        Two (n, n) boolean masks of (anchor, other name): positives and negatives.

    Example:
        >>> mine_all(torch.randn(4, 8), torch.tensor([0, 1, 0, 1]))[0].shape
        torch.Size([4, 4])
    """
    with torch.no_grad():
        same = labels[rows, None] == labels[None, :]
        negative = ~same if ignore is None else ~same & ~ignore[rows]
        positive = same.clone()
        positive.diagonal(rows.start or 0).fill_(False)  # a name is not its own positive
        if margin == torch.inf:
            return positive, negative
        unit = F.normalize(embeddings.float(), dim=1)
        # a matrix product is faster, but inexact for nearly equal vectors: toys do without
        way = "donot_use_mm_for_euclid_dist" if len(unit) < 64 else "use_mm_for_euclid_dist"
        distance = torch.cdist(unit[rows], unit, compute_mode=way)
        nearest_negative = distance.masked_fill(~negative, torch.inf).amin(1, keepdim=True)
        farthest_positive = distance.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
        hard_positive = nearest_negative - distance <= margin
        hard_negative = distance - farthest_positive <= margin
        return positive & hard_positive, negative & hard_negative


def multi_similarity_loss(embeddings: Tensor, positive: Tensor, negative: Tensor,
                          alpha: float = 1.0, beta: float = 60.0, base: float = 0.5,
                          rows: slice = slice(None)) -> Tensor:
    """Multi-similarity loss over the given pairs (NAACL 2021, equation 2).

    The mean over the anchors of 1/alpha log(1 + sum over p of exp(-alpha (s_ap - base))) + 1/beta
    log(1 + sum over n of exp(beta (s_an - base))), with s the cosine.

    Args:
        embeddings: (n, d) vectors of any length.
        positive: (n, n) boolean, (anchor, other name) pairs to pull together.
        negative: (n, n) boolean, pairs to push apart.
        alpha, beta, base: as in the equation; the defaults are the paper's.
        rows: as in :func:`mine_all`.

    Returns:
        A scalar; without any pair it is zero, and so is its gradient.
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit[rows] @ unit.T
    pull = _log_one_plus_sum_exp(alpha * (base - similarity), positive) / alpha
    push = _log_one_plus_sum_exp(beta * (similarity - base), negative) / beta
    return (pull + push).mean()


def _log_one_plus_sum_exp(values: Tensor, keep: Tensor) -> Tensor:
    """log(1 + sum of exp) along each row of the values to keep, without overflow."""
    # the least number stands for "no pair": its exp is 0
    kept = values.masked_fill(~keep, torch.finfo(values.dtype).min)
    return torch.logsumexp(F.pad(kept, (1, 0)), dim=1)  # the padded zero gives the 1: exp(0)
