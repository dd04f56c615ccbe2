"""skytutor.training.loop: it learns, keeps the best; killed and resumed, it ends the same."""

import math
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from small_task import PLAIN, SignalledTask, SmallTask, plain_model, schedule, small_model

from skytutor.files import CheckpointError
from skytutor.training import run as module
from skytutor.training.checkpoint import load_tensors
from skytutor.training.interrupt import Interrupted
from skytutor.training.loop import train
from skytutor.training.schedule import Task

SCRIPT = Path(__file__).parents[1] / "small_task.py"


pytestmark = pytest.mark.usefixtures("one_thread")


def run(
    folder, task=None, model=None, *, resume=False, seed=3, recipe="small", fabric=None, **changes
):
    task = task or SmallTask()
    model = model or small_model()
    return train(
        model,
        task,
        schedule=schedule(**changes),
        folder=folder,
        seed=seed,
        recipe=recipe,
        fabric=fabric,
        resume=resume,
        progress=False,
    )


def state(folder):
    """Everything the last save holds; times are no part of the comparison."""
    tensors, card = load_tensors(folder / "state.safetensors")
    for name in ("seconds", "epoch_seconds", "sha256"):  # the SHA-256 is of the times too
        card.pop(name)
    return tensors, card | {"history": rows(card["history"])}


def rows(history):
    return [{k: v for k, v in row.items() if k != "seconds"} for row in history]


def assert_same(one, two):
    """Bit for bit: weights, averages, the best, the optimizer's memory, history."""
    (tensors, card) = one
    (others, other_card) = two
    assert card == other_card
    assert tensors.keys() == others.keys() and len(tensors) > 20
    different = [k for k in tensors if not torch.equal(tensors[k], others[k])]
    assert not different


def weights(model):
    return {k: v.clone() for k, v in model.state_dict().items()}


def same(one, two):
    return one.keys() == two.keys() and all(torch.equal(one[k], two[k]) for k in one)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """Train once without any disturbance."""
    folder = tmp_path_factory.mktemp("reference")
    torch.set_num_threads(1)
    result = run(folder)
    return folder, result, state(folder)


def test_it_learns_real_digits(reference):
    _, result, _ = reference
    first = result.history[0]
    last = result.history[-1]
    assert [row["epoch"] for row in result.history] == [1, 2, 3]
    assert first["train_loss"] > 1.0
    assert last["train_loss"] < 0.6 * first["train_loss"]
    assert max(row["accuracy"] for row in result.history) > 0.5, "a tenth is what guessing gives"


def test_same_seed_same_bits_and_another_seed_others(reference, tmp_path):
    torch.manual_seed(12345)  # whatever happened before must not matter
    torch.rand(11)
    run(tmp_path / "again")
    assert_same(state(tmp_path / "again"), reference[2])
    run(tmp_path / "other", seed=4)
    assert not torch.equal(
        state(tmp_path / "other")[0]["model.7.weight"], reference[2][0]["model.7.weight"]
    )


class Scripted(SmallTask):
    """Scores by a script; remembers the weights that each score was given for."""

    def __init__(self, scores):
        super().__init__(count=64)
        self.script = iter(scores)
        self.given = []

    def validate(self, model):
        self.given.append(weights(model))
        return {"accuracy": next(self.script)}


@pytest.mark.parametrize("average", [0.0, 0.9])
@pytest.mark.parametrize(
    ("scores", "best"),
    [([0.5, 0.9, 0.7], 2), ([0.9, 0.5, 0.7], 1), ([0.1, 0.5, 0.6], 3), ([0.5] * 3, 1)],
)
def test_the_best_by_validation_is_kept(tmp_path, scores, best, average):
    task = Scripted(scores)
    result = run(tmp_path, task, average=average)
    assert result.best_epoch == best and [row["accuracy"] for row in result.history] == scores
    expected = task.given[best - 1]
    assert result.best.keys() == expected.keys()
    assert all(torch.equal(result.best[k], expected[k]) for k in expected)
    tensors, card = state(tmp_path)
    assert card["best_epoch"] == best
    assert all(torch.equal(tensors[f"best.{k}"], v) for k, v in expected.items())
    assert any(not torch.equal(task.given[0][k], task.given[-1][k]) for k in expected)


