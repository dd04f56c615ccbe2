"""Every public module of the library with arguments and an input: rows of the matrix of modes."""

import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from skytutor.fields.wiener import WienerFilter
from skytutor.layers import gates, pixel, rotate, spectral
from skytutor.layers.deconvolution import NetworkDeconvolution2d
from skytutor.layers.flow_matching import FlowMatching, VelocityNetwork
from skytutor.layers.gaussian_head import GaussianHead
from skytutor.layers.partial import PartialConv2d
from skytutor.layers.polar import CircularConv2d, PolarResample
from skytutor.layers.resnet import ConvUnit, ResidualBlock, SelfAttention2d, XResNet
from skytutor.layers.unet import UNet
from skytutor.sht import Harmonics, RealHarmonics, chirp, dense, fourier, symmetry
from skytutor.tables import TableModule
from skytutor.training.adversarial import AdversarialPair

ROOMS = ("tables", "sht", "fields", "metrics", "training", "layers")
ABSTRACT = {TableModule}  # without a forward: each module that inherits from it has a row


@dataclass(frozen=True)
class Case:
    """A module, what it is called with, and which of its inputs are plain numbers to move."""

    make: Callable[[], nn.Module]
    inputs: tuple[torch.Tensor, ...]
    call: Callable[..., Any] = field(default=lambda module, *inputs: module(*inputs))
    dtyped: bool = False  # its precision is an argument, float32 if nothing is said


class Scores(nn.Module):
    """A discriminator of the smallest kind."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 1)

    def forward(self, maps, labels):
        return self.linear(maps.flatten(1))[:, 0]


class Maps(nn.Module):
    """A generator of the smallest kind."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(3, 12)

    def forward(self, z, labels):
        return self.linear(z).unsqueeze(1)


def public_modules():
    """Return all public classes of modules in the rooms of the library."""
    found = set()
    for room in ROOMS:
        package = importlib.import_module(f"skytutor.{room}")
        names = [package.__name__]
        prefix = package.__name__ + "."
        names += [m.name for m in pkgutil.walk_packages(getattr(package, "__path__", []), prefix)]
        for name in names:
            found |= set(_defined_in(importlib.import_module(name)))
    return found - ABSTRACT


def _defined_in(module):
    for name, value in vars(module).items():
        is_module = isinstance(value, type) and issubclass(value, nn.Module)
        if is_module and value.__module__ == module.__name__ and not name.startswith("_"):
            yield value


def numbers(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)


def positive(*shape):
    return numbers(*shape).abs() + 0.1


def rotations():
    angle = torch.tensor([0.3, 1.1])
    c, s, zero = angle.cos(), angle.sin(), torch.zeros(2)
    return torch.stack([c, -s, zero, s, c, zero, zero, zero, zero + 1], 1).view(2, 3, 3)


MAPS = numbers(2, 3, 192)
MASS = positive(2, 1, 192)
FACES = numbers(2, 3, 12, 4, 4)
COEFS = numbers(2, 3, 36)
FIELD = numbers(2, 3, 2, 12)
IMAGES = numbers(2, 3, 8, 8)
FEATURES = numbers(2, 5)
ORDERS = torch.complex(numbers(2, 15, 9), numbers(2, 15, 9, seed=1))


def zonal_image():
    """Return the mask of a picture, with a hole."""
    mask = torch.ones(2, 1, 8, 8)
    mask[:, :, 2:5, 3:6] = 0
    return mask


def filtered(module, maps):
    variance = torch.tensor(0.1, dtype=maps.dtype)
    mask = torch.ones(192, dtype=maps.dtype)
    mask[:30] = 0
    return module(maps, {"TT": torch.ones(9, dtype=maps.dtype)}, variance=variance, mask=mask).coefs


def adversarial(module, maps, z):
    return module("discriminator", maps, labels=None, z=z, fake_labels=None)


