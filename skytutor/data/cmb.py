"""Skies of chapter 3: Gaussian fields whose spectra depend on the parameters to be found [1]_.

Four studies, each with its own parameters:

- T1: l_p from 5 to 20; T with ``C_l = exp(-(l - l_p)**2 / 50) + 1e-5``.
- T2: l_Ep and l_Bp from 5 to 20 each; Q and U, EE and BB of that shape.
- T3: tau from 0.03 to 0.08; Q and U, CAMB's EE in muK**2, no BB.
- T4: r from 0 to 0.01, uniform in log(r + 1e-4), and tau; Q and U, CAMB's EE and BB in muK**2.

No beam and no pixel window. Every map is drawn anew from the numbers of a generator, so a set of
any size costs no disk.

Shapes: N maps, n parameters, P = 12 nside**2 pixels in RING order, K = (lmax + 1)**2 real
harmonic coefficients.

.. [1] N. Krachmalnicoff & M. Tomasi, 2019, A&A 628, A129.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from skytutor.arrays import as_tensor
from skytutor.fields.emulator import cmb_spectra
from skytutor.fields.spectra import check_mask, maps_from_white_noise
from skytutor.healpix import check_nside, nside_to_npix, pixel_area, pixel_to_angle
from skytutor.memo import cached_value
from skytutor.sht import RealHarmonics
from skytutor.validate import as_integer, as_seed, check_columns, optional_generator

# Standard deviation, in l, and floor of the spectra of T1 and T2.
WIDTH = 5.0
FLOOR = 1e-5
# The prior of r is uniform in log(r + R_OFFSET).
R_OFFSET = 1e-4
# Networks give log(r + SCALE_OFFSET). It is about what cosmic variance and lensing leave of r:
# below it, the logarithm of r means nothing.
SCALE_OFFSET = 5e-4
# Name, lowest and highest value of each parameter.
STUDIES = {
    "T1": (("l_p", 5.0, 20.0),),
    "T2": (("l_Ep", 5.0, 20.0), ("l_Bp", 5.0, 20.0)),
    "T3": (("tau", 0.03, 0.08),),
    "T4": (("r", 0.0, 0.01), ("tau", 0.03, 0.08)),
}


def peaked_spectrum(centre: Tensor, *, lmax: int) -> Tensor:
    """Return ``exp(-(l - l_p)**2 / (2 * 5**2)) + 1e-5`` for each l: ``(..., lmax + 1)`` float64.

    Arguments:
        centre: l_p, ``(...)`` or a number.
        lmax: the highest degree.

    Example:
        >>> peaked_spectrum(torch.tensor(2.0), lmax=2)
        tensor([0.9231, 0.9802, 1.0000], dtype=torch.float64)
    """
    l = torch.arange(lmax + 1, dtype=torch.float64)
    centre = as_tensor("centre", centre, dtype=torch.float64)
    return torch.exp(-((l - centre[..., None]) ** 2) / (2 * WIDTH**2)) + FLOOR


def cap_mask(nside: int, f_sky: float) -> Tensor:
    """Return a cap about the north pole, of radius ``arccos(1 - 2 f_sky)``, as a mask.

    The mask is bool ``(P,)`` in RING order, True where the sky is seen.

    Arguments:
        nside: of the map, a power of two.
        f_sky: fraction of the sky that the cap covers, in (0, 1].

    Raises:
        ValueError: f_sky not in (0, 1], or so small that the cap holds no pixel.

    Example:
        >>> int(cap_mask(16, 0.05).sum())
        144
    """
    if not 0 < f_sky <= 1:
        raise ValueError(f"f_sky must lie in (0, 1], got {f_sky}")
    theta, _ = pixel_to_angle(torch.arange(nside_to_npix(nside)), nside=nside, order="ring")
    # Pixel centres on the edge belong to the cap, whatever the rounding of their cosine.
    seen = theta.cos() >= 1 - 2 * f_sky - 1e-12
    if not seen.any():
        raise ValueError(
            f"f_sky is too small for nside {nside}: a cap of {f_sky} holds no pixel's centre"
        )
    return seen


def noise_per_pixel(noise: float, nside: int) -> float:
    """Return the standard deviation of white noise in a pixel, in muK: noise over the pixel's side.

    Arguments:
        noise: in muK arcmin.
        nside: of the map.
    """
    return noise / (math.sqrt(pixel_area(nside)) * 180 * 60 / math.pi)


@dataclass(frozen=True)
class GaussianSkySimulator:
    """Draws parameters and maps of one study, at one nside, noise and sky fraction.

    Maps are ``(N, P)`` or, with Q and U, ``(N, 2, P)``, RING, float32.

    Attributes:
        study: "T1" to "T4".
        nside: power of two; lmax is 3 nside - 1.
        noise: standard deviation of white noise in a pixel of every component, in the map's unit.
        f_sky: fraction of the sky in the cap that is seen; beyond it, maps are 0.
        cut: another mask than a cap, one byte a pixel, as `with_mask` packs it.

    Raises:
        ValueError: another study, a negative noise, f_sky not in (0, 1], cut of another size.

    Example:
        >>> simulator = GaussianSkySimulator("T2", nside=4)
        >>> rng = torch.Generator().manual_seed(0)
        >>> parameters = simulator.draw_parameters(3, generator=rng)
        >>> simulator.maps(parameters, simulator.draw_noise(3, generator=rng)).shape
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
                f"cut must be a mask of {nside_to_npix(self.nside)} pixels that shows f_sky of "
                "the sky; use `with_mask`"
            )

    @property
    def lmax(self) -> int:
        """Highest degree of the sky, 3 nside - 1."""
        return 3 * self.nside - 1

    @property
    def spin(self) -> int:
        """0 for T, 2 for Q and U."""
        return 0 if self.study == "T1" else 2

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the parameters."""
        return tuple(name for name, _, _ in STUDIES[self.study])

    def with_mask(self, mask: Tensor) -> "GaussianSkySimulator":
        """Return the same study with any mask ``(P,)``, RING: seen where it is above 0.

        Raises:
            ValueError: another size, values outside 0..1, nothing seen.
        """
        seen = check_mask(mask, nside=self.nside) > 0
        return replace(self, f_sky=float(seen.double().mean()), cut=bytes(seen.tolist()))

    @cached_value
    def mask(self) -> Tensor:
        """Mask of the sky, bool ``(P,)``, True where it is seen."""
        return torch.tensor(list(self.cut)) > 0 if self.cut else cap_mask(self.nside, self.f_sky)

    @cached_value
    def harmonics(self) -> RealHarmonics:
        """Return the transforms between maps and real coefficients, with their tables."""
        return RealHarmonics(self.nside, self.lmax, spin=self.spin, order="ring")

    def draw_parameters(self, n: int, *, generator: torch.Generator | None = None) -> Tensor:
        """Draw parameters ``(n, parameters)``, float64, from the prior of the study.

        Arguments:
            n: how many, at least 1.
            generator: of the random numbers; None for torch's global one.
        """
        if as_integer("n", n) < 1:
            raise ValueError(f"n must be positive, got {n}")
        rng = optional_generator(generator)
        unit = torch.rand(n, len(self.names), generator=rng, dtype=torch.float64)
        return self.prior_transform(unit)

    def prior_transform(self, unit: Tensor) -> Tensor:
        """Return parameters ``(..., n)``; uniform random numbers become draws of the prior.

        Arguments:
            unit: ``(..., n)``, in 0..1: what fraction of the prior lies below the parameter.
        """
        if not bool(((unit >= 0) & (unit <= 1)).all()):
            raise ValueError(f"unit must lie in 0..1, got {float(unit.min())}..{float(unit.max())}")
        columns = []
        for (name, low, high), u in zip(STUDIES[self.study], unit.unbind(-1), strict=True):
            if name == "r":  # uniform in log(r + R_OFFSET); low is 0
                values = R_OFFSET * ((high + R_OFFSET) / R_OFFSET) ** u - R_OFFSET
            else:
                values = low + (high - low) * u
            columns.append(values)
        return torch.stack(columns, -1)

    def normalise(self, parameters: Tensor) -> Tensor:
        """Return parameters ``([N,] n)`` on the scale of the networks' answers, float64.

        That is the logarithm of each (of r + 5e-4), shifted and scaled so that the ends of the
        prior lie at -1 and 1.
        """
        check_columns("parameters", parameters, columns=self.names)
        middle, half_range = self._scale
        return (self._log(parameters) - middle) / half_range

    def unnormalise(self, scaled: Tensor) -> Tensor:
        """Return the parameters ``([N,] n)`` of normalised ones: the inverse of `normalise`.

        A network's whole answer ``(N, n, 2)`` is refused: its means alone are on this scale.
        """
        check_columns("scaled", scaled, columns=self.names)
        middle, half_range = self._scale
        return torch.exp(scaled * half_range + middle) - self._offset

    @property
    def _offset(self) -> Tensor:
        """What is added to each parameter before its logarithm is taken, ``(n,)`` float64."""
        offsets = [SCALE_OFFSET if name == "r" else 0.0 for name in self.names]
        return torch.tensor(offsets, dtype=torch.float64)

    def _log(self, parameters: Tensor) -> Tensor:
        return (parameters.double() + self._offset).log()

    @cached_value
    def _scale(self) -> tuple[Tensor, Tensor]:
        """Middle and half the range of the prior, in the logarithm: ``(n,)`` each."""
        # The ends are rounded to float32 first, as they were for the pretrained networks.
        ends = torch.tensor([[low, high] for _, low, high in STUDIES[self.study]])  # (n, 2)
        low, high = self._log(ends.double().T)
        return torch.stack([low, high]).mean(0), (high - low) / 2

    def draw_noise(self, n: int, *, generator: torch.Generator | None = None) -> list[Tensor]:
        """Draw the standard normal numbers that n maps are made of.

        Arguments:
            n: how many maps.
            generator: of the random numbers; None for torch's global one.

        Returns:
            ``(n, [2,] K)`` for the coefficients of the sky and, if the study has noise,
            ``(n, [2,] P)`` for its pixels.
        """
        lead = (n, 2) if self.spin else (n,)
        sizes = [(self.lmax + 1) ** 2]
        if self.noise:
            sizes.append(nside_to_npix(self.nside))
        rng = optional_generator(generator)
        return [torch.randn(*lead, size, generator=rng) for size in sizes]

    def spectra(self, parameters: Tensor) -> Tensor:
        """Return C_l of the sky, without noise. With spin 2, C_l is 0 for l < 2.

        Arguments:
            parameters: ``(N, n)``, inside the prior.

        Returns:
            ``(N, fields, lmax + 1)`` float64; fields are T, or E and B.

        Raises:
            ValueError: parameters of another shape, or outside the prior.
        """
        self._check(parameters)
        if self.study in ("T1", "T2"):
            out = peaked_spectrum(parameters, lmax=self.lmax)
        else:
            tau = parameters[:, -1]
            r = parameters[:, 0] if self.study == "T4" else torch.zeros_like(tau)
            found = cmb_spectra(tau, r, lmax=self.lmax)
            # T3 has no B at all, not even that of lensing.
            out = torch.stack([found["EE"], found["BB"] * (self.study == "T4")], 1)
        if self.spin:
            out[..., :2] = 0
        return out

    def _check(self, parameters: Tensor) -> None:
        check_columns("parameters", parameters, columns=self.names, single=False)
        columns = zip(STUDIES[self.study], parameters.unbind(1), strict=True)
        for (name, low, high), values in columns:
            if not bool(((values >= low) & (values <= high)).all()):
                raise ValueError(
                    f"{name} must lie in {low}..{high}, "
                    f"got {float(values.min())}..{float(values.max())}"
                )

    def maps(self, parameters: Tensor, white_noise: Sequence[Tensor]) -> Tensor:
        """Make maps: coefficients ``sqrt(C_l) x_lm``, synthesised, plus noise, times the mask.

        Arguments:
            parameters: ``(N, n)``, inside the prior.
            white_noise: what ``draw_noise(N)`` drew.

        Returns:
            ``(N, P)``, or ``(N, 2, P)`` for Q and U, RING, float32.

        Raises:
            ValueError: parameters as in `spectra`; white noise of other shapes.
        """
        want = [tuple(one.shape[1:]) for one in self.draw_noise(0)]
        came = [tuple(one.shape[1:]) for one in white_noise]
        if came != want or {len(one) for one in white_noise} != {len(parameters)}:
            raise ValueError(
                f"white_noise must be what draw_noise({len(parameters)}) draws, "
                f"got shapes {[tuple(one.shape) for one in white_noise]}"
            )
        spectra = self.spectra(parameters)  # (N, fields, L)
        spectra = spectra if self.spin else spectra[:, 0]
        maps = maps_from_white_noise(white_noise[0], spectra, harmonics=self.harmonics)
        if self.noise:
            maps = maps + self.noise * white_noise[1]
        return maps if self.f_sky == 1 else maps * self.mask

    def sample(self, n: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """Draw n parameters, ``(n, p)`` float64, and their `maps`.

        Arguments:
            n: how many, at least 1; the first skies of a seed do not depend on it.
            seed: each seed gives other skies, 0 to 2**43 - 1.
        """
        if as_integer("n", n) < 1:
            raise ValueError(f"n must be positive, got {n}")
        parameters = []
        maps = []
        # A thousand at a time, each thousand with a generator of its own, and the last cut off.
        for start in range(0, n, 1000):
            rng = torch.Generator().manual_seed(as_seed("seed", seed, bits=43) * 1_000_003 + start)
            drawn = self.draw_parameters(1000, generator=rng)
            white_noise = self.draw_noise(1000, generator=rng)
            parameters.append(drawn[: n - start])
            maps.append(self.maps(drawn, white_noise)[: n - start])
        return torch.cat(parameters), torch.cat(maps)
