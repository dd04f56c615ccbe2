"""Chapter 3's own network: it learns only what the sky's statistics leave to be learned.

Shapes: B batch, P = 12 nside**2 pixels in RING order, n parameters, L = lmax + 1.
"""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

from skytutor.covariance import PixelCovariance
from skytutor.sht import Harmonics, real_degrees, to_real
from skytutor.sht.symmetry import SymmetryBlocks


class BandPowers(nn.Module):
    """Logarithms of the power in each degree of a full sky: ``log(sum_m b_lm**2 / (2 l + 1))``, all that a Gaussian sky tells.

    The coefficients are those of least squares, exact for a band-limited map: quadrature would be
    off by 0.8 % at nside 16 and bury a spectrum that falls by five decades.

    Arguments:
        nside, lmax, spin: of the maps, RING.
        fields: 1, or 2 for E and B with spin 2 (1 keeps E alone).

    Example:
        >>> BandPowers(4, 11, spin=2)(torch.randn(3, 2, 192)).shape
        torch.Size([3, 20])
    """

    def __init__(self, nside: int, lmax: int, *, spin: int, fields: int | None = None):
        super().__init__()
        self.lmax = lmax
        self.spin = spin
        self.fields = fields or (2 if spin else 1)
        if self.fields not in ((1, 2) if spin else (1,)):
            raise ValueError(
                f"fields must be {'1 or 2' if spin else '1'} for spin {spin}, got {fields}"
            )
        self.sky = Harmonics(nside, lmax, spin=spin)
        self.solve = SymmetryBlocks(nside, lmax, spin=spin)
        self.register_buffer("l", real_degrees(lmax)[0], persistent=False)
        self.size = self.fields * (lmax + 1 - spin)

    @torch.no_grad()
    def forward(self, maps: Tensor) -> Tensor:
        return torch.cat([self._some(part) for part in maps.split(500)])  # few at a time: memory

    def _some(self, maps: Tensor) -> Tensor:
        coefs = self.solve(to_real(self.sky.map2alm(maps, weights=None), lmax=self.lmax))
        square = (
            coefs.double()
            .square()
            .unflatten(1, (2 if self.spin else 1, -1))
            .flatten(2)[:, : self.fields]
        )
        power = square.new_zeros(*square.shape[:2], self.lmax + 1).index_add(
            2, self.l, square
        )  # (B, fields, L)
        many = 2 * torch.arange(self.lmax + 1, device=power.device) + 1
        return (power / many)[..., self.spin :].clamp(min=1e-30).log().flatten(1).float()


class LikelihoodBank(nn.Module):
    """How likely a masked map is under each of some spectra: exact Gaussian log-likelihoods, as numbers a network can read.

    Each costs one filtering by an inverse covariance, ``d C^-1 d``, with E, B and the mask's edge
    treated exactly. A network behind it learns how the likelihood behaves between the spectra, from
    maps; it never sees a covariance.

    Arguments:
        sky: with the mask and the noise.
        powers: ``(G, fields, lmax + 1)``, the spectra.

    Example:
        >>> sky = PixelCovariance(4, 11, spin=2, mask=torch.arange(192) < 72, variance=0.1)
        >>> LikelihoodBank(sky, torch.rand(5, 2, 12).double())(torch.randn(3, 2, 192)).shape
        torch.Size([3, 5])
    """

    def __init__(self, sky: PixelCovariance, powers: Tensor):
        super().__init__()
        self.sky = sky
        self.powers = powers
        self.size = len(powers)
        entries = sum(
            block.waves.shape[1] ** 2 * (16 if block.waves.is_complex() else 8)
            for block in sky.blocks
        )
        self.room = entries * len(powers) <= 2**28
        self.kept = []

    def _factors(self) -> Iterator[list[Tensor]]:
        """Those of every spectrum, kept if they are small enough."""
        if not self.room:
            return (self.sky.factors(power) for power in self.powers)
        self.kept = self.kept or [self.sky.factors(power) for power in self.powers]
        return iter(self.kept)

    @torch.no_grad()
    def forward(self, maps: Tensor) -> Tensor:
        parts = self.sky.split(maps.cpu())
        logs = torch.stack(
            [self.sky.likelihood_of(parts, factors) for factors in self._factors()], 1
        )
        # Only differences tell, from 0.1 to thousands: the scale is logarithmic beyond 10.
        return torch.asinh((logs - logs.amax(1, keepdim=True)) / 10).float().to(maps.device)


