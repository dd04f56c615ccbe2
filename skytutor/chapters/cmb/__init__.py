"""Chapter 3: parameters of the microwave background, and how well they can be known."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
