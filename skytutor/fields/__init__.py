"""Gaussian fields on the sphere: spectra, windows, covariance, filters."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
