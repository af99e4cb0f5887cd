"""What a checker says, whatever the reader hands over."""

from sapbert_utils.course import check
from sapbert_utils.course.check.judging import call, checker, expect


@checker
def double(answer, of=2):
    expect(call(answer, of) == 2 * of, "It isn't twice as much.")
    return "Twice."


def test_an_answer_is_right_wrong_missing_or_broken():
    assert repr(double(lambda n: n + n)) == "✓ Right. Twice."
    assert repr(double(lambda n: n)) == "✗ Not yet. It isn't twice as much."
    assert double(lambda n: n * n, 3).right is False  # a fact is handed on
    for none in (..., None, lambda n: None, lambda n: ...):
        assert repr(double(none)).startswith("○ No answer yet")
    assert double(lambda n: 1 / 0).text == "✗ Your answer stops with ZeroDivisionError: division by zero"
    assert "by its name, without brackets" in double(4).text


def test_a_guess_is_told_how_near_it_was():
    assert check.guess(None, 5).right is None
    assert check.guess(30, 25, " %").text == (
        "✗ You said 30 %; it's 25 %, so you're 5 points off.")
    assert repr(check.guess(1500, 0, " names")) == (
        "✗ You said 1,500 names; it's 0 names, so you're 1,500 names off.")
    assert check.guess(26, 25).right and check.guess("The Miner ", "the miner").right
    assert check.guess("pooling", "the miner").right is False
    assert check.guess("4", 3).right is None and "without quotes" in check.guess("4", 3).text
