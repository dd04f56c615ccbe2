r"""A bridge from the nearest band to what may be true: flow matching in pixels, with samples [1]_.

A translation begins at the nearest given band, stretched, with noise on it, and ends at a sky that
may be the true one. On the straight way between, :math:`x_t = (1 - t)\, x_0 + t\, x_1`, a network
says where the way leads, :math:`\hat x_1(x_t, t)`, and so with which velocity to go on,

.. math:: v = \frac{\hat x_1 - x_t}{1 - t} .

Another noise leads to another sky, and the deviation of many is the uncertainty of each pixel.

How far a translation may be wrong differs from pixel to pixel: by a hundredth in an empty sky,
by a fifth in a star. A second, small network says how far. Were errors white noise of that
deviation, the way could be walked in one step; what the first network knows beyond that is held
fixed within each step, and extrapolated from the step before. So a few steps are enough, in bright
pixels and in empty ones. They become shorter towards the end, where the last noise leaves.

Shapes: B scenes, F bands, I that are given, T that are asked for, S samples, H pixels along a side.

.. [1] Y. Lipman et al., 2023, ICLR (arXiv:2210.02747).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from skytutor.chapters.translation.baselines import nearest_band
from skytutor.chapters.translation.networks import BandTranslator
from skytutor.chapters.translation.requests import checked_images
from skytutor.chapters.translation.stretch import stretched, unstretched
from skytutor.chapters.translation.subsets import check_request
from skytutor.layers.resnet import ConvUnit
from skytutor.layers.unet import UNet
from skytutor.validate import check_generator, positive

__all__ = ["BandBridge"]

CHANNELS = (16, 32, 48, 64)
_OPEN = 0.1  # deviation of a pixel that a translation leaves open, stretched, before training
_FOLDINGS = 3.5  # e-foldings by which it can be larger or smaller after it
_WIDTH = 16  # channels of the network that says it
_SPREAD = 0.5  # that of the noise at the start: well above it
_STEPS = 8  # of the way
_SHORTER = 1.5  # power with which they become shorter
_SAMPLES = 16  # whose mean is the answer


def _time(k: int) -> float:
    """Return when step k begins, from 0 for the first to 1 after the last."""
    return float(1 - (1 - k / _STEPS) ** _SHORTER)


class BandBridge(nn.Module):
    """Samples of some bands, given some others.

    Arguments:
        inputs: names of the bands that are given.
        targets: names of the T bands that are asked for.
        translator: whose answer the network is shown beside the way; it is not trained further.
        channels: of the scales of the network.

    Raises:
        ValueError: no such bands, or a target among the inputs.

    Example:
        >>> translator = BandTranslator(["r", "blue", "red"], size=16)
        >>> bridge = BandBridge(["blue", "red"], ["r"], translator=translator).eval()
        >>> images, ivar = torch.ones(2, 3, 16, 16), torch.ones(2, 3, 16, 16)
        >>> rng = torch.Generator().manual_seed(0)
        >>> bridge.sample(images, ivar, 4, generator=rng).shape
        torch.Size([4, 2, 1, 16, 16])
    """

    given: Tensor

    def __init__(
        self,
        inputs: Sequence[str],
        targets: Sequence[str],
        *,
        translator: BandTranslator,
        channels: Sequence[int] = CHANNELS,
    ):
        super().__init__()
        check_request(inputs, targets)
        names = list(translator.bands)
        self.columns = [names.index(name) for name in inputs]
        self.rows = [names.index(name) for name in targets]
        self.nearest = [names.index(nearest_band(inputs, name)) for name in targets]
        self.translator = translator.requires_grad_(False).eval()
        given = torch.tensor([name in inputs for name in names])
        self.register_buffer("given", given, persistent=False)
        # What the way says, twice, the start, the translator's answer, how far it may be wrong, the
        # inputs, and the time.
        seen = 5 * len(self.rows) + len(self.columns) + 1
        unit = ConvUnit("batch", activation=nn.ReLU)
        self.unet = UNet(seen, len(self.rows), channels=channels, unit=unit)
        # Nothing is added at first: the answer begins as the translator's.
        nn.init.zeros_(self.unet.last.weight)
        assert self.unet.last.bias is not None
        nn.init.zeros_(self.unet.last.bias)
        last = nn.Conv2d(_WIDTH, len(self.rows), 1)
        nn.init.zeros_(last.weight)
        assert last.bias is not None
        nn.init.zeros_(last.bias)
        self.log_open = nn.Sequential(
            nn.Conv2d(2 * len(self.rows) + len(self.columns), _WIDTH, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(_WIDTH, _WIDTH, 3, padding=1),
            nn.ReLU(),
            last,
        )

    def train(self, mode: bool = True) -> "BandBridge":
        """Return itself, ready for training; the translator's averages stay as they are.

        Arguments:
            mode: False for evaluation.
        """
        super().train(mode)
        self.translator.eval()
        return self

    def condition(self, images: Tensor, ivar: Tensor) -> Tensor:
        """Return what does not change on the way, ``(B, 2 T + I, H, H)``.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.

        Returns:
            the nearest band in the stretch of each target, the translator's answer, and the inputs,
            all stretched.

        Raises:
            ValueError: shapes that do not fit together.
        """
        softening = self.translator.softening
        with torch.no_grad():
            given = self.given.expand(len(images), -1)
            answer = self.translator(images, ivar, given, targets=self.rows)
        start = stretched(images[:, self.nearest], softening[self.rows])
        inputs = stretched(images[:, self.columns], softening[self.columns])
        return torch.cat([start, answer, inputs], dim=1)

    def start(self, condition: Tensor, noise: Tensor) -> Tensor:
        """Return where the way begins, ``(B, T, H, H)``, stretched.

        Arguments:
            condition: of `condition`.
            noise: ``(B, T, H, H)``, standard normal.
        """
        return condition[:, : len(self.rows)] + _SPREAD * noise

    def deviation(self, condition: Tensor) -> Tensor:
        """Return how far the translator's answer may be wrong in each pixel, ``(B, T, H, H)``.

        Arguments:
            condition: of `condition`.

        Returns:
            standard deviations, stretched.
        """
        # Bounded smoothly: where it ends, it can still be called back.
        return _OPEN * (_FOLDINGS * torch.tanh(self.log_open(condition) / _FOLDINGS)).exp()

    def forward(self, way: Tensor, time: Tensor, condition: Tensor) -> Tensor:
        """Return where the way leads, the mean of what may be true, ``(B, T, H, H)``, stretched.

        Arguments:
            way: ``(B, T, H, H)``, stretched.
            time: ``(B,)``, between 0 and 1.
            condition: of `condition`.

        Raises:
            ValueError: shapes that do not fit together.
        """
        n = len(self.rows)
        if way.shape != condition[:, :n].shape:
            raise ValueError(
                f"way must be (B, T, H, H) = {tuple(condition[:, :n].shape)}, as condition has it, "
                f"got {tuple(way.shape)}"
            )
        if time.shape != way.shape[:1]:
            raise ValueError(f"time must be (B,) = ({len(way)},), got {tuple(time.shape)}")
        t = time[:, None, None, None]
        # What is left open is learned from the translator's errors alone.
        spread = self.deviation(condition).detach()
        start, answer = condition[:, :n], condition[:, n : 2 * n]
        # What the way says of the translator's error r: z = t r + (1 - t) s noise.
        z = way - (1 - t) * start - t * answer
        variance = (t * spread).square() + ((1 - t) * _SPREAD).square()
        # If errors were white noise of deviation o, their mean would be t o^2 z over the variance,
        # and they would lie about it with the deviation that is left.
        guess = answer + t * spread.square() / variance * z
        left = spread * (1 - t) * _SPREAD / variance.sqrt()
        # In two units: that of its own deviation, and one in which what is near stands far apart.
        finer = ((t * _OPEN).square() + ((1 - t) * _SPREAD).square()).sqrt()
        about = [z / variance.sqrt(), z / finer, spread.log(), t.expand(-1, 1, *way.shape[-2:])]
        shown = [condition, *about]
        found: Tensor = guess + left * self.unet(torch.cat(shown, dim=1))
        return found

    @torch.no_grad()
    def sample(
        self,
        images: Tensor,
        ivar: Tensor,
        n_samples: int,
        *,
        generator: torch.Generator,
        pairs: bool = False,
    ) -> Tensor:
        """Return samples of the bands asked for, stretched, ``(S, B, T, H, H)``.

        The network is to be in evaluation mode.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
            n_samples: S.
            generator: of the noise at the start, on the images' device.
            pairs: every second sample begins with the negative of the noise before it. Their mean
                is the sharper, but they are not independent: not for an uncertainty.

        Raises:
            TypeError: S is no integer, or no generator.
            ValueError: S is not positive, a generator on another device, or shapes that do not fit
                together; what `skytutor.chapters.translation.requests.checked_images` refuses.
        """
        positive(n_samples=n_samples)
        check_generator(generator, images.device)
        given = self.given.expand(len(images), -1)
        translator = self.translator
        translator.check(images, ivar, given)
        shown = checked_images(
            images, ivar, given, bands=translator.bands, softening=translator.softening
        )
        condition = self.condition(shown, ivar)
        shape = condition[:, : len(self.rows)].shape
        made = []
        noise = torch.zeros(shape, device=images.device)
        for k in range(n_samples):
            if pairs and k % 2:
                noise = -noise
            else:
                noise = torch.randn(shape, generator=generator, device=images.device)
            made.append(self._walk(self.start(condition, noise), condition))
        return torch.stack(made)

    def _walk(self, way: Tensor, condition: Tensor) -> Tensor:
        """Return the end of the way that begins at `way`."""
        n = len(self.rows)
        start, answer = condition[:, :n], condition[:, n : 2 * n]
        spread = self.deviation(condition)
        # As in `forward`: z is what the way says of the translator's error, noise added.
        z = way - start
        mean, earlier = torch.zeros_like(z), 0.0
        for k in range(_STEPS):
            now, then = _time(k), _time(k + 1)
            way = z + (1 - now) * start + now * answer
            found = self(way, way.new_full((len(way),), now), condition) - answer
            noise = ((1 - now) * _SPREAD) ** 2
            variance = (now * spread).square() + noise
            # Errors of that deviation about which mean would have led to the same answer?
            before, mean = mean, (found * variance - now * spread.square() * z) / noise
            ahead = mean
            if k:
                # Half a step further on, if it goes on changing as it did on the step before.
                ahead = mean + (then - now) / 2 / (now - earlier) * (mean - before)
            # Of them all ways are known: about the mean they keep their place in the noise.
            later = (then * spread).square() + ((1 - then) * _SPREAD) ** 2
            z = then * ahead + (later / variance).sqrt() * (z - now * ahead)
            earlier = now
        return answer + z

    def predict(self, images: Tensor, ivar: Tensor, *, n_samples: int = _SAMPLES) -> Tensor:
        """Return the mean of samples, in nanomaggies a pixel, ``(B, T, H, H)``.

        The mean is taken of stretched values, and always of the same noise, in pairs of opposite
        sign: what is linear in the noise is gone from it.

        Arguments:
            images: ``(B, F, H, H)``, nanomaggies a pixel.
            ivar: ``(B, F, H, H)``.
            n_samples: of the mean.

        Raises:
            TypeError, ValueError: as of `sample`.
        """
        rng = torch.Generator(images.device).manual_seed(0)
        mean = self.sample(images, ivar, n_samples, generator=rng, pairs=True).mean(0)
        return unstretched(mean, self.translator.softening[self.rows])
