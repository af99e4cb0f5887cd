"""The O(N²) miner and the loss equal pytorch-metric-learning's."""

import itertools

import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import TripletMarginMiner

from sapbert_utils.model.losses import (
    LOSSES,
    get_loss,
    mine_all,
    mined_multi_similarity,
    multi_similarity_loss,
)


def batch(kind: str, seed: int):
    generator = torch.Generator().manual_seed(seed)
    n = {"pairs": 64, "mixed": 48, "one concept": 12, "no positive": 12, "all equal": 10,
         "ties": 24}[kind]
    x = torch.randn(n, 16, generator=generator)
    y = {"pairs": torch.arange(n // 2).repeat(2),
         "mixed": torch.randint(0, 8, (n,), generator=generator),
         "one concept": torch.zeros(n, dtype=torch.long), "no positive": torch.arange(n),
         "all equal": torch.arange(n) % 3, "ties": torch.arange(n) % 6}[kind]
    if kind == "all equal":
        x = x[:1].expand(n, 16).clone()
    if kind == "ties":
        x = x[torch.arange(n) % 8].clone()
    return x.requires_grad_(), y


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("kind", ["pairs", "mixed", "one concept", "no positive", "ties"])
def test_loss_and_gradient_equal_the_reference(kind, seed):
    x, y = batch(kind, seed)
    triplets = TripletMarginMiner(margin=0.2, type_of_triplets="all")(x, y)
    expected = MultiSimilarityLoss(alpha=1, beta=60, base=0.5)(x, y, triplets)
    positive, negative = mine_all(x, y)
    loss = multi_similarity_loss(x, positive, negative)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-6, rel=1e-6)
    if expected.requires_grad and expected.item():
        ours, theirs = torch.autograd.grad(loss, x)[0], torch.autograd.grad(expected, x)[0]
        assert torch.allclose(ours, theirs, atol=1e-6)
    kept = torch.zeros_like(positive)
    kept[triplets[0], triplets[1]] = True
    assert torch.equal(kept, positive)


@pytest.mark.parametrize("kind, share", [("pairs", 0.2), ("mixed", 0.2), ("mixed", 1.0),
                                         ("ties", 0.2)])
def test_ignored_negatives_are_as_if_their_triplets_had_not_been_there(kind, share):
    x, y = batch(kind, 3)
    ignore = torch.rand(len(y), len(y), generator=torch.Generator().manual_seed(5)) < share
    ignore = ignore | ignore.T
    unit = torch.nn.functional.normalize(x.detach(), dim=1)
    positive, negative = (torch.zeros(len(y), len(y), dtype=torch.bool) for _ in range(2))
    for a, p, n in itertools.product(range(len(y)), repeat=3):
        if a != p and y[a] == y[p] and y[a] != y[n] and not ignore[a, n]:
            if (unit[a] - unit[n]).norm() - (unit[a] - unit[p]).norm() <= 0.2:
                positive[a, p] = negative[a, n] = True
    ours = mine_all(x, y, ignore=ignore)
    assert torch.equal(ours[0], positive) and torch.equal(ours[1], negative)
    assert negative.any() == (share < 1)


@pytest.mark.parametrize("kind", ["all equal", "no positive", "one concept"])
def test_degenerate_batches_are_finite_in_loss_and_gradient(kind):
    x, y = batch(kind, 0)
    loss = multi_similarity_loss(x, *mine_all(x, y))
    loss.backward()
    assert torch.isfinite(loss) and torch.isfinite(x.grad).all()


def test_margin_decides_what_is_hard():
    x = torch.tensor([[1.0, 0.0], [0.99, 0.14], [0.0, 1.0]])
    y = torch.tensor([0, 0, 1])
    assert not mine_all(x, y, margin=0.2)[0].any()
    assert mine_all(x, y, margin=2.0)[0].sum() == 2


@pytest.mark.parametrize("miner", ["all", "hard", "semihard", "easy", "none"])
@pytest.mark.parametrize("loss", list(LOSSES))
def test_every_loss_and_miner_is_finite_and_ignores_what_it_should(loss, miner):
    x, y = batch("mixed", 1)
    value, kept = get_loss(loss, miner)(x, y, None)
    assert torch.isfinite(value) and 0 <= kept <= 1 and (miner != "none" or kept == 1)
    if value.requires_grad:
        assert torch.isfinite(torch.autograd.grad(value, x)[0]).all()
    else:
        assert value == 0
    every = torch.ones(len(y), len(y), dtype=torch.bool)
    if loss == "nca":
        with pytest.raises(ValueError, match="nca weighs anchors"):
            get_loss(loss, miner)(x, y, every)
    else:
        moved = x.detach().clone().requires_grad_()
        of_first = every & (y[:, None] == 0) | every & (y[None, :] == 0)
        without = get_loss(loss, miner)(moved, y, of_first)[0]
        assert torch.isfinite(without) and (without != value or value == 0)


@pytest.mark.parametrize("miner", ["hard", "semihard", "easy"])
def test_other_miners_feed_the_loss_as_the_reference_does(miner):
    x, y = batch("pairs", 2)
    triplets = TripletMarginMiner(margin=0.2, type_of_triplets=miner)(x, y)
    expected = MultiSimilarityLoss(alpha=1, beta=60, base=0.5)(x, y, triplets)
    assert get_loss("ms", miner)(x, y)[0].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("kind", ["pairs", "mixed", "one concept", "no positive", "ties"])
def test_blocks_of_anchors_change_nothing(kind):
    x, y = batch(kind, 4)
    ignore = torch.rand(len(y), len(y), generator=torch.Generator().manual_seed(5)) < 0.1
    whole, kept = mined_multi_similarity(x, y, ignore=ignore)
    parts, kept_in_parts = mined_multi_similarity(x, y, ignore=ignore, block=7)
    assert parts.item() == pytest.approx(whole.item(), rel=1e-6) and kept == kept_in_parts
    gradients = [torch.autograd.grad(value, x)[0] for value in (parts, whole)]
    assert torch.allclose(*gradients, atol=1e-6)


def test_an_unknown_loss_or_miner_is_refused():
    with pytest.raises(ValueError, match="ms, circle, triplet, infonce, lifted, nca, cosine"):
        get_loss("mse")
    with pytest.raises(ValueError, match="all, hard, semihard, easy, none"):
        get_loss("ms", "most")
