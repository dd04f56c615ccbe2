"""Checks for the numbers claimed in the book and for the reader's own answers.

A check that holds says so; one that does not raises ``AssertionError`` with what came and what was
wanted. In a notebook the checks of a cell are one line, "5 checks passed", that opens to show each;
elsewhere each check prints a line. `so_far` puts a number that a check measured into a sentence,
and `answer` is for exercises: it says what to look at again instead of raising.
"""

from skytutor.check.answers import answer
from skytutor.check.boxes import so_far
from skytutor.check.claims import at_least, at_most, between, close, equal

__all__ = ["answer", "at_least", "at_most", "between", "close", "equal", "so_far"]
