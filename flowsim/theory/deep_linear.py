r"""Deep linear networks: what Arora, Cohen and Hazan proved in 2018.

The loss is :math:`L(W_N \cdots W_1) + \frac\lambda2 \sum_j \|W_j\|_F^2`, the factors follow its
negative gradient, :math:`W = W_N \cdots W_1` and :math:`G = \nabla L(W)`.

References
----------
S. Arora, N. Cohen, E. Hazan, On the optimization of deep networks: implicit acceleration by
overparameterization, ICML 2018, arXiv:1802.06509.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

from sympy import Expr, Integer, MatAdd, MatMul, MatrixExpr, Symbol, Transpose

from flowsim.symbolic.nodes import Layer, MatrixSum, PSDPower, as_expr, end_to_end, gradient
from flowsim.theory.records import Theorem

__all__ = ["DECAY", "INDEX", "balanced_law", "conservation"]

#: The weight decay of the statements, lambda.
DECAY = Symbol("lambda", nonnegative=True)

#: The layer index of the statements, j.
INDEX = Symbol("j", integer=True, positive=True)


def _conservation(N: Expr | int) -> MatrixExpr:
    r"""State :math:`D_j' = -2\lambda (W_{j+1}^\top W_{j+1} - W_j W_j^\top)`, at every depth."""
    upper, lower = Layer(INDEX + 1), Layer(INDEX)
    defect = MatAdd(MatMul(Transpose(upper), upper), MatMul(Integer(-1), lower, Transpose(lower)))
    return MatMul(-2 * DECAY, defect)


def _balanced_law(N: Expr | int) -> MatrixExpr:
    r"""State the law, its terms :math:`[W W^\top]^{(j-1)/N} G [W^\top W]^{(N-j)/N}`."""
    N = as_expr(N)
    W, G, j = end_to_end(N), gradient(N), INDEX
    left = PSDPower(MatMul(W, Transpose(W)), (j - 1) / N)
    right = PSDPower(MatMul(Transpose(W), W), (N - j) / N)
    total = MatrixSum(MatMul(left, G, right), j, 1, N)
    return MatAdd(MatMul(-DECAY * N, W), MatMul(Integer(-1), total))


conservation = Theorem(
    name="conservation",
    title="The balance defects W_{j+1}^T W_{j+1} - W_j W_j^T are conserved, and decay as "
    "exp(-2 lambda t) under weight decay lambda.",
    statement=_conservation,
    hypotheses=("L is continuously differentiable.", "1 <= j < N."),
    citation="Arora, Cohen, Hazan 2018, arXiv:1802.06509, proof of Theorem 1",
    proof="derivations/conservation.py",
)

balanced_law = Theorem(
    name="balanced law",
    title="From a balanced start, W moves by the gradient between fractional powers of W W^T and "
    "W^T W.",
    statement=_balanced_law,
    hypotheses=(
        "L is continuously differentiable.",
        "The start is balanced: W_{j+1}^T W_{j+1} = W_j W_j^T for 1 <= j < N.",
    ),
    citation="Arora, Cohen, Hazan 2018, arXiv:1802.06509, Theorem 1",
    proof="derivations/balanced_law.py",
)
