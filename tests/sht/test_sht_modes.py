"""skytutor.sht in every mode of torch: each function in each mode gives what it gives in none."""

import math
import warnings

import healpy as hp
import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from skytutor.fields.spectra import alm2cl
from skytutor.layers.pixel import HaloConv, HierarchicalPool
from skytutor.layers.spectral import ZonalConv
from skytutor.sht import (
    BACKENDS,
    Harmonics,
    RealHarmonics,
    alm2map,
    alm_size,
    least_squares,
    map2alm,
    to_complex,
    to_real,
)

NSIDE = 2
LMAX = 4
HOW = {"nside": NSIDE, "lmax": LMAX, "order": "nested"}
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_spin = pytest.mark.parametrize("spin", [0, 2])
spin_2 = pytest.mark.parametrize("spin", [2])  # where a test takes long: all of spin 0 is in it
# Torch's own, when it first loads what forward derivatives and traces need.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental"),
    pytest.mark.filterwarnings("ignore:Torchinductor does not support code generation for complex"),
]


def numbers(kind, spin, dtype, *, seed=0):
    """Three maps, complex or real coefficients."""
    g = torch.Generator().manual_seed(seed)
    parts = (2,) if spin else ()
    size = {"maps": 12 * NSIDE**2, "alms": alm_size(LMAX), "coefs": (LMAX + 1) ** 2}[kind]
    if kind == "alms":
        dtype = torch.complex128 if dtype == torch.float64 else torch.complex64
    return torch.randn(3, *parts, size, generator=g, dtype=dtype)


def functions(backend, spin, dtype):
    """Yield name, function and kind of argument, of all that transforms."""
    sky = Harmonics(**HOW, spin=spin, dtype=dtype, backend=backend)
    yield "Harmonics.map2alm", lambda x: sky.map2alm(x, iterations=1), "maps"
    yield "Harmonics.alm2map", sky.alm2map, "alms"
    yield "map2alm", lambda x: map2alm(x, **HOW, spin=spin, backend=backend), "maps"
    yield "alm2map", lambda x: alm2map(x, **HOW, spin=spin, backend=backend), "alms"
    yield "least_squares", lambda x: least_squares(x, sky).alms, "maps"
    yield "lsq", lambda x: map2alm(x, **HOW, spin=spin, backend=backend, method="lsq"), "maps"
    for max_bytes in (0, 2**24):
        real = RealHarmonics(**HOW, spin=spin, dtype=dtype, max_bytes=max_bytes)
        if real.transform is not None:
            real.transform = sky
        elif backend != BACKENDS[0]:
            continue  # a product with a matrix knows no backend
        name = "transform" if real.transform else "matrix"
        yield f"RealHarmonics.synthesis, {name}", real.synthesis, "coefs"
        yield f"RealHarmonics.analysis, {name}", real.analysis, "maps"
        yield f"RealHarmonics.adjoint, {name}", real.adjoint, "maps"
    if backend == BACKENDS[0]:
        yield "to_real", lambda x: to_real(x, lmax=LMAX), "alms"
        yield "to_complex", to_complex, "coefs"
        yield "alm2cl", lambda x: alm2cl(x, lmax=LMAX), "alms"


NAMES = sorted(
    {(name, backend) for backend in BACKENDS for name, *_ in functions(backend, 0, torch.float64)}
)
each_function = pytest.mark.parametrize(("name", "backend"), NAMES)


def case(name, backend, spin, dtype=torch.float64):
    """Return a function and three arguments for it."""
    found = {n: (f, kind) for n, f, kind in functions(backend, spin, dtype)}
    function, kind = found[name]
    return function, numbers(kind, spin, dtype)


def parts(x):
    return torch.view_as_real(x) if x.is_complex() else x


def loss(function):
    """Return a function of its argument that is not linear, so that it has second derivatives."""
    return lambda x: parts(function(x)).pow(4).sum()


@each_spin
@each_function
def test_autocast_rounds_nothing(name, backend, spin):
    function, x = case(name, backend, spin, torch.float32)
    plain = x.clone().requires_grad_()
    cast = x.clone().requires_grad_()
    wanted = function(plain)
    parts(wanted).square().sum().backward()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = function(cast)
        assert torch.equal(found, wanted) and found.dtype == wanted.dtype
        if "matrix" in name:
            return  # torch's own product: its backward pass belongs outside of autocast
        parts(found).square().sum().backward()
    assert torch.equal(cast.grad, plain.grad)


