r"""Variational autoencoder of galaxy spectra with missing bins, and its ordered latents.

The published one [1]_ is an InfoVAE [2]_ of sizes 1000-549-110-10 with leaky ReLU. Its latents are
rotated by principal components; the first six, standardised, stand for the spectrum [3]_. Its loss
for a batch of B spectra is

.. math::
    \tfrac1B \sum_b \Big[\tfrac12 \sum_p w_{bp} (x_{bp} - \hat x_{bp})^2
    + (1 - \alpha)\, \mathrm{KL}(q_b \,\|\, \mathcal N(0, 1))\Big]
    + (\alpha + \lambda - 1)\, L\, \mathrm{MMD}

with a latent drawn from the encoder's :math:`q_b = \mathcal N(\mu_b, \sigma_b^2)`, weights w that
are 0 in bins which were not observed, and the distance MMD between the batch's L latents and draws
of a standard normal distribution. With :math:`\alpha = 1` nothing is drawn: the latent is its mean.

Ours differs in two ways. Beside the perceptrons stand linear maps that begin as the weighted
principal components of the training spectra, so that the perceptrons learn what those leave. And
the decoder is trained with only the first k latents too, for k drawn anew [4]_, so that a few
latents say as much as a few can.

A bin that was not observed is filled with what the components say of it, given the observed ones,
as the published training set was. Filled with the mean spectrum, a line outside of the window would
shift the latents. The mask itself is no input: where the window ends would tell the redshift.

**Rotation.** The MMD makes the variances of all latents nearly equal, and then their principal axes
mean nothing. So the axes are those of the spectra's response to the latents: latent 1 is the
direction along which the decoded spectra vary most.

Shapes: spectra and inverse variances ``(B, P)``, latents ``(B, L)``.

.. [1] S. Portillo et al., 2020, AJ 160, 45 (arXiv:2002.10464).
.. [2] S. Zhao, J. Song & S. Ermon, 2019, AAAI (arXiv:1706.02262).
.. [3] J. Wu & J. Peek, 2020, arXiv:2009.12318.
.. [4] O. Rippel, M. Gelbart & R. Adams, 2014, ICML: nested dropout.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from skytutor.chapters.spectra.components import SpectralComponents, check_spectra
from skytutor.chapters.spectra.principal_axes import principal_axes
from skytutor.chunks import in_chunks
from skytutor.validate import as_integer, one_of, positive

__all__ = ["SpectrumAutoencoder", "latent_walk"]

_SCALE = 0.2  # spread of normalised flux in a bin, so that inputs are of order one
_CHUNK = 4096  # spectra at a time


def _perceptron(sizes: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for left, right in pairwise(sizes):
        layers += [nn.Linear(left, right), nn.LeakyReLU()]
    return nn.Sequential(*layers[:-1])


class SpectrumAutoencoder(nn.Module):
    """Spectra to latents and back.

    Arguments:
        hidden: widths of the encoder's hidden layers; the decoder has the same in reverse.
        n_latents: L.
        n_bins: P.
        n_kept: how many standardised latents `encode` returns.
        linear: put linear maps beside the perceptrons; the published one has none.

    Raises:
        TypeError: a size that is no integer.
        ValueError: a size below 1, or more latents kept than there are.

    Example:
        >>> model = SpectrumAutoencoder(hidden=(16,), n_latents=4, n_bins=20, n_kept=2)
        >>> latents = model.encode(torch.ones(3, 20), torch.ones(3, 20))
        >>> latents.shape, model.decode(latents).shape
        (torch.Size([3, 2]), torch.Size([3, 20]))
    """

    mean: Tensor
    basis: Tensor
    centre: Tensor
    rotation: Tensor
    inverse: Tensor
    started: Tensor

    def __init__(
        self,
        hidden: Sequence[int] = (128, 48),
        n_latents: int = 10,
        *,
        n_bins: int = 1000,
        n_kept: int = 6,
        linear: bool = True,
    ):
        super().__init__()
        positive(n_latents=n_latents, n_bins=n_bins, n_kept=n_kept)
        for width in hidden:
            as_integer("hidden", width, wanted="positive integers")
        if n_kept > n_latents:
            raise ValueError(f"n_kept must be at most n_latents = {n_latents}, got {n_kept}")
        self.n_latents = n_latents
        self.n_kept = n_kept
        sizes = [n_bins, *hidden, n_latents]
        # Mean and logarithm of the variance of each latent.
        self.encoder = _perceptron([*sizes[:-1], 2 * n_latents])
        self.decoder = _perceptron(sizes[::-1])
        self.linear_encoder = nn.Linear(n_bins, n_latents, bias=False) if linear else None
        self.linear_decoder = nn.Linear(n_latents, n_bins, bias=False) if linear else None
        self.register_buffer("mean", torch.ones(n_bins))
        self.register_buffer("basis", torch.zeros(n_latents, n_bins))
        self.register_buffer("centre", torch.zeros(n_latents))
        self.register_buffer("rotation", torch.eye(n_latents))
        self.register_buffer("inverse", torch.eye(n_latents))
        self.register_buffer("started", torch.zeros((), dtype=torch.bool))

    def extra_repr(self) -> str:
        """Return what is printed of the module beside its children."""
        return f"n_bins={len(self.mean)}, n_latents={self.n_latents}, n_kept={self.n_kept}"

    @torch.no_grad()
    def start_from(self, components: SpectralComponents) -> None:
        """Set the mean spectrum, and begin as the principal components with nothing beside them.

        Arguments:
            components: as many as there are latents, or more.

        Raises:
            ValueError: of other bins, or fewer.
        """
        if components.vectors.shape[0] < self.n_latents or components.mean.shape != self.mean.shape:
            raise ValueError(
                f"components must be at least {self.n_latents} of {len(self.mean)} bins, got "
                f"{components.vectors.shape[0]} of {len(components.mean)}"
            )
        self.mean.copy_(components.mean)
        self.started.fill_(True)
        vectors = components.vectors[: self.n_latents]
        sd = components.variances[: self.n_latents].clamp(min=1e-12).sqrt()
        self.basis.copy_(vectors * sd[:, None])
        if self.linear_encoder is None or self.linear_decoder is None:
            return
        # A latent is a coefficient over its standard deviation, near the prior from the start.
        self.linear_encoder.weight.copy_(_SCALE * vectors / sd[:, None])
        self.linear_decoder.weight.copy_(vectors.T * sd)
        # Small corrections first: a tenth of what a random last layer gives.
        for network in (self.encoder, self.decoder):
            last = network[-1]
            assert isinstance(last, nn.Linear)
            last.weight.mul_(0.1)
            last.bias.zero_()
            if network is self.encoder:
                # The encoder is certain to about 5 % of a latent's spread.
                last.bias[self.n_latents :] = -6.0

    def fill(self, flux: Tensor, ivar: Tensor) -> Tensor:
        """Subtract the mean spectrum, and fill missing bins with what the components say of them.

        The coefficients of the components have a normal prior, whose variances are those of the
        training spectra; the fill is the posterior mean given the observed bins. Before
        `start_from` it is 0, the mean spectrum.

        Arguments:
            flux: ``(B, P)``; what stands in bins without inverse variance does not count.
            ivar: ``(B, P)``, 0 where not observed.

        Returns:
            ``(B, P)``.
        """
        away = torch.where(ivar > 0, flux - self.mean, 0.0)
        # All pairs of components, so that the normal matrices are one matrix product.
        pairs = (self.basis[:, None] * self.basis).flatten(0, 1)  # (L L, P)
        precision = (ivar @ pairs.T).unflatten(1, (self.n_latents, self.n_latents))
        # Each row of the basis is a component times its standard deviation: the prior is 1.
        precision = precision + torch.eye(self.n_latents).to(precision)
        data = (ivar * away) @ self.basis.T
        coefficients = torch.linalg.solve(precision, data[..., None])[..., 0]
        return torch.where(ivar > 0, away, coefficients @ self.basis)

    def posterior(self, flux: Tensor, ivar: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and logarithm of the variance of the latents, ``(B, L)`` each, not rotated.

        Arguments:
            flux: ``(B, P)``; what stands in bins without inverse variance does not count.
            ivar: ``(B, P)``, 0 where not observed.
        """
        away = self.fill(flux, ivar) / _SCALE
        mean, log_variance = self.encoder(away).chunk(2, dim=1)
        if self.linear_encoder is not None:
            mean = mean + self.linear_encoder(away)
        # Beyond these ends nothing changes that a float could hold.
        return mean, log_variance.clamp(-12, 4)

    def reconstruct(self, latents: Tensor) -> Tensor:
        """Return spectra ``(B, P)`` of latents as `posterior` gives them.

        Arguments:
            latents: ``(B, L)``.
        """
        away = self.decoder(latents)
        if self.linear_decoder is not None:
            away = away + self.linear_decoder(latents)
        return self.mean + away

    def standardise(self, latents: Tensor) -> Tensor:
        """Rotate and standardise latents of `posterior`, ``(B, L)``.

        Arguments:
            latents: ``(B, L)``.
        """
        return (latents - self.centre) @ self.rotation.T

    def unstandardise(self, latents: Tensor) -> Tensor:
        """Return latents ``(B, L)`` for `reconstruct` from the first standardised ones.

        Arguments:
            latents: ``(B, k)``, k at most L; the rest is 0, the mean of the training spectra.

        Raises:
            ValueError: of another shape.
        """
        k = latents.shape[-1]
        if latents.ndim != 2 or not 1 <= k <= self.n_latents:
            raise ValueError(
                f"latents must be (B, k) with k in 1..{self.n_latents}, got {tuple(latents.shape)}"
            )
        return self.centre + latents @ self.inverse[:, :k].T

    def encode(self, flux: Tensor, ivar: Tensor, *, n: int | None = None) -> Tensor:
        """Return the first standardised latents: posterior mean, rotated, mean 0 and variance 1.

        Arguments:
            flux: ``(B, P)``, normalised; bins that were not observed do not count.
            ivar: ``(B, P)``, inverse variance, 0 where not observed.
            n: how many latents; None for `n_kept`.

        Returns:
            ``(B, n)``.

        Raises:
            TypeError: `flux` or `ivar` is no tensor of floating-point numbers.
            ValueError: spectra of other bins, not finite, or with less than half observed.
        """
        check_spectra(flux, ivar)
        if flux.shape[1:] != self.mean.shape:
            raise ValueError(f"flux must have {len(self.mean)} bins, got {flux.shape[1]}")
        fewest = int((ivar > 0).sum(1).min())
        if 2 * fewest < len(self.mean):
            raise ValueError(
                f"ivar must be positive in at least half of the {len(self.mean)} bins of each "
                f"spectrum, is so in {fewest} of one"
            )
        latents = self.standardise(self.posterior(flux, ivar)[0])
        return latents[:, : self.n_kept if n is None else n]

    def decode(self, latents: Tensor) -> Tensor:
        """Return spectra ``(B, P)`` from the first standardised latents.

        Arguments:
            latents: ``(B, k)``, k at most L; the rest is 0.

        Raises:
            ValueError: of another shape.
        """
        return self.reconstruct(self.unstandardise(latents))

    def forward(
        self, flux: Tensor, ivar: Tensor, noise: Tensor | None = None, kept: Tensor | None = None
    ) -> Tensor | tuple[Tensor, Tensor, Tensor, Tensor]:
        """Return the spectra ``(B, P)`` that the kept latents stand for.

        Arguments:
            flux: ``(B, P)``.
            ivar: ``(B, P)``, 0 where not observed.
            noise: standard normal ``(B, L)``, for training: latents are then drawn.
            kept: ``(B, 1)``, how many standardised latents to keep of each; goes with `noise`.
                The rest are 0.

        Returns:
            the spectra; with `noise` also the latents that were drawn, their mean and the logarithm
            of their variance, each ``(B, L)``.
        """
        if noise is None or kept is None:
            return self.decode(self.encode(flux, ivar))
        mean, log_variance = self.posterior(flux, ivar)
        latents = mean + (log_variance / 2).exp() * noise
        order = torch.arange(self.n_latents, device=flux.device)
        rotated = self.standardise(latents) * (order < kept)
        return self.reconstruct(self.unstandardise(rotated)), latents, mean, log_variance

    @torch.no_grad()
    def fit_rotation(self, flux: Tensor, ivar: Tensor, *, axes: str = "spectra") -> None:
        """Set rotation and standardisation from training spectra.

        Arguments:
            flux: ``(N, P)``, many more spectra than latents.
            ivar: ``(N, P)``, 0 where not observed.
            axes: "spectra" for the principal components of the spectra's linear response to the
                latents, "latents" for those of the latents themselves, as published.

        Raises:
            ValueError: unknown axes, or fewer than two spectra for each latent.
        """
        one_of("axes", axes, allowed=("spectra", "latents"))
        if len(flux) < 2 * self.n_latents:
            raise ValueError(
                f"flux must hold at least {2 * self.n_latents} spectra, got {len(flux)}"
            )
        latents = in_chunks(lambda *part: self.posterior(*part)[0], flux, ivar, size=_CHUNK)
        spectra = None
        if axes == "spectra":
            spectra = in_chunks(self.reconstruct, latents, size=_CHUNK) - self.mean
        centre, rotation, inverse = principal_axes(latents, spectra)
        self.centre.copy_(centre)
        self.rotation.copy_(rotation)
        self.inverse.copy_(inverse)


@torch.no_grad()
def latent_walk(autoencoder: SpectrumAutoencoder, latent: int, values: Tensor) -> Tensor:
    """Return spectra along one standardised latent, the others 0.

    Arguments:
        autoencoder: a trained one.
        latent: which one, counted from 0.
        values: ``(V,)``, in standard deviations of the training spectra.

    Returns:
        ``(V, P)``.

    Raises:
        ValueError: no such latent, or values of another shape.

    Example:
        >>> model = SpectrumAutoencoder(hidden=(8,), n_latents=3, n_bins=20, n_kept=2)
        >>> latent_walk(model, 1, torch.tensor([-2.0, 0.0, 2.0])).shape
        torch.Size([3, 20])
    """
    if not 0 <= as_integer("latent", latent) < autoencoder.n_latents:
        raise ValueError(f"latent must lie in 0..{autoencoder.n_latents - 1}, got {latent}")
    if values.ndim != 1:
        raise ValueError(f"values must be (V,), got {tuple(values.shape)}")
    latents = torch.zeros(len(values), autoencoder.n_latents).to(autoencoder.mean)
    latents[:, latent] = values.to(autoencoder.mean)
    return autoencoder.decode(latents)
