"""The lambda-balanced law against factors that move, inside and outside its domain."""

import numpy as np
import pytest

from flowsim._errors import InputError
from flowsim.problems import TwoLayer
from flowsim.theory import two_layer as law
from tests.symbolic.oracles import evaluate
from tests.theory.evaluating import flow

D, K = 4, 3


def start(lam, h, seed=0, rank=None):
    rng = np.random.default_rng(seed)
    W = 0.7 * rng.standard_normal((K, D))
    if rank is not None:
        U, s, Vt = np.linalg.svd(W, full_matrices=False)
        W = (U[:, :rank] * s[:rank]) @ Vt[:rank]
    return TwoLayer((D, h, K)).lambda_balanced(W, lam)


FULL = [(0.5, 3), (-0.7, 4), (0.0, 3), (0.0, 5)]


@pytest.mark.parametrize(("lam", "h"), FULL)
def test_law_against_moving_factors(lam, h):
    W1, W2 = start(lam, h)
    G = np.random.default_rng(1).standard_normal((K, D))
    moved = -(W2 @ W2.T @ G + G @ W1.T @ W1)
    found = law.lambda_balanced_velocity(W2 @ W1, G, imbalance=lam, hidden=h)
    assert np.abs(found - moved).max() <= 1e-13
    stated = evaluate(law.lambda_balanced.statement(2), [W1, W2], G, {law.IMBALANCE: lam})
    # Roots of Gram matrices lose half the digits at 0.
    assert np.abs(stated - moved).max() <= (1e-12 if lam else 1e-7)
    assert [c.failure(None, (W1, W2)) for c in law.lambda_balanced.conditions[:4]] == [None] * 4


@pytest.mark.parametrize(("lam", "h"), [(0.5, 3), (-0.7, 4)])
def test_law_integrated(lam, h):
    """W by its own equation, and by the factors."""
    rng = np.random.default_rng(2)
    target, root = rng.standard_normal((K, D)), rng.standard_normal((D, D))
    sigma = root @ root.T / D

    def gradient(W):
        return (W - target) @ sigma

    W1, W2 = start(lam, h)

    def factors(t, theta):
        A, B = theta[: h * D].reshape(h, D), theta[h * D :].reshape(K, h)
        G = gradient(B @ A)
        return np.r_[-(B.T @ G).ravel(), -(G @ A.T).ravel()]

    def closed(t, w):
        W = w.reshape(K, D)
        return law.lambda_balanced_velocity(W, gradient(W), imbalance=lam).ravel()

    end = flow(factors, np.r_[W1.ravel(), W2.ravel()], 1.5)
    W = end[h * D :].reshape(K, h) @ end[: h * D].reshape(h, D)
    found = flow(closed, (W2 @ W1).ravel(), 1.5).reshape(K, D)
    assert np.abs(found - W).max() <= 1e-11


@pytest.mark.parametrize(("lam", "h"), [(0.5, 2), (-0.7, 3)])
def test_outside_the_domain(lam, h):
    """At a smaller width the statement is wrong; the function knows the width, and is right."""
    W1, W2 = start(lam, h, rank=min(h, K))
    G = np.random.default_rng(1).standard_normal((K, D))
    moved = -(W2 @ W2.T @ G + G @ W1.T @ W1)
    found = law.lambda_balanced_velocity(W2 @ W1, G, imbalance=lam, hidden=h)
    assert np.abs(found - moved).max() <= 1e-13
    stated = evaluate(law.lambda_balanced.statement(2), [W1, W2], G, {law.IMBALANCE: lam})
    assert np.abs(stated - moved).max() >= 0.1
    assert "needs the hidden width" in law.lambda_balanced.conditions[3].failure(None, (W1, W2))


def test_an_unbalanced_start_is_told():
    rng = np.random.default_rng(5)
    layers = (rng.standard_normal((3, D)), rng.standard_normal((K, 3)))
    assert "differs from" in law.lambda_balanced.conditions[2].failure(None, layers)
    assert "3 factors" in law.lambda_balanced.conditions[1].failure(None, (*layers, layers[0]))


def test_scalar_case_is_that_of_a_scaled_vector():
    from flowsim.theory.scaled_vector import scaled_vector_velocity

    w, g = np.array([0.3, -0.4, 0.2]), np.array([1.0, 0.5, -0.7])
    found = law.lambda_balanced_velocity(w[None], g[None], imbalance=0.6)[0]
    assert np.abs(found - scaled_vector_velocity(w, g, c=0.6)).max() <= 1e-15


def test_wrong_input():
    W, G = np.ones((K, D)), np.ones((K, D))
    with pytest.raises(InputError, match="G has shape"):
        law.lambda_balanced_velocity(W, G.T, imbalance=0.5)
    with pytest.raises(InputError, match="possible up to k = 3"):
        law.lambda_balanced_velocity(W, G, imbalance=0.5, hidden=4)
    with pytest.raises(InputError, match="W has rank 1"):
        law.lambda_balanced_velocity(W, G, imbalance=0.5, hidden=2)
