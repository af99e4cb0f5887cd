"""From nearest names to nearest concepts: a concept with many names must not crowd out others."""

from collections.abc import Callable, Iterator

import numpy as np

# (q, d) queries and a depth -> rows of the names (q, depth) and their scores, best first; row -1
# where an approximate index finds no more
Find = Callable[[np.ndarray, int], tuple[np.ndarray, np.ndarray]]

ANSWERS = 1 << 22  # nearest names held at a time, for all queries together


def nearest_concepts(queries: np.ndarray, concepts: np.ndarray, k: int, exact: Find,
                     index: Find | None = None) -> list[list[tuple[int, float]]]:
    """Find, for each query, (row, score) of the best name of each of the ``k`` nearest concepts.

    Start with ten names for each wanted concept. Ask again for a query that still lacks concepts,
    four times as deep each time, until it has ``k`` or all that there are.

    Args:
        concepts: (n,) a number for the concept of each name.
        exact: finds every name if it is asked for all.
        index: asked first, if there is one; it may miss names.
    """
    wanted = min(k, len(np.unique(concepts)))
    found: list[list[tuple[int, float]]] = [[] for _ in queries]
    waiting = np.arange(len(queries))
    for find, depth in _rounds(10 * k, len(concepts), exact, index):
        step = max(1, ANSWERS // depth)
        for start in range(0, len(waiting), step):
            part = waiting[start : start + step]
            for query, near, scores in zip(part, *find(queries[part], depth), strict=True):
                first = _first_of_each(concepts, near)[:wanted]
                found[query] = list(zip(near[first].tolist(), scores[first].tolist(), strict=True))
        waiting = np.array([query for query in waiting if len(found[query]) < wanted], dtype=int)
        if not len(waiting):
            break
    return found


def _rounds(depth: int, names: int, exact: Find, index: Find | None) -> Iterator[tuple[Find, int]]:
    """Yield what to ask, and how deep, until exact search has reached the last name."""
    if index is not None:
        for times in (1, 4, 16):  # any deeper, it loses its speed
            yield index, min(times * depth, names)
    while depth < names:
        yield exact, depth
        depth *= 4
    yield exact, names


def _first_of_each(concepts: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Return the places in ``near`` (rows, best first) where a concept occurs first."""
    there = np.flatnonzero(near >= 0)
    _, first = np.unique(concepts[near[there]], return_index=True)
    return there[np.sort(first)]
