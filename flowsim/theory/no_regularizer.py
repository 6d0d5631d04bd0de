r"""Depth is no regularizer: what Arora, Cohen and Hazan proved in 2018, as an identity.

A balanced network of one output moves by :math:`\dot w = -F(w)` with

.. math:: F(w) = \|w\|^{2 - \frac2N} \bigl(g + (N - 1)\, \mathrm{Pr}_w\, g\bigr),
          \qquad g = \nabla L(w),\quad H = \nabla^2 L(w) .

The paper shows that F is no gradient field where N > 2 and :math:`\nabla L(0) \ne 0`, by one closed
curve.  The first record says by how much F fails to be one, at every point; from it the exact
class of losses for which it is one can be read off
(:func:`flowsim.symbolic.regularizers.is_gradient_field`), depth 2 among them.  The second gives the
integral of F over every curve of the paper's kind.

References
----------
S. Arora, N. Cohen, E. Hazan, On the optimization of deep networks: implicit acceleration by
overparameterization, ICML 2018, arXiv:1802.06509.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sympy import Expr, MatAdd, MatMul, MatrixExpr, Symbol, Transpose

from flowsim.symbolic.integrability import G, H, W
from flowsim.symbolic.nodes import FrobeniusNorm, as_expr
from flowsim.theory.records import Condition, Theorem

if TYPE_CHECKING:
    from flowsim.problems import Problem

__all__ = [
    "DEGREE",
    "INNER",
    "LEFT",
    "OUTER",
    "RIGHT",
    "THEOREMS",
    "antisymmetric_part",
    "sector_loop",
]

#: The degree of homogeneity m of the loss, and its values at the two directions of a sector.
DEGREE = Symbol("m", nonnegative=True)
LEFT, RIGHT = Symbol("h_0", real=True), Symbol("h_phi", real=True)
#: The radii r < R of a sector.
INNER, OUTER = Symbol("r", positive=True), Symbol("R", positive=True)


def _antisymmetric_part(N: Expr | int) -> MatrixExpr:
    r"""State :math:`-(N-1)\|w\|^{-2/N}(q w^\top - w q^\top)`, :math:`q = \frac{N-2}N g + H w`."""
    N = as_expr(N)
    q = MatAdd(MatMul((N - 2) / N, G), MatMul(H, W))
    q_row = MatAdd(MatMul((N - 2) / N, Transpose(G)), MatMul(Transpose(W), H))
    scale = -(N - 1) * FrobeniusNorm(W) ** (-2 / N)
    return MatMul(scale, MatAdd(MatMul(q, Transpose(W)), MatMul(-1, W, q_row)))


def _sector_loop(
    N: Any,
    *,
    degree: Any = DEGREE,
    heights: tuple[Any, Any] = (LEFT, RIGHT),
    radii: tuple[Any, Any] = (INNER, OUTER),
) -> Any:
    r"""State the loop integral; numbers in, a number out.

    .. math:: \frac{(N-1)(m - \frac2N)}{m + 2 - \frac2N}\, (h_0 - h_\phi)
              \bigl(R^{m + 2 - 2/N} - r^{m + 2 - 2/N}\bigr)
    """
    (h0, h1), (r, R) = heights, radii
    power = degree + 2 - 2 / as_number(N)
    scale = (N - 1) * (degree - 2 / as_number(N)) / power
    return scale * (h0 - h1) * (R**power - r**power)


def as_number(N: Any) -> Any:
    """Return an integer depth as one that divides exactly, in symbols; others as they are."""
    return as_expr(N) if isinstance(N, int) else N


def _one_output(problem: Problem, start: Any) -> str | None:
    """Check that the end-to-end parameter is a vector."""
    shape = problem.parametrization.end_to_end_shape
    if len(shape) == 1 or shape[0] == 1:
        return None
    return (
        f"The network has {shape[0]} outputs. With several the field is in general no gradient at "
        "any depth above 1, also where the loss is linear."
    )


_ONE_OUTPUT = Condition("The network has one output.", _one_output)

antisymmetric_part = Theorem(
    name="no regularizer",
    title="The Jacobian of the balanced single-output field is symmetric only where the gradient "
    "of <w, grad L> - (2/N) L is parallel to w.",
    statement=_antisymmetric_part,
    hypotheses=(
        _ONE_OUTPUT,
        "The start is balanced, so that dw/dt = -F(w).",
        "L is twice continuously differentiable, and w is not 0; N >= 1 is real.",
    ),
    citation="sharpens Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 2",
    proof="derivations/no_regularizer.py",
)

sector_loop = Theorem(
    name="loop integrals",
    title="The integral of the balanced single-output field around a sector of radii r and R is "
    "in proportion to m - 2/N for a loss of degree m.",
    statement=_sector_loop,
    hypotheses=(
        _ONE_OUTPUT,
        "L is continuously differentiable and positively homogeneous of degree m >= 0 away from "
        "0, with the values h_0 and h_phi in the two directions; sums of such losses add.",
        "The curve runs outwards along the first direction, on the sphere of radius R to the "
        "second, inwards along it, and on the sphere of radius r back; 0 < r < R.",
    ),
    citation="generalises Arora, Cohen, Hazan 2018, arXiv:1802.06509, proof of Theorem 2",
    proof="derivations/loop_integrals.py",
)

#: The theorems of this module.
THEOREMS: tuple[Theorem, ...] = (antisymmetric_part, sector_loop)
