"""One way to test a checker: an answer that is right, and mistakes with the hint that fits each."""

import pytest


@pytest.fixture
def judged():
    def judged(checker, right, wrong, *facts):
        """``wrong``: part of the hint -> an answer that makes this mistake; two at least."""
        assert checker(right, *facts).right is True, checker(right, *facts)
        assert len(wrong) >= 2 and checker(..., *facts).right is None
        for hint, answer in wrong.items():
            verdict = checker(answer, *facts)
            assert verdict.right is False and hint in verdict.text, (hint, verdict)
        hints = [checker(answer, *facts).text for answer in wrong.values()]
        assert len(set(hints)) == len(hints), "each kind of mistake has a hint of its own"
    return judged
