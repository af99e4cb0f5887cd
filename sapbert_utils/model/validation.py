"""Validate during training, on names of concepts that no step saw."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch

from .batches import SIDES
from .encoder import Encoder
from .encoding import encode


def linking_accuracy(held_out: pd.DataFrame, others: pd.DataFrame,
                     size: int = 5000) -> Callable[[Encoder], float]:
    """Make a ``validate`` for :func:`sapbert_utils.model.training.train`: link unseen concepts.

    The first name of each held-out concept is the query. The dictionary holds the other names of
    these concepts and up to ``size`` names of ``others``.

    Args:
        held_out: pairs (cui, name1, name2) or names (cui, name) of concepts not trained on.
        others: pairs or names of other concepts.
        size: names of ``others`` in the dictionary.

    Returns:
        A function of an encoder that returns its acc@1 in percent, by cosine.

    Raises:
        ValueError: no held-out concept has two names.
    """
    known = _names(held_out).groupby("cui")["name"].agg(list)
    known = known[known.map(len) > 1]
    if known.empty:
        raise ValueError("no held-out concept has two names: hold out more")
    queries, gold = [names[0] for names in known], list(known.index)
    unseen = known.map(lambda names: names[1:]).explode().rename("name").reset_index()
    more = _names(others)
    dictionary = pd.concat([unseen, more.sample(min(size, len(more)), random_state=0)])
    texts, concepts = dictionary["name"].tolist(), dictionary["cui"].to_numpy()

    def validate(encoder: Encoder) -> float:
        best = (_unit(encoder, queries) @ _unit(encoder, texts).T).argmax(1)
        return 100 * float(np.mean(concepts[best.numpy()] == gold))

    return validate


def _names(data: pd.DataFrame) -> pd.DataFrame:
    """All (cui, name) of pairs or names, each once."""
    sides = [data[["cui", side]].rename(columns={side: "name"}) for side in SIDES if side in data]
    return pd.concat(sides).drop_duplicates()


def _unit(encoder: Encoder, names: list[str]) -> torch.Tensor:
    """(n, d) vectors of length 1."""
    return torch.nn.functional.normalize(torch.from_numpy(encode(encoder, names)), dim=1)
