"""The checkers of notebook 01."""

import re

import pandas as pd

from sapbert_utils.course import check


def test_pairs_1(judged):
    judged(check.pairs_1, lambda sizes, cap: sum(min(k * (k - 1) // 2, cap) for k in sizes), {
        "with itself": lambda sizes, cap: sum(min(k * k, cap) for k in sizes),
        "both orders": lambda sizes, cap: sum(min(k * (k - 1), cap) for k in sizes),
        "as the toy's": lambda sizes, cap: sum(sizes),
        "one name": lambda sizes, cap: sum(min(max(1, k * (k - 1) // 2), cap) for k in sizes),
        "changes nothing": lambda sizes, cap: sum(k * (k - 1) // 2 for k in sizes),
        "not on the names": lambda sizes, cap: sum(
            min(k, cap) * (min(k, cap) - 1) // 2 for k in sizes),
        "for each concept": lambda sizes, cap: min(sum(k * (k - 1) // 2 for k in sizes), cap),
        "is off": lambda sizes, cap: sum(k * (k - 1) // 2 if k < 11 else cap - 1 for k in sizes)
        if cap > 5 else 5 * len(sizes),
    })


def test_pairs_2(judged):
    names = pd.DataFrame([("A", "x"), ("A", "y"), ("B", "x"), ("C", "x"), ("C", "z"), ("C", "w"),
                          ("D", "u"), ("E", "z"), ("F", "v"), ("F", "t"), ("G", "x"), ("G", "z"),
                          ("H", "s"), ("I", "r")],
                         columns=["cui", "name"])
    judged(check.pairs_2, 3, {
        "number of ambiguous names": 2, "rows that are dropped": 7, "keep another": 5,
        "Which have none": 6, "make no pair": 8, "concepts before": 99, "whole number": "3",
    }, names)


def key(name):
    return sorted(re.findall(r"\w+", name.lower()))


def by(key):
    return lambda names, held: [n for n in names if key(n) in [key(h) for h in held]]


def test_pairs_3(judged):
    judged(check.pairs_3, by(key), {
        "leaks as well": lambda names, held: [n for n in by(key)(names, held) if n not in held],
        "order of the words": by(str.lower),
        "A comma": by(lambda name: sorted(name.lower().split())),
        "Capitals": by(lambda name: sorted(re.findall(r"\w+", name))),
        "share a word": lambda names, held: [
            n for n in names if any({*key(n)} & {*key(h)} for h in held)],
        "more words": lambda names, held: [
            n for n in names if any({*key(n)} >= {*key(h)} for h in held)],
        "compare letters": by(lambda name: sorted(re.sub(r"\W", "", name.lower()))),
        "occur twice": by(lambda name: set(key(name))),
        "as they were written": lambda names, held: [" ".join(key(n)) for n in by(key)(names, held)]
        + by(key)(names, held),
    })
