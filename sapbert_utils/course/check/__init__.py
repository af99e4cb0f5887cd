"""The exercises' checkers, by chapter: ``check.mining_1(answer)``, and ``check.guess`` for a prediction."""

from .judging import Verdict, guess
from .mining import mining_1, mining_2, mining_3
from .training import training_1, training_2, training_3

__all__ = ["Verdict", "guess", "mining_1", "mining_2", "mining_3",
           "training_1", "training_2", "training_3"]
