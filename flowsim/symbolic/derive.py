"""``derive``: from a parametrization to the law that gradient flow makes it follow."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportReturnType=false
from __future__ import annotations

import math
from collections.abc import Mapping
from numbers import Integral, Rational, Real
from typing import Any, overload

from sympy import Expr, Float, Integer, MatrixExpr, Symbol
from sympy import Rational as Fraction

from flowsim._errors import InputError
from flowsim.problems import DeepLinear, Identity, Parametrization
from flowsim.symbolic.deep_linear import deep_linear_law, with_decimal_decay
from flowsim.symbolic.law import EndToEnd
from flowsim.symbolic.nodes import Chain, Layer
from flowsim.symbolic.pushforward import PushforwardLaw, pushforward_law
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["derive"]


@overload
def derive(
    parametrization: DeepLinear | Identity,
    /,
    *,
    weight_decay: Expr | float = 0,
    rates: Mapping[str, Expr | float] | None = None,
) -> EndToEnd: ...
@overload
def derive(
    parametrization: Parametrization,
    /,
    *,
    weight_decay: Expr | float = 0,
    rates: Mapping[str, Expr | float] | None = None,
) -> EndToEnd | PushforwardLaw: ...
def derive(
    parametrization: Any,
    /,
    *,
    weight_decay: Expr | float = 0,
    rates: Mapping[str, Expr | float] | None = None,
) -> EndToEnd | PushforwardLaw:
    r"""Derive the law that w = φ(θ) follows when θ follows the negative gradient of a loss of w.

    For any parametrization the law is :math:`\dot w = -J K J^\top \nabla L(w)` with
    :math:`J = \partial\phi/\partial\theta` and the rates K of the factors, written in whole arrays:
    a :class:`PushforwardLaw`. For a deep linear network more is known. Minimising
    :math:`L(W_N \cdots W_1) + \frac\lambda2 \sum_j \|W_j\|_F^2` by gradient flow on the factors
    moves the product :math:`W = W_N \cdots W_1`; from a balanced start,

    .. math::

        \dot W = -\lambda N W
            - \sum_{j=1}^N (W W^\top)^{\frac{N-j}N}\, \nabla L(W)\, (W^\top W)^{\frac{j-1}N} .

    The law is derived from the chain rule, over whole matrices of symbolic size, and every step of
    the derivation is checked as it is made.

    Parameters
    ----------
    parametrization : Parametrization
        ``DeepLinear(widths)``, ``DeepLinear.of_depth("N")`` for a depth that is a symbol, another
        family, or one of your own.
    weight_decay : sympy.Symbol, int or float
        :math:`\lambda \ge 0`; zero by default.
    rates : mapping, optional
        Rates by the names of factors, numbers or SymPy symbols; 1 where none is given.

    Returns
    -------
    EndToEnd or PushforwardLaw
        With ``rhs``, ``hypotheses``, ``conserved``, ``steps``, ``latex()``; the first for a deep
        linear network without rates, the second for everything else.

    Raises
    ------
    flowsim._errors.InputError
        If ``parametrization`` is none, its map cannot be written with symbols, or the weight decay
        or a rate is negative or not a number.
    flowsim.symbolic.certify.CertificationError
        If a line of the derivation does not hold.

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
    >>> from flowsim.problems import Parametrization
    >>> print(derive(Parametrization.from_text("U @ U.T", {"U": (3, 2)})).text("factor_flow"))
    dU/dt = -G @ U - G.T @ U
    """
    number = _decay(weight_decay)
    general = not isinstance(parametrization, DeepLinear | Identity)
    if isinstance(parametrization, Parametrization) and (general or rates):
        speed = _rates(parametrization, rates)
        return pushforward_law(parametrization, weight_decay=number, rates=speed)
    if not (hasattr(parametrization, "depth") and hasattr(parametrization, "widths")):
        raise InputError(
            f"net: no law is known for a {type(parametrization).__name__}; give a parametrization, "
            "such as DeepLinear((128, 1, 1)), DeepLinear.of_depth('N') or "
            "Parametrization.from_function(f, shapes). The gradient flow of a Problem is "
            "integrated without a law."
        )
    net = parametrization
    depth = _depth(net.depth)
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


def _decay(value: object, name: str = "weight_decay") -> Expr:
    if isinstance(value, Expr) and not value.is_negative and value.is_commutative:
        return value
    if isinstance(value, Real) and not isinstance(value, bool | Expr) and float(value) >= 0:
        if isinstance(value, Rational):
            return Fraction(int(value.numerator), int(value.denominator))
        if value == 0:
            return Integer(0)
        if math.isfinite(value):
            return Float(float(value))
    raise InputError(f"{name}: expected a finite number >= 0, or a SymPy symbol; got {value!r}")


def _rates(
    parametrization: Parametrization, rates: Mapping[str, Expr | float] | None
) -> dict[str, Expr]:
    checked = {}
    for name, rate in (rates or {}).items():
        if name not in parametrization.names:
            known = ", ".join(parametrization.names)
            raise InputError(f"rates names {name!r}; the factors are {known}.")
        checked[name] = _decay(rate, f"rates[{name!r}]")
        if checked[name].is_zero:
            raise InputError(f"rates[{name!r}] is 0; rates are positive.")
    return checked


def _product(net: DeepLinear | Identity, depth: Expr) -> MatrixExpr:
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
