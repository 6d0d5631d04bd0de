"""The nodes of laws: their special cases, their shapes, and how they are printed."""

import pytest
from sympy import Identity, Rational, Symbol, ZeroMatrix, latex, symbols

from flowsim.symbolic import Chain, FrobeniusNorm, Layer, MatrixSum, Projection, PSDPower, printing
from flowsim.symbolic.nodes import end_to_end, gradient, width

j, N = symbols("j N", integer=True, positive=True)
W, G = end_to_end(N), gradient(N)


def test_shapes_are_widths():
    assert Layer(j).shape == (width(j), width(j - 1))
    assert Chain(N, j + 1).shape == (width(N), width(j))
    assert W.shape == G.shape == (width(N), width(0))
    assert Projection(W, G).shape == W.shape


def test_short_chains():
    assert Chain(j, j) == Layer(j)
    assert Chain(j, j + 1) == Identity(width(j))
    assert Chain(N, N + 1) == Identity(width(N))
    assert Chain(3, 1).expand_chain() == Layer(3) * Layer(2) * Layer(1)
    assert Chain(N, 1).subs(N, 1) == Layer(1)
    assert Chain(N, 1).expand_chain() == Chain(N, 1)
    with pytest.raises(ValueError, match="product of -1 factors"):
        Chain(1, 3)


def test_powers_of_semidefinite_matrices():
    gram = W * W.T
    assert PSDPower(gram, 0) == Identity(W.rows)
    assert PSDPower(gram, Rational(1, 3)) == PSDPower(gram, Rational(1, 3)).T
    assert PSDPower(gram, (N - j) / N).subs(j, N) == Identity(W.rows)
    with pytest.raises(ValueError, match="p = -1"):
        PSDPower(gram, -1)
    with pytest.raises(ValueError, match="square"):
        PSDPower(W, 2)


def test_sums_bind_their_index():
    total = MatrixSum(Layer(j).T * Layer(j), j, 1, N)
    assert j not in total.free_symbols
    assert total.subs(j, 5) == total
    assert total.subs(N, 2).doit() == Layer(1).T * Layer(1) + Layer(2).T * Layer(2)
    # A substitution that brings in another j does not capture it.
    p = Symbol("p", positive=True)
    powers = MatrixSum(PSDPower(W * W.T, p * j), j, 1, 2).subs(p, j)
    assert powers.doit() == PSDPower(W * W.T, j) + PSDPower(W * W.T, 2 * j)


def test_zero_is_recognised():
    zero = ZeroMatrix(*W.shape)
    assert FrobeniusNorm(zero) == 0
    assert Projection(W, zero) == Projection(zero, G) == zero
    assert FrobeniusNorm(W).is_nonnegative
    with pytest.raises(ValueError, match="one shape"):
        Projection(W, G.T)


def test_text_is_never_parsed():
    with pytest.raises(TypeError, match="expected an integer"):
        Layer("__import__('os')")


def test_printing():
    power = PSDPower(W * W.T, (N - j) / N)
    assert printing.text(power) == "(W*W^T)^((N - j)/N)"
    assert printing.text(power.subs(N, 3)) == "(W*W^T)^((3 - j)/3)"
    assert printing.latex(power) == r"\left(W W^{\top}\right)^{\frac{N - j}{N}}"
    assert printing.latex(Chain(N, j + 1)) == "W_{N:j+1}"
    assert printing.latex(G) == r"\nabla L(W)"
    assert printing.latex(FrobeniusNorm(W) ** 2, vectors=True) == r"\left\lVert w \right\rVert^{2}"
    # SymPy's own printer knows the nodes too.
    assert latex(MatrixSum(Layer(j), j, 1, N)) == r"\sum_{j=1}^{N} W_{j}"
