"""The folder of one training run: held by one process at a time, and never overwritten unasked."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from skytutor.files import CheckpointError, cannot_write

__all__ = ["hold", "refuse_leftovers"]


@contextlib.contextmanager
def hold(folder: Path, *, rank: int = 0) -> Iterator[None]:
    """Keep other processes out of `folder` for as long as the context lasts.

    The operating system lifts the lock when the process ends, however it ends: the lock of a dead
    process is none. The process that holds a folder may hold it once more.

    Arguments:
        folder: of the run; made if it is not there.
        rank: of this process among those that train together; the first alone writes, so it alone
            holds the folder.

    Raises:
        CheckpointError: another process holds it, or it cannot be written to.
    """
    if rank:
        yield
        return
    folder = Path(folder).absolute()
    lock = FileLock(folder / ".lock", is_singleton=True)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout as error:
        raise CheckpointError(
            f"another process is training in {folder}: wait until it has ended, "
            "or choose another folder"
        ) from error
    except (OSError, NotImplementedError) as error:
        raise cannot_write(folder, error) from error
    try:
        yield
    finally:
        lock.release()


def refuse_leftovers(paths: list[Path], *, what: str) -> None:
    """Refuse to go on where an earlier training lies: nothing is thrown away unasked.

    Arguments:
        paths: none of which may exist.
        what: they hold, for the message.

    Raises:
        CheckpointError: names the first that exists.
    """
    for path in paths:
        if path.exists():
            raise CheckpointError(
                f"{path} holds {what}: go on with --resume, start again with --overwrite, "
                "or choose another folder"
            )
