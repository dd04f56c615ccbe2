"""Exercises of chapter 6: what may be said of a hidden sky, and how to trust a fill."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {
        "conditional": "gaussian",
        "coverage": "samples",
        "half_known": "holes",
        "kept": "gaussian",
        "kl": "networks",
        "mean_or_sample": "questions",
        "own_fill": "own",
        "partial_window": "networks",
        "preconditioners": "questions",
        "prepare": "holes",
        "realisation": "samples",
    },
)
