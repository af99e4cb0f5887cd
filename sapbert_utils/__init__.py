"""SapBERT rebuilt: data -> model -> linking -> evaluation, and the course of notebooks beside them.

Import from a wing: ``from sapbert_utils.linking import Linker``. The names below are here too. Each
loads its wing when it is first asked for, so that ``import sapbert_utils`` costs nothing.
"""

from importlib import import_module

WINGS = {
    "build_open_metathesaurus": "data", "make_pairs": "data", "read_pairs": "data",
    "encode": "model", "get_recipe": "model", "load_encoder": "model", "save_encoder": "model",
    "train": "model", "Linker": "linking", "search": "linking",
    "Benchmark": "evaluation", "evaluate": "evaluation",
}
__all__ = list(WINGS)


def __getattr__(name: str) -> object:
    if name not in WINGS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{WINGS[name]}"), name)
