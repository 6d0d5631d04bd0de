r"""Diagonal linear networks :math:`\beta = u^{\odot N} - v^{\odot N}`: laws and closed forms.

Gradient flow of a loss :math:`L(\beta)` acts on each coordinate by itself; with
:math:`g = \nabla L(\beta)` it is :math:`\dot u = -N u^{N-1} g`, :math:`\dot v = N v^{N-1} g`. Both
equations can be integrated in the *integrated gradient* :math:`\mathcal G(t) = \int_0^t g`,

.. math::

    u^{2-N} = u_0^{2-N} + N(N-2)\,\mathcal G , \qquad v^{2-N} = v_0^{2-N} - N(N-2)\,\mathcal G

(for N = 2: :math:`u = u_0 e^{-2 \mathcal G}`, :math:`v = v_0 e^{2 \mathcal G}`), so that
:math:`\beta` is a function of :math:`\mathcal G`. That function is all there is to these networks:
its inverse is the mirror map (:mod:`flowsim.theory.mirror_potentials`), its poles are where
:math:`\beta` is infinite. Starts are positive, :math:`u_0, v_0 > 0`, as they stay.

References
----------
B. Woodworth et al., Kernel and rich regimes in overparametrized models, COLT 2020,
arXiv:2002.09277; J. Li, T. Nguyen, C. Hegde, R. Wong, Implicit sparse regularization: the impact
of depth and early stopping, NeurIPS 2021, arXiv:2108.05574.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
# pyright: reportCallIssue=false
from __future__ import annotations

from typing import Any

import numpy as np
from sympy import Expr, Integer, Symbol, exp

from flowsim._checks import check_array, check_count
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.conditions import PLAIN, SMOOTH
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "DEPTH_TWO",
    "INTEGRATED",
    "POSITIVE_START",
    "SLOPE",
    "THEOREMS",
    "U0",
    "V0",
    "U",
    "V",
    "diagonal_conservation",
    "diagonal_end_to_end",
    "diagonal_factors",
    "diagonal_law",
    "diagonal_network",
    "diagonal_pole",
]

#: One coordinate of the factors, their start, of the gradient and of its integral.
U, V = Symbol("u", positive=True), Symbol("v", positive=True)
U0, V0 = Symbol("u_0", positive=True), Symbol("v_0", positive=True)
SLOPE, INTEGRATED = Symbol("g", real=True), Symbol("Gamma", real=True)


def _law(N: Expr | int) -> Expr:
    r"""State :math:`\dot\beta = -N^2 (u^{2N-2} + v^{2N-2})\, g`, one coordinate."""
    return -(N**2) * (U ** (2 * N - 2) + V ** (2 * N - 2)) * SLOPE


def _conserved(N: Expr | int) -> Expr:
    r"""State what is conserved: :math:`uv` for N = 2, else :math:`u^{2-N} + v^{2-N}`."""
    return U * V if N == 2 else U ** (2 - N) + V ** (2 - N)


def _network(N: Expr | int, *, gamma: Expr = INTEGRATED, u0: Expr = U0, v0: Expr = V0) -> Expr:
    r"""State :math:`\beta` as a function of the integrated gradient, one coordinate."""
    if N == 2:
        return u0**2 * exp(-4 * gamma) - v0**2 * exp(4 * gamma)
    rate, power = N * (N - 2) * gamma, -N / (N - 2 + Integer(0))
    return (u0 ** (2 - N) + rate) ** power - (v0 ** (2 - N) - rate) ** power


def _positive_start(problem: Any, start: Any) -> str | None:
    least = min(float(np.min(part)) for part in start)
    return None if least > 0 else f"The start holds {least:g}, and has to be positive."


def _depth_two(problem: Any, start: Any) -> str | None:
    depth = getattr(problem.parametrization, "depth", None)
    return None if depth == 2 else f"The depth is {depth}, not 2."


#: What the theorems on diagonal networks presume.
POSITIVE_START = Condition(
    "The start is positive, u_0 > 0 and v_0 > 0 in every coordinate.", _positive_start
)
DEPTH_TWO = Condition("The depth is N = 2.", _depth_two)

diagonal_law = Theorem(
    name="diagonal law",
    title="A diagonal network moves by -N^2 (u^(2N-2) + v^(2N-2)) times the gradient, coordinate "
    "by coordinate.",
    statement=_law,
    hypotheses=(SMOOTH, POSITIVE_START, PLAIN),
    citation="Woodworth et al. 2020, arXiv:2002.09277, on depth 2 and on higher-order models",
    proof="derivations/diagonal_law.py",
)

diagonal_conservation = Theorem(
    name="diagonal conservation",
    title="A diagonal network conserves u v for N = 2 and u^(2-N) + v^(2-N) for any other depth.",
    statement=_conserved,
    hypotheses=(SMOOTH, POSITIVE_START, PLAIN),
    citation="Woodworth et al. 2020, arXiv:2002.09277; as laws of every loss: "
    "Marcotte, Gribonval, Peyre 2023, arXiv:2307.00144",
    proof="derivations/diagonal_conservation.py",
)

diagonal_network = Theorem(
    name="diagonal network",
    title="A diagonal network of any depth is an explicit function of the gradient integrated over "
    "time.",
    statement=_network,
    hypotheses=(SMOOTH, POSITIVE_START, PLAIN),
    citation="Woodworth et al. 2020, arXiv:2002.09277, theorems 1 and 3",
    proof="derivations/diagonal_network.py",
)

THEOREMS = (diagonal_law, diagonal_conservation, diagonal_network)


def diagonal_factors(
    u0: ArrayLike, v0: ArrayLike, integrated_gradient: ArrayLike, /, *, depth: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return u and v of a diagonal network from the gradient integrated over time.

    .. math:: u^{2-N} = u_0^{2-N} + N(N-2)\,\mathcal G,\qquad
        v^{2-N} = v_0^{2-N} - N(N-2)\,\mathcal G

    Parameters
    ----------
    u0, v0
        Factors at time 0, shape (d,) or scalars, positive.
    integrated_gradient
        :math:`\mathcal G = \int_0^t \nabla L(\beta)`, shape (..., d).
    depth
        N >= 2.

    Returns
    -------
    tuple of numpy.ndarray
        u and v, of the shape that the arguments broadcast to.

    Raises
    ------
    InputError
        If a start is not positive, a factor has its pole before the integrated gradient, or a
        factor is outside the range of float64.

    References
    ----------
    Woodworth et al. 2020, arXiv:2002.09277, theorem 3.

    Examples
    --------
    >>> u, v = diagonal_factors(0.5, 0.5, 0.25, depth=3)
    >>> float(u), float(v)                    # 1/(2 + 3/4), 1/(2 - 3/4)
    (0.36363636363636365, 0.8)
    """
    log_u, log_v, _ = _logarithms(u0, v0, integrated_gradient, depth)
    return _finite("u", np.exp, log_u), _finite("v", np.exp, log_v)


