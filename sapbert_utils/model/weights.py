"""Choose which weights of a model are trained, and finish them: merge adapters, blend."""

import copy
from dataclasses import replace

import torch
from transformers import PreTrainedModel

from .encoder import Encoder, check_length, layers_of, quiet
from .recipes import Recipe


def prepare(encoder: Encoder, recipe: Recipe) -> Encoder | None:
    """Set an encoder up for a training: settings, frozen weights, dropout and adapters.

    Returns a copy of the original encoder, if the recipe blends it with the result. Raises
    ``ValueError`` when the recipe does not fit the model.
    """
    encoder.pooling, encoder.lower = recipe.pooling, recipe.lower
    encoder.max_length = recipe.max_length
    check_length(encoder)
    if not 0 <= recipe.blend <= 1:
        raise ValueError(f"the trained share is {recipe.blend}: choose one from 0 to 1")
    start = copy.deepcopy(encoder) if recipe.blend != 1 else None
    torch.manual_seed(recipe.seed)  # all processes draw the same adapters
    freeze(encoder.model, recipe.freeze_layers, recipe.freeze_word_embeddings)
    for module in encoder.model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = recipe.dropout
    if recipe.lora_rank:
        encoder.model = with_adapters(encoder, recipe.lora_rank).model
    return start


def freeze(model: PreTrainedModel, layers: int = 0, words: bool = False) -> None:
    """Choose which weights are trained: all, except what the arguments freeze.

    Args:
        model: its weights' ``requires_grad`` is set.
        layers: if above 0, train only the layers above this many of the lowest.
        words: freeze the word embeddings.

    Raises:
        ValueError: no layer is left to train, or the model has no list of layers.
    """
    model.requires_grad_(True)
    model.get_input_embeddings().requires_grad_(not words)
    if layers:
        every = layers_of(model)
        if not 0 < layers < len(every):
            raise ValueError(f"freeze_layers is {layers} of {len(every)} layers: choose 0 to "
                             f"{len(every) - 1}, so that one is left to train")
        # the embeddings lie below all layers: they are frozen, too
        model.requires_grad_(False)
        every[layers:].requires_grad_(True)


def adaptable(model: PreTrainedModel) -> dict[str, torch.Tensor]:
    """The weights that may get adapters: of the word embeddings and of every linear layer."""
    words = model.get_input_embeddings()
    return {name: module.weight for name, module in model.named_modules()
            if module is words or isinstance(module, torch.nn.Linear)}


def with_adapters(encoder: Encoder, rank: int) -> Encoder:
    """Put low-rank adapters beside word embeddings and linear layers, and freeze all else.

    Call :func:`freeze` first: what it froze gets no adapter. :func:`merged` adds the adapters into
    the weights (LoRA: Hu et al. 2021, arXiv 2106.09685).
    """
    from peft import LoraConfig, get_peft_model  # slow to import, and few runs need it

    beside = [name for name, weight in adaptable(encoder.model).items() if weight.requires_grad]
    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=0.0, target_modules=beside)
    with quiet():
        # the wrapper starts in training mode, which would switch dropout on
        return replace(encoder, model=get_peft_model(encoder.model, config).train(
            encoder.model.training))


def merged(encoder: Encoder) -> Encoder:
    """The encoder with its adapters, if it has any, added into a copy of its weights."""
    if not hasattr(encoder.model, "merge_and_unload"):
        return encoder
    return replace(encoder, model=copy.deepcopy(encoder.model).merge_and_unload())


def blend(encoder: Encoder, start: Encoder, share: float) -> Encoder:
    """Average the weights of ``encoder`` with those of ``start``, from which it was trained.

    Every weight becomes ``share`` of its own value and ``1 - share`` of the start's. This keeps
    most of what training gained, and much of what it would lose on other kinds of text (Wortsman
    et al., CVPR 2022, arXiv 2109.01903, equation 1). A share above 1 goes beyond the encoder, and
    so takes back an earlier blend. Changes ``encoder`` and returns it.
    """
    with torch.no_grad():
        for own, other in zip(encoder.model.parameters(), start.model.parameters(), strict=True):
            own.lerp_(other, 1 - share)
    return encoder
