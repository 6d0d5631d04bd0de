"""Two linear layers, whitened inputs: a matrix Riccati equation and its solution.

The loss is L(W) = 1/2 ||W - S||^2 with W = W_2 W_1, and the factors start with

    W_2^T W_2 - W_1 W_1^T = lambda I,

which the flow keeps.  Stack them as Q = (W_1^T; W_2).  The Gram matrix P = Q Q^T has W as its lower
left block, and

    P' = F P + P F - P^2,      F = ( -lambda/2 I    S^T        )
                                   (  S             lambda/2 I ).

Nothing is asked of the ranks or of the widths.  The quadratic term is why it can be solved: with
E = exp(F t), put P = E Z E.  Then Z' = -Z E^2 Z, which says that the inverse of Z grows by E^2.  To
spare Z the need of an inverse, it is written Q_0 K Q_0^T with K = (I + Q_0^T Phi Q_0)^{-1} and
Phi = int_0^t E^2.
"""

from __future__ import annotations

from sympy import (
    Function,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Rational,
    Symbol,
    Transpose,
    ZeroMatrix,
    diff,
    exp,
)

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.differential import Differential, Velocity, differential, read_gradient
from flowsim.symbolic.nodes import Chain, Layer, end_to_end, gradient, width
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem
from flowsim.theory.riccati import GROWTH, INVERSE, STACKED_START, matrix_riccati
from flowsim.theory.two_layer import IMBALANCE

THEOREM = matrix_riccati

of = MatrixPolynomial.of
W1, W2, W, G = Layer(1), Layer(2), end_to_end(2), gradient(2)
S = MatrixSymbol("S", width(2), width(0))
d, h, k = width(0), width(1), width(2)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for all widths, and lambda of either sign.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    flow = layers_descend(page)
    blocks_move(page, flow)
    solve(page, theorem)
    return page


def layers_descend(page: Derivation) -> dict[MatrixExpr, MatrixPolynomial]:
    """From the loss to the velocities of the two layers, and to what they conserve."""
    E = of(Chain(2, 1)) - of(S)
    change = differential(
        E @ E.T, lambda node: of(Differential(W)) if node == Chain(2, 1) else None
    )
    slope = read_gradient(change, W, Identity(k)) * Rational(1, 2)
    page.step(
        G,
        MatAdd(Chain(2, 1), MatMul(-1, S)),
        "The gradient of 1/2 tr (W - S)(W - S)^T.",
        derived=slope,
    )
    d_product = differential(
        of(MatMul(W2, W1)),
        _product_rule,
    )
    flow = {}
    for layer, stated in (
        (W1, MatAdd(MatMul(Transpose(W2), S), MatMul(-1, Transpose(W2), Chain(2, 1)))),
        (W2, MatAdd(MatMul(S, Transpose(W1)), MatMul(-1, Chain(2, 1), Transpose(W1)))),
    ):
        pulled = -read_gradient(d_product, layer, G)
        flow[layer] = pulled.substitute(lambda node: slope if node == G else None)
        page.step(Velocity(layer), stated, "Chain rule, dL = <G, dW>.", derived=flow[layer])
    imbalance = MatAdd(MatMul(Transpose(W2), W2), MatMul(-1, W1, Transpose(W1)))
    page.step(
        Velocity(imbalance),
        ZeroMatrix(h, h),
        "The imbalance of the layers is conserved, and stays lambda I.",
        derived=_velocity(of(imbalance), flow),
    )
    return flow


def blocks_move(page: Derivation, flow: dict[MatrixExpr, MatrixPolynomial]) -> None:
    """Compare the velocity of each block of Q Q^T with that block of F P + P F - P^2."""
    half = IMBALANCE / 2
    F = (
        (of(Identity(d)) * -half, of(S).T),
        (of(S), of(Identity(k)) * half),
    )
    rows = (of(W1).T, of(W2))
    P = [[p @ q.T for q in rows] for p in rows]
    names = (("W_1^T W_1", "W^T"), ("W", "W_2 W_2^T"))
    # The imbalance, read as a rule for the lower layer's Gram matrix.
    balance = Rule.of(
        MatMul(W1, Transpose(W1)),
        MatAdd(MatMul(Transpose(W2), W2), MatMul(-IMBALANCE, Identity(h))),
    )
    for i in (0, 1):
        for j in (0, 1):
            linear = F[i][0] @ P[0][j] + F[i][1] @ P[1][j] + P[i][0] @ F[0][j] + P[i][1] @ F[1][j]
            stated = linear - P[i][0] @ P[0][j] - P[i][1] @ P[1][j]
            page.step(
                Velocity(P[i][j].expr()),
                _settled(stated, balance).expr(),
                f"Block {names[i][j]} of F P + P F - P^2, by the product rule and the imbalance.",
                derived=_settled(_velocity(P[i][j], flow), balance),
            )


