"""Checkers of notebook 06: maps of the embedding space."""

from collections.abc import Callable

import numpy as np

from .judging import call, checker, expect

Array = np.ndarray


@checker
def maps_1(by_chance: Callable[[Array], float]) -> str:
    """Judge ``by_chance(labels)``: the purity to expect if neighbours were drawn at random.

    ``labels`` (n,) int is the concept of each name. The result is a share from 0 to 1.
    """
    labels = np.array([4, 4, 4, 4, 7, 7, 9, 9, 9, 9, 9])
    size = np.array([4, 4, 4, 4, 2, 2, 5, 5, 5, 5, 5])
    right, given = float(np.mean(size - 1) / 10), float(call(by_chance, labels))
    expect(0 <= given <= 1, "A purity is a share from 0 to 1 here.")
    expect(not np.isclose(given, size.mean() / 11), "A name isn't its own neighbour: leave it out "
           "of its concept's names and out of the names to draw from.")
    halfway = size.mean() / 10, np.mean(size - 1) / 11
    expect(not np.isclose(given, halfway).any(),
           "You leave the name itself out in one place. There are two.")
    expect(not np.isclose(given, (11 / 3 - 1) / 10), "You average over concepts. The chapter's "
           "purity averages over names, so a concept with many names counts more often.")
    expect(np.isclose(given, right), "For each name: how many partners does it have, among how "
           "many other names? Then take the mean over names.")
    expect(np.isclose(float(call(by_chance, np.array([1, 1, 1]))), 1), "With a single concept, "
           "every neighbour is right, so chance must be 1.")
    return "A measured purity means something only beside this number."


@checker
def maps_2(r_precision: Callable[[Array, Array], Array]) -> str:
    """Judge ``r_precision(near, labels)``: purity among as many neighbours as a name has partners.

    ``near`` (n, k) int holds the other names of each name, nearest first; ``labels`` (n,) the
    concept of each name. The result is (n,), a share from 0 to 1 for each name.
    """
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    near = np.array([[1, 4, 3, 2, 5], [0, 4, 5, 2, 3], [0, 1, 3, 6, 7], [4, 0, 6, 7, 1],
                     [0, 5, 1, 2, 3], [4, 0, 1, 2, 3], [7, 0, 8, 1, 2], [0, 1, 6, 8, 2],
                     [6, 7, 0, 1, 2]])
    same = labels[near] == labels[:, None]
    partners = np.bincount(labels)[labels] - 1
    given = np.asarray(call(r_precision, near, labels), dtype=float)
    expect(given.shape != (), "You return one number. I ask for one for each name.")
    expect(given.shape == labels.shape, f"I gave {len(labels)} names and got back an array of "
           f"shape {given.shape}.")
    expect(not np.allclose(given, same.mean(1)), "You look at all neighbours that you are given. "
           "How many should count for a name whose concept has two names?")
    expect(not np.allclose(given, same[:, :2].mean(1)), "That is the purity at k = 2, the same k "
           "for every name.")
    expect(not np.allclose(given, [row[: n + 1].mean() for row, n in zip(same, partners)]),
           "You look at as many neighbours as the concept has names. A name isn't its own partner.")
    right = np.array([row[:n].mean() for row, n in zip(same, partners)])
    expect(not np.allclose(given, right * partners), "You count the right neighbours. Divide by "
           "the number of partners, so that every name can reach 1.")
    expect(np.allclose(given, right), "Go name by name: count its partners, cut its list of "
           "neighbours there, and see what share of them is right.")
    return "Now a name of a large concept can reach 1, too, if all its partners are near."


@checker
def maps_3(answer: float, of_names: float, count: int) -> str:
    """Judge the share of the ten nearest neighbours that a map of noise keeps.

    ``of_names`` is the share that the map of real names keeps, ``count`` the number of rows.
    """
    kept, chance = float(answer), 10 / (count - 1)
    expect(0 <= kept <= 1, "Give a share from 0 to 1.")
    expect(kept < 0.98, "A map that keeps everything? Compare the noise with its map, and not with "
           "itself.")
    expect(abs(kept - of_names) > 1e-6, "That's the share of the real names. Draw random vectors "
           "of the same shape, make a map of them, and compare the two.")
    expect(kept > 1.2 * chance, f"That's what chance gives ({chance:.1%}): the map belongs to "
           "other vectors. Draw the noise once, then use the same array twice.")
    expect(kept < 0.9 * of_names, "No map keeps so much of noise. Is every number of your vectors "
           "drawn independently, and are there as many rows as names?")
    return (f"{kept:.0%} for noise, {of_names:.0%} for names: where there is no structure, the map "
            "has little to keep, and draws something all the same.")
