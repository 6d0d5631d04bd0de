"""Modes: reference values, exact times, extremes, and the factors that move.

Reference values come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision (item o04 of the notes on laws of motion), to thirteen digits.
"""

import math

import mpmath as mp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sympy import Integer, oo

import flowsim as fs
from flowsim._errors import InputError
from flowsim.theory.mode_solutions import half_time, mode, mode_time, unbalanced_mode
from flowsim.theory.modes import (
    CURVATURE,
    IMBALANCE,
    RATE,
    STRENGTH,
    TARGET,
    TIME,
    Y_START,
    mode_times,
    saxe_modes,
    two_weights,
)
from tests.theory.integrating import diagonal, gradients, orthogonal, product, velocity_of_product

S = 1.5
TIMES = {
    1: 0.6797241602278,
    2: 1.434688364401,
    3: 1.944384535879,
    4: 2.180434159646,
    5: 2.252358641752,
    8: 2.104074702827,
}
AT_ONE = {
    1: 1.021756726477,
    2: 1.13325924061,
    3: 1.32064094262,
    4: 1.445051287913,
    8: 1.499953987216,
}
HALF_TIMES = {
    (2, 1e-2): 1.667982101982,
    (2, 1e-4): 3.205246270398,
    (2, 1e-6): 4.740324999802,
    (3, 1e-2): 2.588875363157,
    (3, 1e-4): 13.86724422766,
    (3, 1e-6): 66.17146951458,
    (4, 1e-2): 3.166040857233,
    (4, 1e-4): 33.18609038904,
    (4, 1e-6): 333.1880904384,
    (6, 1e-2): 3.579400557892,
    (6, 1e-4): 77.38613158001,
    (6, 1e-6): 1666.701076944,
}


@pytest.mark.parametrize("N", TIMES)
def test_reference_times(N):
    assert mode_time(0.75, u0=0.02, s=S, N=N) == pytest.approx(TIMES[N], rel=1e-12)
    assert mode(TIMES[N], u0=0.02, s=S, N=N) == pytest.approx(0.75, rel=1e-11)


@pytest.mark.parametrize("N", AT_ONE)
def test_reference_values(N):
    assert mode(1.0, u0=0.2, s=S, N=N) == pytest.approx(AT_ONE[N], rel=1e-12)


@pytest.mark.parametrize(("N", "u0"), HALF_TIMES)
def test_reference_half_times(N, u0):
    assert half_time(u0=u0, s=S, N=N) == pytest.approx(HALF_TIMES[N, u0], rel=1e-12)


def test_reference_values_of_the_logistic_mode():
    expected = [0.08565735122599, 0.8232414253325, 1.486425478693]
    assert mode([0.5, 1.5, 3.0], u0=0.02, s=S, N=2) == pytest.approx(expected, rel=1e-12)


def test_reference_values_at_infinite_depth():
    expected = [0.1161750624308, 1.495751352111]
    assert mode([1.0, 10.0], u0=0.1, s=S, N=math.inf) == pytest.approx(expected, rel=1e-12)


def test_reference_values_of_two_weights():
    assert unbalanced_mode(0.3, a0=0.9, b0=0.2, s=S) == pytest.approx(0.5394164815584, rel=1e-12)
    assert unbalanced_mode(1.0, a0=0.5, b0=-0.3, s=S) == pytest.approx(0.1862997255237, rel=1e-12)


# -- times against quadrature in extended precision ------------------------------------------------


def exact_time(u0, u, s, N):
    """The integral of du / u' in thirty digits, in the logarithm of u."""
    with mp.workdps(30):
        a = mp.mpf(2) if math.isinf(N) else 2 - 2 / mp.mpf(N)
        ends = mp.log(u0), mp.log(u)
        points = [ends[0] + (ends[1] - ends[0]) * i / 40 for i in range(41)]
        total = mp.quad(lambda x: mp.exp((1 - a) * x) / (s - mp.exp(x)), points)
        return float(total if math.isinf(N) else total / N)