def solve(page: Derivation, theorem: Theorem) -> None:
    """Check that the formula of the record moves as P does, and starts where P does."""
    E, Q0, K = GROWTH, STACKED_START, INVERSE
    size, inner = E.shape[0], K.shape[0]
    F, M = MatrixSymbol("F", size, size), MatrixSymbol("M", inner, inner)
    # The time integral of E^2: what the eigenvalues of F make of it.
    f, t = Symbol("f", real=True, nonzero=True), Symbol("t", positive=True)
    page.step(
        Function("phi")(t).diff(t),
        exp(2 * f * t),
        "Phi has the eigenvalues (exp(2 f t) - 1)/(2 f), or t at f = 0; its derivative is E^2.",
        derived=diff((exp(2 * f * t) - 1) / (2 * f), t),
    )
    grows = of(F) @ of(E)
    commute = Rule.of(MatMul(F, E), MatMul(E, F))
    M_grows = of(Transpose(Q0)) @ of(E) @ of(E) @ of(Q0)
    # K M = I: the derivative of the left-hand side is 0, and so K' is known.
    K_moves = -(of(K) @ M_grows @ of(K))
    unit = Rule.of(MatMul(K, M), Identity(inner))
    unit_right = Rule.of(MatMul(M, K), Identity(inner))
    product = differential(
        of(MatMul(K, M)), {K: -(of(K) @ of(Velocity(M)) @ of(K)), M: of(Velocity(M))}.get
    )
    page.step(
        Velocity(MatMul(K, M)),
        ZeroMatrix(inner, inner),
        "K is the inverse of M = I + Q_0^T Phi Q_0, so that K' = -K M' K.",
        derived=rewrite_fully(product, [unit, unit_right]),
    )
    page.step(
        Velocity(K),
        MatMul(-1, K, Transpose(Q0), E, E, Q0, K),
        "M' = Q_0^T E^2 Q_0.",
        derived=(-(of(K) @ of(Velocity(M)) @ of(K))).substitute(
            lambda node: M_grows if node == Velocity(M) else None
        ),
    )
    P = of(theorem.statement(Integer(2)))
    moved = differential(P, {E: grows, K: K_moves}.get)
    riccati = of(F) @ P + P @ of(F) - P @ P
    page.step(
        Velocity(MatrixSymbol("P", size, size)),
        rewrite_fully(riccati, [commute]).expr(),
        "Along E' = F E = E F the formula moves by F P + P F - P^2.",
        derived=rewrite_fully(moved, [commute]),
    )
    start = P.substitute({E: of(Identity(size)), K: of(Identity(inner))}.get)
    page.step(
        MatrixSymbol("P", size, size),
        MatMul(Q0, Transpose(Q0)),
        "At time 0, where E = I and K = I, it is Q_0 Q_0^T.",
        derived=start,
    )
    # By the two lines and uniqueness, what moves so from there is Q Q^T: Q Q^T solves the record.
    solution = of(E) @ of(Q0) @ of(K) @ of(Q0).T @ of(E)
    certify(P, solution, name=theorem.name)


def _product_rule(node: MatrixExpr) -> MatrixPolynomial | None:
    if node == Chain(2, 1):
        return of(Differential(W2)) @ of(W1) + of(W2) @ of(Differential(W1))
    return None


def _velocity(
    matrix: MatrixPolynomial, flow: dict[MatrixExpr, MatrixPolynomial]
) -> MatrixPolynomial:
    """Differentiate along the flow; the product moves as its factors do."""

    def of_letter(node: MatrixExpr) -> MatrixPolynomial | None:
        if node == Chain(2, 1):
            return flow[W2] @ of(W1) + of(W2) @ flow[W1]
        return flow.get(node)

    return differential(matrix, of_letter)


def _settled(matrix: MatrixPolynomial, balance: Rule) -> MatrixPolynomial:
    return rewrite_fully(matrix, [balance])


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
