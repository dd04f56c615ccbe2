"""Exercises of chapter 4: what spectra and pictures of galaxies hold, and fair comparisons."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {
        "annuli": "pictures",
        "averages": "questions",
        "coverage": "posteriors",
        "fair": "questions",
        "fluxes": "least_squares",
        "inverse_root": "whitening",
        "null_universe": "questions",
        "own_galaxy": "own",
        "project": "least_squares",
        "redshift": "lines",
        "width": "lines",
    },
)
