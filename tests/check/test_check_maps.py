"""The checkers of notebook 06."""

import numpy as np

from sapbert_utils.course import check


def sizes(labels):
    return np.bincount(labels)[labels]


def test_maps_1(judged):
    judged(check.maps_1, lambda of: (sizes(of).mean() - 1) / (len(of) - 1), {
        "share from 0 to 1": lambda of: 100 * (sizes(of).mean() - 1) / (len(of) - 1),
        "its own neighbour": lambda of: sizes(of).mean() / len(of),
        "in one place": lambda of: (sizes(of).mean() - 1) / len(of),
        "over concepts": lambda of: (len(of) / len(set(of)) - 1) / (len(of) - 1),
        "every neighbour is right": lambda of: 34 / 110,
        "how many partners": lambda of: 1 / len(set(of)),
    })


def test_maps_2(judged):
    def cut(near, of, n):
        return np.array([np.mean(of[row[:k]] == own) for row, k, own in zip(near, n, of)])

    judged(check.maps_2, lambda near, of: cut(near, of, sizes(of) - 1), {
        "one for each name": lambda near, of: cut(near, of, sizes(of) - 1).mean(),
        "of shape": lambda near, of: of[near] == of[:, None],
        "all neighbours": lambda near, of: (of[near] == of[:, None]).mean(1),
        "k = 2": lambda near, of: (of[near] == of[:, None])[:, :2].mean(1),
        "own partner": lambda near, of: cut(near, of, sizes(of)),
        "Divide by": lambda near, of: cut(near, of, sizes(of) - 1) * (sizes(of) - 1),
        "name by name": lambda near, of: np.ones(len(of)),
    })


def test_maps_3(judged):
    judged(check.maps_3, 0.11, {
        "Give a share": 11, "not with": 1.0, "share of the real names": 0.58,
        "what chance gives": 0.0026, "so much of noise": 0.55,
    }, 0.58, 3985)
