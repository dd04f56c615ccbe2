"""Sky Tutor: tested, GPU-capable layers, transforms and data for deep learning on the sphere.

Importing the package loads nothing heavy and touches no network; its rooms load when they are first
asked for: ``skytutor.layers.pixel.HaloConv``, or ``from skytutor.layers.pixel import HaloConv``.
"""

from skytutor import lazy

__version__ = "0.2.0"

# What is asked for by name alone, wherever it is.
NAMES = {"load_pretrained": "chapters.pretrained", "predict": "chapters.prediction"}

__getattr__, __dir__ = lazy.attach(__name__, __path__, NAMES)
