r"""Limits that are one equation in one unknown, because the mirror variable is parallel to w.

Where :math:`w = s(\|\nu\|)\, \nu` with a positive factor s, stationarity says
:math:`\nu = p + X^\top \mu` with p the part of :math:`\nu_0` orthogonal to the rows, and
:math:`X w = y` says :math:`s X^\top \mu = w_{mn}`, the solution of least norm. Hence

.. math:: w = w_{mn} + s\, p, \qquad \|\nu\|^2 = \|p\|^2 + \|w_{mn}\|^2 / s^2 ,

and s is all that is unknown: :math:`s = \rho^{N-1}`, :math:`\rho = \|\nu\|`, for the balanced
network with one output; :math:`s = |w_2|` for the scaled vector, where
:math:`\|\nu\|^2 = w_2^2 - c` makes the equation a quadratic one. Weight normalization has an
equation of its own kind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim.instruments.limit_point import BOUNDED, PROVIDED, LimitError, LimitPoint
from flowsim.problems.families import ScaledVector, TwoLayer, WeightNormalized
from flowsim.problems.parametrizations import DeepLinear, Identity, Parametrization
from flowsim.symbolic.mirror.flows import compiled
from flowsim.theory.weight_norm import null_space_factor, weight_norm_limit

__all__ = ["linear_limit", "scaled_limit", "weight_normalized_limit"]

_FOLLOWED = " The sign of {} was followed by integration until the loss was below L(0)."


def linear_limit(
    par: Identity | DeepLinear | TwoLayer,
    X: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    back: np.ndarray,
    start: Any,
) -> LimitPoint:
    """The limit of a linear network with one output: balanced, or with one hidden unit."""
    outputs, d = par.end_to_end_shape
    depth = len(par.shapes)
    if outputs != 1:
        raise InputError(
            f"parametrization has {outputs} outputs; the motion of a linear network is a mirror "
            "flow after a change of time with one output alone."
        )
    if _is_vector(start, d) or isinstance(par, Identity):
        w0 = np.ravel(check_array("start", start)).astype(np.float64)
        if len(w0) != d:
            raise InputError(f"start has {len(w0)} entries; w has {d}.")
        return _balanced_limit(w0, depth, X, y, rows, back)
    theta = tuple(x.astype(np.float64) for x in par.check_factors(start, "start"))
    if depth == 2 and theta[0].shape[0] == 1:
        end = scaled_limit(ScaledVector(d), X, y, rows, back, (theta[0][0], theta[1][0, 0]))
        w1, w2 = end.factors
        return replace(end, factors=(w1[None], w2[None, None]))
    scale = max(float(np.linalg.norm(W) ** 2) for W in theta)
    for j in range(depth - 1):
        below, above = theta[j], theta[j + 1]
        defect = float(np.linalg.norm(above.T @ above - below @ below.T))
        if defect > 1e-11 * scale:
            raise InputError(
                f"start is not balanced: W{j + 2}^T W{j + 2} - W{j + 1} W{j + 1}^T has norm "
                f"{defect:.3g}. Pass balanced factors, net.balanced(w0), or w0 itself."
            )
    return _balanced_limit(np.ravel(par(theta)), depth, X, y, rows, back)


def _is_vector(start: Any, d: int) -> bool:
    """Whether a start is the end-to-end vector and not a tuple of factors."""
    if isinstance(start, Sequence) and any(np.ndim(part) for part in start):
        return False
    return np.shape(start) in ((d,), (1, d))


def _balanced_limit(
    w0: np.ndarray, depth: int, X: np.ndarray, y: np.ndarray, rows: np.ndarray, back: np.ndarray
) -> LimitPoint:
    size = float(np.linalg.norm(w0))
    if size == 0 and depth > 1:
        raise InputError(
            f"start is 0, where a balanced network of depth {depth} stays. Start elsewhere."
        )
    nu0 = w0 * size ** (1 / depth - 1) if depth > 1 else w0
    p, least = _outside(nu0, rows), _least(X, y)
    converges = BOUNDED
    if depth > 1 and np.linalg.norm(p) <= 1e-12 * np.linalg.norm(nu0):
        if _descends_past_zero(X, y, w0):
            converges = f"{BOUNDED} (The loss is below that of w = 0 from the start.)"
        elif len(rows) == 1 and w0 @ least <= 0:
            raise LimitError(
                "The flow ends at the saddle w = 0: the start is in the row space of X, which is a "
                "line, and not on the side of 0 on which y is."
            )
        else:
            converges = PROVIDED
    s = _growth(float(np.linalg.norm(p)), float(np.linalg.norm(least)), depth)
    w = least + s * p
    end = float(np.linalg.norm(w))
    nu = w * end ** (1 / depth - 1) if end else w
    return _point(
        w,
        nu,
        nu0,
        (X, y, rows, back),
        factors=(w,) if depth == 1 else (),
        law="d grad Q(w)/dt = -|w|^((N-1)/N) grad L(w), Q = N/(N+1) |w|^((N+1)/N)",
        converges=converges,
    )


def _growth(p: float, m: float, depth: int) -> float:
    r"""Solve :math:`\rho^2 = p^2 + m^2 \rho^{2-2N}` for :math:`\rho^{N-1}`."""
    from scipy.optimize import brentq

    largest = float(np.hypot(p, m ** (1 / depth)))
    if depth == 1 or largest == 0 or m == 0:
        return 1.0 if depth == 1 else largest ** (depth - 1)
    # In units of an upper bound: x^2 - a - b x^(2-2N) increases, from below 0 to above.
    a, b = (p / largest) ** 2, (m / largest**depth) ** 2

    def excess(x: float) -> float:
        return x**2 - a - b * x ** (2 - 2 * depth)

    low = max(np.sqrt(a), b ** (1 / (2 * depth)))
    x = 1.0 if excess(1.0) <= 0 else low
    if excess(low) < 0 < excess(1.0):
        root: Any = brentq(excess, low, 1.0, xtol=1e-300, rtol=4 * np.finfo(float).eps)
        x = float(root)
    return (x * largest) ** (depth - 1)


def scaled_limit(
    par: ScaledVector,
    X: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    back: np.ndarray,
    start: Any,
) -> LimitPoint:
    r"""The limit of a scaled vector: :math:`w_2^4 - (c + \|p\|^2) w_2^2 - \|w_{mn}\|^2 = 0`."""
    w1, w2 = (x.astype(np.float64) for x in par.check_factors(start, "start"))
    w2, size = float(w2), float(np.linalg.norm(w1))
    if w2 == 0 and size == 0:
        raise InputError("start is w1 = 0, w2 = 0, where a scaled vector stays. Start elsewhere.")
    # c + |p|^2 is w2^2 less the square of the part of w1 within the rows.
    within = w1 - _outside(w1, rows)
    inside = float(np.linalg.norm(within))
    a = (abs(w2) - inside) * (abs(w2) + inside)
    sign, converges = np.sign(w2), BOUNDED
    if a <= 0 and not _descends_past_zero(X, y, w1 * w2):
        # While the loss is above that of w = 0, w2 may change its sign; below, it cannot.
        sign = np.sign(_below_zero(par, X, y, np.append(w1, w2))[-1])
        converges = BOUNDED + _FOLLOWED.format("w2")
    p, least = w1 - within, _least(X, y)
    m = float(np.linalg.norm(least))
    root = float(np.hypot(a, 2 * m))
    square = (a + root) / 2 if a > 0 else 2 * m**2 / (root - a)
    s = sign * np.sqrt(square)
    w = least + s * p
    return _point(
        w,
        w / s,
        w1,
        (X, y, rows, back),
        factors=(w / s, np.asarray(s)),
        law="d grad Q_c(w)/dt = -|w2| grad L(w), grad Q_c(w) = sign(w2) w1",
        converges=converges,
    )


def weight_normalized_limit(
    par: WeightNormalized,
    X: np.ndarray,
    y: np.ndarray,
    rows: np.ndarray,
    back: np.ndarray,
    start: Any,
) -> LimitPoint:
    r"""The limit by the invariant :math:`P_\perp w \propto g e^{-g^2 / (2 \|v_0\|^2)}`."""
    g0, v0 = (x.astype(np.float64) for x in par.check_factors(start, "start"))
    if g0 == 0 or not v0.any():
        raise InputError("start has g = 0 or v = 0, where w = g v/|v| has no direction.")
    g0, size = float(g0), float(np.linalg.norm(v0))
    sign, converges = 1, BOUNDED
    if not _descends_past_zero(X, y, g0 * v0 / size):
        # g may pass through 0 on the way, once.
        sign = int(np.sign(_below_zero(par, X, y, np.append(g0, v0))[0] * g0))
        converges = BOUNDED + _FOLLOWED.format("g")
    end = weight_norm_limit(X, y, g0, v0, sign=sign)
    g = float(np.copysign(np.linalg.norm(end.w), end.g))
    hidden = _outside(v0, rows) * (g0 / size) * null_space_factor(g, g0=g0, norm=size)
    multipliers = np.linalg.lstsq(rows.T, end.w)[0]
    rest = end.w - rows.T @ multipliers - hidden
    return LimitPoint(
        w=end.w,
        multipliers=back @ multipliers,
        factors=(np.asarray(end.g), end.w * (size / end.g)),
        residual=float(np.abs(X @ end.w - y).max()),
        stationarity=float(np.abs(rest).max() / np.abs(end.w).max()),
        iterations=0,
        law="P w = P w0 (g/g0) exp(-(g^2 - g0^2)/(2 |v0|^2)), P the projection on the kernel of X",
        converges=converges,
    )


# -- parts -----------------------------------------------------------------------------------------


def _point(
    w: np.ndarray,
    nu: np.ndarray,
    nu0: np.ndarray,
    data: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray],
    *,
    factors: tuple[np.ndarray, ...],
    law: str,
    converges: str,
) -> LimitPoint:
    """The limit point with its certificate, from the mirror variables of both ends."""
    X, y, rows, back = data
    multipliers = np.linalg.lstsq(rows.T, nu - nu0)[0]
    rest = nu - nu0 - rows.T @ multipliers
    scale = max(np.abs(nu).max(), np.abs(nu0).max(), 1e-300)
    return LimitPoint(
        w=w,
        multipliers=back @ multipliers,
        factors=factors,
        residual=float(np.abs(X @ w - y).max()),
        stationarity=float(np.abs(rest).max() / scale),
        iterations=0,
        law=law,
        converges=converges,
    )


def _least(X: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The solution of least norm, its residual refined once."""
    w = np.linalg.lstsq(X, y)[0]
    return w + np.linalg.lstsq(X, y - X @ w)[0]


