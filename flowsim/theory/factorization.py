r"""Deep matrix factorisation: how singular values and singular vectors move.

From a balanced start the product :math:`W = W_N \cdots W_1 = U \operatorname{diag}(\sigma) V^\top`
obeys the balanced law, whatever the loss. Read in its own singular bases, with
:math:`g = U^\top \nabla L(W) V`, it says

.. math::

    \dot\sigma_r &= -N \sigma_r^{2 - 2/N} g_{rr}, \\
    \dot U &= -U\big(\mathcal F \circ [g S + S g^\top]\big)
        - (I - U U^\top)\nabla L\, V S^{1 - 2/N},

and the mirror image of it for V, with
:math:`\mathcal F_{rq} = (\sigma_q^{2/N} - \sigma_r^{2/N})^{-1}`, column minus row.

References
----------
S. Arora, N. Cohen, W. Hu, Y. Luo, Implicit regularization in deep matrix factorization,
NeurIPS 2019, arXiv:1905.13655.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportCallIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

import itertools
from typing import Any

import numpy as np
from sympy import Expr, Symbol

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.problems import Problem
from flowsim.symbolic.nodes import as_expr
from flowsim.theory.conditions import PLAIN
from flowsim.theory.linear_networks import IS_LINEAR, ROUND_OFF, factors_of, product
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "COLUMN",
    "CROSSED",
    "DIRECT",
    "OWN",
    "ROW",
    "SIDES",
    "THEOREMS",
    "singular_value_velocity",
    "singular_values",
    "singular_vector_velocity",
    "singular_vectors",
]

#: Singular values number r and q; entries (r, q) and (q, r) of g = U^T G V.
ROW, COLUMN = Symbol("sigma_r", positive=True), Symbol("sigma_q", positive=True)
DIRECT, CROSSED = Symbol("g_rq", real=True), Symbol("g_qr", real=True)
#: Entry (r, r) of it: the gradient along the singular value's own vectors.
OWN = Symbol("g_rr", real=True)

#: What the statement on vectors can be asked for: entry (r, q) of U^T U' and of V^T V', and the
#: factor of the part of U' and of V' that leaves the span, as it acts on column q.
SIDES = ("left", "right", "leaving")


def _singular_values(N: Expr | int) -> Expr:
    r"""State :math:`\dot\sigma_r = -N (\sigma_r^2)^{1 - 1/N} \langle G, u_r v_r^\top\rangle`."""
    N = as_expr(N)
    return -N * ROW ** (2 - 2 / N) * OWN


def _singular_vectors(N: Expr | int, *, side: str = "left") -> Expr:
    r"""State entry (r, q) of :math:`U^\top \dot U` or :math:`V^\top \dot V`, r not q."""
    if side not in SIDES:
        raise InputError(f"side is {side!r}, which is none of {', '.join(SIDES)}.")
    N = as_expr(N)
    if side == "leaving":
        return -(COLUMN ** (1 - 2 / N))
    gap = COLUMN ** (2 / N) - ROW ** (2 / N)
    pull = DIRECT * COLUMN + CROSSED * ROW
    return -(pull if side == "left" else DIRECT * ROW + CROSSED * COLUMN) / gap


def singular_value_velocity(W: ArrayLike, G: ArrayLike, N: float) -> np.ndarray:
    r"""Return how the singular values of a balanced product move.

    .. math:: \dot\sigma_r = -N (\sigma_r^2)^{1 - 1/N}\, u_r^\top G v_r

    Parameters
    ----------
    W
        The product, shape (k, d).
    G
        The gradient of the loss at W, shape (k, d).
    N
        The depth, a number of at least 1.

    Returns
    -------
    numpy.ndarray
        Shape (min(k, d),), in descending order of the singular values.

    Raises
    ------
    InputError
        If the shapes differ, or N < 1.

    Notes
    -----
    At equal singular values the velocities of the values, sorted, are one-sided; these are those of
    the singular vectors that the decomposition happened to return.

    References
    ----------
    Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, theorem 3.

    Examples
    --------
    >>> singular_value_velocity([[2.0, 0.0], [0.0, 1.0]], [[1.0, 5.0], [5.0, -1.0]], 2).tolist()
    [-4.0, 2.0]
    """
    W, G, N = _checked(W, G, N)
    U, s, Vt = np.linalg.svd(W, full_matrices=False)
    return -N * s ** (2.0 - 2.0 / N) * np.einsum("kr,kd,rd->r", U, G, Vt)


def singular_vector_velocity(
    U: ArrayLike, s: ArrayLike, V: ArrayLike, G: ArrayLike, N: float
) -> tuple[np.ndarray, np.ndarray]:
    r"""Return how the singular vectors of a balanced product move.

    .. math::

        \dot U = -U\big(\mathcal F\circ[g S + S g^\top]\big) - (I - UU^\top) G V S^{1 - 2/N}, \qquad
        \dot V = -V\big(\mathcal F\circ[S g + g^\top S]\big) - (I - VV^\top) G^\top U S^{1 - 2/N}

    Parameters
    ----------
    U, s, V
        A thin singular value decomposition, shapes (k, r), (r,) and (d, r), the singular values
        positive, distinct, in any order.
    G
        The gradient of the loss, shape (k, d).
    N
        The depth, a number of at least 1.

    Returns
    -------
    tuple of numpy.ndarray
        Shapes (k, r) and (d, r).

    Raises
    ------
    InputError
        If shapes do not fit, or singular values are not positive and distinct: where two are equal
        their vectors are not functions of W.

    Notes
    -----
    For diagnosis, not for integration: near a crossing of singular values the poles of
    :math:`\mathcal F` make the equation stiff, and W or its factors move smoothly there.

    References
    ----------
    Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, lemma 2.

    Examples
    --------
    >>> import numpy as np
    >>> dU, dV = singular_vector_velocity(
    ...     np.eye(2), [2.0, 1.0], np.eye(2), [[1.0, 1.0], [0.0, 1.0]], 2)
    >>> dU.tolist(), dV.tolist()
    ([[0.0, 1.0], [-1.0, 0.0]], [[0.0, 2.0], [-2.0, 0.0]])
    """
    U, V = (check_array(n, x, ndim=2).astype(float) for n, x in (("U", U), ("V", V)))
    s = check_array("s", s, ndim=1).astype(np.float64)
    G = check_array("G", G, ndim=2).astype(np.float64)
    N = check_real("N", N, at_least=1.0)
    if U.shape[1:] != s.shape or V.shape[1:] != s.shape or G.shape != (len(U), len(V)):
        raise InputError(
            f"U, s, V and G have shapes {U.shape}, {s.shape}, {V.shape} and {G.shape}, where "
            "(k, r), (r,), (d, r) and (k, d) are needed."
        )
    if (s <= 0).any() or len(np.unique(s)) < len(s):
        raise InputError(
            f"s is {s.tolist()}; singular vectors move by this law only where the singular values "
            "are positive and distinct."
        )
    g = U.T @ G @ V
    # sigma_q^(2/N) - sigma_r^(2/N) by way of the difference of the logarithms, which loses nothing.
    larger, smaller = np.maximum.outer(s, s), np.minimum.outer(s, s)
    apart = np.log1p((larger - smaller) / smaller)
    gap = smaller ** (2.0 / N) * np.expm1(2.0 / N * apart) * np.sign(s[None, :] - s[:, None])
    F = np.divide(1.0, gap, out=np.zeros_like(gap), where=~np.eye(len(s), dtype=bool))
    power = s ** (1.0 - 2.0 / N)
    dU = -U @ (F * (g * s + s[:, None] * g.T)) - (G @ V - U @ g) * power
    dV = -V @ (F * (s[:, None] * g + g.T * s)) - (G.T @ U - V @ g.T) * power
    return dU, dV


def _checked(W: ArrayLike, G: ArrayLike, N: float) -> tuple[np.ndarray, np.ndarray, float]:
    W = check_array("W", W, ndim=2).astype(np.float64)
    G = check_array("G", G, ndim=2).astype(np.float64)
    if W.shape != G.shape:
        raise InputError(f"W has shape {W.shape} and G {G.shape}, where one shape is needed.")
    return W, G, check_real("N", N, at_least=1.0)


# -- the records -----------------------------------------------------------------------------------


def _is_balanced(problem: Problem, start: Any) -> str | None:
    factors = factors_of(problem, start)
    for j, (below, above) in enumerate(itertools.pairwise(factors), start=1):
        off = np.linalg.norm(above.T @ above - below @ below.T)
        if off > ROUND_OFF * (np.linalg.norm(above) ** 2 + np.linalg.norm(below) ** 2):
            return f"W_{j + 1}^T W_{j + 1} differs from W_{j} W_{j}^T by {off:.2g}."
    return None


def _is_distinct(problem: Problem, start: Any) -> str | None:
    s = np.linalg.svd(product(factors_of(problem, start)), compute_uv=False)
    gaps = np.append(s[:-1] - s[1:], s[-1])
    if gaps.min() <= ROUND_OFF * s[0]:
        return f"The singular values at the start, {s.tolist()}, are not positive and distinct."
    return None


IS_BALANCED = Condition(
    "The start is balanced: W_{j+1}^T W_{j+1} = W_j W_j^T for 1 <= j < N.", _is_balanced
)
IS_DISTINCT = Condition("The singular values are positive and distinct.", _is_distinct)

singular_values = Theorem(
    name="singular values",
    title="From a balanced start, a singular value of the product moves by the gradient along its "
    "own vectors, times N sigma^(2 - 2/N).",
    statement=_singular_values,
    hypotheses=(
        "L is analytic, so that the singular value decomposition is so along the flow.",
        IS_LINEAR,
        PLAIN,
        IS_BALANCED,
    ),
    citation="Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Theorem 3",
    proof="derivations/singular_values.py",
)

singular_vectors = Theorem(
    name="singular vectors",
    title="From a balanced start, singular vectors turn towards each other at a rate that has the "
    "gap of the singular values, to the power 2/N, in its denominator.",
    statement=_singular_vectors,
    hypotheses=(*singular_values.hypotheses, IS_DISTINCT),
    citation="Arora, Cohen, Hu, Luo 2019, arXiv:1905.13655, Lemma 2",
    proof="derivations/singular_vectors.py",
)

THEOREMS: tuple[Theorem, ...] = (singular_values, singular_vectors)
