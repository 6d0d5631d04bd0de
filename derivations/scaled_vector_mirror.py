"""A scaled vector is a mirror flow on a clock of its own, from every start.

Let w = w_1 w_2 with a column w_1 and a number w_2.  By the chain rule w_1 moves by -w_2 g, and
c = w_2^2 - |w_1|^2 is conserved.  So +-w_1 moves by minus |w_2| times the gradient, the sign being
that of w_2, and all that is to be seen is that +-w_1 is the gradient of a function of w.  It has
the direction of w, and its length is a function of |w| and c: with r = |w| and q = |w_1|,

    r = |w_2| q,   c = w_2^2 - q^2    give    c^2 + 4 r^2 = (w_2^2 + q^2)^2,

so that q^2 = (sqrt(c^2 + 4 r^2) - c)/2 and w_2^2 = (sqrt(c^2 + 4 r^2) + c)/2.  A field q(r) w/r is
the gradient of the radial function with the slope q.

At the end the same is found once more without looking at the factors: the law of w in w and c alone
is put in, and along w as well as across it nothing but |w_2| g remains.
"""

from __future__ import annotations

from sympy import (
    Expr,
    Integer,
    MatMul,
    MatrixSymbol,
    Pow,
    Rational,
    Symbol,
    Transpose,
    expand,
    factor,
)

from flowsim.symbolic import differential as calculus
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Differential, LossGradient, Velocity
from flowsim.symbolic.integrability import SIZE, G
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.mirror import IMBALANCE, NORM, scaled_vector_mirror
from flowsim.theory.records import Theorem

THEOREM = scaled_vector_mirror

#: The factors: a column and a number, as a matrix of one entry.
W1, W2 = MatrixSymbol("w_1", SIZE, 1), MatrixSymbol("w_2", Integer(1), Integer(1))
#: |w_2| and |w_1|.
S, Q = Symbol("s", positive=True), Symbol("q", positive=True)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every c and every number of inputs.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, of = Derivation(), MatrixPolynomial.of
    number = Rule.of(Transpose(W2), W2)

    # The flow of the factors.
    dw = calculus.differential(of(MatMul(W1, W2)), lambda X: of(Differential(X)))
    slopes = {X: rewrite_fully(calculus.read_gradient(dw, X, G), [number]) for X in (W1, W2)}
    page.step(
        LossGradient(W1),
        MatMul(G, W2),
        "Chain rule, dL = <g, dw>.",
        derived=slopes[W1],
    )
    page.step(
        LossGradient(W2),
        MatMul(Transpose(W1), G),
        "Chain rule, the number.",
        derived=slopes[W2],
    )

    def flow(X: MatrixSymbol) -> MatrixPolynomial:
        return -slopes[X]

    half = {X: calculus.differential(of(MatMul(Transpose(X), X)), flow) for X in (W1, W2)}
    drift = rewrite_fully(
        half[W2] - half[W1],
        [number, *_numbers_commute()],
    )
    page.step(
        Velocity(MatMul(Transpose(W2), W2) - MatMul(Transpose(W1), W1)),
        MatMul(0, W2),
        "Product rule: c = w_2^2 - |w_1|^2 is conserved.",
        derived=drift,
    )

    # Lengths as functions of |w| and c.
    c, r = S**2 - Q**2, S * Q
    page.step(
        IMBALANCE**2 + 4 * NORM**2,
        (S**2 + Q**2) ** 2,
        "s = |w_2| and q = |w_1|: r = s q and c = s^2 - q^2.",
        derived=c**2 + 4 * r**2,
    )
    slope, warp = (theorem.statement(what=what) for what in ("slope", "warp"))
    page.step(Symbol("q"), Q, "The stated slope is |w_1|.", derived=_at_lengths(slope))
    page.step(Symbol("s"), S, "The stated warp is |w_2|.", derived=_at_lengths(warp))
    page.step(
        Symbol("q/r"),
        1 / S,
        "The gradient of the radial potential is (q/r) w = w/|w_2| = +-w_1.",
        derived=_at_lengths(slope) / r,
    )

    # Without the factors: dw/dt = -(rho g + (<w, g>/rho) w), rho = w_2^2.
    rho = S**2
    across, along = rho, rho + r**2 / rho
    page.step(
        Symbol("(q/r) rho"),
        S,
        "Across w: the Hessian of the potential has the eigenvalue q/r, the law rho.",
        derived=_at_lengths(slope) / r * across,
    )
    # q as a function of r at constant c: 2 s ds = 2 q dq, dr = s dq + q ds.
    dq = 1 / (S + Q * Q / S)
    stated = slope.diff(NORM)
    page.step(
        Symbol("dq/dr"),
        dq,
        "Along w the eigenvalue is dq/dr: from r = s q and s ds = q dq.",
        derived=_at_lengths(stated),
    )
    page.step(
        Symbol("(dq/dr) (rho + r^2/rho)"),
        S,
        "Along w: the same factor |w_2|, so that grad Q_c moves by -|w_2| g.",
        derived=dq * along,
    )

    certify(Q, _at_lengths(slope), name=theorem.name)
    certify(_at_lengths(slope) / r * across, _at_lengths(warp), name=f"{theorem.name}: warp")
    return page


def _numbers_commute() -> list[Rule]:
    """w_2 <w_1, g> = <w_1, g> w_2 = w_2 <g, w_1>."""
    w1g, gw1 = MatMul(Transpose(W1), G), MatMul(Transpose(G), W1)
    return [
        Rule.of(gw1, w1g),
        Rule.of(MatMul(W2, Transpose(W1), G), MatMul(w1g, W2)),
    ]


def _at_lengths(expression: Expr) -> Expr:
    """An expression in c and r at c = s^2 - q^2, r = s q; squares leave their roots."""
    substituted = expression.subs({IMBALANCE: S**2 - Q**2, NORM: S * Q}, simultaneous=True)

    def rooted(base: Expr, exponent: Expr) -> Expr:
        return Pow(factor(expand(base)), exponent)

    return substituted.replace(
        lambda x: x.is_Pow and x.exp in (Rational(1, 2), Rational(-1, 2)),
        lambda x: rooted(x.base, x.exp),
    )


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