class Calibrated(SmallTask):
    """Sets the last bias before each validation, and looks at the weights on both sides of it."""

    def __init__(self):
        super().__init__(count=64)
        self.calls = []
        self.finalised = []
        self.unchanged = []

    def finalise(self, model):
        assert not model.training and not torch.is_grad_enabled()
        self.calls.append("finalise")
        model[-1].bias.copy_(self.seen_labels.bincount(minlength=10) / len(self.calls))
        self.finalised.append(weights(model))

    def validate(self, model):
        self.calls.append("validate")
        before = weights(model)
        scores = super().validate(model)
        self.unchanged.append(same(before, self.finalised[-1]) and same(before, weights(model)))
        return scores


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_a_model_is_finalised_before_it_is_validated_and_kept_as_it_was_scored(tmp_path, average):
    task = Calibrated()
    result = run(tmp_path, task, average=average)
    assert task.calls == 3 * ["finalise", "validate"]
    assert task.unchanged == [True, True, True], "to validate changes nothing"
    assert same(result.best, task.finalised[result.best_epoch - 1])
    assert not same(task.finalised[0], task.finalised[1])


class Plain(Task):
    """All that a task must have, and nothing else."""

    size = 32
    score = "minus_error"

    def draw(self, n, *, generator):
        return [torch.randn(n, 3, generator=generator)]

    def batch(self, indices, draws):
        return draws[0], draws[0].sum(1, keepdim=True)

    def loss(self, model, batch):
        return (model(batch[0]) - batch[1]).square().mean()

    def validate(self, model):
        return {"minus_error": -float((model(torch.ones(1, 3)) - 3).abs())}


def test_a_task_that_declares_nothing_more_than_it_must_trains(tmp_path):
    torch.manual_seed(2)
    model = torch.nn.Linear(3, 1)
    before = weights(model)
    Plain().finalise(model)
    assert same(before, weights(model)), "by default nothing is done"
    result = run(tmp_path, Plain(), model, epochs=20, lr=0.1)
    first = result.history[0]["train_loss"]
    assert result.history[-1]["train_loss"] < 0.1 * first
    _, card = load_tensors(tmp_path / "state.safetensors")
    assert card["key"]["data"] is None


@pytest.mark.parametrize("name", ["draw", "batch", "loss", "validate"])
def test_a_task_without_what_it_must_have_cannot_be_made(name):
    members = {k: v for k, v in vars(Plain).items() if k != name and not k.startswith("_")}
    lacking = type("Lacking", (Task,), members)
    with pytest.raises(TypeError, match=f"abstract method '?{name}"):
        lacking()


