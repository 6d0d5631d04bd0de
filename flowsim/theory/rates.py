r"""Rates: what gradient, natural gradient and K-FAC flows converge with.

* Where the Polyak-Lojasiewicz inequality :math:`\|\nabla L\|^2 \ge 2\mu (L - L^*)` holds, gradient
  flow has :math:`L(t) - L^* \le e^{-2\mu t} (L(0) - L^*)`.
* For squared error, natural gradient flow of a linear network moves W straight to the optimum,
  :math:`W(t) = W^* + e^{-t}(W_0 - W^*)`: rate 1, whatever the depth, the start and the data.
* K-FAC flow inverts the Fisher matrix block by block; every one of the N layers contributes the
  full step, :math:`W(t) = W^* + e^{-Nt}(W_0 - W^*)`: rate N.

References
----------
B. Polyak, Gradient methods for the minimisation of functionals, 1963; H. Karimi, J. Nutini,
M. Schmidt, Linear convergence of gradient and proximal-gradient methods under the
Polyak-Lojasiewicz condition, 2016, arXiv:1608.04636.
J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature,
ICML 2015, arXiv:1503.05671.
A. Bernacchia, M. Lengyel, G. Hennequin, Exact natural gradient in deep linear networks and its
application to the nonlinear case, NeurIPS 2018.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import Any

import numpy as np
from sympy import Expr, MatAdd, MatMul, MatrixExpr, MatrixSymbol, Symbol, exp

from flowsim._checks import check_array, check_count, check_real
from flowsim._types import ArrayLike
from flowsim.problems import Problem
from flowsim.symbolic.nodes import as_expr, width
from flowsim.theory.fisher_flows import check_elapsed
from flowsim.theory.linear_networks import (
    IS_LINEAR,
    IS_QUADRATIC,
    ROUND_OFF,
    factors_of,
    product,
    quadratic,
)
from flowsim.theory.records import Condition, Theorem

__all__ = [
    "EXCESS",
    "MU",
    "THEOREMS",
    "TIME",
    "kfac",
    "natural_gradient",
    "optimum",
    "polyak_lojasiewicz",
    "polyak_lojasiewicz_bound",
    "weakest_rate",
]

#: Time, the constant mu, and the excess loss L - L* at the start.
TIME, MU = Symbol("t", nonnegative=True), Symbol("mu", positive=True)
EXCESS = Symbol("E_0", nonnegative=True)


def optimum(N: Expr | int) -> MatrixSymbol:
    r"""Return :math:`W^*`, of the shape of W."""
    return MatrixSymbol("W^*", width(N), width(0))


def _start(N: Expr | int) -> MatrixSymbol:
    return MatrixSymbol("W_0", width(N), width(0))


def _towards_optimum(N: Expr | int, rate: Expr | int) -> MatrixExpr:
    gap = MatAdd(_start(N), MatMul(-1, optimum(N)))
    return MatAdd(optimum(N), MatMul(exp(-as_expr(rate) * TIME), gap))


def _natural_gradient(N: Expr | int) -> MatrixExpr:
    r"""State :math:`W(t) = W^* + e^{-t} (W_0 - W^*)`."""
    return _towards_optimum(as_expr(N), 1)


def _kfac(N: Expr | int) -> MatrixExpr:
    r"""State :math:`W(t) = W^* + e^{-N t} (W_0 - W^*)`."""
    return _towards_optimum(as_expr(N), N)


def _polyak_lojasiewicz(N: Expr | int = 1) -> Expr:
    r"""State the bound :math:`e^{-2\mu t} (L(0) - L^*)`; the depth does not enter."""
    return exp(-2 * MU * TIME) * EXCESS


# -- values ----------------------------------------------------------------------------------------


def polyak_lojasiewicz_bound(t: ArrayLike | float, *, excess: float, mu: float) -> np.ndarray:
    r"""Return the bound :math:`e^{-2\mu t} (L(0) - L^*)` on the excess loss of gradient flow.

    Parameters
    ----------
    t
        Times, not negative, of any shape.
    excess
        :math:`L(0) - L^*`, not negative.
    mu
        The constant of the inequality :math:`\|\nabla L\|^2 \ge 2\mu(L - L^*)`, positive.

    Returns
    -------
    numpy.ndarray
        Of the shape of t.

    Examples
    --------
    >>> polyak_lojasiewicz_bound([0.0, 1.0], excess=2.0, mu=0.5).round(6).tolist()
    [2.0, 0.735759]
    """
    excess = check_real("excess", excess, at_least=0.0)
    return excess * np.exp(-2.0 * check_real("mu", mu, above=0.0) * check_elapsed(t))


def weakest_rate(W: ArrayLike, N: int) -> float:
    r"""Return the least eigenvalue of the preconditioner of the balanced law at W.

    It turns a constant μ of the loss into one of the network: along balanced factors
    :math:`\dot L = -\langle G, P_W G\rangle \le -2\mu\,\lambda_{\min}(P_W)\,(L - L^*)`.

    Parameters
    ----------
    W
        The product, shape (k, d).
    N
        The number of factors.

    Returns
    -------
    float
        :math:`N\sigma_{\min}^{2 - 2/N}` for k = d, :math:`\sigma_{\min}^{2 - 2/N}` else (for
        N >= 2), the singular value being the least of all min(k, d).

    Examples
    --------
    >>> weakest_rate([[2.0, 0.0], [0.0, 4.0]], 2), weakest_rate([[2.0, 0.0]], 2)
    (4.0, 2.0)
    """
    W, N = check_array("W", W, ndim=2), check_count("N", N)
    least = float(np.linalg.svd(W.astype(np.float64), compute_uv=False).min())
    factor = N if W.shape[0] == W.shape[1] else 1
    return factor * least ** (2.0 - 2.0 / N)


# -- the records -----------------------------------------------------------------------------------


def _onto(problem: Problem, start: Any) -> str | None:
    factors = factors_of(problem, start)
    k, d = factors[-1].shape[0], factors[0].shape[1]
    for i in range(1, len(factors)):
        for name, part, rank in (
            (f"W_{len(factors)}:{i + 1}", product(factors[i:]), k),
            (f"W_{i}:1", product(factors[:i]), d),
        ):
            found = int(np.linalg.matrix_rank(part, rtol=ROUND_OFF))
            if found < rank:
                return f"{name} has rank {found}, where {rank} is needed."
    return None


def _definite(problem: Problem, start: Any) -> str | None:
    values = np.linalg.eigvalsh(quadratic(problem).curvature)
    if values[0] <= ROUND_OFF * values[-1]:
        return (
            f"The second moment of the inputs is singular: its eigenvalues are {values.tolist()}."
        )
    return None


IS_DEFINITE = Condition("The second moment of the inputs is positive definite.", _definite)
IS_ONTO = Condition(
    "Along the flow every W_{N:i+1} is onto, and every W_{i-1:1} is injective (checked at the "
    "start).",
    _onto,
)

polyak_lojasiewicz = Theorem(
    name="Polyak-Lojasiewicz rate",
    title="Where ||grad L||^2 >= 2 mu (L - L*) along gradient flow, L - L* falls at least as fast "
    "as exp(-2 mu t).",
    statement=_polyak_lojasiewicz,
    hypotheses=("L is continuously differentiable.", "||grad L||^2 >= 2 mu (L - L*), mu > 0."),
    citation="Polyak 1963; Karimi, Nutini, Schmidt 2016, arXiv:1608.04636, Theorem 1",
    proof="derivations/polyak_lojasiewicz.py",
)

natural_gradient = Theorem(
    name="natural gradient",
    title="Natural gradient flow of a linear network under squared error moves W straight to the "
    "optimum, at rate 1.",
    statement=_natural_gradient,
    hypotheses=(
        IS_LINEAR,
        IS_QUADRATIC,
        IS_DEFINITE,
        "The Jacobian of W with respect to the factors is onto along the flow.",
    ),
    citation="Martens, Grosse 2015, arXiv:1503.05671; Bernacchia, Lengyel, Hennequin, NeurIPS 2018",
    proof="derivations/natural_gradient.py",
)

kfac = Theorem(
    name="K-FAC",
    title="K-FAC flow of a linear network under squared error moves W straight to the optimum, at "
    "rate N.",
    statement=_kfac,
    hypotheses=(IS_LINEAR, IS_QUADRATIC, IS_DEFINITE, IS_ONTO),
    citation="Martens, Grosse 2015, arXiv:1503.05671; Bernacchia, Lengyel, Hennequin, NeurIPS 2018",
    proof="derivations/kfac.py",
)

THEOREMS: tuple[Theorem, ...] = (polyak_lojasiewicz, natural_gradient, kfac)
