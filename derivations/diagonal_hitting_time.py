"""How long a diagonal network takes to learn a coordinate, as its start tends to 0.

Let beta = u^N - v^N follow gradient flow of (beta - s)^2 / 2 from u = v = alpha, with s > 0, and
let T be the time at which beta reaches a level b with 0 < b < s.

For N >= 3 time is spent near the start, where u' = N u^(N-1) s: in units of alpha, u = alpha x,

    dt = alpha^(2-N) x^(1-N) dx / (N (s - beta)),

and for fixed x the fraction tends to x^(1-N)/(N s), beta being of the order alpha^N.  On the way to
the level s - beta >= s - b, so that x^(1-N)/(N (s - b)) dominates, and the integral tends to that
of the limit over all x > 1: T is alpha^(2-N)/(N(N-2)s), and the level does not matter.

For N = 2 that integral diverges, logarithmically.  The equation is then solved in full
(diagonal_quadratic.py): (x - x_+)/(x - x_-) decays as exp(-4 (x_+ - x_-) t) for x = u^2, with
roots that tend to s and 0.
"""

from __future__ import annotations

from sympy import Expr, Symbol, cancel, diff, log, sqrt

from derivations._coordinates import diagonal_flow, network
from flowsim.symbolic.certify import Derivation, certify
from flowsim.theory.diagonal import SLOPE, U, V
from flowsim.theory.diagonal_windows import ALPHA, LEVEL, TARGET, diagonal_hitting_time
from flowsim.theory.records import Theorem

THEOREM = diagonal_hitting_time


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    N = 3 + Symbol("m", integer=True, nonnegative=True)
    x, y, beta = Symbol("x", positive=True), Symbol("y", positive=True), Symbol("beta", real=True)
    flow = diagonal_flow(page, N)
    slope = diff((beta - TARGET) ** 2 / 2, beta)
    # u = alpha x, so dt = alpha dx / u'.
    element = ALPHA / flow[U].subs(SLOPE, slope).subs(U, ALPHA * x)
    page.step(
        Symbol("dt/dx"),
        ALPHA ** (2 - N) * x ** (1 - N) / (N * (TARGET - beta)),
        "Time along the way, u = alpha x.",
        derived=element,
    )
    page.step(
        Symbol("beta"),
        ALPHA**N * (x**N - y**N),
        "v = alpha y with y <= 1: for fixed x this tends to 0 with alpha.",
        derived=network(U, V, N).subs({U: ALPHA * x, V: ALPHA * y}),
    )
    limit = (element * ALPHA ** (N - 2)).subs(beta, 0)
    page.step(
        Symbol("lim alpha^(N-2) dt/dx"),
        x ** (1 - N) / (N * TARGET),
        "The limit of the fraction.",
        derived=limit,
    )
    # Both vanish at infinity since N > 2.
    primitive = -(x ** (2 - N)) / (N * (N - 2) * TARGET)
    page.step(
        Symbol("d/dx(-x^(2-N)/(N(N-2)s))"),
        x ** (1 - N) / (N * TARGET),
        "An antiderivative that is 0 at infinity.",
        derived=diff(primitive, x),
    )
    found = ALPHA ** (2 - N) * -primitive.subs(x, 1)
    page.step(
        Symbol("T"),
        ALPHA ** (2 - N) / (N * (N - 2) * TARGET),
        "Its integral from 1, by dominated convergence.",
        derived=found,
    )
    certify(theorem.statement(N), found, name=theorem.name)
    depth_two(page, theorem)
    return page


def depth_two(page: Derivation, theorem: Theorem) -> None:
    """Treat N = 2, by the solution in full."""
    p, q, E = (Symbol(name, positive=True) for name in ("p", "q", "E"))
    x0, x1 = Symbol("x_0", positive=True), Symbol("x_1", positive=True)

    def ratio(x: Expr) -> Expr:
        return (p - x) / (x + q)

    # (x_1 - p)/(x_1 + q) = E (x_0 - p)/(x_0 + q) with E = exp(-4 (p + q) T).
    growth = ratio(x0) / ratio(x1)
    page.step(
        1 / E,
        (p - x0) * (x1 + q) / ((x0 + q) * (p - x1)),
        "Depth 2: the ratio has decayed by E = exp(-4 (p+q) T).",
        derived=growth,
    )
    # From u = v = alpha: x_0 = c = a with a = alpha^2, and q = c^2/p.
    a = Symbol("a", positive=True)
    page.step(
        Symbol("lim p"),
        TARGET,
        "The larger root, as a = alpha^2 tends to 0.",
        derived=((TARGET + sqrt(TARGET**2 + 4 * a**2)) / 2).subs(a, 0),
    )
    start = cancel(a * growth.subs({q: a**2 / p, x0: a}))
    page.step(
        a / E,
        p * (p - a) * (x1 + a**2 / p) / ((p + a) * (p - x1)),
        "The start x_0 = a, with q = a^2/p.",
        derived=start,
    )
    # At the level beta = x_1 - a^2/x_1 = b, so that x_1 tends to b.
    leading = start.subs(a, 0).subs({p: TARGET, x1: LEVEL})
    page.step(
        Symbol("lim alpha^2/E"),
        LEVEL * TARGET / (TARGET - LEVEL),
        "The limit; at the level x_1 - a^2/x_1 = b.",
        derived=leading,
    )
    time = log(leading / ALPHA**2) / (4 * TARGET)
    certify(theorem.statement(2), time, name=f"{theorem.name}, depth 2")


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
