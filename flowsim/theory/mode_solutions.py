r"""When a mode of a deep linear network is where: exact times, and values at given times.

A mode of strength u that is learned towards s by N balanced layers moves by

.. math:: \dot u = N\, u^{2 - 2/N} (s - u).

For N = 1 and N = 2 its value is elementary. Otherwise the time is known as a function of the value
(:mod:`flowsim.theory.mode_series`), and is inverted here, in a variable that neither a start near 0
nor an end near s exhausts: the logit of u/s below s and of s/u above it, and the logarithm of u
where the mode decays.

References
----------
A. Saxe, J. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
linear neural networks, ICLR 2014, arXiv:1312.6120.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import expit

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.mode_series import falling, invert, log_time, rising

__all__ = ["half_time", "mode", "mode_time", "unbalanced_mode"]

#: Logits and logarithms beyond this are those of 1 and of 0 in float64.
_BEYOND = 800.0


def mode(
    t: ArrayLike | float, *, u0: float, s: float, N: float, curvature: float = 1.0
) -> np.ndarray:
    r"""Return the strength of a mode at given times, N balanced layers deep.

    .. math:: \dot u = \ell N u^{2 - 2/N} (s - u), \qquad u(0) = u_0

    Parameters
    ----------
    t
        Times, not negative, of any shape.
    u0
        The start: the product over the layers, not a single weight. A negative strength mirrors.
    s
        Where the mode is learned to; it may be 0 or of the other sign, and then the mode decays.
    N
        Number of weight matrices, a real number: 1 or at least 2. ``math.inf`` is the limit with
        the rate 1/N, :math:`\dot u = \ell u^2 (s - u)`.
    curvature
        :math:`\ell \ge 0`, the second moment of the input along the mode: time runs ℓ times.

    Returns
    -------
    numpy.ndarray
        Of the shape of t.

    Raises
    ------
    InputError
        If t is negative, N is below 1 or between 1 and 2, or a value is not finite.

    References
    ----------
    Saxe, McClelland, Ganguli 2014, arXiv:1312.6120.

    Examples
    --------
    >>> float(mode(3.0, u0=0.02, s=1.5, N=2).round(12))
    1.486425478693
    >>> mode([1.0, 10.0], u0=0.1, s=1.5, N=math.inf).round(10).tolist()
    [0.1161750624, 1.4957513521]
    """
    times = check_array("t", t).astype(np.float64)
    if (times < 0).any():
        raise InputError(f"t holds {times.min():g}; pass times from 0 on.")
    u0, s, N = check_real("u0", u0), check_real("s", s), _check_depth(N)
    clock = times * check_real("curvature", curvature, at_least=0.0)
    if N == 1:
        return u0 * np.exp(-clock) - s * np.expm1(-clock)
    # The equation is odd: the mirror image of a mode is a mode.
    sign = -1.0 if u0 < 0 else 1.0
    u = sign * _positive_mode(clock, sign * u0, sign * s, N)
    return np.where(clock == 0, u0, u)


def mode_time(u: ArrayLike | float, *, u0: float, s: float, N: float) -> np.ndarray:
    r"""Return the time that a mode takes from ``u0`` to ``u``.

    .. math:: t = \frac1N \int_{u_0}^{u} \frac{\mathrm dx}{x^{2 - 2/N} (s - x)}

    Parameters
    ----------
    u
        Values that the mode takes, of any shape: from ``u0`` on, on the way to ``s``.
    u0, s, N
        As for :func:`mode`; here N may be any real number at least 1.

    Returns
    -------
    numpy.ndarray
        Of the shape of u.

    Raises
    ------
    InputError
        If a value of u is not met after ``u0`` in finite time.

    Examples
    --------
    >>> [float(mode_time(0.75, u0=0.02, s=1.5, N=N).round(12)) for N in (1, 2, 3, 8)]
    [0.679724160228, 1.434688364401, 1.944384535879, 2.104074702827]
    """
    values = check_array("u", u).astype(np.float64)
    u0, s, N = check_real("u0", u0), check_real("s", s), _check_depth(N, gap=False)
    ahead = (values - u0) * np.sign(s - u0) >= 0
    if not (ahead & ((s - values) * (s - u0) > 0)).all():
        raise InputError(
            f"u holds {values.ravel().tolist()}; a mode from u0 = {u0:g} only takes values from "
            f"there on that lie before s = {s:g}."
        )
    if N == 1:
        return np.log((u0 - s) / (values - s))
    if u0 == 0 or (values * u0 <= 0).any():
        raise InputError(f"u0 is {u0:g}: at 0 a mode of depth {N:g} rests, and it never crosses 0.")
    sign = np.sign(u0)
    u0, s, values = sign * u0, sign * s, sign * values
    a = 2.0 - 2.0 / N
    if s == 0:
        return (values**-a - u0**-a) / (a * _prefactor(N))
    scale = _prefactor(N) * abs(s) ** a
    if s < 0:
        return falling(1.0 - a, np.log(u0 / -s), np.log(values / -s)) / scale
    if u0 < s:
        start, end = math.log(u0) - math.log(s - u0), np.log(values) - np.log(s - values)
        return rising(1.0 - a, start, end) / scale
    start, end = math.log(s) - math.log(u0 - s), math.log(s) - np.log(values - s)
    return rising(a, start, end) / scale


def half_time(*, u0: float, s: float, N: float) -> float:
    r"""Return the time at which a mode has reached half of where it is learned to.

    For N = 2 it is :math:`\ln(s/u_0 - 1) / (2s)`; for N >= 3 and a small start it grows as
    :math:`u_0^{-(1 - 2/N)} / ((N - 2) s)`: deep networks wait at the saddle for longer.

    Parameters
    ----------
    u0, s, N
        As for :func:`mode_time`, with 0 < u0 < s/2.

    Examples
    --------
    >>> round(half_time(u0=1e-4, s=1.5, N=3), 10)
    13.8672442277
    """
    return float(mode_time(s / 2, u0=u0, s=s, N=N))


def unbalanced_mode(
    t: ArrayLike | float, *, a0: float, b0: float, s: float, curvature: float = 1.0
) -> np.ndarray:
    r"""Return the product u = ab of two scalar layers from any start, balanced or not.

    With :math:`c = a^2 - b^2`, which is conserved, :math:`\dot u = \sqrt{c^2 + 4u^2}\,(s - u)`, and
    :math:`p = (a + b)^2` obeys a Riccati equation whose solution is a fractional linear function of
    :math:`e^{-\gamma t}`, :math:`\gamma = \sqrt{4s^2 + c^2}`.

    Parameters
    ----------
    t
        Times, not negative, of any shape.
    a0, b0
        The two weights at time 0.
    s
        Where the product is learned to.
    curvature
        :math:`\ell \ge 0`: time runs ℓ times.

    Returns
    -------
    numpy.ndarray
        u(t), of the shape of t.

    Notes
    -----
    :math:`u = (p - c^2/p)/4` is evaluated with :math:`p - |c|` formed from the start, so that
    a small product of unequal weights keeps its digits.

    References
    ----------
    Saxe, McClelland, Ganguli 2014, arXiv:1312.6120, appendix on hyperbolic
    dynamics.

    Examples
    --------
    >>> float(unbalanced_mode(0.3, a0=0.9, b0=0.2, s=1.5).round(13))
    0.5394164815584
    """
    times = check_array("t", t).astype(np.float64)
    if (times < 0).any():
        raise InputError(f"t holds {times.min():g}; pass times from 0 on.")
    a0, b0, s = check_real("a0", a0), check_real("b0", b0), check_real("s", s)
    clock = times * check_real("curvature", curvature, at_least=0.0)
    # Mirrored so that the product starts at 0 or above: then (a + b)^2 >= |c|.
    sign = -1.0 if a0 * b0 < 0 else 1.0
    a, b, s = abs(a0), abs(b0), sign * s
    if a == b == 0:
        return np.zeros_like(times)
    c, p = abs(a - b) * (a + b), (a + b) ** 2
    excess = 2.0 * (a + b) * min(a, b)  # p - c
    gamma = math.hypot(2.0 * s, c)
    if gamma == 0:
        return sign * a * b / (1.0 + 2.0 * a * b * clock)
    fast = gamma + 2.0 * abs(s)
    slow = c * (c / fast)
    plus, minus = (fast, slow) if s >= 0 else (slow, fast)  # gamma + 2s, gamma - 2s
    e, rest = np.exp(-gamma * clock), -np.expm1(-gamma * clock)
    over = p * (plus + minus * e) + c * c * rest
    under = minus + plus * e + p * rest
    difference = excess * (plus + minus * e - c * rest) + 4.0 * s * c * rest  # over - c under
    return sign * difference * (over + c * under) / (4.0 * over * under)


# -- the equation for a positive mode --------------------------------------------------------------


def _positive_mode(clock: np.ndarray, u0: float, s: float, N: float) -> np.ndarray:
    if u0 in (0.0, s):
        return np.full_like(clock, u0)
    a, rate = 2.0 - 2.0 / N, _prefactor(N)
    if s == 0:
        # u^-a grows linearly.
        return u0 * np.exp(-np.logaddexp(0.0, log_time(a * rate, u0, a, clock)) / a)
    if N == 2:
        if s > 0:
            return u0 / (u0 * (-np.expm1(-2.0 * s * clock) / s) + np.exp(-2.0 * s * clock))
        return u0 * np.exp(2.0 * s * clock) / (1.0 + u0 * (np.expm1(2.0 * s * clock) / s))
    with np.errstate(over="ignore"):
        tau = np.exp(log_time(rate, abs(s), a, clock))
    if 1e-100 < abs(s) < 1e100:
        tau = rate * abs(s) ** a * clock
    if s < 0:
        start = math.log(u0) - math.log(-s)
        floor = min(start, -_BEYOND - math.log(-s))

        def elapsed(y: np.ndarray) -> np.ndarray:
            return falling(1.0 - a, start, -y)

        def slope(y: np.ndarray) -> np.ndarray:
            return np.exp((a - 1.0) * y - np.logaddexp(0.0, -y))

        return -s * np.exp(-invert(elapsed, slope, -start, -floor, tau))
    beta = 1.0 - a if u0 < s else a
    start = (math.log(u0) if u0 < s else math.log(s)) - math.log(abs(s - u0))
    logit = invert(
        lambda y: rising(beta, start, y),
        lambda y: np.exp(-beta * np.logaddexp(0.0, -y)),
        start,
        max(start, _BEYOND),
        tau,
    )
    # 1 / expit, and not expit, above: s / (s/u) loses nothing.
    return s * expit(logit) if u0 < s else s * (1.0 + np.exp(-logit))


def _prefactor(N: float) -> float:
    return 1.0 if math.isinf(N) else N


def _check_depth(N: float, *, gap: bool = True) -> float:
    if isinstance(N, float) and math.isinf(N) and N > 0:
        return N
    N = check_real("N", N, at_least=1.0)
    if gap and 1 < N < 2:
        raise InputError(f"N is {N:g}, where 1, a number of at least 2, or math.inf is needed.")
    return N
