"""skytutor.training.muon: torch's Muon on matrices and its AdamW on the rest, as one optimizer."""

import copy

import pytest
import torch
from torch import nn

from skytutor.training.muon import MuonAdamW, _orthogonalised

RATES = (1e-2, 1e-2, 5e-3, 5e-3, 1e-3)


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.SiLU(), nn.Linear(8, 2))


def loss(network, seed):
    rng = torch.Generator().manual_seed(seed)
    x = torch.randn(64, 5, generator=rng)
    return (network(x) - x[:, :2] * x[:, 2:4]).square().mean()


def step(network, *optimizers, rate, seed):
    for optimizer in optimizers:
        optimizer.zero_grad()
        for group in optimizer.param_groups:
            group["lr"] = rate
    loss(network, seed).backward()
    for optimizer in optimizers:
        optimizer.step()


def same(one, two):
    return all(torch.equal(p, q) for p, q in zip(one.parameters(), two.parameters(), strict=True))


def test_its_steps_are_those_of_torchs_own_two(one_thread):
    ours, theirs = model(), model()
    both = MuonAdamW(ours.parameters(), lr=1.0, weight_decay=0.01)
    matrices = [p for p in theirs.parameters() if p.ndim == 2]
    rest = [p for p in theirs.parameters() if p.ndim != 2]
    muon = torch.optim.Muon(matrices, lr=1.0, weight_decay=0.01, adjust_lr_fn="match_rms_adamw")
    adam = torch.optim.AdamW(rest, lr=1.0, weight_decay=0.01)
    for seed, rate in enumerate(RATES):
        step(ours, both, rate=rate, seed=seed)
        step(theirs, muon, adam, rate=rate, seed=seed)
        # torch's is of bfloat16, of 8 bits.
        for own, other, first in zip(
            *map(nn.Module.parameters, (ours, theirs, model())), strict=True
        ):
            moved = (other - first).norm()
            assert (own - other).norm() < 0.03 * moved, (own - other).norm() / moved
            assert moved > 0


def test_it_goes_on_from_what_it_kept(one_thread):
    whole = model()
    optimizer = MuonAdamW(whole.parameters(), lr=1.0)
    for seed, rate in enumerate(RATES):
        if seed == 3:
            parts = copy.deepcopy(whole)
            kept = copy.deepcopy(optimizer.state_dict())
        step(whole, optimizer, rate=rate, seed=seed)
    other = MuonAdamW(parts.parameters(), lr=7.0)
    other.load_state_dict(kept)
    for seed in (3, 4):
        step(parts, other, rate=RATES[seed], seed=seed)
    assert same(whole, parts)


def test_a_closure_computes_the_loss():
    network = model()
    optimizer = MuonAdamW(network.parameters(), lr=1e-2)

    def closure():
        optimizer.zero_grad()
        found = loss(network, 0)
        found.backward()
        return found

    first = optimizer.step(closure)
    assert float(optimizer.step(closure).detach()) < float(first.detach())


@pytest.mark.parametrize("shape", [(3, 20), (20, 3), (6, 6)])
def test_what_it_steps_along_has_all_directions_alike(shape):
    rng = torch.Generator().manual_seed(0)
    matrix = torch.randn(shape, generator=rng)
    u, s, v = torch.linalg.svd(matrix, full_matrices=False)
    steep = (u * torch.logspace(0, -1, len(s))) @ v
    found = _orthogonalised(steep, coefficients=(3.4445, -4.7750, 2.0315), steps=5)
    # Directions stay, and what was ten to one is about one to one.
    left = u.T @ found @ v.T
    assert torch.allclose(left, torch.diag(left.diagonal()), atol=1e-4)
    assert float(left.diagonal().min()) > 0.6 and float(left.diagonal().max()) < 1.3


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ([nn.Parameter(torch.zeros(3))], "got 0 matrices and 1 others"),
        ([nn.Parameter(torch.zeros(3, 3))], "got 1 matrices and 0 others"),
        ([], "got 0 matrices and 0 others"),
    ],
)
def test_it_refuses_parameters_that_are_not_of_both_kinds(parameters, message):
    with pytest.raises(ValueError, match=message):
        MuonAdamW(parameters, lr=1e-3)
