"""The checkers of notebook 00."""

import numpy as np

from sapbert_utils.course import check


def pieces(text, n, pad=" ", lower=True, short=0):
    text = pad + (text.lower() if lower else text) + pad
    return [text[i : i + n] for i in range(len(text) - n + 1 - short)]


def jaccard(a, b):
    return len(set(a) & set(b)) / max(1, len(set(a) | set(b)))


def test_meeting_1(judged):
    judged(check.meeting_1, lambda a, b, n: jaccard(pieces(a, n), pieces(b, n)), {
        "What do you divide by": lambda a, b, n: len({*pieces(a, n)} & {*pieces(b, n)}) / (
            len(pieces(a, n)) + len(pieces(b, n))),
        "capitals": lambda a, b, n: jaccard(pieces(a, n, lower=False), pieces(b, n, lower=False)),
        "Where are the blanks": lambda a, b, n: jaccard(pieces(a, n, ""), pieces(b, n, "")),
        "is the last piece missing": lambda a, b, n: jaccard(
            pieces(a, n, short=1), pieces(b, n, short=1)),
        "swap places": lambda a, b, n: len({*pieces(a, n)} & {*pieces(b, n)}) / len(
            {*pieces(a, n)}),
        "Your n changes nothing": lambda a, b, n: jaccard(pieces(a, 2), pieces(b, 2)),
        "counts a piece that both": lambda a, b, n: 2 * len({*pieces(a, n)} & {*pieces(b, n)}) / (
            len({*pieces(a, n)}) + len({*pieces(b, n)})),
        "is off": lambda a, b, n: jaccard(pieces(a, n), pieces(b, n)) ** 2,
    })


def test_meeting_2(judged):
    ranks = {"a": np.array([1, 1, 1, 0, 2, 0, 0, 0, 0, 0]),
             "b": np.array([1, 2, 0, 1, 0, 3, 0, 0, 0, 0]),
             "c": np.array([1, 1, 0, 1, 0, 0, 0, 0, 0, 0])}
    judged(check.meeting_2, 40.0, {
        "Give it in per cent": 0.4, "once for each method": 80.0, "best method alone": 30.0,
        "One is enough": 10.0, "among the first ten": 60.0, "can't be below": 55.0,
        "one number": "40",
    }, ranks)
    assert check.meeting_2(4, ranks).text.startswith("✗ Not yet. Give it in per cent")
    assert check.meeting_2(50, {"a": np.array([1, 0])}).right  # as has one method alone


def different(found, k):
    return list(dict.fromkeys(c for one in found for c in one.split("|")))[:k]


def test_meeting_3(judged):
    judged(check.meeting_3, different, {
        "a concept twice": lambda found, k: found[:k],
        "the first k names only": lambda found, k: different(found[:k], k),
        "your list has 4": lambda found, k: different(found, 99),
        "order of the candidates": lambda found, k: (sorted(different(found, 99)) + [""])[:k],
        "fewer than k": lambda found, k: (different(found, 99) + [""] * k)[:k],
        "stands for two concepts": lambda found, k: list(dict.fromkeys(found))[:k],
        "longer than k": lambda found, k: _whole_candidates(found, k),
    })


def _whole_candidates(found, k):
    seen = []
    for one in found:
        if len(seen) < k:
            seen += [c for c in one.split("|") if c not in seen]
    return seen
