"""The exercises' checkers, by chapter: ``check.mining_1(answer)``, and ``check.guess`` for a prediction."""

from .claims import claims_1, claims_2, claims_3
from .judging import Verdict, guess
from .mining import mining_1
from .terms import terms_1, terms_2, terms_3

__all__ = [
    "Verdict", "claims_1", "claims_2", "claims_3", "guess", "mining_1", "terms_1", "terms_2",
    "terms_3",
]
