"""The game of a generator and a discriminator: what each makes small, and who moves when.

A generator turns numbers ``z`` into maps, a discriminator gives each map a judgement, large for
what it holds to be real.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from skytutor.healpix.checks import all_finite, one_of

TURNS = ("discriminator", "generator")
KINDS = ("hinge", "logistic")


def check_latent(z: Tensor, size: int) -> Tensor:
    """Return `z`; ``ValueError`` unless it is floating-point ``(B, size)`` and finite."""
    if z.dim() != 2 or z.shape[1] != size or not z.is_floating_point():
        raise ValueError(
            f"z must be a floating-point tensor (B, {size}), got {z.dtype}, shape {tuple(z.shape)}"
        )
    if not all_finite(z):
        raise ValueError(
            f"z must be finite, got {int((~z.isfinite()).sum())} NaN or infinite numbers"
        )
    return z


def check_labels(labels: Tensor | None, classes: int) -> Tensor | None:
    """Return `labels`; ``ValueError`` unless they are class numbers below `classes`, or None where there are no classes."""
    if (labels is None) != (not classes):
        raise ValueError(
            f"labels must {'' if classes else 'not '}be given: the network was made for {classes} classes"
        )
    if labels is not None and (
        labels.dtype != torch.long or bool(((labels < 0) | (labels >= classes)).any())
    ):
        raise ValueError(
            f"labels must be integers (torch.long) in 0..{classes - 1}, got {labels.dtype}, {labels.unique().tolist()[:20]}"
        )
    return labels


def discriminator_loss(real: Tensor, fake: Tensor, *, kind: str = "hinge") -> Tensor:
    """What a discriminator makes small, from its judgements ``(B,)`` of real and of drawn maps.

    "hinge": ``mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))``. "logistic": ``-log sigmoid`` of
    both, the original game.
    """
    if one_of("kind", kind, allowed=KINDS) == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, *, kind: str = "hinge") -> Tensor:
    """What a generator makes small: ``-mean D(G(z))``, or with "logistic" the non-saturating ``-mean log sigmoid D(G(z))``."""
    return (
        -fake.mean() if one_of("kind", kind, allowed=KINDS) == "hinge" else F.softplus(-fake).mean()
    )


def r1_penalty(judged: Tensor, maps: Tensor) -> Tensor:
    """``mean |grad D(x)|**2 / 2`` at real maps that ask for a gradient; it keeps the game from turning in circles [1]_.

    .. [1] L. Mescheder, A. Geiger & S. Nowozin, 2018, ICML 35.
    """
    if not maps.requires_grad:
        raise ValueError(
            "maps must ask for a gradient: call maps.requires_grad_() before the discriminator"
        )
    (slope,) = torch.autograd.grad(judged.sum(), maps, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2


class Game(nn.Module):
    """A generator and a discriminator, and the loss of whoever is to move.

    The discriminator sees real and drawn maps in one pass, but in two if it has batch
    normalisation: the statistics of a mixed batch would give away which is which, and on the
        generator's turn there is no such batch. With `r1` the penalty on
    its slope is taken at an eighth of the real maps, in float32: cheap enough for every step, and
    for a judge that looks at each map for itself the same in the mean.

    Arguments:
        generator: called as ``generator(z, labels)``; ``labels`` may be None.
        discriminator: called as ``discriminator(maps, labels)``; gives ``(B,)``.
        kind: "hinge" or "logistic".
        r1: weight of the penalty; 0 for none.

    Example:
        >>> from skytutor.models.gan import HaloDiscriminator, HaloGenerator
        >>> game = Game(HaloGenerator(4, latent=8, widths=(8, 4)), HaloDiscriminator(4, widths=(4, 8)), r1=0.1)
        >>> bool(game("generator", torch.rand(8, 1, 192), None, torch.randn(8, 8), None).isfinite())
        True
    """

    def __init__(
        self,
        generator: nn.Module,
        discriminator: nn.Module,
        *,
        kind: str = "hinge",
        r1: float = 0.0,
    ):
        super().__init__()
        if not 0 <= r1 < float("inf"):
            raise ValueError(f"r1 must be a finite number from 0 on, got {r1}")
        self.generator = generator
        self.discriminator = discriminator
        self.kind = one_of("kind", kind, allowed=KINDS)
        self.r1 = r1
        self.apart = any(isinstance(part, _BatchNorm) for part in discriminator.modules())

    def forward(
        self, turn: str, maps: Tensor, labels: Tensor | None, z: Tensor, wanted: Tensor | None
    ) -> Tensor:
        """What `turn` makes small: real `maps` with their `labels`, and latents `z` with the labels they are to be drawn for."""
        if one_of("turn", turn, allowed=TURNS) == "discriminator":
            return self._discriminate(maps, labels, z, wanted)
        return self._generate(z, wanted)

    def _discriminate(
        self, maps: Tensor, labels: Tensor | None, z: Tensor, wanted: Tensor | None
    ) -> Tensor:
        with torch.no_grad():
            drawn = self.generator(z, wanted)
        if self.apart:
            real = self.discriminator(maps, labels)
            fake = self.discriminator(drawn, wanted)
        else:
            both = None if labels is None else torch.cat([labels, wanted])
            real, fake = self.discriminator(torch.cat([maps, drawn]), both).split(
                [len(maps), len(drawn)]
            )
        loss = discriminator_loss(real.float(), fake.float(), kind=self.kind)
        if not self.r1:
            return loss
        few = slice(0, max(1, len(maps) // 8))
        with torch.autocast(maps.device.type, enabled=False):
            some = maps[few].float().requires_grad_()
            return loss + self.r1 * r1_penalty(
                self.discriminator(some, None if labels is None else labels[few]), some
            )

    def _generate(self, z: Tensor, wanted: Tensor | None) -> Tensor:
        judge = [p for p in self.discriminator.parameters() if p.requires_grad]
        for p in judge:
            p.requires_grad_(False)  # the judge holds still: no gradient of its weights is wanted
        loss = generator_loss(
            self.discriminator(self.generator(z, wanted), wanted).float(), kind=self.kind
        )
        for p in judge:
            p.requires_grad_(True)
        return loss
