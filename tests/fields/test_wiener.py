"""skytutor.fields.wiener: a dense solution in pixels, the analytic filter, finite differences."""

import math

import pytest
import torch

from skytutor.fields.wiener import WienerFilter
from skytutor.healpix import UNSEEN
from skytutor.sht import ConvergenceWarning, Harmonics, RealHarmonics, real_degrees
from skytutor.sht.solvers import ConvergenceError

each_spin = pytest.mark.parametrize("spin", [0, 2])
each_preconditioner = pytest.mark.parametrize("preconditioner", ["coarse", "hole"])
double = {"dtype": torch.float64}


def spectra_of(spin, lmax):
    c = 1 / (torch.arange(lmax + 1, **double) + 2) ** 2
    return {"EE": c, "BB": 0.1 * c} if spin else {"TT": c}


def half_sky(nside):
    mask = torch.ones(12 * nside**2, **double)
    mask[len(mask) // 2 :] = 0
    return mask


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **double)


@each_spin
@each_preconditioner
@pytest.mark.parametrize("order", ["ring", "nested"])
def test_half_a_sky_equals_a_dense_solution_in_pixels(spin, order, preconditioner):
    """``b = C S^T (S C S^T + N)^-1 d`` over the observed pixels: another formula, another space."""
    nside = 8
    lmax = 16
    pixels = 768
    mask = half_sky(nside)
    spectra = spectra_of(spin, lmax)
    variance = 0.01 + 0.02 * torch.rand(
        pixels, generator=torch.Generator().manual_seed(1), **double
    )
    parts = (2,) if spin else ()
    maps = draw(3, *parts, pixels)
    found = WienerFilter(
        nside, lmax, spin=spin, order=order, preconditioner=preconditioner, **double
    )(maps, spectra, variance=variance, mask=mask)
    l = real_degrees(lmax)[0]
    prior = torch.cat([c[l] * (l >= spin) for c in spectra.values()])
    unit = torch.eye(len(prior), **double)
    sky = RealHarmonics(nside, lmax, spin=spin, order=order, **double)
    columns = sky.synthesis(unit.unflatten(1, (2, -1)) if spin else unit).flatten(
        1
    )  # ([2] K, [2] P)
    seen = mask.bool().repeat(2 if spin else 1)
    rows = columns[:, seen]
    covariance = (rows.T * prior) @ rows
    noise = variance.repeat(2 if spin else 1)[seen]
    wanted = prior * (
        torch.linalg.solve(covariance + noise.diag(), maps.flatten(1)[:, seen].T).T @ rows.T
    )
    off = (found.coefs.flatten(1) - wanted).norm() / wanted.norm()
    print(f"spin {spin}, {order}: {found.steps} steps, off by {off:.1e}")
    assert off <= 1e-6 and found.residual <= 1e-5


def test_full_sky_is_signal_over_signal_plus_noise():
    """At nside 64, with noise laid out as the quadrature's weights.

    With equal pixels HEALPix itself is off by 1e-4.
    """
    nside = 64
    lmax = 64
    l = real_degrees(lmax)[0]
    c = spectra_of(0, lmax)["TT"]
    level = c[10]
    weights = Harmonics(nside, lmax, order="ring", **double).pixel_weights()
    sky = RealHarmonics(nside, lmax, order="ring", **double)
    maps = sky.synthesis(c[l].sqrt() * draw(len(l)))
    variance = level * 12 * nside**2 / (4 * math.pi) / weights
    found = WienerFilter(nside, lmax, order="ring", **double)(
        maps, {"TT": c}, variance=variance, mask=torch.ones_like(maps)
    )
    wanted = (c / (c + level))[l] * sky.analysis(maps)
    off = (found.coefs - wanted).norm() / wanted.norm()
    print(f"full sky: {found.steps} steps, off by {off:.1e}")
    assert off <= 1e-6


