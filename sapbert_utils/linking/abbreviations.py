"""Abbreviations that a text explains."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager


def expand(mention: str, text: str) -> str:
    """The long form that ``text`` gives for an abbreviation; any other mention as it is.

    By the rules of Schwartz and Hearst (PSB 2003), in either order: "restless legs syndrome (RLS)"
    or "RLS (restless legs syndrome)".

    Example:
        >>> expand("RLS", "Seen for restless legs syndrome (RLS) since May.")
        'restless legs syndrome'
    """
    with _untouched_logging():
        from abbreviations.schwartz_hearst import extract_abbreviation_definition_pairs

    short = mention.strip()
    found = extract_abbreviation_definition_pairs(doc_text=text).get(short)
    # Ordinary words stand before brackets too; only a capital further in makes an abbreviation.
    if found is None and short[1:] != short[1:].lower():
        for bracket in re.findall(rf"(?<!\w){re.escape(short)}\s*\(([^()]+)\)", text):
            # The package knows the other order alone: turn the two round, so its rules decide.
            long = re.split("[,;]", bracket)[0].strip()
            turned = extract_abbreviation_definition_pairs(doc_text=f"{long} ({short})")
            found = found or turned.get(short)
    return mention if found is None else found


@contextmanager
def _untouched_logging() -> Iterator[None]:
    """Undo what happens to the root logger: the package sets it up when it is imported."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
