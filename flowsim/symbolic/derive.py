"""``derive``: from a parametrization to the law that gradient flow makes it follow."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportReturnType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Integral, Rational, Real
from typing import Protocol

from sympy import Expr, Float, Integer, MatrixExpr, Symbol
from sympy import Rational as Fraction

from flowsim._errors import InputError
from flowsim.symbolic.deep_linear import deep_linear_law, with_decimal_decay
from flowsim.symbolic.law import EndToEnd
from flowsim.symbolic.nodes import Chain, Layer
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["derive"]


class ProductNetwork(Protocol):
    """What ``derive`` needs of a deep linear network."""

    @property
    def depth(self) -> int | str:
        """The number of factors, or the name of a symbol for it."""

    @property
    def widths(self) -> tuple[int, ...] | None:
        """Sizes of the layers, input first, or None."""

    def __call__(self, factors: Sequence[MatrixExpr]) -> MatrixExpr:
        """Multiply the factors, the first of them next to the input."""


def derive(net: ProductNetwork, /, *, weight_decay: Expr | float = 0) -> EndToEnd:
    r"""Derive the law of motion of a deep linear network under gradient flow.

    Minimising :math:`L(W_N \cdots W_1) + \frac\lambda2 \sum_j \|W_j\|_F^2` by gradient flow on the
    factors moves the product :math:`W = W_N \cdots W_1`; from a balanced start,

    .. math::

        \dot W = -\lambda N W
            - \sum_{j=1}^N (W W^\top)^{\frac{N-j}N}\, \nabla L(W)\, (W^\top W)^{\frac{j-1}N} .

    The law is derived from the chain rule, over whole matrices of symbolic size, and every step of
    the derivation is checked as it is made.

    Parameters
    ----------
    net : DeepLinear
        With ``depth`` (an integer, or a string that names a symbolic depth), ``widths`` (input
        first, or None) and, for a depth that is a number, ``net(factors)``, the product.
    weight_decay : sympy.Symbol, int or float
        :math:`\lambda \ge 0`; zero by default.

    Returns
    -------
    EndToEnd
        With ``rhs``, ``hypotheses``, ``conserved``, ``steps``, ``latex()``.

    Raises
    ------
    flowsim._errors.InputError
        If ``net`` is no deep linear network, or the weight decay is negative or not a number.
    flowsim.symbolic.certify.CertificationError
        If ``net(factors)`` is not the product of the factors.

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, ICML 2018, arXiv:1802.06509, Theorem 1.

    Examples
    --------
    >>> from flowsim.problems import DeepLinear
    >>> print(derive(DeepLinear.of_depth(2)).text())
    dW/dt = -(W*W^T)^(1/2)*G - G*(W^T*W)^(1/2)
    >>> print(derive(DeepLinear((128, 1, 1))).text())
    dW/dt = -||W||*(G + Pr_W(G))
    """
    if not (hasattr(net, "depth") and hasattr(net, "widths") and callable(net)):
        raise InputError(
            f"net: no law is known for a {type(net).__name__}; give a deep linear network, such as "
            "DeepLinear((128, 1, 1)) or DeepLinear.of_depth('N'). For other losses, integrate the "
            "gradient flow of a Problem, which needs no law."
        )
    depth = _depth(net.depth)
    number = _decay(weight_decay)
    product = _product(net, depth)
    outputs = None if net.widths is None else int(net.widths[-1])
    if isinstance(number, Float):
        return with_decimal_decay(
            lambda decay: deep_linear_law(net, depth, decay, product, outputs), number
        )
    return deep_linear_law(net, depth, number, product, outputs)


def _depth(depth: object) -> Expr:
    if isinstance(depth, str):
        return Symbol(depth, integer=True, positive=True)
    if isinstance(depth, Integral) and not isinstance(depth, bool) and int(depth) >= 1:
        return Integer(int(depth))
    raise InputError(
        f"net.depth: expected an integer >= 1, or a name such as 'N' for a symbolic depth; "
        f"got {depth!r}"
    )


def _decay(value: object) -> Expr:
    if isinstance(value, Expr) and not value.is_negative and value.is_commutative:
        return value
    if isinstance(value, Real) and not isinstance(value, bool | Expr) and float(value) >= 0:
        if isinstance(value, Rational):
            return Fraction(int(value.numerator), int(value.denominator))
        if value == 0:
            return Integer(0)
        if math.isfinite(value):
            return Float(float(value))
    raise InputError(
        f"weight_decay: expected a finite number >= 0, or a SymPy symbol; got {value!r}"
    )


def _product(net: ProductNetwork, depth: Expr) -> MatrixExpr:
    if not isinstance(depth, Integer):
        # The product of an unknown number of factors cannot be computed, only named.
        return Chain(depth, 1)
    factors = tuple(Layer(j) for j in range(1, int(depth) + 1))
    product = net(factors)
    if not isinstance(product, MatrixExpr):
        raise InputError(
            f"net: on symbolic factors net(factors) must give their symbolic product, written "
            f"with @; got a {type(product).__name__}"
        )
    try:
        MatrixPolynomial.of(product)
    except (TypeError, ValueError) as error:
        raise InputError(f"net: net(factors) is no product of its factors: {error}") from error
    return product
