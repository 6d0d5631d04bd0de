"""A balanced network with one output is a mirror flow on a clock of its own.

The end-to-end parameter w of a balanced network of depth N > 1 moves by

    dw/dt = -|w|^(2-2/N) (g + (N-1) Pr_w g),    g = grad L(w),

which is no mirror flow (balanced_metric.py).  But look at the first layer: it is |w|^(1/N) times
the direction of w, and it moves by minus a positive number times g, as every first layer does whose
output is a scalar.  So the variable

    nu = |w|^(1/N) w/|w| = grad Q(w),    Q = N/(N+1) |w|^((N+1)/N),

has the velocity -|w|^((N-1)/N) g: the mirror flow of Q, slow where w is small.  A positive factor
of time changes nothing about where a flow ends.  If L is a loss of X w, then the difference of
grad Q(w) and grad Q(w_0) stays in the row space of X, and among all solutions of X w = y the limit
is the one that Q prefers.

The proof differentiates the potential twice and puts in the law.
"""

from __future__ import annotations

from sympy import Expr, Identity, MatAdd, MatMul, MatrixSymbol, Symbol, Transpose, ZeroMatrix

from flowsim.problems import DeepLinear
from flowsim.symbolic import derive, integrability
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.columns import Inner
from flowsim.symbolic.differential import Velocity
from flowsim.symbolic.integrability import SIZE, G, W
from flowsim.symbolic.mirror import columns
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.mirror import time_warped_mirror
from flowsim.theory.records import Theorem

THEOREM = time_warped_mirror

NU = MatrixSymbol("nu", SIZE, 1)
#: Data with n rows, residuals, and a projection with P X^T = 0.
ROWS = Symbol("n", integer=True, positive=True)
X, RESIDUAL = MatrixSymbol("X", ROWS, SIZE), MatrixSymbol("r", ROWS, 1)
PERP = MatrixSymbol("P", SIZE, SIZE)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth and every number of inputs.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, of = Derivation(), MatrixPolynomial.of
    N = Symbol("N", integer=True, positive=True)
    norm, rules = FrobeniusNorm(W), columns.calculus(G)

    # The law, from the loss and the chain rule.
    F = integrability.column_field(derive(DeepLinear.of_depth("N")))
    a = 2 - 2 / N
    page.step(
        Velocity(W),
        MatAdd(MatMul(-(norm**a), G), MatMul(-(N - 1) * norm ** (a - 2) * Inner(W, G), W)),
        "The balanced law with one output, read as a column; Pr_w g = w <w, g> / |w|^2.",
        derived=-F,
    )
    page.step(
        Velocity(MatMul(Transpose(W), W)),
        MatMul(-2 * N * norm**a * Inner(W, G), Identity(1)),
        "Product rule: the norm of w moves N times as fast as the norm of a single layer would.",
        derived=columns.folded(of(W).T @ F) * -2,
    )

    # The potential and its gradient.
    Q = theorem.statement(N, what="potential")
    nu = rules.gradient(Q, SIZE)
    page.step(
        NU,
        MatMul(norm ** (1 / N - 1), W),
        "nu = grad Q, by grad |w| = w/|w|: the first layer, up to a rotation.",
        derived=nu,
    )
    page.step(
        MatMul(Transpose(NU), NU),
        MatMul(norm ** (2 / N), Identity(1)),
        "Its norm is |w|^(1/N), that of every balanced layer.",
        derived=columns.folded(nu.T @ nu),
    )
    second = rules.jacobian(nu)
    page.step(
        MatrixSymbol("Q''", SIZE, SIZE),
        MatAdd(
            MatMul(norm ** (1 / N - 1), Identity(SIZE)),
            MatMul((1 / N - 1) * norm ** (1 / N - 3), W, Transpose(W)),
        ),
        "Once more: |w|^(1/N-1) across w and 1/N of that along w, positive definite.",
        derived=second,
    )

    # The law of the mirror variable.
    velocity = columns.folded(second @ F) * -1
    page.step(
        Velocity(NU),
        MatMul(-(norm ** (1 - 1 / N)), G),
        "d grad Q/dt = Q'' dw/dt: the terms along w cancel, N - 1 + N (1/N - 1) = 0.",
        derived=velocity,
    )
    page.step(
        MatMul(PERP, Velocity(NU)),
        ZeroMatrix(SIZE, 1),
        "If g = X^T r then nu moves in the row space of X: P nu is conserved where P X^T = 0.",
        derived=_off_the_rows(velocity, norm),
    )

    back = nu * norm ** (1 - 1 / N)
    page.step(
        W,
        MatMul(norm ** (1 - 1 / N), MatMul(norm ** (1 / N - 1), W)),
        "So P w = |w|^(1-1/N) P nu: what X does not see of w grows and shrinks with |w|^(1-1/N).",
        derived=back,
    )

    certify(theorem.statement(N), velocity, name=theorem.name)
    return page


def _off_the_rows(velocity: MatrixPolynomial, norm: Expr) -> MatrixPolynomial:
    """P times a velocity along the gradient of a loss of X w."""
    of = MatrixPolynomial.of
    loss = velocity.substitute(lambda x: of(MatMul(Transpose(X), RESIDUAL)) if x == G else None)
    return rewrite_fully(
        of(PERP) @ loss, [Rule.of(MatMul(PERP, Transpose(X)), ZeroMatrix(SIZE, ROWS))]
    )


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
