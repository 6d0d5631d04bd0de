r"""Products of consecutive layers: their differential, at any length, proved by induction.

For :math:`W_{b:a} = W_b W_{b-1} \cdots W_a` the product rule gives

.. math:: dW_{b:a} = \sum_{i=a}^{b} W_{b:i+1}\, dW_i\, W_{i-1:a},

whatever the :math:`dW_i`: differentials, or velocities along a flow.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Dummy, Expr, MatrixExpr, Symbol

from flowsim.symbolic.certify import certify
from flowsim.symbolic.differential import Differential, product_rule
from flowsim.symbolic.nodes import Chain, Layer
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["chain_differential", "prove_chain_differential", "variation"]

LayerChange = Callable[[Expr], MatrixPolynomial]


def chain_differential(b: Expr | int, a: Expr | int, change: LayerChange) -> MatrixPolynomial:
    """Return the differential of ``Chain(b, a)``.

    Parameters
    ----------
    b, a : int or sympy.Expr
        Leftmost and rightmost index.
    change : callable
        Gives :math:`dW_i`, a polynomial of the shape of ``Layer(i)``, for an index i.
    """
    i = Dummy("i", integer=True)
    of = MatrixPolynomial.of
    term = of(Chain(b, i + 1)) @ change(i) @ of(Chain(i - 1, a))
    return term.summed(i, a, b)


def variation(change: LayerChange) -> Callable[[MatrixExpr], MatrixPolynomial | None]:
    """Return the differential of letters for :func:`flowsim.symbolic.differential.differential`.

    Layers change as told, chains by :func:`chain_differential`, and all else is constant.
    """

    def of_letter(node: MatrixExpr) -> MatrixPolynomial | None:
        if isinstance(node, Layer):
            return change(node.index)
        if isinstance(node, Chain):
            return chain_differential(node.first, node.last, change)
        return None

    return of_letter


def layer_differential(i: Expr) -> MatrixPolynomial:
    """Return :math:`dW_i`, for arbitrary changes of the layers."""
    return MatrixPolynomial.of(Differential(Layer(i)))


def prove_chain_differential() -> None:
    """Prove the formula for every length, by induction on the number of factors.

    A chain of one factor changes by :math:`dW_a`.  If the formula holds for :math:`W_{b:a}`, the
    product rule for the two factors of :math:`W_{b+1:a} = W_{b+1} W_{b:a}` gives the formula with
    b + 1 in place of b.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If the base or the step does not come out.
    """
    of, d = MatrixPolynomial.of, layer_differential
    a = Symbol("a", integer=True, positive=True)
    b = a + Symbol("m", integer=True, nonnegative=True)

    certify(chain_differential(a, a, d), d(a), name="differential of a chain, one factor")

    step = product_rule(
        [of(Layer(b + 1)), of(Chain(b, a))], [d(b + 1), chain_differential(b, a, d)]
    )
    # In the step the change of the new factor stands alone: take it out of the sum claimed too.
    claimed = chain_differential(b + 1, a, d).peeled(last=True)
    certify(claimed, step, name="differential of a chain, one factor more")
