"""No seed draws for two of training, validation and test: recorded where generators get theirs.

Weights have seeds of their own, which begin at 0 as those of the tests do: what a network starts
from is no data, and is not recorded here.
"""

import math
from collections import Counter
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations

import pytest
import torch

from skytutor import chapters
from skytutor.chapters import pretrained, seeds
from skytutor.chapters.cmb import recipes as cmb_recipes
from skytutor.chapters.cmb import scores as cmb_scores
from skytutor.chapters.cmb import summaries
from skytutor.chapters.cmb import task as cmb_task
from skytutor.chapters.digits import task as digits_task
from skytutor.chapters.digits.recipes import ROTATED
from skytutor.chapters.gan import scores as gan_scores
from skytutor.chapters.gan import task as gan_task
from skytutor.chapters.gan.classifier import load_classifier
from skytutor.chapters.seeds import Seeds
from skytutor.chapters.spectra import scores as spectra_scores
from skytutor.chapters.spectra.limits import LimitNetworks
from skytutor.chapters.spectra.measurement import MeasurementNetwork
from skytutor.chapters.spectra.networks import SpectrumNetwork
from skytutor.chapters.spectra.separation_task import SeparationTask
from skytutor.chapters.spectra.targets import pretrained_autoencoder
from skytutor.chapters.spectra.task import SpectrumTask
from skytutor.data import digits
from skytutor.data.cmb import GaussianSkySimulator, noise_per_pixel
from skytutor.data.galaxies import GalaxySimulator
from skytutor.training.adversarial import latent_size
from skytutor.training.loop import train
from skytutor.training.profile import Profile

PLANS = {
    "BANDS": seeds.BANDS,
    "DIGITS": seeds.DIGITS,
    "GAN_DIGITS": seeds.GAN_DIGITS,
    "GAN_SKIES": seeds.GAN_SKIES,
    "CMB": seeds.CMB,
    "INPAINTING": seeds.INPAINTING,
    "SPECTRA": seeds.SPECTRA,
}
TESTS = (0, 1, 2, 4, 7)  # numbers of tests; the largest that a plan allows joins them
every_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


# --- the record -----------------------------------------------------------------------------------


class Record:
    """Seeds in the order in which generators were given them, by what they were given for."""

    def __init__(self):
        self.seeds: dict[str, list[int]] = {}
        self.purpose: str | None = None

    def note(self, seed):
        if self.purpose is not None:
            self.seeds.setdefault(self.purpose, []).append(int(seed))

    @contextmanager
    def during(self, purpose):
        """Note what is seeded for `purpose`; None notes nothing."""
        before = self.purpose
        self.purpose = purpose
        try:
            yield
        finally:
            self.purpose = before


@pytest.fixture
def record(monkeypatch, one_thread):
    """Record every seed that a generator, or torch's global one, is given."""
    found = Record()
    seed_all = torch.manual_seed
    make_network = pretrained.network

    class Recorded(torch.Generator):
        def manual_seed(self, seed):
            found.note(seed)
            return super().manual_seed(seed)

    def manual_seed(seed):
        found.note(seed)
        return seed_all(seed)

    def network(*args, **kwargs):
        with found.during(None):
            return make_network(*args, **kwargs)

    monkeypatch.setattr(torch, "Generator", Recorded)
    monkeypatch.setattr(torch, "manual_seed", manual_seed)
    monkeypatch.setattr(pretrained, "network", network)
    return found


def test_the_record_misses_no_way_to_seed(record):
    with record.during("a"):
        torch.manual_seed(1)
        generator = torch.Generator().manual_seed(2)
        torch.Generator(device="cpu").manual_seed(3)
        pretrained.network(chapters.get("digits-mended"), seed=4)
    torch.manual_seed(5)
    assert record.seeds == {"a": [1, 2, 3]}
    plain = torch._C.Generator().manual_seed(2)
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=plain))


# --- the studies ----------------------------------------------------------------------------------


@dataclass
class Study:
    """One study at a size of seconds.

    `make` makes the task. `make_validation` makes one that draws no training set when it is made.
    """

    recipe: chapters.Recipe
    plan: Seeds
    make: Callable
    make_validation: Callable
    batch_size: int = 32
    test_size: int = 100


@pytest.fixture
def small(monkeypatch):
    """Embedded digits, loaded before anything is recorded; and skies in batches of ten.

    Limits of galaxies are untrained: what they answer is of no matter here.
    """
    embedded = digits.load("embedded")
    load_classifier("embedded")
    monkeypatch.setattr(digits, "load", lambda source="auto": embedded)
    monkeypatch.setattr(summaries, "BATCH", 10)
    monkeypatch.setattr(cmb_scores, "MIN_COVERAGE_MAPS", 20)
    limits = LimitNetworks().eval()
    monkeypatch.setattr(spectra_scores, "pretrained_limits", lambda: limits)
    pretrained_autoencoder()
    # Distances from every training digit: they draw nothing, and take seconds.
    monkeypatch.setattr(gan_scores, "memorised_fraction", lambda *args: {})


