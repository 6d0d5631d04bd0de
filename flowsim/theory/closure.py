r"""When the motion of :math:`w = \varphi(\theta)` closes: the infinitesimal criterion.

Gradient flow on θ moves w by :math:`\dot w = -P\,\nabla L(w)` with :math:`P = J J^\top`. Let
:math:`\mathcal L_\theta` be the span of the gradients :math:`\nabla\varphi_i` and of all their Lie
brackets at θ, Q the orthogonal projector onto it and :math:`J^+` the pseudo-inverse of J. Then

.. math:: \Pi = Q - J^+ J

projects onto :math:`\mathcal L_\theta \cap \ker J`, the directions in which the conserved
quantities and w stand still, and P is a function of w and of the conserved values alone, near θ, if
and only if it does not change in these directions:

.. math:: J' J^\top + J J'^\top = 0, \qquad J' = DJ[\Pi u], \quad u \in \mathbb R^D .

The statement is local. Away from θ, several states with one w and one set of conserved values may
differ in P although nearby ones do not: the law then has branches.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from sympy import Expr, MatAdd, MatMul, MatrixExpr, MatrixSymbol, Symbol, Transpose

from flowsim._errors import InputError
from flowsim.symbolic.differential import Differential
from flowsim.theory.records import Theorem

__all__ = ["JACOBIAN", "LEAF", "PSEUDO_INVERSE", "THEOREMS", "closure_criterion"]

_M, _D = Symbol("m", integer=True, positive=True), Symbol("D", integer=True, positive=True)
#: J, of the m entries of w with respect to the D parameters.
JACOBIAN = MatrixSymbol("J", _M, _D)
#: J^+, the pseudo-inverse of J.
PSEUDO_INVERSE = MatrixSymbol("J^+", _D, _M)
#: Q, the orthogonal projector onto the directions tangent to the leaf.
LEAF = MatrixSymbol("Q", _D, _D)


def _statement(N: Expr | int = 1, *, part: str = "change") -> MatrixExpr:
    """State the change of P along a direction, or the projector onto the directions to be tried.

    Parameters
    ----------
    N : int or sympy.Expr
        Not used: the criterion knows no depth.
    part : {"change", "directions"}
        Which of the two.
    """
    J, dJ = JACOBIAN, Differential(JACOBIAN)
    if part == "change":
        return MatAdd(MatMul(dJ, Transpose(J)), MatMul(J, Transpose(dJ)))
    if part == "directions":
        return MatAdd(LEAF, MatMul(-1, PSEUDO_INVERSE, J))
    raise InputError(f"part is {part!r}; pass 'change' or 'directions'.")


closure_criterion = Theorem(
    name="closure criterion",
    title="The motion of w = phi(theta) closes near theta if and only if J J^T does not change in "
    "the directions of the leaf that keep w, those of Q - J^+ J.",
    statement=_statement,
    hypotheses=(
        "phi is smooth near theta, and analytic where the verdict at one point is to hold at "
        "almost every other.",
        "The rank of J and the dimension of the Lie algebra of the gradients are constant near "
        "theta, as they are near almost every theta.",
        "Closure is meant near theta: in the large the law may have branches.",
    ),
    citation="Frobenius's theorem on the algebra of Marcotte, Gribonval, Peyré 2023, "
    "arXiv:2307.00144",
    proof="derivations/closure_criterion.py",
)

THEOREMS = (closure_criterion,)
