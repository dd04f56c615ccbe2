"""Train a network: profile, task, schedule, loop, checkpoint; nothing knows what is trained."""

from skytutor import lazy

__getattr__, __dir__ = lazy.attach(__name__, __path__)
