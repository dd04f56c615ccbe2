"""skytutor.layers.spectral and gates: rotations commute with what claims it, not with the rest."""

import math

import healpy as hp
import numpy as np
import pytest
import torch

from skytutor.layers.gates import NormGate, ScalarGate, SpinProduct, length
from skytutor.layers.spectral import BinnedSpectrum, SpectralConv, SpinConv, ZonalConv
from skytutor.sht import RealHarmonics, alm_lm, real_degrees, to_complex, to_real

LMAX = 12
ANGLES = (0.4, 1.1, -2.3)


def rotated(coefs):
    """Healpy's rotation of every coefficient vector ``(..., K)``, float64."""
    alms = to_complex(coefs.detach()).numpy().reshape(-1, (LMAX + 1) * (LMAX + 2) // 2).copy()
    for row in alms:
        hp.rotate_alm(row, *ANGLES)
    return to_real(torch.from_numpy(alms), lmax=LMAX).reshape(coefs.shape)


def random_coefs(*lead, spin=0, seed=0):
    """Draw real coefficients ``(*lead, K)``, none below l = spin."""
    rng = torch.Generator().manual_seed(seed)
    coefs = torch.randn(*lead, (LMAX + 1) ** 2, generator=rng, dtype=torch.float64)
    return coefs * (real_degrees(LMAX)[0] >= spin)


def test_the_sky_turns_through_two_zonal_convolutions():
    net = torch.nn.Sequential(
        ZonalConv(3, 8, lmax=LMAX), ZonalConv(8, 2, lmax=LMAX, knots=5)
    ).double()
    x = random_coefs(4, 3)
    off = (net(rotated(x)) - rotated(net(x))).abs().max() / net(x).abs().max()
    print(f"zonal: {off:.1e}")
    assert off <= 1e-10


@pytest.mark.parametrize("source", [0, 2])
def test_the_sky_turns_through_spin_convolutions(source):
    net = torch.nn.Sequential(
        SpinConv(3, 4, lmax=LMAX, source=source), SpinConv(4, 2, lmax=LMAX, knots=4)
    ).double()
    x = random_coefs(2, 3, 2, spin=2) if source else random_coefs(2, 3)
    off = (net(rotated(x)) - rotated(net(x))).abs().max() / net(x).abs().max()
    assert off <= 1e-10


def test_weights_on_l_and_m_do_not_let_the_sky_turn():
    net = SpectralConv(3, 4, lmax=LMAX).double()
    x = random_coefs(2, 3)
    assert (net(rotated(x)) - rotated(net(x))).abs().max() > 0.1 * net(x).abs().max()
    # About the poles they do: a turn by phi multiplies a_lm by exp(-i m phi).
    turn = torch.exp(-0.7j * alm_lm(LMAX)[1])

    def about_z(coefs):
        return to_real(to_complex(coefs) * turn, lmax=LMAX)

    torch.testing.assert_close(net(about_z(x)), about_z(net(x)), rtol=0, atol=1e-12)


def test_weights_on_l_and_m_are_complex_factors():
    net = SpectralConv(1, 1, lmax=LMAX).double()
    x = random_coefs(1, 1)
    l, m = alm_lm(LMAX)
    row = l * (l + 1) // 2 + m
    weight = torch.complex(
        net.real,
        torch.where((m == 0).unsqueeze(1), 0, net.imag[row][:, :, 0])[torch.argsort(row)][
            :, :, None
        ],
    )
    torch.testing.assert_close(
        to_complex(net(x))[0, 0], to_complex(x)[0, 0] * weight[row, 0, 0], rtol=0, atol=1e-12
    )


def test_a_mirror_image_passes_zonal_convolutions_and_not_spin_products():
    """North for south: a_lm gains (-1)**(l + m), and U changes its sign."""
    flip = (-1.0) ** (real_degrees(LMAX)[0] + real_degrees(LMAX)[1]).double()
    sky, field = (RealHarmonics(8, LMAX, spin=s, dtype=torch.float64, order="ring") for s in (0, 2))
    x = random_coefs(1, 2)
    zonal = ZonalConv(2, 3, lmax=LMAX).double()
    spin = SpinConv(2, 4, lmax=LMAX, source=0).double()

    def means(coefs):
        u, v = field.synthesis(spin(coefs)).chunk(2, 1)
        return sky.synthesis(zonal(coefs)).relu().mean(-1), SpinProduct()(u, v).mean(-1)

    plain, product = means(x)
    mirrored, other = means(x * flip)
    torch.testing.assert_close(plain, mirrored, rtol=0, atol=1e-13)
    assert (product - other).abs().max() > 0.01


def test_spin_fields_are_second_derivatives():
    """Weights sqrt((l + 2)! / (l - 2)!) on a map give its derivatives; those of Y_20 are known."""
    conv = SpinConv(1, 1, lmax=2, source=0).double()
    with torch.no_grad():
        conv.imag.zero_()
        conv.real.copy_(torch.tensor([0.0, 0.0, math.sqrt(24)], dtype=torch.float64).view(3, 1, 1))
    coefs = torch.zeros(1, 1, 9, dtype=torch.float64)
    coefs[0, 0, 6] = 1  # Y_20 = sqrt(5 / 16 pi) (3 cos^2 - 1)
    q, u = RealHarmonics(4, 2, spin=2, dtype=torch.float64, order="ring").synthesis(conv(coefs))[
        0, 0
    ]
    theta = torch.from_numpy(hp.pix2ang(4, np.arange(192))[0])
    # sin d/dtheta (1/sin d/dtheta) of it
    second = math.sqrt(5 / (16 * math.pi)) * 6 * theta.sin().square()
    torch.testing.assert_close(q, -second, rtol=0, atol=1e-13)
    assert u.abs().max() < 1e-13


def gates(q, s):
    yield "norm", NormGate(2).double()(q)
    yield "scalar", ScalarGate()(q, s)


def test_gates_commute_with_a_turn_of_the_axes():
    """Turning the axes at every point turns Q and U by twice the angle; scalars stay."""
    rng = torch.Generator().manual_seed(1)
    q = torch.randn(3, 2, 2, 48, generator=rng, dtype=torch.float64)
    s = torch.randn(3, 2, 48, generator=rng, dtype=torch.float64)
    angle = torch.rand(48, generator=rng, dtype=torch.float64) * 6

    def turn(f):
        return torch.stack(
            [
                f[:, :, 0] * angle.cos() - f[:, :, 1] * angle.sin(),
                f[:, :, 0] * angle.sin() + f[:, :, 1] * angle.cos(),
            ],
            2,
        )

    for (name, plain), (_, turned) in zip(gates(q, s), gates(turn(q), s), strict=True):
        torch.testing.assert_close(turn(plain), turned, rtol=0, atol=1e-12, msg=name)
    torch.testing.assert_close(
        SpinProduct()(q, q.flip(1)), SpinProduct()(turn(q), turn(q.flip(1))), rtol=0, atol=1e-12
    )
    torch.testing.assert_close(length(q), length(turn(q)))
    zero = torch.zeros(1, 2, 2, 3, requires_grad=True)
    NormGate(2)(zero).sum().backward()
    assert torch.isfinite(zero.grad).all()


def test_binned_spectra_are_healpys_and_do_not_turn():
    x = random_coefs(2, 3)
    power = BinnedSpectrum([0, 2, 5, LMAX + 1])
    torch.testing.assert_close(power(rotated(x)), power(x), rtol=1e-12, atol=0)
    cl = hp.alm2cl(to_complex(x)[0, 0].numpy())
    l = np.arange(LMAX + 1)
    wanted = [
        np.average(cl[a:b], weights=(2 * l + 1)[a:b]) for a, b in ((0, 2), (2, 5), (5, LMAX + 1))
    ]
    np.testing.assert_allclose(power(x)[0, 0], wanted, rtol=1e-12)


def test_gradients_of_the_layers():
    x = random_coefs(1, 2)[..., :16].requires_grad_()
    for layer in (
        ZonalConv(2, 2, lmax=3, knots=2),
        SpinConv(2, 2, lmax=3, source=0),
        SpectralConv(2, 2, lmax=3),
        BinnedSpectrum([0, 4]),
    ):
        assert torch.autograd.gradcheck(layer.double(), (x,))


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: ZonalConv(0, 1, lmax=3), "in_channels"),
        (lambda: ZonalConv(1, 1, lmax=-1), "lmax"),
        (lambda: ZonalConv(1, 1, lmax=3, knots=5), "knots.*2..4"),
        (lambda: SpinConv(1, 1, lmax=3, source=1), "source.*0 or 2"),
        (lambda: BinnedSpectrum([3]), "edges"),
        (lambda: BinnedSpectrum([0, 4, 4]), "edges"),
        (lambda: BinnedSpectrum([0, 8])(torch.zeros(1, 16)), "l = 7"),
        (lambda: ZonalConv(2, 1, lmax=3)(torch.zeros(1, 2, 15)), "lmax 3"),
        (lambda: ZonalConv(2, 1, lmax=3)(torch.zeros(1, 3, 16)), "2 channels"),
        (lambda: SpinConv(2, 1, lmax=3)(torch.zeros(1, 2, 16)), "spin 2"),
        (lambda: NormGate(2)(torch.zeros(1, 3, 2, 12)), "field"),
        (lambda: ScalarGate()(torch.zeros(1, 3, 2, 12), torch.zeros(1, 2, 12)), "gate"),
        (lambda: SpinProduct()(torch.zeros(1, 3, 2, 12), torch.zeros(1, 2, 2, 12)), "u and v"),
    ],
)
def test_bad_input(make, says):
    with pytest.raises(ValueError, match=says):
        make()


def test_complex_coefficients_are_refused():
    with pytest.raises(TypeError, match="to_real"):
        ZonalConv(1, 1, lmax=3)(torch.zeros(1, 1, 16, dtype=torch.complex64))
