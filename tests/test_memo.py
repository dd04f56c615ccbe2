"""What is kept: the same in every mode of torch, and nobody's to change for others."""

import ast
import contextlib
import dataclasses
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.interpolate import CubicSpline
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch_modes import default_dtype

from skytutor import healpix, memo, sht
from skytutor.data.cmb import GaussianSkySimulator
from skytutor.training.checkpoint import pretrained_folder

PACKAGE = Path(__file__).parents[1] / "skytutor"
CPU = torch.device("cpu")
FILTERS = ("panstarrs-g", "panstarrs-r")
# An example for every function that keeps something. One without an example fails the test; None
# stands for one that makes no tensors and no arrays, or needs files that a newcomer has not got.
EXAMPLES = {
    "exercises.cmb.information._skies": None,
    "exercises.cmb.simulations._simulators": (),
    "healpix.rings.rings": (4,),
    "healpix.rings.ring_weights": (4,),
    "healpix.numbering.shared_order_table": {"nside": 2, "source": "ring", "target": "nested"},
    "layers.rotate._centres": (2, "ring"),
    "data.stars._log_ratios": (),
    "data.stars._star_fluxes": (FILTERS,),
    "data.galaxy_lines.line_wavelengths": (),
    "data.spectral_templates.load_templates": (),
    "data.spectral_templates.filter_curve": ("panstarrs-g",),
    "data.spectral_templates._continuum_table": (FILTERS, True),
    "data.spectral_templates._response_table": (FILTERS,),
    "data.galaxy_profiles._bulge_nodes": (),
    "data.sky_masks._nested_mask": (64, False),
    "data.sky_masks._planck": None,
    "data.sky_masks._made": (),
    "data.galaxy_population._real": (),
    "data.galaxy_population._distances": (),
    "data.galaxy_table.real_galaxies": (),
    "fields.windows._pixel_window": (4, 11, 0),
    "fields.windows._all_moments": (4, 0),
    "fields.emulator._splines": (pretrained_folder(),),
    "fields.best_fit._table": (pretrained_folder(),),
    "plot.sphere._pixels": ((0.0, 0.0), 2),
    "chapters.translation.stretch._softening": ("r", 0.8),
    "chapters.translation.source_network._renderer": (("g", "r"), 16, "cpu"),
    "chapters.translation.question._simulator": None,
    "chapters.translation.question._drawn": None,
    "chapters.translation.translations.pretrained_oracle": (),
    "chapters.translation.translations._boosted": None,
    "chapters.translation.translations.trained_photo_z": None,
    "chapters.spectra.targets._autoencoder": (),
    "chapters.spectra.question._simulator": None,
    "chapters.spectra.scores.pretrained_limits": (),
    "chapters.gan.real_maps._projection": (2,),
    "chapters.gan.real_maps.sky_spectrum": (),
    "chapters.gan.real_maps._synthesis": (),
    "chapters.gan.classifier.load_classifier": None,
    "chapters.cmb.question._harmonics": (2, 0),
    "chapters.prediction._reference": ("cmb-t1-noise5",),
    "chapters.cmb.summaries._log_power_spectrum": (4, 8, 0, 1),
    "chapters.cmb.summaries.summary_statistics": (GaussianSkySimulator("T1"),),
    "chapters.inpainting.pictures._table": (),
    "chapters.inpainting.sphere._around": (2,),
    "chapters.inpainting.question._sky": None,
    "chapters.inpainting.sphere_question._sky": None,
    "chapters.inpainting.sphere_question._hole": None,
    "sht.functions._harmonics": (2, 3, 0, "ring", torch.float32, "torch", CPU),
    "sht.ducc._ducc": None,
    "sht.inverse._symmetry_blocks": (2, 3, 0, CPU),
    "sht.real._real_indices": (3,),
    "widgets.model._run_by_nbconvert": None,
    "widgets.page.script": None,
    "widgets.page.palettes": None,
}
DECORATORS = ("cached_table", "cached_object")


def decorated():
    """Yield module, name and decorator of each function of the package that keeps something."""
    for path in sorted(PACKAGE.rglob("*.py")):
        module = ".".join(path.relative_to(PACKAGE).with_suffix("").parts)
        source = path.read_text(encoding="utf-8")
        # Nearly all modules keep nothing, and to parse them all takes seconds.
        if module == "memo" or not any(decorator in source for decorator in DECORATORS):
            continue
        for node in ast.walk(ast.parse(source)):
            if not isinstance(node, ast.FunctionDef):
                continue
            for decorator in node.decorator_list:
                used = getattr(getattr(decorator, "func", None), "id", "")
                if used in DECORATORS:
                    yield f"{module}.{node.name}", used


FOUND = dict(decorated())
RUN = sorted(name for name in FOUND if EXAMPLES.get(name) is not None)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


MODES = {
    "inference": torch.inference_mode,
    "no_grad": torch.no_grad,
    "autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "meta device": lambda: torch.device("meta"),
    "default device": lambda: default_device("meta"),
    "default dtype": lambda: default_dtype(torch.float64),
    "fake": FakeTensorMode,
    "export": lambda: FakeTensorMode(allow_non_fake_inputs=True),
}


def call(name):
    """Call the function with its example."""
    module, _, function = name.rpartition(".")
    kept = getattr(importlib.import_module(f"skytutor.{module}"), function)
    example = EXAMPLES[name]
    return kept(**example) if isinstance(example, dict) else kept(*example)


