r"""The integrals that say when a mode is where, and their inversion.

The time of a mode is a multiple of :math:`\int x^{\beta - 1} / (1 - x)\,\mathrm dx`, with x = u/s
below s and x = s/u above it, or, where the mode decays, of
:math:`\int z^{\beta - 1} / (1 + z)\,\mathrm dz` with z = u/|s|.

Two terms of the geometric series of 1/(1 - x) are taken out of the integrand and integrated by
themselves, so that exponents near 0 and -1 (N near 2, N without bound) lose no digits; what is left
is a convergent series. The arguments are logits and logarithms, which can say how near 1 or 0 is.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from scipy.special import digamma, expit

from flowsim._types import ArrayLike

__all__ = ["falling", "invert", "log_time", "rising"]

#: Terms of a power series that is used up to 1/2: 2^-60 is below round-off.
_TERMS = np.arange(60.0)


def log_time(rate: float, size: float, power: float, clock: np.ndarray) -> np.ndarray:
    """Return the logarithm of ``rate * size**power * clock``, none of which may overflow."""
    with np.errstate(divide="ignore"):
        return math.log(rate) + power * math.log(size) + np.log(clock)


def rising(beta: float, start: float, end: np.ndarray) -> np.ndarray:
    r"""Integrate x^(beta - 1) / (1 - x) between two logits of x."""
    first, last = -np.logaddexp(0.0, -start), -np.logaddexp(0.0, -end)
    head = _power(beta, first, last) + _power(beta + 1.0, first, last)
    return head + _above(beta + 2.0, end) - _above(beta + 2.0, np.asarray(start))


def _above(c: float, logit: np.ndarray) -> np.ndarray:
    r"""Integrate x^(c - 1) / (1 - x) from 0 on, c >= 1, as a function of the logit of x."""
    x, w = expit(logit)[..., None], expit(-logit)[..., None]
    small = np.sum(np.minimum(x, 0.5) ** (_TERMS + c) / (_TERMS + c), axis=-1)
    # Near 1: the logarithm, a harmonic number, and the binomial series of (1 - w)^(c - 1).
    n = _TERMS[1:]
    coefficients = -np.cumprod((n - c) / n) / n
    near = np.sum(coefficients * np.minimum(w, 0.5) ** n, axis=-1)
    large = np.logaddexp(0.0, logit) - (digamma(c) + np.euler_gamma) + near
    return np.where(logit <= 0, small, large)


def falling(beta: float, start: float, end: np.ndarray) -> np.ndarray:
    r"""Integrate z^(beta - 1) / (1 + z) from one logarithm of z down to another."""
    end = np.asarray(end)
    # Above 1 in the variable 1/z, where the integrand is (1/z)^(-beta) / (1 + 1/z).
    upper = _alternating(1.0 - beta, min(-start, 0.0), np.minimum(-end, 0.0))
    lower = _alternating(beta, np.minimum(end, 0.0), min(start, 0.0))
    return upper + lower


def _alternating(beta: float, start: ArrayLike, end: ArrayLike) -> np.ndarray:
    head = _power(beta, start, end) - _power(beta + 1.0, start, end)
    return head + _below(beta + 2.0, end) - _below(beta + 2.0, start)


def _below(c: float, log: ArrayLike) -> np.ndarray:
    r"""Integrate z^(c - 1) / (1 + z) from 0 to z <= 1, c > 0, as a function of ln z."""
    log = np.asarray(log, dtype=np.float64)
    p = expit(log)[..., None]
    factors = (_TERMS[1:]) / (c + _TERMS[1:])
    terms = np.concatenate([[1.0], np.cumprod(factors)])
    return np.exp(c * log) / c * expit(-log) * np.sum(terms * p**_TERMS, axis=-1)


def _power(beta: float, start: ArrayLike, end: ArrayLike) -> np.ndarray:
    r"""Integrate x^(beta - 1) between two logarithms of x."""
    start, end = np.asarray(start, dtype=np.float64), np.asarray(end, dtype=np.float64)
    if beta == 0:
        return end - start
    # The larger of the two powers outside, and expm1 of a negative number inside.
    larger, span = (start, end - start) if beta < 0 else (end, start - end)
    return np.exp(beta * larger) * -np.expm1(beta * span) / abs(beta)


def invert(
    elapsed: Callable[[np.ndarray], np.ndarray],
    slope: Callable[[np.ndarray], np.ndarray],
    low: float,
    high: float,
    tau: np.ndarray,
) -> np.ndarray:
    """Solve elapsed(y) = tau by Newton's method, kept within a bracket by bisection."""
    shape, tau = np.shape(tau), np.ravel(tau)
    lo, hi = np.full_like(tau, low), np.full_like(tau, high)
    y, last = lo.copy(), hi - lo
    # A time may overflow where a plateau is longer than float64 can say: it is infinite, then.
    with np.errstate(over="ignore"):
        done = (tau <= 0) | (elapsed(hi) <= tau)
    y = np.where((tau > 0) & done, hi, y)
    for _ in range(400):
        if done.all():
            break
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            late = elapsed(y) - tau
            step = late / slope(y)
        lo, hi = np.where(late < 0, y, lo), np.where(late > 0, y, hi)
        # Bisect where Newton leaves the bracket, or does not halve the step.
        leaves = ~((y - step >= lo) & (y - step <= hi))
        slow = ~(np.abs(step) <= 0.5 * np.abs(last))
        new = np.where(leaves | slow, 0.5 * (lo + hi), y - step)
        last = new - y
        settled = np.abs(last) <= 2e-16 * np.maximum(1.0, np.abs(y))
        y = np.where(done, y, new)
        done = done | settled
    return y.reshape(shape)
