"""One step of gradient descent on a vector times a scalar, and its momentum, exactly.

Both factors of w = w_1 w_2 are updated at once with the rate eta, g being grad L(w).  With
rho = eta w_2^2 and gamma = eta <w, g>/w_2^2,

    w^+ = (1 - gamma)(w - rho g),

of which Arora, Cohen and Hazan drop the term gamma rho g, of second order in eta.  What is left,
unrolled, weights the gradient of the time tau at the time t with

    mu = -gamma(t) rho(tau) prod_{s = tau+1..t-1} (1 - gamma(s)),

and the product telescopes since 1 - gamma(s) = w_2(s+1)/w_2(s).  The balance c = w_2^2 - |w_1|^2
drifts by eta^2 (<w_1, g>^2 - w_2^2 |g|^2) a step: descent conserves it to first order only.
"""

from __future__ import annotations

from sympy import Identity, Integer, MatAdd, MatMul, Symbol, Transpose

from derivations._scaled_vector import FIRST, SECOND, G, as_number, descent_direction, end_to_end
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.scaled_vector import (
    COMPONENT,
    MOMENTS,
    RATE,
    SCALE,
    STEEPNESS,
    VECTOR,
    scaled_vector_descent,
)

THEOREM = scaled_vector_descent
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
    stepped = {x: of(x) + flow(x) * RATE for x in (FIRST, SECOND)}
    after = as_number(end_to_end().substitute(lambda x: stepped[x]))
    page.step(
        Symbol("w^+"),
        MatAdd(
            MatMul(SCALE, FIRST),
            MatMul(-RATE * SCALE**2, G),
            MatMul(-RATE, FIRST, Transpose(FIRST), G),
            MatMul(RATE**2 * SCALE, G, Transpose(FIRST), G),
        ),
        "The product of the updated factors.",
        derived=after,
    )
    # w_1 = w / w_2.
    after = after.substitute(lambda x: of(VECTOR) * (1 / SCALE) if x == FIRST else None)
    rho = RATE * SCALE**2
    gamma = MatMul(RATE / SCALE**2, Transpose(VECTOR), G)
    page.step(
        Symbol("w^+"),
        MatMul(MatAdd(VECTOR, MatMul(-rho, G)), MatAdd(Identity(1), MatMul(-1, gamma))),
        "It factors: (w - rho g)(1 - gamma).",
        derived=after,
    )
    certify(theorem.statement(2, what="step"), after, name=theorem.name)

    # The number 1 - gamma.
    second = as_number(stepped[SECOND]).substitute(
        lambda x: of(VECTOR) * (1 / SCALE) if x == FIRST else None
    )
    page.step(
        Symbol("w_2^+"),
        MatMul(SCALE, MatAdd(Identity(1), MatMul(-1, gamma))),
        "w_2 is multiplied by the same 1 - gamma.",
        derived=second,
    )
    momentum(page, theorem)

    squares = stepped[SECOND].T @ stepped[SECOND] - stepped[FIRST].T @ stepped[FIRST]
    before = of(SECOND).T @ of(SECOND) - of(FIRST).T @ of(FIRST)
    one = Identity(1)
    numbers = (
        Rule.of(MatMul(Transpose(FIRST), G), MatMul(COMPONENT, one)),
        Rule.of(MatMul(Transpose(G), G), MatMul(STEEPNESS, one)),
    )
    drift = rewrite_fully(as_number(squares - before), numbers)
    page.step(
        Symbol("c^+ - c"),
        MatMul(RATE**2 * (COMPONENT**2 - SCALE**2 * STEEPNESS), one),
        "The squares of the factors, p = <w_1, g> and G = |g|^2: the first order cancels.",
        derived=drift,
    )
    stated = MatMul(theorem.statement(2, what="drift"), one)
    certify(stated, drift, name=f"{theorem.name}, drift")
    return page


def momentum(page: Derivation, theorem: Theorem) -> None:
    """Telescope the product of the factors 1 - gamma(s) = w_2(s+1)/w_2(s)."""
    then, after_then, now, following = MOMENTS
    claim = now / after_then
    page.step(
        Symbol("P(tau+1)"),
        Integer(1),
        "The empty product, t = tau + 1.",
        derived=claim.subs(now, after_then),
    )
    page.step(
        Symbol("P(t+1)"),
        following / after_then,
        "One factor more, w_2(t+1)/w_2(t).",
        derived=claim * (following / now),
    )
    mu = -(1 - following / now) * (RATE * then**2) * claim
    page.step(
        Symbol("mu(t, tau)"),
        RATE * (following - now) * then**2 / after_then,
        "mu = -gamma(t) rho(tau) P(t).",
        derived=mu,
    )
    certify(theorem.statement(2, what="momentum"), mu, name=f"{theorem.name}, momentum")


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
