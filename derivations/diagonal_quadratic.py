"""A coordinate of u^2 - v^2 under a quadratic loss: a Riccati equation, solved.

Let beta = u^2 - v^2 follow gradient flow of (l/2)(beta - s)^2.  The product c = u v is conserved,
so that beta is a function of x = u^2 alone, beta = x - c^2/x, and x obeys

    x' = -4 l (x^2 - s x - c^2) = -4 l (x - x_+)(x - x_-),

the roots being x_+ > 0 > x_-.  The ratio (x - x_+)/(x - x_-) then decays exponentially, at the rate
4 l (x_+ - x_-), and is solved for x.  Written with x_+ + x_- = s and x_+ x_- = -c^2 no term of the
result is negative.
"""

from __future__ import annotations

from sympy import Integer, Symbol, diff, exp, sqrt

from derivations._coordinates import along, diagonal_flow, dot, network
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import SLOPE, U0, V0, U, V
from flowsim.theory.diagonal_riccati import CURVATURE, TARGET, TIME, diagonal_quadratic
from flowsim.theory.records import Theorem

THEOREM = diagonal_quadratic


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    x, c = Symbol("x", positive=True), Symbol("c", positive=True)
    # The two roots by their sizes: x_+ = p, x_- = -q.
    p, q = Symbol("p", positive=True), Symbol("q", positive=True)
    beta = Symbol("beta", real=True)
    slope = diff(CURVATURE * (beta - TARGET) ** 2 / 2, beta)
    flow = {y: f.subs(SLOPE, slope) for y, f in diagonal_flow(page, Integer(2)).items()}
    flow = {y: f.subs(beta, network(U, V, 2)) for y, f in flow.items()}
    page.step(dot("(u v)"), Integer(0), "c = u v is conserved.", derived=along(U * V, flow))

    riccati = -4 * CURVATURE * (x**2 - TARGET * x - c**2)
    rate = along(U**2, flow).subs(V, c / U).subs(U, sqrt(x))
    page.step(dot("x"), riccati, "x = u^2, with v = c/u.", derived=rate)

    at_roots = {TARGET: p - q, c: sqrt(p * q)}
    riccati = riccati.subs(at_roots)
    page.step(
        dot("x"),
        -4 * CURVATURE * (x - p) * (x + q),
        "The roots p and -q have the sum s and the product -c^2.",
        derived=riccati,
    )
    ratio = (x - p) / (x + q)
    page.step(
        dot("((x-p)/(x+q))"),
        -4 * CURVATURE * (p + q) * ratio,
        "The ratio decays exponentially.",
        derived=diff(ratio, x) * riccati,
    )

    x0, E = Symbol("x_0", positive=True), Symbol("E", positive=True)
    solved = (x0 * (p + q * E) + p * q * (1 - E)) / (x0 * (1 - E) + p * E + q)
    page.step(
        ratio,
        ratio.subs(x, x0) * E,
        "The ratio at time t, E = exp(-4 l (p+q) t), solved for x.",
        derived=ratio.subs(x, solved),
    )
    page.step(Symbol("x(0)"), x0, "The start, E = 1.", derived=solved.subs(E, 1))

    gap = sqrt(TARGET**2 + 4 * U0**2 * V0**2)
    sizes = {p: (TARGET + gap) / 2, q: (gap - TARGET) / 2}
    for name, value, root in (("p - q", TARGET, p - q), ("p q", U0**2 * V0**2, p * q)):
        page.step(
            Symbol(name),
            value,
            "The sizes of the roots give the sum s and the product -c^2.",
            derived=root.subs(sizes),
        )
    decay = exp(-4 * CURVATURE * (p + q).subs(sizes) * TIME)
    found = solved.subs(x0, U0**2).subs(sizes).subs(E, decay)
    certify(theorem.statement(2), found, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
