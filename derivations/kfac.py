"""K-FAC flow: every layer takes the full step, and squared error falls at rate N.

The loss is L = 1/2 E ||y - W x||^2 with W = W_N ... W_1, Sigma = E x x^T and G = (W - W*) Sigma.
To layer i the network is W = R W_i Q, with R = W_{N:i+1} above and Q = W_{i-1:1} below.  A change
dW_i changes the output by R dW_i Q x, so that the Fisher matrix of the layer is the operator

    dW_i  ->  B dW_i A,      B = R^T R,   A = Q Sigma Q^T,

a Kronecker product, exactly.  K-FAC flow inverts it block by block,
W_i' = -B^+ (grad_i L) A^+.  If R is onto and Q injective, the layer's contribution to W' is

    R W_i' Q = -(W - W*),

the full natural gradient step, and there are N layers: W' = -N (W - W*).  For a chain of scalars
W_i' = -W_i (W - W*)/W, so that the ratios of weights are conserved, where gradient flow conserves
differences of squares.
"""

from __future__ import annotations

from sympy import (
    Expr,
    Identity,
    MatAdd,
    MatMul,
    MatrixSymbol,
    Rational,
    Symbol,
    Transpose,
    diff,
    together,
)

from derivations.natural_gradient import rate_of, solved
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.chains import layer_differential, variation
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    read_gradient,
)
from flowsim.symbolic.nodes import (
    Chain,
    Layer,
    PSDPower,
    end_to_end,
    gradient,
    width,
)
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem
from flowsim.theory.rates import kfac, optimum

THEOREM = kfac

of = MatrixPolynomial.of
N, i = Symbol("N", integer=True, positive=True), Symbol("i", integer=True, positive=True)
W, G, goal = end_to_end(N), gradient(N), optimum(N)
above, below, layer = Chain(N, i + 1), Chain(i - 1, 1), Layer(i)
k, d = width(N), width(0)


def symmetric(name: str, size: Expr) -> PSDPower:
    """Return a symmetric positive semidefinite letter."""
    return PSDPower(MatrixSymbol(name, size, size), 1)


Sigma, Sigma_inverse = symmetric("Sigma", d), symmetric("Sigma^-1", d)
# Inverses that exist: of R R^T, as R is onto, and of Q^T Q, as Q is injective.
K, M = symmetric("(R R^T)^-1", k), symmetric("(Q^T Q)^-1", d)
RULES = [
    Rule.of(MatMul(Sigma, Sigma_inverse), Identity(d)),
    Rule.of(MatMul(Sigma_inverse, Sigma), Identity(d)),
    Rule.of(MatMul(K, above, Transpose(above)), Identity(k)),
    # Powers of one matrix are one letter: the rules for its square.
    Rule.of(MatMul(above, Transpose(above), PSDPower(K.base, 2)), K),
    Rule.of(MatMul(PSDPower(K.base, 2), above, Transpose(above)), K),
    Rule.of(MatMul(Transpose(below), below, M), Identity(d)),
    Rule.of(MatMul(M, Transpose(below), below), Identity(d)),
]


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N, every layer i and all widths that let the ranks be.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    pull = layer_gradient(page)
    left, right = fisher_block(page)
    B_inverse = inverse_of(page, left, of(Transpose(above)) @ of(K) @ of(K) @ of(above), "B")
    A_inverse = inverse_of(
        page, right, of(below) @ of(M) @ of(Sigma_inverse) @ of(M) @ of(Transpose(below)), "A"
    )
    step = -(B_inverse @ pull @ A_inverse)
    contribution = settled(of(above) @ step @ of(below))
    page.step(
        MatMul(above, Velocity(layer), below),
        MatAdd(goal, MatMul(-1, W)),
        "K-FAC's velocity of the layer, as it moves W: one full step to the optimum.",
        derived=contribution,
    )
    velocity = contribution.summed(i, 1, N)
    page.step(
        Velocity(W),
        MatMul(N, MatAdd(goal, MatMul(-1, W))),
        "By the product rule the layers' contributions add up, and there are N.",
        derived=velocity,
    )
    scalar_chain(page)
    solution = solved(page, rate_of(velocity, W, goal))
    certify(theorem.statement(N), solution, name=theorem.name)
    return page


