"""The `skytutor` command: look, fetch, train, evaluate."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import skytutor


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="skytutor", description="Deep learning on the sky: data, training, evaluation.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    commands.add_parser("info", help="versions, device, profile, data folder")
    data = commands.add_parser("data", help="list or fetch the public data sets")
    data.add_argument("action", choices=("list", "fetch"))
    data.add_argument("name", nargs="?", help="a file or a group; default for fetch: the small sets")
    commands.add_parser("recipes", help="what can be trained and evaluated")
    train = commands.add_parser("train", help="train a recipe; writes weights and a card")
    train.add_argument("recipe")
    train.add_argument("--profile", help="smoke, cpu or gpu; default: SKYTUTOR_PROFILE, else what fits the machine")
    train.add_argument("--seed", type=int, default=0)
    train.add_argument("--folder", type=Path, default=Path("runs"), help="where weights, card and state go (default: runs)")
    train.add_argument("--devices", type=int, default=1, help="processes, or GPUs (default: 1)")
    train.add_argument("--resume", action="store_true", help="go on from the state in the folder, if there is one")
    evaluate = commands.add_parser("evaluate", help="score a checkpoint on test data")
    evaluate.add_argument("recipe")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    evaluate.add_argument("--seed", type=int, default=0, help="of what is drawn for the test (default: 0)")
    evaluate.add_argument("--size", type=int, help="test samples (default: all)")
    evaluate.add_argument("--folder", type=Path, help="where the checkpoint lies (default: the shipped ones)")
    return parser


def _info(_: argparse.Namespace) -> None:
    import torch

    from skytutor import profile
    from skytutor.data import registry

    print(f"skytutor {skytutor.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads")
    print(f"{profile.current()}")
    print(f"data folder {registry.folder()}")
    for group in registry.groups():
        print(f"  {group}: {'here' if registry.have(group) else 'not here'}")


def _data(args: argparse.Namespace) -> None:
    from skytutor.data import registry

    if args.action == "list":
        print(f"data folder {registry.folder()}")
        for entry in registry.ENTRIES.values():
            state = "here" if registry.have(entry.name) else "not here"
            print(f"  {entry.name}  {entry.size / 1e6:.1f} MB  {state}  {entry.licence}; {entry.credit}")
        return
    names = [args.name] if args.name else sorted({e.group for e in registry.ENTRIES.values() if e.small})
    for name in names:
        for path in registry.fetch(name):
            print(path)


def _recipes(_: argparse.Namespace) -> None:
    from skytutor import recipes

    for recipe in recipes.RECIPES.values():
        shipped = "shipped" if (recipes.shipped_folder() / f"{recipe.name}.safetensors").exists() else "not shipped"
        print(f"{recipe.name:18} chapter {recipe.chapter}  {shipped:11}  {recipe.summary}")


def _train(args: argparse.Namespace) -> None:
    from lightning_fabric import Fabric

    from skytutor import profile, recipes

    recipe = recipes.get(args.recipe)
    if args.devices < 1:
        raise ValueError(f"--devices must be at least 1, got {args.devices}")
    chosen = profile.current(args.profile, seed=args.seed)
    strategy = "ddp" if args.devices > 1 else "auto"
    fabric = Fabric(accelerator=chosen.device.type, devices=args.devices, strategy=strategy)
    fabric.launch()
    command = f"skytutor train {args.recipe} --profile {chosen.name} --seed {args.seed}"
    command += f" --devices {args.devices}" if args.devices > 1 else ""
    if fabric.global_rank == 0:
        print(chosen, flush=True)
    path, card, _ = recipes.run(
        recipe, profile=chosen, folder=args.folder, command=command, fabric=fabric, resume=args.resume
    )
    if card:
        print(f"{path}: best epoch {card['best_epoch']}, test {json.dumps(card['test']['scores'])}, {card['seconds']:.0f} s")


def _evaluate(args: argparse.Namespace) -> None:
    from skytutor import recipes
    from skytutor.train import keep_memory

    keep_memory()
    found = recipes.evaluate(recipes.get(args.recipe), seed=args.seed, size=args.size, folder=args.folder)
    if args.json:
        print(json.dumps(found))
        return
    print(f"{found['recipe']} on {found['size']:,} samples ({found['data']}), seed {found['seed']}")
    for key in ("scores", "constant", "published", "limit"):
        print(f"  {key:10} {found[key]}")


def _expected() -> tuple[type[Exception], ...]:
    from skytutor.checkpoint import CheckpointError
    from skytutor.data.registry import DataError

    return ValueError, CheckpointError, DataError, FloatingPointError, OverflowError


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (default: the process's own) and return its exit status.

    0 done; 2 bad input, in one line on standard error; 130 stopped with Ctrl-C, state saved.
    """
    args = _parser().parse_args(argv)
    run = {"info": _info, "data": _data, "recipes": _recipes, "train": _train, "evaluate": _evaluate}[args.command]
    try:
        run(args)
    except KeyboardInterrupt:
        print("skytutor: stopped", file=sys.stderr)
        return 130
    except Exception as error:
        from skytutor.train import Interrupted

        if isinstance(error, Interrupted):
            print(f"skytutor: {error}", file=sys.stderr)
            return 130
        if not isinstance(error, _expected()):
            raise
        print(f"skytutor: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
