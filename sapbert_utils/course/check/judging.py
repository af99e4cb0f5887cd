"""Judge an answer: right, not yet right (with the kind of mistake), or missing."""

from collections.abc import Callable
from functools import wraps
from typing import Any, NamedTuple


class Verdict(NamedTuple):
    """What a checker says. A notebook shows it as one line."""

    right: bool | None  # None: there is no answer yet
    text: str

    def __repr__(self) -> str:
        return self.text


class _Mistake(Exception):
    """A kind of mistake; the text is its hint."""


class _NoAnswer(Exception):
    """The reader's function gave nothing."""


def expect(holds: object, hint: str) -> None:
    """End the check with ``hint`` unless ``holds``. Test for the grossest mistake first."""
    if not holds:
        raise _Mistake(hint)


def call(answer: Callable[..., Any], *given: Any) -> Any:
    """Call the reader's function on ``given``; a function without a body gives no answer."""
    expect(callable(answer), "Pass the function itself, by its name, without brackets.")
    found = answer(*given)
    if found is None or found is ...:
        raise _NoAnswer
    return found


def checker(judge: Callable[..., str]) -> Callable[..., Verdict]:
    """Turn a function into a checker. It calls `expect`, and returns what to say to a right answer.

    The checker takes the answer, then what the function needs to judge it. ``...`` counts as no
    answer, and an error in the reader's code becomes a hint: neither stops the notebook.
    """
    @wraps(judge)
    def check(answer: Any, *facts: Any) -> Verdict:
        try:
            if answer is None or answer is ...:
                raise _NoAnswer
            return Verdict(True, f"✓ Right. {judge(answer, *facts)}")
        except _NoAnswer:
            return Verdict(None, "○ No answer yet: put yours where the dots are, and run the cell.")
        except _Mistake as mistake:
            return Verdict(False, f"✗ Not yet. {mistake}")
        except Exception as error:  # whatever the reader's code raises
            return Verdict(False, f"✗ Your answer stops with {type(error).__name__}: {error}")
    return check


def guess(yours: Any, actual: Any, unit: str = "") -> Verdict:
    """Say how close a guess came: a number, or one of several words. ``None`` means no guess.

    A number counts as right within a tenth of the actual one.
    """
    if yours is None or yours is ...:
        return Verdict(None, "○ No guess this time. Write one above and run both cells again.")
    if isinstance(actual, str):
        right = str(yours).strip().lower() == actual.strip().lower()
        return Verdict(right, f"{'✓' if right else '✗'} You said {yours}; it's {actual}.")
    if isinstance(yours, str):
        return Verdict(None, f"○ {yours!r} is a text. Guess a number, without quotes.")
    right = abs(yours - actual) <= 0.1 * abs(actual)
    said, is_, off = (f"{x:,.0f}" if abs(x) >= 100 else f"{x:.3g}"
                      for x in (yours, actual, abs(yours - actual)))
    apart = " points" if unit == " %" else unit  # 14 % would read as a part of the actual value
    return Verdict(right, f"{'✓' if right else '✗'} You said {said}{unit}; it's {is_}{unit}, "
                          f"so you're {off}{apart} off.")