@pytest.mark.parametrize("at", [1, 5, 8, 16, 23, 24])
def test_ctrl_c_at_any_step_and_resume(reference, tmp_path, at):
    """8 steps an epoch, 24 in all: mid-epoch, at an epoch's last step, at the last of all."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        run(tmp_path, SignalledTask(at))
        assert at == 24, "a run that is through may as well end"
    except Interrupted as stop:
        place = tmp_path / "state.safetensors"
        assert str(stop) == f"stopped after step {at} of 24; the state is in {place}"
    assert signal.getsignal(signal.SIGINT) is handler, "Ctrl-C is the caller's again"
    result = run(tmp_path, resume=True)
    assert rows(result.history) == rows(reference[1].history)
    assert_same(state(tmp_path), reference[2])


@pytest.mark.parametrize("optimizer", ["adamw", "adam", "sgd", "muon"])
@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resume_with_any_optimizer(tmp_path, optimizer, average):
    changes = {"optimizer": optimizer, "average": average, "weight_decay": 0.01}
    run(tmp_path / "whole", **changes)
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", SignalledTask(11), **changes)
    run(tmp_path / "parts", resume=True, **changes)
    (one, card) = state(tmp_path / "whole")
    (two, other) = state(tmp_path / "parts")
    assert card == other and all(torch.equal(one[k], two[k]) for k in one)


def test_autocast_computes_in_bfloat16_keeps_float32_weights_and_resumes(tmp_path):
    seen = set()

    class Watched(SmallTask):
        def loss(self, model, batch):
            out = model(batch[0])
            seen.add(out.dtype)
            return F.cross_entropy(out.float(), batch[1])

    whole = run(tmp_path / "whole", Watched(), autocast=True)
    assert seen == {torch.bfloat16} and all(t.dtype != torch.bfloat16 for t in whole.best.values())
    with pytest.raises(Interrupted):
        run(tmp_path / "parts", SignalledTask(11), autocast=True)
    run(tmp_path / "parts", resume=True, autocast=True)
    (one, card) = state(tmp_path / "whole")
    (two, other) = state(tmp_path / "parts")
    assert card == other and all(torch.equal(one[k], two[k]) for k in one)
    assert whole.history[-1]["accuracy"] > 0.5, "a tenth is what guessing gives"


def start(folder, *options):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(SCRIPT.parents[1])}
    command = [sys.executable, "-W", "ignore", str(SCRIPT), str(folder), *options]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def wait_for_step(process, folder, step):
    """Until the state on disk, whole at any time, has reached `step`."""
    limit = time.monotonic() + 120
    while time.monotonic() < limit and process.poll() is None:
        path = folder / "state.safetensors"
        if path.exists() and load_tensors(path)[1]["step"] >= step:
            return
        time.sleep(0.02)
    why = "too slow" if process.poll() is None else process.communicate()[0]
    pytest.fail(f"never got to step {step}: {why}")


@pytest.mark.slow
def test_a_process_that_is_stopped_again_and_again_ends_with_the_same_bits(reference, tmp_path):
    """By each signal in turn, every process going on where the one before was stopped."""
    done = 0
    for step, stop in (
        (4, signal.SIGKILL),
        (8, signal.SIGINT),
        (12, signal.SIGTERM),
        (16, signal.SIGHUP),
    ):
        process = start(tmp_path, "--resume", "--pause", "0.2")
        wait_for_step(process, tmp_path, max(step, done + 1))
        process.send_signal(stop)
        out = process.communicate(timeout=60)[0]
        _, card = load_tensors(tmp_path / "state.safetensors")
        assert done < card["step"] < 24, "stopped too late to show anything"
        done = card["step"]
        if stop == signal.SIGKILL:
            assert process.returncode == -signal.SIGKILL
        else:
            assert process.returncode == 128 + stop, out
            assert out.startswith("interrupted: ") and "Traceback" not in out, out
    process = start(tmp_path, "--resume")
    assert process.communicate(timeout=120)[0] == "" and process.returncode == 0
    assert_same(state(tmp_path), reference[2])
    assert [p.name for p in tmp_path.iterdir() if p.suffix == ".part"] == []


@pytest.mark.slow
def test_sigterm_at_any_moment(reference, tmp_path):
    """As Slurm, Kubernetes and Binder send it: during imports and validation as well.

    The environment variable SKYTUTOR_KILLS is the number of moments, drawn at random.
    """
    rng = random.Random(2026)
    kills = int(os.environ.get("SKYTUTOR_KILLS", "2"))
    steps = []
    for k in range(kills):
        folder = tmp_path / str(k)
        process = start(folder, "--pause", "0.1")
        time.sleep(rng.uniform(0.5, 6.5))
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)
        # Before its handler is set, a signal ends the process where it stands; afterwards it is
        # answered.
        assert process.returncode in (128 + signal.SIGTERM, -signal.SIGTERM, 0)
        path = folder / "state.safetensors"
        steps.append(load_tensors(path)[1]["step"] if path.exists() else None)
        run(folder, resume=True)  # in this process: the test above goes on in new ones
        assert_same(state(folder), reference[2])
    print(f"{kills} of {kills} runs stopped by SIGTERM, at steps {steps}, end with the same bytes")


def test_no_time_is_lost_from_the_card(tmp_path):
    """The seconds of a run cut in mid-epoch count in the total and in the epoch's row."""
    with pytest.raises(Interrupted):
        run(tmp_path, SignalledTask(5, pause=0.1))
    _, card = load_tensors(tmp_path / "state.safetensors")
    assert 0.5 <= card["seconds"] < 3 and 0.5 <= card["epoch_seconds"] <= card["seconds"]
    result = run(tmp_path, resume=True)
    assert result.history[0]["seconds"] >= 0.5
    assert result.seconds >= sum(row["seconds"] for row in result.history)


def test_an_ignored_signal_stays_ignored(tmp_path):
    """`nohup` has SIGHUP ignored: a terminal that is closed does not end the run."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        task = SignalledTask(5, signum=signal.SIGHUP)
        assert len(run(tmp_path, task).history) == 3
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
def test_two_processes_are_one(tmp_path):
    """Gloo on this machine: both ranks end with the same bits, and with one run's to rounding."""
    process = start(tmp_path / "two", "--devices", "2", "--plain")
    model = plain_model()
    run(tmp_path / "one", model=model, **PLAIN)
    out = process.communicate(timeout=240)[0]
    assert process.returncode == 0, out
    one = weights(model)
    two = [torch.load(tmp_path / "two" / f"rank{k}.pt")["weights"] for k in (0, 1)]
    for key in one:
        assert torch.equal(two[0][key], two[1][key])
        torch.testing.assert_close(two[0][key], one[key], rtol=1e-4, atol=1e-5)
    histories = [
        rows(load_tensors(tmp_path / n / "state.safetensors")[1]["history"]) for n in ("one", "two")
    ]
    for a, b in zip(*histories, strict=True):
        assert b == pytest.approx(a, rel=1e-3), "the loss of both halves, not of rank 0's"


