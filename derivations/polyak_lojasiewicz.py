"""Gradient flow converges exponentially under the Polyak-Lojasiewicz inequality.

Let theta follow theta' = -grad L(theta), and let ||grad L||^2 >= 2 mu (L - L*) hold along the way,
with mu > 0 and L* the least value of L.  Then

    L(t) - L* <= e^(-2 mu t) (L(0) - L*).

No convexity is used, and no minimiser is named.  The inequality is written as an equality with a
slack, a square; the slack can only help, and Gronwall's argument is one derivative.
"""

from __future__ import annotations

from sympy import (
    Expr,
    Function,
    Identity,
    Integer,
    MatMul,
    MatrixSymbol,
    Symbol,
    Transpose,
    diff,
    exp,
)

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import LossGradient, Velocity
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem
from flowsim.theory.rates import EXCESS, MU, TIME, polyak_lojasiewicz

THEOREM = polyak_lojasiewicz

of = MatrixPolynomial.of
t = TIME
theta = MatrixSymbol("theta", Symbol("n", integer=True, positive=True), 1)
G = LossGradient(theta)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for any number of parameters.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    # dL = <grad L, d theta>; along the flow d theta is -grad L dt.
    square = MatMul(Transpose(G), G)
    falls = (of(Transpose(G)) @ of(Velocity(theta))).substitute(
        lambda node: -of(G) if node == Velocity(theta) else None
    )
    page.step(
        MatMul(Transpose(G), Velocity(theta)),
        MatMul(-1, square),
        "Chain rule: L' = <grad L, theta'> = -||grad L||^2.",
        derived=falls,
    )
    # E = L - L*, and the inequality as an equality: ||grad L||^2 = 2 mu E + rho^2.
    excess, slack = Function("E")(t), Function("rho", real=True)(t) ** 2
    rate = number(rewrite(falls, Rule.of(square, Identity(1)))) * (2 * MU * excess + slack)
    page.step(
        excess.diff(t),
        -2 * MU * excess - slack,
        "The inequality with its slack, a square: E = L - L*, ||grad L||^2 = 2 mu E + rho^2.",
        derived=rate,
    )
    scaled = exp(2 * MU * t) * excess
    page.step(
        diff(scaled, t),
        -((exp(MU * t) * Function("rho", real=True)(t)) ** 2),
        "Product rule: the derivative of e^(2 mu t) E is minus a square, so that it never grows.",
        derived=diff(scaled, t).subs(excess.diff(t), rate),
    )
    page.step(
        scaled.subs(t, 0),
        Function("E")(Integer(0)),
        "Its value at time 0.",
        derived=(exp(2 * MU * t)).subs(t, 0) * Function("E")(Integer(0)),
    )
    # e^(2 mu t) E <= E_0: divide, which a positive number allows.
    bound = EXCESS / exp(2 * MU * t)
    page.step(
        Symbol("bound"),
        exp(-2 * MU * t) * EXCESS,
        "Divided by e^(2 mu t) > 0, where E_0 = L(0) - L*.",
        derived=bound,
    )
    certify(theorem.statement(Integer(1)), bound, name=theorem.name)
    # Without slack the bound is the solution: it cannot be improved.
    page.step(
        diff(bound, t),
        -2 * MU * bound,
        "The bound is attained where the inequality is an equality, as for mu ||theta||^2 / 2.",
        derived=diff(theorem.statement(Integer(1)), t),
    )
    return page


def number(polynomial: MatrixPolynomial) -> Expr:
    """Return the coefficient of the empty word of a 1 by 1 polynomial that has no other."""
    return polynomial.terms[((), None)]


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
