"""Libraries that transform HEALPix maps, each behind ``alm2map`` and ``map2alm``.

Coefficients are ``(N, [2,] A)`` in healpy's packing, maps ``(N, [2,] P)`` in RING order. Here
``map2alm`` is the plain sum over the pixels times the pixel area: no weights, no iteration. What a
library wants its input to be, `take` makes of a tensor before the clock runs. `bytes` is what it
keeps in tables, roughly.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class Case(NamedTuple):
    """One row of the table: a library and what it is to transform; dtype and device by name."""

    library: str
    nside: int
    lmax: int
    batch: int
    spin: int = 0
    dtype: str = "float64"
    device: str = "cpu"


class Peer:
    """A library at one case; what is made here is its set-up.

    Attributes:
        needs: modules that must be there.
        spins: of the fields that it transforms.
        tensors: whether it computes on tensors, with gradients.
    """

    needs: tuple[str, ...] = ()
    spins: tuple[int, ...] = (0, 2)
    tensors = False

    def __init__(self, case: Case):
        self.case = case

    @staticmethod
    def bytes(case: Case) -> float:
        """Return how many bytes of tables the library keeps; without tables none."""
        return 0

    def take(self, tensor: Tensor):
        """Return the input in the form that the library takes."""
        return tensor if self.tensors else tensor.numpy()


class Ours(Peer):
    """This package on ducc0."""

    needs = ("skytutor",)
    tensors = True
    backend = "ducc0"

    def __init__(self, case: Case):
        from skytutor.sht import Harmonics

        options = {"spin": case.spin, "dtype": getattr(torch, case.dtype), "backend": self.backend}
        self.transform = Harmonics(case.nside, case.lmax, order="ring", **options).to(case.device)
        self.alm2map = self.transform.alm2map

    def map2alm(self, maps: Tensor) -> Tensor:
        """Sum over the pixels without ring weights."""
        return self.transform.map2alm(maps, weights=None)


class OursTorch(Ours):
    """This package in plain torch."""

    backend = "torch"

    @staticmethod
    def bytes(case: Case) -> float:
        """Return the size of the Legendre tables, of which at most 1 GiB is kept."""
        return min(_legendre_bytes(case), 2**30)


def _legendre_bytes(case: Case) -> int:
    """Return the size of Legendre functions for every ring of a hemisphere, l and m."""
    number = 8 if case.dtype == "float64" else 4
    return case.nside * case.lmax**2 * number * (2 if case.spin else 1)


class Healpy(Peer):
    """One map at a time: it knows no batches."""

    needs = ("healpy",)

    def alm2map(self, alms) -> list:
        """Compute the maps one after the other."""
        import healpy

        nside = self.case.nside
        lmax = self.case.lmax
        if self.case.spin:
            return [healpy.alm2map_spin(list(a), nside, 2, lmax) for a in alms]
        return [healpy.alm2map(a, nside, lmax=lmax) for a in alms]

    def map2alm(self, maps) -> list:
        """Sum over the pixels, map after map."""
        import healpy

        if self.case.spin:
            return [healpy.map2alm_spin(list(m), 2, self.case.lmax) for m in maps]
        return [healpy.map2alm(m, self.case.lmax, iter=0, use_weights=False) for m in maps]


class Ducc(Peer):
    """The transforms that healpy is built on, called directly."""

    needs = ("ducc0",)

    def __init__(self, case: Case):
        from ducc0 import healpix, sht

        self.case = case
        self.sht = sht
        geometry = healpix.Healpix_Base(case.nside, "RING").sht_info()
        self.options = geometry | {
            "lmax": case.lmax,
            "spin": case.spin,
            "nthreads": torch.get_num_threads(),
        }

    def take(self, tensor: Tensor):
        """Return an array that has an axis for the field's components, also where there is one."""
        return tensor.numpy() if self.case.spin else tensor[:, None].numpy()

    def alm2map(self, alms):
        """Compute all maps in one call."""
        return self.sht.synthesis(alm=alms, **self.options)

    def map2alm(self, maps):
        """Sum over the pixels: the adjoint of `alm2map` times the pixel area."""
        alms = self.sht.adjoint_synthesis(map=maps, **self.options)
        alms *= 4 * torch.pi / maps.shape[-1]
        return alms


