"""In: notebooks and their parameters. Out: executed notebooks, results, figures, published outputs.
May use ``files`` alone of the library; none but notebooks and ``__main__`` import it.
Read in this order: profiles, results, plots; the other modules are the runner.
"""

from .playing import play
from .profiles import REPOSITORY, get_profile
from .results import Run

__all__ = ["REPOSITORY", "Run", "get_profile", "play"]
