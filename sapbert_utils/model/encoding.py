"""From names to vectors: chunks through the model, pooling, and the encoding of many names."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from tqdm.auto import tqdm

from .encoder import BERT_LIKE, Encoder, check_pooling
from .precision import DTYPES, Twin, check_precision
from .tokens import Chunk, Tokens, ahead, packed_chunks, padded_chunks, tokenize

WINDOW = 1 << 15  # names that are tokenised and encoded at a time


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
           progress: str = "", precision: str = "auto", dtype: str = "float32") -> np.ndarray:
    """Vectors of ``names``: (n, d), not normalised, in the order given.

    Args:
        budget: tokens a chunk; None: what suits the device.
        progress: title of a progress bar; empty: none.
        precision: of the computation: fp32, fp16 or bf16. ``auto`` is fp32 on a CPU and fp16 on a GPU; there names
            whose vectors are not finite in half precision are encoded again in fp32.
        dtype: of the vectors, float32 or float16.
    """
    pooling = pooling or encoder.pooling
    return encode_poolings(encoder, names, [pooling], budget, progress, precision, dtype)[pooling]


@torch.inference_mode()
def encode_poolings(encoder: Encoder, names: Sequence[str], poolings: Sequence[str], budget: int | None = None,
                    progress: str = "", precision: str = "auto", dtype: str = "float32") -> dict[str, np.ndarray]:
    """As :func:`encode`, several poolings from one forward pass: pooling -> (n, d).

    The names stream through in windows, tokenised ahead by background threads: beside names and vectors, memory holds
    the token ids of a few windows.
    """
    encoder.model.eval()
    cpu, width = encoder.device.type == "cpu", encoder.base.config.hidden_size
    budget = budget or ((1024 if len(names) < 8192 else 4096) if cpu else 1 << 17)
    worker = in_precision(encoder, ("fp32" if cpu else "fp16") if precision == "auto" else precision)
    out = {p: np.empty((len(names), width), dtype) for p in poolings}

    def window(start: int) -> tuple[int, list[Chunk]]:
        part = encoder.prepare(names[start : start + WINDOW])
        return start, make_chunks(encoder, tokenize(encoder.tokenizer, part, encoder.max_length), budget, poolings)

    def vectors_of(worker: Encoder, chunks: list[Chunk], count: int) -> dict[str, torch.Tensor]:
        found = {p: torch.empty(count, width, device=encoder.device) for p in poolings}
        for chunk in chunks:
            chunk = chunk.to(encoder.device)
            for pooling, vectors in _pooled(worker, chunk, poolings).items():
                found[pooling][chunk.names] = vectors.float()
            bar.update(len(chunk.names))
        return found

    with tqdm(total=len(names), desc=progress, unit="name", disable=not progress) as bar:
        # a GPU is faster than one thread that tokenises
        for start, chunks in ahead(window, range(0, len(names), WINDOW), *((1, 1) if cpu else (4, 3))):
            count = sum(len(chunk.names) for chunk in chunks)
            found = vectors_of(worker, chunks, count)
            if worker is not encoder and not all(torch.isfinite(vectors.sum()) for vectors in found.values()):
                bar.update(-count)
                found = vectors_of(encoder, chunks, count)
            for pooling, vectors in found.items():
                torch.from_numpy(out[pooling][start : start + count]).copy_(vectors)
    return out


def _pooled(encoder: Encoder, chunk: Chunk, poolings: Sequence[str]) -> dict[str, torch.Tensor]:
    if len(poolings) == 1:  # [CLS] alone costs less
        return {poolings[0]: forward_chunk(encoder, chunk, poolings[0])}
    hidden = encoder.model(**_inputs(encoder, chunk)).last_hidden_state
    return {p: _pool_chunk(hidden, chunk, p) for p in poolings}


def in_precision(encoder: Encoder, precision: str) -> Encoder:
    """The encoder itself for ``fp32``, else one with a half-precision copy of its weights as they are now."""
    dtype = DTYPES[check_precision(precision)]
    if dtype is None:
        return encoder
    twin = encoder.twin
    if (twin is None or twin.of is not encoder.model or twin.dtype != dtype
            or next(twin.model.parameters()).device != encoder.device):
        with torch.inference_mode(False):  # weights made inside it could never be trained
            encoder.twin = Twin(encoder.model, dtype)
    with torch.inference_mode(False):
        encoder.twin.refresh()
    encoder.twin.model.train(encoder.model.training)
    return replace(encoder, model=encoder.twin.model, twin=None)
