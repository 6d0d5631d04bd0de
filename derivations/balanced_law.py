"""From a balanced start, the end-to-end matrix obeys an equation of its own.

Let the factors of W = W_N ... W_1 follow the negative gradient of
L(W_N ... W_1) + (lambda/2) sum_j ||W_j||^2, from a start with W_{j+1}^T W_{j+1} = W_j W_j^T for
1 <= j < N.  With G = grad L(W),

    W' = -lambda N W - sum_{j=1..N} (W W^T)^((N-j)/N) G (W^T W)^((j-1)/N).

The proof has three parts.  The chain rule gives the velocity of W in terms of partial products of
the factors, from any start.  Balance, which the flow preserves, lets the partial products be pushed
to the ends of the network, layer by layer: they are powers of A = W_N W_N^T and B = W_1^T W_1.
The full product is such a power as well, W W^T = A^N, and taking the root of it closes the
equation.

Arora, Cohen and Hazan print the sum in the opposite order, j -> N + 1 - j.  The sums are the same;
that is the last line.
"""

from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Integer, MatAdd, MatMul, MatrixExpr, Symbol, Transpose

from flowsim.symbolic import balance
from flowsim.symbolic.certify import Derivation, certify
from flowsim.symbolic.chains import layer_differential, prove_chain_differential, variation
from flowsim.symbolic.differential import Differential, Velocity, differential, read_gradient
from flowsim.symbolic.nodes import Chain, Layer, MatrixSum, PSDPower, end_to_end, gradient
from flowsim.symbolic.rewriting import Rule, rewrite
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory import Theorem, balanced_law
from flowsim.theory.deep_linear import DECAY, INDEX

THEOREM = balanced_law

of = MatrixPolynomial.of
N, j = Symbol("N", integer=True, positive=True), INDEX
W, G = end_to_end(N), gradient(N)


def prove(theorem: Theorem = THEOREM) -> Derivation:
    """Prove the theorem for every depth N and all widths.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If a step does not hold, or the record states something else.
    """
    page = Derivation()
    velocity = from_any_start(page)
    # Along the flow the factors stay balanced: that is conservation.py.
    at_output, at_input = output_powers(page), input_powers(page)
    velocity = close(page, velocity, at_output, at_input)
    certify(theorem.statement(N), velocity.reflected(), name=theorem.name)
    return page


def from_any_start(page: Derivation) -> MatrixPolynomial:
    """Part 1: the velocity of the product, by the chain rule and the product rule."""
    prove_chain_differential()
    d_product = differential(of(Chain(N, 1)), variation(layer_differential))
    above, below = Chain(N, j + 1), Chain(j - 1, 1)
    page.step(
        Differential(W),
        MatrixSum(MatMul(above, Differential(Layer(j)), below), j, 1, N),
        "Product rule, by induction on the number of factors.",
        derived=d_product,
    )
    descent = -read_gradient(d_product, Layer(j), G) - of(Layer(j)) * DECAY
    page.step(
        Velocity(Layer(j)),
        MatAdd(
            MatMul(Integer(-1), Transpose(above), G, Transpose(below)), MatMul(-DECAY, Layer(j))
        ),
        "Chain rule, dL = <G, dW>, and the gradient lambda W_j of the regulariser.",
        derived=descent,
    )
    velocity = differential(of(Chain(N, 1)), variation(lambda i: descent.subs(j, i)))
    page.step(
        Velocity(W),
        MatAdd(
            MatMul(-DECAY * N, Chain(N, 1)),
            minus_sum(MatMul(above, Transpose(above)), MatMul(Transpose(below), below)),
        ),
        "The first line again, with the velocities of the factors for their differentials.",
        derived=velocity,
    )
    return velocity


def output_powers(page: Derivation) -> Callable[[Expr], PSDPower]:
    """Part 2: W_{N:j+1} W_{N:j+1}^T = A^(N-j), by descent from j = N."""

    def power(depth: Expr, layer: Expr) -> MatrixExpr:
        return PSDPower(balance.gram(depth, end="output"), depth - layer)

    # There are m >= 1 layers above layer j, so that it is balanced with the one above it.
    depth = j + Symbol("m", integer=True, positive=True)
    above, with_j, top = Chain(depth, j + 1), Chain(depth, j), Layer(depth)
    A = balance.gram(depth, end="output")
    fold = balance.fold_rule(depth, end="output")
    balanced = balance.balance_rule(j, depth, towards="output")

    lemma = Rule.of(
        MatMul(above, Transpose(Layer(j + 1)), Layer(j + 1)), MatMul(PSDPower(A, 1), above)
    )
    page.step(
        MatMul(top, Transpose(top), top),
        MatMul(PSDPower(A, 1), top),
        "Lemma, last layer: a Gram matrix passes through the layers above it and becomes A.",
        derived=rewrite(of(MatMul(top, Transpose(top), top)), fold),
    )
    start = MatMul(with_j, Transpose(Layer(j)), Layer(j))
    page.step(
        start,
        MatMul(PSDPower(A, 1), with_j),
        "Lemma, one layer down: balance between j and j + 1, then the lemma for j + 1.",
        derived=rewrite(rewrite(of(start), balanced), lemma),
    )
    for layer, product in ((depth, Chain(depth, depth + 1)), (depth - 1, top)):
        square = of(product) @ of(product).T
        page.step(
            square.expr(),
            power(depth, layer),
            "Powers of A: no layer, and the last one.",
            derived=rewrite(square, fold),
        )
    square = MatMul(with_j, Transpose(with_j))
    claim = Rule.of(MatMul(above, Transpose(above)), power(depth, j))
    page.step(
        square,
        power(depth, j - 1),
        "Powers of A, one layer down: balance, the lemma, and the claim for j.",
        derived=rewrite(rewrite(rewrite(of(square), balanced), lemma), claim),
    )
    return lambda layer: power(N, layer)


