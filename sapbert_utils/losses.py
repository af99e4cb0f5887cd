"""The multi-similarity loss on mined hard pairs, in its exact O(N²) form."""

import torch
import torch.nn.functional as F


def mine_all(embeddings: torch.Tensor, labels: torch.Tensor, margin: float = 0.2,
             ignore: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Pairs kept by the "all" triplet-margin miner: two (n, n) boolean masks, positives and negatives.

    A triplet (a, p, n) is kept when d(a, n) - d(a, p) <= margin, with d the Euclidean distance of unit vectors
    (NAACL 2021, equation 1). The loss asks only whether a pair is in some kept triplet, so no triplet is listed:
    (a, p) is kept iff d(a, p) >= min_n d(a, n) - margin, and (a, n) iff d(a, n) <= max_p d(a, p) + margin.
    ``embeddings`` (n, d) of any length, ``labels`` (n,) integer concepts; ``ignore`` (n, n) boolean, the pairs that
    are no negatives though their labels differ.
    """
    with torch.no_grad():
        unit = F.normalize(embeddings.float(), dim=1)
        distance = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist" if len(unit) < 64 else
                               "use_mm_for_euclid_dist")
        same = labels[:, None] == labels[None, :]
        negative = ~same if ignore is None else ~same & ~ignore
        positive = same & ~torch.eye(len(labels), dtype=torch.bool, device=labels.device)
        nearest_negative = distance.masked_fill(~negative, torch.inf).amin(1, keepdim=True)
        farthest_positive = distance.masked_fill(~positive, -torch.inf).amax(1, keepdim=True)
        return positive & (nearest_negative - distance <= margin), negative & (distance - farthest_positive <= margin)


def multi_similarity_loss(embeddings: torch.Tensor, positive: torch.Tensor, negative: torch.Tensor, alpha: float = 1.0,
                          beta: float = 60.0, base: float = 0.5) -> torch.Tensor:
    """Multi-similarity loss over the given pairs, averaged over all n anchors (NAACL 2021, equation 2).

    1/alpha log(1 + sum_p exp(-alpha (s_ap - base))) + 1/beta log(1 + sum_n exp(beta (s_an - base))), with s the
    cosine. Returns a scalar; zero, with a gradient of zero, when no pair is left.
    """
    unit = F.normalize(embeddings, dim=1)
    similarity = unit @ unit.T
    pull = _log_one_plus_sum_exp(alpha * (base - similarity), positive) / alpha
    push = _log_one_plus_sum_exp(beta * (similarity - base), negative) / beta
    return (pull + push).mean()


def _log_one_plus_sum_exp(values: torch.Tensor, keep: torch.Tensor) -> torch.Tensor:
    kept = values.masked_fill(~keep, torch.finfo(values.dtype).min)
    return torch.logsumexp(F.pad(kept, (1, 0)), dim=1)  # the padded zero is the one in log(1 + …)