def test_half_a_sky_at_nside_64_solves_its_equations():
    nside = 64
    lmax = 128
    mask = half_sky(nside)
    spectra = spectra_of(0, lmax)
    maps = draw(2, 12 * nside**2)
    found = WienerFilter(nside, lmax, coarse=16, tolerance=1e-9, order="ring", **double)(
        maps, spectra, variance=10.0, mask=mask
    )
    sky = RealHarmonics(nside, lmax, order="ring", **double)
    c = spectra["TT"][real_degrees(lmax)[0]]
    left = found.coefs + c * sky.adjoint(mask / 10 * (sky.synthesis(found.coefs) - maps))
    print(f"nside 64: {found.steps} steps")
    assert left.norm() <= 1e-8 * found.coefs.norm() and found.steps < 60


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:DeprecationWarning")
@pytest.mark.parametrize("of", ["maps", "variance", "TT"])
def test_transforms_of_functions_are_refused(of):
    sky = WienerFilter(2, 4, order="ring", **double)
    given = {"maps": draw(48), "variance": torch.tensor(0.5, **double), **spectra_of(0, 4)}
    mask = half_sky(2)

    def run(value):
        values = given | {of: value}
        found = sky(values["maps"], {"TT": values["TT"]}, variance=values["variance"], mask=mask)
        return found.coefs.square().sum()

    with pytest.raises(TypeError, match=f"{of} must not be inside torch.func"):
        torch.func.grad(run)(given[of])
    with pytest.raises(TypeError, match=f"{of} must not be inside torch.func"):
        torch.func.vmap(run)(given[of][None])
    with (
        torch.autograd.forward_ad.dual_level(),
        pytest.raises(TypeError, match=f"{of} must not be inside torch.func"),
    ):
        run(torch.autograd.forward_ad.make_dual(given[of], given[of]))
    # Nothing of theirs is kept.
    assert bool(torch.isfinite(run(given[of])))


@each_spin
@each_preconditioner
def test_gradients_of_map_spectra_and_noise(spin, preconditioner):
    nside = 2
    lmax = 4
    parts = (2,) if spin else ()
    maps = draw(1, *parts, 48).requires_grad_()
    variance = (0.5 + torch.rand(48, **double)).requires_grad_()
    values = [c.clone().requires_grad_() for c in spectra_of(spin, lmax).values()]
    names = tuple(spectra_of(spin, lmax))
    sky = WienerFilter(
        nside,
        lmax,
        spin=spin,
        tolerance=1e-13,
        coarse=1,
        order="ring",
        preconditioner=preconditioner,
        **double,
    )

    def run(maps, variance, *values):
        return sky(
            maps, dict(zip(names, values, strict=True)), variance=variance, mask=half_sky(nside)
        ).coefs

    assert torch.autograd.gradcheck(run, (maps, variance, *values), atol=1e-6)
    assert torch.autograd.gradgradcheck(run, (maps, variance, *values), atol=1e-6, fast_mode=True)


def test_a_filter_says_that_it_has_not_converged():
    arguments = {"order": "ring", "max_iter": 2, "coarse": 0, **double}
    given = {"variance": 0.1, "mask": half_sky(8)}
    maps = draw(3, 768)
    with pytest.raises(ConvergenceError, match="max_iter = 2 steps"):
        WienerFilter(8, 16, **arguments)(maps, spectra_of(0, 16), **given)
    sky = WienerFilter(8, 16, on_failure="warn", **arguments)
    with pytest.warns(ConvergenceWarning, match="max_iter = 2 steps"):
        found = sky(maps, spectra_of(0, 16), **given)
    assert found.steps == 2 and found.residual > 1e-5
    # The residual is that of the answer, in units of the map's root mean square.
    root = spectra_of(0, 16)["TT"][sky.l].sqrt()
    deviation = root.norm() / math.sqrt(4 * math.pi)
    weight = half_sky(8) / 0.1
    x = found.coefs / root
    sum_of_squares = root * sky.harmonics.adjoint(
        weight * (maps - sky.harmonics.synthesis(root * x))
    )
    rms = sky.harmonics.synthesis(found.coefs).square().mean(-1).sqrt()
    residual = ((sum_of_squares - x).norm(dim=-1) * deviation / rms).max()
    torch.testing.assert_close(float(residual), found.residual, rtol=1e-2, atol=0)


@each_preconditioner
@pytest.mark.parametrize("value", [1e6, math.nan, UNSEEN])
def test_what_stands_behind_the_mask_does_not_count(preconditioner, value):
    mask = half_sky(4)
    sky = WienerFilter(4, 8, order="ring", preconditioner=preconditioner, **double)
    maps = draw(192)
    one, two = (
        sky(m, spectra_of(0, 8), variance=0.1, mask=mask).coefs
        for m in (maps, torch.where(mask > 0, maps, value))
    )
    torch.testing.assert_close(one, two)


