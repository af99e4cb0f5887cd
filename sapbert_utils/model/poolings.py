"""Ways to pool the token vectors of a name: those we know, and what a saved model uses."""

import json
from pathlib import Path
from typing import Any

from transformers.utils import cached_file

POOLINGS = ("cls", "mean", "mean_all_tok")
OLD_KEYS = {"pooling_mode_cls_token": "cls", "pooling_mode_mean_tokens": "mean"}


def check_pooling(pooling: str) -> None:
    """Raise ``ValueError`` unless ``pooling`` is known."""
    if pooling not in POOLINGS:
        raise ValueError(f"unknown pooling {pooling!r}; choose one of: {', '.join(POOLINGS)}")


def saved_pooling(name: str, chosen: bool = False) -> dict[str, Any]:
    """Read pooling, prefix and lower from the files of sentence-transformers, if there are any.

    Args:
        name: a folder, or a name on the Hugging Face hub.
        chosen: whether the caller chooses a pooling, whatever the files say.

    Returns:
        Settings of an encoder; none if sentence-transformers didn't save this model.

    Raises:
        ValueError: its vectors are made in a way that we don't know.
    """
    modules = _read_json(name, "modules.json", list)
    if not modules and _read_json(name, "1_Pooling/config.json"):  # the list of modules is lost
        modules = [{"type": "Pooling", "path": "1_Pooling"}]
    if not modules:
        return {}
    if not all(isinstance(m, dict) and isinstance(m.get("type"), str) for m in modules):
        raise ValueError(f"{name}: modules.json is damaged: it isn't a list of objects with a type")
    pooling: Any = "cls"
    for module in modules:
        kind = module["type"].rpartition(".")[2]
        if kind == "Pooling":
            config = _read_json(name, f"{module.get('path')}/config.json") or {}
            on = config.get("pooling_mode") or [
                OLD_KEYS.get(key, key) for key, value in config.items()
                if key.startswith("pooling_mode_") and value]
            pooling = on[0] if isinstance(on, list) and len(on) == 1 else on
        unknown = kind not in ("Transformer", "Pooling", "Normalize", "Dropout")
        if (unknown or pooling not in POOLINGS) and not chosen:
            what = f"the module {kind}" if unknown else f"the pooling {pooling}"
            raise ValueError(f"{name} was saved by sentence-transformers with {what}, which is "
                             f"unknown here: choose a pooling (the vectors won't be its own)")
    bert = _read_json(name, "sentence_bert_config.json") or {}
    prompts = _read_json(name, "config_sentence_transformers.json") or {}
    prefix = (prompts.get("prompts") or {}).get(prompts.get("default_prompt_name"), "")
    return {"pooling": pooling, "prefix": prefix, "lower": bool(bert.get("do_lower_case"))}


def _read_json(name: str, file: str, kind: type = dict) -> Any:
    """Read a file from a model's folder or from the hub; None if the model has no such file."""
    try:
        content = json.loads(Path(cached_file(name, file)).read_text(encoding="utf-8"))
        if not isinstance(content, kind):
            raise ValueError(f"it holds no {kind.__name__}")
        return content
    except OSError:
        return None
    except ValueError as error:
        raise ValueError(f"{name}: {file} is damaged ({error})") from None
