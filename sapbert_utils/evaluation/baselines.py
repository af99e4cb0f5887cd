"""What a string knows: linkers without a trained encoder, and one that adds strings to an encoder.

Each maker takes the names of a dictionary and returns a function for :func:`.protocols.predict`:
n texts -> (n, k) rows of the dictionary, best first, -1 where there are no more.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from rapidfuzz import fuzz, process
from sklearn.feature_extraction.text import TfidfVectorizer
from tqdm.auto import tqdm

Rank = Callable[[Sequence[str]], np.ndarray]


def exact_match(names: Sequence[str], k: int = 10) -> Rank:
    """A lookup table: the rows whose name is the text, letter by letter."""
    rows = defaultdict(list)
    for i, name in enumerate(names):
        rows[name].append(i)
    return lambda texts: np.array([(rows.get(text, []) + [-1] * k)[:k] for text in texts])


def tfidf(names: Sequence[str], k: int = 10) -> Rank:
    """Character 2- to 4-grams in word bounds, sublinear TF-IDF, cosine."""
    return _by_scores(tfidf_scores(names), k, "TF-IDF", len(names))


def tfidf_scores(names: Sequence[str]) -> Callable[[Sequence[str]], np.ndarray]:
    """Texts -> (n, dictionary) cosine similarities of :func:`tfidf`."""
    vectorizer = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    dictionary = vectorizer.fit_transform(names).T.tocsr()
    return lambda texts: (vectorizer.transform(texts) @ dictionary).toarray()


def fuzzy(names: Sequence[str], k: int = 10) -> Rank:
    """Letters that have to be changed (normalised indel similarity) after sorting the words."""
    def sort(texts: Sequence[str]) -> list[str]:
        return [" ".join(sorted(text.split())) for text in texts]

    ordered, settings = sort(names), {"scorer": fuzz.ratio, "dtype": np.float32, "workers": -1}
    return _by_scores(lambda texts: process.cdist(sort(texts), ordered, **settings), k, "fuzzy", len(names))


def hybrid(names: Sequence[str], vectors: np.ndarray, embed: Callable[[Sequence[str]], np.ndarray], weight: float,
           k: int = 10) -> Rank:
    """Sparse and dense: ``weight`` times the TF-IDF cosine, plus the cosine of the encoder's ``vectors`` (n, d)."""
    sparse, dense = tfidf_scores(names), _unit(vectors).T
    return _by_scores(lambda texts: weight * sparse(texts) + _unit(embed(texts)) @ dense, k, "hybrid", len(names))


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-12)


def _by_scores(scores: Callable[[Sequence[str]], np.ndarray], k: int, label: str, size: int) -> Rank:
    def rank(texts: Sequence[str]) -> np.ndarray:
        found, block = [], max(1, min(256, (1 << 25) // size))  # a table of scores stays below 128 MB
        for start in tqdm(range(0, len(texts), block), desc=label, unit="block"):
            loss = -scores(texts[start : start + block])
            top = np.argpartition(loss, min(k, loss.shape[1]) - 1, axis=1)[:, :k]
            found.append(np.take_along_axis(top, np.take_along_axis(loss, top, 1).argsort(1, kind="stable"), 1))
        return np.concatenate(found)
    return rank
