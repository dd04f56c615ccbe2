"""The `skytutor` command: look, fetch, train, evaluate, view maps."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from skytutor import commands, map_commands
from skytutor.training.interrupt import answer_signals

# Torch takes a second to import: each command imports what it needs, and `--help` nothing.


def _seed(text: str) -> int:
    """Return a seed that torch takes: a whole number of 63 bits."""
    if not text.isdecimal() or int(text) >= 2**63:
        raise argparse.ArgumentTypeError(
            f"a whole number from 0 to 2**63 - 1 is needed, got {text!r}"
        )
    return int(text)


def _folder(text: str) -> Path:
    """Return the folder of that name.

    An empty name, of a variable that is not set, would mean the current folder, and is refused.
    """
    if not text.strip():
        raise argparse.ArgumentTypeError(f"the name of a folder is needed, got {text!r}")
    return Path(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="skytutor", description="Deep learning on the sky: data, training, evaluation."
    )
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    subparsers.add_parser("info", help="versions, device, profile, data folder")
    _describe_data(
        subparsers.add_parser("data", help="list or fetch the public data sets, or pairs")
    )
    subparsers.add_parser("recipes", help="what can be trained and evaluated")
    _describe_train(
        subparsers.add_parser("train", help="train a recipe; writes weights and a card")
    )
    _describe_evaluate(subparsers.add_parser("evaluate", help="score a checkpoint on test data"))
    map_commands.describe_view(
        subparsers.add_parser("view", help="write a page with maps of FITS files on a globe")
    )
    map_commands.describe_spectrum(
        subparsers.add_parser("spectrum", help="measure the spectrum of a map of a FITS file")
    )
    _describe_compute(subparsers.add_parser("compute", help="make a table that a chapter reads"))
    return parser


def _describe_data(data: argparse.ArgumentParser) -> None:
    data.add_argument(
        "action",
        choices=("list", "fetch", "pairs"),
        help="pairs: images of Pan-STARRS and spectra of SDSS of the same galaxies",
    )
    data.add_argument(
        "name",
        nargs="?",
        help="fetch: a file or a group (default: the small sets); pairs: how many galaxies",
    )
    data.add_argument(
        "--folder",
        type=_folder,
        default=Path("pairs"),
        help="pairs: where they go (default: pairs)",
    )
    data.add_argument(
        "--overwrite",
        action="store_true",
        help="fetch: replace a file that is not the published one",
    )


def _describe_train(train: argparse.ArgumentParser) -> None:
    train.add_argument("recipe")
    train.add_argument(
        "--profile", help="smoke, cpu or gpu; default: SKYTUTOR_PROFILE, else what fits the machine"
    )
    train.add_argument("--seed", type=_seed, default=0)
    train.add_argument(
        "--folder",
        type=_folder,
        default=Path("runs"),
        help="where weights, card and state go (default: runs)",
    )
    train.add_argument("--devices", type=int, default=1, help="processes, or GPUs (default: 1)")
    train.add_argument(
        "--resume", action="store_true", help="go on from the state in the folder, if there is one"
    )
    train.add_argument(
        "--overwrite", action="store_true", help="start again where an earlier training lies"
    )


def _describe_evaluate(evaluate: argparse.ArgumentParser) -> None:
    evaluate.add_argument("recipe")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.add_argument(
        "--seed", type=_seed, default=0, help="of what is drawn for the test (default: 0)"
    )
    evaluate.add_argument("--size", type=int, help="test samples (default: all)")
    evaluate.add_argument(
        "--folder", type=_folder, help="where the checkpoint lies (default: the pretrained ones)"
    )


def _describe_compute(compute: argparse.ArgumentParser) -> None:
    compute.add_argument(
        "what",
        choices=(
            "limits",
            "emulator",
            "best-fit",
            "ablations",
            "spectra-seeds",
            "spectra-universes",
            "spectra-published",
            "spectra-limits-check",
            "bands-subsets",
            "bands-adversaries",
            "bands-limits-check",
            "bands-limits-beside",
            "card-descriptions",
        ),
        help="information limits of chapter 3 (a quarter of an hour); nodes of CAMB's spectra "
        "between which they are interpolated (some minutes); the spectra of Planck's best fit "
        "(some seconds); ablations of chapter 2's published "
        "GAN (twenty minutes); chapter 4's network where there is more or less to see, and the "
        "published networks of chapter 4 (ten minutes each on a GPU); the checks of the limits of "
        "chapter 4 (minutes on a GPU); which bands help in chapter 5 (ten minutes), its "
        "adversaries (an hour), what half of the scenes cost its oracle (minutes on a GPU), and "
        "its cards beside a new oracle (seconds); inputs and outputs in the cards of a folder "
        "(seconds)",
    )
    compute.add_argument(
        "--folder", type=_folder, default=Path("runs"), help="where the table goes (default: runs)"
    )


class _Terminated(BaseException):
    """SIGTERM or SIGHUP outside the training loop, which answers them itself."""

    def __init__(self, signum: int):
        self.signum = signum


def _end(signum: int, frame: FrameType | None) -> None:
    """Let SIGTERM and SIGHUP end the command as Ctrl-C does: with a sentence, nothing half done."""
    raise _Terminated(signum)


def _expected() -> tuple[type[Exception], ...]:
    from skytutor.data.registry import DataError
    from skytutor.files import CheckpointError

    bad_input = (ValueError, CheckpointError, DataError)
    expected = (*bad_input, FloatingPointError, OverflowError, MemoryError, OSError)
    # A module that was not imported has raised nothing. To import it here would take two seconds:
    # torch comes with it.
    fits = sys.modules.get("skytutor.io._fits")
    return expected if fits is None else (*expected, fits.MissingPackage)


def _one_line(error: BaseException) -> str:
    """Return the message of an error, fit for a terminal.

    It is one line, without the escape codes that a file or an argument may have put into it.
    """
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        # Files are opened by name; what has none is standard output, whose buffer could not be
        # written.
        text = f"{error.filename or 'standard output'}: {error.strerror}"
    line = " ".join(text.split())
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in line)


def _fail(status: int, text: str) -> int:
    """Say why on standard error, if it is still open, and return the exit status."""
    with contextlib.suppress(OSError, ValueError):
        print(f"skytutor: {text}", file=sys.stderr, flush=True)
    return status


def _answer(error: BaseException, words: Sequence[str]) -> int:
    """Say what ended the command; return its exit status. What nobody expected is raised again."""
    from skytutor.training.launch import LOST, is_worker

    if isinstance(error, KeyboardInterrupt | _Terminated):
        # Perhaps in the middle of an import, which cannot be begun again: nothing more is imported
        # here.
        status = 128 + getattr(error, "signum", signal.SIGINT)
        return status if _quiet() else _fail(status, f"stopped{_how_to_go_on(words)}")
    from skytutor.training.interrupt import Interrupted, WorkerLost

    if isinstance(error, Interrupted):
        said = _one_line(error) + _how_to_go_on(words)
        return error.exit_status if _quiet() else _fail(error.exit_status, said)
    if isinstance(error, WorkerLost):
        # The process that watches the workers speaks for them, unless it is the one that is gone.
        return LOST if is_worker() and not _orphaned() else _fail(1, f"error: {_one_line(error)}")
    if not isinstance(error, _expected()):
        raise error
    return 2 if _quiet() else _fail(2, f"error: {_one_line(error)}")


def _how_to_go_on(words: Sequence[str]) -> str:
    """Return the end of the sentence that says that a command was stopped.

    A training goes on if it is asked to, the trainings of the ablations and the fetching of pairs
    always do, and all other commands begin again.
    """
    if words[:1] == ["train"]:
        return "; the same command with --resume goes on"
    if words[:2] in (["compute", "ablations"], ["data", "pairs"]):
        return "; the same command goes on"
    return ""


def _quiet() -> bool:
    """Of several workers, all of which stop for the same reason, the first says it."""
    from skytutor.training.launch import is_worker

    return is_worker() and os.environ.get("LOCAL_RANK") != "0"


def _orphaned() -> bool:
    from skytutor.training.launch import supervisor

    return os.getppid() != supervisor()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit status.

    0 done; 1 a process of a training on several devices is gone; 2 bad input, in one line on
    standard error; 130 stopped with Ctrl-C, 143 with SIGTERM, 129 with SIGHUP; a training's state
    is saved first.

    Arguments:
        argv: words behind ``skytutor``; None for those of the process.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        # A handler of the program that calls this stays; the training loop has its own.
        with answer_signals(_end, names=("SIGTERM", "SIGHUP"), unhandled_only=True):
            return _run(words)
    except SystemExit:  # the parser has said what there is to say
        raise
    except BaseException as error:
        status = _answer(error, words)
        if isinstance(error, OSError):
            _close_output()
        return status


def _run(words: list[str]) -> int:
    functions = {
        "info": commands.info,
        "data": commands.data,
        "recipes": commands.recipes,
        "train": commands.train,
        "evaluate": commands.evaluate,
        "compute": commands.compute,
        "view": map_commands.view,
        "spectrum": map_commands.spectrum,
    }
    try:
        args = _parser().parse_args(words)
        args.words = words
        return functions[args.command](args) or 0
    finally:
        _flush_output()


def _flush_output() -> None:
    """Write out what was printed: a full disk or a closed pipe shows here, not when Python ends."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise OSError(error.errno, error.strerror, "standard output") from error


def _close_output() -> None:
    """Point standard output nowhere: nor can its buffer be written when Python ends."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, sys.stdout.fileno())
        os.close(nowhere)


if __name__ == "__main__":
    sys.exit(main())
