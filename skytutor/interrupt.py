"""Ctrl-C that waits for the end of a step."""

import signal
import threading

import torch
from lightning_fabric import Fabric


class Interrupted(RuntimeError):
    """Training was stopped with Ctrl-C after its state was saved; the message says how to go on."""


class CtrlC:
    """Turn Ctrl-C into a flag: an exception in mid-step could leave half of the weights moved."""

    def __init__(self):
        self.asked = False

    def _note(self, *_):
        self.asked = True

    def agreed(self, fabric: Fabric) -> bool:
        """Whether any process was asked to stop: all of them must leave at the same step."""
        if fabric.world_size == 1:
            return self.asked
        return bool(fabric.all_reduce(torch.tensor(float(self.asked)), reduce_op="sum") > 0)

    def __enter__(self):
        self.main = threading.current_thread() is threading.main_thread()
        self.before = signal.signal(signal.SIGINT, self._note) if self.main else None
        return self

    def __exit__(self, *_):
        if self.main:
            signal.signal(signal.SIGINT, self.before)
