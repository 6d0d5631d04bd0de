"""Weight normalization: law, null space and limit against moving factors and references.

The numbers come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision, to thirteen digits.
"""

import numpy as np
import pytest

from flowsim._errors import InputError
from flowsim.theory import weight_norm as law
from tests.theory.evaluating import evaluate, flow

X = np.array([[0.9, -0.4, 0.3, 0.2, 0.5], [-0.2, 0.8, 0.5, -0.6, 0.1]])
y = np.array([1.1, -0.7])
V_START = np.array([0.5, 0.3, -0.8, 0.4, 0.6])
KERNEL = np.eye(5) - np.linalg.pinv(X) @ X


def field(kappa, gradient=lambda w: X.T @ (X @ w - y)):
    def velocity(t, theta):
        g, v = theta[0], theta[1:]
        n = np.linalg.norm(v)
        G = gradient(g * v / n)
        return np.r_[-v @ G / n, -kappa * g / n * (G - v * (v @ G) / n**2)]

    return velocity


def product(theta):
    return theta[0] * theta[1:] / np.linalg.norm(theta[1:])


def test_reference_values():
    """The formulas here are those of the reference, to its digits."""
    end = flow(field(1.0), np.r_[0.4, V_START], 1.5)
    assert abs(end[0] - 1.091891586998) <= 1e-12
    expected = [
        0.6864464434544,
        -0.093526046597,
        -0.4765072023773,
        0.4276728438801,
        0.5498256281068,
    ]
    assert np.abs(product(end) - expected).max() <= 1e-12


@pytest.mark.parametrize(("rate_g", "rate_v"), [(1.0, 1.0), (0.7, 2.5)])
def test_law_against_moving_factors(rate_g, rate_v):
    rng = np.random.default_rng(4)
    g, v, G = -0.8, rng.standard_normal(5), rng.standard_normal(5)
    n = np.linalg.norm(v)
    dg, dv = -rate_g * v @ G / n, -rate_v * g / n * (G - v * (v @ G) / n**2)
    h = 1e-6
    moved = (product(np.r_[g + h * dg, v + h * dv]) - product(np.r_[g - h * dg, v - h * dv])) / (
        2 * h
    )
    w = g * v / n
    found = law.weight_norm_velocity(w, G, norm=n, rate_g=rate_g, rate_v=rate_v)
    assert np.abs(found - moved).max() <= 1e-8
    numbers = {law.NORM: n, law.RATE_G: rate_g, law.RATE_V: rate_v}
    stated = evaluate(
        law.weight_normalization.statement(2), {"w": w[:, None], "G": G[:, None]}, numbers
    )
    assert np.abs(stated[:, 0] - found).max() <= 1e-14


def test_law_integrated():
    n = np.linalg.norm(V_START)
    end = flow(
        lambda t, w: law.weight_norm_velocity(w, X.T @ (X @ w - y), norm=n),
        0.4 * V_START / n,
        1.5,
    )
    assert np.abs(end - product(flow(field(1.0), np.r_[0.4, V_START], 1.5))).max() <= 1e-12


@pytest.mark.parametrize("kappa", [1.0, 2.0])
@pytest.mark.parametrize("g0", [0.4, -0.2])
def test_null_space(kappa, g0):
    """For a quartic loss, and through a change of sign of g."""
    quartic = field(kappa, lambda w: X.T @ (X @ w - y) ** 3)
    start, n = np.r_[g0, V_START], np.linalg.norm(V_START)
    for t in (0.5, 4.0):
        end = flow(quartic, start, t)
        factor = law.null_space_factor(end[0], g0=g0, norm=n, kappa=kappa)
        assert np.abs(KERNEL @ (product(end) - factor * product(start))).max() <= 1e-12
        values = {law.SCALE: end[0], law.SCALE_0: g0, law.NORM: n, law.KAPPA: kappa}
        stated = float(law.weight_normalization_null_space.statement(2).subs(values))
        assert abs(stated - factor) <= 1e-14
    if g0 < 0:
        assert end[0] > 0


