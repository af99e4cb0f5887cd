"""From names to vectors: chunks through the model, pooling, and the encoding of many names."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from .encoder import BERT_LIKE, Encoder
from .poolings import check_pooling
from .precision import Twin, dtype_of
from .tokens import Chunk, Tokens, ahead, check_names, packed_chunks, padded_chunks, tokenize

WINDOW = 1 << 15  # names that are tokenised and encoded at a time


def pool(hidden: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Turn the last layer's states of n names into their vectors.

    Args:
        hidden: (n, t, d) states of t tokens for each name.
        mask: (n, t), 1 for a token and 0 for padding.
        pooling: ``cls`` is the first token's state (NAACL 2021), ``mean`` the mean over tokens, and
            ``mean_all_tok`` the mean over all t positions, padding included, as the released
            mean-token model was trained; it needs t to be ``max_length``.

    Returns:
        (n, d) vectors.
    """
    check_pooling(pooling)
    if pooling == "cls":
        return hidden[:, 0]
    if pooling == "mean_all_tok":
        return hidden.mean(1)
    weights = mask.unsqueeze(-1).to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1)


def make_chunks(encoder: Encoder, tokens: Tokens, budget: int, poolings: Sequence[str] = (),
                packed: bool | None = None) -> list[Chunk]:
    """Make chunks of at most ``budget`` tokens, in the layout for device, pooling and model.

    Rows are packed on CUDA and padded elsewhere, unless ``packed`` says which. Two cases are always
    padded: the pooling ``mean_all_tok``, which includes the padding up to ``max_length``, and
    models whose attention may not accept packed rows. ``poolings`` replaces the encoder's own.
    """
    pad, device = encoder.tokenizer.pad_token_id, encoder.device.type
    if "mean_all_tok" in (poolings or [encoder.pooling]):
        return padded_chunks(tokens, budget, pad, encoder.max_length)
    if packed is None:
        packed = device == "cuda"
    if packed and encoder.base.config.model_type in BERT_LIKE:
        return packed_chunks(tokens, budget, pad, -(-encoder.max_length // 8) * 8)
    return padded_chunks(tokens, budget, pad, multiple=1 if device == "cpu" else 8)


def _inputs(encoder: Encoder, chunk: Chunk) -> dict[str, Tensor]:
    """The arguments of the model's ``forward`` for a chunk."""
    if chunk.offset is None:
        return {"input_ids": chunk.ids, "attention_mask": chunk.mask.long()}
    config, (owner, place) = encoder.base.config, chunk.owners()
    # A token sees the tokens of its own name. Filler sees filler: a row of the softmax that sees
    # nothing would give NaN. The mask is (b, 1, t, t), 0 where a token sees another, else -inf.
    other = owner[:, None, :, None] != owner[:, None, None, :]
    mask = torch.zeros(other.shape, dtype=encoder.base.dtype, device=other.device)
    mask.masked_fill_(other, -torch.inf)
    # RoBERTa numbers positions from pad_token_id + 1, BERT from 0
    first = 0 if config.model_type == "bert" else config.pad_token_id + 1
    return {"input_ids": chunk.ids, "position_ids": place + first, "attention_mask": mask}


def _pool_chunk(hidden: Tensor, chunk: Chunk, pooling: str) -> Tensor:
    """:func:`pool` for a chunk of either layout: (b, t, d) states -> (n, d)."""
    if chunk.offset is None:
        return pool(hidden, chunk.mask, pooling)
    flat = hidden.flatten(0, 1)
    if pooling == "cls":
        return flat.index_select(0, chunk.offset)
    owner, _ = chunk.owners()
    # row 0 collects the filler, whose owner is -1; row 1 + i collects the tokens of name i
    exact = torch.promote_types(flat.dtype, torch.float32)
    sums = flat.new_zeros(1 + len(chunk.names), flat.shape[1], dtype=exact)
    sums = sums.index_add(0, owner.flatten() + 1, flat.to(exact))
    return sums[1:] / chunk.length[:, None]


def forward_chunk(encoder: Encoder, chunk: Chunk, pooling: str | None = None) -> Tensor:
    """The (n, d) vectors of a chunk's n names, with gradient where that is enabled.

    For the pooling ``cls``, most of the last layer is computed for the first tokens alone.
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

    def heads(x: Tensor) -> Tensor:  # (n, t, d) -> (n, heads, t, d / heads)
        return x.unflatten(-1, (attention.num_attention_heads, -1)).transpose(1, 2)

    # (2) what the first token of each name sees: (n, d)
    if chunk.offset is None:
        first = hidden[:, :1]
        context = F.scaled_dot_product_attention(
            heads(attention.query(first)), heads(attention.key(hidden)),
            heads(attention.value(hidden)), chunk.mask[:, None, None],
            attention.dropout.p if attention.training else 0.0).flatten(1)
    else:  # a packed row holds several first tokens, at places that differ from row to row
        first = _pool_chunk(hidden, chunk, "cls")[:, None]
        seen = attention(hidden, attention_mask=inputs["attention_mask"])[0]
        context = _pool_chunk(seen, chunk, "cls")
    # (3) the rest of the last layer, for these tokens
    return last.feed_forward_chunk(last.attention.output(context[:, None], first))[:, 0]


def encode(encoder: Encoder, names: Sequence[str], pooling: str | None = None,
           budget: int | None = None, progress: str = "", precision: str = "auto",
           dtype: str = "float32") -> np.ndarray:
    """Vectors of ``names``.

    Args:
        encoder: as :func:`sapbert_utils.model.encoder.load_encoder` returns it.
        names: n texts.
        pooling: used instead of the encoder's own.
        budget: tokens that go through the model at a time; None: as many as suit the device.
        progress: title of a progress bar; empty: no bar.
        precision: to compute in: fp32, bf16 or fp16. ``auto`` is fp32 on a CPU. Elsewhere it is
            fp16, and names whose vectors overflow are encoded again in fp32.
        dtype: the type of the result.

    Returns:
        (n, d) vectors in the order of the names, not normalised.

    Raises:
        ValueError: a name isn't text; the pooling or the precision is unknown.

    Example:
        >>> encode(load_encoder("minilm"), ["heart attack", "gout"]).shape
        (2, 384)
    """
    pooling = pooling or encoder.pooling
    return encode_poolings(encoder, names, [pooling], budget, progress, precision, dtype)[pooling]


@torch.inference_mode()
def encode_poolings(encoder: Encoder, names: Sequence[str], poolings: Sequence[str],
                    budget: int | None = None, progress: str = "", precision: str = "auto",
                    dtype: str = "float32") -> dict[str, np.ndarray]:
    """:func:`encode` with several poolings in one forward pass: pooling -> (n, d) vectors.

    Background threads tokenise the names ahead, one window at a time, so memory holds the token ids
    of only a few windows besides names and vectors.
    """
    check_names(names, "the names")
    encoder.model.eval()
    cpu, width = encoder.device.type == "cpu", encoder.base.config.hidden_size
    if not budget:  # few names in small chunks, so that padding to the longest costs little
        budget = (1024 if len(names) < 8192 else 4096) if cpu else 1 << 17
    if precision == "auto":
        precision = "fp32" if cpu else "fp16"
    worker = in_precision(encoder, precision)
    out = {p: np.empty((len(names), width), dtype) for p in poolings}

    def window(start: int) -> tuple[int, list[Chunk]]:
        texts = encoder.prepare(names[start : start + WINDOW])
        tokens = tokenize(encoder.tokenizer, texts, encoder.max_length)
        return start, make_chunks(encoder, tokens, budget, poolings)

    def vectors_of(worker: Encoder, chunks: list[Chunk], count: int) -> dict[str, Tensor]:
        found = {p: torch.empty(count, width, device=encoder.device) for p in poolings}
        for chunk in chunks:
            chunk = chunk.to(encoder.device)
            for pooling, vectors in _pooled(worker, chunk, poolings).items():
                found[pooling][chunk.names] = vectors.float()
            bar.update(len(chunk.names))
        return found

    # one thread tokenises more slowly than a GPU encodes
    depth, threads = (1, 1) if cpu else (4, 3)
    with tqdm(total=len(names), desc=progress, unit="name", disable=not progress) as bar:
        for start, chunks in ahead(window, range(0, len(names), WINDOW), depth, threads):
            count = sum(len(chunk.names) for chunk in chunks)
            found = vectors_of(worker, chunks, count)
            # names whose vectors overflow in half precision are encoded again
            if worker is not encoder and not all(map(_finite, found.values())):
                bar.update(-count)
                found = vectors_of(encoder, chunks, count)
            for pooling, vectors in found.items():
                torch.from_numpy(out[pooling][start : start + count]).copy_(vectors)
    return out


def _finite(vectors: Tensor) -> bool:
    return bool(torch.isfinite(vectors.sum()))


def _pooled(encoder: Encoder, chunk: Chunk, poolings: Sequence[str]) -> dict[str, Tensor]:
    """The vectors of a chunk's n names by each pooling, (n, d)."""
    if len(poolings) == 1:  # [CLS] alone costs less
        return {poolings[0]: forward_chunk(encoder, chunk, poolings[0])}
    hidden = encoder.model(**_inputs(encoder, chunk)).last_hidden_state
    return {p: _pool_chunk(hidden, chunk, p) for p in poolings}


def in_precision(encoder: Encoder, precision: str) -> Encoder:
    """Return the encoder itself for fp32, else one with a half-precision copy of its weights."""
    dtype = dtype_of(precision)
    if dtype is None:
        return encoder
    twin = encoder.twin
    with torch.inference_mode(False):  # weights made in inference mode could never be trained
        if (twin is None or twin.of is not encoder.model or twin.dtype != dtype
                or next(twin.model.parameters()).device != encoder.device):
            twin = encoder.twin = Twin(encoder.model, dtype)
        twin.refresh()  # the encoder may have been trained since the last call
    twin.model.train(encoder.model.training)
    return replace(encoder, model=twin.model, twin=None)
