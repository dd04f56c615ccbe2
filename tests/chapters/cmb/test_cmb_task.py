"""Chapter 3's task with its networks: one step, a short training, skies drawn anew."""

import math
from dataclasses import replace

import pytest
import torch

from skytutor import chapters
from skytutor.chapters.cmb.summaries import summary_statistics
from skytutor.chapters.cmb.task import CmbTask
from skytutor.data.cmb import GaussianSkySimulator, noise_per_pixel
from skytutor.training.loop import train

SIMULATORS = {
    "cmb-t1-noise0": [GaussianSkySimulator("T1")],
    "cmb-t2-sky100": [GaussianSkySimulator("T2")],
    "cmb-t2-sky5": [GaussianSkySimulator("T2", f_sky=0.05)],
    "cmb-t3": [GaussianSkySimulator("T3")],
    "cmb-t4-nside16": [
        GaussianSkySimulator("T4"),
        GaussianSkySimulator("T4", noise=noise_per_pixel(6.0, 16)),
    ],
}


def test_a_short_training_comes_near_the_limit(tmp_path):
    """Test 1, noise 5, four thousand skies: the constant is at 33 %, the limit at 2.4 %."""
    recipe = chapters.get("cmb-t1-noise5")
    model = chapters.network(recipe)
    task = CmbTask([GaussianSkySimulator("T1", noise=5.0)], size=4000, n_validation=400)
    schedule = replace(recipe.schedules["cpu"], epochs=10)
    result = train(model, task, schedule=schedule, folder=tmp_path, progress=False)
    model.load_state_dict(result.best)
    scores = recipe.score(model.eval(), seed=3, size=500).scores
    assert 1.8 < scores["error_percent"] < 6
    assert 0.55 < scores["coverage68"] < 0.8


@pytest.mark.parametrize("name", SIMULATORS)
def test_task_and_network_fit(name):
    """One step: a finite loss, and a gradient everywhere.

    In evaluation mode maps and their summary statistics give the same answer.
    """
    recipe = chapters.get(name)
    simulators = SIMULATORS[name]
    task = CmbTask(simulators, size=40, n_validation=20)
    model = chapters.network(recipe)
    batch = task.batch(torch.arange(20), task.draw(20, generator=torch.Generator()))
    loss = task.loss(model.train(), batch)
    loss.backward()
    assert math.isfinite(loss.detach())
    for parameter in model.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()
    maps = simulators[0].sample(3, seed=1)[1]
    summaries = summary_statistics(simulators[0])(maps)
    model.eval()
    torch.testing.assert_close(model(maps), model(summaries, precomputed=True))


def test_resampled_skies_give_the_same_kind_of_batches():
    simulator = GaussianSkySimulator("T1", nside=4)
    task = CmbTask([simulator], size=64, n_validation=40, resample=True)
    rng = torch.Generator().manual_seed(0)
    draws = task.draw(8, generator=rng)
    summaries, target = task.batch(torch.arange(8), draws)
    assert summaries.shape == (8, 12)
    assert target.shape == (8, 1)
    assert float(target.abs().max()) <= 1
    rng = torch.Generator().manual_seed(1)
    draws = task.draw(8, generator=rng)
    others, _ = task.batch(torch.arange(8), draws)
    assert not torch.equal(summaries, others)
