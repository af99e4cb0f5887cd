"""Self-alignment pretraining: batches of positive pairs, one optimiser step, the loop."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from tqdm.auto import tqdm

from .encoder import Encoder, forward_chunks
from .losses import mine_all, multi_similarity_loss


@dataclass(frozen=True)
class Recipe:
    """How one of the released models is trained; the defaults are the NAACL 2021 recipe."""

    name: str
    base_model: str  # the paper's
    pooling: str
    languages: tuple[str, ...] | None = ("ENG",)  # LAT codes; None: all
    max_length: int = 25
    batch_size: int = 256  # pairs
    learning_rate: float = 2e-5
    weight_decay: float = 0.01
    schedule: str = "constant"  # or "linear": warm-up over the first tenth of the steps, then decay to zero
    epochs: int = 1
    lower: bool = True
    freeze_word_embeddings: bool = False
    sampling: str = "pairs"  # or "concepts": every concept once an epoch, however many pairs it has
    mask_ambiguous: bool = False  # push no two names apart of which one stands under the other's concept too
    seed: int = 33


PUBMEDBERT = "microsoft/BiomedNLP-PubMedBERT-base-uncased-abstract-fulltext"
RECIPES = {
    r.name: r
    for r in (
        Recipe("sapbert", PUBMEDBERT, "cls"),
        Recipe("sapbert-mean-token", PUBMEDBERT, "mean_all_tok"),
        Recipe("sapbert-xlmr", "xlm-roberta-base", "cls", languages=None, lower=False),
    )
}


def get_recipe(name: str, **changes) -> Recipe:
    """A recipe by name, with settings replaced. Raises ``ValueError`` on an unknown name."""
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; choose one of: {', '.join(RECIPES)}")
    return replace(RECIPES[name], **changes)


def batches(pairs: pd.DataFrame, batch_size: int, seed: int,
            sampling: str = "pairs") -> Iterator[tuple[list[str], torch.Tensor]]:
    """Endless batches of (2b names: all first sides, then all second sides; (2b,) concept labels).

    An epoch of ``sampling="pairs"`` shuffles all pairs, as upstream does, so that a concept counts by its number of
    pairs; one of ``"concepts"`` draws one pair of every concept. What does not fill a batch is dropped. Raises
    ``ValueError`` when an epoch does not fill one batch.
    """
    if sampling not in ("pairs", "concepts"):
        raise ValueError(f"unknown sampling {sampling!r}; choose pairs or concepts")
    label, first, second = pd.factorize(pairs["cui"])[0], pairs["name1"].tolist(), pairs["name2"].tolist()
    rows_of = [[i] for i in range(len(pairs))] if sampling == "pairs" else list(pairs.groupby(label).indices.values())
    if len(rows_of) < batch_size:
        raise ValueError(f"{len(rows_of)} {sampling} do not fill one batch of {batch_size}: "
                         f"lower batch_size or add data")
    draw = random.Random(seed)
    while True:
        order = [rows[draw.randrange(len(rows))] for rows in draw.sample(rows_of, len(rows_of))]
        for start in range(0, len(order) - batch_size + 1, batch_size):
            rows = order[start : start + batch_size]
            yield [first[i] for i in rows] + [second[i] for i in rows], torch.tensor(label[rows]).repeat(2)


def embed(encoder: Encoder, names: list[str], budget: int = 2048) -> torch.Tensor:
    """(n, d) vectors with gradient, in the order given: one forward over both sides, in chunks of like length."""
    parts = list(forward_chunks(encoder, names, budget, [encoder.pooling]))
    order = torch.tensor([i for indices, _ in parts for i in indices], device=encoder.device)
    return torch.cat([vectors for _, (vectors,) in parts])[torch.argsort(order)]


def labels_of_ambiguous(pairs: pd.DataFrame) -> dict[str, list[int]]:
    """Names that stand under several concepts of ``pairs``, with the labels that :func:`batches` gives these."""
    sides = pd.concat([pairs[side] for side in ("name1", "name2")]).to_numpy()
    found = pd.DataFrame({"name": sides, "label": np.tile(pd.factorize(pairs["cui"])[0], 2)}).drop_duplicates()
    return found[found.duplicated("name", keep=False)].groupby("name")["label"].agg(list).to_dict()


def false_negatives(names: list[str], labels: torch.Tensor, ambiguous: dict[str, list[int]]) -> torch.Tensor:
    """(n, n) boolean: one of the two names stands under the other's concept too."""
    also = torch.zeros(len(names), len(names), dtype=torch.bool)
    for i, name in enumerate(names):
        if name in ambiguous:
            also[i] = torch.isin(labels, torch.tensor(ambiguous[name]))
    return also | also.T


