"""The checkers of notebook 07."""

import numpy as np

from sapbert_utils.course import check


def test_terms_1(judged):
    def looked_up(mentions, names):
        known = {name.lower() for name in names}
        return [mention for mention in mentions if mention.lower() in known]

    facts = ["runny nose", "Lazy Eye"], ["nasal discharge"], ["Runny nose", "lazy eye", "amblyopia"]
    judged(check.terms_1, looked_up, {
        "not how many": lambda mentions, names: len(looked_up(mentions, names)),
        "'runny nose' isn't a name": lambda mentions, names: mentions,
        "A part of a name": lambda mentions, names: [m for m in mentions if m.lower() in " ".join(names).lower()],
        "letter by letter": lambda mentions, names: [],
        "in lower case": lambda mentions, names: [m for m in mentions if m in names],
        "can have capitals": lambda mentions, names: [m for m in mentions if m in {n.lower() for n in names}],
        "as it was asked": lambda mentions, names: [m.lower() for m in looked_up(mentions, names)],
    }, *facts)
    assert "Of 2 test mentions, 0 are names of the measured index and 2 of" in check.terms_1(looked_up, *facts).text
    assert check.terms_1(looked_up).right  # without the chapter's names, too


def test_terms_2(judged):
    # a sure answer, then blocks of answers that are right ever more seldom: best by F0.5, F1, F2
    blocks = [(0, 1), (1, 8), (3, 7), (6, 4), (30, 10)]  # how many are wrong, then how many right
    rights = np.array([right for wrong, hits in blocks for right in [False] * wrong + [True] * hits])
    scores = np.linspace(0.99, 0.3, len(rights))
    grid, facts = np.unique(scores), (scores, rights, 40)

    def best(beta):
        answered = scores >= grid[:, None]
        hits = (answered & rights).sum(1)
        precision, recall = hits / answered.sum(1), hits / 40
        return grid[np.argmax((1 + beta**2) * precision * recall / (beta**2 * precision + recall))]

    assert [best(2), best(1), best(0.5)] == [scores[69], scores[29], scores[19]]
    judged(check.terms_2, best(0.5), {
        "one number": [0.7],
        "a place in the grid": 17,
        "no right answer": 0.999,
        "the best F1": best(1),
        "Which way does beta go": best(2),
        "hardly any answers": 0.99,
        "Did you try them all": scores[14],
    }, *facts)
    assert check.terms_2(float(best(0.5)) - 1e-4, *facts).right  # it decides alike


def test_terms_3(judged):
    def nearest(queries, vectors, cosine=True):
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True) if cosine else 1
        return np.argmax(queries @ (vectors / lengths).T, axis=1)

    def stay(queries, vectors, stored):
        return np.mean(nearest(queries, vectors) == nearest(queries, stored))

    rng = np.random.default_rng(1)
    facts = [rng.normal(size=(n, 16)).astype(np.float32) for n in (20, 30)]
    judged(check.terms_3, stay, {
        "not one for each query": lambda q, v, s: nearest(q, v) == nearest(q, s),
        "from 0 to 1": lambda q, v, s: 100 * stay(q, v, s),
        "answers that change": lambda q, v, s: 1 - stay(q, v, s),
        "every answer stays": lambda q, v, s: stay(q, v, s) / 2,
        "search in stored": lambda q, v, s: stay(q, v, v),
        "long vectors win": lambda q, v, s: np.mean(nearest(q, v, False) == nearest(q, s, False)),
        "the row that is nearest": lambda q, v, s: np.mean(np.isclose(v, s).all(1)),
    }, *facts)
    said = check.terms_3(stay, *facts).text
    assert "100.0% of the first answers stay; with one bit" in said