class TestLimit:
    def test_reference_values(self):
        end = law.weight_norm_limit(X, y, 0.4, V_START)
        assert abs(end.g - 1.233880314895) <= 1e-12
        expected = [0.8411283014269, -0.1430444813304, -0.4203279159116, 0.4524184670093,
                    0.6427628351105]  # fmt: skip
        assert np.abs(end.w - expected).max() <= 1e-12
        end = law.weight_norm_limit(X, y, 1.5, 0.6 * V_START, 2.0)
        assert abs(end.g - 1.534259907557) <= 1e-12

    @pytest.mark.parametrize("kappa", [0.1, 1.0, 10.0])
    def test_record_and_flow(self, kappa):
        g0, n = 0.4, np.linalg.norm(V_START)
        end = law.weight_norm_limit(X, y, g0, V_START, kappa)
        values = {
            law.LEAST: np.linalg.norm(np.linalg.pinv(X) @ y),
            law.HIDDEN: np.linalg.norm(KERNEL @ V_START) * g0 / n,
            law.SCALE: end.g,
            law.SCALE_0: g0,
            law.NORM: n,
            law.KAPPA: kappa,
        }
        stated = law.weight_normalization_limit.statement(2).subs(values)
        assert abs(float(stated) - end.g**2) <= 1e-13
        assert np.abs(X @ end.w - y).max() <= 1e-14
        reached = product(flow(field(kappa), np.r_[g0, V_START], 200.0))
        assert np.abs(reached - end.w).max() <= 1e-9

    def test_the_sign_of_a_start_that_turns_round(self):
        """From a start worse than w = 0 the sign has to be told; the flow knows it."""
        with pytest.raises(InputError, match="sign is needed"):
            law.weight_norm_limit(X, y, -0.4, V_START)
        reached = flow(field(1.0), np.r_[-0.4, V_START], 200.0)
        end = law.weight_norm_limit(X, y, -0.4, V_START, sign=int(-np.sign(reached[0])))
        assert np.abs(product(reached) - end.w).max() <= 1e-9
        assert abs(end.g - reached[0]) <= 1e-9

    def test_no_null_space(self):
        end = law.weight_norm_limit(np.eye(2), [1.0, 2.0], 0.5, [1.0, 1.0])
        assert np.abs(end.w - [1.0, 2.0]).max() <= 1e-14
        assert abs(end.g - np.sqrt(5)) <= 1e-14

    def test_wrong_input(self):
        with pytest.raises(InputError, match="X has shape"):
            law.weight_norm_limit(X, y, 0.4, V_START[:4])
        with pytest.raises(InputError, match="g0 or v0 is 0"):
            law.weight_norm_limit(X, y, 0.0, V_START)
        with pytest.raises(InputError, match="least-norm solution is 0"):
            law.weight_norm_limit(X, 0 * y, 0.4, V_START)
        with pytest.raises(InputError, match="sign is 2"):
            law.weight_norm_limit(X, y, 0.4, V_START, sign=2)


def test_descent():
    g, v, eta = 0.4, V_START, 0.05
    for _ in range(100):
        n = np.linalg.norm(v)
        G = X.T @ (X @ (g * v / n) - y)
        slope = g / n * (G - v * (v @ G) / n**2)
        stated = law.weight_normalization_descent.statement(2).subs(
            {law.NORM: n, law.STEP: eta, law.STEEPNESS: np.linalg.norm(slope)}
        )
        g, v = g - eta * v @ G / n, v - eta * slope
        assert abs(float(stated) - v @ v) <= 1e-15
    assert abs(np.linalg.norm(v) - 1.229753453729) <= 1e-12
    assert abs(g - 1.23349120122) <= 1e-11


def test_wrong_input():
    with pytest.raises(InputError, match="w is 0"):
        law.weight_norm_velocity([0.0], [1.0], norm=1.0)
    with pytest.raises(InputError, match="G has shape"):
        law.weight_norm_velocity([1.0], [1.0, 2.0], norm=1.0)
    with pytest.raises(InputError, match="g0 is 0"):
        law.null_space_factor(1.0, g0=0.0, norm=1.0)
    directed, scaled = law.weight_normalization_limit.conditions[1:3]
    assert "no direction" in directed.failure(None, (np.array(1.0), np.zeros(2)))
    assert "g is 0" in scaled.failure(None, (np.array(0.0), np.ones(2)))
