r"""Two-layer linear networks :math:`W = W_2 W_1` whose layers differ by a multiple of the identity.

If :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I_h` at the start, it stays so, and
:math:`Q = W_2 W_2^\top`, :math:`R = W_1^\top W_1` solve quadratic equations in W:

.. math:: Q^2 - \lambda Q = W W^\top, \quad R^2 + \lambda R = W^\top W, \qquad
    \dot W = -(Q G + G R).

:math:`\lambda > 0` forces :math:`h \le k` and :math:`\lambda < 0` forces :math:`h \le d`. The roots
that the law is written with are the right ones on all of the space only if h = k (:math:`\lambda >
0`) or h = d (:math:`\lambda < 0`): otherwise Q (R) has eigenvalues 0 where the root says
:math:`|\lambda|`. Since Q and R are shifted by opposite multiples of the identity, the sum is

.. math:: \dot W = -\bigl(\tfrac{\lambda^2}4 I + W W^\top\bigr)^{1/2} G
    - G \bigl(\tfrac{\lambda^2}4 I + W^\top W\bigr)^{1/2} .

References
----------
C. Dominé et al., From lazy to rich: exact learning dynamics in deep linear networks, 2024,
arXiv:2409.14623.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import Any

import numpy as np
from sympy import Expr, Identity, MatAdd, MatMul, MatrixExpr, Rational, Symbol, Transpose

from flowsim._checks import check_array, check_count, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.symbolic.nodes import PSDPower, end_to_end, gradient
from flowsim.theory.conditions import PLAIN, SMOOTH
from flowsim.theory.gram_flow import imbalance
from flowsim.theory.linear_networks import ROUND_OFF
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "IMBALANCE",
    "IS_LAMBDA_BALANCED",
    "IS_TWO_LAYERS",
    "THEOREMS",
    "lambda_balanced",
    "lambda_balanced_velocity",
]

#: W_2^T W_2 - W_1 W_1^T = lambda I.
IMBALANCE = Symbol("lambda", real=True)


def shifted_root(square: MatrixExpr, sign: int) -> MatrixExpr:
    r"""State :math:`\pm\frac\lambda2 I + (\frac{\lambda^2}4 I + A)^{1/2}`, A = W W^T or W^T W."""
    one = Identity(square.rows)
    inside = MatAdd(MatMul(IMBALANCE**2 / 4, one), square)
    return MatAdd(MatMul(sign * IMBALANCE / 2, one), PSDPower(inside, Rational(1, 2)))


def _law(N: Expr | int = 2) -> MatrixExpr:
    r"""State :math:`\dot W = -(Q G + G R)` with Q and R as functions of W."""
    W, G = end_to_end(2), gradient(2)
    Q = shifted_root(MatMul(W, Transpose(W)), 1)
    R = shifted_root(MatMul(Transpose(W), W), -1)
    return MatAdd(MatMul(-1, Q, G), MatMul(-1, G, R))


def _factors(start: Any) -> tuple[np.ndarray, ...]:
    given = (start,) if isinstance(start, np.ndarray) else start
    return tuple(np.asarray(W, dtype=np.float64) for W in given)


def _two_layers(problem: Any, start: Any) -> str | None:
    factors = _factors(start)
    if len(factors) == 2 and all(W.ndim == 2 for W in factors):
        return None
    return f"There are {len(factors)} factors, not two matrices."


def _is_lambda_balanced(problem: Any, start: Any) -> str | None:
    return imbalance(*_factors(start))[0]


def _is_full_width(problem: Any, start: Any) -> str | None:
    W1, W2 = _factors(start)
    lam = imbalance(W1, W2)[1]
    (h, d), k = W1.shape, len(W2)
    size = np.linalg.norm(W1) ** 2 + np.linalg.norm(W2) ** 2
    if abs(lam) <= ROUND_OFF * size or h == (k if lam > 0 else d):
        return None
    side, n = ("k", k) if lam > 0 else ("d", d)
    return f"lambda = {lam:.3g} needs the hidden width h = {side} = {n}, and h is {h}."


IS_TWO_LAYERS = Condition("There are two layers.", _two_layers)
IS_LAMBDA_BALANCED = Condition(
    "W_2^T W_2 - W_1 W_1^T = lambda I at the start, for a number lambda of either sign.",
    _is_lambda_balanced,
)

lambda_balanced = Theorem(
    name="lambda-balanced law",
    title="Two layers with W_2^T W_2 - W_1 W_1^T = lambda I move their product by -(Q G + G R) "
    "with Q and R roots of quadratic equations in W.",
    statement=_law,
    hypotheses=(
        SMOOTH,
        IS_TWO_LAYERS,
        IS_LAMBDA_BALANCED,
        Condition("The hidden width is k if lambda > 0, and d if lambda < 0.", _is_full_width),
        PLAIN,
    ),
    citation="Dominé et al. 2024, arXiv:2409.14623 (lambda-balanced starts); law and domain: "
    "derivations/lambda_balanced.py",
    proof="derivations/lambda_balanced.py",
)

THEOREMS = (lambda_balanced,)


def lambda_balanced_velocity(
    W: ArrayLike, G: ArrayLike, /, *, imbalance: float, hidden: int | None = None
) -> np.ndarray:
    r"""Return :math:`\dot W = -(Q G + G R)` of a :math:`\lambda`-balanced two-layer network.

    .. math:: Q = \tfrac\lambda2 I + (\tfrac{\lambda^2}4 I + W W^\top)^{1/2}, \qquad
        R = -\tfrac\lambda2 I + (\tfrac{\lambda^2}4 I + W^\top W)^{1/2}

    by the singular value decomposition of W, no difference being taken of what is nearly equal.

    Parameters
    ----------
    W
        End-to-end matrix, shape (k, d).
    G
        Gradient of the loss there, shape (k, d).
    imbalance
        :math:`\lambda`.
    hidden
        The hidden width h. None takes the width for which the law holds without more: k for
        :math:`\lambda > 0`, d for :math:`\lambda < 0`. A smaller width is served where W has rank
        h.

    Returns
    -------
    numpy.ndarray
        Shape (k, d).

    Raises
    ------
    InputError
        If the shapes differ, the width is impossible, or W has a smaller rank than the width, so
        that it does not determine Q or R.

    References
    ----------
    Dominé et al. 2024, arXiv:2409.14623; derivations/lambda_balanced.py.

    Examples
    --------
    >>> lambda_balanced_velocity([[2.0]], [[1.0]], imbalance=3.0).tolist()    # Q = 4, R = 1
    [[-5.0]]
    """
    W, G = check_array("W", W, ndim=2), check_array("G", G, ndim=2)
    lam = check_real("imbalance", imbalance)
    if W.shape != G.shape:
        raise InputError(f"G has shape {G.shape} and W {W.shape}; they must be the same.")
    k, d = W.shape
    U, s, Vt = np.linalg.svd(W, full_matrices=True)
    side, n = ("k", k) if lam > 0 else ("d", d)
    h = n if hidden is None else check_count("hidden", hidden)
    if lam != 0:
        rank = int((s > 1e-13 * s.max(initial=0.0)).sum())
        if h > n:
            raise InputError(f"hidden is {h}; imbalance {lam:g} is possible up to {side} = {n}.")
        if h < n and rank < h:
            raise InputError(
                f"hidden is {h} < {side} = {n} and W has rank {rank}: W does not determine the "
                "factors' Gram matrices. Integrate the factors instead."
            )
    left, right = np.zeros(k), np.zeros(d)
    left[: len(s)] = right[: len(s)] = s
    # Eigenvalues |lambda|/2 + r of the larger Gram matrix and s^2/(|lambda|/2 + r) of the other.
    large_side, small_side = (left, right) if lam > 0 else (right, left)
    half = abs(lam) / 2
    large = half + np.hypot(half, large_side)
    if lam != 0 and h < n:
        large[h:] = 0.0
    below = half + np.hypot(half, small_side)
    small = np.divide(small_side**2, below, out=np.zeros_like(below), where=below > 0)
    q, r = (large, small) if lam > 0 else (small, large)
    return -((U * q) @ (U.T @ G) + (G @ Vt.T * r) @ Vt)