def diagonal_end_to_end(
    u0: ArrayLike, v0: ArrayLike, integrated_gradient: ArrayLike, /, *, depth: int = 2
) -> np.ndarray:
    r"""Return :math:`\beta = u^N - v^N` from the gradient integrated over time.

    It is computed as :math:`\pm e^{N \max(\ln u, \ln v)} (1 - e^{-N |\ln u - \ln v|})`, so that
    small :math:`\beta` have their digits and no exponent overflows before :math:`\beta` does.

    Parameters
    ----------
    u0, v0
        Factors at time 0, shape (d,) or scalars, positive.
    integrated_gradient
        :math:`\mathcal G = \int_0^t \nabla L(\beta)`, shape (..., d).
    depth
        N >= 2.

    Returns
    -------
    numpy.ndarray
        :math:`\beta`, of the shape that the arguments broadcast to.

    Raises
    ------
    InputError
        As for :func:`diagonal_factors`.

    References
    ----------
    Woodworth et al. 2020, arXiv:2002.09277, theorems 1 and 3.

    Examples
    --------
    >>> round(float(diagonal_end_to_end(0.1, 0.1, -0.5)), 12)          # 2 (0.1)^2 sinh(2)
    0.072537208157
    """
    log_u, log_v, difference = _logarithms(u0, v0, integrated_gradient, depth)
    exponent = depth * difference

    def value(larger: np.ndarray) -> np.ndarray:
        return -np.sign(exponent) * np.exp(depth * larger) * np.expm1(-np.abs(exponent))

    return _finite("beta", value, np.maximum(log_u, log_v))


