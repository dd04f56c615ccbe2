"""Signals that ask a training to stop, answered at the end of a step."""

import os
import signal
import threading
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # who only wants the errors need not wait for torch
    from lightning_fabric import Fabric

__all__ = ["Interrupted", "StopRequest", "WorkerLost"]

# Ctrl-C; what Slurm, Kubernetes and a culled Binder send before they kill; a terminal that was
# closed.
SIGNALS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)


class Interrupted(RuntimeError):
    """Training was stopped by a signal after its state was saved; the message says how to go on.

    Attributes:
        signum: the signal that asked for it.
    """

    def __init__(self, message: str, *, signum: int = signal.SIGINT):
        super().__init__(message)
        self.signum = signum

    @property
    def exit_status(self) -> int:
        """Return 128 and the signal's number, as a shell expects it, so 130 after Ctrl-C and 143 after SIGTERM."""
        return 128 + self.signum


class WorkerLost(RuntimeError):
    """Another process of the same training is gone; the message says how to go on."""


class StopRequest:
    """Turn signals into a request: an exception in mid-step could leave half of the weights moved.

    A signal that the process was told to ignore (`nohup` does so with SIGHUP) stays ignored.

    Arguments:
        supervisor: number of the parent process, when that is gone it is time to stop; for the
            workers of a training on several devices.
    """

    def __init__(self, *, supervisor: int | None = None):
        self.signum = 0
        self._handlers: dict[int, Any] = {}
        self._supervisor = supervisor

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum

    def stop_requested(self, fabric: "Fabric") -> bool:
        """Tell whether any process was asked to stop: all of them must leave at the same step."""
        if self._supervisor is not None and os.getppid() != self._supervisor:
            self.signum = self.signum or signal.SIGTERM
        if fabric.world_size == 1:
            return self.signum > 0
        import torch

        highest = fabric.all_reduce(torch.tensor(float(self.signum)), reduce_op="max")
        self.signum = int(highest)
        return self.signum > 0

    def __enter__(self) -> "StopRequest":
        # Python lets the main thread alone set handlers; a training in another thread cannot be
        # asked to stop.
        if threading.current_thread() is threading.main_thread():
            for signum in SIGNALS:
                before = signal.getsignal(signum)
                if before is not signal.SIG_IGN and before is not None:
                    self._handlers[signum] = before
                    signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
