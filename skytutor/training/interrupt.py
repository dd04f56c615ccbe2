"""Signals that ask a training to stop, answered at the end of a step."""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from types import FrameType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # who only wants the errors need not wait for torch
    from lightning_fabric import Fabric

__all__ = ["Interrupted", "StopRequest", "WorkerLost", "answer_signals"]

# Ctrl-C; what Slurm, Kubernetes and a culled Binder send before they kill; a terminal that was
# closed.
SIGNALS = ("SIGINT", "SIGTERM", "SIGHUP")


class Interrupted(RuntimeError):
    """Training was stopped by a signal after its state was saved; the message says where it is.

    Attributes:
        signum: the signal that asked for it.
    """

    def __init__(self, message: str, *, signum: int = signal.SIGINT):
        super().__init__(message)
        self.signum = signum

    @property
    def exit_status(self) -> int:
        """Return 128 plus the signal's number, as shells do; 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.signum


class WorkerLost(RuntimeError):
    """Another process of the same training is gone; the message says how to go on."""


@contextmanager
def answer_signals(
    handler: Callable[[int, FrameType | None], object],
    *,
    names: Sequence[str] = SIGNALS,
    unhandled_only: bool = False,
) -> Iterator[None]:
    """Let `handler` answer signals while the context lasts, and the earlier handlers after it.

    A signal that the process was told to ignore (`nohup` does so with SIGHUP) stays ignored.
    Python lets the main thread alone set handlers: in another thread the context changes nothing.

    Arguments:
        handler: called with the signal's number and the interrupted frame.
        names: of the signals; one that this system does not have is left out.
        unhandled_only: leave a signal alone that a handler of Python's or of the program's answers.
    """
    earlier: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for signum in [getattr(signal, name) for name in names if hasattr(signal, name)]:
                before = signal.getsignal(signum)
                # None: set by a library in C, and Python could not put it back.
                if before is None or before is signal.SIG_IGN:
                    continue
                if unhandled_only and before is not signal.SIG_DFL:
                    continue
                earlier[signum] = before
                signal.signal(signum, handler)
        yield
    finally:
        for signum, before in earlier.items():
            signal.signal(signum, before)


class StopRequest:
    """Turn signals into a request: an exception in mid-step could leave weights half changed.

    Arguments:
        supervisor: number of the parent process, for the workers of a training on several devices:
            when that process is gone it is time to stop.
    """

    def __init__(self, *, supervisor: int | None = None):
        self.signum = 0
        self._supervisor = supervisor
        self._handlers: AbstractContextManager[None] = answer_signals(self._note)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.signum = signum

    def stop_requested(self, fabric: "Fabric") -> bool:
        """Tell whether any process was asked to stop: all of them must leave at the same step.

        Arguments:
            fabric: of this process; where there are several, all of them must call this together.
        """
        if self._supervisor is not None and os.getppid() != self._supervisor:
            self.signum = self.signum or signal.SIGTERM
        if fabric.world_size == 1:
            return self.signum > 0
        import torch

        highest = fabric.all_reduce(torch.tensor(float(self.signum)), reduce_op="max")
        assert isinstance(highest, torch.Tensor)  # of a tensor, all_reduce returns a tensor
        self.signum = int(highest)
        return self.signum > 0

    def __enter__(self) -> "StopRequest":
        self._handlers.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handlers.__exit__(*error)
