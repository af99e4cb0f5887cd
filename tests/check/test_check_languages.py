"""The checkers of notebook 05."""

import numpy as np

from sapbert_utils.course import check


def macro(right):
    return lambda ranks, language: np.mean([100 * np.mean(right(ranks[language == lat])) for lat in set(language)])


def test_languages_1(judged):
    judged(check.languages_1, macro(lambda r: r == 1), {
        "per cent, not a share": lambda r, of: macro(lambda x: x == 1)(r, of) / 100,
        "every mention count the same": lambda r, of: 100 * np.mean(r == 1),
        "first place": macro(lambda r: r > 0),
        "Rank 0": macro(lambda r: r <= 1),
        "fixed number": lambda r, of: sum(100 * np.mean(r[of == x] == 1) for x in set(of)) / 2,
        "mean of these two": lambda r, of: 50,
    })


def test_languages_2(judged):
    language = 10 * ["GER"] + 10 * ["POR"] + 10 * ["JPN"] + 10 * ["FRE"]
    gold = 40 * ["I210"]
    found = [*5 * ["I210"], *4 * ["I211"], "J45"] + [*9 * ["I210"], "I211"] + 10 * ["J45"]
    found += [*8 * ["I210"], "I219", "J45"]
    judged(check.languages_2, "GER", {
        "Answer with one of FRE, GER, JPN, POR": "German", "high by code": "POR",
        "gains least": "JPN", "another language gains more": "FRE",
    }, gold, found, language)
    found[19:] = [*1 * ["I211"], *10 * ["J45"], *9 * ["I210"], "J18"]
    found[10:19] = 9 * ["I210"]
    found[30:] = 10 * ["I210"]
    judged(check.languages_2, " ger ", {
        "share of *failures*": "POR", "high by code": "FRE",
    }, gold, found, language)


def test_languages_3(judged):
    def unit(v):
        return v / np.linalg.norm(v, axis=1, keepdims=True)

    def less(v, of):
        return v - np.stack([v[of == lat].mean(0) for lat in of])

    def in_place(v, of):
        for lat in set(of):
            v[of == lat] -= v[of == lat].mean(0)
        return unit(v)

    judged(check.languages_3, lambda v, of: unit(less(v, of)), {
        "leave the old": in_place,
        "of shape": lambda v, of: unit(less(v, of))[:3],
        "No mean": lambda v, of: unit(v),
        "one mean from all": lambda v, of: unit(v - v.mean(0)),
        "length one": less,
        "another order": lambda v, of: np.vstack([unit(less(v, of))[of == x] for x in ("GER", "JPN")]),
        "before you scale": lambda v, of: unit(less(unit(v), of)),
    })
