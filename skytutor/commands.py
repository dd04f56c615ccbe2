"""What the subcommands of `skytutor` do: one function each, which takes the parsed arguments."""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import skytutor

__all__ = ["compute", "data", "evaluate", "info", "recipes", "train"]

# Torch takes a second to import: each command imports what it needs, and `--help` nothing.


def info(_: argparse.Namespace) -> None:
    """Print versions, profile, the data folder and which data are in it."""
    import torch

    from skytutor.data import registry
    from skytutor.training import profile

    here = profile.current()
    versions = f"skytutor {skytutor.__version__}, torch {torch.__version__}"
    print(f"{versions}, {torch.get_num_threads()} threads")
    print(f"{here}")
    print(f"data folder {registry.folder()}")
    for group in registry.groups():
        print(f"  {group}: {'here' if registry.have(group) else 'not here'}")


def data(args: argparse.Namespace) -> None:
    """List the public data sets, or fetch them or pairs and print where they are."""
    from skytutor.data import registry

    if args.action == "pairs":
        _fetch_pairs(args)
        return
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


def _fetch_pairs(args: argparse.Namespace) -> None:
    """Fetch images and spectra of the same galaxies; print a line for each."""
    from skytutor.data import pairs

    if args.name is None or not args.name.isdecimal():
        raise ValueError(f"pairs needs how many galaxies, a whole number, got {args.name!r}")
    names = pairs.fetch_pairs(
        int(args.name), folder=args.folder, progress=lambda line: print(line, flush=True)
    )
    print(f"{len(names)} pairs in {args.folder}")


def recipes(_: argparse.Namespace) -> None:
    """Print a line for each recipe."""
    from skytutor.chapters.registry import ENTRIES
    from skytutor.training.checkpoint import pretrained_folder

    for name, entry in ENTRIES.items():
        weights = pretrained_folder() / f"{name}.safetensors"
        pretrained = "pretrained" if weights.exists() else "no weights"
        print(f"{name:18} chapter {entry.chapter}  {pretrained}  {entry.summary}")


def train(args: argparse.Namespace) -> int:
    """Train a recipe, on several processes if so asked; return the exit status."""
    from skytutor import chapters
    from skytutor.training import launch, profile

    recipe = chapters.get(args.recipe)
    chosen = profile.current(args.profile, seed=args.seed)
    launch.check_number(args.devices, chosen.device)
    options = {
        "profile": chosen,
        "folder": args.folder,
        "resume": args.resume,
        "overwrite": args.overwrite,
    }
    # Before the first process of several is started, and before any data are made.
    chapters.check_training(recipe, devices=args.devices, **options)
    if args.devices > 1 and not launch.started_by_others():
        return launch.supervise(args.words, devices=args.devices)
    fabric = launch.make_fabric(chosen.device, devices=args.devices)
    fabric.launch()
    if fabric.global_rank == 0:
        print(chosen, flush=True)
    command = f"skytutor train {args.recipe} --profile {chosen.name} --seed {args.seed}"
    command += f" --devices {args.devices}" if args.devices > 1 else ""
    path, card, _ = chapters.train_recipe(
        recipe, command=command, fabric=fabric, supervisor=launch.supervisor(), **options
    )
    if card:
        scores = _json(card["test"]["scores"])
        print(f"{path}: best epoch {card['best_epoch']}, test {scores}, {card['seconds']:.0f} s")
    return 0


def _json(value: Any) -> str:
    from skytutor.files import strict_json

    return strict_json(value, what="the result")


def evaluate(args: argparse.Namespace) -> None:
    """Score a checkpoint on test data and print what it reaches."""
    from skytutor import chapters
    from skytutor.training import profile
    from skytutor.training.loop import tune_malloc

    tune_malloc()
    profile.set_threads()
    found = chapters.evaluate(
        chapters.get(args.recipe), seed=args.seed, size=args.size, folder=args.folder
    )
    if args.json:
        print(_json(found))
        return
    print(f"{found['recipe']} on {found['size']:,} samples ({found['data']}), seed {found['seed']}")
    for key in ("scores", "constant", "published", "limit"):
        print(f"  {key:10} {found[key]}")


def _study(what: str) -> Callable[..., Path] | None:
    """Return what makes the card of a study of chapter 4 or 5; None where it is none of them."""
    if what.startswith("spectra-"):
        from skytutor.chapters.spectra import limit_checks, study

        return {
            study.SEEDS_CARD: study.make_seeds,
            study.UNIVERSES_CARD: study.make_universes,
            study.PUBLISHED_CARD: study.make_published,
            limit_checks.CHECK_CARD: limit_checks.make_limits_check,
        }[what]
    if what.startswith("bands-"):
        from skytutor.chapters.translation import oracle_checks
        from skytutor.chapters.translation import study as bands_study

        return {
            oracle_checks.CHECK_CARD: oracle_checks.make_limits_check,
            bands_study.SUBSETS_CARD: bands_study.make_subsets,
            bands_study.ADVERSARIES_CARD: bands_study.make_adversaries,
        }[what]
    return None


def compute(args: argparse.Namespace) -> None:
    """Make a table that a chapter reads and print its path."""
    from skytutor.files import check_writable
    from skytutor.training import profile
    from skytutor.training.loop import tune_malloc

    check_writable(args.folder)
    tune_malloc()
    profile.set_threads()
    command = f"skytutor compute {args.what}"
    if args.what == "emulator":
        from skytutor.fields import emulator

        print(emulator.make(args.folder, command=command))
        print(
            f"largest relative error between nodes: {emulator.worst_error(folder=args.folder):.1e}"
        )
        return
    if args.what == "card-descriptions":
        from skytutor.chapters.pretrained import describe_cards

        for path in describe_cards(args.folder):
            print(path)
        return
    if args.what == "bands-limits-beside":
        from skytutor.chapters.translation.oracle_checks import make_beside

        for path in make_beside(args.folder):
            print(path)
        return
    make_card = _study(args.what)
    if make_card is not None:
        print(make_card(args.folder, command=command, profile=profile.current("gpu")))
        return
    if args.what == "limits":
        from skytutor.chapters.cmb.limits_table import make
    elif args.what == "best-fit":
        from skytutor.fields.best_fit import make
    else:
        from skytutor.chapters.gan.ablations import make
    print(make(args.folder, command=command))
