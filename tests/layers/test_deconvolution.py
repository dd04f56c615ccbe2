"""skytutor.layers.deconvolution: patches come out white, exactly as far as the steps reach."""

import copy
import io

import pytest
import torch
import torch.nn.functional as F

from skytutor.layers.deconvolution import (
    NetworkDeconvolution2d,
    fold_deconvolutions,
    inverse_square_root,
)

SMALL = {"kernel_size": 3, "padding": 1, "sampling_stride": 1}


def pictures(n=8, channels=4, size=12, *, seed=0, mean=3.0):
    """Return correlated pictures, float64: neighbours and bands say nearly the same."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, channels, size + 2, size + 2, generator=generator, dtype=torch.float64)
    smooth = F.avg_pool2d(noise, 3, stride=1)
    mixing = torch.randn(channels, channels, generator=generator, dtype=torch.float64)
    return torch.einsum("oc,nchw->nohw", mixing, smooth) + mean


def covariances(size, *, condition, n=3, seed=0):
    """Return random symmetric matrices ``(n, size, size)`` of that condition, float64."""
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(n, size, size, generator=generator, dtype=torch.float64)
    vectors = torch.linalg.qr(noise)[0]
    values = torch.logspace(0, -torch.log10(torch.tensor(condition)), size, dtype=torch.float64)
    return (vectors * values) @ vectors.mT


def exact_root(matrices):
    """Return the inverse square root by eigenvalues."""
    values, vectors = torch.linalg.eigh(matrices)
    return (vectors * values.rsqrt()[..., None, :]) @ vectors.mT


def scalar_steps(value, iterations):
    """Return what the iteration makes of one eigenvalue of a matrix with norm 1."""
    y, z = value, torch.ones_like(value)
    for _ in range(iterations):
        t = (3 - z * y) / 2
        y, z = y * t, t * z
    return z


def patches_by_hand(x, layer):
    """Return the patches of each block written out with slices, ``(blocks, D, N)``."""
    kernel = layer.kernel_size
    padded = F.pad(x, (layer.padding,) * 4)
    rows = []
    for c in range(x.shape[1]):
        for i in range(kernel):
            for j in range(kernel):
                height = padded.shape[2] - kernel + 1
                width = padded.shape[3] - kernel + 1
                window = padded[:, c, i : i + height, j : j + width]
                rows.append(window[:, :: layer.stride, :: layer.stride].flatten())
    return torch.stack(rows).unflatten(0, (-1, layer.block * kernel**2))


@torch.no_grad()
def whitened_then_convolved(x, layer, root):
    """Return the layer's output the long way: centre, whiten, multiply by the weights."""
    patches = patches_by_hand(x, layer)
    shared = len(layer.running_mean) == 1
    pooled = patches.transpose(0, 1).flatten(1)[None] if shared else patches
    mean = pooled.mean(-1, keepdim=True)
    centred = pooled - mean
    covariance = centred @ centred.mT / centred.shape[-1]
    covariance = covariance + layer.eps * torch.eye(len(covariance[0]), dtype=x.dtype)
    white = root(covariance) @ (patches - mean)
    weight = layer.weight.double().unflatten(1, (-1, layer.block)).flatten(2).transpose(0, 1)
    out = (weight @ white).sum(0) + layer.bias.double()[:, None]
    side = (x.shape[2] + 2 * layer.padding - layer.kernel_size) // layer.stride + 1
    return out.unflatten(1, (len(x), side, side)).transpose(0, 1)


