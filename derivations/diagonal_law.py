"""A diagonal network preconditions the gradient, coordinate by coordinate.

Let beta = u^N - v^N, powers entry by entry, and let u and v follow the negative gradient of
L(beta).  With g = grad L(beta),

    beta' = -N^2 (u^(2N-2) + v^(2N-2)) g.

The chain rule is used twice: once to move the factors, once to see what that does to beta.  Each
use brings a factor N u^(N-1); hence the squares.  (N *separate* factors of equal size, u_1 ... u_N,
would bring N in place of N^2: each of them feels a gradient N times smaller than their common
value does.)
"""

from __future__ import annotations

from sympy import Symbol, diff

from derivations._coordinates import along, diagonal_flow, dot, network
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import SLOPE, U, V, diagonal_law
from flowsim.theory.records import Theorem

THEOREM = diagonal_law


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, N = Derivation(), Symbol("N", integer=True, positive=True)
    beta = network(U, V, N)
    page.step(
        Symbol("dbeta/du"),
        N * U ** (N - 1),
        "One coordinate of beta = u^N - v^N.",
        derived=diff(beta, U),
    )
    page.step(Symbol("dbeta/dv"), -N * V ** (N - 1), "The same.", derived=diff(beta, V))
    flow = diagonal_flow(page, N)
    rate = along(beta, flow)
    page.step(
        dot("beta"),
        -(N**2) * (U ** (2 * N - 2) + V ** (2 * N - 2)) * SLOPE,
        "Chain rule along the flow.",
        derived=rate,
    )
    certify(theorem.statement(N), rate, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
