"""Adversarial training: losses and penalty, and two networks in the training loop."""

import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from skytutor.chapters.gan.networks import HaloDiscriminator
from skytutor.training.adversarial import (
    NETWORKS,
    AdversarialPair,
    discriminator_loss,
    generator_loss,
    r1_penalty,
)
from skytutor.training.checkpoint import load_tensors
from skytutor.training.loop import train
from skytutor.training.schedule import Schedule, Task

pytestmark = pytest.mark.usefixtures("one_thread")


class SmallNetwork(nn.Sequential):
    """Takes labels and ignores them."""

    latent = 4
    classes = 0

    def forward(self, x, labels=None):
        out = super().forward(x)
        return out.squeeze(1) if self[-1].out_features == 1 else out


def mlp(n_in, n_out):
    return SmallNetwork(
        nn.Linear(n_in, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, n_out)
    )


class Ring(Task):
    """Eight spots on a ring; a task for a generator and a discriminator."""

    score = "hit"
    size = 2048

    def __init__(self, lr_factors=(1.0, 1.0), stop_at=None):
        self.lr_factors = dict(zip(NETWORKS, lr_factors, strict=True))
        self.stop_at = stop_at
        self.calls = 0
        angle = 2 * math.pi * torch.arange(8) / 8
        self.spots = torch.stack([angle.cos(), angle.sin()], 1)  # (8, 2)

    def draw(self, n, *, generator):
        return [
            0.05 * torch.randn(n, 2, generator=generator),
            torch.randn(n, 4, generator=generator),
        ]

    def batch(self, indices, draws):
        self.calls += 1
        if self.calls == self.stop_at:
            raise KeyError("killed")
        noise, z = draws
        return self.spots[indices % 8] + noise, z

    def loss(self, model, batch, network):
        points, z = batch
        return model(network, points, labels=None, z=z, fake_labels=None)

    def validate(self, model):
        z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            samples = model.generator(z)
        nearest = torch.cdist(samples, self.spots).min(1)
        counts = nearest.indices[nearest.values < 0.25].bincount(minlength=8)
        return {"hit": float((counts > 10).sum())}


PLAN = Schedule(
    epochs=4,
    batch_size=64,
    lr=2e-3,
    optimizer="adam",
    beta1=0.0,
    beta2=0.99,
    rate="constant",
    average=0.9,
    save_every_s=0.0,
)


def ring_gan():
    torch.manual_seed(3)
    return AdversarialPair(mlp(4, 2), mlp(2, 1), kind="logistic", r1=0.3)


def train_ring(folder, task, *, resume=False, plan=PLAN):
    """Return the trained pair, and the result."""
    pair = ring_gan()
    found = train(
        pair,
        task,
        schedule=plan,
        folder=folder,
        seed=5,
        recipe="ring",
        resume=resume,
        progress=False,
    )
    return pair, found


def test_adversarial_training_finds_all_eight_spots(tmp_path):
    _, found = train_ring(tmp_path, Ring(), plan=replace(PLAN, epochs=25, save_every_s=1e9))
    assert found.history[-1]["hit"] == 8, [row["hit"] for row in found.history]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """Return the folder of a training that nothing stops; it saves at the end of an epoch alone."""
    folder = tmp_path_factory.mktemp("whole")
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    train_ring(folder, Ring(), plan=replace(PLAN, save_every_s=1e9))
    torch.set_num_threads(before)
    return folder


@pytest.mark.parametrize("stop_at", [1, 33, 47])
def test_a_killed_training_of_two_networks_ends_where_it_would_have_ended(
    tmp_path, undisturbed, stop_at
):
    """Both networks' weights, both optimizers, the average, the history: bit for bit."""
    with pytest.raises(KeyError, match="killed"):
        train_ring(tmp_path / "cut", Ring(stop_at=stop_at))
    train_ring(tmp_path / "cut", Ring(), resume=True)
    whole, whole_card = load_tensors(undisturbed / "state.safetensors")
    cut, cut_card = load_tensors(tmp_path / "cut" / "state.safetensors")
    assert whole.keys() == cut.keys()
    assert all(torch.equal(whole[name], cut[name]) for name in whole)
    hits = [row["hit"] for row in whole_card["history"]]
    assert hits == [row["hit"] for row in cut_card["history"]]
    assert whole_card["step"] == cut_card["step"]
    optimizers = {name.split(".")[1] for name in whole if name.startswith("optimizer.")}
    assert optimizers == {"0", "1"}


