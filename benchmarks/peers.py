"""Libraries that transform HEALPix maps, each behind the same two calls: ``alm2map`` and ``map2alm``.

Coefficients ``(N, [2,] A)`` in healpy's packing, maps ``(N, [2,] P)`` in RING order. ``map2alm`` is
the plain sum over the pixels times the pixel area: no weights, no iteration. What a library wants
its input to be, `take` makes of a tensor before the clock runs. `bytes` is what it keeps in tables,
roughly.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Case(NamedTuple):
    """One row of the table; dtype and device by name."""

    library: str
    nside: int
    lmax: int
    batch: int
    spin: int = 0
    dtype: str = "float64"
    device: str = "cpu"


class Peer:
    """A library at one case; what is made here is its set-up."""

    needs: tuple[str, ...] = ()
    spins: tuple[int, ...] = (0, 2)
    tensors = False  # computes on tensors, with gradients

    def __init__(self, case: Case):
        self.case = case

    @staticmethod
    def bytes(case: Case) -> float:
        return 0

    def take(self, tensor: Tensor):
        return tensor if self.tensors else tensor.numpy()


class Ours(Peer):
    needs = ("skytutor",)
    tensors = True
    backend = "ducc0"

    def __init__(self, case: Case):
        from skytutor.sht import Harmonics

        how = {"spin": case.spin, "dtype": getattr(torch, case.dtype), "backend": self.backend}
        self.sky = Harmonics(case.nside, case.lmax, **how).to(case.device)
        self.alm2map = self.sky.alm2map

    def map2alm(self, maps: Tensor) -> Tensor:
        return self.sky.map2alm(maps, weights=None)


class OursTorch(Ours):
    backend = "torch"

    @staticmethod
    def bytes(case: Case) -> float:
        size = (
            case.nside
            * case.lmax**2
            * (8 if case.dtype == "float64" else 4)
            * (2 if case.spin else 1)
        )
        return min(size, 2**30)


class Healpy(Peer):
    """One map at a time: it knows no batches."""

    needs = ("healpy",)

    def alm2map(self, alms) -> list:
        import healpy

        nside = self.case.nside
        lmax = self.case.lmax
        if self.case.spin:
            return [healpy.alm2map_spin(list(a), nside, 2, lmax) for a in alms]
        return [healpy.alm2map(a, nside, lmax=lmax) for a in alms]

    def map2alm(self, maps) -> list:
        import healpy

        if self.case.spin:
            return [healpy.map2alm_spin(list(m), 2, self.case.lmax) for m in maps]
        return [healpy.map2alm(m, self.case.lmax, iter=0, use_weights=False) for m in maps]


class Ducc(Peer):
    needs = ("ducc0",)

    def __init__(self, case: Case):
        from ducc0 import healpix, sht

        self.case = case
        self.sht = sht
        geometry = healpix.Healpix_Base(case.nside, "RING").sht_info()
        self.how = geometry | {
            "lmax": case.lmax,
            "spin": case.spin,
            "nthreads": torch.get_num_threads(),
        }

    def take(self, tensor: Tensor):
        return tensor.numpy() if self.case.spin else tensor[:, None].numpy()

    def alm2map(self, alms):
        return self.sht.synthesis(alm=alms, **self.how)

    def map2alm(self, maps):
        found = self.sht.adjoint_synthesis(map=maps, **self.how)
        found *= 4 * torch.pi / maps.shape[-1]
        return found


class TorchHarmonics(Peer):
    """On its equiangular grid, wide enough for exact quadrature; bilinear interpolation leads there and back."""

    needs = ("torch_harmonics", "healpy")
    spins = (0,)
    tensors = True

    @staticmethod
    def bytes(case: Case) -> float:
        return (
            2.5 * 8 * (case.lmax + 1) ** 2 * (2 * case.lmax + 1)
        )  # two tables in float64, and the making of one

    def __init__(self, case: Case):
        import healpy
        from torch_harmonics import InverseRealSHT, RealSHT

        top = case.lmax + 1
        tall = 2 * case.lmax + 1
        wide = 2 * case.lmax + 2
        dtype = getattr(torch, case.dtype)
        device = case.device
        how = {"lmax": top, "mmax": top, "grid": "equiangular"}
        self.there = RealSHT(tall, wide, **how).to(device, dtype)
        self.back = InverseRealSHT(tall, wide, **how).to(device, dtype)
        self.top = top
        self.grid = (tall, wide)
        self.l, self.m = (
            torch.as_tensor(x, dtype=torch.long, device=device) for x in healpy.Alm.getlm(case.lmax)
        )
        theta = (
            torch.linspace(0, torch.pi, tall, dtype=torch.float64)[:, None]
            .expand(tall, wide)
            .flatten()
        )
        phi = (
            (torch.arange(wide, dtype=torch.float64) * 2 * torch.pi / wide)
            .expand(tall, wide)
            .flatten()
        )
        near, weight = healpy.get_interp_weights(case.nside, theta.numpy(), phi.numpy())  # (4, G)
        self.near = torch.as_tensor(near, device=device)
        self.weight = torch.as_tensor(weight).to(device, dtype)
        theta, phi = (
            torch.as_tensor(x) for x in healpy.pix2ang(case.nside, range(12 * case.nside**2))
        )  # (P,)
        at = torch.stack(
            [phi / torch.pi - 1, 2 * theta / torch.pi - 1], -1
        )  # (P, 2), within -1 .. 1
        self.at = at[None, None].to(device, dtype)

    def alm2map(self, alms: Tensor) -> Tensor:
        square = alms.new_zeros(len(alms), self.top, self.top)
        square[:, self.l, self.m] = alms
        sky = F.pad(self.back(square), (0, 1), mode="circular")[
            :, None
        ]  # (N, 1, rows, columns + 1)
        return F.grid_sample(sky, self.at.expand(len(alms), -1, -1, -1), align_corners=True)[
            :, 0, 0
        ]

    def map2alm(self, maps: Tensor) -> Tensor:
        sky = sum(
            maps[:, near] * weight for near, weight in zip(self.near, self.weight, strict=True)
        )
        return self.there(sky.unflatten(-1, self.grid))[:, self.l, self.m]


class HealpixAnalyse(Peer):
    needs = ("healpix_analyse.healpix_sht",)
    tensors = True

    @staticmethod
    def bytes(case: Case) -> float:
        return (
            case.nside
            * case.lmax**2
            * (64 if case.dtype == "float64" else 32)
            * (2 if case.spin else 1)
        )

    def __init__(self, case: Case):
        from healpix_analyse.healpix_sht import HEALPixSHT

        level = case.nside.bit_length() - 1
        self.case = case
        self.sums = HEALPixSHT(
            level, case.lmax, dtype=getattr(torch, case.dtype), device=case.device
        )

    def alm2map(self, alms: Tensor) -> Tensor:
        return (
            torch.stack(self.sums.alm2map_spin(*alms.unbind(1), 2), 1)
            if self.case.spin
            else self.sums.alm2map(alms)
        )

    def map2alm(self, maps: Tensor) -> Tensor:
        return (
            torch.stack(self.sums.map2alm_spin(*maps.unbind(1), 2), 1)
            if self.case.spin
            else self.sums.map2alm(maps)
        )


class Jht(Peer):
    needs = ("jht",)

    def __init__(self, case: Case):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.case = case
        self.ready = jax.block_until_ready

    def alm2map(self, alms) -> list:
        import jht

        return self.ready(
            [jht.synthesis(a, self.case.nside, self.case.lmax, self.case.spin) for a in alms]
        )

    def map2alm(self, maps) -> list:
        import jht

        area = 4 * torch.pi / maps.shape[-1]
        return self.ready(
            [
                area * jht.adjoint_synthesis(m, self.case.nside, self.case.lmax, self.case.spin)
                for m in maps
            ]
        )


class S2fft(Peer):
    """Its square packing is made from healpy's, and back, within the time: both are a gather."""

    needs = ("s2fft",)
    spins = (0,)

    def __init__(self, case: Case):
        import jax
        import s2fft

        jax.config.update("jax_enable_x64", True)
        self.ready = jax.block_until_ready
        self.s2fft = s2fft
        self.top = case.lmax + 1
        self.how = {
            "spin": 0,
            "nside": case.nside,
            "sampling": "healpix",
            "method": "jax",
            "reality": True,
        }

    def alm2map(self, alms) -> list:
        square = self.s2fft.sampling.reindex.flm_hp_to_2d_fast
        return self.ready(
            [self.s2fft.inverse(square(a, self.top), self.top, **self.how).real for a in alms]
        )

    def map2alm(self, maps) -> list:
        packed = self.s2fft.sampling.reindex.flm_2d_to_hp_fast
        return self.ready(
            [packed(self.s2fft.forward(m, self.top, iter=0, **self.how), self.top) for m in maps]
        )


PEERS: dict[str, type[Peer]] = {
    "ours/ducc0": Ours,
    "ours/torch": OursTorch,
    "healpy": Healpy,
    "ducc0": Ducc,
    "torch-harmonics": TorchHarmonics,
    "jht": Jht,
    "s2fft": S2fft,
    "healpix-analyse": HealpixAnalyse,
}
