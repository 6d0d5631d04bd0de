r"""The mirror maps of diagonal networks: hypentropy, and its family over the depths.

Gradient flow of :math:`\beta = u^{\odot N} - v^{\odot N}` is mirror flow, :math:`\nabla Q(\beta(t))
- \nabla Q(\beta(0)) = -\int_0^t \nabla L`, with a potential Q whose dual is the size of the factors
as a function of the dual variable :math:`\nu = -\mathcal G`,

.. math:: Q^*(\nu) = \frac{\|u\|^2 + \|v\|^2 - 2 d \alpha^2}{2N}, \qquad
    \nabla Q^*(\nu) = \beta = \alpha^N h_N\bigl(N(N-2) \alpha^{N-2} \nu\bigr),
    \qquad h_N(z) = (1 - z)^{-\frac N{N-2}} - (1 + z)^{-\frac N{N-2}}

from :math:`u_0 = v_0 = \alpha`. For N = 2 both are elementary (hypentropy); for N >= 3 the dual is,
and :math:`\nabla Q` is the inverse of a monotone function of one variable.

Unequal starts change nothing but a shift: the network is that of
:math:`\alpha^{2-N} = \frac12 (u_0^{2-N} + v_0^{2-N})` (N = 2: :math:`\alpha^2 = u_0 v_0`) with
:math:`\nu + \tau` for :math:`\nu`, :math:`\tau = (v_0^{2-N} - u_0^{2-N}) / (2N(N-2))` (N = 2:
:math:`\frac14 \ln(u_0/v_0)`), so that its potential is :math:`Q_\alpha(\beta) - \tau \beta`. All
potentials here are 0 at :math:`\beta = 0`; they are least at :math:`\beta(0)`.

Sums of terms that cancel are taken in a form in which they do not: :math:`y = \ln(u/\alpha) \ge 0`
is the variable throughout, with :math:`1 - z = e^{-(N-2) y}` and
:math:`\ln(\alpha/v) = \frac1{N-2} \ln(2 - e^{-(N-2)y})`.

References
----------
B. Woodworth et al., COLT 2020, arXiv:2002.09277, theorems 1 and 3; U. Ghai, E. Hazan, Y. Singer,
Exponentiated gradient meets gradient descent, ALT 2020, arXiv:1902.01903 (hypentropy).
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from sympy import Expr, Integer, Symbol, asinh, cosh, sqrt

from flowsim._checks import check_array, check_count
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.conditions import PLAIN, SMOOTH
from flowsim.theory.diagonal import DEPTH_TWO, diagonal_end_to_end
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "ALPHA",
    "BETA",
    "DUAL",
    "THEOREMS",
    "diagonal_mirror",
    "dual_gradient",
    "dual_potential",
    "hypentropy",
    "mirror_gradient",
    "mirror_potential",
]

#: The start u_0 = v_0 = alpha, one coordinate of beta, and of the dual variable nu.
ALPHA, BETA = Symbol("alpha", positive=True), Symbol("beta", real=True)
DUAL = Symbol("nu", real=True)


def _dual(N: Expr | int) -> Expr:
    r"""State :math:`Q^*(\nu) = (u^2 + v^2 - 2\alpha^2)/(2N)` in :math:`\nu`, one coordinate."""
    if N == 2:
        return ALPHA**2 * (cosh(4 * DUAL) - 1) / 2
    rate, root = N * (N - 2) * DUAL, Integer(-2) / (N - 2)
    base = ALPHA ** (2 - N)
    return ((base - rate) ** root + (base + rate) ** root - 2 * ALPHA**2) / (2 * N)


def _hypentropy(N: Expr | int = 2) -> Expr:
    r"""State the potential of depth 2, one coordinate; 0 at :math:`\beta = 0`."""
    c = 2 * ALPHA**2
    return (BETA * asinh(BETA / c) - sqrt(BETA**2 + c**2) + c) / 4


def _equal_start(problem: Any, start: Any) -> str | None:
    u, v = (np.asarray(part, dtype=np.float64) for part in start)
    if u.min() > 0 and np.ptp(np.stack([u, v])) == 0:
        return None
    return f"The start has entries from {min(u.min(), v.min()):g} to {max(u.max(), v.max()):g}."


_EQUAL = Condition("The start is u_0 = v_0 = alpha > 0 in every coordinate.", _equal_start)

diagonal_mirror = Theorem(
    name="diagonal mirror",
    title="A diagonal network follows a mirror flow whose dual potential is "
    "(|u|^2 + |v|^2 - 2 d alpha^2)/(2N).",
    statement=_dual,
    hypotheses=(SMOOTH, "The depth is N >= 2.", _EQUAL, PLAIN),
    citation="Woodworth et al. 2020, arXiv:2002.09277, theorems 1 and 3 (the limit); dual "
    "potential by Euler's identity as in Li, Wang, Lee, Arora 2022, arXiv:2207.04036",
    proof="derivations/diagonal_mirror.py",
)

hypentropy = Theorem(
    name="hypentropy",
    title="The mirror potential of u^2 - v^2 is the hypentropy of parameter 2 alpha^2, over 4.",
    statement=_hypentropy,
    hypotheses=(SMOOTH, DEPTH_TWO, _EQUAL, PLAIN),
    citation="Woodworth et al. 2020, arXiv:2002.09277, theorem 1; Ghai, Hazan, Singer 2020, "
    "arXiv:1902.01903",
    proof="derivations/hypentropy.py",
)

THEOREMS = (diagonal_mirror, hypentropy)

Start = float | ArrayLike | tuple[ArrayLike, ArrayLike]


def mirror_potential(beta: ArrayLike, start: Start, /, *, depth: int = 2) -> np.ndarray:
    r"""Return :math:`Q(\beta)`, the mirror potential of a diagonal network.

    .. math:: Q_\alpha = \tfrac14 \sum_i \Bigl[ \beta_i \operatorname{arsinh}
        \frac{\beta_i}{2\alpha^2} - \sqrt{\beta_i^2 + 4\alpha^4} + 2\alpha^2 \Bigr]
        \quad (N = 2), \qquad Q = \langle \nu, \beta \rangle - Q^*(\nu) .

    Parameters
    ----------
    beta
        Shape (..., d), or a scalar for one coordinate.
    start
        :math:`\alpha > 0`, or a pair :math:`(u_0, v_0)` of positive numbers or of shape (d,).
    depth
        N >= 2.

    Returns
    -------
    numpy.ndarray
        The sum over the last axis; 0 at :math:`\beta = 0`.

    Raises
    ------
    InputError
        If the start is not positive, or the value is outside the range of float64.

    References
    ----------
    Woodworth et al. 2020, arXiv:2002.09277, theorems 1 and 3.

    Examples
    --------
    >>> round(float(mirror_potential(0.7, 0.3, depth=3)), 12)
    0.408164546708
    """
    beta, equal, N = _point("beta", beta, start, depth)
    y = log_growth(np.abs(beta), equal.alpha, N)
    nu = np.sign(beta) * _dual_of_growth(y, equal.alpha, N)
    terms = nu * beta - _size(y, equal.alpha, N) - equal.shift * beta
    return _summed("beta", terms)


def mirror_gradient(beta: ArrayLike, start: Start, /, *, depth: int = 2) -> np.ndarray:
    r"""Return :math:`\nu = \nabla Q(\beta)`: minus the integrated gradient that leads to beta.

    For N = 2 it is :math:`\frac14 [\operatorname{arsinh}\frac\beta{2 u_0 v_0} -
    \ln\frac{u_0}{v_0}]`.

    Parameters
    ----------
    beta, start, depth
        As for :func:`mirror_potential`.

    Returns
    -------
    numpy.ndarray
        Of the shape of beta.

    Examples
    --------
    >>> from flowsim.theory.diagonal import diagonal_end_to_end
    >>> nu = mirror_gradient(0.7, (0.3, 0.2), depth=4)
    >>> round(float(diagonal_end_to_end(0.3, 0.2, -nu, depth=4)), 14)
    0.7
    """
    beta, equal, N = _point("beta", beta, start, depth)
    y = log_growth(np.abs(beta), equal.alpha, N)
    return np.sign(beta) * _dual_of_growth(y, equal.alpha, N) - equal.shift


def dual_potential(nu: ArrayLike, start: Start, /, *, depth: int = 2) -> np.ndarray:
    r"""Return :math:`Q^*(\nu) = (\|u\|^2 + \|v\|^2 - 2 d \alpha^2)/(2N)`.

    Parameters
    ----------
    nu
        The dual variable, shape (..., d) or a scalar: minus an integrated gradient.
    start, depth
        As for :func:`mirror_potential`; from unequal starts it is :math:`Q_\alpha^*(\nu + \tau)`.

    Returns
    -------
    numpy.ndarray
        The sum over the last axis.

    Raises
    ------
    InputError
        If the start is not positive, nu is at or beyond a pole (N >= 3), or the value is outside
        the range of float64.

    Examples
    --------
    >>> round(float(dual_potential(0.5, 1.0)), 12)             # (cosh 2 - 1)/2
    1.381097845542
    """
    nu, equal, N = _point("nu", nu, start, depth)
    shifted = np.abs(nu + equal.shift)
    if N == 2:
        y = 2 * shifted
    else:
        z = N * (N - 2) * equal.alpha ** (N - 2.0) * shifted
        if not (z < 1).all():
            i = tuple(int(k) for k in np.argwhere(z >= 1)[0])
            pole = equal.alpha[i] ** (2.0 - N) / (N * (N - 2))
            raise InputError(
                f"nu is {nu[i]:g} at index {i}; the network of depth {N} is infinite at "
                f"{-pole - equal.shift[i]:g} and {pole - equal.shift[i]:g}. Pass values between."
            )
        y = -np.log1p(-z) / (N - 2)
    return _summed("nu", _size(y, equal.alpha, N))


def dual_gradient(nu: ArrayLike, start: Start, /, *, depth: int = 2) -> np.ndarray:
    r"""Return :math:`\nabla Q^*(\nu) = \beta`, the inverse of :func:`mirror_gradient`.

    Parameters
    ----------
    nu, start, depth
        As for :func:`dual_potential`.

    Examples
    --------
    >>> round(float(dual_gradient(0.5, 1.0)), 12)              # 2 sinh 2
    7.253720815694
    """
    u0, v0 = start if isinstance(start, tuple) else (start, start)
    return diagonal_end_to_end(u0, v0, -check_array("nu", nu), depth=depth)


# -- inside ----------------------------------------------------------------------------------------


class _Equal(NamedTuple):
    """An equal start and the shift tau of the dual variable, as arrays of the point's shape."""

    alpha: np.ndarray
    shift: np.ndarray


