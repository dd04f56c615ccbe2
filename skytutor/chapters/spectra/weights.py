"""Trained weights of one recipe that another one starts from, or is scored beside."""

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
            f"{needed_for} needs the trained weights of {name}, which do not come with the package "
            f"yet. Train them first, `skytutor train {name} --profile gpu`, and copy "
            f"{name}.safetensors and {name}.json to {folder}"
        )
    return load_pretrained(name)
