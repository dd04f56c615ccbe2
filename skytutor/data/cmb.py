"""Skies of chapter 3: Gaussian fields whose spectra hold the parameters that are to be found [1]_.

Four studies, each with its own parameters:

- T1: l_p from 5 to 20; T with ``C_l = exp(-(l - l_p)**2 / 50) + 1e-5``.
- T2: l_Ep and l_Bp from 5 to 20 each; Q and U, EE and BB of that shape.
- T3: tau from 0.03 to 0.08; Q and U, CAMB's EE in muK**2, no BB.
- T4: r from 0 to 0.01, uniform in log(r + 1e-4), and tau; Q and U, CAMB's EE and BB in muK**2.

No beam and no pixel window. Every map is drawn anew from numbers of a generator, so a set of any
size costs no disk.

.. [1] N. Krachmalnicoff & M. Tomasi, 2019, A&A 628, A129.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from skytutor.data.emulator import cmb_spectra
from skytutor.healpix import check_nside, nside_to_npix, pixel_area, pixel_to_angle
from skytutor.healpix.checks import as_integer
from skytutor.sht import RealHarmonics, real_degrees
from skytutor.spectra import check_mask

WIDTH = 5.0
FLOOR = 1e-5
R_OFFSET = 1e-4
SCALE_OFFSET = (
    5e-4  # about what cosmic variance and lensing leave of r: below, its logarithm means nothing
)
STUDIES = {
    "T1": (("l_p", 5.0, 20.0),),
    "T2": (("l_Ep", 5.0, 20.0), ("l_Bp", 5.0, 20.0)),
    "T3": (("tau", 0.03, 0.08),),
    "T4": (("r", 0.0, 0.01), ("tau", 0.03, 0.08)),
}


def peaked_spectrum(centre: Tensor, *, lmax: int) -> Tensor:
    """``exp(-(l - l_p)**2 / (2 * 5**2)) + 1e-5`` for l = 0..lmax: ``(..., lmax + 1)`` float64 of centres ``(...)``.

    Example:
        >>> peaked_spectrum(torch.tensor(2.0), lmax=2)
        tensor([0.9231, 0.9802, 1.0000], dtype=torch.float64)
    """
    l = torch.arange(lmax + 1, dtype=torch.float64)
    centre = torch.as_tensor(centre, dtype=torch.float64)
    return torch.exp(-((l - centre[..., None]) ** 2) / (2 * WIDTH**2)) + FLOOR


def cap_mask(nside: int, f_sky: float) -> Tensor:
    """A cap about the north pole, radius ``arccos(1 - 2 f_sky)``: bool ``(P,)`` in RING order, True where it is seen.

    Raises:
        ValueError: f_sky not in (0, 1], or so small that the cap holds no pixel.

    Example:
        >>> int(cap_mask(16, 0.05).sum())
        144
    """
    if not 0 < f_sky <= 1:
        raise ValueError(f"f_sky must lie in (0, 1], got {f_sky}")
    theta, _ = pixel_to_angle(torch.arange(nside_to_npix(nside)), nside=nside, order="ring")
    seen = theta.cos() >= 1 - 2 * f_sky - 1e-12
    if not seen.any():
        raise ValueError(
            f"f_sky is too small for nside {nside}: a cap of {f_sky} holds no pixel's centre"
        )
    return seen


def noise_per_pixel(noise: float, nside: int) -> float:
    """Standard deviation in a pixel, in muK, of white noise given in muK arcmin: noise over the pixel's side in arcminutes."""
    return noise / (math.sqrt(pixel_area(nside)) * 180 * 60 / math.pi)