@each_preconditioner
def test_a_preconditioner_serves_until_something_changes(preconditioner):
    mask = half_sky(4)
    sky = WienerFilter(4, 8, order="ring", preconditioner=preconditioner, **double)
    spectra = spectra_of(0, 8)
    made = sky.prepare(spectra, variance=0.1, mask=mask)
    assert sky.prepare(spectra, variance=0.1, mask=mask) is made
    maps = draw(192)
    first = sky(maps, spectra, variance=0.1, mask=mask).coefs
    assert sky.prepare(spectra, variance=0.1, mask=mask) is made
    assert sky.prepare(spectra, variance=0.2, mask=mask) is not made
    assert sky.prepare({"TT": 2 * spectra["TT"]}, variance=0.1, mask=mask) is not made
    other = sky.prepare(spectra, variance=0.1, mask=mask.flip(0))
    assert other is not made
    # With what was made for another mask the answer would take more steps, and be the same.
    torch.testing.assert_close(sky(maps, spectra, variance=0.1, mask=mask).coefs, first)


@pytest.mark.parametrize("factor", [1e-6, 1e6])
def test_another_unit_than_the_spectra_is_seen(factor):
    sky = WienerFilter(4, 8, order="ring", **double)
    spectra = spectra_of(0, 8)
    maps = sky.harmonics.synthesis(spectra["TT"][sky.l].sqrt() * draw(81))
    sky(maps, spectra, variance=1e-3, mask=half_sky(4))
    with pytest.warns(UserWarning, match="same unit"):
        sky(factor * maps, spectra, variance=1e-3, mask=half_sky(4))


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"spectra": torch.ones(9)}, TypeError, "spectra must be named"),
        ({"spectra": {"EE": torch.ones(9)}}, ValueError, "spectra"),
        ({"spectra": {"TT": torch.ones(8)}}, ValueError, "spectra.*9"),
        ({"spectra": {"TT": -torch.ones(9)}}, ValueError, "negative"),
        ({"spectra": {"TT": torch.full((9,), math.nan)}}, ValueError, "finite"),
        ({"mask": torch.zeros(192)}, ValueError, "mask is 0 everywhere"),
        ({"mask": torch.full((192,), 2.0)}, ValueError, r"mask.*0\.\.1"),
        ({"mask": torch.full((192,), math.nan)}, ValueError, "mask"),
        ({"mask": torch.ones(48)}, ValueError, "mask.*192"),
        ({"variance": 0.0}, ValueError, "variance.*positive"),
        ({"variance": torch.ones(5)}, ValueError, "variance"),
        ({"variance": torch.full((192,), math.inf)}, ValueError, "variance.*192 pixels"),
        ({"mask": ["a"] * 192}, TypeError, "mask"),
        ({"maps": torch.full((192,), math.nan)}, ValueError, "maps"),
        ({"maps": torch.full((192,), -1.6375e30)}, ValueError, "UNSEEN"),
        ({"maps": torch.zeros(48)}, ValueError, "192"),
        ({"maps": torch.zeros(192).double()}, TypeError, "maps must be torch.float32"),
    ],
)
def test_bad_input(change, error, says):
    given = {
        "maps": torch.zeros(192),
        "spectra": {"TT": torch.ones(9)},
        "variance": 1.0,
        "mask": torch.ones(192),
    } | change
    with pytest.raises(error, match=says):
        WienerFilter(4, 8, order="ring")(given.pop("maps"), given.pop("spectra"), **given)


@pytest.mark.parametrize(
    ("mask", "says"),
    [(torch.ones(192), "hides no pixel"), (torch.linspace(0, 1, 192), "mask must be 0 or 1")],
)
def test_masks_without_a_hole(mask, says):
    sky = WienerFilter(4, 8, order="ring", preconditioner="hole")
    with pytest.raises(ValueError, match=says):
        sky(torch.zeros(192), {"TT": torch.ones(9)}, variance=1.0, mask=mask)


@pytest.mark.parametrize("change", [{"preconditioner": "dense"}, {"on_failure": "hide"}])
def test_bad_words(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        WienerFilter(4, 8, order="ring", **change)


@pytest.mark.parametrize("change", [{"coarse": -1}, {"tolerance": 2.0}, {"max_iter": 0}])
def test_bad_limits(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        WienerFilter(4, 8, order="ring", **change)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_compiled_function_breaks_its_graph_at_the_filter():
    sky = WienerFilter(1, 2, order="ring", dtype=torch.float64)
    maps = torch.randn(12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    call = {"spectra": {"TT": torch.ones(3)}, "variance": 0.5, "mask": torch.arange(12) > 2}

    def twice(x):
        return 2 * sky(x + 1, **call).coefs

    assert torch.equal(torch.compile(twice, backend="eager")(maps), twice(maps))
    torch._dynamo.reset()  # it remembers where it broke the graph
    with pytest.raises(torch._dynamo.exc.Unsupported, match="as many steps as the values ask for"):
        torch.compile(twice, backend="eager", fullgraph=True)(maps)
