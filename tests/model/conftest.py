"""Shared by the tests of the model: an encoder of one layer; tiny random models of other kinds."""

import copy

import pytest
import torch
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import AutoConfig, AutoModel, PreTrainedTokenizerFast

from sapbert_utils.model.encoder import load_encoder

LAYERS = {"num_hidden_layers": 3, "num_attention_heads": 2, "hidden_size": 16}
SIZES = {"distilbert": {"n_layers": 3, "n_heads": 2, "dim": 16, "hidden_dim": 24},
         "albert": LAYERS | {"intermediate_size": 24, "embedding_size": 8}}
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(c for x in "abcdefghijklmnopqrstuvwxyz0123456789"
                                              for c in (x, f"##{x}"))]


@pytest.fixture(scope="session")
def loaded():
    """Not to be changed: tests train a copy of it."""
    return load_encoder("minilm", num_layers=1)


@pytest.fixture
def encoder(loaded):
    return copy.deepcopy(loaded)


@pytest.fixture
def near(loaded):
    """How near two computations of the same must come: kernels of a GPU add up in other orders."""
    return 1e-5 if loaded.device.type == "cpu" else 1e-3


@pytest.fixture
def tiny_folder(tmp_path):
    """Save a tiny random model of a kind, such as distilbert, as a Hugging Face folder."""
    def make(kind, pad="[PAD]", **changes):
        torch.manual_seed(0)
        ids = {"pad_token_id": 0, "cls_token_id": 2, "sep_token_id": 3, "bos_token_id": 2,
               "eos_token_id": 3}
        sizes = SIZES.get(kind, LAYERS | {"intermediate_size": 24})
        config = AutoConfig.for_model(kind, vocab_size=len(PIECES), **sizes | ids | changes)
        AutoModel.from_config(config).save_pretrained(tmp_path / kind)
        numbers = {piece: i for i, piece in enumerate(PIECES)}
        pieces = Tokenizer(models.WordPiece(numbers, unk_token="[UNK]"))
        pieces.normalizer = normalizers.BertNormalizer(lowercase=True)
        pieces.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        pieces.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
        tokenizer = PreTrainedTokenizerFast(tokenizer_object=pieces, unk_token="[UNK]",
                                            pad_token=pad, cls_token="[CLS]", sep_token="[SEP]")
        tokenizer.save_pretrained(tmp_path / kind)
        return str(tmp_path / kind)

    return make
