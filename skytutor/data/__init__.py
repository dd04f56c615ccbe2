"""Where data come from: a registry of public files, and one module for each source."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
