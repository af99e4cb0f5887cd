"""In: names, pairs of names, a base model. Out: vectors of names, and trained model folders.
May use ``open_data`` and ``results``; knows nothing of linking, evaluation or the course.
Read in this order: encoder, tokens, losses, batches, recipes, step, training, checkpoints, validation.
"""

from importlib import import_module

_HOMES = {
    "batches": ("batches", "false_negatives", "hold_out_concepts", "labels_of_ambiguous"),
    "encoder": ("blend", "encode", "encode_poolings", "forward_chunk", "load_encoder", "pool", "save_encoder",
                "training_precision"),
    "losses": ("get_loss", "mine_all", "multi_similarity_loss"),
    "recipes": ("RECIPES", "get_recipe", "model_card"),
    "step": ("Step", "train_step"),
    "tokens": ("tokenize",),
    "training": ("learning_rate_factor", "train"),
    "validation": ("linking_accuracy",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = list(_HOME)


def __getattr__(name: str):
    """Public names are loaded when they are asked for, so that what needs no torch does not wait for it."""
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
