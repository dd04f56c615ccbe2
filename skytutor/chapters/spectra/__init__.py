"""Chapter 4: the spectrum of a galaxy from its picture, and how well it can be known."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
