"""A vector times a scalar: the motion of w = w_1 w_2 in terms of w alone.

Let w_1, a vector, and w_2, a number, follow the negative gradient of L(w_1 w_2), and let g be
grad L(w).  The number c = w_2^2 - |w_1|^2 is conserved, and with it

    rho = w_2^2 = (c + sqrt(c^2 + 4 |w|^2))/2,       w' = -rho g - (<w, g>/rho) w,

wherever w_2 is not 0.  Three lines: the product rule gives w' in terms of w_2^2 and of the
direction w_1 w_1^T; the norm |w|^2 = w_2^2 |w_1|^2 = rho (rho - c) is a quadratic equation for rho,
of which rho is the root that is not negative; and w_1 w_1^T = w w^T / rho.

For c = 0, a balanced start, it is w' = -|w| (g + Pr_w g), the balanced law for depth 2 and one
output.
"""

from __future__ import annotations

from sympy import Identity, Integer, MatAdd, MatMul, Symbol, Transpose, ZeroMatrix, sqrt

from derivations._scaled_vector import (
    FIRST,
    SECOND,
    G,
    as_number,
    descent_direction,
    end_to_end,
    gather,
    rates,
)
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Velocity
from flowsim.symbolic.nodes import FrobeniusNorm, Projection
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.scaled_vector import IMBALANCE, SCALE, VECTOR, scaled_vector

THEOREM = scaled_vector
of = MatrixPolynomial.of


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every size of w.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    flow = descent_direction(page)
    first, one = of(FIRST), Identity(1)

    second = of(SECOND)
    page.step(
        Symbol("dc/dt"),
        ZeroMatrix(1, 1),
        "c = w_2^2 - |w_1|^2 is conserved: both squares change by -2 w_2 <w_1, g>.",
        derived=rates(flow, second.T @ second - first.T @ first),
    )

    velocity = rates(flow, end_to_end())
    page.step(
        Velocity(VECTOR),
        MatAdd(MatMul(-(SCALE**2), G), MatMul(-1, FIRST, Transpose(FIRST), G)),
        "Product rule.",
        derived=velocity,
    )

    rho = Symbol("rho", positive=True)
    square = as_number(end_to_end().T @ end_to_end())
    sphere = Rule.of(MatMul(Transpose(FIRST), FIRST), MatMul(SCALE**2 - IMBALANCE, one))
    norm2 = rewrite(square, sphere).subs(SCALE, sqrt(rho))
    page.step(
        MatMul(Transpose(VECTOR), VECTOR),
        MatMul(rho * (rho - IMBALANCE), one),
        "|w|^2 = w_2^2 |w_1|^2 with |w_1|^2 = w_2^2 - c and rho = w_2^2.",
        derived=norm2,
    )
    n = FrobeniusNorm(VECTOR)
    root, other = ((IMBALANCE + sign * sqrt(IMBALANCE**2 + 4 * n**2)) / 2 for sign in (1, -1))
    for x, name in ((root, "rho"), (other, "the other root")):
        page.step(
            Symbol(f"rho (rho - c) at {name}"), n**2, "A root of the quadratic equation.",
            derived=x * (x - IMBALANCE),
        )  # fmt: skip
    page.step(
        Symbol("product of the roots"),
        -(n**2),
        "One root is not negative and one not positive; w_2^2 is the former.",
        derived=root * other,
    )

    page.step(
        MatMul(VECTOR, Transpose(VECTOR)),
        MatMul(SCALE**2, FIRST, Transpose(FIRST)),
        "The direction of w is that of w_1; divide by w_2^2.",
        derived=as_number(end_to_end() @ end_to_end().T),
    )
    turned = Rule.of(MatMul(FIRST, Transpose(FIRST)), MatMul(SCALE**-2, VECTOR, Transpose(VECTOR)))
    closed = rewrite(gather(velocity), turned).subs(SCALE, sqrt(root))
    certify(theorem.statement(2), closed, name=theorem.name)

    # c = 0.
    project = Rule.of(MatMul(VECTOR, Transpose(VECTOR), G), MatMul(n**2, Projection(VECTOR, G)))
    page.step(
        Velocity(VECTOR),
        MatMul(-n, MatAdd(G, Projection(VECTOR, G))),
        "A balanced start, c = 0: rho = |w|.",
        derived=rewrite(of(theorem.statement(2, c=Integer(0))), project),
    )
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
