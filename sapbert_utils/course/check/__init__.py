"""The exercises' checkers, by chapter: ``check.mining_1(answer)``, and ``check.guess`` for a prediction."""

from .judging import Verdict, guess
from .linking import linking_1, linking_2, linking_3
from .mining import mining_1

__all__ = ["Verdict", "guess", "linking_1", "linking_2", "linking_3", "mining_1"]
