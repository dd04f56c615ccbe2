"""Exercises of the page "Your own sky"."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {
        "band_error": "errors",
        "dipole": "maps",
        "fill_one": "maps",
        "measure": "files",
        "noise_level": "errors",
        "seen_mean": "maps",
        "strangeness": "errors",
        "symptoms": "questions",
    },
)
