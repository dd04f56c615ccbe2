"""Adversarial training: both losses, the R1 penalty, the pair of networks, and their task.

A generator G turns latents ``z`` into maps. A discriminator D gives each map one number, its
output, which is large for maps that it takes for real.

Shapes: B batch, Z latent, P pixels.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from skytutor.arrays import as_floats, as_integers, as_tensor
from skytutor.inputs import as_input
from skytutor.training.schedule import Task
from skytutor.validate import one_of
from skytutor.values import all_finite, is_transformed

NETWORKS = ("discriminator", "generator")  # in the order in which they take their steps
KINDS = ("hinge", "logistic")
# Of these a network has no public common class.
_BATCH_NORMS = (
    nn.BatchNorm1d,
    nn.BatchNorm2d,
    nn.BatchNorm3d,
    nn.SyncBatchNorm,
    nn.LazyBatchNorm1d,
    nn.LazyBatchNorm2d,
    nn.LazyBatchNorm3d,
)


def check_latent(z: Tensor, size: int) -> Tensor:
    """Return `z` if it is a batch of latents that a generator can take.

    Arguments:
        z: latents ``(B, size)``, floating-point and finite.
        size: how many numbers the generator takes.

    Returns:
        `z`, unchanged.

    Raises:
        ValueError: another shape, another kind of number, NaN or infinity.
    """
    z = as_tensor("z", z)
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
    """Return `labels` if they are what a network of that many classes takes.

    Arguments:
        labels: class numbers ``(B,)``, integers of any width, in ``0..classes - 1``; None for a
            network without classes.
        classes: number of classes; 0 for none.

    Returns:
        `labels`, as int64.

    Raises:
        TypeError: no integers.
        ValueError: labels that are missing or not wanted, or no class numbers.
    """
    if (labels is None) != (not classes):
        negation = "" if classes else "not "
        raise ValueError(
            f"labels must {negation}be given: the network was made for {classes} classes"
        )
    if labels is None:
        return None
    (labels,) = as_integers(labels=labels)
    if bool(((labels < 0) | (labels >= classes)).any()):
        found = labels.unique().tolist()[:20]
        raise ValueError(f"labels must be integers of classes in 0..{classes - 1}, got {found}")
    return labels


def latent_size(generator: nn.Module) -> int:
    """Return how many numbers a generator takes for one map: its attribute ``latent``.

    Arguments:
        generator: a network with an integer attribute ``latent``.
    """
    size = generator.latent
    assert isinstance(size, int), f"generator.latent must be an integer, got {type(size).__name__}"
    return size


def discriminator_loss(real: Tensor, fake: Tensor, *, kind: str = "hinge") -> Tensor:
    """Return the loss that the discriminator minimises.

    "hinge": ``mean max(0, 1 - D(x)) + mean max(0, 1 + D(G(z)))``. "logistic": ``-mean log sigmoid
    D(x) - mean log(1 - sigmoid D(G(z)))``, the cross-entropy of the original GAN [1]_.

    Arguments:
        real: outputs ``(B,)`` of the discriminator on real maps, D(x).
        fake: outputs ``(B,)`` on generated maps, D(G(z)).
        kind: "hinge" or "logistic".

    Returns:
        the loss, a scalar.

    Raises:
        ValueError: an unknown `kind`.

    Example:
        >>> float(discriminator_loss(torch.tensor([2.0]), torch.tensor([-0.5])))
        0.5

    .. [1] I. Goodfellow et al., 2014, NeurIPS 27 (arXiv:1406.2661).
    """
    real, fake = as_floats(real=real, fake=fake)
    if one_of("kind", kind, allowed=KINDS) == "hinge":
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()
    # -log sigmoid(x) = softplus(-x), and -log(1 - sigmoid(x)) = softplus(x)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def generator_loss(fake: Tensor, *, kind: str = "hinge") -> Tensor:
    """Return the loss that the generator minimises.

    "hinge": ``-mean D(G(z))``. "logistic": ``-mean log sigmoid D(G(z))``, which does not saturate
    where the discriminator is certain.

    Arguments:
        fake: outputs ``(B,)`` of the discriminator on generated maps, D(G(z)).
        kind: "hinge" or "logistic".

    Returns:
        the loss, a scalar.

    Raises:
        ValueError: an unknown `kind`.
    """
    (fake,) = as_floats(fake=fake)
    if one_of("kind", kind, allowed=KINDS) == "hinge":
        return -fake.mean()
    return F.softplus(-fake).mean()


def r1_penalty(outputs: Tensor, maps: Tensor) -> Tensor:
    """Return the R1 penalty ``mean |grad D(x)|**2 / 2`` at real maps.

    It makes adversarial training converge near its equilibrium, where without it the two networks
    can circle around it [1]_.

    Arguments:
        outputs: outputs ``(B,)`` of the discriminator on `maps`.
        maps: real maps ``(B, ...)`` that require a gradient.

    Returns:
        the penalty, a scalar that can be differentiated with respect to the weights.

    Raises:
        TypeError: arrays, which have no gradient.
        ValueError: `maps` do not require a gradient.

    .. [1] L. Mescheder, A. Geiger & S. Nowozin, 2018, ICML 35.
    """
    for name, values in (("outputs", outputs), ("maps", maps)):
        if not isinstance(values, Tensor):
            raise TypeError(
                f"{name} must be a torch tensor with its gradient, got {type(values).__name__}"
            )
    if not maps.requires_grad:
        raise ValueError(
            "maps must ask for a gradient: call maps.requires_grad_() before the discriminator"
        )
    # An output depends on its own map alone, so the gradient of the sum holds every map's own.
    (slope,) = torch.autograd.grad(outputs.sum(), maps, create_graph=True)
    return slope.square().flatten(1).sum(1).mean() / 2


def _single(x: Tensor) -> Tensor:
    """Return a tensor in float32, or in float64 if it comes so."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class AdversarialPair(nn.Module):
    """A generator and a discriminator, and the loss of the one that takes a step.

    The discriminator sees real and generated maps in one pass, but in two passes if it has batch
    normalisation: the statistics of a mixed batch would tell it which maps are generated, and when
    the generator takes its step there is no mixed batch. With `r1` the penalty of `r1_penalty` is
    taken at an eighth of the real maps, in float32. That is cheap enough for every step, and its
    expectation is the same for a discriminator that looks at each map on its own.

    Arguments:
        generator: called as ``generator(z, labels)``; ``labels`` may be None.
        discriminator: called as ``discriminator(maps, labels)``; gives ``(B,)``.
        kind: "hinge" or "logistic", see `discriminator_loss`.
        r1: weight of the R1 penalty; 0 for none.

    Raises:
        ValueError: an unknown `kind`, or a weight that is negative or not finite.

    Example:
        >>> from skytutor.chapters.gan.networks import HaloDiscriminator, HaloGenerator
        >>> generator = HaloGenerator(4, latent=8, widths=(8, 4))
        >>> pair = AdversarialPair(generator, HaloDiscriminator(4, widths=(4, 8)), r1=0.1)
        >>> maps, z = torch.rand(8, 1, 192), torch.randn(8, 8)
        >>> loss = pair("generator", maps, labels=None, z=z, fake_labels=None)
        >>> bool(loss.isfinite())
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
        self.two_passes = any(isinstance(part, _BATCH_NORMS) for part in discriminator.modules())

    def extra_repr(self) -> str:
        """Return the loss and the weight of the penalty."""
        return f"kind={self.kind!r}, r1={self.r1}"

    def forward(
        self,
        network: str,
        maps: Tensor,
        labels: Tensor | None,
        z: Tensor,
        fake_labels: Tensor | None,
    ) -> Tensor:
        """Return the loss that `network` minimises, a scalar.

        Arguments:
            network: "discriminator" or "generator".
            maps: real maps ``(B, 1, P)``, or whatever the discriminator takes.
            labels: classes ``(B,)`` of the real maps, or None.
            z: latents ``(B, Z)`` of the generated maps.
            fake_labels: classes ``(B,)`` that the generated maps are to show, or None.

        Raises:
            TypeError, ValueError: an unknown `network`, or maps unlike those of the generator.
        """
        if one_of("network", network, allowed=NETWORKS) == "discriminator":
            return self._discriminator_loss(maps, labels, z=z, fake_labels=fake_labels)
        return self._generator_loss(z, fake_labels)

    def _discriminator_loss(
        self, maps: Tensor, labels: Tensor | None, *, z: Tensor, fake_labels: Tensor | None
    ) -> Tensor:
        # The generator is fixed during the discriminator's step: no gradient of its weights.
        with torch.no_grad():
            generated = self.generator(z, fake_labels)
        if as_input("maps", maps).shape[1:] != generated.shape[1:]:
            raise ValueError(f"maps must be {tuple(generated.shape)}, got {tuple(maps.shape)}")
        if self.two_passes:
            real = self.discriminator(maps, labels)
            fake = self.discriminator(generated, fake_labels)
        else:
            both_labels = None
            if labels is not None and fake_labels is not None:
                both_labels = torch.cat([labels, fake_labels])
            outputs = self.discriminator(torch.cat([maps, generated]), both_labels)
            real, fake = outputs.split([len(maps), len(generated)])
        # In float32 also where autocast ran the networks in bfloat16.
        loss = discriminator_loss(_single(real), _single(fake), kind=self.kind)
        if self.r1:
            loss = loss + self.r1 * self._r1_penalty(maps, labels)
        return loss

    def _r1_penalty(self, maps: Tensor, labels: Tensor | None) -> Tensor:
        """Return the R1 penalty at an eighth of the real maps, at least one."""
        few = slice(0, max(1, len(maps) // 8))
        few_labels = None if labels is None else labels[few]
        self._check_r1(maps)
        # A gradient that is differentiated again is taken in float32 at least, throughout.
        with torch.autocast(maps.device.type, enabled=False):
            some_maps = _single(maps[few]).requires_grad_()
            return r1_penalty(self.discriminator(some_maps, few_labels), some_maps)

    def _check_r1(self, maps: Tensor) -> None:
        """Refuse the modes of torch in which a gradient cannot be taken inside the loss."""
        tensors = (maps, *self.discriminator.parameters())
        if torch.compiler.is_compiling() or any(map(is_transformed, tensors)):
            raise RuntimeError(
                "r1 takes a gradient inside the loss, which torch.compile, torch.export and "
                "torch.func do not record: compile the networks one by one, or use r1=0"
            )
        if torch.is_inference_mode_enabled():
            raise RuntimeError(
                "r1 needs a gradient, which torch.inference_mode() does not record: use "
                "torch.no_grad() or r1=0"
            )
        if maps.dtype in (torch.float16, torch.bfloat16):
            raise TypeError(
                f"maps must be float32 or float64 with r1, got {maps.dtype}: keep the networks in "
                "float32 and use torch.autocast"
            )

    def _generator_loss(self, z: Tensor, fake_labels: Tensor | None) -> Tensor:
        # The discriminator is fixed during the generator's step: no gradient of its weights.
        fixed = [p for p in self.discriminator.parameters() if p.requires_grad]
        for parameter in fixed:
            parameter.requires_grad_(False)
        outputs = self.discriminator(self.generator(z, fake_labels), fake_labels)
        loss = generator_loss(_single(outputs), kind=self.kind)
        for parameter in fixed:
            parameter.requires_grad_(True)
        return loss


class AdversarialTask(Task):
    """Training of an `AdversarialPair`: discriminator and generator step in turn on each batch.

    A batch is real maps and latents and, with classes, the labels of the maps and those that the
    latents' maps are to show.

    Arguments:
        lr_factors: learning rates over the schedule's, of discriminator and generator.
    """

    def __init__(self, lr_factors: Sequence[float]):
        self.lr_factors = dict(zip(NETWORKS, lr_factors, strict=True))

    def loss(self, model: nn.Module, batch: tuple[Tensor, ...], network: str) -> Tensor:
        """Return the loss that `network` minimises, a scalar.

        Arguments:
            model: an `AdversarialPair`.
            batch: ``(maps, z)`` or ``(maps, z, labels, fake_labels)``.
            network: "discriminator" or "generator".
        """
        maps, z, *given = batch
        labels, fake_labels = given or (None, None)
        return model(network, maps, labels=labels, z=z, fake_labels=fake_labels)