def digits_rotated():
    def make():
        return digits_task.DigitsTask(ROTATED, max_images=64)

    # Nothing is drawn for training when the task is made.
    recipe = chapters.get("digits-rotated")
    return Study(recipe, seeds.DIGITS, make, make, test_size=10)


def sphere_gan():
    def make():
        return gan_task.DigitGanTask(latent=64, classes=True, max_images=64, n_validation=40)

    return Study(chapters.get("sphere-gan"), seeds.GAN_DIGITS, make, make)


def sphere_gan_cmb():
    recipe = chapters.get("sphere-gan-cmb")
    latent = latent_size(recipe.build().generator)

    def make():
        return gan_task.CmbGanTask(latent=latent, size=32, n_validation=50)

    return Study(recipe, seeds.GAN_SKIES, make, make)


def cmb(study, *, noises=(0.0,), **settings):
    simulators = []
    for noise in noises:
        pixel = noise_per_pixel(noise, 4)
        simulators.append(GaussianSkySimulator(study, nside=4, noise=pixel, **settings))

    def make(**changes):
        return cmb_task.CmbTask(simulators, size=80, n_validation=40, **changes)

    recipe = cmb_recipes._recipe("cmb-small", simulators, {}, size=80)
    return Study(recipe, seeds.CMB, make, partial(make, resample=True), test_size=40)


def cut_galaxies():
    def make():
        return SeparationTask(GalaxySimulator(), size=8, n_validation=8)

    # Nothing is drawn for training when the task is made.
    recipe = chapters.get("spectra-separation")
    network = partial(MeasurementNetwork, channels=(4, 4, 4, 4))
    return Study(
        replace(recipe, build=network), seeds.SPECTRA, make, make, batch_size=4, test_size=30
    )


def measured_galaxies():
    small = {"channels": (4, 4, 4, 4)}

    def make(**changes):
        measurement = MeasurementNetwork(**small)
        limits = LimitNetworks()
        return SpectrumTask(
            GalaxySimulator(), measurement, limits, size=8, n_validation=8, **changes
        )

    recipe = chapters.get("spectra")
    network = partial(SpectrumNetwork, **small)
    # Of another training set: what both draw is the validation set's.
    return Study(
        replace(recipe, build=network),
        seeds.SPECTRA,
        make,
        partial(make, seed=2),
        batch_size=4,
        test_size=30,
    )


STUDIES = {
    "digits, rotated": digits_rotated,
    "digits, generated": sphere_gan,
    "skies, generated": sphere_gan_cmb,
    "galaxies, cut up": cut_galaxies,
    "galaxies, measured": measured_galaxies,
    "T1": lambda: cmb("T1", noises=(5.0,)),
    "T2, part of the sky": lambda: cmb("T2", f_sky=0.5),
    "T4": lambda: cmb("T4", noises=(0.0, 6.0)),
}


def record_training(study, record, folder):
    """Record a training of one epoch: "train" and "validation"."""
    with record.during("made"):
        task = study.make()
    with record.during("made for validation"):
        study.make_validation()
    made = Counter(record.seeds.pop("made", []))
    for_validation = record.seeds.pop("made for validation", [])
    record.seeds["validation"] = list(for_validation)
    # What is left was drawn for training, were it with a seed of validation once more.
    record.seeds["train"] = list((made - Counter(for_validation)).elements())
    finalise = task.finalise
    validate = task.validate

    def recorded_finalise(model):
        with record.during("validation"):
            finalise(model)

    def recorded_validate(model):
        with record.during("validation"):
            return validate(model)

    task.finalise = recorded_finalise
    task.validate = recorded_validate
    model = pretrained.network(study.recipe)
    schedule = replace(study.recipe.schedules["smoke"], epochs=1, batch_size=study.batch_size)
    with record.during("train"):
        train(model, task, schedule=schedule, folder=folder, progress=False)
    return model.eval()


def record_tests(study, record, model):
    """Record the tests: "test"."""
    with record.during("test"):
        for number in (*TESTS, len(study.plan.test) - 1):
            study.recipe.score(model, seed=number, size=study.test_size, source="embedded")


def meetings(found):
    """Return a line for each two purposes that share a seed, and for each that has none."""
    lines = []
    for one, other in combinations(("train", "validation", "test"), 2):
        common = sorted(set(found.get(one, [])) & set(found.get(other, [])))
        if common:
            lines.append(f"{one} and {other} share {common[:5]}")
    lines += [f"nothing was drawn for {one}" for one in found if not found[one]]
    return lines


@pytest.mark.parametrize("name", STUDIES)
def test_training_validation_and_test_never_draw_with_the_same_seed(name, record, small, tmp_path):
    study = STUDIES[name]()
    model = record_training(study, record, tmp_path)
    record_tests(study, record, model)
    assert set(record.seeds) == {"train", "validation", "test"}
    assert meetings(record.seeds) == []


