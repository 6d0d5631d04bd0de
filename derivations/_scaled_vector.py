"""What the pages on w = w_1 w_2 share: its factors as words, and their flow."""

from __future__ import annotations

from collections.abc import Callable

from sympy import MatMul, MatrixExpr, MatrixSymbol, Transpose

from flowsim.symbolic.certify import Derivation
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    read_gradient,
)
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.scaled_vector import GRADIENT, SCALE, SIZE

#: The factors, a column and a 1 x 1 matrix; the gradient, a column.
FIRST, SECOND = MatrixSymbol("w_1", SIZE, 1), MatrixSymbol("w_2", 1, 1)
G = GRADIENT

of = MatrixPolynomial.of
Flow = Callable[[MatrixExpr], MatrixPolynomial | None]


def end_to_end() -> MatrixPolynomial:
    """The parametrization, w = w_1 w_2."""
    return of(FIRST) @ of(SECOND)


def gather(polynomial: MatrixPolynomial) -> MatrixPolynomial:
    """Use that a 1 x 1 matrix is its own transpose: <g, w_1> = <w_1, g>, w_2^T = w_2."""
    flip = (
        Rule.of(MatMul(Transpose(G), FIRST), MatMul(Transpose(FIRST), G)),
        Rule.of(Transpose(SECOND), SECOND),
    )
    return rewrite_fully(polynomial, flip)


def as_number(polynomial: MatrixPolynomial) -> MatrixPolynomial:
    """Write the 1 x 1 matrix w_2 as a number, which commutes with everything."""
    one = MatrixPolynomial.identity(1)
    return gather(polynomial.substitute(lambda x: one * SCALE if x == SECOND else None))


def descent_direction(page: Derivation) -> Flow:
    """Enter the gradients and the flow of the factors; return their velocities, as words."""
    of_letter = {FIRST: of(Differential(FIRST)), SECOND: of(Differential(SECOND))}
    change = differential(end_to_end(), of_letter.get)
    gradients = {x: gather(read_gradient(change, x, G)) for x in (FIRST, SECOND)}
    page.step(
        LossGradient(FIRST), MatMul(G, SECOND), "Chain rule, dL = <g, dw> with dw = dw_1 w_2.",
        derived=gradients[FIRST],
    )  # fmt: skip
    page.step(
        LossGradient(SECOND), MatMul(Transpose(FIRST), G), "Chain rule, dw = w_1 dw_2.",
        derived=gradients[SECOND],
    )  # fmt: skip
    velocities = {x: -gradient for x, gradient in gradients.items()}
    for x, stated in ((FIRST, MatMul(-1, G, SECOND)), (SECOND, MatMul(-1, Transpose(FIRST), G))):
        page.step(Velocity(x), stated, "Gradient flow.", derived=velocities[x])
    return velocities.get


def rates(flow: Flow, polynomial: MatrixPolynomial) -> MatrixPolynomial:
    """Differentiate along the flow, w_2 written as a number in the result."""
    return as_number(differential(polynomial, flow))
