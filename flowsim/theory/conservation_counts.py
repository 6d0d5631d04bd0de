r"""How many conservation laws there are: the count of Marcotte, Gribonval and Peyré.

Near a generic point there are exactly :math:`D - \dim \mathrm{Lie}\{\nabla\varphi_i\}` independent
functions of the D parameters that gradient flow leaves unchanged whatever the loss. For the product
of two matrices the Lie algebra is that of the pseudo-orthogonal group, and the dimension a formula.

References
----------
S. Marcotte, R. Gribonval, G. Peyré, Abide by the law and follow the flow: conservation laws for
gradient flows, NeurIPS 2023, arXiv:2307.00144.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from sympy import Expr, Rational, Symbol

from flowsim.theory.records import Condition, Theorem

if TYPE_CHECKING:
    from flowsim.problems import Problem

__all__ = ["COLUMNS", "RANK", "ROWS", "THEOREMS", "WIDTH", "two_layer_count"]

#: Sizes of the statement: W = U V^T with U of shape (n, r) and V of shape (m, r).
ROWS = Symbol("n", integer=True, positive=True)
COLUMNS = Symbol("m", integer=True, positive=True)
WIDTH = Symbol("r", integer=True, positive=True)
#: The rank of U stacked on V.
RANK = Symbol("rho", integer=True, positive=True)


def _count(
    N: Expr | int = 2,
    *,
    n: Expr | int = ROWS,
    m: Expr | int = COLUMNS,
    r: Expr | int = WIDTH,
    rank: Expr | int = RANK,
) -> Expr:
    r"""State the number of laws, with p = n + m.

    .. math:: p r - \tfrac12\big(p (p - 1) - (p - \rho)(p - \rho - 1)\big)

    At a generic point the rank is min(r, p); so it is r (r + 1) / 2 for r <= p and
    p r - p (p - 1) / 2 for r >= p. The depth N is 2.
    """
    p = n + m
    return p * r - Rational(1, 2) * (p * (p - 1) - (p - rank) * (p - rank - 1))


def _generic(problem: Problem, start: Any) -> str | None:
    """Whether the stacked factors have full rank."""
    shapes = problem.parametrization.shapes
    if len(shapes) != 2 or any(len(shape) != 2 for shape in shapes):
        return f"The factors have shapes {shapes}; the theorem is about a product of two matrices."
    W1, W2 = problem.parametrization.check_factors(start)
    stacked = np.concatenate([W2, W1.T])
    rank = int(np.linalg.matrix_rank(stacked))
    if rank == min(stacked.shape):
        return None
    return f"The factors stacked, of shape {stacked.shape}, have rank {rank} only."


two_layer_count = Theorem(
    name="two-layer count",
    title="Gradient flow on U V^T has, near a generic point, r (r + 1) / 2 independent "
    "conservation laws, or p r - p (p - 1) / 2 where r >= p = n + m.",
    statement=_count,
    hypotheses=(
        "A conserved quantity is conserved for every continuously differentiable loss.",
        Condition("The point is generic: U stacked on V has full rank, min(r, n + m).", _generic),
    ),
    citation="Marcotte, Gribonval, Peyré 2023, arXiv:2307.00144",
    proof="derivations/conservation_counts.py",
)

THEOREMS: tuple[Theorem, ...] = (two_layer_count,)
