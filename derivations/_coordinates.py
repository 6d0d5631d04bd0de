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


def solved_by_a_power(
    page: Derivation,
    x: Symbol,
    rate: Expr,
    *,
    base: Symbol,
    value: Expr,
    N: Expr,
    time: Symbol,
    start: Expr,
    starts: str,
) -> None:
    """Enter that x = base^(-1/(N-2)), the base being linear in a time, moves and starts as x does.

    Parameters
    ----------
    page
        The page.
    x, rate
        The coordinate, and its derivative with respect to the time.
    base, value
        A letter for the base, and what it is.
    N, time
        The depth, and the time.
    start, starts
        The value at time 0, and a sentence that says so.
    """
    solution = base ** (-1 / (N - 2))
    page.step(
        Symbol(f"d{x}/d{time}"),
        rate.subs(x, solution),
        f"{x} = {base}^(-1/(N-2)) with {base} = {value} solves the equation,",
        derived=diff(solution, base) * diff(value, time),
    )
    page.step(Symbol(f"{x}(0)"), start, starts, derived=solution.subs(base, value.subs(time, 0)))


def tidy(expression: Expr) -> Expr:
    """Bring what stands under a root over one denominator: the root of a quotient splits."""

    def is_root(part: Expr) -> bool:
        return part.is_Pow and part.exp.is_Rational and not part.exp.is_Integer and part.base.is_Add

    return expression.replace(is_root, lambda part: Pow(together(part.base), part.exp))
