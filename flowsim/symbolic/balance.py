r"""What balance gives: partial products of layers are powers of the end-to-end matrix.

Layers are *balanced* when :math:`W_{i+1}^\top W_{i+1} = W_i W_i^\top` for :math:`1 \le i < N`.
With :math:`A = W_N W_N^\top` and :math:`B = W_1^\top W_1` it follows that

.. math::

    W_{N:j+1} W_{N:j+1}^\top = A^{N-j}, \qquad W_{j-1:1}^\top W_{j-1:1} = B^{j-1}.

For a small number N this is found by rewriting: each use of the rule moves a pair of factors one
layer towards the output (the input), so that the rewriting ends, with every pair at the end of the
network; it takes of the order of :math:`N^4` operations.  For a symbol N, and with it for any
number, it is proved by induction, base and step both decided by the normal form of words in
indices that are symbols.  At :math:`j = 0` the first identity reads
:math:`W W^\top = A^N`.  A positive semidefinite matrix has one positive semidefinite N-th root;
hence :math:`A = (W W^\top)^{1/N}`, and in the same way :math:`B = (W^\top W)^{1/N}`.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Callable

from sympy import Expr, Integer, MatMul, MatrixExpr, Symbol, Transpose, expand

from flowsim.symbolic.certify import certify
from flowsim.symbolic.nodes import Chain, Layer, PSDPower, as_index, end_to_end
from flowsim.symbolic.rewriting import Rule, rewrite, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial

__all__ = [
    "balance_rule",
    "end_to_end_root",
    "fold_rule",
    "gram",
    "input_gram_power",
    "is_rewritten",
    "output_gram_power",
]


#: Depth up to which partial products are rewritten factor by factor rather than by the induction.
REWRITTEN_UP_TO = 12


def is_rewritten(depth: Expr) -> bool:
    """Whether partial products of so many layers are rewritten factor by factor."""
    return isinstance(depth, Integer) and int(depth) <= REWRITTEN_UP_TO


def balance_rule(i: Expr | int, depth: Expr | int, *, towards: str) -> Rule:
    r"""Return the balance of layers as a rewriting rule, where it is certain to apply.

    Parameters
    ----------
    i : int or sympy.Expr
        The layer whose Gram matrix is replaced.
    depth : int or sympy.Expr
        N.
    towards : {"output", "input"}
        :math:`W_i W_i^\top \to W_{i+1}^\top W_{i+1}`, or
        :math:`W_i^\top W_i \to W_{i-1} W_{i-1}^\top`.

    Raises
    ------
    ValueError
        If it is not certain that both layers exist.
    """
    i, depth = as_index(i), as_index(depth)
    lower = i if towards == "output" else expand(i - 1)
    if not (expand(lower - 1).is_nonnegative and expand(depth - 1 - lower).is_nonnegative):
        raise ValueError(f"no balance between layers {lower} and {lower + 1} of {depth}")
    here, there = Layer(i), Layer(i + 1 if towards == "output" else i - 1)
    if towards == "output":
        return Rule.of(here * here.T, there.T * there)
    return Rule.of(here.T * here, there * there.T)


def gram(depth: Expr | int, *, end: str) -> MatrixExpr:
    r"""Return :math:`W_N W_N^\top` (``end="output"``) or :math:`W_1^\top W_1` (``"input"``)."""
    last = Layer(depth) if end == "output" else Layer(1)
    factors = (last, Transpose(last)) if end == "output" else (Transpose(last), last)
    return MatMul(*factors)


def fold_rule(depth: Expr | int, *, end: str) -> Rule:
    """Return the rule that writes the Gram matrix of an end as a first power, one letter."""
    matrix = gram(depth, end=end)
    return Rule.of(matrix, PSDPower(matrix, 1))


def output_gram_power(depth: Expr, j: Expr | int) -> MatrixPolynomial:
    r"""Return :math:`W_{N:j+1} W_{N:j+1}^\top` of balanced layers, as a power of A.

    Parameters
    ----------
    depth : sympy.Expr
        N, a number or a symbol.
    j : int or sympy.Expr
        From 0 to N.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If the induction (for a symbol or a large number N) does not come out.
    """
    if is_rewritten(depth):
        product = MatrixPolynomial.of(Chain(depth, j + 1))
        rules = [balance_rule(i, depth, towards="output") for i in range(1, int(depth))]
        return rewrite_fully(product @ product.T, [*rules, fold_rule(depth, end="output")])
    _prove_output_powers()
    return MatrixPolynomial.of(PSDPower(gram(depth, end="output"), depth - j))


def input_gram_power(depth: Expr, j: Expr | int) -> MatrixPolynomial:
    r"""Return :math:`W_{j-1:1}^\top W_{j-1:1}` of balanced layers, as a power of B.

    Parameters and errors are those of :func:`output_gram_power`, with j from 1 to N + 1.
    """
    if is_rewritten(depth):
        product = MatrixPolynomial.of(Chain(j - 1, 1))
        rules = [balance_rule(i, depth, towards="input") for i in range(2, int(depth) + 1)]
        return rewrite_fully(product.T @ product, [*rules, fold_rule(depth, end="input")])
    _prove_input_powers()
    return MatrixPolynomial.of(PSDPower(gram(depth, end="input"), j - 1))


def end_to_end_root(depth: Expr, *, end: str) -> Callable[[MatrixPolynomial], MatrixPolynomial]:
    r"""Return the map that writes powers of A as powers of :math:`W W^\top` (B: :math:`W^\top W`).

    Both :math:`A^p` and :math:`(W W^\top)^{p/N}` are positive semidefinite, and their N-th powers
    are equal because :math:`A^N = W W^\top`; such roots are unique.

    Parameters
    ----------
    depth : sympy.Expr
        N.
    end : {"output", "input"}
        A at the output, B at the input.

    Raises
    ------
    flowsim.symbolic.certify.CertificationError
        If :math:`A^N`, or an N-th power, is not what it has to be.
    """
    W, matrix = end_to_end(depth), gram(depth, end=end)
    if end == "output":
        whole, square = output_gram_power(depth, Integer(0)), MatMul(W, Transpose(W))
    else:
        whole, square = input_gram_power(depth, depth + 1), MatMul(Transpose(W), W)
    certify(PSDPower(matrix, depth), whole, name=f"N-th power at the {end}")

    def image(node: MatrixExpr) -> MatrixPolynomial | None:
        if not (isinstance(node, PSDPower) and node.base == matrix):
            return None
        found = PSDPower(square, node.exponent / depth)
        certify(node.exponent, depth * found.exponent, name=f"exponent at the {end}")
        return MatrixPolynomial.of(found)

    return lambda power: power.substitute(image)


# -- the two inductions ---------------------------------------------------------------------


def _prove_output_powers() -> None:
    """Descend from the output: N = j + m, by induction on m, the number of layers above j."""
    of = MatrixPolynomial.of
    j = Symbol("j", integer=True, positive=True)
    m = Symbol("m", integer=True, positive=True)
    N = j + m
    A = PSDPower(gram(N, end="output"), 1)
    fold, balance = fold_rule(N, end="output"), balance_rule(j, N, towards="output")
    above, from_j = Chain(N, j + 1), Chain(N, j)

    # Lemma: W_{N:j+1} (W_{j+1}^T W_{j+1}) = A W_{N:j+1} for j < N.
    lemma = Rule.of(above * Layer(j + 1).T * Layer(j + 1), A * above)
    last = of(Layer(N))
    certify(of(A) @ last, rewrite(last @ last.T @ last, fold), name="lemma at the output, base")
    start = of(from_j) @ of(Layer(j).T * Layer(j))
    certify(
        of(A) @ of(from_j),
        rewrite(rewrite(start, balance), lemma),
        name="lemma at the output, step",
    )

    # Claim: W_{N:j+1} W_{N:j+1}^T = A^m.
    def claim(exponent: Expr) -> MatrixExpr:
        return PSDPower(gram(N, end="output"), exponent)

    empty = of(Chain(N, N + 1))
    certify(claim(Integer(0)), empty @ empty.T, name="powers at the output, no layer")
    certify(claim(Integer(1)), rewrite(last @ last.T, fold), name="powers at the output, base")
    square = of(from_j) @ of(from_j).T
    hypothesis = Rule.of(above * above.T, claim(m))
    step = rewrite(rewrite(rewrite(square, balance), lemma), hypothesis)
    certify(claim(m + 1), step, name="powers at the output, step")


def _prove_input_powers() -> None:
    """Climb from the input, by induction on j; the depth only has to reach that far."""
    of = MatrixPolynomial.of
    j = Symbol("l", integer=True, nonnegative=True) + 2
    N = j + Symbol("m", integer=True, nonnegative=True)
    B = PSDPower(gram(N, end="input"), 1)
    fold, balance = fold_rule(N, end="input"), balance_rule(j, N, towards="input")
    below, to_j = Chain(j - 1, 1), Chain(j, 1)

    # Lemma: (W_{j-1} W_{j-1}^T) W_{j-1:1} = W_{j-1:1} B for j > 1.
    lemma = Rule.of(Layer(j - 1) * Layer(j - 1).T * below, below * B)
    first = of(Layer(1))
    certify(first @ of(B), rewrite(first @ first.T @ first, fold), name="lemma at the input, base")
    start = of(Layer(j) * Layer(j).T) @ of(to_j)
    certify(
        of(to_j) @ of(B),
        rewrite(rewrite(start, balance), lemma),
        name="lemma at the input, step",
    )

    # Claim: W_{j-1:1}^T W_{j-1:1} = B^(j-1).
    def claim(exponent: Expr) -> MatrixExpr:
        return PSDPower(gram(N, end="input"), exponent)

    empty = of(Chain(0, 1))
    certify(claim(Integer(0)), empty.T @ empty, name="powers at the input, no layer")
    certify(claim(Integer(1)), rewrite(first.T @ first, fold), name="powers at the input, base")
    square = of(to_j).T @ of(to_j)
    hypothesis = Rule.of(below.T * below, claim(j - 1))
    step = rewrite(rewrite(rewrite(square, balance), lemma), hypothesis)
    certify(claim(j), step, name="powers at the input, step")