@each_spin
@each_function
def test_numbers_of_16_bits_are_computed_in_single_precision(name, backend, spin):
    function, x = case(name, backend, spin, torch.float32)
    for dtype in (torch.bfloat16, torch.float16) if not x.is_complex() else (torch.complex32,):
        few = x.to(dtype)
        wanted = function(few.to(x.dtype))
        found = function(few)
        assert found.dtype == wanted.dtype and torch.equal(found, wanted)


@each_spin
@each_function
def test_func_maps_over_them(name, backend, spin):
    function, x = case(name, backend, spin)
    wanted = function(x)
    close = {"rtol": 0, "atol": 1e-11}
    torch.testing.assert_close(torch.func.vmap(function)(x), wanted, **close)
    second = x.movedim(0, -1).contiguous()
    found = torch.func.vmap(function, in_dims=-1, out_dims=1)(second)
    torch.testing.assert_close(found.movedim(1, 0), wanted, **close)
    both = torch.stack([x, 2 * x])
    nested = torch.func.vmap(torch.func.vmap(function))(both)
    torch.testing.assert_close(nested, torch.stack([wanted, function(2 * x)]), **close)


@each_spin
@each_function
def test_func_differentiates_them(name, backend, spin):
    """Gradients against autograd, and both directions against each other."""
    function, x = case(name, backend, spin)
    leaf = x.clone().requires_grad_()
    (wanted,) = torch.autograd.grad(loss(function)(leaf), leaf)
    close = {"rtol": 1e-9, "atol": 1e-9}
    torch.testing.assert_close(torch.func.grad(loss(function))(x), wanted, **close)
    of_each = torch.func.vmap(torch.func.grad(loss(function)))(x)
    torch.testing.assert_close(of_each, wanted, **close)
    direction = torch.randn_like(x)
    _, slope = torch.func.jvp(loss(function), (x,), (direction,))
    product = (parts(wanted) * parts(direction)).sum()
    torch.testing.assert_close(slope, product, rtol=1e-9, atol=1e-9)


@spin_2
@each_function
def test_jacobians_agree_both_ways(name, backend, spin):
    function, x = case(name, backend, spin)
    x = x[:1]
    real = parts(x)

    def outputs(numbers):
        return parts(function(torch.view_as_complex(numbers) if x.is_complex() else numbers))

    backward = torch.func.jacrev(outputs)(real)
    forward = torch.func.jacfwd(outputs)(real)
    torch.testing.assert_close(backward, forward, rtol=0, atol=1e-10)
    # All but the spectrum are linear: their Jacobian is the function.
    if name != "alm2cl":
        axes = real.dim()
        applied = torch.tensordot(backward, real, dims=axes)
        torch.testing.assert_close(applied, outputs(real), rtol=0, atol=1e-10)


@spin_2
@each_function
def test_second_derivatives(name, backend, spin):
    function, x = case(name, backend, spin)
    few = x[:1].clone().requires_grad_()
    assert torch.autograd.gradcheck(function, (few,), check_forward_ad=True, fast_mode=True)
    assert torch.autograd.gradgradcheck(loss(function), (few,), rtol=1e-3, fast_mode=True)


@each_spin
@each_function
def test_inference_mode_and_back(name, backend, spin):
    function, x = case(name, backend, spin)
    with torch.inference_mode():
        inferred = function(x)
    leaf = x.clone().requires_grad_()
    found = function(leaf)
    assert torch.equal(inferred, found) and found.requires_grad


@each_spin
@each_function
def test_conjugate_and_negative_views(name, backend, spin):
    function, x = case(name, backend, spin)
    view = x.conj() if x.is_complex() else torch._neg_view(x)
    assert view.is_conj() or view.is_neg()
    assert torch.equal(function(view), function(view.clone().resolve_conj().resolve_neg()))


def iterates(name):
    """Return whether a function loops until its values are good enough, which no graph holds."""
    return name in ("lsq", "least_squares")


