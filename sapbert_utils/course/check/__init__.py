"""The exercises' checkers, by chapter: ``check.mining_1(answer)``, and ``check.guess`` for a prediction."""

from .judging import Verdict, guess
from .mining import mining_1

__all__ = ["Verdict", "guess", "mining_1"]
