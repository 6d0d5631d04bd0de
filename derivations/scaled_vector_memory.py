"""A vector times a scalar remembers: its motion as a sum over all gradients so far.

Let w_1, a vector, and w_2, a number, follow the negative gradient of L(w_1 w_2), and let g(t) be
grad L(w(t)).  Since w_1' = -w_2 g, the vector w_1 is its start minus an integral over the past, and

    w'(t) = -w_2(t)^2 g(t) - integral_0^t w_2'(t) w_2(tau) g(tau) dtau + w_2'(t) w_1(0).

The present gradient is weighted with rho = w_2^2, and a past one with mu(t, tau) = w_2'(t)
w_2(tau): momentum while |w_2| grows.  Nothing is presumed: the formula holds through zeros of w_2,
where the memoryless one (scaled_vector.py) does not.  The last term is absent from the paper, whose
starts are near zero; it vanishes only if w_1(0) = 0.

Where w_2 has no zero, mu is also the limit of the paper's momentum coefficients, -gamma(t) rho(tau)
times exp(-integral of gamma from tau to t), with gamma = -w_2'/w_2.
"""

from __future__ import annotations

from sympy import Function, Integer, Integral, Symbol

from derivations._scaled_vector import FIRST as VECTOR
from derivations._scaled_vector import descent_direction
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.records import Theorem
from flowsim.theory.scaled_vector import (
    EARLIER,
    FIRST,
    GRADIENT_AT,
    SCALE_AT,
    TIME,
    growth_since,
    scaled_vector_memory,
)

THEOREM = scaled_vector_memory


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem, for one coordinate of w_1 and of the gradient.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    flow = descent_direction(page)
    t, tau, w2, g = TIME, EARLIER, SCALE_AT, GRADIENT_AT
    # The coordinate of w_1' = -g w_2, as the words have it.
    (coefficient,) = flow(VECTOR).terms.values()
    velocity = coefficient * g(t) * w2(t)
    page.step(
        Symbol("w_1'"), -g(t) * w2(t), "One coordinate, as functions of time.", derived=velocity
    )
    past = Integral((velocity).subs(t, tau), (tau, 0, t))
    first = FIRST + past
    page.step(
        Symbol("w_1'"),
        velocity,
        "w_1 is its start plus the integral of its velocity: it has that velocity,",
        derived=first.diff(t),
    )
    page.step(Symbol("w_1(0)"), FIRST, "and that start.", derived=first.subs(t, 0).doit())

    # w' = w_1' w_2 + w_1 w_2', by the product rule.
    growth, moved = Function("w_1", real=True), w2(t).diff(t)
    page.step(
        Symbol("w'"),
        growth(t).diff(t) * w2(t) + growth(t) * moved,
        "Product rule.",
        derived=(growth(t) * w2(t)).diff(t),
    )
    found = velocity * w2(t) + FIRST * moved + moved * past
    weighted = Integral(moved * w2(tau) * g(tau), (tau, 0, t))
    page.step(
        Symbol("the integrand, times w_2'(t),"),
        -weighted.args[0],
        "The factor w_2'(t) goes under the integral over tau: the integrands are the same.",
        derived=moved * past.args[0],
    )
    found = found - moved * past - weighted
    certify(theorem.statement(2), found, name=theorem.name)
    exponential(page)
    stated = theorem.statement(2, kernel="exponential")
    grown = {growth_since(t, tau): w2(t) / w2(tau)}
    certify(stated.xreplace(grown), found, name=f"{theorem.name}, exponential kernel")
    return page


def exponential(page: Derivation) -> None:
    """The exponential of the integrated -gamma is w_2(t)/w_2(tau): both solve one equation."""
    t, tau, w2 = TIME, EARLIER, SCALE_AT
    rate = w2(t).diff(t) / w2(t)
    for name, kernel in (("exp", growth_since(t, tau)), ("ratio", w2(t) / w2(tau))):
        page.step(
            Symbol(f"d({name})/dt"),
            rate * kernel,
            f"{kernel} grows at the rate -gamma = w_2'/w_2,",
            derived=kernel.diff(t),
        )
        page.step(
            Symbol(f"{name} at t = tau"),
            Integer(1),
            "and starts at 1.",
            derived=kernel.subs(t, tau).doit(),
        )


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