UNIT = ConvUnit("batch")
CASES = {
    "HaloConv": Case(lambda: pixel.HaloConv(3, 2, nside=4, order="face"), (FACES,)),
    "GatherConv": Case(lambda: pixel.GatherConv(3, 2, nside=4, order="ring"), (MAPS,)),
    "HierarchicalConv": Case(lambda: pixel.HierarchicalConv(3, 2, order="ring"), (MAPS,)),
    "HierarchicalConvTranspose": Case(
        lambda: pixel.HierarchicalConvTranspose(3, 2, order="face"), (FACES,)
    ),
    "HierarchicalPool": Case(lambda: pixel.HierarchicalPool("mean", order="nested"), (MAPS,)),
    "HierarchicalUnpool": Case(lambda: pixel.HierarchicalUnpool(order="nested"), (MAPS,)),
    "Rotate": Case(lambda: rotate.Rotate(4, order="nested"), (MAPS, rotations())),
    "Sample": Case(
        lambda: rotate.Sample(nn.functional.normalize(numbers(7, 3)), nside=4, order="ring"),
        (MAPS, rotations()),
    ),
    "PolarResample": Case(
        lambda: PolarResample(4, rings=3, columns=8, order="ring"),
        # The frame, of channel 0, is held while maps vary.
        (MAPS, MASS),
        lambda module, x, mass: module(torch.cat([mass, x], 1)),
    ),
    "CircularConv2d": Case(lambda: CircularConv2d(3, 2), (IMAGES,)),
    "ZonalConv": Case(lambda: spectral.ZonalConv(3, 2, lmax=5, knots=3), (COEFS,)),
    "SpinConv": Case(lambda: spectral.SpinConv(3, 2, lmax=5, source=0, knots=3), (COEFS,)),
    "SpectralConv": Case(lambda: spectral.SpectralConv(3, 2, lmax=5), (COEFS,)),
    "BinnedSpectrum": Case(lambda: spectral.BinnedSpectrum([0, 2, 5]), (COEFS,)),
    "NormGate": Case(lambda: gates.NormGate(3), (FIELD,)),
    "ScalarGate": Case(gates.ScalarGate, (FIELD, numbers(2, 3, 12))),
    "SpinProduct": Case(gates.SpinProduct, (FIELD, numbers(2, 3, 2, 12, seed=2))),
    "PartialConv2d": Case(
        lambda: PartialConv2d(3, 2, 3, padding="periodic"),
        (IMAGES,),
        lambda module, x: module(x, zonal_image().to(x)[: len(x)])[0],
    ),
    "NetworkDeconvolution2d": Case(lambda: NetworkDeconvolution2d(3, 2, 3, padding=1), (IMAGES,)),
    "SelfAttention2d": Case(lambda: SelfAttention2d(3), (IMAGES,)),
    "ResidualBlock": Case(lambda: ResidualBlock(3, 4, UNIT, stride=2, attention=True), (IMAGES,)),
    "XResNet": Case(
        lambda: XResNet(3, 2, stem=UNIT, unit=UNIT, stem_channels=(4, 4, 4), stage_channels=(4, 8)),
        (numbers(2, 3, 32, 32),),
    ),
    "UNet": Case(lambda: UNet(3, 2, channels=(4, 6)), (IMAGES,)),
    "GaussianHead": Case(lambda: GaussianHead(5, 3, hidden=4), (FEATURES,)),
    "VelocityNetwork": Case(
        lambda: VelocityNetwork(5, 3, width=8, depth=2),
        (numbers(2, 4, 3), positive(2, 4, 1), FEATURES),
    ),
    "FlowMatching": Case(
        lambda: FlowMatching(5, 3, width=8, depth=2),
        (numbers(2, 4, 3), positive(2, 4, 1), FEATURES),
    ),
    "AdversarialPair": Case(
        lambda: AdversarialPair(Maps(), Scores(), r1=0.1),
        (numbers(8, 1, 12), numbers(8, 3)),
        adversarial,
    ),
    "Harmonics": Case(
        lambda: Harmonics(4, 8, order="ring", backend="torch"),
        (MAPS,),
        lambda module, x: torch.view_as_real(module.map2alm(x)),
        dtyped=True,
    ),
    "RealHarmonics": Case(
        lambda: RealHarmonics(4, 8, order="ring"),
        (MAPS,),
        lambda module, x: module.analysis(x),
        dtyped=True,
    ),
    "Dense": Case(
        lambda: dense.Dense(4, 8, spin=0, dtype=torch.float32),
        (MAPS,),
        lambda module, x: torch.view_as_real(module.analysis(x)),
        dtyped=True,
    ),
    "RingFourier": Case(
        lambda: fourier.RingFourier(4, 9, dtype=torch.float32),
        (MAPS[:, 0],),
        lambda module, x: torch.view_as_real(
            module.to_orders(x).unflatten(-1, (2, -1)).movedim(-1, 0)
        ),
        dtyped=True,
    ),
    "CapFourier": Case(
        lambda: chirp.CapFourier(4, 9),
        (MAPS[:, 0, :24],),
        lambda module, x: torch.view_as_real(module.to_orders(x).resolve_conj()),
    ),
    "SymmetryBlocks": Case(lambda: symmetry.SymmetryBlocks(4, 5), (numbers(2, 36),)),
    "WienerFilter": Case(
        lambda: WienerFilter(4, 8, order="ring"), (MAPS[:, 0],), filtered, dtyped=True
    ),
}
# Parts of a transform: their tables are handed to them by the module named, which has a row.
PARTS = {"Parity": "Dense", "Legendre": "Dense", "Block": "SymmetryBlocks"}
