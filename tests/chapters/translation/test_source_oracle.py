"""skytutor.chapters.translation.source_oracle: bands that are not given do not count; it learns."""

import pytest
import torch

from skytutor.chapters.translation.oracle_task import OracleTask, build_oracle
from skytutor.chapters.translation.source_oracle import SourceTable
from skytutor.chapters.translation.subsets import given_bands
from skytutor.data.bands import SceneSimulator
from skytutor.training.muon import MuonAdamW


@pytest.fixture(scope="module")
def task():
    return OracleTask(SceneSimulator(), size=20, n_validation=10)


@pytest.fixture(scope="module")
def oracle(task):
    """Return an oracle after a short training, and its losses."""
    torch.manual_seed(0)
    network = build_oracle()
    optimizer = MuonAdamW(network.parameters(), lr=3e-3)
    rng = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(150):
        rows = torch.randint(task.size, (64,), generator=rng)
        loss = task.loss(network, task.batch(rows, task.draw(64, generator=rng)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return network.eval(), losses


def test_it_learns(oracle):
    _, losses = oracle
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_what_stands_in_bands_that_are_not_given_does_not_count(task, oracle):
    network, _ = oracle
    table = task.validation
    given = given_bands(["blue", "K"]).expand(len(table), -1)
    wanted = network.predict(table, given)
    hidden = ~given
    changed = {
        "flux": torch.where(hidden[..., None], 1e6, table.flux),
        "error": torch.where(hidden[..., None], 1e-3, table.error),
        "total": torch.where(hidden, -5.0, table.total),
        "total_error": torch.where(hidden, 7.0, table.total_error),
        "truth": torch.zeros_like(table.truth),
    }
    other = SourceTable(**{**vars(table), **changed})
    assert torch.equal(network.predict(other, given), wanted)


def test_fluxes_follow_the_brightness_of_what_is_seen(task, oracle):
    network, _ = oracle
    given = given_bands(["blue", "red"]).expand(len(task.validation), -1)
    with torch.no_grad():
        found = network.predict(task.validation, given).sum(-1)[:, 3]
    wanted = task.validation.truth.sum(-1)[:, 3]
    ratio = (found / wanted).log()
    assert float(ratio.abs().median()) < 0.5


def test_a_star_is_in_its_first_component(task, oracle):
    network, _ = oracle
    star = ~task.validation.there[:, 1]
    given = given_bands(["r"]).expand(len(task.validation), -1)
    with torch.no_grad():
        found = network.predict(task.validation, given)[star]
    assert float(found[..., 1:].abs().max()) == 0 and float(found[..., 0].min()) > 0


def test_one_step_from_a_state_does_not_move_the_units(task, oracle):
    network, _ = oracle
    before = network.scale.clone()
    rows = torch.arange(8)
    task.loss(network, task.batch(rows, task.draw(8, generator=torch.Generator())))
    assert torch.equal(network.scale, before)
