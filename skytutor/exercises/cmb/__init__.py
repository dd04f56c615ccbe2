"""Exercises of chapter 3: what a sky says about its parameters, and how to trust an answer."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {
        "below_the_limit": "questions",
        "best_answer": "information",
        "coverage": "estimators",
        "features": "information",
        "laplace_nll": "estimators",
        "last_clear": "information",
        "misread": "simulations",
        "own_method": "estimators",
        "sigma_peak": "information",
        "unlike_its_own": "questions",
    },
)
