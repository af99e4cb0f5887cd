"""In: notebooks and their parameters. Out: executed notebooks, results, figures, published outputs.
May use only ``files`` of the library, whose wings never import it.
Read in this order: profiles, results, plots; the other modules are the runner.
"""

from .playing import play
from .profiles import REPOSITORY, get_profile
from .results import Run

__all__ = ["REPOSITORY", "Run", "get_profile", "play"]
