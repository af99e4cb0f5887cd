"""Save an encoder, whole or as adapters to its base model, but never over someone's files."""

from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

import torch
from safetensors.torch import save_file

from ..files import whole_folder, write_json
from .encoder import ADAPTERS, SETTINGS, Encoder, load_encoder, quiet
from .weights import adaptable

# where others find the base models of the course, for peft's own loader
ON_THE_HUB = {"minilm": "sentence-transformers/all-MiniLM-L6-v2",
              "e5-multilingual": "intfloat/multilingual-e5-small",
              "mpnet": "sentence-transformers/all-mpnet-base-v2"}

# exact names, so that a reader's tokenizer_notes.md or my.model isn't taken for one
MODEL_FILES = (SETTINGS, "README.md", "config.json", "model.safetensors", "tokenizer.json",
               "model.safetensors.index.json", "model-?????-of-?????.safetensors",
               "tokenizer_config.json", "tokenizer.model", "sentencepiece.bpe.model",
               "spiece.model", "vocab.txt", "vocab.json", "special_tokens_map.json",
               "added_tokens.json", "merges.txt", "chat_template.jinja", *ADAPTERS,
               "history.csv", "vectors.npy", "thresholds.json")  # this line: of a released model


def check_replaceable(folder: Path | str) -> None:
    """Raise ``FileExistsError`` if saving a model as ``folder`` would delete someone's files.

    The folder may be new, empty, or hold a model of :func:`save_encoder` and nothing else.
    """
    folder = Path(folder)
    if folder.is_dir():
        paths = sorted(folder.iterdir())
        ours = (folder / SETTINGS).is_file()  # without it, someone else saved the model
        foreign = [path.name for path in paths if not ours or path.is_symlink()
                   or not path.is_file() or not any(fnmatch(path.name, k) for k in MODEL_FILES)]
        if foreign:
            raise FileExistsError(f"{folder} holds {foreign[0]!r}, which isn't part of a model "
                                  f"saved here: name another folder, or move it away")
    elif folder.exists():
        raise FileExistsError(f"{folder} is a file: name a folder for the model")


def save_encoder(encoder: Encoder, folder: Path | str, card: str = "") -> Path:
    """Save an encoder as a Hugging Face folder: config, tokenizer and safetensors.

    Pooling, max_length, prefix and lower go into ``sapbert.json``, and ``card`` becomes the README.
    An older model of that name is replaced only after the new one is complete. Raises
    ``FileExistsError`` on a folder with anything else in it (:func:`check_replaceable`).
    """
    with _folder(encoder, folder, card) as new:
        encoder.model.save_pretrained(new)
        encoder.tokenizer.save_pretrained(new)
    return Path(folder)


@contextmanager
def _folder(encoder: Encoder, folder: Path | str, card: str, **more: str) -> Iterator[Path]:
    """Yield a new folder, and write the settings of ``encoder``, ``more`` and the card to it."""
    check_replaceable(folder)
    settings = {"pooling": encoder.pooling, "max_length": encoder.max_length,
                "prefix": encoder.prefix, "lower": encoder.lower, **more}
    with whole_folder(folder, taken="replace") as new, quiet():
        yield new
        if card:
            (new / "README.md").write_text(card, encoding="utf-8")
        write_json(new / SETTINGS, settings)


@torch.no_grad()
def save_adapters(encoder: Encoder, base: str, folder: Path | str, rank: int,
                  card: str = "") -> tuple[Path, float]:
    """Write the difference of ``encoder`` to its base model as adapters, in peft's format.

    The difference of each linear layer and of the word embeddings is cut to its ``rank`` largest
    singular values, and written in half precision. What was trained as adapters of this rank is
    kept whole, apart from that rounding. Nothing is written for a layer that didn't change. Other
    weights (biases, layer norms, positions) stay the base's.

    Args:
        encoder: trained from ``base``, blended or not.
        base: a name or folder that :func:`load_encoder` takes.
        folder: a new or empty one, or one of adapters, which is replaced.

    Returns:
        The folder, and the share of the squared difference that was left out, 0 to 1.
    """
    from peft import LoraConfig

    start = dict(load_encoder(base, device="cpu").model.named_parameters())
    words, names = encoder.model.get_input_embeddings().weight, set(adaptable(encoder.model))
    state, changed, whole, lost = {}, [], 0.0, 0.0
    for name, weight in encoder.model.named_parameters():
        moved, layer = weight.cpu().double() - start[name].double(), name.removesuffix(".weight")
        size = float(moved.norm() ** 2)
        whole, lost = whole + size, lost + size
        if not moved.any() or layer not in names:
            continue
        u, s, v = torch.linalg.svd(moved.T if weight is words else moved, full_matrices=False)
        lost -= float((s[:rank] ** 2).sum())
        root = s[:rank].sqrt()  # split evenly, so that both parts suit half precision
        changed.append(layer)
        for part, value in (("A", root[:, None] * v[:rank]), ("B", u[:, :rank] * root)):
            # peft's names; the table of words is looked up, so it is transposed
            key = f"lora_embedding_{part}" if weight is words else f"lora_{part}.weight"
            state[f"base_model.model.{layer}.{key}"] = value.half().contiguous()
    config = LoraConfig(r=rank, lora_alpha=rank, target_modules=changed,
                        base_model_name_or_path=ON_THE_HUB.get(base, base), inference_mode=True)
    with _folder(encoder, folder, card, base=base) as new:
        told = config.to_dict() | {"target_modules": sorted(changed)}  # a set has no order
        write_json(new / ADAPTERS[0], {key: value for key, value in told.items()
                                       if value is not None})
        save_file(state, new / ADAPTERS[1], metadata={"format": "pt"})
    return Path(folder), max(0.0, lost) / max(whole, 1e-30)
