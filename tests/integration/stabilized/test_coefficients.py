"""The stored coefficients of ROCK4 against their defining identities, and against the script."""

import itertools

import mpmath
import numpy as np
import pytest

from flowsim.integration.stabilized import coefficients
from flowsim.integration.stabilized.coefficients import Coefficients


def stored():
    with np.load(coefficients.FILE) as file:
        data = dict(file)
    return {
        int(s): Coefficients(
            data["mu"][i, : s - 4],
            data["kappa"][i, : s - 4],
            data["a"][i],
            data["b"][i],
            data["e"][i],
            float(data["beta"][i]),
        )
        for i, s in enumerate(data["stages"])
    }


STORED = stored()


def tableau(method):
    """The Butcher tableau A, b of a method, and the weights of its error estimate, assembled."""
    s = len(method.mu) + 4
    rows = np.zeros((s + 1, s), np.longdouble)  # the last row is b
    g, d = np.zeros(s, np.longdouble), np.zeros(s, np.longdouble)
    for j, (m, k) in enumerate(zip(method.mu, method.kappa, strict=True)):
        rows[j] = g
        d = -k * d
        d[j] += m
        g = g + d
    for i, row in enumerate((*method.a, method.b)):
        rows[s - 4 + i] = g
        rows[s - 4 + i, s - 4 :] += row
    error = method.e[0] * g
    error[s - 4 :] += method.e[1:]
    return rows[:s], rows[s], error


def test_stage_numbers_are_dense():
    numbers = list(STORED)
    assert numbers == coefficients.stage_numbers()
    assert numbers[:36] == list(range(5, 41))
    assert all(b <= 1.05 * a for a, b in itertools.pairwise(numbers[35:]))


@pytest.mark.parametrize("stages", STORED)
def test_conditions_of_order_four_hold_on_the_whole_tableau(stages):
    A, b, e = tableau(STORED[stages])
    c = A.sum(axis=1)
    conditions = {
        1: [(b.sum(), 1)],
        2: [(b @ c, 2)],
        3: [(b @ c**2, 3), (b @ A @ c, 6)],
        4: [(b @ c**3, 4), (b @ (c * (A @ c)), 8), (b @ A @ c**2, 12), (b @ A @ A @ c, 24)],
    }
    for group in conditions.values():
        for weight, density in group:
            assert abs(weight - 1 / np.longdouble(density)) < 1e-14
    assert np.all(c >= 0)
    assert np.all(c <= 1)
    # The estimate vanishes up to order 3 and not beyond.
    for weight in (e.sum(), e @ c, e @ c**2, e @ A @ c):
        assert abs(weight) < 1e-14
    assert abs(e @ A @ A @ c - 0.01) < 1e-14


@pytest.mark.parametrize("stages", STORED)
def test_stability_polynomial_is_damped_on_a_long_interval(stages):
    method = STORED[stages]
    z = method.beta * (np.cos(np.linspace(0, np.pi, 40 * stages)) - 1) / 2
    end, error, stage = coefficients.amplification(method, z.astype(np.longdouble))
    away = z < -0.1
    assert np.abs(end[away]).max() < 0.951
    assert abs(abs(end[-1]) - 0.95) < 1e-6
    assert stage.max() < 1.07
    # All but one of the extrema that the best polynomial of this degree has.
    assert np.count_nonzero(np.diff(np.sign(np.diff(end)))) >= stages - 5
    assert np.abs(error).max() < 2.2
    # Stiff parts of an error are seen: everywhere on average, and at the end.
    assert np.sqrt(np.mean(error[z < -5] ** 2)) > 0.7
    assert np.abs(error[z < -0.6 * method.beta]).mean() > 0.6
    assert abs(error[-1]) > 0.1
    if stages >= 12:
        assert method.beta > 0.33 * stages**2


@pytest.mark.parametrize("stages", [7, 40])
def test_rounding_does_not_matter_to_the_polynomial(stages):
    method = STORED[stages]
    z = -np.linspace(0, method.beta, 50)
    with mpmath.workdps(50):
        exact = [
            coefficients.amplification(
                method._replace(
                    mu=[mpmath.mpf(float(x)) for x in method.mu],
                    kappa=[mpmath.mpf(float(x)) for x in method.kappa],
                ),
                np.array([mpmath.mpf(float(x))]),
            )[0][0]
            for x in z
        ]
    assert np.abs(np.array(exact, float) - coefficients.amplification(method, z)[0]).max() < 1e-9


def test_the_script_gives_what_is_stored():
    found = coefficients.find_polynomials([5, 6, 7, 8, 9, 10, 11])
    for stages in (5, 8, 11):
        method = coefficients.compute(stages, found[stages])
        for name, new, old in zip(Coefficients._fields, method, STORED[stages], strict=True):
            np.testing.assert_allclose(new, old, rtol=1e-8, atol=1e-10, err_msg=name)
        assert coefficients.order_defect(method) < 1e-15


def test_a_polynomial_that_is_not_found_is_an_error(monkeypatch):
    monkeypatch.setattr(coefficients, "DAMPING", -1.0)
    with pytest.raises(ArithmeticError, match="no polynomial of 5 stages"):
        coefficients.find_polynomials([5])
