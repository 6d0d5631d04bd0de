"""What the pages on w = g v/|v| share: its factors as words, and their flow."""

from __future__ import annotations

from collections.abc import Callable

from sympy import Identity, MatAdd, MatMul, MatrixExpr, MatrixSymbol, Transpose

from flowsim.symbolic.certify import Derivation
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    product_rule,
    read_gradient,
)
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.weight_norm import GRADIENT, RATE_G, RATE_V, SCALE, SIZE

#: The factors, a 1 x 1 matrix and a column; the gradient, a column; the norm of v.
g, v = MatrixSymbol("g", 1, 1), MatrixSymbol("v", SIZE, 1)
G, NORM_V = GRADIENT, FrobeniusNorm(v)

of = MatrixPolynomial.of
Change = Callable[[MatrixExpr], MatrixPolynomial]
ONE = MatrixPolynomial.identity(1)

#: |v|^2 = v^T v.
SPHERE = Rule.of(MatMul(Transpose(v), v), MatMul(NORM_V**2, Identity(1)))


def factors() -> list[MatrixPolynomial]:
    """The parametrization, w = v |v|^(-1) g, factor by factor."""
    return [of(v), ONE * NORM_V**-1, of(g)]


def change(of_factor: Change) -> MatrixPolynomial:
    """Differentiate w = v |v|^(-1) g by the product rule, d|v|^(-1) = -|v|^(-3) v^T dv."""
    inverse = of(v).T @ of_factor(v) * -(NORM_V**-3)
    return product_rule(factors(), [of_factor(v), inverse, of_factor(g)])


def as_number(polynomial: MatrixPolynomial) -> MatrixPolynomial:
    """Write the 1 x 1 matrix g as a number, which commutes with everything."""
    return polynomial.substitute(lambda x: ONE * SCALE if x == g else None)


def flow(page: Derivation) -> dict[MatrixExpr, MatrixPolynomial]:
    """Enter the differential, the gradients and the flow; return the velocities of g and v."""
    # |v|^2 = v^T v, so 2 |v| d|v| = 2 v^T dv; and d(1/n) = -dn/n^2.
    d_square = product_rule([of(v).T, of(v)], [of(Differential(v)).T, of(Differential(v))])
    own = Rule.of(MatMul(Transpose(Differential(v)), v), MatMul(Transpose(v), Differential(v)))
    d_norm = rewrite_fully(d_square, [own]) * (1 / (2 * NORM_V))
    page.step(
        Differential(MatMul(NORM_V, Identity(1))),
        MatMul(1 / NORM_V, Transpose(v), Differential(v)),
        "|v|^2 = v^T v, differentiated; a 1 x 1 matrix is its own transpose.",
        derived=d_norm,
    )
    page.step(
        Differential(MatMul(1 / NORM_V, Identity(1))),
        MatMul(-(NORM_V**-3), Transpose(v), Differential(v)),
        "The reciprocal of the norm.",
        derived=d_norm * -(NORM_V**-2),
    )
    differential = change(lambda x: of(Differential(x)))
    gradients = {x: as_number(read_gradient(differential, x, G)) for x in (g, v)}
    page.step(
        LossGradient(g),
        MatMul(1 / NORM_V, Transpose(v), G),
        "Chain rule: g feels the gradient along v.",
        derived=gradients[g],
    )
    across = MatAdd(G, MatMul(-(NORM_V**-2), v, Transpose(v), G))
    page.step(
        LossGradient(v),
        MatMul(SCALE / NORM_V, across),
        "Chain rule: v feels the gradient across v.",
        derived=gradients[v],
    )
    velocities = {g: gradients[g] * -RATE_G, v: gradients[v] * -RATE_V}
    page.step(
        Velocity(g),
        MatMul(-RATE_G / NORM_V, Transpose(v), G),
        "Gradient flow at the rate eta_g.",
        derived=velocities[g],
    )
    page.step(
        Velocity(v),
        MatMul(-RATE_V * SCALE / NORM_V, across),
        "Gradient flow at the rate eta_v.",
        derived=velocities[v],
    )
    return velocities