class Standardise(nn.Module):
    """Subtract the mean and divide by the spread of all that was seen in training: ``(B, F)`` to the same.

    Batch normalisation takes those of the batch instead, a noise of some per cent: too much where
    0.5 % is asked for.
    """

    def __init__(self, size: int):
        super().__init__()
        for name, start in (
            ("seen", torch.zeros((), dtype=torch.long)),
            ("mean", torch.zeros(size)),
            ("square", torch.ones(size)),
        ):
            self.register_buffer(name, start)

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            share = len(x) / (self.seen + len(x))
            here = x.var(0, correction=0)
            apart = x.mean(0) - self.mean
            self.square = (
                (1 - share) * self.square + share * here + share * (1 - share) * apart.square()
            )
            self.mean = self.mean + share * apart
            self.seen = self.seen + len(x)
        return (x - self.mean) / self.square.sqrt().clamp(min=1e-6)


class Estimator(nn.Module):
    """A head that is trained, behind a front that is computed: mean and standard deviation of each parameter.

    Arguments:
        size: numbers that the front makes of a map.
        outputs: parameters.
        width: of two hidden layers.
        front: maps to numbers ``(B, size)``, on the CPU; it has no weights and is no part of this
            module, so that one serves many networks and stays where it is.

    Example:
        >>> front = BandPowers(4, 11, spin=0)
        >>> Estimator(front.size, outputs=1, front=front.forward)(torch.randn(3, 192)).shape
        torch.Size([3, 1, 2])
    """

    def __init__(
        self,
        size: int,
        *,
        outputs: int,
        width: int = 128,
        front: Callable[[Tensor], Tensor] | None = None,
    ):
        super().__init__()
        self.front = front
        self.outputs = outputs
        self.norm = Standardise(size)
        self.register_buffer("stretch", torch.ones(outputs))
        sizes = (size, width, width)
        layers = [
            part
            for a, b in zip(sizes, sizes[1:], strict=False)
            for part in (nn.Linear(a, b), nn.GELU())
        ]
        self.head = nn.Sequential(*layers, nn.Linear(width, 2 * outputs))

    def forward(self, x: Tensor, *, ready: bool = False) -> Tensor:
        """Means and logarithms of standard deviations ``(B, n, 2)``, on the scale of `skytutor.data.cmb.Skies.to_scale`.

        Arguments:
            x: maps, or with `ready` what the front made of them.

        In evaluation mode standard deviations are multiplied by `stretch`, which `calibrate` sets.
        """
        if not ready and self.front is None:
            raise ValueError(
                "x must be what the front made of maps (ready=True): this estimator was made without a front"
            )
        read = x if ready else self.front(x.cpu()).to(self.stretch.device)
        out = self.head(self.norm(read)).unflatten(1, (self.outputs, 2))
        return (
            out
            if self.training
            else torch.stack([out[..., 0], out[..., 1] + self.stretch.log()], -1)
        )

    @torch.no_grad()
    def calibrate(self, found: Tensor, true: Tensor) -> None:
        """Make intervals of one standard deviation hold 68.27 % of a validation set: posteriors at a prior's end are not Gaussian.

        Arguments:
            found: what `forward` gave in evaluation mode, ``(B, n, 2)``.
            true: on the same scale, ``(B, n)``.
        """
        self.stretch *= (
            ((found[..., 0] - true).abs() / found[..., 1].exp())
            .quantile(0.6827, 0)
            .to(self.stretch)
        )
