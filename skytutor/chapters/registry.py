"""The names of all recipes; a chapter is imported when one of its recipes is asked for."""

import difflib
import importlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from skytutor.chapters.recipe import Recipe

__all__ = ["ENTRIES", "RECIPES", "Entry", "get"]


class Entry(NamedTuple):
    """What is known of a recipe before its chapter is imported.

    Attributes:
        folder: of the chapter, under ``skytutor/chapters``.
        chapter: its number in the book.
        summary: one line.
    """

    folder: str
    chapter: int
    summary: str


def _digits(summary: str) -> Entry:
    return Entry("digits", 1, summary)


def _gan(summary: str) -> Entry:
    return Entry("gan", 2, summary)


def _cmb(summary: str) -> Entry:
    return Entry("cmb", 3, summary)


def _spectra(summary: str) -> Entry:
    return Entry("spectra", 4, summary)


def _bands(summary: str) -> Entry:
    return Entry("translation", 5, summary)


def _inpainting(summary: str) -> Entry:
    return Entry("inpainting", 6, summary)


ENTRIES = {
    "digits-published": _digits(
        "The published Conv1D network, as it was: holes, softmax in the loss"
    ),
    "digits-logits": _digits("The published network with the softmax taken out of the loss"),
    "digits-mended": _digits("The published network, logits, and digits projected without holes"),
    "digits-fixed": _digits("MNIST upright, Nside 8: a residual network that sees across borders"),
    "digits-rotated": _digits("MNIST at Haar-random rotations, Nside 16, in training and in test"),
    "digits-invariant": _digits(
        "MNIST upright in training, at Haar-random rotations in test: convolutions in harmonics"
    ),
    "sphere-gan-published": _gan("The published DCGAN on HEALPix: base pixels that never meet"),
    "sphere-gan-planar": _gan("The planar counterpart of sphere-gan, on pictures of 56 x 56"),
    "sphere-gan": _gan("Digits drawn on the sphere across its base pixels, by class"),
    "sphere-gan-nside32": _gan("Ours at nside 32; no weights come with the package: needs a GPU"),
    "sphere-gan-cmb": _gan(
        "Skies of the cosmic microwave background, drawn with noise at every scale"
    ),
    "cmb-t1-noise0": _cmb("Peak of a temperature spectrum, noise 0"),
    "cmb-t1-noise5": _cmb("Peak of a temperature spectrum, noise 5"),
    "cmb-t1-noise10": _cmb("Peak of a temperature spectrum, noise 10"),
    "cmb-t1-noise15": _cmb("Peak of a temperature spectrum, noise 15"),
    "cmb-t2-sky100": _cmb("Peaks of the E and B spectra, 100 % of the sky"),
    "cmb-t2-sky50": _cmb("Peaks of the E and B spectra, 50 % of the sky"),
    "cmb-t2-sky20": _cmb("Peaks of the E and B spectra, 20 % of the sky"),
    "cmb-t2-sky10": _cmb("Peaks of the E and B spectra, 10 % of the sky"),
    "cmb-t2-sky5": _cmb("Peaks of the E and B spectra, 5 % of the sky"),
    "cmb-t3": _cmb("Optical depth tau from E, full sky"),
    "cmb-t4-nside16": _cmb("r and tau, full sky, Nside 16, noise 0 and 6 muK arcmin"),
    "cmb-t4-nside32": _cmb("r and tau, full sky, Nside 32, noise 0 and 6 muK arcmin"),
    "spectrum-autoencoder": _spectra("InfoVAE on spectra: ten latents, rotated and standardised"),
    "spectrum-simple": _spectra("The published simple network; no weights come with the package"),
    "spectrum-deconv": _spectra(
        "The simple network with network deconvolution; no weights come with the package"
    ),
    "spectrum-xresnet": _spectra(
        "xresnet18 with Mish and self-attention, published; no weights with the package"
    ),
    "spectrum-alldeconv": _spectra(
        "The published xresnet18, deconvolution throughout; no weights with the package"
    ),
    "spectrum-hybrid": _spectra(
        "The published xresnet18, deconvolution in its stem; no weights with the package"
    ),
    "spectra-limits": _spectra("What no network can beat: the oracle of known shapes"),
    "spectra-separation": _spectra(
        "A U-Net that cuts a picture into bulge, disc and clumps, which ours measures"
    ),
    "spectra": _spectra("Spectra from images with error bars, ours"),
    "spectra-flow": _spectra("Posteriors of any shape, after the head of ours"),
    "bands-limits": _bands("What no translation can beat: the oracle that knows the scene"),
    "bands": _bands("Any bands of GALEX, SDSS, 2MASS and plates from any others, in fluxes"),
    "bands-flux": _bands("The same network, gone on with a loss on the light of sources"),
    "bands-sources": _bands(
        "The answer of bands-flux with each source measured in the given bands: g, r and i"
    ),
    "bands-pix2pix": _bands(
        "The published pix2pix pair on 8-bit pictures, at a quarter of its width"
    ),
    "bands-gan": _bands(
        "Ours against an adversary behind the survey's noise; no weights with the package"
    ),
    "bands-flow": _bands("Samples of g, r and i: a flow-matching bridge from the nearest plate"),
    "bands-gaussian": _bands("Gaussian skies, where the best translation is the Wiener filter"),
    "inpaint-published": _inpainting(
        "The published partial-convolution U-Net VAE with its losses, on maps in muK"
    ),
    "inpaint-unet": _inpainting("A feed-forward U-Net that starts from the biharmonic fill"),
    "inpaint": _inpainting(
        "A learned preconditioner inside conjugate gradients: the Wiener fill in four steps"
    ),
    "inpaint-decoder": _inpainting("A conditional VAE whose decoder is not told the spectrum"),
    "inpaint-sphere": _inpainting("The learned preconditioner on HEALPix, Nside 64, any mask"),
    "inpaint-mixture": _inpainting(
        "Skies sheared along a hidden axis, where one Wiener filter is not the optimum"
    ),
}


def get(name: str) -> Recipe:
    """Return the recipe called `name`; imports its chapter.

    Arguments:
        name: a key of `ENTRIES`.

    Raises:
        ValueError: lists all names if there is none.

    Example:
        >>> get("digits-fixed").name
        'digits-fixed'
    """
    if name not in ENTRIES:
        near = difflib.get_close_matches(str(name), ENTRIES)
        hint = f"; near it are {', '.join(near)}" if near else ""
        raise ValueError(f"recipe must be one of {', '.join(ENTRIES)}; got {name!r}{hint}")
    chapter = importlib.import_module(f"skytutor.chapters.{ENTRIES[name].folder}.recipes")
    return next(recipe for recipe in chapter.RECIPES if recipe.name == name)


class _Recipes(Mapping[str, Recipe]):
    """All recipes by name. Names cost nothing; a value imports its chapter."""

    def __getitem__(self, name: str) -> Recipe:
        if name not in ENTRIES:
            raise KeyError(name)
        return get(name)

    def __contains__(self, name: object) -> bool:
        return name in ENTRIES  # a Mapping's own would look for the recipe itself

    def __iter__(self) -> Iterator[str]:
        return iter(ENTRIES)

    def __len__(self) -> int:
        return len(ENTRIES)


RECIPES: Mapping[str, Recipe] = _Recipes()