@pytest.mark.parametrize("N", [1.3, 2.0001, 2.5, 3, 7, 1e5, math.inf])
@pytest.mark.parametrize(
    ("s", "u0", "u"),
    [
        (1.5, 1e-3, 1.35),
        (1.5, 1e-8, 0.6),
        (1.5, 0.75, 1.49985),
        (1.5, 4.5, 1.515),
        (1e-3, 10.0, 2e-3),
        (-0.7, 2.0, 1.0),
        (-0.7, 0.5, 1e-6),
        (-0.7, 1e5, 0.01),
    ],
)
def test_times_against_quadrature(N, s, u0, u):
    exact = exact_time(u0, u, s, N)
    assert mode_time(u, u0=u0, s=s, N=N) == pytest.approx(exact, rel=1e-13)
    if N > 2:
        # On a plateau the value is more sensitive to the time than float64 can hold the time.
        slope = abs(u ** (2 - 2 / N) * (s - u)) * exact * (1 if math.isinf(N) else N)
        assert mode(exact, u0=u0, s=s, N=N) == pytest.approx(u, rel=1e-13 + 1e-14 * slope / u)


@pytest.mark.parametrize("N", [1, 2, 3, 4, 8, math.inf])
@pytest.mark.parametrize("s", [1.5, 0.0, -1.5])
@pytest.mark.parametrize("u0", [1e-300, 1e-10, 0.3, 1.5, 5.0, 1e8])
def test_extremes_stay_between_start_and_end(N, s, u0):
    t = np.array([0.0, 1e-300, 1e-5, 1.0, 1e3, 1e10, 1e100, 1e300])
    u = mode(t, u0=u0, s=s, N=N)
    assert np.isfinite(u).all()
    assert u[0] == pytest.approx(u0, rel=1e-12)
    end = s if N == 1 else max(s, 0.0)
    slack = 1e-12 * max(u0, abs(s))
    assert (u >= min(u0, end) - slack).all()
    assert (u <= max(u0, end) + slack).all()
    assert (np.diff(u) * np.sign(end - u0) >= -slack).all()
    assert u[-1] == pytest.approx(end, rel=1e-12, abs=1e-25)


@pytest.mark.parametrize("N", [2, 3, 5, math.inf])
def test_a_mode_is_mirrored(N):
    t = np.linspace(0, 3, 7)
    assert (mode(t, u0=-0.2, s=0.9, N=N) == -mode(t, u0=0.2, s=-0.9, N=N)).all()


def test_curvature_is_a_clock():
    t = np.linspace(0, 3, 7)
    assert mode(t, u0=0.2, s=0.9, N=3, curvature=0.7) == pytest.approx(
        mode(0.7 * t, u0=0.2, s=0.9, N=3), rel=1e-13
    )
    assert (mode(t, u0=0.2, s=0.9, N=3, curvature=0.0) == 0.2).all()


def test_values_fit_times_through_a_long_plateau():
    """Half time of a mode that starts at 1e-200: 1e66 for N = 3."""
    t = half_time(u0=1e-200, s=2.0, N=3)
    assert mode(t * (1 - 1e-6), u0=1e-200, s=2.0, N=3) < 1e-100
    assert mode(t * (1 + 1e-6), u0=1e-200, s=2.0, N=3) == 2.0


@pytest.mark.parametrize(
    ("a", "b", "s"), [(0.9, 0.2, 1.5), (0.2, 0.9, 1.5), (0.5, -0.3, 1.5), (1e-3, 2.0, -0.5),
                      (2.0, 0.0, 0.7), (0.4, 0.4, 1.0), (0.4, -0.4, 1.0), (3.0, 1e-9, 1e-3)]
)  # fmt: skip
def test_two_weights_against_integration(a, b, s):
    t = np.array([0.1, 1.0, 3.0, 8.0])
    run = solve_ivp(
        lambda _, w: [(s - w[0] * w[1]) * w[1], (s - w[0] * w[1]) * w[0]],
        (0, 8.0), [a, b], method="DOP853", rtol=1e-13, atol=1e-16, t_eval=t,
    )  # fmt: skip
    expected = run.y[0] * run.y[1]
    assert unbalanced_mode(t, a0=a, b0=b, s=s) == pytest.approx(expected, rel=1e-10, abs=1e-13)


