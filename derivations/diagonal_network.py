"""A diagonal network is an explicit function of the gradient integrated over time.

Let beta = u^N - v^N follow gradient flow, g = grad L(beta), and let Gamma be the integral of g from
0 to t.  Measured in Gamma instead of t, each factor obeys an equation of its own, u' = -N u^(N-1),
whatever the loss.  It is solved by one power, and

    beta = (u_0^(2-N) + N(N-2) Gamma)^(-N/(N-2)) - (v_0^(2-N) - N(N-2) Gamma)^(-N/(N-2)),

for N = 2 by exponentials: beta = u_0^2 exp(-4 Gamma) - v_0^2 exp(4 Gamma).

The claim is checked against the equation and against the start; the equation is locally Lipschitz
where u > 0, so that it has no other solution.
"""

from __future__ import annotations

from sympy import Symbol, diff, exp

from derivations._coordinates import diagonal_flow, network, solved_by_a_power
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import INTEGRATED, SLOPE, U0, V0, U, V, diagonal_network
from flowsim.theory.records import Theorem

THEOREM = diagonal_network


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, N = Derivation(), Symbol("N", integer=True, positive=True)
    flow = diagonal_flow(page, N)
    # dGamma = g dt.
    field = {x: velocity / SLOPE for x, velocity in flow.items()}
    page.step(Symbol("du/dGamma"), -N * U ** (N - 1), "Divided by dGamma/dt = g.", derived=field[U])
    page.step(Symbol("dv/dGamma"), N * V ** (N - 1), "The same for v.", derived=field[V])

    # One power of a quantity that is linear in Gamma.
    B, C = Symbol("B", positive=True), Symbol("C", positive=True)
    rate = N * (N - 2)
    linear = {U: (B, U0 ** (2 - N) + rate * INTEGRATED), V: (C, V0 ** (2 - N) - rate * INTEGRATED)}
    for (x, (base, value)), start in zip(linear.items(), (U0, V0), strict=True):
        solved_by_a_power(
            page, x, field[x], base=base, value=value, N=N, time=INTEGRATED,
            start=start, starts="and starts where it should.",
        )  # fmt: skip
    u, v = (value ** (-1 / (N - 2)) for _, value in linear.values())
    certify(theorem.statement(N), network(u, v, N), name=theorem.name)

    solutions = {U: U0 * exp(-2 * INTEGRATED), V: V0 * exp(2 * INTEGRATED)}
    for (x, solution), start in zip(solutions.items(), (U0, V0), strict=True):
        page.step(
            Symbol(f"d{x}/dGamma"),
            field[x].subs(N, 2).subs(x, solution),
            f"Depth 2: {x} = {solution} solves the equation,",
            derived=diff(solution, INTEGRATED),
        )
        page.step(
            Symbol(f"{x}(0)"), start, "and starts there.", derived=solution.subs(INTEGRATED, 0)
        )
    found = network(solutions[U], solutions[V], 2)
    certify(theorem.statement(2), found, name=f"{theorem.name}, depth 2")
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
