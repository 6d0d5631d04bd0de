r"""Brackets of fields over whole columns, of symbolic size.

The preconditioner of a balanced network with one output is known as what it makes of a gradient,
:math:`P g = \|w\|^{2-2/N}(g + (N-1)\mathrm{Pr}_w g)`; its columns are :math:`P e_i`, and their
bracket is computed by the product rule on norms, inner products and columns.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
from __future__ import annotations

from sympy import Expr, MatrixExpr, MatrixSymbol

from flowsim.symbolic.columns import Calculus, Inner
from flowsim.symbolic.integrability import SIZE, G, W, balanced_field
from flowsim.symbolic.nodes import as_expr
from flowsim.symbolic.words import Letter, MatrixPolynomial

__all__ = ["along", "at_gradient", "balanced_bracket", "bracket", "calculus", "folded"]


def calculus(*constants: MatrixExpr) -> Calculus:
    """The calculus of w and of columns that are constant."""
    zero = MatrixPolynomial((SIZE, SIZE))
    return Calculus({W: MatrixPolynomial.identity(SIZE)} | dict.fromkeys(constants, zero))


def at_gradient(field: MatrixPolynomial, column: MatrixExpr) -> MatrixPolynomial:
    """A field that is linear in the gradient g, with another column for it."""
    total = MatrixPolynomial(field.shape)
    for (word, _), c in field.terms.items():
        ((node, _),) = word
        letter = MatrixPolynomial.of(column if node == G else node)
        total = total + letter * c.xreplace({G: column})
    return total


def folded(field: MatrixPolynomial) -> MatrixPolynomial:
    r"""Write every :math:`x^\top y` of two columns as the scalar :math:`\langle x, y\rangle`."""
    terms = []
    for (word, over), c in field.terms.items():
        kept: list[Letter] = []
        for letter in word:
            previous = kept[-1] if kept else None
            if previous is not None and previous.transposed and letter.shape[1] == 1:
                c = c * Inner(kept.pop().node, letter.node)
            else:
                kept.append(letter)
        terms.append((c, tuple(kept), over))
    return MatrixPolynomial(field.shape, terms)


def along(
    field: MatrixPolynomial, direction: MatrixPolynomial, rules: Calculus
) -> MatrixPolynomial:
    """The derivative of a field along another, DX Y."""
    return folded(rules.jacobian(field) @ direction)


def bracket(X: MatrixPolynomial, Y: MatrixPolynomial, rules: Calculus) -> MatrixPolynomial:
    """The Lie bracket [X, Y] = DY X - DX Y."""
    return along(Y, X, rules) - along(X, Y, rules)


def balanced_bracket(N: Expr | int, i: MatrixSymbol, j: MatrixSymbol) -> MatrixPolynomial:
    r"""Derive :math:`[P e_i, P e_j]` for the balanced network with one output.

    Parameters
    ----------
    N : sympy.Expr or int
        The depth, a symbol or a number greater than 1.
    i, j : sympy.MatrixSymbol
        Two constant columns of size d.

    Examples
    --------
    >>> from sympy import MatrixSymbol
    >>> e, f = MatrixSymbol("e", SIZE, 1), MatrixSymbol("f", SIZE, 1)
    >>> balanced_bracket(2, e, f).expr()
    <e, w>*f + (-<f, w>)*e
    """
    field, rules = balanced_field(as_expr(N)), calculus(i, j)
    return bracket(at_gradient(field, i), at_gradient(field, j), rules)