class TorchHarmonics(Peer):
    """On its equiangular grid, wide enough for exact quadrature.

    Bilinear interpolation leads from the HEALPix pixels there and back.
    """

    needs = ("torch_harmonics", "healpy")
    spins = (0,)
    tensors = True

    @staticmethod
    def bytes(case: Case) -> float:
        """Return the size of two tables in float64, and of what the making of one takes."""
        return 2.5 * 8 * (case.lmax + 1) ** 2 * (2 * case.lmax + 1)

    def __init__(self, case: Case):
        import healpy
        from torch_harmonics import InverseRealSHT, RealSHT

        top = case.lmax + 1
        tall = 2 * case.lmax + 1
        wide = 2 * case.lmax + 2
        dtype = getattr(torch, case.dtype)
        device = case.device
        options = {"lmax": top, "mmax": top, "grid": "equiangular"}
        self.forward = RealSHT(tall, wide, **options).to(device, dtype)
        self.inverse = InverseRealSHT(tall, wide, **options).to(device, dtype)
        self.top = top
        self.grid = (tall, wide)
        l, m = healpy.Alm.getlm(case.lmax)
        self.l = torch.as_tensor(l, dtype=torch.long, device=device)
        self.m = torch.as_tensor(m, dtype=torch.long, device=device)
        # From HEALPix to the grid: four pixels around each point of the grid, and their weights.
        theta = torch.linspace(0, torch.pi, tall, dtype=torch.float64)[:, None]
        phi = torch.arange(wide, dtype=torch.float64) * 2 * torch.pi / wide
        theta = theta.expand(tall, wide).flatten()  # (G,)
        phi = phi.expand(tall, wide).flatten()  # (G,)
        near, weight = healpy.get_interp_weights(case.nside, theta.numpy(), phi.numpy())  # (4, G)
        self.near = torch.as_tensor(near, device=device)
        self.weight = torch.as_tensor(weight).to(device, dtype)
        # From the grid to HEALPix: where each pixel lies on the grid, -1 to 1 both ways.
        theta, phi = healpy.pix2ang(case.nside, range(12 * case.nside**2))
        theta = torch.as_tensor(theta)  # (P,)
        phi = torch.as_tensor(phi)  # (P,)
        at = torch.stack([phi / torch.pi - 1, 2 * theta / torch.pi - 1], -1)  # (P, 2)
        self.at = at[None, None].to(device, dtype)

    def alm2map(self, alms: Tensor) -> Tensor:
        """Compute maps on the grid and read them at the pixels."""
        square = alms.new_zeros(len(alms), self.top, self.top)
        square[:, self.l, self.m] = alms
        grid = self.inverse(square)  # (N, rows, columns)
        # The first column once more at the end, so that the seam is interpolated too.
        grid = F.pad(grid, (0, 1), mode="circular")[:, None]  # (N, 1, rows, columns + 1)
        at = self.at.expand(len(alms), -1, -1, -1)  # (N, 1, P, 2)
        return F.grid_sample(grid, at, align_corners=True)[:, 0, 0]

    def map2alm(self, maps: Tensor) -> Tensor:
        """Read maps at the points of the grid and transform the grid."""
        pairs = zip(self.near, self.weight, strict=True)
        grid = sum(maps[:, near] * weight for near, weight in pairs)  # (N, G)
        return self.forward(grid.unflatten(-1, self.grid))[:, self.l, self.m]


class HealpixAnalyse(Peer):
    """Transforms of healpix-analyse, in torch."""

    needs = ("healpix_analyse.healpix_sht",)
    tensors = True

    @staticmethod
    def bytes(case: Case) -> float:
        """Return the size of its tables: eight times those of Legendre functions."""
        return 8 * _legendre_bytes(case)

    def __init__(self, case: Case):
        from healpix_analyse.healpix_sht import HEALPixSHT

        level = case.nside.bit_length() - 1
        self.case = case
        dtype = getattr(torch, case.dtype)
        self.transform = HEALPixSHT(level, case.lmax, dtype=dtype, device=case.device)

    def alm2map(self, alms: Tensor) -> Tensor:
        """Compute all maps in one call."""
        if self.case.spin:
            return torch.stack(self.transform.alm2map_spin(*alms.unbind(1), 2), 1)
        return self.transform.alm2map(alms)

    def map2alm(self, maps: Tensor) -> Tensor:
        """Sum over the pixels of all maps in one call."""
        if self.case.spin:
            return torch.stack(self.transform.map2alm_spin(*maps.unbind(1), 2), 1)
        return self.transform.map2alm(maps)


class Jht(Peer):
    """Transforms of jaxht, in JAX."""

    needs = ("jht",)

    def __init__(self, case: Case):
        import jax

        jax.config.update("jax_enable_x64", True)
        self.size = (case.nside, case.lmax, case.spin)
        self.finish = jax.block_until_ready  # JAX returns before it has computed

    def alm2map(self, alms) -> list:
        """Compute the maps one after the other."""
        import jht

        return self.finish([jht.synthesis(a, *self.size) for a in alms])

    def map2alm(self, maps) -> list:
        """Sum over the pixels: the adjoint of `alm2map` times the pixel area."""
        import jht

        area = 4 * torch.pi / maps.shape[-1]
        return self.finish([area * jht.adjoint_synthesis(m, *self.size) for m in maps])


class S2fft(Peer):
    """Its square packing is made from healpy's, and back, within the time: both are a gather."""

    needs = ("s2fft",)
    spins = (0,)

    def __init__(self, case: Case):
        import jax
        import s2fft

        jax.config.update("jax_enable_x64", True)
        self.finish = jax.block_until_ready
        self.s2fft = s2fft
        self.top = case.lmax + 1
        self.options = {
            "spin": 0,
            "nside": case.nside,
            "sampling": "healpix",
            "method": "jax",
            "reality": True,
        }

    def alm2map(self, alms) -> list:
        """Compute the maps one after the other."""
        to_square = self.s2fft.sampling.reindex.flm_hp_to_2d_fast
        maps = []
        for alm in alms:
            square = to_square(alm, self.top)
            maps.append(self.s2fft.inverse(square, self.top, **self.options).real)
        return self.finish(maps)

    def map2alm(self, maps) -> list:
        """Sum over the pixels, map after map."""
        to_packed = self.s2fft.sampling.reindex.flm_2d_to_hp_fast
        alms = []
        for one in maps:
            square = self.s2fft.forward(one, self.top, iter=0, **self.options)
            alms.append(to_packed(square, self.top))
        return self.finish(alms)


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
