"""Exercises of chapter 5: light in bands, scores of translations, and what follows from them."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(
    __name__,
    __path__,
    {
        "best_guess": "gaussian",
        "brightness": "light",
        "claims": "questions",
        "invented": "sources",
        "noise_matched": "noise",
        "own_image": "own",
        "paired": "scores",
        "planck_temperature": "light",
        "psnr": "scores",
        "receptive_field": "networks",
        "two_answers": "questions",
    },
)
