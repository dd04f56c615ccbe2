"""Chapter 6: what may be said about the sky behind a mask, and how certain one can be."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