def relative_error(got, expected):
    got, expected = got.detach().double(), expected.detach()
    return float((got - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("condition", [10.0, 1e5])
def test_many_steps_reach_the_inverse_root_of_eigh(condition):
    matrices = covariances(45, condition=condition)
    expected = exact_root(matrices)
    assert relative_error(inverse_square_root(matrices, iterations=40), expected) < 1e-9
    if condition < 100:
        single = inverse_square_root(matrices.float(), iterations=25)
        assert relative_error(single, expected) < 1e-5


@pytest.mark.parametrize("iterations", [1, 2, 5])
def test_every_eigenvalue_follows_the_scalar_iteration(iterations):
    """The steps are polynomials of the matrix: its eigenvectors stay, its eigenvalues move."""
    matrices = 7.3 * covariances(45, condition=1e4)
    norm = torch.linalg.matrix_norm(matrices)[:, None]
    values, vectors = torch.linalg.eigh(matrices)
    roots = scalar_steps(values / norm, iterations) / norm.sqrt()
    expected = (vectors * roots[:, None, :]) @ vectors.mT
    assert relative_error(inverse_square_root(matrices, iterations=iterations), expected) < 1e-12
    single = inverse_square_root(matrices.float(), iterations=iterations)
    assert relative_error(single, expected) < 1e-5
    # directions that hold next to nothing are left alone: at most 1.5 a step
    assert float((roots * norm.sqrt()).max()) <= 1.5**iterations


def test_gradients_flow_through_the_steps():
    matrices = covariances(4, condition=30.0).requires_grad_()
    assert torch.autograd.gradcheck(lambda m: inverse_square_root(m @ m.mT), matrices)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"stride": 2},
        {"padding": 0},
        {"block": 2},
        {"block": 2, "shared": False},
        {"block": 3},
        {"kernel_size": 1, "padding": 0},
    ],
)
@pytest.mark.parametrize("iterations", [5, 40])
def test_the_output_is_whitened_then_convolved(options, iterations):
    options = {**SMALL, **options}
    layer = NetworkDeconvolution2d(4, 6, **options, iterations=iterations, eps=1e-3)
    x = pictures(16, 4, 12)
    torch.nn.init.normal_(layer.bias)

    def root(covariance):
        if iterations == 5:
            return inverse_square_root(covariance)  # float64, checked above
        return exact_root(covariance)

    expected = whitened_then_convolved(x, layer, root)
    assert relative_error(layer.double()(x), expected) < (1e-10 if iterations == 5 else 1e-8)
    if iterations == 5:
        assert relative_error(layer.float()(x.float()), expected) < 1e-5


def test_patches_come_out_with_mean_0_and_covariance_1():
    x = pictures(16)
    layer = NetworkDeconvolution2d(4, 36, **SMALL, iterations=40, eps=1e-9).double()
    with torch.no_grad():
        layer.weight.copy_(torch.eye(36).reshape(36, 4, 3, 3))
    out = layer(x).transpose(0, 1).flatten(1)
    torch.testing.assert_close(out.mean(1), torch.zeros(36).double(), rtol=0, atol=1e-9)
    torch.testing.assert_close(out.cov(correction=0), torch.eye(36).double(), rtol=0, atol=1e-5)


def test_the_unit_of_the_input_has_no_influence():
    x = pictures()
    layer = NetworkDeconvolution2d(4, 6, **SMALL, eps=1e-12).double()
    torch.testing.assert_close(layer(1000 * x + 50), layer(x), rtol=0, atol=1)  # borders are zeros
    unpadded = NetworkDeconvolution2d(4, 6, 3, sampling_stride=1, eps=1e-12).double()
    torch.testing.assert_close(unpadded(1000 * x + 50), unpadded(x), rtol=1e-7, atol=1e-7)


def test_gradcheck():
    layer = NetworkDeconvolution2d(2, 2, 3, padding=1, eps=1e-2).double()
    x = pictures(2, 2, 5)

    def call(x, weight, bias):
        return torch.func.functional_call(layer, {"weight": weight, "bias": bias}, (x,))

    leaves = [t.detach().clone().requires_grad_() for t in (x, layer.weight, layer.bias)]
    assert torch.autograd.gradcheck(call, leaves)


