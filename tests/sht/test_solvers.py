"""skytutor.sht.solvers: against dense solutions, their gradients, and the theory of the method."""

import pytest
import torch

from skytutor.sht.solvers import ConvergenceWarning, conjugate_gradients

double = {"dtype": torch.float64}


def random(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), **double)


def spd(*batch, n, seed=0):
    """Draw symmetric positive definite matrices ``(*batch, n, n)``, condition number below 100."""
    root = random(*batch, n, n, seed=seed)
    return root @ root.mT / n + 0.1 * torch.eye(n, **double)


def with_eigenvalues(values, seed=0):
    """Draw a symmetric matrix with these eigenvalues, in a random basis."""
    basis = torch.linalg.qr(random(len(values), len(values), seed=seed)).Q
    return basis @ torch.diag(torch.tensor(values, **double)) @ basis.T


def product(matrix):
    """Return the operator of matrices ``(..., n, n)`` on vectors ``(..., n)``."""
    return lambda x: (matrix @ x[..., None])[..., 0]


def solve(operator, rhs, **change):
    return conjugate_gradients(operator, rhs, **{"tolerance": 1e-13, "max_iter": 200, **change})


def test_a_batch_of_matrices_is_solved_as_by_elimination():
    matrix = spd(2, 3, n=20)
    rhs = random(2, 3, 20, seed=1)
    found = solve(product(matrix), rhs)
    wanted = torch.linalg.solve(matrix, rhs)
    torch.testing.assert_close(found.x, wanted, rtol=1e-11, atol=1e-11)
    assert found.converged and found.residual.shape == (2, 3)
    assert float(found.residual.max()) <= 1e-13


def test_the_residual_is_that_of_each_element():
    matrix = spd(4, n=20)
    rhs = random(4, 20, seed=1) * torch.tensor([[1e-6], [1.0], [1e3], [0.0]], **double)
    found = solve(product(matrix), rhs, tolerance=1e-6)
    left = (rhs - product(matrix)(found.x)).norm(dim=-1)
    wanted = left / rhs.norm(dim=-1).clamp(min=1e-300)
    torch.testing.assert_close(found.residual, wanted, rtol=1e-6, atol=1e-13)
    assert float(found.residual[3]) == 0 and not bool(found.x[3].any())


def test_two_axes_can_make_one_vector():
    matrix = spd(n=12)
    rhs = random(5, 3, 4, seed=1)

    def operator(x):
        return (x.flatten(-2) @ matrix).unflatten(-1, (3, 4))

    found = solve(operator, rhs, vector_dims=2)
    wanted = torch.linalg.solve(matrix, rhs.flatten(1).T).T.unflatten(-1, (3, 4))
    torch.testing.assert_close(found.x, wanted, rtol=1e-11, atol=1e-11)
    assert found.residual.shape == (5,)


def test_complex_systems_are_solved():
    root = torch.complex(random(10, 10), random(10, 10, seed=1))
    matrix = root @ root.mH / 10 + torch.eye(10, **double)
    rhs = torch.complex(random(3, 10, seed=2), random(3, 10, seed=3))
    found = solve(product(matrix), rhs)
    wanted = torch.linalg.solve(matrix, rhs.T).T
    torch.testing.assert_close(found.x, wanted, rtol=1e-11, atol=1e-11)
    rhs.requires_grad_()
    assert torch.autograd.gradcheck(lambda b: solve(product(matrix), b).x, (rhs,))


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_k_different_eigenvalues_take_k_steps(k):
    matrix = with_eigenvalues([1.0 + i % k for i in range(20)])
    found = solve(product(matrix), random(20, seed=1), tolerance=1e-12)
    assert found.steps == k and found.converged


def test_the_inverse_as_preconditioner_takes_one_step():
    matrix = with_eigenvalues([10.0**i for i in range(-3, 4)])
    rhs = random(3, 7, seed=1)
    inverse = torch.linalg.inv(matrix)
    found = solve(product(matrix), rhs, tolerance=1e-9, preconditioner=product(inverse))
    assert found.steps == 1
    torch.testing.assert_close(found.x, rhs @ inverse, rtol=1e-9, atol=0)


def test_a_diagonal_preconditioner_helps_and_does_not_change_the_solution():
    scale = torch.logspace(-3, 3, 30, **double)
    matrix = scale[:, None] * (torch.eye(30, **double) + 0.1 * spd(n=30)) * scale
    rhs = random(4, 30, seed=1)
    found = solve(product(matrix), rhs, preconditioner=lambda r: r / matrix.diagonal())
    assert found.steps < 30
    torch.testing.assert_close(found.x, torch.linalg.solve(matrix, rhs.T).T, rtol=1e-8, atol=1e-12)
    with pytest.warns(ConvergenceWarning):
        assert not solve(product(matrix), rhs, max_iter=30).converged


