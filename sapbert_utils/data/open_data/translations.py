"""General-domain word translations: names of emoji and of CLDR's territories, languages and currencies."""

import json

import pandas as pd
from babel import Locale

from . import read

EMOJI_LANGUAGES = ("de", "es", "fr", "ja", "ko", "pt", "ru", "tr", "zh")
CLDR_LANGUAGES = (*EMOJI_LANGUAGES, "fi", "th")
KINDS = ("territories", "languages", "currencies")  # of a babel.Locale: identifier -> name
TONES = frozenset(map(chr, range(0x1F3FB, 0x1F400)))  # of skin: five near-copies of every emoji of people


def word_translations() -> pd.DataFrame:
    """Pairs for the recipe ``xling-bitext``: cui (what is named), name1 (English), name2 (its translation), language.

    The stand-in for the MUSE dictionaries and wiki titles of Liu et al., ACL 2021, section 3. A translation that is
    written like the English word teaches nothing and is left out; ``language`` is a two-letter code.
    """
    rows = []
    english = {symbol: entry["en"] for symbol, entry in json.loads(_emoji("emoji")).items()}
    for language in EMOJI_LANGUAGES:
        for symbol, name in json.loads(_emoji(f"emoji_{language}")).items():
            if symbol in english and TONES.isdisjoint(symbol):
                rows.append((f"emoji:{symbol}", _words(english[symbol]), _words(name), language))
    for kind in KINDS:
        english = getattr(Locale("en"), kind)
        for language in CLDR_LANGUAGES:
            names = getattr(Locale(language), kind)
            rows += [(f"{kind}:{key}", english[key], names[key], language) for key in english if key in names]
    pairs = pd.DataFrame(rows, columns=["cui", "name1", "name2", "language"], dtype="str")
    pairs = pairs[(pairs["name1"].str.lower() != pairs["name2"].str.lower()) & (pairs["name2"] != "")]
    return pairs.drop_duplicates(["name1", "name2", "language"]).reset_index(drop=True)


def _emoji(name: str) -> str:
    return read("emoji", f"emoji/unicode_codes/{name}.json").decode("utf-8")


def _words(name: str) -> str:
    return name.strip(":").replace("_", " ")
