"""Weight normalization moves w along itself and across itself, at different speeds.

Let w = g v/|v| and let g and v follow the negative gradient of L(w), at rates eta_g and eta_v.  The
norm of v is conserved, since w does not depend on it and the gradient is therefore orthogonal to v;
and with G = grad L(w) and the projection Pr_w on w,

    w' = -eta_g Pr_w G - eta_v (|w|^2/|v|^2) (G - Pr_w G).

While |w| is small against |v| the direction hardly moves; from |w| = |v| on it moves faster than
the length, at equal rates.
"""

from __future__ import annotations

from sympy import MatAdd, MatMul, Transpose, ZeroMatrix

from derivations._weight_norm import NORM_V, SPHERE, G, as_number, change, factors, flow, v
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Velocity, product_rule
from flowsim.symbolic.nodes import FrobeniusNorm, Projection
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.weight_norm import (
    NORM,
    RATE_G,
    RATE_V,
    SCALE,
    VECTOR,
    weight_normalization,
)

THEOREM = weight_normalization
of = MatrixPolynomial.of


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every size of w.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    velocities = flow(page)
    turning = product_rule([of(v).T, of(v)], [velocities[v].T, velocities[v]])
    page.step(
        Velocity(MatMul(Transpose(v), v)),
        ZeroMatrix(1, 1),
        "The norm of v is conserved: v^T v' = 0.",
        derived=rewrite_fully(turning, [SPHERE]),
    )
    velocity = rewrite_fully(as_number(change(velocities.__getitem__)), [SPHERE])
    across = MatAdd(G, MatMul(-(NORM_V**-2), v, Transpose(v), G))
    page.step(
        Velocity(VECTOR),
        MatAdd(
            MatMul(-RATE_G / NORM_V**2, v, Transpose(v), G),
            MatMul(-RATE_V * SCALE**2 / NORM_V**2, across),
        ),
        "Product rule.",
        derived=velocity,
    )

    product = MatrixPolynomial.identity(factors()[0].shape[0])
    for factor in factors():
        product = product @ factor
    w = as_number(product)
    page.step(
        MatMul(Transpose(VECTOR), VECTOR),
        MatMul(SCALE**2, MatrixPolynomial.identity(1).expr()),
        "|w|^2 = g^2.",
        derived=rewrite_fully(w.T @ w, [SPHERE]),
    )
    page.step(
        MatMul(VECTOR, Transpose(VECTOR)),
        MatMul(SCALE**2 / NORM_V**2, v, Transpose(v)),
        "w has the direction of v.",
        derived=w @ w.T,
    )
    n = FrobeniusNorm(VECTOR)
    turned = Rule.of(MatMul(v, Transpose(v)), MatMul(NORM_V**2 / n**2, VECTOR, Transpose(VECTOR)))
    project = Rule.of(MatMul(VECTOR, Transpose(VECTOR), G), MatMul(n**2, Projection(VECTOR, G)))
    closed = rewrite_fully(velocity, [turned, project]).subs(SCALE**2, n**2).subs(NORM_V, NORM)
    certify(theorem.statement(2), closed, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
