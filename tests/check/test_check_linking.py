"""The checkers of notebook 04."""

import numpy as np

from sapbert_utils.course import check


def reciprocal(ranks):
    return np.where(ranks > 0, 1 / np.maximum(ranks, 1), 0)


def test_linking_1(judged):
    judged(check.linking_1, lambda ranks: reciprocal(ranks).mean(), {
        "return a share": lambda ranks: 100 * reciprocal(ranks).mean(),
        "not a sum": lambda ranks: reciprocal(ranks).sum(),
        "own share": lambda ranks: 1 / ranks.mean(),
        "a half and a quarter": lambda ranks: ranks.mean(),
        "breaks your division": lambda ranks: (1 / ranks).mean(),
        "but they count": lambda ranks: (1 / ranks[ranks > 0]).mean(),
        "counts in full": lambda ranks: (1 / np.maximum(ranks, 1)).mean(),
        "rank 0 gives nothing": lambda ranks: reciprocal(ranks).mean() if ranks.any() else -1.0,
    })
    in_a_list = check.linking_1(lambda ranks: sum(1 / r for r in ranks if r) / len(ranks))
    assert in_a_list.right


def test_linking_2(judged):
    draw = np.random.default_rng(33)
    names = draw.normal(size=(50, 8)) * draw.uniform(0.1, 9, size=(50, 1)) + 2
    mentions = draw.normal(size=(300, 8)) + 1

    def winners(queries, dictionary):
        return (queries @ dictionary.T).argmax(axis=1)

    def unit(vectors, axis=1):
        return vectors / np.linalg.norm(vectors, axis=axis, keepdims=True)

    by_cosine, by_dot = winners(unit(mentions), unit(names)), winners(mentions, names)
    judged(check.linking_2, winners(mentions, unit(names)), {
        "whose lengths matter": winners(unit(mentions), names),
        "win by neither": winners(mentions, unit(names, axis=0)),
        "returns a pair": (by_cosine[:, None], np.ones((300, 1))),
    }, by_cosine, by_dot)
    assert check.linking_2(by_cosine.tolist(), by_cosine, by_dot).right
    assert "returns a pair" in check.linking_2(by_cosine[:, None], by_cosine, by_dot).text


def by_concept(difference, concept, rng):
    drawn = rng.choice(names := np.unique(concept), len(names))
    return np.concatenate([difference[concept == name] for name in drawn])


def test_linking_3(judged):
    judged(check.linking_3, lambda d, c, rng: by_concept(d, c, rng).mean(), {
        "at most 1": lambda d, c, rng: by_concept(d, c, rng).sum(),
        "with replacement": lambda d, c, rng: rng.permutation(d).mean(),
        "each with all its mentions": lambda d, c, rng: rng.choice(d, len(d)).mean(),
        "weighs the same": lambda d, c, rng: np.mean(
            [d[c == name].mean() for name in rng.choice(np.unique(c), len(set(c)))]),
        "must count twice": lambda d, c, rng: d[np.isin(
            c, rng.choice(np.unique(c), len(set(c))))].mean(),
    })
