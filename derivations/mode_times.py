"""When a mode of a deep linear network has been learned, at every depth.

A mode of strength u moves by u' = N u^(2 - 2/N) (s - u), in units of its curvature (saxe_modes.py).
The variables separate: the time at which it has the strength u is the integral of du / u'.  For
N = 1, 2, 3, 4 that is elementary, in general it is a hypergeometric function,

    t = u^b / (b s N) * 2F1(1, b; 1 + b; u/s) + constant,     b = 2/N - 1,

and when N grows without bound, at the rate 1/N, the equation u' = u^2 (s - u) can even be solved
for u, by Lambert's function.  Each is checked as an antiderivative is checked: its derivative,
times the velocity that the network was found to have, is 1.
"""

from __future__ import annotations

from sympy import (
    Derivative,
    Dummy,
    Expr,
    Function,
    Integer,
    LambertW,
    Mul,
    Symbol,
    diff,
    exp,
    hyper,
    oo,
    together,
)

from derivations import saxe_modes as modes_page
from flowsim.symbolic import scalars
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory import Theorem
from flowsim.theory.modes import CURVATURE, STRENGTH, TARGET, mode_times

THEOREM = mode_times

u, s = STRENGTH, TARGET
N = Symbol("N", integer=True, positive=True)
# Roots of u and s, in which powers are polynomials.
z, c = Symbol("z", positive=True), Symbol("c", positive=True)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem at depths 1 to 4, at every depth N above 2, and at infinite depth.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    velocity = modes_page.mode_velocity(Derivation()).subs(CURVATURE, 1)
    page.step(
        Function("u")(Symbol("t")).diff(),
        N * u ** (2 - 2 / N) * (s - u),
        "The mode as it was derived from the loss, at curvature 1.",
        derived=velocity,
    )
    for depth in (1, 2, 3, 4):
        elementary(page, theorem, depth, velocity)
    every_depth(page, theorem, velocity)
    infinite_depth(page, theorem, velocity)
    return page


def elementary(page: Derivation, theorem: Theorem, depth: int, velocity: Expr) -> None:
    """Differentiate the time at a depth where it is an elementary function."""
    root = {u: z**depth, s: c**depth} if depth > 2 else {}
    if depth == 4:
        root = {u: z**2, s: c**2}
    time = theorem.statement(Integer(depth))
    rate = (diff(time, u) * velocity.subs(N, depth)).subs(root)
    page.step(
        inverse_velocity(time, velocity.subs(N, depth)),
        Integer(1),
        f"The time at depth {depth}: its derivative, times the velocity, is 1.",
        derived=together(rate),
    )


def inverse_velocity(time: Expr, velocity: Expr) -> Expr:
    """Return dt/du times u', not worked out, for the left-hand side of a line."""
    return Mul(Derivative(time, u, evaluate=False), velocity, evaluate=False)


def every_depth(page: Derivation, theorem: Theorem, velocity: Expr) -> None:
    """Differentiate the hypergeometric series term by term; the terms telescope."""
    time = theorem.statement(N)
    (series,) = time.atoms(hyper)
    n, b = Symbol("n", integer=True, nonnegative=True), 2 / N - 1
    above, below, x = series.ap, series.bq, series.argument

    # The series is the sum of c_n x^n, with c_{n+1}/c_n from its parameters.
    ratio = Integer(1) / (n + 1)
    for parameter in above:
        ratio *= parameter + n
    for parameter in below:
        ratio /= parameter + n
    coefficient = b / (b + n)
    page.step(
        Symbol("c_(n+1)") / Symbol("c_n"),
        (b + n) / (b + n + 1),
        "Coefficients of 2F1(1, b; 1 + b; x) from its parameters.",
        derived=together(ratio),
    )
    page.step(
        Symbol("c_n"),
        coefficient,
        "They are b/(b + n): the ratio is right, and c_0 = 1.",
        derived=coefficient.subs(n, 0) * b / (b + n),
    )
    certify(ratio, coefficient.subs(n, n + 1) / coefficient, name="ratio of the coefficients")

    # One term of the derivative of the time, times the velocity without its factor 1 - u/s.
    front = time / series
    term = diff(front * coefficient * x**n, u) * velocity / (1 - u / s)
    first = together(term.subs(n, 0))
    page.step(
        Symbol("D_0"),
        Integer(1),
        "With D_n the derivative of the n-th term times N u^(2 - 2/N) s: the first is 1.",
        derived=first,
    )
    page.step(
        Symbol("D_(n+1)"),
        (u / s) * together(term),
        "Each is u/s times the one before, so that (1 - u/s) sum D_n = D_0: dt/du u' = 1.",
        derived=together(term.subs(n, n + 1)),
    )


def infinite_depth(page: Derivation, theorem: Theorem, velocity: Expr) -> None:
    """At the rate 1/N the velocity has a limit, with a time of its own that can be inverted."""
    h = Dummy("h", positive=True)
    limit = scalars.normal(scalars.normal(velocity / N).subs(N, 1 / h)).subs(h, 0)
    page.step(
        Function("u")(Symbol("t")).diff(),
        u**2 * (s - u),
        "The velocity over N, as 1/N tends to 0.",
        derived=limit,
    )
    time = theorem.statement(oo)
    page.step(
        inverse_velocity(time, limit),
        Integer(1),
        "The time at infinite depth: its derivative, times the velocity, is 1.",
        derived=together(diff(time, u) * limit),
    )
    # u = s/(1 + w) with w = W(k e^(k - s^2 t)); w e^w is the argument.
    t, k, w = Symbol("t"), Symbol("kappa", positive=True), Symbol("w", positive=True)
    argument = k * exp(k - s**2 * t)
    lambert = LambertW(argument)
    solution = s / (1 + lambert)
    page.step(
        Derivative(solution, t, evaluate=False),
        limit.subs(u, s / (1 + w)),
        "Solved for u: u = s/(1 + w), w Lambert's function of kappa exp(kappa - s^2 t), moves so.",
        derived=together(diff(solution, t).subs(lambert, w)),
    )
    page.step(
        Function("u")(Integer(0)),
        u,
        "And starts right: at time 0 Lambert's function undoes kappa e^kappa, kappa = s/u - 1.",
        derived=together((s / (1 + w)).subs(w, s / u - 1)),
    )


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