def test_two_weights_that_are_balanced_are_the_logistic_mode():
    t = np.linspace(0, 5, 11)
    for s in (1.5, 0.0, -0.6):
        assert unbalanced_mode(t, a0=0.3, b0=0.3, s=s) == pytest.approx(
            mode(t, u0=0.09, s=s, N=2), rel=1e-13
        )


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: mode(-1.0, u0=0.1, s=1, N=2), "t holds -1"),
        (lambda: mode(1.0, u0=0.1, s=1, N=0.5), "N is 0.5"),
        (lambda: mode(1.0, u0=0.1, s=1, N=1.5), "N is 1.5"),
        (lambda: mode(1.0, u0=math.nan, s=1, N=2), "u0 is nan"),
        (lambda: mode(1.0, u0=0.1, s=1, N=2, curvature=-1), "curvature is -1"),
        (lambda: mode_time(2.0, u0=0.1, s=1, N=2), "u holds"),
        (lambda: mode_time(0.05, u0=0.1, s=1, N=2), "u holds"),
        (lambda: mode_time(1.0, u0=0.1, s=1, N=2), "u holds"),
        (lambda: mode_time(0.5, u0=0.0, s=1, N=2), "u0 is 0"),
        (lambda: unbalanced_mode([0.0, -2.0], a0=1, b0=1, s=1), "t holds -2"),
    ],
)
def test_wrong_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()


# -- the records against what they speak of --------------------------------------------------------


@pytest.mark.parametrize("N", [1, 2, 3, 5])
def test_saxe_modes_against_moving_factors(N):
    """The velocity of each singular value, by hand, is what the record states."""
    rng = np.random.default_rng(N)
    widths = (4, *[3] * (N - 1), 3)
    U, V = orthogonal(3, rng), orthogonal(4, rng)
    s, u = rng.uniform(0.5, 2, 3), rng.uniform(0.2, 1, 3)
    ell = rng.uniform(0.5, 1.5, 4)
    start = fs.DeepLinear(widths).balanced(U @ diagonal(u, (3, 4)) @ V.T)
    G = (product(start) - U @ diagonal(s, (3, 4)) @ V.T) @ (V * ell) @ V.T
    moved = velocity_of_product(start, [-g for g in gradients(start, G)])
    inside = U.T @ moved @ V
    stated = [
        float(saxe_modes.statement(N).subs({STRENGTH: u[i], TARGET: s[i], CURVATURE: ell[i]}))
        for i in range(3)
    ]
    assert inside == pytest.approx(diagonal(stated, (3, 4)), abs=1e-13)


@pytest.mark.parametrize("N", [1, 2, 3, 4, 5, 7, oo])
def test_mode_times_agree_with_the_clock(N):
    """The elementary and hypergeometric forms of the record, against the series that are used."""
    time = mode_times.statement(N if N is oo else Integer(N)).subs(TARGET, 1.5)
    stated = complex(time.subs(STRENGTH, 0.9).evalf(25) - time.subs(STRENGTH, 0.1).evalf(25))
    assert mode_time(0.9, u0=0.1, s=1.5, N=math.inf if N is oo else N) == pytest.approx(
        stated.real, rel=1e-12
    )


@pytest.mark.parametrize(("a", "b"), [(0.9, 0.2), (0.2, 0.9), (-0.7, 0.3)])
def test_two_weights_record_agrees_with_its_evaluation(a, b):
    c = a**2 - b**2
    values = {
        IMBALANCE: c,
        TARGET: 1.5,
        RATE: math.sqrt(9 + c**2),
        Y_START: (a + b) ** 2 / c,
        TIME: 0.8,
    }
    stated = float(two_weights.statement().subs(values))
    assert unbalanced_mode(0.8, a0=a, b0=b, s=1.5) == pytest.approx(stated, rel=1e-12)
