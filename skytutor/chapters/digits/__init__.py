"""Chapter 1: handwritten digits on the sphere, upright and at any rotation."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
