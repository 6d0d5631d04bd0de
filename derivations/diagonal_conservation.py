"""What a diagonal network conserves: u v for depth 2, u^(2-N) + v^(2-N) for any other depth.

Let beta = u^N - v^N follow gradient flow.  Both factors feel the same number g, with opposite
signs: u' = -N u^(N-1) g and v' = N v^(N-1) g.  Dividing by the power of the factor leaves the bare
number, u^(1-N) u' = -N g, and on the left stands the derivative of u^(2-N)/(2-N), or of log u for
N = 2.  In the sum of the two g is gone.

For N >= 3 the conserved quantity is a rational function and no polynomial: searches among
polynomials do not find it.
"""

from __future__ import annotations

from sympy import Integer, Symbol, log

from derivations._coordinates import along, diagonal_flow, dot
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import SLOPE, U, V, diagonal_conservation
from flowsim.theory.records import Theorem

THEOREM = diagonal_conservation


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, N = Derivation(), Symbol("N", integer=True, positive=True)
    flow = diagonal_flow(page, N)
    page.step(
        dot("(u^(2-N))"),
        N * (N - 2) * SLOPE,
        "Chain rule: the powers of u cancel.",
        derived=along(U ** (2 - N), flow),
    )
    page.step(
        dot("(v^(2-N))"),
        -N * (N - 2) * SLOPE,
        "The same for v, with the other sign.",
        derived=along(V ** (2 - N), flow),
    )
    quantity = U ** (2 - N) + V ** (2 - N)
    page.step(
        dot("(u^(2-N) + v^(2-N))"), Integer(0), "The sum of the two.", derived=along(quantity, flow)
    )
    certify(theorem.statement(N), quantity, name=theorem.name)

    # N = 2: the powers are constant, and logarithms take their place.
    flow = {x: velocity.subs(N, 2) for x, velocity in flow.items()}
    page.step(dot("(log u)"), -2 * SLOPE, "Depth 2.", derived=along(log(U), flow))
    page.step(dot("(log v)"), 2 * SLOPE, "Depth 2.", derived=along(log(V), flow))
    page.step(
        dot("(u v)"),
        Integer(0),
        "log u + log v is conserved, and so is its exponential.",
        derived=along(U * V, flow),
    )
    certify(theorem.statement(2), U * V, name=f"{theorem.name}, depth 2")
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
