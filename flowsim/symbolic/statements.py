r"""The formulas of a deep linear network, as they are stated.

The derivation in :mod:`flowsim.symbolic.deep_linear` certifies each of them against what it finds;
here they are only written down.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportIndexIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from dataclasses import dataclass

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

from flowsim.symbolic.nodes import Chain, Layer, MatrixSum, PSDPower, end_to_end, gradient
from flowsim.symbolic.words import MatrixPolynomial

__all__ = [
    "Setting",
    "balanced_sum",
    "general_sum",
    "is_decay",
    "partial_gram",
    "product_of",
    "scaled",
    "whole_gram",
    "with_decay",
]


@dataclass(frozen=True)
class Setting:
    """The symbols of one derivation."""

    N: Expr
    decay: Expr
    j: Symbol

    @property
    def W(self) -> MatrixSymbol:
        """The end-to-end matrix."""
        return end_to_end(self.N)

    @property
    def G(self) -> MatrixSymbol:
        """The gradient of the loss at W."""
        return gradient(self.N)

    @property
    def layers(self) -> list[Expr]:
        """The layers to be gone through one by one: all of them, or one that stands for all."""
        return [Integer(i) for i in range(1, int(self.N) + 1)] if self.is_concrete else [self.j]

    @property
    def is_concrete(self) -> bool:
        """Whether the depth is a number."""
        return isinstance(self.N, Integer)

    def velocity(self, i: Expr) -> MatrixPolynomial:
        """How layer i moves."""
        return MatrixPolynomial.of(self.factor_flow(i))

    def factor_gradient(self, i: Expr) -> MatrixExpr:
        """Return the gradient with respect to layer i, without the identities in it."""
        above, below = Chain(self.N, i + 1), Chain(i - 1, 1)
        return product_of(_transposed(above), self.G, _transposed(below))

    def factor_flow(self, i: Expr) -> MatrixExpr:
        r"""Return :math:`\dot W_i = -W_{N:i+1}^\top G W_{i-1:1}^\top - \lambda W_i`."""
        return with_decay(
            scaled(Integer(-1), self.factor_gradient(i)), self.decay, Layer(i), last=True
        )

    def defect(self, i: Expr) -> MatrixExpr:
        r"""Return :math:`W_{i+1}^\top W_{i+1} - W_i W_i^\top`."""
        upper, lower = Layer(i + 1), Layer(i)
        return MatAdd(MatMul(Transpose(upper), upper), MatMul(Integer(-1), lower, Transpose(lower)))


def partial_gram(at: Setting, end: str) -> MatrixExpr:
    r"""Return :math:`W_{N:j+1} W_{N:j+1}^\top`, or :math:`W_{j-1:1}^\top W_{j-1:1}`."""
    chain = Chain(at.N, at.j + 1) if end == "output" else Chain(at.j - 1, 1)
    turned = Transpose(chain)
    return MatMul(chain, turned) if end == "output" else MatMul(turned, chain)


def whole_gram(at: Setting, end: str) -> MatrixExpr:
    r"""Return :math:`W W^\top`, or :math:`W^\top W`."""
    turned = Transpose(at.W)
    return MatMul(at.W, turned) if end == "output" else MatMul(turned, at.W)


def general_sum(at: Setting) -> MatrixExpr:
    """Return the law from any start, as a sum over the layers."""
    left, right = partial_gram(at, "output"), partial_gram(at, "input")
    return _summed(at, MatMul(*left.args, at.G, *right.args))


def balanced_sum(at: Setting) -> MatrixExpr:
    """Return the law from a balanced start, as a sum over the layers."""
    left = PSDPower(whole_gram(at, "output"), (at.N - at.j) / at.N)
    right = PSDPower(whole_gram(at, "input"), (at.j - 1) / at.N)
    return _summed(at, MatMul(left, at.G, right))


def _summed(at: Setting, term: MatrixExpr) -> MatrixExpr:
    flow = scaled(Integer(-1), MatrixSum(term, at.j, 1, at.N))
    # The decay comes first: what follows a sum could be read as part of it.
    return with_decay(flow, at.N * at.decay, at.W, last=False)


def with_decay(flow: MatrixExpr, rate: Expr, X: MatrixExpr, *, last: bool) -> MatrixExpr:
    """Add the decay of X to a flow, after it or before it; nothing where the rate is 0."""
    if rate == 0:
        return flow
    decay = MatMul(-rate, X)
    return MatAdd(flow, decay) if last else MatAdd(decay, flow)


def is_decay(term: MatrixExpr, W: MatrixSymbol) -> bool:
    """Whether a term is a number times W."""
    return isinstance(term, MatMul) and term.as_coeff_matrices()[1] == [W]


def scaled(scalar: Expr, matrix: MatrixExpr) -> MatrixExpr:
    """Multiply a matrix by a scalar, in one product."""
    number, factors = matrix.as_coeff_matrices() if isinstance(matrix, MatMul) else (1, [matrix])
    return MatMul(scalar * number, *factors)


def _transposed(matrix: MatrixExpr) -> MatrixExpr:
    return matrix if isinstance(matrix, Identity) else Transpose(matrix)


def product_of(*factors: MatrixExpr) -> MatrixExpr:
    """Multiply, without the identities that empty products are."""
    kept = [f for f in factors if not isinstance(f, Identity)]
    return MatMul(*kept) if len(kept) > 1 else (kept or factors)[0]