def test_a_full_disk_in_mid_run(reference, tmp_path, monkeypatch):
    """The second epoch's save fails: the first one's state is whole, the run goes on from it."""
    calls = []
    real = os.fsync

    def fsync(descriptor):
        calls.append(descriptor)
        if len(calls) == 3:  # the start and the first epoch were saved
            raise OSError(28, "No space left on device")
        return real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match=r"disk is full.*earlier file is whole"):
        run(tmp_path, save_every_s=1e9)
    monkeypatch.undo()
    assert state(tmp_path)[1]["step"] == 8
    result = run(tmp_path, resume=True, save_every_s=1e9)
    assert rows(result.history) == rows(reference[1].history)


def test_resume_without_a_state_starts(reference, tmp_path):
    assert rows(run(tmp_path, resume=True).history) == rows(reference[1].history)


def test_resume_of_a_finished_run_does_nothing(reference, tmp_path):
    (tmp_path / "state.safetensors").write_bytes((reference[0] / "state.safetensors").read_bytes())
    result = run(tmp_path, SignalledTask(1), resume=True)
    assert rows(result.history) == rows(reference[1].history)
    assert result.best_epoch == reference[1].best_epoch


def resumed(reference, tmp_path, **changes):
    (tmp_path / "state.safetensors").write_bytes((reference[0] / "state.safetensors").read_bytes())
    with pytest.raises(CheckpointError) as caught:
        run(tmp_path, resume=True, **changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_resume_refuses_a_state_that_is_not_its_own(reference, tmp_path):
    assert "'small'" in resumed(reference, tmp_path, recipe="large")
    assert "seed" in resumed(reference, tmp_path, seed=4)
    assert "schedule" in resumed(reference, tmp_path, epochs=9)
    wider = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    assert "1.weight" in resumed(reference, tmp_path, model=wider)


def test_resume_from_a_truncated_state(reference, tmp_path):
    whole = (reference[0] / "state.safetensors").read_bytes()
    (tmp_path / "state.safetensors").write_bytes(whole[:-100])
    with pytest.raises(CheckpointError, match="truncated"):
        run(tmp_path, resume=True)


class Diverges(SmallTask):
    def loss(self, model, batch):
        return super().loss(model, batch) * math.nan


def test_a_run_that_diverges_says_so(tmp_path):
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 10))
    with pytest.raises(FloatingPointError, match=r"epoch 1.*lr"):
        run(tmp_path, Diverges(), model)


def test_a_convolution_that_diverges_is_not_blamed_on_the_maps(tmp_path):
    """The maps were fine when they came in; what is not finite is the network's own."""
    with pytest.raises(FloatingPointError):
        run(tmp_path, optimizer="sgd", lr=1e30, rate="constant")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch_size": 257}, ["batch_size", "257", "256"]),
        ({"rate": "cosine"}, ["rate", "'cosine'", "one-cycle"]),
        ({"optimizer": "adamax"}, ["optimizer", "'adamax'", "adamw"]),
        ({"epochs": 0}, ["epochs", "0"]),
        ({"batch_size": 0}, ["batch_size", "0"]),
    ],
)
def test_a_wrong_schedule(tmp_path, changes, words):
    with pytest.raises(ValueError) as caught:
        run(tmp_path, **changes)
    for word in words:
        assert word in str(caught.value), f"{word!r} is not in: {caught.value}"
    assert not any(tmp_path.iterdir())


def test_every_sample_once_an_epoch_and_rates_as_planned(tmp_path, monkeypatch):
    seen = []
    task = SmallTask()
    real = task.batch

    def watched(indices, draws):
        seen.append(indices)
        return real(indices, draws)

    monkeypatch.setattr(task, "batch", watched)
    run(tmp_path, task, fabric=Fabric(accelerator="cpu", devices=1))
    epochs = torch.cat(seen).view(3, 256)
    assert all(sorted(e.tolist()) == list(range(256)) for e in epochs)
    assert not torch.equal(epochs[0], epochs[1]), "the same order every epoch"
    assert module._seed(1, "a") == module._seed(1, "a") != module._seed(2, "a")