def diagonal_pole(u0: ArrayLike, v0: ArrayLike, /, *, depth: int) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the interval of integrated gradients on which a diagonal network is finite.

    .. math:: -\frac{u_0^{2-N}}{N(N-2)} < \mathcal G < \frac{v_0^{2-N}}{N(N-2)}

    for N >= 3; for N = 2 it is the whole line. Minus the lower end is the dual variable at which
    :math:`\beta = +\infty`.

    Parameters
    ----------
    u0, v0
        Factors at time 0, positive.
    depth
        N >= 2.

    Examples
    --------
    >>> lower, upper = diagonal_pole(0.5, 0.25, depth=4)
    >>> float(lower), float(upper)
    (-0.5, 2.0)
    """
    N = check_count("depth", depth, at_least=2)
    u0, v0 = positive("u0", u0), positive("v0", v0)
    if N == 2:
        return np.full_like(u0, -np.inf), np.full_like(v0, np.inf)
    with np.errstate(over="ignore"):
        return -(u0 ** (2.0 - N)) / (N * (N - 2)), v0 ** (2.0 - N) / (N * (N - 2))


# -- inside ----------------------------------------------------------------------------------------


def positive(name: str, value: ArrayLike) -> np.ndarray:
    """Return an array of positive numbers, or raise InputError."""
    array = check_array(name, value).astype(np.float64)
    if not (array > 0).all():
        raise InputError(f"{name} holds {array.min():g}; positive numbers are needed.")
    return array


def _logarithms(u0: Any, v0: Any, gamma: Any, depth: Any) -> tuple[np.ndarray, ...]:
    """Return ln u, ln v and their difference, which keeps its digits where u = v nearly."""
    N = check_count("depth", depth, at_least=2)
    u0, v0 = positive("u0", u0), positive("v0", v0)
    gamma = check_array("integrated_gradient", gamma).astype(np.float64)
    try:
        u0, v0, gamma = np.broadcast_arrays(u0, v0, gamma)
    except ValueError:
        raise InputError(
            f"integrated_gradient has shape {gamma.shape}, which does not fit starts of shapes "
            f"{u0.shape} and {v0.shape}. Pass one of shape (..., d) for starts of shape (d,)."
        ) from None
    at_start = np.log(u0 / v0)
    if N == 2:
        log_u, log_v = np.log(u0) - 2 * gamma, np.log(v0) + 2 * gamma
        return log_u, log_v, at_start - 4 * gamma
    # In units of the smaller factor both powers are at most 1, and none overflows.
    unit = np.minimum(u0, v0)
    a, b = (u0 / unit) ** (2.0 - N), (v0 / unit) ** (2.0 - N)
    step = N * (N - 2) * gamma * unit ** (N - 2.0)
    for name, power, sign in (("u", a, -1.0), ("v", b, 1.0)):
        left = power - sign * step
        if not (left > 0).all():
            i = tuple(int(k) for k in np.argwhere(left <= 0)[0])
            pole = sign * power[i] * unit[i] ** (2.0 - N) / (N * (N - 2))
            raise InputError(
                f"integrated_gradient is {gamma[i]:g} at index {i}, beyond the pole of {name} at "
                f"{pole:g}, where the network of depth {N} is infinite. Gradient flow stays "
                f"within; pass values of the side of {pole:g} on which 0 is."
            )
    log_u = np.log(unit) - np.log(a + step) / (N - 2)
    log_v = np.log(unit) - np.log(b - step) / (N - 2)
    difference = np.log1p(((b - a) - 2 * step) / (a + step)) / (N - 2)
    return log_u, log_v, difference


def _finite(name: str, function: Any, argument: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        value = function(argument)
    if not np.isfinite(value).all():
        i = tuple(int(k) for k in np.argwhere(~np.isfinite(value))[0])
        raise InputError(
            f"integrated_gradient: {name} at index {i} is beyond the range of float64."
        )
    return np.asarray(value)