def settled(matrix: MatrixPolynomial) -> MatrixPolynomial:
    """Cancel what is an inverse against what it inverts."""
    return rewrite_fully(matrix, RULES)


def layer_gradient(page: Derivation) -> MatrixPolynomial:
    """From the loss to the gradient with respect to layer i."""
    away = of(W) - of(goal)
    change = differential(
        away @ of(Sigma) @ away.T, lambda node: of(Differential(W)) if node == W else None
    )
    slope = read_gradient(change, W, Identity(k)) * Rational(1, 2)
    page.step(
        G,
        MatMul(MatAdd(W, MatMul(-1, goal)), Sigma),
        "The loss is 1/2 tr (W - W*) Sigma (W - W*)^T plus a constant.",
        derived=slope,
    )
    d_product = differential(of(Chain(N, 1)), variation(layer_differential))
    pull = read_gradient(d_product, layer, G).substitute(lambda node: slope if node == G else None)
    page.step(
        LossGradient(layer),
        MatMul(Transpose(above), MatAdd(W, MatMul(-1, goal)), Sigma, Transpose(below)),
        "Chain rule, dL = <G, dW>.",
        derived=pull,
    )
    return pull


def fisher_block(page: Derivation) -> tuple[MatrixPolynomial, MatrixPolynomial]:
    """Return B and A: the Fisher matrix takes dW_i to the gradient of 1/2 E ||R dW_i Q x||^2."""
    D = MatrixSymbol("D", *layer.shape)
    # In the output matrix R D Q the form is 1/2 tr X Sigma X^T, of gradient X Sigma; pull it back.
    outward = of(above) @ of(D) @ of(below) @ of(Sigma)
    d_product = differential(of(Chain(N, 1)), variation(layer_differential))
    operator = read_gradient(d_product, layer, G).substitute(
        lambda node: outward if node == G else None
    )
    left = of(Transpose(above)) @ of(above)
    right = of(below) @ of(Sigma) @ of(Transpose(below))
    page.step(
        MatrixSymbol("F_i[D]", *layer.shape),
        MatMul(Transpose(above), above, D, below, Sigma, Transpose(below)),
        "The Fisher matrix of the layer acts on D as B D A: outputs of unit variance.",
        derived=operator,
    )
    certify(left @ of(D) @ right, operator, name="Kronecker factors")
    return left, right


def inverse_of(
    page: Derivation, matrix: MatrixPolynomial, inverse: MatrixPolynomial, name: str
) -> MatrixPolynomial:
    """State a pseudo-inverse and check Penrose's equations."""
    size = matrix.shape[0]
    X, P = MatrixSymbol(name, size, size), MatrixSymbol(f"{name}^+", size, size)
    one, two = settled(matrix @ inverse), settled(inverse @ matrix)
    formula = {"B": "R^T (R R^T)^-2 R", "A": "Q (Q^T Q)^-1 Sigma^-1 (Q^T Q)^-1 Q^T"}[name]
    for lhs, stated, found in (
        (MatMul(X, P, X), matrix, one @ matrix),
        (MatMul(P, X, P), inverse, two @ inverse),
        (Transpose(MatMul(X, P)), one, one.T),
        (Transpose(MatMul(P, X)), two, two.T),
    ):
        page.step(
            lhs,
            stated.expr(),
            f"{name}^+ = {formula}: Penrose's equations.",
            derived=settled(found),
        )
    return inverse


def scalar_chain(page: Derivation) -> None:
    """A chain of scalars: every weight grows at one and the same relative rate."""
    w_i, rest, target, x = (Symbol(name, nonzero=True) for name in ("w_i", "rho", "w^*", "xi"))
    loss = x * (rest * w_i - target) ** 2 / 2
    fisher = x * rest**2
    page.step(
        Symbol("w_i'") / w_i,
        target / (rest * w_i) - 1,
        "For scalars, rho the product of the other weights: w_i'/w_i = (w* - w)/w at every i, so "
        "that ratios of weights are conserved.",
        derived=together(-diff(loss, w_i) / fisher / w_i),
    )


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