def _point(name: str, x: ArrayLike, start: Start, depth: int) -> tuple[np.ndarray, _Equal, int]:
    N = check_count("depth", depth, at_least=2)
    x = check_array(name, x).astype(np.float64)
    pair = start if isinstance(start, tuple) else (start, start)
    if len(pair) != 2:
        raise InputError(f"start holds {len(pair)} parts; pass alpha, or the pair (u0, v0).")
    u0, v0 = (check_array("start", part).astype(np.float64) for part in pair)
    for part in (u0, v0):
        if not (part > 0).all():
            raise InputError(f"start holds {part.min():g}; positive numbers are needed.")
    try:
        x, u0, v0 = np.broadcast_arrays(x, u0, v0)
    except ValueError:
        raise InputError(
            f"{name} has shape {x.shape}, which does not fit a start of shapes {u0.shape} and "
            f"{v0.shape}."
        ) from None
    if N == 2:
        return x, _Equal(np.sqrt(u0) * np.sqrt(v0), np.log(u0 / v0) / 4), N
    unit = np.minimum(u0, v0)
    a, b = (u0 / unit) ** (2.0 - N), (v0 / unit) ** (2.0 - N)
    alpha = unit * ((a + b) / 2) ** (-1.0 / (N - 2))
    with np.errstate(over="ignore"):
        shift = np.where(a == b, 0.0, (b - a) * unit ** (2.0 - N) / (2 * N * (N - 2)))
    return x, _Equal(alpha, shift), N