def input_powers(page: Derivation) -> Callable[[Expr], PSDPower]:
    """Part 2, mirrored: W_{j-1:1}^T W_{j-1:1} = B^(j-1), by climbing from j = 1."""

    def power(depth: Expr, layer: Expr) -> MatrixExpr:
        return PSDPower(balance.gram(depth, end="input"), layer - 1)

    # Layer i > 1 is balanced with the one below it, whatever the number of layers above.
    i = Symbol("l", integer=True, nonnegative=True) + 2
    depth = i + Symbol("m", integer=True, nonnegative=True)
    below, with_i, bottom = Chain(i - 1, 1), Chain(i, 1), Layer(1)
    B = balance.gram(depth, end="input")
    fold = balance.fold_rule(depth, end="input")
    balanced = balance.balance_rule(i, depth, towards="input")

    lemma = Rule.of(
        MatMul(Layer(i - 1), Transpose(Layer(i - 1)), below), MatMul(below, PSDPower(B, 1))
    )
    page.step(
        MatMul(bottom, Transpose(bottom), bottom),
        MatMul(bottom, PSDPower(B, 1)),
        "Lemma, first layer: a Gram matrix passes through the layers below it and becomes B.",
        derived=rewrite(of(MatMul(bottom, Transpose(bottom), bottom)), fold),
    )
    start = MatMul(Layer(i), Transpose(Layer(i)), with_i)
    page.step(
        start,
        MatMul(with_i, PSDPower(B, 1)),
        "Lemma, one layer up: balance between i and i - 1, then the lemma for i - 1.",
        derived=rewrite(rewrite(of(start), balanced), lemma),
    )
    for layer, product in ((Integer(1), Chain(0, 1)), (Integer(2), bottom)):
        square = of(product).T @ of(product)
        page.step(
            square.expr(),
            power(depth, layer),
            "Powers of B: no layer, and the first one.",
            derived=rewrite(square, fold),
        )
    square = MatMul(Transpose(with_i), with_i)
    claim = Rule.of(MatMul(Transpose(below), below), power(depth, i))
    page.step(
        square,
        power(depth, i + 1),
        "Powers of B, one layer up: balance, the lemma, and the claim for i.",
        derived=rewrite(rewrite(rewrite(of(square), balanced), lemma), claim),
    )
    return lambda layer: power(N, layer)


def close(
    page: Derivation,
    velocity: MatrixPolynomial,
    at_output: Callable[[Expr], PSDPower],
    at_input: Callable[[Expr], PSDPower],
) -> MatrixPolynomial:
    """Part 3: the root of the whole product, and the equation in W alone.

    All the layers together give W W^T = A^e with e = N, and the layers above j give A^p with
    p = N - j.  The matrices A^p and (W W^T)^(p/e) are positive semidefinite, and both have the e-th
    power A^(pe); such roots are unique, so the matrices are equal.  In the same way for B.
    """
    above, below = Chain(N, j + 1), Chain(j - 1, 1)
    left, right = MatMul(above, Transpose(above)), MatMul(Transpose(below), below)
    square, cosquare = MatMul(W, Transpose(W)), MatMul(Transpose(W), W)

    p, e = at_output(j).exponent, at_output(Integer(0)).exponent
    left_power = PSDPower(square, (N - j) / N)
    page.step(left, left_power, "Uniqueness of roots.", derived=PSDPower(square, p / e))
    p, e = at_input(j).exponent, at_input(N + 1).exponent
    right_power = PSDPower(cosquare, (j - 1) / N)
    page.step(right, right_power, "Uniqueness of roots.", derived=PSDPower(cosquare, p / e))

    whole = Chain(N, 1)
    closed = velocity.substitute(lambda node: of(W) if node == whole else None)
    for product, power in ((left, left_power), (right, right_power)):
        closed = rewrite(closed, Rule.of(product, power, index=j))
    page.step(
        Velocity(W),
        MatAdd(MatMul(-DECAY * N, W), minus_sum(left_power, right_power)),
        "The two powers, put into the velocity from any start.",
        derived=closed,
    )
    return closed


def minus_sum(left: MatrixExpr, right: MatrixExpr) -> MatrixExpr:
    """Return - sum_{j=1..N} left G right."""
    factors = [f for m in (left, G, right) for f in (m.args if isinstance(m, MatMul) else (m,))]
    return MatMul(Integer(-1), MatrixSum(MatMul(*factors), j, 1, N))


if __name__ == "__main__":
    for step in prove().steps:
        print(step)
    print(f"\nproved: {THEOREM.title}")
