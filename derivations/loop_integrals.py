"""What the flow of a deep linear network gathers around a closed curve.

A gradient field gathers nothing around a closed curve.  The paper's proof that depth is no
regularizer computes the integral of

    F = |w|^(2-2/N) (g + (N-1) Pr_w g),    g = grad L(w),

over one curve and finds it positive.  Here is the integral over all curves of that kind: outwards
along a direction e_0 from radius r to R, on the sphere of radius R to another direction e_phi,
inwards along it, and on the small sphere back.

Two facts make it a line.  Along a ray only the radial part of F counts, and depth multiplies that
by N.  On a sphere only the part across counts, and depth leaves that alone, but for a constant that
depends on the radius: there the integral is a difference of values of L, and which path was taken
on the sphere does not matter.  For a loss of degree m, L(rho e) = rho^m h(e), all four legs are
powers, and

    (N-1) (m - 2/N) / (m + 2 - 2/N)  (h(e_0) - h(e_phi))  (R^(m+2-2/N) - r^(m+2-2/N)) .

The factor m - 2/N is the theorem again: degree 2/N gathers nothing.  The curve of the paper is the
sector of opposite directions e = grad L(0)/|grad L(0)| and -e, and its constant gradient is m = 1.
"""

from __future__ import annotations

from sympy import Expr, Integer, MatrixSymbol, Symbol

from flowsim.problems import DeepLinear
from flowsim.symbolic import derive, integrability
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.columns import Inner, contract
from flowsim.symbolic.integrability import SIZE, G, W
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.theory.no_regularizer import DEGREE, INNER, LEFT, OUTER, RIGHT, sector_loop
from flowsim.theory.records import Theorem

THEOREM = sector_loop

#: A tangent vector of the sphere: <t, w> = 0.
TANGENT = MatrixSymbol("t", SIZE, 1)
RHO = Symbol("rho", positive=True)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth, degree, pair of directions and pair of radii.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    N = Symbol("N", integer=True, positive=True)
    m, r, R = DEGREE, INNER, OUTER
    norm = FrobeniusNorm(W)
    F = integrability.column_field(derive(DeepLinear.of_depth("N")))

    # The two directions in which F is asked for.
    page.step(
        Symbol("<w, F>"),
        N * norm ** (2 - 2 / N) * Inner(W, G),
        "Along the ray depth multiplies by N: <w, Pr_w g> = <w, g>.",
        derived=contract(W, F),
    )
    across = contract(TANGENT, F).xreplace({Inner(TANGENT, W): Integer(0)})
    page.step(
        Symbol("<t, F>"),
        norm ** (2 - 2 / N) * Inner(TANGENT, G),
        "Across it depth leaves g alone, but for the norm in front: <t, w> = 0.",
        derived=across,
    )

    # On a ray, w = rho e and dw = e drho; <w, g> = m L by Euler, and L = rho^m h.
    h = Symbol("h", real=True)
    loss = RHO**m * h
    page.step(
        Symbol("<w, g>"),
        m * loss,
        "Euler: on a ray L(rho e) = rho^m h(e), and <w, g> is rho times its slope.",
        derived=RHO * loss.diff(RHO),
    )
    integrand = contract(W, F).xreplace({norm: RHO, Inner(W, G): RHO * loss.diff(RHO)}) / RHO
    primitive = N * m * h * RHO ** (m + 2 - 2 / N) / (m + 2 - 2 / N)
    page.step(
        Symbol("<e, F(rho e)>"),
        N * m * h * RHO ** (m + 1 - 2 / N),
        "The leg outwards, integrand.",
        derived=integrand,
    )
    page.step(
        Symbol("N m h d/drho rho^(m+2-2/N)/(m+2-2/N)"),
        N * m * h * RHO ** (m + 1 - 2 / N),
        "Its primitive, found by differentiating it.",
        derived=primitive.diff(RHO),
    )

    # On a sphere, <t, F> ds = rho^(2-2/N) dL: the difference of values of L.
    def arc(radius: Expr, start: Expr, end: Expr) -> Expr:
        rise = loss.xreplace({RHO: radius, h: end}) - loss.xreplace({RHO: radius, h: start})
        return across.xreplace({norm: radius, Inner(TANGENT, G): rise})

    def ray(height: Expr, start: Expr, end: Expr) -> Expr:
        along = primitive.xreplace({h: height})
        return along.xreplace({RHO: end}) - along.xreplace({RHO: start})

    page.step(
        Symbol("arc"),
        R ** (m + 2 - 2 / N) * (RIGHT - LEFT),
        "The arc of radius R: |w| is constant, and <g, dw> = dL.",
        derived=arc(R, LEFT, RIGHT),
    )
    page.step(
        Symbol("rays"),
        N * m / (m + 2 - 2 / N) * (LEFT - RIGHT) * (R ** (m + 2 - 2 / N) - r ** (m + 2 - 2 / N)),
        "The two rays, one outwards and one inwards.",
        derived=ray(LEFT, r, R) + ray(RIGHT, R, r),
    )
    total = ray(LEFT, r, R) + arc(R, LEFT, RIGHT) + ray(RIGHT, R, r) + arc(r, RIGHT, LEFT)
    page.step(
        Symbol("loop"),
        (N * m / (m + 2 - 2 / N) - 1)
        * (LEFT - RIGHT)
        * (R ** (m + 2 - 2 / N) - r ** (m + 2 - 2 / N)),
        "All four legs. N m - (m + 2 - 2/N) = (N - 1)(m - 2/N).",
        derived=total,
    )

    # The curve of the paper: opposite directions, a constant gradient U, h = <U, e> = |U|, -|U|.
    U = Symbol("|U|", positive=True)
    power = 3 - 2 / N
    page.step(
        Symbol("paper's curve"),
        2 * U * (N - 1) * (N - 2) / (3 * N - 2) * (R**power - r**power),
        "The curve of the paper, a constant gradient U: degree 1, the values |U| and -|U|. It is "
        "positive for N > 2.",
        derived=total.xreplace({m: Integer(1)}).subs({LEFT: U, RIGHT: -U}),
    )

    certify(theorem.statement(N), total, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