@dataclass(frozen=True)
class Skies:
    """One study at one nside, noise and sky fraction. Maps are ``(N, P)`` or, Q and U, ``(N, 2, P)``, RING, float32.

    Attributes:
        study: "T1" to "T4".
        nside: power of two; lmax is 3 nside - 1.
        noise: standard deviation of white noise in a pixel of every component, in the map's unit.
        f_sky: of the cap that is seen; beyond it, maps are 0.
        cut: another mask than a cap, as `through` packs it.

    Raises:
        ValueError: another study, a negative noise, f_sky not in (0, 1].

    Example:
        >>> sky, draw = Skies("T2", nside=4), torch.Generator().manual_seed(0)
        >>> parameters = sky.draw_parameters(3, generator=draw)
        >>> sky.maps(parameters, sky.draw_noise(3, generator=draw)).shape
        torch.Size([3, 2, 192])
    """

    study: str
    nside: int = 16
    noise: float = 0.0
    f_sky: float = 1.0
    cut: bytes | None = None

    def __post_init__(self) -> None:
        if self.study not in STUDIES:
            raise ValueError(f"study must be one of {', '.join(STUDIES)}, got {self.study!r}")
        check_nside(self.nside)
        if isinstance(self.noise, str) or not 0 <= self.noise < math.inf:
            raise ValueError(f"noise must be a finite number from 0 on, got {self.noise!r}")
        if isinstance(self.f_sky, str) or not 0 < self.f_sky <= 1:
            raise ValueError(f"f_sky must lie in (0, 1], got {self.f_sky!r}")
        if self.cut is not None and (
            len(self.cut) != nside_to_npix(self.nside)
            or abs(sum(self.cut) / len(self.cut) - self.f_sky) > 1e-9
        ):
            raise ValueError(
                f"cut must be a mask of {nside_to_npix(self.nside)} pixels that shows f_sky of the sky; use `through`"
            )

    @property
    def lmax(self) -> int:
        return 3 * self.nside - 1

    @property
    def spin(self) -> int:
        return 0 if self.study == "T1" else 2

    @property
    def names(self) -> tuple[str, ...]:
        """Of the parameters."""
        return tuple(name for name, _, _ in STUDIES[self.study])

    def through(self, mask: Tensor) -> "Skies":
        """The same study seen through any mask ``(P,)``, RING: seen where it is above 0.

        Raises:
            ValueError: another size, values outside 0..1, nothing seen.
        """
        seen = check_mask(mask, nside=self.nside) > 0
        return replace(self, f_sky=float(seen.double().mean()), cut=bytes(seen.tolist()))

    @cached_property
    def mask(self) -> Tensor:
        return torch.tensor(list(self.cut)) > 0 if self.cut else cap_mask(self.nside, self.f_sky)

    @cached_property
    def harmonics(self) -> RealHarmonics:
        return RealHarmonics(self.nside, self.lmax, spin=self.spin)

    def draw_parameters(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """``(n, parameters)`` float64, from the study's prior."""
        if as_integer("n", n) < 1:
            raise ValueError(f"n must be positive, got {n}")
        return self.from_unit(
            torch.rand(n, len(self.names), generator=generator, dtype=torch.float64)
        )

    def from_unit(self, unit: Tensor) -> Tensor:
        """Parameters of numbers in 0..1 that are uniform under the prior."""
        if not bool(((unit >= 0) & (unit <= 1)).all()):
            raise ValueError(f"unit must lie in 0..1, got {float(unit.min())}..{float(unit.max())}")
        columns = []
        for (name, low, high), u in zip(STUDIES[self.study], unit.unbind(-1), strict=True):
            if name == "r":
                u = R_OFFSET * ((high + R_OFFSET) / R_OFFSET) ** u - R_OFFSET
            else:
                u = low + (high - low) * u
            columns.append(u)
        return torch.stack(columns, -1)

    def to_scale(self, parameters: Tensor) -> Tensor:
        """Parameters as networks give them: logarithms (of r + 5e-4), zero in the middle of the prior and 1 from there to its ends."""
        return (self._log(parameters) - self._middle) / self._half

    def from_scale(self, scaled: Tensor) -> Tensor:
        """The inverse of `to_scale`."""
        return torch.exp(scaled * self._half + self._middle) - self._offset

    @property
    def _offset(self) -> Tensor:
        return torch.tensor(
            [SCALE_OFFSET if name == "r" else 0.0 for name in self.names], dtype=torch.float64
        )

    def _log(self, parameters: Tensor) -> Tensor:
        return (parameters.double() + self._offset).log()

    @cached_property
    def _ends(self) -> Tensor:
        return self._log(
            torch.tensor([[low, high] for _, low, high in STUDIES[self.study]]).double().T
        )

    @property
    def _middle(self) -> Tensor:
        return self._ends.mean(0)

    @property
    def _half(self) -> Tensor:
        return (self._ends[1] - self._ends[0]) / 2

    def draw_noise(self, n: int, *, generator: torch.Generator | None = None) -> list[Tensor]:
        """White numbers ``(n, [2,] K)`` for the sky, and ``(n, [2,] P)`` for the noise if there is any."""
        parts = (n, 2) if self.spin else (n,)
        sizes = [(self.lmax + 1) ** 2, *([nside_to_npix(self.nside)] if self.noise else [])]
        return [torch.randn(*parts, size, generator=generator) for size in sizes]

    def spectra(self, parameters: Tensor) -> Tensor:
        """C_l of the sky, noise apart: ``(N, fields, lmax + 1)`` float64; fields are T, or E and B. l < 2 is 0 with spin 2.

        Raises:
            ValueError: parameters of another shape, or outside the prior.
        """
        self._check(parameters)
        if self.study in ("T1", "T2"):
            out = peaked_spectrum(parameters, lmax=self.lmax)
        else:
            tau = parameters[:, -1]
            found = cmb_spectra(
                tau,
                parameters[:, 0] if self.study == "T4" else torch.zeros_like(tau),
                lmax=self.lmax,
            )
            out = torch.stack([found["EE"], found["BB"] * (self.study == "T4")], 1)
        if self.spin:
            out[..., :2] = 0
        return out

    def _check(self, parameters: Tensor) -> None:
        if parameters.dim() != 2 or parameters.shape[1] != len(self.names):
            raise ValueError(
                f"parameters must be (N, {len(self.names)}): {', '.join(self.names)}; got {tuple(parameters.shape)}"
            )
        for (name, low, high), values in zip(
            STUDIES[self.study], parameters.unbind(1), strict=True
        ):
            if not bool(((values >= low) & (values <= high)).all()):
                raise ValueError(
                    f"{name} must lie in {low}..{high}, got {float(values.min())}..{float(values.max())}"
                )

    def maps(self, parameters: Tensor, white: Sequence[Tensor]) -> Tensor:
        """Maps of parameters ``(N, n)`` and of what `draw_noise` drew."""
        want = [tuple(one.shape) for one in self.draw_noise(0)]
        if [tuple(one.shape[1:]) for one in white] != [shape[1:] for shape in want] or {
            len(one) for one in white
        } != {len(parameters)}:
            raise ValueError(
                f"white must be what draw_noise({len(parameters)}) draws, got shapes {[tuple(one.shape) for one in white]}"
            )
        roots = (
            self.spectra(parameters).sqrt().float()[..., real_degrees(self.lmax)[0]]
        )  # (N, fields, K)
        maps = self.harmonics.synthesis(white[0] * (roots if self.spin else roots[:, 0]))
        if self.noise:
            maps = maps + self.noise * white[1]
        return maps if self.f_sky == 1 else maps * self.mask

    def sample(self, n: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Parameters ``(n, p)`` and maps of a seed, drawn a thousand at a time, so that the first ones do not depend on n."""
        if as_integer("n", n) < 1:
            raise ValueError(f"n must be positive, got {n}")
        parameters = []
        maps = []
        for k in range(0, n, 1000):
            draw = torch.Generator().manual_seed(seed * 1_000_003 + k)
            some = self.draw_parameters(1000, generator=draw)
            parameters.append(some[: n - k])
            maps.append(self.maps(some, self.draw_noise(1000, generator=draw))[: n - k])
        return torch.cat(parameters), torch.cat(maps)
