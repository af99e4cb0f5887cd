"""Collect translations of everyday words: emoji, and CLDR's territories, languages, currencies."""

import json
from collections.abc import Mapping
from typing import Any, cast

import pandas as pd
from babel import Locale

from . import read

EMOJI_LANGUAGES = ("de", "es", "fr", "ja", "ko", "pt", "ru", "tr", "zh")
CLDR_LANGUAGES = (*EMOJI_LANGUAGES, "fi", "th")
KINDS = ("territories", "languages", "currencies")  # of a babel.Locale: identifier -> name
# Skin tones. They would add five near-copies of every emoji that shows a person.
TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))


def word_translations() -> pd.DataFrame:
    """Collect the translation pairs for the recipe ``xling-bitext``.

    They replace the MUSE dictionaries and wiki titles of Liu et al., ACL 2021. A
    translation with the spelling of the English word teaches nothing and is left out.

    Returns:
        The columns cui (what is named), name1 (English), name2 (its translation) and language (of
        name2, two letters).
    """
    rows = []
    english = {symbol: entry["en"] for symbol, entry in _emoji("emoji").items()}
    for language in EMOJI_LANGUAGES:
        for symbol, name in _emoji(f"emoji_{language}").items():
            if symbol in english and TONES.isdisjoint(symbol):
                rows.append((f"emoji:{symbol}", _words(english[symbol]), _words(name), language))
    for kind in KINDS:
        english_names = _cldr("en", kind)
        for language in CLDR_LANGUAGES:
            names = _cldr(language, kind)
            rows += [(f"{kind}:{key}", english_names[key], names[key], language)
                     for key in english_names if key in names]
    pairs = pd.DataFrame(rows, columns=["cui", "name1", "name2", "language"], dtype="str")
    differ = pairs["name1"].str.lower() != pairs["name2"].str.lower()
    pairs = pairs[differ & (pairs["name2"] != "")]
    return pairs.drop_duplicates(["name1", "name2", "language"]).reset_index(drop=True)


def _emoji(name: str) -> dict[str, Any]:
    return json.loads(read("emoji", f"emoji/unicode_codes/{name}.json"))


def _cldr(language: str, kind: str) -> Mapping[str, str]:
    return cast(Mapping[str, str], getattr(Locale(language), kind))


def _words(name: str) -> str:
    """Turn ``:red_apple:`` into ``red apple``."""
    return name.strip(":").replace("_", " ")
