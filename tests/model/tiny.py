"""What several tests of the model share: pairs, a recipe, and all weights as one vector."""

import pandas as pd
import torch

from sapbert_utils.model.recipes import get_recipe

PAIRS = pd.DataFrame([(f"C{i // 2:07}", f"disease of type {i} of the {o}", f"{o} disorder {i}")
                      for i in range(24) for o in ("heart", "lung")],
                     columns=["cui", "name1", "name2"])


def tiny(**changes):
    settings = {"batch_size": 8, "learning_rate": 1e-3, "precision": "fp32"}
    return get_recipe("sapbert", **settings | changes)


def flat(encoder, gradient=False):
    """All weights, or all gradients that there are, one after the other."""
    weights = list(encoder.model.parameters())
    if gradient:
        return torch.cat([w.grad.flatten() for w in weights if w.grad is not None])
    return torch.cat([w.detach().flatten() for w in weights])
