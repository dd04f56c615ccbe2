"""Chapter 2: generative adversarial networks on the sphere, for digits and for skies."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
