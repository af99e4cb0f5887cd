"""The checkers of notebook 02."""

from sapbert_utils.course import check


def test_mining_1(judged):
    judged(check.mining_1, lambda p, n, margin: n - p <= margin, {
        "which way round": lambda p, n, margin: p - n <= margin,
        "What is the margin for": lambda p, n, margin: n - p <= -margin,
        "changes nothing": lambda p, n, margin: n - p <= 0.2,
        "far beyond the positive": lambda p, n, margin: True,
    })
