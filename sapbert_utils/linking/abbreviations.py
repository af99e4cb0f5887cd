"""Expand abbreviations that a text explains."""

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager


def expand(mention: str, text: str | None) -> str:
    """Return the long form that ``text`` gives for an abbreviation; any other mention as it is.

    The rules are those of Schwartz and Hearst (PSB 2003), for either order: "restless legs syndrome
    (RLS)" or "RLS (restless legs syndrome)". If no line explains it, square brackets count too; if
    that isn't enough, the lines of each paragraph are joined.

    Example:
        >>> expand("RLS", "Seen for restless legs syndrome (RLS) since May.")
        'restless legs syndrome'
    """
    if not isinstance(text, str):  # an empty cell of a data frame
        return mention
    with _untouched_logging():
        from abbreviations.schwartz_hearst import extract_abbreviation_definition_pairs

    short, lines = mention.strip(), "\n".join(text.splitlines())
    rounded = lines.translate(str.maketrans("[]", "()"))
    joined = "\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", rounded))
    for given in dict.fromkeys((lines, rounded, joined)):
        found = extract_abbreviation_definition_pairs(doc_text=given).get(short)
        # Ordinary words precede brackets too: an abbreviation has a capital after its first letter.
        if found is None and short[1:] != short[1:].lower():
            closing = "[\"'\u201c\u201d\u2019\u00bb]?"
            for bracket in re.findall(rf"(?<!\w){re.escape(short)}{closing}\s*\(([^()]+)\)", given):
                # The package knows only the other order: swap the two, so that its rules decide.
                long = re.split("[,;]", bracket)[0].strip()
                turned = extract_abbreviation_definition_pairs(doc_text=f"{long} ({short})")
                found = found or turned.get(short)
        if found is not None:
            return found
    return mention


@contextmanager
def _untouched_logging() -> Iterator[None]:
    """Restore the root logger, which the package configures when it is imported."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
