"""What the pages on single coordinates share: rates along a flow, and the diagonal flow."""

from __future__ import annotations

from collections.abc import Mapping

from sympy import Add, Expr, Pow, Symbol, diff, together

from flowsim.symbolic.certify import Derivation
from flowsim.theory.diagonal import SLOPE, U, V


def dot(name: str) -> Symbol:
    """Name a time derivative."""
    return Symbol(f"d{name}/dt")


def along(quantity: Expr, velocities: Mapping[Symbol, Expr]) -> Expr:
    """Differentiate a quantity along a flow, by the chain rule."""
    return Add(*(diff(quantity, x) * velocity for x, velocity in velocities.items()))


def network(u: Expr, v: Expr, N: Expr | int) -> Expr:
    """One coordinate of the diagonal network."""
    return u**N - v**N


def diagonal_flow(page: Derivation, N: Expr | int) -> dict[Symbol, Expr]:
    """Enter the flow of one coordinate; g is the coordinate's entry of grad L(beta)."""
    beta = network(U, V, N)
    slopes = {x: SLOPE * diff(beta, x) for x in (U, V)}
    page.step(
        Symbol("dL/du"),
        N * U ** (N - 1) * SLOPE,
        "Chain rule: only this coordinate of beta depends on this coordinate of u.",
        derived=slopes[U],
    )
    page.step(Symbol("dL/dv"), -N * V ** (N - 1) * SLOPE, "Chain rule, for v.", derived=slopes[V])
    flow = {x: -slope for x, slope in slopes.items()}
    page.step(dot("u"), -N * U ** (N - 1) * SLOPE, "Gradient flow.", derived=flow[U])
    page.step(dot("v"), N * V ** (N - 1) * SLOPE, "Gradient flow.", derived=flow[V])
    return flow


def tidy(expression: Expr) -> Expr:
    """Bring what stands under a root over one denominator: the root of a quotient splits."""

    def is_root(part: Expr) -> bool:
        return part.is_Pow and part.exp.is_Rational and not part.exp.is_Integer and part.base.is_Add

    return expression.replace(is_root, lambda part: Pow(together(part.base), part.exp))
