"""Validation while training: names of concepts that no step saw."""

from collections.abc import Callable

import pandas as pd
import torch

from .batches import SIDES
from .encoder import Encoder
from .encoding import encode


def linking_accuracy(held_out: pd.DataFrame, others: pd.DataFrame, size: int = 5000) -> Callable[[Encoder], float]:
    """A ``validate`` for :func:`sapbert_utils.model.training.train`: acc@1 (%) on held-out concepts, by cosine.

    The first name of each held-out concept is the query. The dictionary holds the other names of these concepts and
    up to ``size`` names of ``others``. Both are pairs (cui, name1, name2) or names (cui, name). Raises ``ValueError``
    when no held-out concept has two names.
    """
    def names(data):
        sides = [data[["cui", side]].set_axis(["cui", "name"], axis=1) for side in SIDES if side in data]
        return pd.concat(sides).drop_duplicates()

    known = names(held_out).groupby("cui")["name"].agg(list)
    known = known[known.map(len) > 1]
    if known.empty:
        raise ValueError("no held-out concept has two names: hold out more")
    queries, gold = [found[0] for found in known], list(known.index)
    more = names(others)
    dictionary = pd.concat([known.map(lambda found: found[1:]).explode().rename("name").reset_index(),
                            more.sample(min(size, len(more)), random_state=0)])

    def validate(encoder: Encoder) -> float:
        q, d = (torch.nn.functional.normalize(torch.from_numpy(encode(encoder, list(x))), dim=1)
                for x in (queries, dictionary["name"]))
        return 100 * float((dictionary["cui"].to_numpy()[(q @ d.T).argmax(1).numpy()] == gold).mean())

    return validate
