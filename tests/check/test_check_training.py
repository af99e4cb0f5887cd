"""The checkers of notebook 03."""

from sapbert_utils.course import check


def linear(step, steps, rise=0.1, floor=0.0):
    top = rise * steps
    return min((step + 1) / top, floor + (1 - floor) * (steps - step) / (steps - top))


def test_training_1(judged):
    judged(check.training_1, linear, {
        "never changes": lambda step, steps: 1.0,
        "below zero": lambda step, steps: min(10 * step / steps, 1.2 - 1.3 * step / steps),
        "At its highest": lambda step, steps: 10 * linear(step, steps),
        "begins with the full rate": lambda step, steps: 1 - step / steps,
        "How long is a tenth": lambda step, steps: linear(step, steps, rise=0.5),
        "Of 200 steps": lambda step, steps: min((step + 1) / 100, (steps - step) / (steps - 100)),
        "fall to zero": lambda step, steps: linear(step, steps, floor=0.3),
        "not straight": lambda step, steps: linear(step, steps) ** 2,
    })
    another = check.training_1(
        lambda step, steps: min(step / (steps // 10), (steps - 1 - step) / (steps - 1) / 0.9))
    assert another.right


def test_training_2(judged):
    judged(check.training_2, (6, 24, False), {
        "three things": 30,
        "nothing is kept": (0, 0, False),
        "each pair once": (3, 12, False),
        "positive of itself": (12, 24, False),
        "has one positive": (15, 24, False),
        "which of them are dropped": (6, 0, False),
        "print the gradient": [6, 24, True],
    })


def one_each(pairs, size):
    return pairs.drop_duplicates("cui").sort_values("name1").head(size)


def test_training_3(judged):
    judged(check.training_3, one_each, {
        "three columns": lambda pairs, size: one_each(pairs, size)["name1"].tolist(),
        "you return 5": lambda pairs, size: one_each(pairs, 5),
        "doesn't have": lambda pairs, size: one_each(pairs, size).assign(name2="another"),
        "twice": lambda pairs, size: pairs.sort_values("name1").head(size),
        "no more alike": lambda pairs, size: pairs.drop_duplicates("cui").head(size),
        "a little more alike": lambda pairs, size: one_each(pairs, 90).iloc[
            [*range(0, 6), *range(9, 90, 14)]],
    })
