"""Choose the score below which a linker should give no answer."""

from collections.abc import Collection, Mapping

import numpy as np

from .linker import Linker


def best_threshold(linker: Linker, gold: Mapping[str, Collection[str]]) -> float:
    """Return the cosine with the best F1 over mentions that are asked twice.

    Ask them once as they are, and once with their concept taken out of the terminology, so that any
    answer is wrong. Notebook 07 goes through it step by step.

    Args:
        gold: the right concepts (cui) of each mention. The linker has one of them at least, and
            the mention itself is not among its names.

    Returns:
        The lowest score at which to give an answer. Raises ``ValueError`` if all mentions are
        blank.
    """
    found = linker.link(list(gold), k=10)
    if found.empty:
        raise ValueError("give at least one mention that isn't blank")
    scores, rights = [], []
    for mention, answers in found.groupby("mention", sort=False):
        right = answers["cui"].isin(gold[mention])
        scores.append(answers["score"].iloc[0])
        rights.append(right.iloc[0])
        if not right.all():  # the answer without the concept
            scores.append(answers["score"][~right].iloc[0])
            rights.append(False)
    order = np.argsort(scores)[::-1]
    score, hits = np.array(scores)[order], np.cumsum(np.array(rights)[order])
    last = np.append(score[1:] < score[:-1], True)  # the last answer of each score
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + len(gold))  # 2 hits / (given + answerable)
    return float(score[last][np.argmax(f1[last])])
