r"""A vector times a scalar, :math:`w = w_1 w_2`: the laws of Arora, Cohen and Hazan, section 3.

With :math:`\nabla = \nabla L(w)`, gradient flow is :math:`\dot w_1 = -w_2 \nabla`,
:math:`\dot w_2 = -\langle w_1, \nabla\rangle`, and :math:`c = w_2^2 - \|w_1\|^2` is conserved. The
motion of w is written in two exact ways: with a *memory* of all gradients so far, which is always
valid, and *without* one, in w and the number c, where :math:`w_2 \ne 0`. Gradient descent has the
first form too, with the paper's momentum coefficients.

Vectors are columns of symbolic size d.

References
----------
S. Arora, N. Cohen, E. Hazan, On the optimization of deep networks: implicit acceleration by
overparameterization, ICML 2018, arXiv:1802.06509, section 3.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import Any

import numpy as np
from sympy import (
    Expr,
    Function,
    Integral,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Symbol,
    Transpose,
    cosh,
    exp,
    sinh,
    sqrt,
)

from flowsim._checks import check_array, check_choice, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.theory.conditions import PLAIN, SMOOTH
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "IMBALANCE",
    "THEOREMS",
    "scaled_vector",
    "scaled_vector_descent",
    "scaled_vector_line",
    "scaled_vector_memory",
    "scaled_vector_on_a_line",
    "scaled_vector_velocity",
    "squared_scale",
]

#: w = w_1 w_2 and the gradient there, columns of size d.
SIZE = Symbol("d", integer=True, positive=True)
VECTOR, GRADIENT = MatrixSymbol("w", SIZE, 1), MatrixSymbol("g", SIZE, 1)

#: c = w_2^2 - |w_1|^2; the factor w_2, and the learning rate of descent.
IMBALANCE = Symbol("c", real=True)
SCALE, RATE = Symbol("w_2", real=True), Symbol("eta", positive=True)

#: One coordinate: time, an earlier time, w_2 and the gradient as functions of time, w_1(0).
TIME, EARLIER = Symbol("t", nonnegative=True), Symbol("tau", nonnegative=True)
SCALE_AT, GRADIENT_AT = Function("w_2", real=True), Function("g", real=True)
FIRST = Symbol("w_1", real=True)

#: A fixed direction: its component of w_1(0), w_2(0), and the gradient integrated over time.
ALONG, SCALE_0 = Symbol("a", real=True), Symbol("b", real=True)
INTEGRATED = Symbol("Gamma", real=True)

#: Descent: squared norm of the gradient, its component along w_1, and squared norm of w_1.
STEEPNESS, COMPONENT = Symbol("G", nonnegative=True), Symbol("p", real=True)
#: Descent: w_2 at the times tau, tau + 1, t, t + 1.
MOMENTS = tuple(Symbol(f"w_2^{k}", positive=True) for k in ("(tau)", "(tau+1)", "(t)", "(t+1)"))


def squared_scale(norm: Expr, c: Expr = IMBALANCE) -> Expr:
    r"""State :math:`\rho = w_2^2 = \frac12 (c + \sqrt{c^2 + 4 \|w\|^2})`."""
    return (c + sqrt(c**2 + 4 * norm**2)) / 2


def _memoryless(N: Expr | int = 2, *, c: Expr = IMBALANCE) -> MatrixExpr:
    r"""State :math:`\dot w = -\rho \nabla - \frac{\langle w, \nabla\rangle}\rho w`."""
    rho = squared_scale(FrobeniusNorm(VECTOR), c)
    back = MatMul(-1 / rho, VECTOR, Transpose(VECTOR), GRADIENT)
    return MatAdd(MatMul(-rho, GRADIENT), back)


def growth_since(t: Expr, earlier: Expr) -> Expr:
    r"""State :math:`e^{-\int_\tau^t \gamma}` with :math:`\gamma = -\dot w_2/w_2`."""
    s = Symbol("s", nonnegative=True)
    return exp(Integral(SCALE_AT(s).diff(s) / SCALE_AT(s), (s, earlier, t)))


def _memory(N: Expr | int = 2, *, kernel: str = "exact") -> Expr:
    r"""State :math:`\dot w` with an integral over the past, one coordinate.

    The kernel is :math:`\dot w_2(t) w_2(\tau)`, always valid; ``"exponential"`` writes it as the
    limit of the paper's coefficients,
    :math:`-\gamma(t) w_2(\tau)^2 e^{-\int_\tau^t \gamma}`, where :math:`w_2 \ne 0` on [0, t].
    """
    check_choice("kernel", kernel, ("exact", "exponential"))
    t, tau, w2, g = TIME, EARLIER, SCALE_AT, GRADIENT_AT
    growth = w2(t).diff(t)
    weight = growth * w2(tau)
    if kernel == "exponential":
        weight = growth / w2(t) * w2(tau) ** 2 * growth_since(t, tau)
    past = Integral(weight * g(tau), (tau, 0, t))
    return -(w2(t) ** 2) * g(t) - past + growth * FIRST


def _line(N: Expr | int = 2, *, factor: int = 2) -> Expr:
    """State w_2, or the component of w_1 along the direction, in the integrated gradient."""
    first, second = (SCALE_0, ALONG) if factor == 2 else (ALONG, SCALE_0)
    return first * cosh(INTEGRATED) - second * sinh(INTEGRATED)


def _descent(N: Expr | int = 2, *, what: str = "step") -> MatrixExpr | Expr:
    r"""State a step of descent, its momentum coefficient, or the drift of c.

    ``"step"`` is :math:`w^+ = (1 - \gamma)(w - \rho\nabla)` with :math:`\rho = \eta w_2^2`,
    :math:`\gamma = \eta \langle w, \nabla\rangle / w_2^2`; ``"momentum"`` is :math:`\mu^{t,\tau}`;
    ``"drift"`` is :math:`c^+ - c`.
    """
    check_choice("what", what, ("step", "momentum", "drift"))
    if what == "step":
        rho = RATE * SCALE**2
        moved = MatAdd(VECTOR, MatMul(-rho, GRADIENT))
        shrunk = MatMul(-RATE / SCALE**2, moved, Transpose(VECTOR), GRADIENT)
        return MatAdd(moved, shrunk)
    if what == "momentum":
        then, after_then, now, next_ = MOMENTS
        return RATE * (next_ - now) * then**2 / after_then
    return RATE**2 * (COMPONENT**2 - SCALE**2 * STEEPNESS)


def _scale_is_not_zero(problem: Any, start: Any) -> str | None:
    w2 = float(np.asarray(start[1]).reshape(()))
    return None if w2 != 0 else "w_2 is 0 at the start, where w does not determine its velocity."


scaled_vector = Theorem(
    name="scaled vector",
    title="w = w_1 w_2 moves by -rho grad L - (<w, grad L>/rho) w with rho = w_2^2 a function of "
    "|w| and of the conserved c = w_2^2 - |w_1|^2.",
    statement=_memoryless,
    hypotheses=(
        SMOOTH,
        Condition(
            "w_2 is not 0; for c >= 0 it never becomes so, for c < 0 it may, and there w does not "
            "determine its velocity.",
            _scale_is_not_zero,
        ),
        PLAIN,
    ),
    citation="Arora, Cohen, Hazan 2018, arXiv:1802.06509, section 3, in continuous time; any c: "
    "derivations/scaled_vector.py",
    proof="derivations/scaled_vector.py",
)

scaled_vector_memory = Theorem(
    name="scaled vector memory",
    title="w = w_1 w_2 moves by its present gradient times w_2^2, by its past ones weighted with "
    "mu(t, tau) = w_2'(t) w_2(tau), and by w_2'(t) w_1(0).",
    statement=_memory,
    hypotheses=(SMOOTH, PLAIN),
    citation="Arora, Cohen, Hazan 2018, arXiv:1802.06509, section 3, equation for w^(t+1), in "
    "continuous time and without the near-zero start",
    proof="derivations/scaled_vector_memory.py",
)

scaled_vector_line = Theorem(
    name="scaled vector line",
    title="Under a gradient of fixed direction w_2 and the component of w_1 along it turn "
    "hyperbolically in the integrated gradient.",
    statement=_line,
    hypotheses=(SMOOTH, "grad L(w(t)) = g(t) e with a fixed unit vector e.", PLAIN),
    citation="Arora, Cohen, Hazan 2018, arXiv:1802.06509, section 3 (the flow); solution: "
    "derivations/scaled_vector_line.py",
    proof="derivations/scaled_vector_line.py",
)

scaled_vector_descent = Theorem(
    name="scaled vector descent",
    title="A step of gradient descent on w_1 and w_2 takes w to (1 - gamma)(w - rho grad L), and "
    "its momentum coefficients telescope.",
    statement=_descent,
    hypotheses=("Both factors are updated at once.", "w_2 is not 0.", PLAIN),
    citation="Arora, Cohen, Hazan 2018, arXiv:1802.06509, section 3, with the term that the paper "
    "drops",
    proof="derivations/scaled_vector_descent.py",
)

THEOREMS = (scaled_vector, scaled_vector_memory, scaled_vector_line, scaled_vector_descent)


def scaled_vector_velocity(w: ArrayLike, gradient: ArrayLike, /, *, c: float) -> np.ndarray:
    r"""Return :math:`\dot w = -\rho \nabla - \frac{\langle w, \nabla\rangle}\rho w`.

    Parameters
    ----------
    w
        Shape (d,).
    gradient
        :math:`\nabla L(w)`, shape (d,).
    c
        The conserved :math:`w_2^2 - \|w_1\|^2`.

    Returns
    -------
    numpy.ndarray
        Shape (d,).

    Raises
    ------
    InputError
        If shapes differ, or w = 0 with c < 0, where w does not determine its velocity.

    References
    ----------
    Arora, Cohen, Hazan 2018, arXiv:1802.06509, section 3.

    Examples
    --------
    >>> scaled_vector_velocity([3.0, 4.0], [1.0, 0.0], c=0.0).round(12).tolist()
    [-6.8, -2.4]
    """
    w, g = check_array("w", w, ndim=1), check_array("gradient", gradient, ndim=1)
    c = check_real("c", c)
    if w.shape != g.shape:
        raise InputError(f"gradient has shape {g.shape} and w {w.shape}; they must be the same.")
    norm = float(np.linalg.norm(w))
    if norm == 0:
        if c < 0:
            raise InputError(f"w is 0 and c = {c:g} < 0: w_2 = 0, and w does not determine dw/dt.")
        return -c * g
    root = np.hypot(c, 2 * norm)
    # For c < 0 the sum would cancel; the product of the roots is -|w|^2.
    rho = (c + root) / 2 if c >= 0 else 2 * norm * (norm / (root - c))
    return -rho * g - (w @ g) / rho * w


def scaled_vector_on_a_line(
    w1: ArrayLike, w2: float, direction: ArrayLike, integrated: ArrayLike, /
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return the factors after a gradient :math:`g(t) e` of fixed direction.

    .. math:: w_2 = w_2(0) \cosh\Gamma - \langle e, w_1(0)\rangle \sinh\Gamma, \qquad
        \langle e, w_1\rangle = \langle e, w_1(0)\rangle \cosh\Gamma - w_2(0) \sinh\Gamma

    Parameters
    ----------
    w1, w2
        Factors at time 0, shapes (d,) and ().
    direction
        e, shape (d,); it is normalised.
    integrated
        :math:`\Gamma = \int_0^t g`, a number or shape (T,).

    Returns
    -------
    tuple of numpy.ndarray
        w_1, shape (d,) or (T, d), and w_2, shape () or (T,).

    Raises
    ------
    InputError
        If the direction is 0 or of another shape than w1.

    Examples
    --------
    >>> w1, w2 = scaled_vector_on_a_line([0.0, 1.0], 1.0, [2.0, 0.0], -1.0)
    >>> w1.round(6).tolist(), round(float(w2), 6)              # sinh 1, cosh 1
    ([1.175201, 1.0], 1.543081)
    """
    w1, e = check_array("w1", w1, ndim=1), check_array("direction", direction, ndim=1)
    w2, gamma = check_real("w2", w2), check_array("integrated", integrated, ndim=(0, 1))
    size = np.linalg.norm(e)
    if e.shape != w1.shape or size == 0:
        raise InputError(f"direction is {e}; pass a vector of shape {w1.shape} that is not 0.")
    e = e / size
    a = float(e @ w1)
    # The two exponentials apart, so that a start on one of them keeps its digits.
    with np.errstate(over="ignore", invalid="ignore"):
        grows, decays = (w2 - a) / 2 * np.exp(gamma), (w2 + a) / 2 * np.exp(-gamma)
    along = decays - grows
    return w1 + (along - a)[..., None] * e, grows + decays