def _outside(nu: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The part of a vector that is orthogonal to the rows."""
    Q = np.linalg.qr(rows.T)[0]
    rest = nu - Q @ (Q.T @ nu)
    return rest - Q @ (Q.T @ rest)


def _descends_past_zero(X: np.ndarray, y: np.ndarray, w: np.ndarray) -> bool:
    """Whether the least-squares loss at w is below that at 0, which the flow then avoids."""
    return bool(np.linalg.norm(X @ w - y) < np.linalg.norm(y))


def _below_zero(
    par: Parametrization, X: np.ndarray, y: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Follow the flow of least squares until its loss is below that of w = 0.

    Returns
    -------
    numpy.ndarray
        All entries of the factors then.

    Raises
    ------
    LimitError
        If that does not happen.
    """
    from scipy.integrate import solve_ivp

    value, _, field = compiled(par)

    def rhs(_: float, flat: np.ndarray) -> np.ndarray:
        return -field(flat, X.T @ (X @ value(flat) - y))

    below = 0.99 * float(y @ y)

    def passed(_: float, flat: np.ndarray) -> float:
        return float(np.sum((X @ value(flat) - y) ** 2)) - below

    passed.terminal = True  # type: ignore[attr-defined]
    rate = float(np.linalg.norm(X, 2) ** 2 * (start @ start) + np.linalg.norm(X.T @ y))
    span = (0.0, 1e4 / rate)
    run = solve_ivp(rhs, span, start, "DOP853", events=passed, rtol=3e-14, atol=1e-16)
    if not len(run.t_events[0]):
        raise LimitError(
            "The loss does not fall below that of w = 0: the flow comes to rest at a saddle."
        )
    return run.y_events[0][0]
