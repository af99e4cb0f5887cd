"""Checkers of notebook 07: linking your own terms."""

from collections.abc import Callable, Sequence

import numpy as np

from .judging import call, checker, expect

Found = Callable[[Sequence[str], Sequence[str]], Sequence[str]]
Share = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@checker
def terms_1(looked_up: Found, mentions: Sequence[str] = (), measured: Sequence[str] = (),
            for_use: Sequence[str] = ()) -> str:
    """Judge ``looked_up(mentions, names)``: the mentions that are names, whatever their capitals.

    Args:
        mentions: the chapter's; a right function is asked to count them in two indexes.
        measured: the names of the index that the chapter measures.
        for_use: the names of the index that has the layperson names.
    """
    found = call(looked_up, ["wide nose", "heart attack", "Nose Bleed", "runny nose", "attack"],
                 ["wide nose", "Heart attack", "nose bleed"])
    expect(not isinstance(found, str) and np.iterable(found),
           "Give a list of the mentions themselves, not how many there are.")
    given = {str(mention) for mention in found}
    expect("runny nose" not in given, "'runny nose' isn't a name of the toy index, but your "
           "function finds it.")
    expect("attack" not in given, "A part of a name isn't the name: 'attack' was found, because "
           "the toy index has 'Heart attack'.")
    expect("wide nose" in given, "'wide nose' is in the toy index, letter by letter, but your "
           "function doesn't find it.")
    expect(given & {"heart attack", "Heart attack"}, "The toy index has 'Heart attack', and "
           "'heart attack' isn't found. The encoder sees both in lower case.")
    expect(given & {"Nose Bleed", "nose bleed"}, "A mention can have capitals, too: 'Nose Bleed' "
           "isn't found.")
    expect(given == {"wide nose", "heart attack", "Nose Bleed"},
           "Give each mention as it was asked, capitals and all.")
    if not mentions:
        return "These are the mentions that a look-up answers."
    counts = [len(list(call(looked_up, mentions, names))) for names in (measured, for_use)]
    return (f"Of {len(mentions)} test mentions, {counts[0]} are names of the measured index and "
            f"{counts[1]} of the one for use. Accuracy on those says nothing about the encoder.")


@checker
def terms_2(answer: float, scores: np.ndarray, rights: np.ndarray, answerable: int) -> str:
    """Judge a threshold: does it have the best F0.5?

    Args:
        scores: of the first answers, (n,).
        rights: whether each is right, (n,) bool.
        answerable: the number of mentions that have a concept.
    """
    expect(isinstance(answer, (int, float, np.number)), "Give one number: the threshold.")
    expect(-1 <= answer <= 1, "No cosine is that large. Did you give a place in the grid, and not "
           "the threshold at that place?")
    grid = np.unique(scores)
    rates = np.array([_rates(scores, rights, answerable, t) for t in grid])
    mine = _rates(scores, rights, answerable, float(answer))
    expect(mine[0] > 0, "With this threshold, the linker gives no right answer.")
    if not np.isclose(_f(mine, 0.5), _f(rates, 0.5).max()):
        for beta, hint in ((1, "This threshold has the best F1, in which precision and recall "
                               "count alike."),
                           (2, "This threshold has the best F2, which favours recall. Which way "
                               "does beta go?")):
            expect(not np.isclose(_f(mine, beta), _f(rates, beta).max()), hint)
        expect(mine[0] < rates[:, 0].max(), "No threshold has a higher precision, but it leaves "
               "hardly any answers. F0.5 still counts recall.")
        expect(False, "Another score of the grid has a higher F0.5. Did you try them all?")
    plain = rates[np.argmax(_f(rates, 1))]
    return (f"From F1 to F0.5, precision goes from {plain[0]:.1%} to {mine[0]:.1%}, and recall "
            f"from {plain[1]:.1%} to {mine[1]:.1%}.")


def _rates(scores: np.ndarray, rights: np.ndarray, answerable: int, t: float) -> np.ndarray:
    answered = np.asarray(scores) >= t
    hits = (answered & np.asarray(rights)).sum()
    return np.array([hits / max(1, answered.sum()), hits / answerable])


def _f(rates: np.ndarray, beta: float) -> np.ndarray:
    precision, recall = rates[..., 0], rates[..., 1]
    weighted = (1 + beta**2) * precision * recall / np.maximum(1e-9, beta**2 * precision + recall)
    return np.asarray(weighted)


@checker
def terms_3(stay: Share, queries: np.ndarray | None = None,
            vectors: np.ndarray | None = None) -> str:
    """Judge ``stay(queries, vectors, stored)``: the share of queries that keep their first answer.

    Args:
        queries: the chapter's, (q, d); a right function measures two ways of storing with them.
        vectors: of the chapter's names, (n, d) float32.
    """
    rng = np.random.default_rng(0)
    asked, names = (rng.normal(size=(n, 16)).astype(np.float32) for n in (60, 40))
    names *= rng.uniform(0.2, 5, (40, 1)).astype(np.float32)  # so that the product isn't the cosine
    coarse = np.sign(names)
    same, found = call(stay, asked, names, names), call(stay, asked, names, coarse)
    expect(np.ndim(same) == 0 and np.ndim(found) == 0, "Give one number, not one for each query.")
    expect(same <= 1, "Give a share, from 0 to 1.")
    expect(same != 0, "That's the share of the answers that change.")
    expect(same == 1, "When the vectors are stored as they are, every answer stays.")
    expect(found < 1, "Cutting the toy's vectors to their signs changes some answers, but your "
           "function sees no change. Does it search in stored at all?")
    answers = [[np.argmax(asked @ (v / length).T, axis=1)
                for length in (np.linalg.norm(v, axis=1, keepdims=True), 1)]
               for v in (names, coarse)]
    (cosine, product), (cosine_coarse, product_coarse) = answers
    expect(not np.isclose(found, np.mean(product == product_coarse)),
           "In your function, long vectors win. The score is the cosine.")
    expect(np.isclose(found, np.mean(cosine == cosine_coarse)), "For every query, compare the row "
           "that is nearest in vectors with the row that is nearest in stored.")
    if queries is None or vectors is None:
        return "Now store the names as small as you dare."
    half, bit = (float(call(stay, queries, vectors, stored))
                 for stored in (vectors.astype(np.float16), np.sign(vectors)))
    return (f"In half the space, {half:.1%} of the first answers stay; with one bit for each "
            f"number, {bit:.1%}.")