def forget(name):
    module, _, function = name.rpartition(".")
    getattr(importlib.import_module(f"skytutor.{module}"), function).cache_clear()


def parts(result):
    """Return the tensors and arrays that a result is made of, as tensors."""
    if isinstance(result, torch.Tensor):
        return [result]
    if isinstance(result, np.ndarray):
        return [torch.from_numpy(result)]
    if isinstance(result, nn.Module):
        return list(result.state_dict().values()) + list(result.buffers())
    if isinstance(result, dict):
        return [part for value in result.values() for part in parts(value)]
    if isinstance(result, tuple | list):
        return [part for value in result for part in parts(value)]
    if dataclasses.is_dataclass(result):
        fields = dataclasses.fields(result)
        return [part for field in fields for part in parts(getattr(result, field.name))]
    if isinstance(result, CubicSpline):
        return [torch.from_numpy(result.c)]
    if hasattr(result, "__dict__"):
        return [part for value in vars(result).values() for part in parts(value)]
    return [torch.tensor(result, dtype=torch.float64)] if isinstance(result, float) else []


def same(left, right):
    return left.dtype == right.dtype and torch.equal(left, right) and not left.is_inference()


def test_every_function_that_keeps_something_has_an_example():
    assert set(FOUND) == set(EXAMPLES)
    print(f"{len(RUN)} functions, {len(MODES)} modes, {len(RUN) * len(MODES)} cells")


def test_nothing_else_in_the_package_keeps_results():
    kept = {"lru_cache", "cache", "cached_property"}
    # The registry keeps texts, and is imported without torch.
    exempt = {PACKAGE / "memo.py", PACKAGE / "data/registry.py"}
    for path in sorted(set(PACKAGE.rglob("*.py")) - exempt):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            used = set()
            if isinstance(node, ast.ImportFrom) and node.module == "functools":
                used = {alias.name for alias in node.names}
            if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "functools":
                used = {node.attr}
            assert not used & kept, f"{path.name} keeps results by itself; use skytutor.memo"


def test_only_internal_functions_of_the_library_hand_out_the_thing_itself():
    public = [n for n, used in FOUND.items() if used == "cached_object" and "._" not in n]
    library = [name for name in public if not name.startswith("chapters.")]
    # An index alone, for those who know of it.
    assert library == ["healpix.numbering.shared_order_table"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", RUN)
def test_what_was_made_in_a_mode_is_right_outside_of_it(name, mode):
    wanted = parts(call(name))
    assert wanted
    forget(name)
    with MODES[mode]():
        call(name)
    got = parts(call(name))
    assert len(got) == len(wanted)
    assert all(same(left, right) for left, right in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", [name for name in RUN if FOUND[name] == "cached_table"])
def test_who_changes_what_he_was_given_changes_it_for_himself(name):
    wanted = [part.clone() for part in parts(call(name))]
    for part in parts(call(name)):
        with torch.no_grad():
            part.copy_((part == 0).to(part))
    assert all(map(same, parts(call(name)), wanted))


def test_a_graph_holds_the_table_as_a_constant():
    class Packing(nn.Module):
        def forward(self, alms):
            return sht.to_real(alms, lmax=1)

    alms = torch.tensor([1.0, 2.0, 3.0 + 4.0j])
    wanted = sht.to_real(alms, lmax=1)
    for strict in (True, False):
        memo_of_packing = importlib.import_module("skytutor.sht.real")._real_indices
        memo_of_packing.cache_clear()
        exported = torch.export.export(Packing(), (torch.ones_like(alms),), strict=strict)
        assert torch.equal(exported.module()(alms), wanted)
        assert torch.equal(sht.to_real(alms, lmax=1), wanted), "and again without the graph"
    assert torch.allclose(sht.to_complex(wanted), alms)


def test_maps_can_be_reordered_for_gradients_after_inference():
    healpix.numbering.shared_order_table.cache_clear()
    with torch.inference_mode():
        healpix.reorder(torch.ones(12), source="ring", target="nested")
    maps = torch.ones(12, requires_grad=True)
    healpix.reorder(maps, source="ring", target="nested").sum().backward()
    assert torch.equal(maps.grad, torch.ones(12))


def test_changed_weights_of_rings_change_no_transform():
    before = sht.map2alm(torch.ones(192), nside=4, lmax=3, order="ring")
    sht.ring_weights(4).mul_(2)
    sht.functions._harmonics.cache_clear()
    assert torch.equal(sht.map2alm(torch.ones(192), nside=4, lmax=3, order="ring"), before)


def test_an_error_is_the_functions_own_and_nothing_is_kept():
    calls = []

    @memo.cached_table(maxsize=1)
    def fails(x):
        calls.append(x)
        raise ValueError(f"x must be positive, got {x}")

    for _ in range(2):
        with pytest.raises(ValueError, match="x must be positive, got -1"):
            fails(-1)
    assert calls == [-1, -1]


def test_a_table_of_another_kind_is_refused():
    @memo.cached_table(maxsize=1)
    def numbers():
        return iter([1])

    with pytest.raises(TypeError, match=r"tensors, arrays, modules, or tuples.*got list_iterator"):
        numbers()


def test_an_attribute_that_is_kept_is_made_outside_the_mode():
    simulator = GaussianSkySimulator("T3")
    with torch.inference_mode():
        made = simulator.mask
    assert simulator.mask is made and not made.is_inference()
