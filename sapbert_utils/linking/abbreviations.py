"""Abbreviations that a text explains."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


def expand(mention: str, text: str) -> str:
    """The long form that ``text`` gives of a mention that it abbreviates, as in "restless legs syndrome (RLS)"; else
    the mention. Found by the rules of Schwartz and Hearst (PSB 2003)."""
    with _untouched_logging():
        from abbreviations import schwartz_hearst

    return schwartz_hearst.extract_abbreviation_definition_pairs(doc_text=text).get(mention.strip(), mention)


@contextmanager
def _untouched_logging() -> Iterator[None]:
    """The package sets up the program's logging when it is imported: undo that."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(level)
