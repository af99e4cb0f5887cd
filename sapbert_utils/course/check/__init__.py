"""The exercises' checkers, by chapter: ``check.mining_1(answer)``, and ``check.guess`` for a prediction."""

from .judging import Verdict, guess
from .meeting import meeting_1, meeting_2, meeting_3
from .mining import mining_1
from .pairs import pairs_1, pairs_2, pairs_3

__all__ = [
    "Verdict", "guess", "meeting_1", "meeting_2", "meeting_3", "mining_1", "pairs_1", "pairs_2",
    "pairs_3",
]
