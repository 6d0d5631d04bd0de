r"""Two-layer linear networks as a matrix Riccati equation, solved.

With whitened inputs and :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I`, which the flow keeps, the
stacked factors :math:`Q = (W_1^\top; W_2)` have a Gram matrix :math:`P = Q Q^\top` that moves by
itself,

.. math::

    \dot P = F P + P F - P^2, \qquad
    F = \begin{pmatrix} -\frac\lambda2 I & S^\top \\ S & \frac\lambda2 I \end{pmatrix},

and W is its lower left block.

References
----------
L. Braun, C. Dominé, J. Fitzgerald, A. Saxe, Exact learning dynamics of deep linear networks with
prior knowledge, NeurIPS 2022.
C. Dominé et al., From lazy to rich: exact learning dynamics in deep linear networks, 2024,
arXiv:2409.14623.
K. Fukumizu, Effect of batch learning in multilayer neural networks, ICONIP 1998.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

import math
from typing import Any

import numpy as np
from sympy import Expr, MatMul, MatrixExpr, MatrixSymbol, Symbol, Transpose

from flowsim.problems import Problem
from flowsim.theory.conditions import PLAIN
from flowsim.theory.gram_flow import imbalance, latest, spectrum, stacked
from flowsim.theory.linear_networks import (
    IS_LINEAR,
    IS_QUADRATIC,
    IS_WHITENED,
    factors_of,
    present,
    quadratic,
)
from flowsim.theory.records import ClosedForm, Solution, Theorem
from flowsim.theory.two_layer import IS_LAMBDA_BALANCED, IS_TWO_LAYERS

__all__ = [
    "CLOSED_FORMS",
    "GROWTH",
    "INVERSE",
    "STACKED_START",
    "THEOREMS",
    "matrix_riccati",
]

#: Widths.
_D, _H, _K = (Symbol(name, integer=True, positive=True) for name in ("d", "h", "k"))
#: Q at time 0, exp(F t), and the inverse of I + Q_0^T (int_0^t exp(2 F r) dr) Q_0.
STACKED_START = MatrixSymbol("Q_0", _D + _K, _H)
GROWTH = MatrixSymbol("E", _D + _K, _D + _K)
INVERSE = MatrixSymbol("K", _H, _H)


def _matrix_riccati(N: Expr | int = 2) -> MatrixExpr:
    r"""State :math:`Q Q^\top(t) = e^{Ft} Q_0 [I + Q_0^\top \Phi(t) Q_0]^{-1} Q_0^\top e^{Ft}`.

    ``E`` stands for :math:`e^{Ft}` and ``K`` for the inverse.
    """
    return MatMul(GROWTH, STACKED_START, INVERSE, Transpose(STACKED_START), GROWTH)


# -- the record and its solution -------------------------------------------------------------------


#: Relative error beyond which a solution does not speak of itself as valid.
_LOST = 1e-8


def _solve(problem: Problem, start: Any) -> Solution:
    W1, W2 = factors_of(problem, start)
    S, sigma = quadratic(problem)
    d = S.shape[1]
    ell = float(np.trace(sigma)) / d
    f, V, C = spectrum(W1, W2, S, imbalance(W1, W2)[1])

    def evaluate(t: np.ndarray) -> np.ndarray:
        Z = V @ stacked(ell * t, f, C)
        return Z[:, d:] @ np.swapaxes(Z[:, :d], 1, 2)

    rounding = np.abs(V).T @ np.abs(np.vstack([W1.T, W2])) * np.finfo(np.float64).eps
    return Solution(
        matrix_riccati,
        evaluate,
        present(problem, start),
        _valid_until(f, C, rounding) / ell,
        "Round-off in the start is magnified from there on: a mode of the target is as good as "
        "absent from the start, or exp(F t) overflows.",
    )


def _valid_until(f: np.ndarray, C: np.ndarray, rounding: np.ndarray) -> float:
    """Time up to which a start that differs by round-off gives the same solution."""
    if f.max() <= 0:
        return math.inf
    # In steps of two e-foldings of the fastest mode, then of a tenth and more of the time itself.
    end = latest(f)
    fast = np.arange(2.0, 61.0, 2.0) / f.max()
    grid = np.concatenate([fast[fast < end], np.geomspace(min(60.0 / f.max(), end), end, 40)])
    other = C + rounding * np.random.default_rng(4).choice([-2.0, 2.0], size=C.shape)
    before = 0.0
    for t in grid:
        (Z,), (Y,) = stacked(np.array([t]), f, C), stacked(np.array([t]), f, other)
        P = Z @ Z.T
        if np.abs(Y @ Y.T - P).max() > _LOST * np.abs(P).max():
            return float(before)
        before = t
    return end


matrix_riccati = Theorem(
    name="matrix Riccati",
    title="Two whitened linear layers whose imbalance is a multiple of the identity: the Gram "
    "matrix of the stacked factors solves a Riccati equation, in closed form.",
    statement=_matrix_riccati,
    hypotheses=(
        IS_LINEAR,
        PLAIN,
        IS_QUADRATIC,
        IS_WHITENED,
        IS_TWO_LAYERS,
        IS_LAMBDA_BALANCED,
    ),
    citation="Dominé et al. 2024, arXiv:2409.14623; Braun, Dominé, Fitzgerald, Saxe, NeurIPS 2022; "
    "Fukumizu 1998",
    proof="derivations/riccati.py",
)

CLOSED_FORMS: tuple[ClosedForm, ...] = (
    ClosedForm(matrix_riccati, matrix_riccati.conditions, _solve),
)

THEOREMS: tuple[Theorem, ...] = (matrix_riccati,)
