"""Exercises of the book: each compares your answer with one that stands here, out of your sight.

One module a page, one function an exercise. Each takes what you wrote, a function or words,
prints "right" or "not yet" with a word on where to look again, and returns which. None raises,
whatever you hand it. How to write one stands in `skytutor.exercises.grading`.
"""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {"Mistake": "grading", "function": "grading", "satisfies": "grading", "words": "grading"},
)