@pytest.mark.parametrize(
    "lr_factors, fixed", [((1.0, 0.0), "generator"), ((0.0, 1.0), "discriminator")]
)
def test_each_network_has_its_own_learning_rate_factor(tmp_path, lr_factors, fixed):
    before = ring_gan().state_dict()
    pair, _ = train_ring(tmp_path, Ring(lr_factors), plan=replace(PLAN, epochs=1))
    after = pair.state_dict()
    for name in before:
        assert torch.equal(before[name], after[name]) == name.startswith(fixed), name


def test_several_processes_are_refused(tmp_path):
    fabric = SimpleNamespace(world_size=2, global_rank=0)
    message = r"devices must be 1: networks that are trained against each other .* got 2"
    with pytest.raises(ValueError, match=message):
        train(ring_gan(), Ring(), schedule=PLAN, folder=tmp_path, fabric=fabric)


@pytest.mark.parametrize("name", ["beta1", "beta2"])
def test_a_beta_of_one_is_refused(name):
    with pytest.raises(ValueError, match=f"{name} must lie in 0..1, got 1.0"):
        replace(PLAN, **{name: 1.0})


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_losses_in_closed_form():
    real = torch.tensor([2.0, 0.0])
    fake = torch.tensor([-3.0, 1.0])
    assert float(discriminator_loss(real, fake)) == pytest.approx((0 + 1) / 2 + (0 + 2) / 2)
    assert float(generator_loss(fake)) == pytest.approx(1.0)
    of_real = -(math.log(sigmoid(2)) + math.log(sigmoid(0))) / 2
    of_fake = -(math.log(1 - sigmoid(-3)) + math.log(1 - sigmoid(1))) / 2
    loss = discriminator_loss(real, fake, kind="logistic")
    assert float(loss) == pytest.approx(of_real + of_fake, rel=1e-6)
    expected = -(math.log(sigmoid(-3)) + math.log(sigmoid(1))) / 2
    assert float(generator_loss(fake, kind="logistic")) == pytest.approx(expected, rel=1e-6)


def test_r1_is_the_slope():
    weight = torch.randn(48)
    maps = torch.rand(5, 1, 48).requires_grad_()
    found = r1_penalty((maps[:, 0] * weight).sum(1), maps)
    assert float(found) == pytest.approx(float(weight.square().sum() / 2), rel=1e-5)
    discriminator = HaloDiscriminator(8, widths=(4, 8))
    maps = torch.rand(2, 1, 768).requires_grad_()
    r1_penalty(discriminator(maps), maps).backward()
    gradients = [p.grad for p in discriminator.parameters() if p.grad is not None]
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


BAD = {
    "loss": (
        lambda: discriminator_loss(torch.zeros(1), torch.zeros(1), kind="mse"),
        "kind must be one of 'hinge', 'logistic', got 'mse'",
    ),
    "kind of the pair": (
        lambda: AdversarialPair(torch.nn.Identity(), torch.nn.Identity(), kind="chess"),
        "kind must be one of 'hinge', 'logistic', got 'chess'",
    ),
    "penalty": (
        lambda: AdversarialPair(torch.nn.Identity(), torch.nn.Identity(), r1=-1),
        "r1 must be a finite number from 0 on, got -1",
    ),
    "network": (
        lambda: AdversarialPair(torch.nn.Identity(), torch.nn.Identity())("critic", *[None] * 4),
        "network must be one of 'discriminator', 'generator', got 'critic'",
    ),
    "gradient": (
        lambda: r1_penalty(torch.zeros(1), torch.zeros(1)),
        "maps must ask for a gradient",
    ),
}


@pytest.mark.parametrize("call, message", BAD.values(), ids=BAD.keys())
def test_bad_input_is_named(call, message):
    with pytest.raises(ValueError, match=message):
        call()
