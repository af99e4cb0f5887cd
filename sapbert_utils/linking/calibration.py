"""The score below which a linker had better say nothing."""

from collections.abc import Collection, Mapping

import numpy as np

from .linker import Linker


def best_threshold(linker: Linker, gold: Mapping[str, Collection[str]]) -> float:
    """The cosine with the best F1 over mentions that are asked twice.

    Once as they are, and once with their concept taken out of the terminology, where silence alone
    is right. Notebook 07 goes through it step by step.

    Args:
        gold: the right concepts (cui) of each mention. The linker has one of them at least, and
            the mention itself is not among its names.

    Returns:
        The lowest score at which an answer is given. Raises ``ValueError`` without an answer.
    """
    found = linker.link(list(gold), k=10)
    if found.empty:
        raise ValueError("give mentions, and not blank ones alone")
    scores, rights = [], []
    for mention, answers in found.groupby("mention", sort=False):
        right = answers["cui"].isin(gold[mention])
        scores.append(answers["score"].iloc[0])
        rights.append(right.iloc[0])
        if not right.all():  # what would be said without the concept
            scores.append(answers["score"][~right].iloc[0])
            rights.append(False)
    order = np.argsort(scores)[::-1]
    score, hits = np.array(scores)[order], np.cumsum(np.array(rights)[order])
    last = np.append(score[1:] < score[:-1], True)  # of the answers of one score
    f1 = 2 * hits / (np.arange(1, len(hits) + 1) + len(gold))  # 2 hits / (given + answerable)
    return float(score[last][np.argmax(f1[last])])
