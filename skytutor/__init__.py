"""Sky Tutor: tested, GPU-capable layers, transforms and data for deep learning on the sphere.

Importing the package loads nothing heavy and touches no network; import the module you need,
for example ``from skytutor.layers.pixel import HaloConv``.
"""

__version__ = "0.1.0"
