"""Extreme Hessian eigenvalues against closed forms and dense finite differences."""

import numpy as np
import pytest

import flowsim as fs
from flowsim.curvature import extreme_eigenvalues


@pytest.mark.parametrize(("u", "G"), [(0.5, -0.875), (0.7, 0.3), (1.1, -0.2)])
def test_balanced_scalar_chain(u, G):
    """Spectrum {-G u (twice), 3u^4 + 2Gu} of f = phi(w1 w2 w3), phi' = G, phi'' = 1."""
    net = fs.DeepLinear((1, 1, 1, 1))

    def loss(w):
        return 0.5 * (w[0] - (u**3 - G)) ** 2

    theta = tuple(np.full((1, 1, 1), u) for _ in range(3))
    low, high = extreme_eigenvalues(fs.Problem(loss, net), theta)
    spectrum = [-G * u, 3 * u**4 + 2 * G * u]
    np.testing.assert_allclose([low[0], high[0]], [min(spectrum), max(spectrum)], rtol=1e-12)


def test_least_squares_has_the_covariance():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(50, 6)), rng.normal(size=50)
    problem = fs.Problem(fs.LpLoss(X, y, p=2), fs.Identity(6))
    low, high = extreme_eigenvalues(problem, rng.normal(size=(3, 6)))
    values = np.linalg.eigvalsh(X.T @ X / 50)
    np.testing.assert_allclose(low, values[0], rtol=1e-12)
    np.testing.assert_allclose(high, values[-1], rtol=1e-12)


def test_lanczos_agrees_with_the_dense_hessian():
    """700 parameters, above the size at which the Hessian is formed."""
    rng = np.random.default_rng(1)
    A = rng.normal(size=(700, 700)) / np.sqrt(700)
    A = (A + A.T) / 2

    def f(w):
        return 0.5 * w @ A @ w + (w**4).sum() / 12

    problem = fs.Problem.from_function(f, np.zeros(700))
    states = rng.normal(size=(2, 700))
    low, high = extreme_eigenvalues(problem, states)
    for i, w in enumerate(states):
        values = np.linalg.eigvalsh(A + np.diag(w**2))
        np.testing.assert_allclose([low[i], high[i]], values[[0, -1]], rtol=1e-8)


def test_a_law_has_no_hessian():
    net = fs.DeepLinear((2, 1, 1))
    loss = fs.LpLoss(np.eye(2), np.ones(2), p=2)
    with pytest.raises(fs.InputError, match="Pass the Problem"):
        extreme_eigenvalues(fs.derive(net).lower(loss), np.zeros((1, 2)))


def test_lanczos_at_an_over_parametrised_optimum():
    """820 parameters at a zero of the loss: most eigenvalues are zero, and none is negative."""
    rng = np.random.default_rng(2)
    net = fs.DeepLinear((30, 20, 10))
    theta = tuple(rng.normal(size=shape) / 5 for shape in net.shapes)
    X = rng.normal(size=(40, 30))
    problem = fs.Problem(fs.LpLoss(X, X @ net(theta).T, p=2), net)
    states = tuple(W[None] for W in theta)
    low, high = extreme_eigenvalues(problem, states)
    A1 = np.kron(X @ np.eye(30), theta[1])  # d(residual)/d vec W1, columns stacked
    A2 = np.kron(X @ theta[0].T, np.eye(10))
    J = np.concatenate([A1, A2], axis=1)
    top = np.linalg.eigvalsh(J @ J.T / 40)[-1]
    assert high[0] == pytest.approx(top, rel=1e-8)
    assert abs(low[0]) < 1e-7 * top


def test_a_flat_loss_has_no_curvature():
    flat = fs.Problem.from_function(lambda w: 0.0 * w.sum(), np.zeros(600))
    low, high = extreme_eigenvalues(flat, np.ones((1, 600)))
    assert low[0] == high[0] == 0.0