def log_shrinkage(y: np.ndarray, N: int) -> np.ndarray:
    r"""Return :math:`\ln(\alpha/v)` at :math:`y = \ln(u/\alpha) \ge 0`, from equal starts."""
    return y if N == 2 else np.log1p(-np.expm1(-(N - 2) * y)) / (N - 2)


def log_growth(size: ArrayLike, alpha: ArrayLike, N: int) -> np.ndarray:
    r"""Return :math:`y = \ln(u/\alpha)` where :math:`u^N - v^N` is ``size`` >= 0.

    With :math:`b` = size / alpha^N it is the root of :math:`e^{Ny} - e^{-N y'(y)} = b`, by Newton's
    method; for b > 1 on the logarithm of :math:`e^{Ny} = b + (v/\alpha)^N`, so that b may be of any
    size. Both are convex or concave and have slopes between N and 2N: six steps would do.
    """
    with np.errstate(divide="ignore", over="ignore"):
        log_b = np.log(size) - N * np.log(alpha)
        # The quotient has all digits where the power has not left the range of float64.
        power = np.asarray(alpha, dtype=np.float64) ** N
        usual = (power > 1e-290) & (power < 1e290)
        b = np.where(usual, size / np.where(usual, power, 1.0), np.exp(log_b))
    if N == 2:
        # arsinh(b/2)/2; beyond the range of b it is ln(b)/2.
        return np.where(log_b > 300, log_b, np.arcsinh(np.where(log_b > 300, 0, b) / 2)) / 2
    small = log_b <= 0
    y = np.where(small, b / (2 * N), np.maximum(log_b, 0) / N)
    for _ in range(60):
        shrunk = log_shrinkage(y, N)
        # dy'/dy = e^{-(N-2)(y - y')} = e^{-(N-2)y} / (2 - e^{-(N-2)y})
        slope = np.exp(-(N - 2) * (y - shrunk))
        with np.errstate(over="ignore", invalid="ignore"):
            excess = np.expm1(N * y) - np.expm1(-N * shrunk) - b
            rise = N * (np.exp(N * y) + np.exp(-N * shrunk) * slope)
            logs = np.logaddexp(log_b, -N * shrunk)
            share = np.exp(-N * shrunk - logs)
            step = np.where(small, excess / rise, (N * y - logs) / (N * (1 + share * slope)))
        y = np.maximum(y - step, 0)
        if (np.abs(step) <= 4e-16 * y).all():
            break
    return y