BROKEN = {
    "training in the tests": Seeds(range(900, 1000), range(100), range(5, 50)),
    "validation in the training": Seeds(range(203, 300), range(100), range(200, 5000)),
    # Test 7 takes seeds 7 to 10, for it draws 40 skies in batches of ten.
    "validation in the tests": Seeds(range(9, 20), range(100), range(2000, 5000)),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_plan_that_overlaps_is_found(name, record, small, tmp_path, monkeypatch):
    """The same check on the same study: it has to fail."""
    plan = BROKEN[name]
    monkeypatch.setattr(cmb_task, "SEEDS", plan)
    monkeypatch.setattr(cmb_recipes, "SEEDS", plan)
    study = replace(STUDIES["T1"](), plan=plan)
    model = record_training(study, record, tmp_path)
    record_tests(study, record, model)
    words = {
        "training in the tests": "train and test share",
        "validation in the training": "train and validation share",
        "validation in the tests": "validation and test share",
    }
    (line,) = meetings(record.seeds)
    assert line.startswith(words[name])


# --- the plan -------------------------------------------------------------------------------------


def apart(one, other):
    return max(one.start, other.start) >= min(one.stop, other.stop)


@every_plan
def test_the_ranges_of_a_plan_are_apart(plan):
    """Where validation took a seed out of the range of tests, no test draws with it."""
    assert not plan.train or apart(plan.train, plan.validation)
    assert not plan.train or apart(plan.train, plan.test)
    if apart(plan.validation, plan.test):
        return
    for seed in plan.validation:
        drawn = plan.test_seed(plan.test.index(seed))
        assert drawn not in plan.validation
        assert drawn not in plan.train
        assert drawn not in plan.test, "no other test draws with it"
        assert 0 <= drawn < 2**63, "torch takes it"


def test_ranges_that_meet_are_found():
    assert apart(range(3), range(3, 6))
    assert not apart(range(4), range(3, 6))


def test_the_test_that_validation_took_is_far_away():
    assert abs(seeds.DIGITS.test_seed(4) - 4) > 2**60
    assert abs(seeds.GAN_DIGITS.test_seed(2) - 2) > 2**60
    for number in (0, 1, 2, 3, 5, 6, 7):
        assert seeds.DIGITS.test_seed(number) == number, "all others stay what they were"


@every_plan
def test_a_test_outside_the_plan_is_refused(plan):
    last = len(plan.test) - 1
    assert plan.test_seed(last) == plan.test[-1]
    for number in (-1, last + 1, 2**63 - 1):
        with pytest.raises(ValueError, match=rf"seed must lie in 0\.\.{last}, got {number}"):
            plan.test_seed(number)


@pytest.mark.parametrize("name", chapters.ENTRIES)
def test_a_recipe_refuses_a_test_outside_its_plan(name, small, monkeypatch):
    """Before anything is drawn, and before a training that could not be scored is begun."""
    recipe = chapters.get(name)
    last = len(recipe.seeds.test) - 1
    message = rf"seed must lie in 0\.\.{last}, got {last + 1}"
    # A seed is refused before the network is used; a pair must be one.
    in_pairs = chapters.ENTRIES[name].folder == "gan"
    model = pretrained.network(recipe) if in_pairs else torch.nn.Identity()
    with pytest.raises(ValueError, match=message):
        recipe.score(model, seed=last + 1, size=100, source="embedded")
    with pytest.raises(ValueError, match=message):
        chapters.check_training(
            recipe, profile=Profile("smoke", torch.device("cpu"), last + 1), folder="nowhere"
        )


CMB = [name for name, entry in chapters.ENTRIES.items() if entry.folder == "cmb"]


@pytest.mark.parametrize("name", CMB)
def test_the_full_studies_of_skies_stay_inside_the_plan(name, monkeypatch):
    """The sets of the full study, batch by batch; and tests of as many skies as are allowed."""
    used = []

    def draw(simulator, size, *, seed):
        n_batches = math.ceil(size / summaries.batch_size(simulator))
        used.append(range(seed, seed + n_batches))
        return torch.rand(1, len(simulator.names)).double() * 0.001 + 0.05, torch.zeros(1, 1)

    monkeypatch.setattr(cmb_task, "draw_summaries", draw)
    monkeypatch.setattr(cmb_task.GaussianSkySimulator, "normalise", lambda self, values: values)
    task = chapters.get(name).task(Profile("gpu", torch.device("cpu"), 0))
    n_simulators = len(task.simulators)
    plan = seeds.CMB
    for drawn in used[:n_simulators]:
        assert set(drawn) <= set(plan.validation)
    for drawn in used[n_simulators:]:
        assert set(drawn) <= set(plan.train)
    assert len(used) == 2 * n_simulators
    assert all(apart(one, other) for one, other in combinations(used, 2))
    # The last test, 100,000 skies; and what `_estimates_at` adds to its seed.
    batches = math.ceil(100_000 / summaries.batch_size(task.simulators[0]))
    last = plan.test[-1] + max(batches, 77_777)
    assert last < min(plan.validation.start, plan.train.start)
