"""Trained weights of one recipe that another one starts from, or is scored beside."""

import torch
from torch import nn

from skytutor.chapters.pretrained import load_pretrained
from skytutor.files import CheckpointError
from skytutor.training.checkpoint import pretrained_folder

__all__ = ["load_needed"]


def load_needed(name: str, *, needed_for: str) -> nn.Module:
    """Return the trained network of a recipe, in evaluation mode, or say what to train first.

    Arguments:
        name: of the recipe whose weights are needed.
        needed_for: what needs them, the subject of the error's sentence.

    Raises:
        CheckpointError: they are not here, or they are damaged.
    """
    folder = pretrained_folder()
    if not (folder / f"{name}.safetensors").exists():
        raise CheckpointError(
            f"{needed_for} needs the trained weights of {name}, which are not in {folder}. Train "
            f"them first, `skytutor train {name} --profile gpu`, and copy {name}.safetensors and "
            f"{name}.json there"
        )
    # A network that weights are loaded into draws some first: the caller's random numbers go on.
    with torch.random.fork_rng(devices=[]):
        return load_pretrained(name)