def step_loss(encoder: Encoder, names: list[str], labels: torch.Tensor,
              ambiguous: dict[str, list[int]] | None = None) -> tuple[torch.Tensor, float]:
    """Loss of one batch, and the share of its positive pairs that survive mining; ``ambiguous`` masks negatives."""
    ignore = false_negatives(names, labels, ambiguous).to(encoder.device) if ambiguous else None
    vectors, labels = embed(encoder, names), labels.to(encoder.device)
    positive, negative = mine_all(vectors, labels, ignore=ignore)
    possible = (labels[:, None] == labels[None, :]).sum() - len(labels)
    loss = multi_similarity_loss(vectors, positive, negative)
    # NaN is in no hard pair: a broken model would show a loss of zero if its vectors were not looked at.
    return loss if torch.isfinite(vectors).all() else loss * torch.nan, float(positive.sum() / possible)


def learning_rate_factor(schedule: str, step: int, steps: int) -> float:
    """Factor on the learning rate at ``step`` (from 0) of ``steps``."""
    if schedule == "constant":
        return 1.0
    if schedule != "linear":
        raise ValueError(f"unknown schedule {schedule!r}; choose constant or linear")
    warm_up = max(1, steps // 10)
    return min((step + 1) / warm_up, (steps - step) / max(1, steps - warm_up))


def train(encoder: Encoder, pairs: pd.DataFrame, recipe: Recipe, steps: int | None = None,
          validate: Callable[[Encoder], float] | None = None, validate_every: int = 100,
          on_step: Callable[[list[dict]], None] | None = None) -> list[dict]:
    """Train ``encoder`` in place; returns one record a step: step, loss, kept, seconds, lr[, validation].

    ``steps`` caps the run (default: the recipe's epochs). The seed fixes the order of the pairs and the dropout:
    the same seed gives the same weights on a CPU. Raises ``FloatingPointError`` when the loss is not finite.
    """
    steps = steps or max(1, recipe.epochs * (len(pairs) // recipe.batch_size))
    encoder.pooling, encoder.max_length, encoder.lower = recipe.pooling, recipe.max_length, recipe.lower
    torch.manual_seed(recipe.seed)
    encoder.model.get_input_embeddings().requires_grad_(not recipe.freeze_word_embeddings)
    weights = [p for p in encoder.model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda s: learning_rate_factor(recipe.schedule, s, steps))
    stream, history, started = batches(pairs, recipe.batch_size, recipe.seed, recipe.sampling), [], time.perf_counter()
    ambiguous = labels_of_ambiguous(pairs) if recipe.mask_ambiguous else None
    with tqdm(total=steps, desc=recipe.name, unit="step") as bar:
        for step in range(1, steps + 1):
            encoder.model.train()
            loss, kept = step_loss(encoder, *next(stream), ambiguous)
            if not torch.isfinite(loss):
                raise FloatingPointError(f"loss is {loss.item()} at step {step}: lower the learning rate "
                                         f"(now {recipe.learning_rate:g})")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            record = {"step": step, "loss": loss.item(), "kept": kept, "lr": schedule.get_last_lr()[0],
                      "seconds": round(time.perf_counter() - started, 2)}
            schedule.step()
            if validate and (step % validate_every == 0 or step == steps):
                record["validation"] = validate(encoder)
            history.append(record)
            bar.update()
            bar.set_postfix(loss=f"{record['loss']:.3f}", kept=f"{kept:.0%}",
                            names_a_second=f"{2 * recipe.batch_size * step / record['seconds']:.0f}")
            if on_step:
                on_step(history)
    encoder.model.eval()
    return history
