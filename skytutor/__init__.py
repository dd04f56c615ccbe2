"""Sky Tutor: tested, GPU-capable layers, transforms and data for deep learning on the sphere.

Importing the package loads nothing heavy and touches no network; its rooms load when they are first
asked for: ``skytutor.layers.pixel.HaloConv``, or ``from skytutor.layers.pixel import HaloConv``.
"""

from skytutor import lazy

__version__ = "0.2.0"

__getattr__, __dir__ = lazy.attach(__name__, __path__)
