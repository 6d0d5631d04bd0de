"""What weight normalization forgets of its start depends on how far the scale has come.

Let w = g v/|v| follow gradient flow of a loss of X w, at rates eta_g and eta_v = kappa eta_g.  The
gradient G of the loss is in the row space of X, so that the projection P on the null space of X
takes it to 0.  Still P v moves, because the gradient is projected across v:

    P v' = eta_v (g/|v|^3) <v, G> P v = -(kappa/|v|^2) g g' P v,

the last step by g' = -eta_g <v, G>/|v|.  The right side is the derivative of g^2, and

    P v = P v(0) exp(-kappa (g^2 - g_0^2)/(2 |v|^2)),       P w = (g/|v|) P v.

So P v is damped if |g| grows, and grows if |g| shrinks: a small start alone does not give the
least-norm solution, a large kappa g^2/|v|^2 does.
"""

from __future__ import annotations

from sympy import Function, MatMul, MatrixSymbol, Symbol, Transpose, ZeroMatrix, diff, exp

from derivations._weight_norm import NORM_V, G, flow, g, v
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Velocity
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.weight_norm import (
    KAPPA,
    NORM,
    RATE_G,
    RATE_V,
    SCALE,
    SCALE_0,
    SIZE,
    weight_normalization_null_space,
)

THEOREM = weight_normalization_null_space
of = MatrixPolynomial.of


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every size of w.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    velocities = flow(page)
    P = MatrixSymbol("P", SIZE, SIZE)
    rows = Rule.of(MatMul(P, G), ZeroMatrix(SIZE, 1))
    hidden = rewrite(of(P) @ velocities[v], rows)
    page.step(
        Velocity(MatMul(P, v)),
        MatMul(RATE_V * SCALE / NORM_V**3, P, v, Transpose(v), G),
        "P G = 0: only the part that keeps v' across v is left.",
        derived=hidden,
    )
    # <v, G> = -|v| g'/eta_g.
    speed = Symbol("g'", real=True)
    (pull,) = velocities[g].terms.values()
    driven = Rule.of(
        MatMul(Transpose(v), G), MatMul(speed / pull, MatrixPolynomial.identity(1).expr())
    )
    hidden = rewrite(hidden, driven).subs(RATE_V, KAPPA * RATE_G).subs(NORM_V, NORM)
    page.step(
        Velocity(MatMul(P, v)),
        MatMul(-KAPPA * SCALE * speed / NORM**2, P, v),
        "The velocity of g, put in.",
        derived=hidden,
    )
    (rate,) = hidden.terms.values()

    t, scale = Symbol("t", real=True), Function("g", real=True)
    share = exp(-KAPPA * (SCALE**2 - SCALE_0**2) / (2 * NORM**2))
    at_t = share.subs(SCALE, scale(t))
    page.step(
        Symbol("ds/dt"),
        (rate * share).subs(SCALE, scale(t)).subs(speed, scale(t).diff(t)),
        f"P v = s P v(0) with s = {share} solves the equation,",
        derived=diff(at_t, t),
    )
    page.step(Symbol("s(0)"), MatrixPolynomial.identity(1).terms[((), None)],
              "and starts at 1.", derived=share.subs(SCALE, SCALE_0))  # fmt: skip
    found = (SCALE / NORM) * share / (SCALE_0 / NORM)
    page.step(
        Symbol("P w/P w(0)"),
        SCALE / SCALE_0 * share,
        "P w = (g/|v|) P v, now and at the start.",
        derived=found,
    )
    certify(theorem.statement(2), found, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
