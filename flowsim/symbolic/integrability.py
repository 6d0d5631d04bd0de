r"""Is an end-to-end flow the gradient flow of anything?  Overparameterization as a regularizer.

With one output and depth N, a balanced network moves its end-to-end parameter by -F,

.. math:: F(w) = \|w\|^{2 - \frac2N} \bigl(g + (N - 1)\, \mathrm{Pr}_w\, g\bigr),
          \qquad g = \nabla L(w) .

Were F a gradient, depth would amount to another loss, that is, to a regularizer.  It is one exactly
where its Jacobian is symmetric, and

.. math:: J_F - J_F^\top = -(N - 1)\, \|w\|^{-\frac2N} (q\, w^\top - w\, q^\top), \qquad
          q = \nabla\bigl(\langle w, \nabla L\rangle - \tfrac2N L\bigr) ,

so that (in two dimensions or more, away from the origin) F is a gradient if and only if
:math:`\langle w, \nabla L\rangle - \frac2N L` depends on the norm of w alone, that is,

.. math:: L(w) = R(\|w\|) + h(w), \qquad h \text{ positively homogeneous of degree } \tfrac2N .

What follows, and is sharper than the theorem that it comes from: a loss with a gradient at the
origin that is continuous and not 0 leaves no regularizer for N > 2, for 2/N < 1 is no degree of
anything with a linear part.  At N = 2 it can leave one: a linear loss does, and so does an
isotropic quadratic one.  That holds for one output only; with several, the flow of depth 2 is not a
gradient even where the loss is linear (:func:`flowsim.instruments.antisymmetric_part` shows it).

References
----------
S. Arora, N. Cohen, E. Hazan, ICML 2018, arXiv:1802.06509, Theorem 2.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from sympy import Expr, MatrixSymbol, Symbol

from flowsim.symbolic.columns import Calculus, Inner
from flowsim.symbolic.law import EndToEnd
from flowsim.symbolic.nodes import FrobeniusNorm, Projection, as_expr, end_to_end, gradient, width
from flowsim.symbolic.words import MatrixPolynomial

__all__ = [
    "CALCULUS",
    "LOSS",
    "SIZE",
    "G",
    "H",
    "W",
    "antisymmetric_part_of",
    "balanced_field",
    "column_field",
    "regularity_gradient",
]

#: The number d of inputs.
SIZE = Symbol("d", integer=True, positive=True)
#: The end-to-end parameter w as a column, its gradient g, its Hessian H, and the loss itself.
W, G = MatrixSymbol("w", SIZE, 1), MatrixSymbol("g", SIZE, 1)
H = MatrixSymbol("H", SIZE, SIZE)
LOSS = Symbol("L", real=True)

#: dw = dw, dg = H dw, dL = <g, dw>, and H is symmetric.
CALCULUS = Calculus(
    {W: MatrixPolynomial.identity(SIZE), G: MatrixPolynomial.of(H)},
    symmetric=(H,),
    gradients={LOSS: MatrixPolynomial.of(G)},
)


def balanced_field(N: Expr | int) -> MatrixPolynomial:
    r"""Return :math:`\|w\|^{2-2/N}(g + (N-1)\mathrm{Pr}_w g)` as a column; real N > 1."""
    N, norm = as_expr(N), FrobeniusNorm(W)
    radial = MatrixPolynomial.of(W) * ((N - 1) * Inner(W, G) * norm**-2)
    return (MatrixPolynomial.of(G) + radial) * norm ** (2 - 2 / N)


def column_field(law: EndToEnd) -> MatrixPolynomial:
    """Return the field F = -dw/dt of a derived law with one output, as a column.

    Parameters
    ----------
    law : EndToEnd
        What :func:`flowsim.symbolic.derive` gives for a deep linear network, without weight decay.
    """
    N = law.depth
    row, row_gradient = end_to_end(N), gradient(N)
    norm = FrobeniusNorm(W)
    columns = {
        row: MatrixPolynomial.of(W),
        row_gradient: MatrixPolynomial.of(G),
        Projection(row, row_gradient): MatrixPolynomial.of(W) * (Inner(W, G) * norm**-2),
    }
    total = MatrixPolynomial((SIZE, 1))
    for (word, _), c in MatrixPolynomial.of(law.single_output).terms.items():
        (letter,) = word
        scalar = c.xreplace({FrobeniusNorm(row): norm, width(0): SIZE})
        total = total - columns[letter.node] * scalar
    return total


def antisymmetric_part_of(vector_field: MatrixPolynomial) -> MatrixPolynomial:
    r"""Return :math:`J_F - J_F^\top` of a field in the letters w and g, over whole columns.

    Examples
    --------
    >>> from flowsim.symbolic.printing import text
    >>> print(text(antisymmetric_part_of(balanced_field(2)).expr()))
    1/||w||*w*w^T*H - 1/||w||*H*w*w^T
    """
    J = CALCULUS.jacobian(vector_field)
    return CALCULUS.normal(J - J.T)


def regularity_gradient(N: Expr | int) -> MatrixPolynomial:
    r"""Return :math:`q = \nabla(\langle w, \nabla L\rangle - \frac2N L)`, by the chain rule."""
    return CALCULUS.gradient(Inner(W, G) - 2 * LOSS / as_expr(N), SIZE)
