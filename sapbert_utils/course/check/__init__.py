"""The exercises' checkers, ``check.mining_1(answer)`` and so on, and ``check.guess``."""

from .claims import claims_1, claims_2, claims_3
from .judging import guess
from .languages import languages_1, languages_2, languages_3
from .linking import linking_1, linking_2, linking_3
from .maps import maps_1, maps_2, maps_3
from .meeting import meeting_1, meeting_2, meeting_3
from .mining import mining_1, mining_2, mining_3
from .pairs import pairs_1, pairs_2, pairs_3
from .terms import terms_1, terms_2, terms_3
from .training import training_1, training_2, training_3

__all__ = [
    "claims_1", "claims_2", "claims_3", "guess", "languages_1", "languages_2",
    "languages_3", "linking_1", "linking_2", "linking_3", "maps_1", "maps_2", "maps_3",
    "meeting_1", "meeting_2", "meeting_3", "mining_1", "mining_2", "mining_3", "pairs_1",
    "pairs_2", "pairs_3", "terms_1", "terms_2", "terms_3", "training_1", "training_2",
    "training_3",
]