def _dual_of_growth(y: np.ndarray, alpha: np.ndarray, N: int) -> np.ndarray:
    if N == 2:
        return y / 2
    with np.errstate(over="ignore"):
        return -np.expm1(-(N - 2) * y) * alpha ** (2.0 - N) / (N * (N - 2))


def _size(y: np.ndarray, alpha: np.ndarray, N: int) -> np.ndarray:
    r"""Return :math:`(u^2 + v^2 - 2\alpha^2)/(2N)`, which is of second order in y."""
    q = (N - 2) * y
    z = -np.expm1(-q)
    # (N - 2)(y - y') = -ln(1 - z^2), small or not.
    apart = np.where(z < 0.5, -np.log1p(-(np.minimum(z, 0.5) ** 2)), q - np.log1p(z))
    apart = apart / max(N - 2, 1)
    with np.errstate(over="ignore"):
        # u^2 + v^2 - 2 alpha^2 = (u - alpha^2/u)^2 + v^2 - (alpha^2/u)^2.
        first = np.exp(np.log(alpha) + y) * np.expm1(-2 * y)
        second = -(alpha**2) * np.exp(2 * (apart - y)) * np.expm1(-2 * apart)
        return (first**2 + second) / (2 * N)


def _summed(name: str, terms: np.ndarray) -> np.ndarray:
    if not np.isfinite(terms).all():
        raise InputError(f"{name}: the potential is outside the range of float64 there.")
    return np.asarray(terms.sum(axis=-1) if terms.ndim else terms)
