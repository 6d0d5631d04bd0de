"""Gradient descent with weight normalization enlarges the norm of v, exactly and always.

The gradient of L(g v/|v|) with respect to v is orthogonal to v, because w does not depend on the
length of v.  A step v^+ = v - eta D is therefore the long side of a right-angled triangle,

    |v^+|^2 = |v|^2 + eta^2 |D|^2,

and the effective rate of the direction, eta/|v|^2, falls from step to step.  Under gradient flow
the norm stays: the second term is of second order in eta.
"""

from __future__ import annotations

from sympy import Identity, MatMul, Symbol, ZeroMatrix

from derivations._weight_norm import NORM_V, RATE_V, SPHERE, flow, v
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.rewriting import rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.weight_norm import NORM, STEEPNESS, STEP, weight_normalization_descent

THEOREM = weight_normalization_descent
of = MatrixPolynomial.of


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every size of v.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, one = Derivation(), Identity(1)
    slope = flow(page)[v] * (-1 / RATE_V)
    inner = rewrite_fully(of(v).T @ slope, [SPHERE])
    page.step(
        Symbol("<v, D>"), ZeroMatrix(1, 1), "The gradient D is orthogonal to v.", derived=inner
    )
    # |v - eta D|^2, D by its norm where it meets itself.
    stepped = of(v) - slope * STEP
    own = rewrite_fully(slope.T @ slope, [SPHERE])
    square = rewrite_fully(stepped.T @ stepped, [SPHERE])
    page.step(
        Symbol("|v^+|^2 - eta^2 |D|^2"),
        MatMul(NORM_V**2, one),
        "Pythagoras.",
        derived=square - own * STEP**2,
    )
    total = (square - own * STEP**2) + MatrixPolynomial.identity(1) * (STEP * STEEPNESS) ** 2
    stated = MatMul(theorem.statement(2), one)
    certify(stated, total.subs(NORM_V, NORM), name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