def test_a_matrix_that_is_symmetric_in_a_weighted_product():
    """Coefficients that stand for several: ``W A`` is symmetric, A is not."""
    weight = torch.linspace(0.5, 3, 8, **double)
    matrix = (spd(n=8) / weight[:, None]).requires_grad_()
    rhs = random(3, 8, seed=1).requires_grad_()
    found = solve(product(matrix), rhs, weight=weight).x
    wanted = torch.linalg.solve(matrix, rhs.T).T
    torch.testing.assert_close(found, wanted, rtol=1e-11, atol=1e-11)
    towards = random(3, 8, seed=2)
    for mine, dense in zip(
        torch.autograd.grad((found * towards).sum(), (rhs, matrix)),
        torch.autograd.grad((wanted * towards).sum(), (rhs, matrix)),
        strict=True,
    ):
        torch.testing.assert_close(mine, dense, rtol=1e-10, atol=1e-10)


def test_the_gradient_is_that_of_elimination():
    matrix = spd(3, n=15).requires_grad_()
    rhs = random(3, 15, seed=1).requires_grad_()
    towards = random(3, 15, seed=2)
    found = solve(product(matrix), rhs).x
    wanted = torch.linalg.solve(matrix, rhs)
    for mine, dense in zip(
        torch.autograd.grad((found * towards).sum(), (rhs, matrix)),
        torch.autograd.grad((wanted * towards).sum(), (rhs, matrix)),
        strict=True,
    ):
        torch.testing.assert_close(mine, dense, rtol=1e-10, atol=1e-10)


def test_the_gradient_is_that_of_finite_differences():
    root = random(4, 4).requires_grad_()
    rhs = random(2, 4, seed=1).requires_grad_()

    def run(root, rhs):
        matrix = root @ root.T + torch.eye(4, **double)
        return solve(lambda x: x @ matrix, rhs).x

    assert torch.autograd.gradcheck(run, (root, rhs))


def symmetric(root):
    return root @ root.mH + torch.eye(len(root), dtype=root.dtype)


def test_second_derivatives_are_those_of_finite_differences():
    """Of the solution inside the first derivative too, which is half of the second one."""
    root = random(4, 4).requires_grad_()
    rhs = random(2, 4, seed=1).requires_grad_()

    def run(root, rhs):
        return solve(lambda x, matrix: x @ matrix, rhs, parameters=[symmetric(root)]).x

    assert torch.autograd.gradcheck(run, (root, rhs))
    assert torch.autograd.gradgradcheck(run, (root, rhs))


def test_third_derivatives_are_those_of_elimination():
    start = torch.tensor(0.3, **double)
    base = spd(n=5)
    rhs = random(5, seed=1)

    def third(run):
        t = start.clone().requires_grad_()
        value = run(base + t.square() * torch.eye(5, **double)).pow(3).sum()
        for _ in range(3):
            (value,) = torch.autograd.grad(value, t, create_graph=True)
        return value.detach()

    mine = third(lambda m: solve(lambda x, m: x @ m, rhs, parameters=[m]).x)
    torch.testing.assert_close(mine, third(lambda m: torch.linalg.solve(m, rhs)))


def test_complex_and_weighted_systems_have_second_derivatives():
    root = torch.complex(random(3, 3), random(3, 3, seed=1)).requires_grad_()
    rhs = torch.complex(random(3, seed=2), random(3, seed=3)).requires_grad_()
    weight = torch.linspace(0.5, 3, 3, **double)

    def run(root, rhs):
        matrix = symmetric(root) / weight[:, None]
        return solve(lambda x, matrix: matrix @ x, rhs, weight=weight, parameters=[matrix]).x

    wanted = torch.linalg.solve(symmetric(root) / weight[:, None], rhs)
    torch.testing.assert_close(run(root, rhs), wanted, rtol=1e-11, atol=1e-11)
    assert torch.autograd.gradcheck(run, (root, rhs))
    assert torch.autograd.gradgradcheck(run, (root, rhs))


def test_a_second_derivative_in_what_is_no_parameter_is_refused():
    """It would miss how the solution inside the first one depends on the matrix."""
    matrix = spd(n=4).requires_grad_()
    rhs = random(2, 4).requires_grad_()
    found = solve(product(matrix), rhs).x
    for of, value in ((matrix, found.sum()), (rhs, found.square().sum())):
        (gradient,) = torch.autograd.grad(value, of, create_graph=True)
        with pytest.raises(RuntimeError, match=r"second derivative.*parameters="):
            gradient.sum().backward()


def test_the_residual_can_be_compared_with_the_solution():
    matrix = with_eigenvalues([1e4, 1.0, 1.0])
    rhs = random(2, 3, seed=1)
    found = solve(product(matrix), rhs, tolerance=1e-3, size=lambda x: x.norm(dim=-1))
    left = (rhs - product(matrix)(found.x)).norm(dim=-1) / found.x.norm(dim=-1)
    torch.testing.assert_close(found.residual, left, rtol=1e-3, atol=1e-12)
    assert float(left.max()) <= 1e-3


@pytest.mark.parametrize(("recorded", "more"), [(False, 0), (True, 1)])
def test_a_gradient_costs_one_application_forward(recorded, more):
    matrix = spd(n=20)
    calls = []

    def operator(x):
        calls.append(x)
        return x @ matrix

    with torch.set_grad_enabled(recorded):
        found = solve(operator, random(3, 20))
    assert len(calls) == found.steps + more


