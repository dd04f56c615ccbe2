"""Scores of labels, images, samples, maps and spectra. Nothing here loads a model or a file."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