def test_sampled_patches_are_a_subset_and_small_pictures_are_sampled_less():
    layer = NetworkDeconvolution2d(2, 3, 3, sampling_stride=3).double()
    x = pictures(64, 2, 23)
    mean, covariance = layer.statistics(x)
    patches = x.unfold(2, 3, 3).unfold(3, 3, 3)  # windows side by side
    patches = patches.permute(1, 4, 5, 0, 2, 3).flatten(3).flatten(0, 2)
    torch.testing.assert_close(mean[0], patches.mean(1), rtol=1e-12, atol=1e-12)
    expected = patches.cov(correction=0) + 1e-5 * torch.eye(18)
    torch.testing.assert_close(covariance[0], expected, rtol=1e-12, atol=1e-12)
    # two pictures of 7 x 7 have 8 patches with stride 3 and 50 with stride 1, for 18 entries
    few = layer.statistics(x[:2, :, :7, :7])[1][0]
    assert torch.linalg.matrix_rank(few - 1e-5 * torch.eye(18), atol=1e-9) == 18


@pytest.mark.parametrize("average", ["covariance", "inverse_root"])
def test_the_running_average_is_the_one_it_says(average):
    layer = NetworkDeconvolution2d(4, 6, **SMALL, average=average, momentum=0.3).double()
    batches = [pictures(seed=seed) * (1 + seed) for seed in range(6)]
    size = 36
    matrix = torch.eye(size, dtype=torch.float64)
    mean = torch.zeros(size, dtype=torch.float64)
    for n, x in enumerate(batches):
        new_mean, new = layer.statistics(x)
        weight = 0.3
        if average == "inverse_root":
            new = inverse_square_root(new)
        else:
            weight = max(0.3, 1 / (n + 1))
        matrix = (1 - weight) * matrix + weight * new[0]
        mean = (1 - weight) * mean + weight * new_mean[0]
        layer(x)
    torch.testing.assert_close(layer.running_matrix[0], matrix, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(layer.running_mean[0], mean, rtol=1e-12, atol=1e-12)


def test_the_first_batch_is_evaluated_as_it_was_trained():
    x = pictures()
    layer = NetworkDeconvolution2d(4, 6, **SMALL).double()
    trained = layer(x)
    torch.testing.assert_close(layer.eval()(x), trained, rtol=1e-10, atol=1e-10)
    # as published, nine tenths are still the identity
    layer = NetworkDeconvolution2d(4, 6, **SMALL, average="inverse_root").double()
    trained = layer(x)
    assert relative_error(layer.eval()(x), trained.detach()) > 0.5


def test_one_bright_batch_counts_in_the_mean_of_covariances_and_not_of_inverse_roots():
    """Nine batches of variance 1, one of 1e4: the roots say 1 / 0.9, the covariances 1 / 32."""
    found = {}
    for average in ("covariance", "inverse_root"):
        layer = NetworkDeconvolution2d(1, 1, 1, average=average, sampling_stride=1, momentum=0.01)
        layer = layer.double()
        torch.nn.init.ones_(layer.weight)
        for n in range(1000):
            layer(pictures(2, 1, 4, seed=n, mean=0.0) * (100 if n % 10 == 9 else 1))
        bright = 100 * pictures(64, 1, 4, seed=2000, mean=0.0)
        found[average] = float(layer.eval()(bright).detach().std())
    assert found["inverse_root"] > 50  # in training such a batch comes out with 1
    assert found["covariance"] < 5


def test_evaluation_follows_whatever_writes_into_the_buffer():
    x = pictures()
    layer = NetworkDeconvolution2d(4, 6, **SMALL).double()
    layer(x)
    first = layer.eval()(x)
    assert torch.equal(layer(x), first)
    other = NetworkDeconvolution2d(4, 6, **SMALL).double()
    other(10 * x)
    kept = copy.deepcopy(layer)
    layer.load_state_dict(other.state_dict())
    torch.testing.assert_close(layer(x), other.eval()(x), rtol=1e-12, atol=1e-12)
    assert torch.equal(kept(x), first)
    with torch.no_grad():
        kept.running_matrix.mul_(4)
    assert relative_error(2 * (kept(x) - kept.bias[:, None, None]), first) < 1e-10
    with torch.inference_mode():
        kept.train()(x)
        kept.eval()(x)
    wanted = x.clone().requires_grad_()
    kept(wanted).sum().backward()  # the inverse root found in inference mode serves autograd too
    assert wanted.grad.abs().max() > 0


def test_folded_layers_answer_as_before():
    net = torch.nn.Sequential(
        NetworkDeconvolution2d(4, 6, **SMALL),
        torch.nn.Sequential(torch.nn.ReLU(), NetworkDeconvolution2d(6, 2, 3, stride=2, bias=False)),
    ).double()
    for seed in range(3):
        net(pictures(seed=seed))
    x = pictures(seed=9)
    expected = net.eval()(x)
    folded = fold_deconvolutions(net)
    torch.testing.assert_close(folded(x), expected, rtol=1e-11, atol=1e-11)
    assert not any(isinstance(m, NetworkDeconvolution2d) for m in folded.modules())


def test_autocast_whitens_in_float32():
    x = pictures(16).float()
    layer = NetworkDeconvolution2d(4, 6, **SMALL)
    other = copy.deepcopy(layer)
    expected = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        rounded = other(x)
    assert rounded.dtype == torch.bfloat16
    assert torch.equal(layer.running_matrix, other.running_matrix)
    assert relative_error(rounded, expected.double()) < 0.05
    rounded.float().square().sum().backward()
    assert other.weight.grad.isfinite().all()


def test_saved_states_and_compile():
    x = pictures()
    layer = NetworkDeconvolution2d(4, 6, **SMALL).double()
    layer(x)
    buffer = io.BytesIO()
    torch.save(layer.state_dict(), buffer)
    buffer.seek(0)
    other = NetworkDeconvolution2d(4, 6, **SMALL).double()
    other.load_state_dict(torch.load(buffer))
    expected = layer.eval()(x)
    assert torch.equal(other.eval()(x), expected)
    compiled = torch.compile(other, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), expected, rtol=1e-10, atol=1e-10)
    compiled = torch.compile(other.train(), backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer.train()(x), rtol=1e-10, atol=1e-10)


