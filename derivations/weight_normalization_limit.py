"""Where weight-normalized least squares ends: one equation for the norm.

Let w = g v/|v| follow gradient flow of |X w - y|^2/2 and converge to a minimiser w_*.  All
minimisers have the same row-space part, the least-norm solution w_mn; the null-space part of w is a
function of g (weight_normalization_null_space.py).  The two are orthogonal, and |w_*| = |g_*|:

    g_*^2 = |w_mn|^2 + |P w_0|^2 (g_*/g_0)^2 exp(-kappa (g_*^2 - g_0^2)/|v_0|^2).

It has one solution g_*^2.  Write it as x (1 - A exp(-k x)) = |w_mn|^2 > 0 with x = g_*^2: where the
bracket is positive both factors increase with x, and elsewhere the left side is not positive.
"""

from __future__ import annotations

from sympy import Identity, MatAdd, MatMul, MatrixSymbol, Symbol, Transpose, ZeroMatrix, diff, exp

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Differential, LossGradient, differential, read_gradient
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.weight_norm import (
    HIDDEN,
    KAPPA,
    LEAST,
    NORM,
    SCALE,
    SCALE_0,
    SIZE,
    VECTOR,
    weight_normalization_limit,
    weight_normalization_null_space,
)

THEOREM = weight_normalization_limit
of = MatrixPolynomial.of


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every size of w and of X.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    m = Symbol("m_X", integer=True, positive=True)
    X, y, w = MatrixSymbol("X", m, SIZE), MatrixSymbol("y", m, 1), VECTOR
    P, one = MatrixSymbol("P", SIZE, SIZE), Identity(1)
    # P is the orthogonal projection on the null space of X.
    kernel = (Rule.of(MatMul(X, P), ZeroMatrix(m, SIZE)), Rule.of(MatMul(P, P), P),
              Rule.of(Transpose(P), P),
              Rule.of(MatMul(P, Transpose(X)), ZeroMatrix(SIZE, m)))  # fmt: skip

    # L = |r|^2/2 with r = X w - y: dL = <r, dr>.
    residual = of(X) @ of(w) - of(y)
    slope = read_gradient(
        differential(residual, {w: of(Differential(w))}.get), w, MatrixSymbol("r", m, 1)
    )
    slope = slope.substitute(lambda x: residual if x == MatrixSymbol("r", m, 1) else None)
    page.step(
        LossGradient(w),
        MatMul(Transpose(X), MatAdd(MatMul(X, w), MatMul(-1, y))),
        "Chain rule, for half the square of the residual.",
        derived=slope,
    )
    page.step(
        MatMul(P, LossGradient(w)),
        ZeroMatrix(SIZE, 1),
        "It is in the row space of X, as the null-space formula presumes.",
        derived=rewrite_fully(of(P) @ slope, kernel),
    )
    # Two minimisers differ by a vector of the null space; w_mn = X^T z has none of it.
    z, start = MatrixSymbol("z", m, 1), MatrixSymbol("w_0", SIZE, 1)
    share = Symbol("f", real=True)
    least, hidden = of(Transpose(X)) @ of(z), of(P) @ of(start) * share
    end = least + hidden
    page.step(
        MatMul(P, MatMul(Transpose(X), z)),
        ZeroMatrix(SIZE, 1),
        "The least-norm solution w_mn = X^T z has no null-space part.",
        derived=rewrite_fully(of(P) @ least, kernel),
    )
    page.step(
        MatMul(X, MatAdd(MatMul(Transpose(X), z), MatMul(share, P, start))),
        MatMul(X, Transpose(X), z),
        "w_* = w_mn + f P w_0 fits as well as w_mn, with f the factor of the null-space formula.",
        derived=rewrite_fully(of(X) @ end, kernel),
    )
    square = rewrite_fully(end.T @ end, kernel)
    sizes = (
        Rule.of(MatMul(Transpose(z), X, Transpose(X), z), MatMul(LEAST**2, one)),
        Rule.of(MatMul(Transpose(start), P, start), MatMul(HIDDEN**2, one)),
    )
    square = rewrite_fully(square, sizes)
    page.step(
        MatMul(SCALE**2, one),
        MatMul(LEAST**2 + HIDDEN**2 * share**2, one),
        "Pythagoras, m = |w_mn| and p = |P w_0|; the left side is |w_*|^2.",
        derived=square,
    )
    (total,) = square.terms.values()
    damped = SCALE / SCALE_0 * exp(-KAPPA * (SCALE**2 - SCALE_0**2) / (2 * NORM**2))
    page.step(
        share, damped, "The factor f, by weight_normalization_null_space.py.",
        derived=weight_normalization_null_space.statement(2),
    )  # fmt: skip
    certify(theorem.statement(2), total.subs(share, damped), name=theorem.name)

    # One solution: both factors of x (1 - A e^(-k x)) increase where the second is positive.
    x, A, k = (Symbol(name, positive=True) for name in ("x", "A", "k"))
    bracket = 1 - A * exp(-k * x)
    page.step(
        Symbol("d/dx(x (1 - A exp(-k x)))"),
        bracket + x * k * A * exp(-k * x),
        "Positive where the bracket is: the equation has one solution.",
        derived=diff(x * bracket, x),
    )
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
