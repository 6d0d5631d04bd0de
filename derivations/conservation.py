"""The balance of neighbouring layers is conserved by gradient flow.

Let the factors of W = W_N ... W_1 follow the negative gradient of
L(W_N ... W_1) + (lambda/2) sum_j ||W_j||^2.  Then, for 1 <= j < N,

    D_j = W_{j+1}^T W_{j+1} - W_j W_j^T     satisfies     D_j' = -2 lambda D_j,

so that D_j is conserved without weight decay, and decays as exp(-2 lambda t) with it.

The reason fits in a line.  Moving W_j by a rotation Q on the left, and W_{j+1} by its inverse on
the right, leaves the product unchanged; on the level of gradients this reads
W_{j+1}^T grad_{j+1} = grad_j W_j^T.  Everything else is the product rule.
"""

from __future__ import annotations

from sympy import MatAdd, MatMul, Symbol, Transpose

from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.chains import variation
from flowsim.symbolic.differential import (
    Differential,
    LossGradient,
    Velocity,
    differential,
    read_gradient,
)
from flowsim.symbolic.nodes import Chain, Layer, end_to_end, gradient
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem, conservation
from flowsim.theory.deep_linear import DECAY, INDEX

THEOREM = conservation


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N, every layer j and all widths.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page, of = Derivation(), MatrixPolynomial.of
    j = INDEX
    # Both layers exist: there are m >= 0 more above layer j + 1.
    N = j + 1 + Symbol("m", integer=True, nonnegative=True)
    W, G = end_to_end(N), gradient(N)

    # Single out a layer i.  The end-to-end matrix is linear in it, and so is its differential.
    gradients = {}
    for i in (j, j + 1):
        above, below = of(Chain(N, i + 1)), of(Chain(i - 1, 1))
        page.step(
            W,
            Chain(N, 1),
            f"W is the product of its factors; layer {i} stands between the layers above and "
            "those below it.",
            derived=above @ of(Layer(i)) @ below,
        )
        # Chain rule: dL = <G, A dW_i B> = <A^T G B^T, dW_i>.
        gradients[i] = read_gradient(above @ of(Differential(Layer(i))) @ below, Layer(i), G)
        page.step(
            LossGradient(Layer(i)),
            MatMul(Transpose(above.expr()), G, Transpose(below.expr())),
            "Chain rule, dL = <G, dW>.",
            derived=gradients[i],
        )

    page.step(
        MatMul(Transpose(Layer(j + 1)), LossGradient(Layer(j + 1))),
        MatMul(Transpose(Chain(N, j + 1)), G, Transpose(Chain(j, 1))),
        "The layer joins the layers above it.",
        derived=of(Layer(j + 1)).T @ gradients[j + 1],
    )
    page.step(
        MatMul(LossGradient(Layer(j)), Transpose(Layer(j))),
        MatMul(Transpose(Chain(N, j + 1)), G, Transpose(Chain(j, 1))),
        "The layer joins the layers below it: the two products are the same.",
        derived=gradients[j] @ of(Layer(j)).T,
    )

    # Each factor follows its gradient, and the gradient lambda W_i of the regulariser.
    flow = {i: -gradients[i] - of(Layer(i)) * DECAY for i in gradients}
    upper, lower = Layer(j + 1), Layer(j)
    D = MatAdd(MatMul(Transpose(upper), upper), MatMul(-1, lower, Transpose(lower)))
    rate = differential(of(D), variation(lambda i: flow[i]))
    page.step(
        Velocity(D),
        MatMul(-2 * DECAY, D),
        "Product rule along the flow; by the two lines above the gradients cancel.",
        derived=rate,
    )

    certify(theorem.statement(N), rate, name=theorem.name)
    return page


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