def test_a_residual_that_the_caller_keeps():
    """Least squares: what is left of the data, not of the normal equations, is updated."""
    design = random(40, 10)
    data = random(3, 40, seed=1)
    left = data
    predicted = None

    def operator(direction):
        nonlocal predicted
        predicted = direction @ design.T
        return predicted @ design

    def update(residual, step):
        nonlocal left
        left = left - step * predicted
        return left @ design

    with torch.no_grad():
        found = solve(operator, data @ design, update=update)
    wanted = torch.linalg.lstsq(design, data.T).solution.T
    torch.testing.assert_close(found.x, wanted, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(left, data - wanted @ design.T, rtol=1e-11, atol=1e-11)


def test_no_convergence_is_reported():
    matrix = spd(2, n=30)
    rhs = random(2, 30, seed=1)
    with pytest.warns(ConvergenceWarning, match=r"max_iter = 3 steps.*residual.*1\.0e-13"):
        found = solve(product(matrix), rhs, max_iter=3)
    assert not found.converged and found.steps == 3
    left = (rhs - product(matrix)(found.x)).norm(dim=-1) / rhs.norm(dim=-1)
    torch.testing.assert_close(found.residual, left, rtol=1e-9, atol=0)
    assert issubclass(ConvergenceWarning, RuntimeWarning)


def test_no_convergence_backward_is_reported():
    """The right-hand side is an eigenvector, one step; the gradient is not."""
    matrix = with_eigenvalues([1.0, 2.0, 3.0, 4.0])
    rhs = torch.linalg.eigh(matrix).eigenvectors[:, 2].clone().requires_grad_()
    found = solve(product(matrix), rhs, max_iter=2, tolerance=1e-12)
    assert found.converged
    with pytest.warns(ConvergenceWarning, match="max_iter = 2"):
        (found.x * random(4)).sum().backward()


def test_one_element_of_a_batch_that_has_not_converged_is_enough():
    matrix = spd(n=30)
    easy = torch.linalg.eigh(matrix).eigenvectors[:, 0]
    rhs = torch.stack([easy, random(30, seed=1)])
    with pytest.warns(ConvergenceWarning):
        found = solve(product(matrix), rhs, max_iter=4, tolerance=1e-10)
    assert not found.converged
    assert float(found.residual[0]) <= 1e-10 < float(found.residual[1])


def test_nan_comes_out_as_nan_and_as_not_converged():
    rhs = torch.tensor([[1.0, 2.0], [torch.nan, 1.0]], **double)
    with pytest.warns(ConvergenceWarning, match="nan"):
        found = solve(product(spd(n=2)), rhs, preconditioner=lambda r: r / 2)
    assert not found.converged
    assert torch.equal(found.residual.isnan(), torch.tensor([False, True]))


ONES = torch.ones(3, 4)


@pytest.mark.parametrize(
    ("change", "error", "says"),
    [
        ({"tolerance": 0.0}, ValueError, r"tolerance must lie in \(0, 1\), got 0.0"),
        ({"tolerance": 1.0}, ValueError, r"tolerance must lie in \(0, 1\), got 1.0"),
        ({"tolerance": float("nan")}, ValueError, r"tolerance must lie in \(0, 1\), got nan"),
        ({"max_iter": 0}, ValueError, "max_iter must be positive, got 0"),
        ({"max_iter": 2.5}, TypeError, "max_iter must be an integer, got 2.5"),
        ({"rhs": "b"}, TypeError, "rhs must be numbers, a tensor or an array, got str"),
        ({"rhs": ONES.long()}, TypeError, r"rhs must be floating .*, got torch\.int64"),
        ({"rhs": ONES[:0]}, ValueError, r"rhs is empty: shape \(0, 4\)"),
        ({"vector_dims": 0}, ValueError, r"vector_dims must lie in 1\.\.2.*got 0"),
        ({"vector_dims": 3}, ValueError, r"vector_dims must lie in 1\.\.2.*got 3"),
        ({"weight": ONES[0, :3]}, ValueError, r"weight must broadcast.*\(3, 4\), got shape \(3,\)"),
        ({"weight": ONES[None]}, ValueError, r"weight must broadcast.*got shape \(1, 3, 4\)"),
        (
            {"operator": lambda x: x[..., :2]},
            ValueError,
            r"operator must return the shape of rhs, \(3, 4\), got \(3, 2\)",
        ),
        (
            {"preconditioner": lambda r: r.sum(-1)},
            ValueError,
            r"preconditioner must return the shape of rhs, \(3, 4\), got \(3,\)",
        ),
        (
            {"preconditioner": lambda r: r / 0},
            ValueError,
            r"preconditioner must return finite values, got NaN or infinite ones",
        ),
    ],
)
def test_bad_input(change, error, says):
    given = {"operator": lambda x: 2 * x, "rhs": ONES, "tolerance": 1e-5, "max_iter": 9} | change
    with pytest.raises(error, match=says):
        conjugate_gradients(given.pop("operator"), given.pop("rhs"), **given)