def test_bad_arguments_are_named():
    with pytest.raises(ValueError, match="average must be one of 'covariance', 'inverse_root'"):
        NetworkDeconvolution2d(1, 1, 3, average="mean")
    with pytest.raises(ValueError, match="in_channels must be a positive integer, got 0"):
        NetworkDeconvolution2d(0, 1, 3)
    with pytest.raises(ValueError, match="padding must not be negative, got -1"):
        NetworkDeconvolution2d(1, 1, 3, padding=-1)
    with pytest.raises(ValueError, match="momentum must be at most 1, got 2"):
        NetworkDeconvolution2d(1, 1, 3, momentum=2)
    with pytest.raises(ValueError, match="eps must be finite and positive"):
        NetworkDeconvolution2d(1, 1, 3, eps=0.0)
    layer = NetworkDeconvolution2d(3, 1, 5)
    with pytest.raises(ValueError, match=r"x must be \(B, 3, H, W\), got \(2, 1, 8, 8\)"):
        layer(torch.zeros(2, 1, 8, 8))
    with pytest.raises(ValueError, match="at least one picture of 5 pixels a side"):
        layer(torch.zeros(2, 3, 4, 8))
    with pytest.raises(ValueError, match="at least one picture"):
        layer(torch.zeros(0, 3, 8, 8))
    with pytest.raises(TypeError, match=r"x must be floating-point numbers, got torch\.int64"):
        layer(torch.zeros(2, 3, 8, 8).long())
    with pytest.raises(ValueError, match=r"matrices must be \(\.\.\., D, D\), got \(2, 3\)"):
        inverse_square_root(torch.zeros(2, 3))
