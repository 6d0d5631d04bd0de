"""Two layers that differ by a multiple of the identity move their product by a law of its own.

Let W_1 (h x d) and W_2 (k x h) follow the negative gradient of L(W_2 W_1), and let
W_2^T W_2 - W_1 W_1^T = lambda I at the start.  The difference is conserved.  With Q = W_2 W_2^T and
R = W_1^T W_1 the product rule gives W' = -(Q G + G R), and the balance gives

    Q^2 - lambda Q = W W^T,      R^2 + lambda R = W^T W.

Completing the square, (Q - lambda/2)^2 = lambda^2/4 + W W^T, and the same for R + lambda/2.

Which root?  The eigenvalues of Q - lambda/2 have to be at least 0.  If lambda <= 0 they are, Q
being positive semidefinite.  If lambda > 0, Q shares its eigenvalues other than 0 with W_2^T W_2 =
W_1 W_1^T + lambda I, and these are at least lambda; the eigenvalue 0 does not occur if h = k.  So Q
is the positive root, and no other is possible.  For R exchange the layers and the sign of lambda:
what is needed is h = d if lambda < 0.
"""

from __future__ import annotations

from sympy import Identity, MatAdd, MatMul, Rational, Transpose, ZeroMatrix

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    product_rule,
    read_gradient,
)
from flowsim.symbolic.nodes import Chain, Layer, PSDPower, end_to_end, gradient, width
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.records import Theorem
from flowsim.theory.two_layer import IMBALANCE, lambda_balanced

THEOREM = lambda_balanced
of = MatrixPolynomial.of
FIRST, SECOND = Layer(1), Layer(2)
W, G = end_to_end(2), gradient(2)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for all widths.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    layers = [of(SECOND), of(FIRST)]
    change = product_rule(layers, [of(Differential(SECOND)), of(Differential(FIRST))])
    gradients = {x: read_gradient(change, x, G) for x in (FIRST, SECOND)}
    page.step(
        LossGradient(FIRST), MatMul(Transpose(SECOND), G), "Chain rule, dW = W_2 dW_1.",
        derived=gradients[FIRST],
    )  # fmt: skip
    page.step(
        LossGradient(SECOND), MatMul(G, Transpose(FIRST)), "Chain rule, dW = dW_2 W_1.",
        derived=gradients[SECOND],
    )  # fmt: skip
    flow = {x: -gradient for x, gradient in gradients.items()}

    defect = of(SECOND).T @ of(SECOND) - of(FIRST) @ of(FIRST).T
    page.step(
        Velocity(defect.expr()),
        ZeroMatrix(width(1), width(1)),
        "The difference of the layers is conserved, and stays lambda I.",
        derived=differential(defect, flow.get),
    )
    Q, R = MatMul(SECOND, Transpose(SECOND)), MatMul(Transpose(FIRST), FIRST)
    velocity = product_rule(layers, [flow[SECOND], flow[FIRST]])
    page.step(
        Velocity(W), MatAdd(MatMul(-1, Q, G), MatMul(-1, G, R)), "Product rule.",
        derived=velocity,
    )  # fmt: skip

    # Q^2 and R^2 by the balance, read once from the left and once from the right.
    one = Identity(width(1))
    upper = MatAdd(MatMul(FIRST, Transpose(FIRST)), MatMul(IMBALANCE, one))
    lower = MatAdd(MatMul(Transpose(SECOND), SECOND), MatMul(-IMBALANCE, one))
    balance = {
        Q: Rule.of(MatMul(Transpose(SECOND), SECOND), upper),
        R: Rule.of(MatMul(FIRST, Transpose(FIRST)), lower),
    }
    whole = {Q: MatMul(W, Transpose(W)), R: MatMul(Transpose(W), W)}
    closed = velocity
    for X, sign, name in ((Q, 1, "Q"), (R, -1, "R")):
        square = _with_whole(rewrite_fully(of(X) @ of(X), [balance[X]]))
        page.step(
            MatMul(X, X),
            MatAdd(whole[X], MatMul(sign * IMBALANCE, X)),
            f"{name}^2: the balance in the middle, and W = W_2 W_1.",
            derived=square,
        )
        half = MatrixPolynomial.identity(X.rows) * (sign * IMBALANCE / 2)
        completed = _with_whole(rewrite_fully((of(X) - half) @ (of(X) - half), [balance[X]]))
        inside = MatAdd(MatMul(IMBALANCE**2 / 4, Identity(X.rows)), whole[X])
        page.step(
            MatMul(MatAdd(X, -half.expr()), MatAdd(X, -half.expr())),
            inside,
            "The square, completed.",
            derived=completed,
        )
        root = half + of(PSDPower(inside, Rational(1, 2)))
        closed = rewrite_fully(closed, [Rule(next(iter(of(X).terms))[0], root)])
    certify(theorem.statement(2), closed, name=theorem.name)
    return page


def _with_whole(polynomial: MatrixPolynomial) -> MatrixPolynomial:
    """Write W_2 W_1 as W."""
    return polynomial.substitute(lambda node: of(W) if node == Chain(2, 1) else None)


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
