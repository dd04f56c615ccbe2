"""skytutor.training.profile: which size of a chapter runs here, with how many threads."""

import os
import subprocess
import sys

import pytest
import torch

from skytutor.training import profile
from skytutor.training.profile import Profile


@pytest.mark.parametrize(("cuda", "device"), [(False, "cpu"), (True, "cuda")])
@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_named_profile(monkeypatch, cuda, device, way):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    for name in ("smoke", "cpu", "gpu"):
        monkeypatch.setenv("SKYTUTOR_PROFILE", name if way == "environment" else "cpu")
        found = profile.current(name, seed=7) if way == "argument" else profile.current(seed=7)
        assert (found.name, found.seed) == (name, 7)
        assert found.device.type == (device if name == "gpu" else "cpu")


@pytest.mark.parametrize(("cuda", "name"), [(False, "cpu"), (True, "gpu")])
@pytest.mark.parametrize("setting", [None, ""])
def test_the_profile_that_fits_the_machine(monkeypatch, cuda, name, setting):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.delenv("SKYTUTOR_PROFILE", raising=False)
    if setting is not None:
        monkeypatch.setenv("SKYTUTOR_PROFILE", setting)
    assert profile.current().name == name


def test_an_unknown_profile_says_where_it_came_from(monkeypatch):
    with pytest.raises(ValueError, match=r"profile.*'smoke'.*'cpu'.*'gpu'.*'GPU'"):
        profile.current("GPU")
    monkeypatch.setenv("SKYTUTOR_PROFILE", "fast")
    with pytest.raises(ValueError, match=r"SKYTUTOR_PROFILE.*'smoke'.*'cpu'.*'gpu'.*'fast'"):
        profile.current()


def test_pick_and_print():
    here = Profile("cpu", torch.device("cpu"), 3)
    assert here.pick(smoke=1, cpu=2, gpu=3) == 2
    for word in ("cpu", "seed 3", torch.__version__):
        assert word in str(here)


# Threads


@pytest.fixture
def machine(monkeypatch):
    """Return a function that sets what a machine says of itself, with no number named."""
    for name in ("SKYTUTOR_THREADS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)

    def make(cores, *, load=0.0, there=None):
        monkeypatch.setattr(profile, "cores", lambda: cores)
        monkeypatch.setattr(os, "getloadavg", lambda: (load, 0.0, 0.0))
        monkeypatch.setattr(os, "cpu_count", lambda: there or cores)

    return make


@pytest.mark.parametrize(
    ("cores", "load", "there", "wanted"),
    [
        (1, 0.0, None, 1),
        (2, 0.0, None, 1),
        (7, 0.0, None, 1),
        (8, 0.0, None, 4),
        (64, 0.0, None, 4),
        (8, 3.5, None, 2),
        (8, 8.0, None, 1),
        (8, 40.0, None, 1),
        # Our share of a larger machine: 8 of 64 cores, half of all busy.
        (8, 32.0, 64, 2),
    ],
)
def test_threads_that_fit_the_machine(machine, cores, load, there, wanted):
    machine(cores, load=load, there=there)
    assert profile.threads() == wanted


def test_a_number_that_is_named_wins(machine, monkeypatch):
    machine(2)
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert profile.threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "6,2")
    assert profile.threads() == 6
    monkeypatch.setenv("SKYTUTOR_THREADS", "5")
    assert profile.threads() == 5
    monkeypatch.setenv("SKYTUTOR_THREADS", "auto")
    assert profile.threads() == 1
    monkeypatch.delenv("SKYTUTOR_THREADS")
    for ignored in ("many", "0", ""):  # as OpenMP ignores them
        monkeypatch.setenv("OMP_NUM_THREADS", ignored)
        assert profile.threads() == 1


@pytest.mark.parametrize("named", ["0", "-1", "1.5", "many"])
def test_a_number_of_threads_that_is_none_is_refused(monkeypatch, named):
    monkeypatch.setenv("SKYTUTOR_THREADS", named)
    with pytest.raises(ValueError, match=f"SKYTUTOR_THREADS must be 'auto' .* got '{named}'"):
        profile.current()


def test_the_profile_sets_the_threads_and_says_so(machine, one_thread, monkeypatch):
    machine(8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    here = profile.current("cpu")
    assert torch.get_num_threads() == 4 and "(4 threads)" in str(here)
    monkeypatch.setenv("SKYTUTOR_THREADS", "1")
    assert profile.set_threads() == torch.get_num_threads() == 1
    assert "(1 thread)" in str(here)


def test_nothing_is_set_at_import():
    code = (
        "import os, torch; torch.set_num_threads(2)\n"
        "import skytutor.training.profile\n"
        "assert torch.get_num_threads() == 2"
    )
    environment = os.environ | {"SKYTUTOR_THREADS": "1"}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


@pytest.mark.parametrize(
    ("files", "wanted"),
    [
        ({}, 16),
        ({"cpu.max": "max 100000"}, 16),
        ({"cpu.max": "200000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"cpu.max": "9900000 100000"}, 16),
        ({"cpu.max": ""}, 16),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, 16),
        ({"cpu/cpu.cfs_quota_us": "300000", "cpu/cpu.cfs_period_us": "100000"}, 3),
    ],
)
def test_cores_that_a_container_may_use(tmp_path, monkeypatch, files, wanted):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(16)), raising=False)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text + "\n")
    assert profile.cores(tmp_path) == wanted
