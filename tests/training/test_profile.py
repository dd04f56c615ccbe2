"""skytutor.training.profile: which size of a chapter runs here."""

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
