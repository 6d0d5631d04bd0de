"""A diagonal network follows a mirror flow, and the size of its factors is the dual potential.

Let beta = u^N - v^N follow gradient flow from u_0 = v_0 = alpha, and let nu be minus the integrated
gradient.  Then nu' = -grad L(beta), and beta = grad Q*(nu) with

    Q*(nu) = (|u|^2 + |v|^2 - 2 d alpha^2)/(2N),

u and v as functions of nu.  So the inverse of grad Q*, which is the gradient of a potential Q,
moves by minus the gradient: d grad Q(beta) = -grad L dt, the mirror flow of Q.

That Q* is the size of the factors is Euler's identity: beta is homogeneous of degree N in (u, v),
and moving nu moves (u, v) by the gradient of beta.  Multiplying the two, u u' + v v' = N beta.
"""

from __future__ import annotations

from sympy import Integer, Symbol, cosh, diff, exp

from derivations._coordinates import diagonal_flow, network, solved_by_a_power
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import SLOPE, U, V
from flowsim.theory.mirror_potentials import ALPHA, DUAL, diagonal_mirror
from flowsim.theory.records import Theorem

THEOREM = diagonal_mirror


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, N = Derivation(), Symbol("N", integer=True, positive=True)
    # dnu = -g dt.
    field = {x: -velocity / SLOPE for x, velocity in diagonal_flow(page, N).items()}
    beta = network(U, V, N)
    size = (U**2 + V**2 - 2 * ALPHA**2) / (2 * N)
    page.step(
        Symbol("u du/dnu + v dv/dnu"),
        N * beta,
        "Euler's identity: the factors move by the gradient of beta.",
        derived=U * field[U] + V * field[V],
    )
    page.step(
        Symbol("dQ*/dnu"),
        beta,
        "Hence beta is the gradient of the size of the factors.",
        derived=diff(size, U) * field[U] + diff(size, V) * field[V],
    )
    page.step(Symbol("Q*(0)"), Integer(0), "At the start.", derived=size.subs({U: ALPHA, V: ALPHA}))
    # Legendre: Q = nu beta - Q*, so dQ = nu dbeta + beta dnu - beta dnu.
    moved = diff(beta, U) * field[U] + diff(beta, V) * field[V]
    page.step(
        Symbol("dQ/dnu"),
        DUAL * moved,
        "Q = nu beta - Q* has the gradient nu, since dQ = nu dbeta.",
        derived=beta + DUAL * moved - (diff(size, U) * field[U] + diff(size, V) * field[V]),
    )

    # In nu alone: one power of a quantity that is linear in nu.
    B, C = Symbol("B", positive=True), Symbol("C", positive=True)
    start, rate = ALPHA ** (2 - N), N * (N - 2) * DUAL
    for x, base, value in ((U, B, start - rate), (V, C, start + rate)):
        solved_by_a_power(
            page, x, field[x], base=base, value=value, N=N, time=DUAL,
            start=ALPHA, starts="and starts at alpha.",
        )  # fmt: skip
    # Squared, B^(-1/(N-2)) is B^(-2/(N-2)).
    found = size.subs({U: B ** (-1 / (N - 2)), V: C ** (-1 / (N - 2))})
    found = found.subs({B: start - rate, C: start + rate})
    certify(theorem.statement(N), found, name=theorem.name)

    u, v = ALPHA * exp(2 * DUAL), ALPHA * exp(-2 * DUAL)
    for x, solution in ((U, u), (V, v)):
        page.step(
            Symbol(f"d{x}/dnu"),
            field[x].subs(N, 2).subs(x, solution),
            f"Depth 2: {x} = {solution} solves the equation.",
            derived=diff(solution, DUAL),
        )
    found = size.subs(N, 2).subs({U: u, V: v})
    page.step(
        Symbol("Q*"),
        (ALPHA**2 * (cosh(4 * DUAL) - 1) / 2).rewrite(exp),
        "Depth 2: a hyperbolic cosine.",
        derived=found,
    )
    certify(theorem.statement(2).rewrite(exp), found, name=f"{theorem.name}, depth 2")
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
