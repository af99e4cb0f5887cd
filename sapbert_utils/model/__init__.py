"""In: names, pairs of names, a base model. Out: vectors of names, and trained model folders.
May use ``files`` and ``data``; knows nothing of linking, evaluation or the course.
Read in this order: encoder, tokens, encoding; batches, losses, recipes, step, training; the rest.
Run it: ``python -m sapbert_utils.model --help``.
"""

from .batches import batches, false_negatives, hold_out_concepts, labels_of_ambiguous
from .encoder import load_encoder, released
from .encoding import encode, encode_poolings, pool
from .losses import get_loss, mine_all, multi_similarity_loss
from .precision import training_precision
from .recipes import RECIPES, get_recipe, learning_rate_factor, model_card
from .saving import save_encoder
from .step import Step, train_step
from .training import train
from .validation import linking_accuracy
from .weights import blend

__all__ = [
    "RECIPES", "Step", "batches", "blend", "encode", "encode_poolings", "false_negatives",
    "get_loss", "get_recipe", "hold_out_concepts", "labels_of_ambiguous", "learning_rate_factor",
    "linking_accuracy", "load_encoder", "mine_all", "model_card", "multi_similarity_loss", "pool",
    "released", "save_encoder", "train", "train_step", "training_precision",
]
