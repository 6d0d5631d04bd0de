"""The calculus of words decides identities, and only true ones."""

import pytest
from sympy import Identity, MatMul, MatrixSymbol, Symbol, ZeroMatrix, symbols

from flowsim.symbolic import Chain, FrobeniusNorm, Layer, MatrixSum, PSDPower, certify
from flowsim.symbolic.certify import CertificationError
from flowsim.symbolic.nodes import end_to_end, gradient
from flowsim.symbolic.rewriting import Rule, rewrite, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial

of = MatrixPolynomial.of
n = Symbol("n", integer=True, positive=True)
A, B = MatrixSymbol("A", n, n), MatrixSymbol("B", n, n)
j, N = symbols("j N", integer=True, positive=True)
m = Symbol("m", integer=True, nonnegative=True)


def test_matrices_do_not_commute():
    assert of(A * B) != of(B * A)
    assert of((A + B) * (A + B)) == of(A * A + A * B + B * A + B * B)
    assert of((A + B) * (A + B)) != of(A * A + 2 * A * B + B * B)


def test_transposes_turn_products_round():
    assert of((A * B).T) == of(B.T * A.T)
    assert of((A * B).T) != of(A.T * B.T)


def test_neighbouring_layers_join_at_symbolic_indices():
    assert of(MatMul(Chain(N, j + 1), Layer(j))) == of(Chain(N, j))
    assert of(MatMul(Chain(N, j + 1), Layer(j), Chain(j - 1, 1))) == of(Chain(N, 1))
    assert of(MatMul(Layer(j).T, Chain(N, j + 1).T)) == of(Chain(N, j)).T
    assert of(MatMul(Layer(3), Layer(2), Layer(1))) == of(Chain(3, 1))


def test_empty_products_are_identities_that_vanish_in_words():
    assert of(MatMul(Chain(j - 1, j), Chain(j - 1, 1))) == of(Chain(j - 1, 1))


def test_powers_of_one_base_multiply():
    gram = MatMul(A, A.T)
    p, q = symbols("p q", positive=True)
    assert of(MatMul(PSDPower(gram, p), PSDPower(gram, q))) == of(PSDPower(gram, p + q))
    assert of(MatMul(PSDPower(gram, p), PSDPower(A.T * A, q))) != of(PSDPower(gram, p + q))
    assert of(PSDPower(gram, p).T) == of(PSDPower(gram, p))


def test_sums_unroll_collapse_peel_and_reflect():
    term = MatMul(PSDPower(A, j - 1), B, PSDPower(A, N - j))
    total = of(MatrixSum(term, j, 1, N))
    assert total.subs(N, 3) == of(
        MatMul(B, PSDPower(A, 2)) + MatMul(PSDPower(A, 1), B, PSDPower(A, 1)) + PSDPower(A, 2) * B
    )
    assert of(MatrixSum(B, j, 1, N)) == of(B) * N
    assert of(MatrixSum(B, j, 1, 0)).is_zero
    swapped = of(MatrixSum(MatMul(PSDPower(A, N - j), B, PSDPower(A, j - 1)), j, 1, N))
    assert total != swapped
    assert total.reflected() == swapped
    first = of(MatMul(B, PSDPower(A, N - 1)))
    assert total.peeled() == first + of(MatrixSum(term, j, 2, N))
    assert total.peeled(last=True) == of(MatMul(PSDPower(A, N - 1), B)) + of(
        MatrixSum(term, j, 1, N - 1)
    )


def test_a_sum_that_may_be_empty_is_not_peeled():
    with pytest.raises(ValueError, match="may be empty"):
        of(MatrixSum(PSDPower(A, j), j, 2, N)).peeled()


def test_a_rule_finds_its_left_hand_side_inside_longer_letters():
    top = j + m + 1
    rule = Rule.of(MatMul(Layer(j), Layer(j).T), MatMul(Layer(j + 1).T, Layer(j + 1)))
    square = of(MatMul(Chain(top, j), Chain(top, j).T))
    expected = MatMul(Chain(top, j + 1), Layer(j + 1).T, Layer(j + 1), Chain(top, j + 1).T)
    assert rewrite(square, rule) == of(expected)


def test_a_rule_is_not_applied_where_the_layer_may_not_be_there():
    # Layer j + 1 is part of W_{N:j} only if j < N, which nothing says here.
    rule = Rule.of(MatMul(Layer(j), Layer(j).T), MatMul(Layer(j + 1).T, Layer(j + 1)))
    square = of(MatMul(Chain(N, j), Chain(N, j).T))
    assert rewrite(square, rule) == square


def test_rewriting_that_does_not_end_is_stopped():
    loop = [Rule.of(A, MatMul(A, B)), Rule.of(B, MatMul(B, B))]
    with pytest.raises(RuntimeError, match="did not come to rest"):
        rewrite_fully(of(A), loop, limit=4)


def test_unknown_matrices_are_refused_by_name():
    with pytest.raises(TypeError, match="Inverse"):
        of(A.inv())


def test_shapes_are_compared():
    W = MatrixSymbol("W", n, n + 1)
    with pytest.raises(ValueError, match="do not multiply"):
        of(W) @ of(W)
    with pytest.raises(ValueError, match="do not add"):
        of(W) + of(A)


def test_certify_raises_with_the_residual():
    with pytest.raises(CertificationError, match=r"residual: A\*B - B\*A") as caught:
        certify(A * B, B * A)
    assert caught.value.residual == A * B - B * A
    with pytest.raises(CertificationError, match="residual: x"):
        certify(2 * Symbol("x"), Symbol("x"))
    certify(Identity(n) * A, A + ZeroMatrix(n, n))


def test_scalar_exponents_add_up_before_they_are_compared():
    w, g = end_to_end(N), gradient(N)
    norm = FrobeniusNorm(w)
    split = norm ** (2 * (N - j) / N) * norm ** (2 * (j - 1) / N)
    certify(MatMul(norm ** (2 - 2 / N), g), MatMul(split, g))
    with pytest.raises(CertificationError):
        certify(MatMul(norm ** (2 - 1 / N), g), MatMul(split, g))


def test_a_transposed_chain_beside_a_transposed_plain_letter():
    D = MatrixSymbol("D", Chain(j, 1).shape[0], n)
    product = of(Chain(j, 1)).T @ of(D)
    assert product == product.T.T
    assert of(D).T @ of(Chain(j, 1)) == product.T