# In plain torch a sum is hundreds of operations, and all functions hold the same two sums: what
# becomes of these after dynamo is looked at once, forward and backward, in the functions named
# here. Of the others dynamo's graph is what is run.
SUMS_OF_TORCH = ("Harmonics.alm2map", "RealHarmonics.analysis, transform")


def compiled(function, backend="aot_eager"):
    """Return a function compiled as one graph, and the list of our operators that it calls."""
    operators = []

    def look_and_compile(graph, inputs):
        called = [n for n in graph.graph.nodes if n.op == "call_function"]
        operators.extend(str(n.target) for n in called if "skytutor" in str(n.target))
        return torch._dynamo.lookup_backend(backend)(graph, inputs)

    torch._dynamo.reset()
    return torch.compile(function, fullgraph=True, backend=look_and_compile), operators


@spin_2
@each_function
def test_compiles_whole(name, backend, spin):
    """One graph, forward and backward, the values equal; with ducc0 one operator for each sum."""
    if iterates(name):
        pytest.skip("iterates until it has converged")
    function, x = case(name, backend, spin)
    in_full = backend == "ducc0" or "matrix" in name or name in SUMS_OF_TORCH
    fast, operators = compiled(loss(function), "aot_eager" if in_full else "eager")
    leaf = x.clone().requires_grad_()
    found = fast(leaf)
    torch.testing.assert_close(found, loss(function)(x), rtol=1e-12, atol=0)
    (gradient,) = torch.autograd.grad(found, leaf)
    wanted = torch.func.grad(loss(function))(x)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-9)
    # map2alm iterates once above: three sums.
    sums = 3 if name == "Harmonics.map2alm" else 1
    transforms = name not in ("to_real", "to_complex", "alm2cl") and "matrix" not in name
    assert len(operators) == (sums if backend == "ducc0" and transforms else 0)


