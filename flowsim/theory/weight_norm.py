r"""Weight normalization :math:`w = g\, v / \|v\|`: its law, its null space, its limit.

With rates :math:`\eta_g, \eta_v` of the two factors, :math:`\kappa = \eta_v / \eta_g`, and :math:`G
= \nabla L(w)`, the norm of v is conserved and w obeys an equation of its own. For a loss of
:math:`X w` the component of w in the null space of X is a function of g alone,

.. math:: P_\perp w(t) = P_\perp w(0)\, \frac{g}{g_0}\, e^{-\kappa (g^2 - g_0^2) / (2 \|v_0\|^2)} ,

so that its share in the direction, :math:`P_\perp \hat v`, is damped if and only if :math:`|g|`
grows. For least squares that fixes the limit.

References
----------
T. Salimans, D. Kingma, Weight normalization, NIPS 2016, arXiv:1602.07868; X. Wu, E. Dobriban,
T. Ren, S. Wu, Z. Li, S. Gunasekar, R. Ward, Q. Liu, Implicit regularization and convergence for
weight normalization, NeurIPS 2020, arXiv:1911.07956.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import brentq
from sympy import Expr, MatAdd, MatMul, MatrixExpr, MatrixSymbol, Symbol, exp

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.symbolic.nodes import FrobeniusNorm, Projection
from flowsim.theory.conditions import NO_DECAY, SMOOTH
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "THEOREMS",
    "WeightNormLimit",
    "null_space_factor",
    "weight_norm_limit",
    "weight_norm_velocity",
    "weight_normalization",
    "weight_normalization_descent",
    "weight_normalization_limit",
    "weight_normalization_null_space",
]

#: w and the gradient there, columns of size d.
SIZE = Symbol("d", integer=True, positive=True)
VECTOR, GRADIENT = MatrixSymbol("w", SIZE, 1), MatrixSymbol("G", SIZE, 1)

#: The rates of g and v, their ratio, and the norm of v.
RATE_G, RATE_V = Symbol("eta_g", positive=True), Symbol("eta_v", positive=True)
KAPPA, NORM = Symbol("kappa", positive=True), Symbol("V", positive=True)
#: g, g at the start; norms of the least-norm solution and of P_perp w(0); a learning rate.
SCALE, SCALE_0 = Symbol("g", real=True, nonzero=True), Symbol("g_0", real=True, nonzero=True)
LEAST, HIDDEN = Symbol("m", nonnegative=True), Symbol("p", nonnegative=True)
STEP, STEEPNESS = Symbol("eta", positive=True), Symbol("D", nonnegative=True)


def _law(N: Expr | int = 2) -> MatrixExpr:
    """State the velocity of w: eta_g along w, eta_v |w|^2/|v|^2 across, times -G."""
    along = Projection(VECTOR, GRADIENT)
    across = MatAdd(GRADIENT, MatMul(-1, along))
    weight = RATE_V * FrobeniusNorm(VECTOR) ** 2 / NORM**2
    return MatAdd(MatMul(-RATE_G, along), MatMul(-weight, across))


def _null_space(N: Expr | int = 2) -> Expr:
    r"""State the factor by which :math:`P_\perp w` has changed when the scale is g."""
    return SCALE / SCALE_0 * exp(-KAPPA * (SCALE**2 - SCALE_0**2) / (2 * NORM**2))


def _limit(N: Expr | int = 2) -> Expr:
    r"""State :math:`g_*^2`, in terms of :math:`g_*` itself: an equation for it."""
    return LEAST**2 + HIDDEN**2 * (SCALE / SCALE_0) ** 2 * exp(
        -KAPPA * (SCALE**2 - SCALE_0**2) / NORM**2
    )


def _descent(N: Expr | int = 2) -> Expr:
    r"""State :math:`\|v^+\|^2 = \|v\|^2 + \eta^2 \|\partial_v \ell\|^2`, exactly."""
    return NORM**2 + STEP**2 * STEEPNESS**2


def _moves(problem: Any, start: Any) -> str | None:
    return None if np.linalg.norm(np.asarray(start[1])) > 0 else "v is 0, and has no direction."


def _scaled(problem: Any, start: Any) -> str | None:
    return None if float(np.asarray(start[0]).reshape(())) != 0 else "g is 0 at the start."


_DIRECTED = Condition("v is not 0.", _moves)
_SCALED = Condition("g is not 0 at the start.", _scaled)
_ROWS = "L is a function of X w, so that its gradient is in the row space of X."

weight_normalization = Theorem(
    name="weight normalization",
    title="w = g v/|v| moves by eta_g along itself and by eta_v |w|^2/|v|^2 across, times minus "
    "the gradient; |v| is conserved.",
    statement=_law,
    hypotheses=(SMOOTH, _DIRECTED, NO_DECAY),
    citation="Wu et al. 2020, arXiv:1911.07956, section 2; Salimans, Kingma 2016, arXiv:1602.07868",
    proof="derivations/weight_normalization.py",
)

weight_normalization_null_space = Theorem(
    name="weight normalization null space",
    title="Under weight normalization the null-space component of w is a function of g alone; that "
    "of v/|v| is damped if and only if |g| grows.",
    statement=_null_space,
    hypotheses=(SMOOTH, _ROWS, _DIRECTED, _SCALED, NO_DECAY),
    citation="Wu et al. 2020, arXiv:1911.07956, invariant of the flow",
    proof="derivations/weight_normalization_null_space.py",
)

weight_normalization_limit = Theorem(
    name="weight normalization limit",
    title="The limit of weight-normalized least squares has the norm g that solves one equation, "
    "and is the least-norm solution plus a damped part of the start.",
    statement=_limit,
    hypotheses=(
        "L = |X w - y|^2 / 2, and the flow converges to a minimiser.",
        _DIRECTED,
        _SCALED,
        NO_DECAY,
    ),
    citation="Wu et al. 2020, arXiv:1911.07956, theorem on the limit of the flow",
    proof="derivations/weight_normalization_limit.py",
)

weight_normalization_descent = Theorem(
    name="weight normalization descent",
    title="A step of gradient descent with weight normalization enlarges |v|^2 by exactly "
    "eta^2 |grad_v|^2.",
    statement=_descent,
    hypotheses=("L is differentiable.", _DIRECTED, NO_DECAY),
    citation="Salimans, Kingma 2016, arXiv:1602.07868, section 2.1",
    proof="derivations/weight_normalization_descent.py",
)

THEOREMS = (
    weight_normalization,
    weight_normalization_null_space,
    weight_normalization_limit,
    weight_normalization_descent,
)


class WeightNormLimit(NamedTuple):
    """Where weight-normalized least squares ends.

    Attributes
    ----------
    g : float
        The limit of g, whose absolute value is the norm of w.
    w : numpy.ndarray
        The limit of w, shape (d,).
    """

    g: float
    w: np.ndarray


def weight_norm_velocity(
    w: ArrayLike, G: ArrayLike, /, *, norm: float, rate_g: float = 1.0, rate_v: float = 1.0
) -> np.ndarray:
    r"""Return the velocity of w under weight normalization.

    .. math:: \dot w = -\Bigl[\eta_g \mathrm{Pr}_w
        + \eta_v \frac{\|w\|^2}{\|v\|^2} (I - \mathrm{Pr}_w)\Bigr] G

    Parameters
    ----------
    w, G
        Shape (d,); w is not 0.
    norm
        The conserved norm of v.
    rate_g, rate_v
        Rates of g and v.

    Returns
    -------
    numpy.ndarray
        Shape (d,).

    Raises
    ------
    InputError
        If shapes differ, w is 0, or a rate or the norm is not positive.

    Examples
    --------
    >>> weight_norm_velocity([2.0, 0.0], [1.0, 1.0], norm=1.0).tolist()
    [-1.0, -4.0]
    """
    w, G = check_array("w", w, ndim=1), check_array("G", G, ndim=1)
    norm = check_real("norm", norm, above=0.0)
    rates = (check_real("rate_g", rate_g, at_least=0), check_real("rate_v", rate_v, at_least=0))
    if w.shape != G.shape:
        raise InputError(f"G has shape {G.shape} and w {w.shape}; they must be the same.")
    size = float(np.linalg.norm(w))
    if size == 0:
        raise InputError("w is 0, where it does not determine the direction of v; pass another.")
    unit = w / size
    along = (unit @ G) * unit
    return -(rates[0] * along + rates[1] * (size / norm) ** 2 * (G - along))


def null_space_factor(g: ArrayLike, /, *, g0: float, norm: float, kappa: float = 1.0) -> np.ndarray:
    r"""Return :math:`\frac g{g_0} e^{-\kappa (g^2 - g_0^2)/(2\|v_0\|^2)}`, the change of P⊥w.

    Parameters
    ----------
    g
        The scale, of any shape; 0 and a change of sign are allowed.
    g0, norm, kappa
        The scale at the start, not 0; the conserved norm of v; the ratio of rates.

    Examples
    --------
    >>> round(float(null_space_factor(2.0, g0=1.0, norm=1.0)), 6)              # 2 e^(-3/2)
    0.44626
    """
    g, g0 = check_array("g", g), check_real("g0", g0)
    norm, kappa = check_real("norm", norm, above=0.0), check_real("kappa", kappa, at_least=0.0)
    if g0 == 0:
        raise InputError("g0 is 0; the formula starts from a scale that is not 0.")
    return g / g0 * np.exp(-kappa * (g - g0) * (g + g0) / (2 * norm**2))


def weight_norm_limit(
    X: ArrayLike,
    y: ArrayLike,
    g0: float,
    v0: ArrayLike,
    kappa: float = 1.0,
    *,
    sign: int | None = None,
) -> WeightNormLimit:
    r"""Return the limit of weight-normalized least squares, without integrating.

    .. math:: g_*^2 = \|w_{mn}\|^2 + \|P_\perp w_0\|^2 \Bigl(\frac{g_*}{g_0}\Bigr)^2
        e^{-\kappa (g_*^2 - g_0^2)/\|v_0\|^2}, \qquad
        w_* = w_{mn} + P_\perp w_0\, \frac{g_*}{g_0}\, e^{-\kappa (g_*^2 - g_0^2)/(2\|v_0\|^2)}

    The equation has one solution :math:`g_*^2`: where
    :math:`x - \|P_\perp w_0\|^2 x/g_0^2\, e^{-\kappa (x - g_0^2)/\|v_0\|^2}` is positive it
    increases.

    Parameters
    ----------
    X, y
        Examples (m, d), usually m < d, and labels (m,). Minimisers of :math:`\|Xw - y\|` count.
    g0, v0
        Start, not 0; v0 of shape (d,).
    kappa
        :math:`\eta_v / \eta_g > 0`.
    sign
        Whether g keeps its sign (+1) or changes it (-1) on the way. None where that is known: the
        loss falls, so that g keeps its sign if the start is better than w = 0.

    Returns
    -------
    WeightNormLimit
        ``g`` and ``w``.

    Raises
    ------
    InputError
        If shapes disagree, a start is 0, the least-norm solution is 0, or ``sign`` is needed.

    References
    ----------
    Wu et al. 2020, arXiv:1911.07956.

    Examples
    --------
    >>> end = weight_norm_limit([[1.0, 0.0]], [1.0], 1.0, [0.6, 0.8])
    >>> round(end.g, 6), end.w.round(6).tolist()
    (1.252414, [1.0, 0.754016])
    """
    X, y = check_array("X", X, ndim=2), check_array("y", y, ndim=1)
    g0, v0 = check_real("g0", g0), check_array("v0", v0, ndim=1)
    kappa = check_real("kappa", kappa, above=0.0)
    if X.shape != (len(y), len(v0)):
        raise InputError(f"X has shape {X.shape}; y and v0 call for {(len(y), len(v0))}.")
    norm = float(np.linalg.norm(v0))
    if g0 == 0 or norm == 0:
        raise InputError("g0 or v0 is 0; the limit is known from starts that are not 0.")
    w0 = g0 * v0 / norm
    least, _, rank, _ = np.linalg.lstsq(X, y, rcond=None)
    size = float(np.linalg.norm(least))
    if size <= 1e-14 * max(1.0, abs(g0)):
        raise InputError("the least-norm solution is 0: g tends to 0 or v into the null space.")
    if sign is None:
        if not np.sum((X @ w0 - y) ** 2) < np.sum((X @ least - y) ** 2) + np.sum((X @ least) ** 2):
            raise InputError(
                "sign is needed: the loss at the start is not below that at w = 0, so that g may "
                "pass through 0. Integrate until it is below, and pass sign=1 if g has kept its "
                "sign by then, else sign=-1."
            )
        sign = 1
    if sign not in (1, -1):
        raise InputError(f"sign is {sign!r}; pass 1 or -1.")
    # P_perp by the right singular vectors, exact where X has full row rank.
    rows = np.linalg.svd(X, full_matrices=False)[2][:rank]
    hidden = w0 - rows.T @ (rows @ w0)

    def log_share(x: float) -> float:
        """Return ln of the hidden part of g^2 = x, over x."""
        return 2 * math.log(np.linalg.norm(hidden) / abs(g0)) - kappa * (x - g0**2) / norm**2

    if np.linalg.norm(hidden) == 0:
        g2 = size**2
    else:
        # Below x_low the hidden part alone would exceed x; from there on the function increases.
        low = max(g0**2 + 2 * math.log(np.linalg.norm(hidden) / abs(g0)) * norm**2 / kappa, 0.0)

        def excess(x: float) -> float:
            return -x * math.expm1(min(log_share(x), 0.0)) - size**2

        high = low + size**2
        while excess(high) < 0:
            high += high - low
        g2 = brentq(excess, low, high, xtol=1e-300, rtol=4 * np.finfo(float).eps)
    g = math.copysign(math.sqrt(g2), sign * g0)
    return WeightNormLimit(g, least + hidden * null_space_factor(g, g0=g0, norm=norm, kappa=kappa))
