r"""A diagonal network of depth 2 under a quadratic loss of each coordinate, solved in time.

For :math:`\beta = u^2 - v^2` and the loss :math:`\frac\ell2 (\beta - s)^2` the product
:math:`c = u v` is conserved, and :math:`x = u^2` solves the Riccati equation
:math:`\dot x = -4 \ell (x^2 - s x - c^2)`.

References
----------
J. Li, T. Nguyen, C. Hegde, R. Wong, NeurIPS 2021, arXiv:2108.05574; A. Saxe, J. McClelland,
S. Ganguli, ICLR 2014, arXiv:1312.6120 (the substitution, for two unequal layers).
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

import math

import numpy as np
from sympy import Expr, Symbol, exp, sqrt

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.conditions import PLAIN
from flowsim.theory.diagonal import DEPTH_TWO, POSITIVE_START, U0, V0, positive
from flowsim.theory.records import Theorem

__all__ = [
    "CURVATURE",
    "TARGET",
    "THEOREMS",
    "TIME",
    "diagonal_quadratic",
    "diagonal_quadratic_factors",
]

#: The loss (l/2)(beta - s)^2 of one coordinate, and time.
CURVATURE, TARGET = Symbol("l", positive=True), Symbol("s", real=True)
TIME = Symbol("t", nonnegative=True)


def _quadratic(
    N: Expr | int = 2,
    *,
    s: Expr = TARGET,
    curvature: Expr = CURVATURE,
    u0: Expr = U0,
    v0: Expr = V0,
    t: Expr = TIME,
) -> Expr:
    r"""State :math:`u(t)^2` for the loss :math:`\frac\ell2 (\beta - s)^2` and N = 2."""
    c = u0 * v0
    gap = sqrt(s**2 + 4 * c**2)
    upper, lower, decay = (s + gap) / 2, (s - gap) / 2, exp(-4 * curvature * gap * t)
    over = u0**2 * (upper - lower * decay) + c**2 * (1 - decay)
    return over / (u0**2 * (1 - decay) + upper * decay - lower)


diagonal_quadratic = Theorem(
    name="diagonal quadratic",
    title="For a quadratic loss of each coordinate u^2 solves a Riccati equation, and is a ratio "
    "of exponentials of time.",
    statement=_quadratic,
    hypotheses=(
        DEPTH_TWO,
        "The loss is a sum of (l_i/2)(beta_i - s_i)^2 with l_i > 0.",
        POSITIVE_START,
        PLAIN,
    ),
    citation="Li, Nguyen, Hegde, Wong 2021, arXiv:2108.05574, dynamics of one coordinate; the "
    "substitution is that of Saxe, McClelland, Ganguli 2013, arXiv:1312.6120, for unequal layers",
    proof="derivations/diagonal_quadratic.py",
)

THEOREMS = (diagonal_quadratic,)

#: Products from this to its inverse have squares within the range of float64.
_SMALLEST = 1e-100


def diagonal_quadratic_factors(
    u0: ArrayLike,
    v0: ArrayLike,
    target: ArrayLike,
    t: ArrayLike,
    /,
    *,
    curvature: ArrayLike = 1.0,
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return u and v at time t for :math:`\sum_i \frac{\ell_i}2 (\beta_i - s_i)^2` and N = 2.

    With :math:`c = u_0 v_0`, :math:`x_\pm = \frac12 (s \pm \sqrt{s^2 + 4c^2})` and
    :math:`E = e^{-4 \ell (x_+ - x_-) t}`,

    .. math:: u^2 = \frac{u_0^2 (x_+ - x_- E) + c^2 (1 - E)}{u_0^2 (1 - E) + x_+ E - x_-},
        \qquad v = c / u .

    No term is negative, so that nothing cancels.

    Parameters
    ----------
    u0, v0
        Factors at time 0, positive.
    target
        s, any sign.
    t
        Times, not negative; all arguments broadcast together.
    curvature
        :math:`\ell \ge 0`.

    Returns
    -------
    tuple of numpy.ndarray
        u and v; :math:`\beta = u^2 - v^2`.

    Raises
    ------
    InputError
        If a start is not positive, or a curvature or a time is negative.

    References
    ----------
    Li, Nguyen, Hegde, Wong 2021, arXiv:2108.05574; derivations/diagonal_quadratic.py.

    Examples
    --------
    >>> u, v = diagonal_quadratic_factors(0.1, 0.1, 1.0, 100.0)
    >>> round(float(u**2 - v**2), 12)
    1.0
    """
    u0, v0 = positive("u0", u0), positive("v0", v0)
    s, curvature = check_array("target", target), check_array("curvature", curvature)
    if not (curvature >= 0).all():
        raise InputError(
            f"curvature holds {curvature.min():g}; pass numbers that are not negative."
        )
    t = check_array("t", t)
    if (t < 0).any():
        raise InputError(f"t holds {t.min():g}; pass times from 0 on, the start being at 0.")
    growth = _growth(*np.broadcast_arrays(u0, v0, s, curvature * t))
    return u0 * growth, v0 / growth


def _growth(u0: np.ndarray, v0: np.ndarray, s: np.ndarray, clock: np.ndarray) -> np.ndarray:
    """The ratio u / u0 after clock = l t; by logarithms where products leave float64's range."""
    with np.errstate(all="ignore"):
        c = u0 * v0
        gap = np.hypot(s, 2 * c)
        # The root of the sign of s is a sum; the other one follows from the product -c^2.
        large = (np.abs(s) + gap) / 2
        small = c * (c / large)
        upper, minus_lower = np.where(s > 0, large, small), np.where(s > 0, small, large)
        spent = -4 * gap * clock
        E, rest = np.exp(spent), -np.expm1(spent)
        over = upper + minus_lower * E + v0**2 * rest
        under = u0**2 * rest + upper * E + minus_lower
        plain = np.sqrt(over / under)

        log_u, log_v, log_s = np.log(u0), np.log(v0), np.log(np.abs(s))
        log_c = log_u + log_v
        log_gap = np.logaddexp(2 * log_s, 2 * (log_c + math.log(2))) / 2
        large = np.logaddexp(log_s, log_gap) - math.log(2)
        small = 2 * log_c - large
        upper, minus_lower = np.where(s > 0, large, small), np.where(s > 0, small, large)
        left = np.log(rest)
        over = np.logaddexp(np.logaddexp(upper, minus_lower + spent), 2 * log_v + left)
        under = np.logaddexp(np.logaddexp(minus_lower, upper + spent), 2 * log_u + left)
        by_logarithms = np.exp((over - under) / 2)
    ordinary = np.minimum(np.minimum(u0, v0), c) > _SMALLEST
    ordinary &= np.maximum(np.maximum(u0, v0), c) < 1 / _SMALLEST
    return np.where(ordinary, plain, by_logarithms)
