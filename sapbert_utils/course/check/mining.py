"""Checkers of notebook 02: hard pairs."""

from collections.abc import Callable

from .judging import call, checker, expect


@checker
def mining_1(keeps: Callable[[float, float, float], bool]) -> str:
    """Judge ``keeps(to_positive, to_negative, margin)``: is a triplet hard enough to be kept?"""
    expect(call(keeps, 0.9, 0.1, 0.2), "A negative that is nearer than the positive is the hardest "
           "of all, and your rule drops it: which way round is the comparison?")
    expect(not call(keeps, 0.1, 0.9, 0.2), "Your rule keeps a negative that is far beyond the "
           "positive. Nothing is left to learn from it.")
    expect(call(keeps, 0.4, 0.5, 0.2), "Your rule keeps only negatives that are nearer than the "
           "positive. What is the margin for?")
    expect(not call(keeps, 0.4, 0.5, 0.05), "The margin changes nothing in your rule.")
    return "A triplet goes only once its negative is farther than its positive by the margin."