class Module(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


@spin_2
@each_function
def test_exports(name, backend, spin):
    if iterates(name):
        pytest.skip("iterates until it has converged")
    function, x = case(name, backend, spin)
    program = torch.export.export(Module(function), (x,))
    other = 2 * x + 1
    torch.testing.assert_close(program.module()(other), function(other), rtol=0, atol=1e-12)
    assert torch.isfinite(parts(function(x))).all(), "and the tables are whole afterwards"


@each_spin
@each_function
def test_traces_hold_the_function_and_not_its_result(name, backend, spin):
    if iterates(name):
        pytest.skip("iterates until it has converged")
    function, x = case(name, backend, spin)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        traced = torch.jit.trace(lambda y: function(y), (x,), check_trace=False)
    other = 2 * x + 1
    torch.testing.assert_close(traced(other), function(other), rtol=0, atol=1e-12)


@each_spin
@each_function
def test_fake_tensors_have_the_right_shape(name, backend, spin):
    if iterates(name):
        pytest.skip("iterates until it has converged")
    function, x = case(name, backend, spin)
    wanted = function(x)
    with FakeTensorMode(allow_non_fake_inputs=True) as mode:
        found = function(mode.from_tensor(x))
    assert found.shape == wanted.shape and found.dtype == wanted.dtype
    assert torch.equal(function(x), wanted), "and the tables are whole afterwards"


@each_backend
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_are_looked_at_inside_of_func(bad, backend):
    maps = numbers("maps", 0, torch.float64)
    maps[1, 3] = bad
    for mode in (
        torch.func.vmap(lambda x: map2alm(x, **HOW, backend=backend)),
        torch.func.vmap(lambda x: map2alm(x, **HOW, backend=backend, method="lsq")),
        torch.func.grad(lambda x: map2alm(x, **HOW, backend=backend).abs().sum()),
    ):
        with pytest.raises(ValueError, match="maps holds 1 NaN or infinite"):
            mode(maps)
    alms = numbers("alms", 0, torch.float64)
    alms[0, 2] = bad
    with pytest.raises(ValueError, match="alms holds NaN or infinite"):
        torch.func.vmap(lambda x: alm2map(x, **HOW, backend=backend))(alms)


@each_backend
def test_mapped_transforms_are_healpys(backend):
    nside = 8
    g = torch.Generator().manual_seed(1)
    maps = torch.randn(2, 12 * nside**2, generator=g, dtype=torch.float64)
    how = {"nside": nside, "lmax": 16, "order": "ring", "backend": backend}
    found = torch.func.vmap(lambda x: map2alm(x, **how, weights=None))(maps)
    for k in range(2):
        wanted = torch.from_numpy(hp.map2alm(maps[k].numpy(), lmax=16, iter=0))
        torch.testing.assert_close(found[k], wanted, rtol=0, atol=1e-12)


@each_backend
@pytest.mark.parametrize(("nside", "lmax"), [(1, 0), (1, 1), (2, 1)])
def test_degrees_below_the_spin_hold_nothing(nside, lmax, backend):
    sky = Harmonics(nside, lmax, spin=2, order="ring", dtype=torch.float64, backend=backend)
    alms = torch.ones(3, 2, alm_size(lmax), dtype=torch.complex128, requires_grad=True)
    maps = torch.ones(3, 2, 12 * nside**2, dtype=torch.float64, requires_grad=True)
    made = sky.alm2map(alms)
    found = sky.map2alm(maps, iterations=1)
    assert torch.equal(made, torch.zeros_like(maps)) and torch.equal(found, torch.zeros_like(alms))
    (gradient,) = torch.autograd.grad(made.sum(), alms)
    assert torch.equal(gradient, torch.zeros_like(alms))


@pytest.mark.parametrize("lmax", [0, 1, 2])
@each_spin
def test_one_pixel_a_face(spin, lmax):
    """Both backends give the same at nside 1, where every ring is in the belt."""
    found = []
    for backend in BACKENDS:
        sky = Harmonics(1, lmax, spin=spin, order="nested", dtype=torch.float64, backend=backend)
        g = torch.Generator().manual_seed(2)
        maps = torch.randn(2, *((2,) if spin else ()), 12, generator=g, dtype=torch.float64)
        alms = sky.map2alm(maps)
        found.append((alms, sky.alm2map(alms)))
    for ducc, dense in zip(*found, strict=True):
        torch.testing.assert_close(ducc, dense, rtol=0, atol=1e-13)


@each_spin
@each_function
def test_a_batch_of_none_is_refused_by_name(name, backend, spin):
    if name in ("to_real", "to_complex") or "matrix" in name:
        pytest.skip("has no values to look at, and gives none back")
    function, x = case(name, backend, spin)
    with pytest.raises(ValueError, match=r"(maps|alms) is empty"):
        function(x[:0])


class Network(nn.Module):
    """Convolution, pooling and a zonal layer."""

    def __init__(self, backend, nside):
        super().__init__()
        self.conv = HaloConv(1, 3, nside=nside, order="nested")
        self.pool = HierarchicalPool("mean", order="nested")
        sizes = [(nside, 2 * nside), (nside // 2, nside)]
        self.zonal = nn.ModuleList(
            [ZonalConv(1, 1, lmax=sizes[0][1]), ZonalConv(3, 2, lmax=sizes[1][1])]
        )
        how = {"order": "nested", "backend": backend}
        self.skies = nn.ModuleList(Harmonics(*size, **how) for size in sizes)

    def filtered(self, k, maps):
        sky = self.skies[k]
        coefs = self.zonal[k](to_real(sky.map2alm(maps), lmax=sky.lmax))
        return sky.alm2map(to_complex(coefs))

    def forward(self, maps):
        return self.filtered(1, self.pool(self.conv(self.filtered(0, maps)).relu()))


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["ducc0", "torch"])
def test_a_network_at_nside_32_compiles_without_a_break(backend):
    nside = 32
    torch.manual_seed(0)
    net = Network(backend, nside)
    maps = torch.randn(2, 1, 12 * nside**2)
    # A graph with a break is refused. The layers are in the graph of ducc0 as well, and the sums of
    # torch in the test above: of this many operations dynamo's graph is enough.
    fast, operators = compiled(net, "aot_eager" if backend == "ducc0" else "eager")
    found = fast(maps)
    assert len(operators) == (4 if backend == "ducc0" else 0), operators
    wanted = net(maps)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
    slow = torch.autograd.grad(wanted.square().mean(), list(net.parameters()))
    quick = torch.autograd.grad(found.square().mean(), list(net.parameters()))
    for a, b in zip(slow, quick, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5)
