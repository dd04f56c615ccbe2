"""Layers of networks on the sphere: on faces and the hierarchy, in harmonics, along rings."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
