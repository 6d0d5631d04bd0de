r"""The balanced law with one output, where the end-to-end parameter is a row w.

Then :math:`W W^\top = \|w\|^2` is a number, and :math:`W^\top W = \|w\|^2 P` with the projection
:math:`P = w^\top w / \|w\|^2` on the row.  All powers are known, the sum over layers has one term
that differs from the others, and what remains is

.. math:: \dot w = -\|w\|^{2-\frac2N} \bigl(g + (N-1)\, \mathrm{Pr}_w\, g\bigr) - \lambda N w .
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from sympy import (
    Expr,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Symbol,
    Transpose,
)

from flowsim.symbolic import scalars
from flowsim.symbolic.certify import CertificationError, certify
from flowsim.symbolic.nodes import FrobeniusNorm, Projection, PSDPower
from flowsim.symbolic.rewriting import Rule, rewrite, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["prove_row_powers", "row_form", "row_norm_rule", "single_output_flow"]


def row_norm_rule(W: MatrixSymbol) -> Rule:
    r"""Return :math:`W W^\top \to \|W\|^2`, the definition of the norm of a row."""
    return Rule.of(MatMul(W, Transpose(W)), MatMul(FrobeniusNorm(W) ** 2, Identity(W.rows)))


def prove_row_powers(W: MatrixSymbol, N: Expr) -> None:
    r"""Prove :math:`(W^\top W)^{(j-1)/N} = \|w\|^{2(j-1)/N - 2}\, W^\top W` for j > 1.

    :math:`P = W^\top W / \|w\|^2` is symmetric and :math:`P^2 = P`, hence :math:`P^i = P` for all
    i >= 1.  So :math:`\|w\|^{2(j-1)/N} P` is positive semidefinite and its N-th power is
    :math:`\|w\|^{2(j-1)} P = (W^\top W)^{j-1}`: it is the N-th root of that.

    Raises
    ------
    CertificationError
        If P is not idempotent, or the exponents do not agree.
    """
    norm = FrobeniusNorm(W)
    P = MatrixPolynomial.of(MatMul(Transpose(W), W)) * norm**-2
    certify(P, rewrite(P @ P, row_norm_rule(W)), name="projection on a row")
    j = Symbol("j", integer=True, positive=True)
    found, wanted = (norm ** (2 * (j - 1) / N)) ** N, norm ** (2 * (j - 1))
    if not scalars.is_zero(found - wanted):
        raise CertificationError("powers of a row", wanted, found, found - wanted)


def row_form(
    balanced: MatrixPolynomial, W: MatrixSymbol, G: MatrixSymbol, N: Expr
) -> MatrixPolynomial:
    """Specialise the balanced law to one output.

    Parameters
    ----------
    balanced : MatrixPolynomial
        The balanced law, in powers of ``W*W.T`` and ``W.T*W``.
    W, G : sympy.MatrixSymbol
        The end-to-end parameter and the gradient there.
    N : sympy.Expr
        The depth.

    Returns
    -------
    MatrixPolynomial
        In the words G, W and ``Projection(W, G)``.
    """
    prove_row_powers(W, N)
    norm = FrobeniusNorm(W)
    left, right = MatMul(W, Transpose(W)), MatMul(Transpose(W), W)

    def image(node: MatrixExpr) -> MatrixPolynomial | None:
        if isinstance(node, PSDPower) and node.base == left:
            return MatrixPolynomial.identity(W.rows) * norm ** (2 * node.exponent)
        if isinstance(node, PSDPower) and node.base == right:
            return MatrixPolynomial.of(right) * norm ** (2 * node.exponent - 2)
        return None

    # The first layer has the exponent 0, and A^0 = I is not of the form above: take it out.
    row = balanced.peeled().substitute(image)
    project = Rule.of(MatMul(G, Transpose(W), W), MatMul(norm**2, Projection(W, G)))
    return rewrite_fully(row, [row_norm_rule(W), project])


def single_output_flow(W: MatrixSymbol, G: MatrixSymbol, N: Expr) -> MatrixExpr:
    r"""Return :math:`-\|w\|^{2-2/N} (g + (N-1) \mathrm{Pr}_w g)`, as it is to be read."""
    if N == 1:
        return MatMul(Integer(-1), G)
    others = Projection(W, G) if N == 2 else MatMul(N - 1, Projection(W, G))
    return MatMul(Integer(-1), FrobeniusNorm(W) ** (2 - 2 / N), MatAdd(G, others))
