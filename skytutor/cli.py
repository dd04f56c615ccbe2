"""The `skytutor` command: look, fetch, train, evaluate."""

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import skytutor
from skytutor.interrupt import answer_signals

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
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("info", help="versions, device, profile, data folder")
    _describe_data(commands.add_parser("data", help="list or fetch the public data sets"))
    commands.add_parser("recipes", help="what can be trained and evaluated")
    _describe_train(commands.add_parser("train", help="train a recipe; writes weights and a card"))
    _describe_evaluate(commands.add_parser("evaluate", help="score a checkpoint on test data"))
    return parser


def _describe_data(data: argparse.ArgumentParser) -> None:
    data.add_argument("action", choices=("list", "fetch"))
    data.add_argument(
        "name", nargs="?", help="a file or a group; default for fetch: the small sets"
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


def _info(_: argparse.Namespace) -> None:
    import torch

    from skytutor import profile
    from skytutor.data import registry

    versions = f"skytutor {skytutor.__version__}, torch {torch.__version__}"
    print(f"{versions}, {torch.get_num_threads()} threads")
    print(f"{profile.current()}")
    print(f"data folder {registry.folder()}")
    for group in registry.groups():
        print(f"  {group}: {'here' if registry.have(group) else 'not here'}")


def _data(args: argparse.Namespace) -> None:
    from skytutor.data import registry

    if args.action == "list":
        print(f"data folder {registry.folder()}")
        for entry in registry.ENTRIES.values():
            state = registry.state(entry.name)
            about = f"{entry.size / 1e6:.1f} MB  {state}  {entry.licence}; {entry.credit}"
            print(f"  {entry.name}  {about}")
        return
    small = sorted({entry.group for entry in registry.ENTRIES.values() if entry.small})
    for name in [args.name] if args.name else small:
        for path in registry.fetch(name, overwrite=args.overwrite):
            print(path)


def _recipes(_: argparse.Namespace) -> None:
    from skytutor import recipes

    for recipe in recipes.RECIPES.values():
        weights = recipes.pretrained_folder() / f"{recipe.name}.safetensors"
        pretrained = "pretrained" if weights.exists() else "no weights"
        print(f"{recipe.name:18} chapter {recipe.chapter}  {pretrained}  {recipe.summary}")


def _train(args: argparse.Namespace) -> int:
    from skytutor import launch, profile, recipes

    recipe = recipes.get(args.recipe)
    chosen = profile.current(args.profile, seed=args.seed)
    launch.check_number(args.devices, chosen.device)
    options = {
        "profile": chosen,
        "folder": args.folder,
        "resume": args.resume,
        "overwrite": args.overwrite,
    }
    # Before the first process of several is started, and before any data are made.
    recipes.check_run(recipe, devices=args.devices, **options)
    if args.devices > 1 and not launch.started_by_others():
        return launch.supervise(args.words, devices=args.devices)
    fabric = launch.make_fabric(chosen.device, devices=args.devices)
    fabric.launch()
    if fabric.global_rank == 0:
        print(chosen, flush=True)
    command = f"skytutor train {args.recipe} --profile {chosen.name} --seed {args.seed}"
    command += f" --devices {args.devices}" if args.devices > 1 else ""
    path, card, _ = recipes.run(
        recipe, command=command, fabric=fabric, supervisor=launch.supervisor(), **options
    )
    if card:
        scores = _json(card["test"]["scores"])
        print(f"{path}: best epoch {card['best_epoch']}, test {scores}, {card['seconds']:.0f} s")
    return 0


def _json(value: Any) -> str:
    from skytutor.files import strict_json

    return strict_json(value, what="the result")


def _evaluate(args: argparse.Namespace) -> None:
    from skytutor import recipes
    from skytutor.train import tune_malloc

    tune_malloc()
    found = recipes.evaluate(
        recipes.get(args.recipe), seed=args.seed, size=args.size, folder=args.folder
    )
    if args.json:
        print(_json(found))
        return
    print(f"{found['recipe']} on {found['size']:,} samples ({found['data']}), seed {found['seed']}")
    for key in ("scores", "constant", "published", "limit"):
        print(f"  {key:10} {found[key]}")


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

    return ValueError, CheckpointError, DataError, FloatingPointError, OverflowError, OSError


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
    from skytutor.launch import LOST, is_worker

    if isinstance(error, KeyboardInterrupt | _Terminated):
        # Perhaps in the middle of an import, which cannot be begun again: nothing more is imported
        # here.
        again = "; the same command with --resume goes on" if "train" in words[:1] else ""
        status = 128 + getattr(error, "signum", signal.SIGINT)
        return status if _quiet() else _fail(status, f"stopped{again}")
    from skytutor.interrupt import Interrupted, WorkerLost

    if isinstance(error, Interrupted):
        return error.exit_status if _quiet() else _fail(error.exit_status, _one_line(error))
    if isinstance(error, WorkerLost):
        # The process that watches the workers speaks for them, unless it is the one that is gone.
        return LOST if is_worker() and not _orphaned() else _fail(1, f"error: {_one_line(error)}")
    if not isinstance(error, _expected()):
        raise error
    return 2 if _quiet() else _fail(2, f"error: {_one_line(error)}")


def _quiet() -> bool:
    """Of several workers, all of which stop for the same reason, the first says it."""
    from skytutor.launch import is_worker

    return is_worker() and os.environ.get("LOCAL_RANK") != "0"


def _orphaned() -> bool:
    from skytutor.launch import supervisor

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
    commands = {
        "info": _info,
        "data": _data,
        "recipes": _recipes,
        "train": _train,
        "evaluate": _evaluate,
    }
    try:
        args = _parser().parse_args(words)
        args.words = words
        return commands[args.command](args) or 0
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
