"""The exercises' checkers, by chapter: ``check.mining_1(answer)``, and ``check.guess`` for a prediction."""

from .judging import Verdict, guess
from .languages import languages_1, languages_2, languages_3
from .maps import maps_1, maps_2, maps_3
from .mining import mining_1

__all__ = ["Verdict", "guess", "languages_1", "languages_2", "languages_3", "maps_1",
           "maps_2", "maps_3", "mining_1"]
