r"""Differentials of matrix polynomials, and gradients read off from them.

The product rule is all there is to it: the differential of a word is the sum, over its letters, of
the word with that letter replaced by its differential.  What the differential of a letter is, the
caller says.  With :math:`dX` for a variable it is the differential of a map; with the velocity
:math:`\dot X` it is the derivative along a flow.

Once :math:`d\phi = \sum A\, dX\, B`, the gradient of :math:`L(\phi)` follows from
:math:`dL = \langle G, d\phi\rangle = \langle A^\top G B^\top, dX\rangle`, where
:math:`G = \nabla L(\phi)`.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportIncompatibleMethodOverride=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Callable

from sympy import Basic, Expr, MatAdd, MatMul, MatrixExpr, S, Symbol
from sympy.printing.printer import Printer

from flowsim.symbolic.nodes import WholeMatrix
from flowsim.symbolic.words import Letter, MatrixPolynomial, Word

__all__ = [
    "Differential",
    "LossGradient",
    "Velocity",
    "differential",
    "product_rule",
    "read_gradient",
]


class Differential(WholeMatrix):
    """The differential ``dX`` of a matrix X: an arbitrary matrix of its shape."""

    def __new__(cls, X: MatrixExpr) -> Differential:
        """Make the node; its arguments are those of the class."""
        return super().__new__(cls, X)

    shape = property(lambda self: self.args[0].shape, doc="The shape of X.")

    def _sympystr(self, printer: Printer) -> str:
        return f"d{printer.doprint(self.args[0])}"

    def _latex(self, printer: Printer) -> str:
        return rf"\mathrm{{d}}{printer.doprint(self.args[0])}"


class Velocity(WholeMatrix):
    """The time derivative of a matrix along a flow."""

    def __new__(cls, X: MatrixExpr) -> Velocity:
        """Make the node; its arguments are those of the class."""
        return super().__new__(cls, X)

    shape = property(lambda self: self.args[0].shape, doc="The shape of X.")

    def _sympystr(self, printer: Printer) -> str:
        shown = printer.doprint(self.args[0])
        return f"d({shown})/dt" if _compound(self.args[0]) else f"d{shown}/dt"

    def _latex(self, printer: Printer) -> str:
        shown = printer.doprint(self.args[0])
        if _compound(self.args[0]):
            return rf"\frac{{\mathrm{{d}}}}{{\mathrm{{d}}t}}\left({shown}\right)"
        head, underscore, index = shown.partition("_")
        return rf"\dot{{{head}}}{underscore}{index}"


class LossGradient(WholeMatrix):
    """The gradient of the loss with respect to a factor X, as yet unknown: a name for it."""

    def __new__(cls, X: MatrixExpr) -> LossGradient:
        """Make the node; its arguments are those of the class."""
        return super().__new__(cls, X)

    shape = property(lambda self: self.args[0].shape, doc="The shape of X.")

    def _sympystr(self, printer: Printer) -> str:
        return f"dL/d{printer.doprint(self.args[0])}"

    def _latex(self, printer: Printer) -> str:
        return rf"\nabla_{{{printer.doprint(self.args[0])}}} L"


def product_rule(
    factors: list[MatrixPolynomial], differentials: list[MatrixPolynomial]
) -> MatrixPolynomial:
    r"""Return :math:`\sum_i X_1 \cdots X_{i-1}\, (dX_i)\, X_{i+1} \cdots X_m`.

    Parameters
    ----------
    factors : list of MatrixPolynomial
        :math:`X_1, \dots, X_m`.
    differentials : list of MatrixPolynomial
        :math:`dX_1, \dots, dX_m`, of the same shapes.
    """
    rows, cols = factors[0].shape[0], factors[-1].shape[1]
    total = MatrixPolynomial((rows, cols))
    for i, d in enumerate(differentials):
        term = MatrixPolynomial.identity(rows)
        for factor in [*factors[:i], d, *factors[i + 1 :]]:
            term = term @ factor
        total = total + term
    return total


def differential(
    phi: MatrixPolynomial, of_letter: Callable[[MatrixExpr], MatrixPolynomial | None]
) -> MatrixPolynomial:
    """Differentiate a matrix polynomial by the product rule.

    Parameters
    ----------
    phi : MatrixPolynomial
        Without sums over an index.
    of_letter : callable
        Gives the differential of a matrix, or None for a constant one.

    Returns
    -------
    MatrixPolynomial
        Of the shape of phi.
    """
    total = MatrixPolynomial(phi.shape)
    for (word, over), c in phi.terms.items():
        if over is not None:
            raise NotImplementedError("differentiate the summand, then sum")
        if not word:
            continue
        factors = [_spelled((letter,)) for letter in word]
        changes = []
        for letter, factor in zip(word, factors, strict=True):
            change = of_letter(letter.node)
            if change is None:
                changes.append(MatrixPolynomial(factor.shape))
            else:
                changes.append(change.T if letter.transposed else change)
        total = total + product_rule(factors, changes) * c
    return total


def read_gradient(dphi: MatrixPolynomial, X: MatrixExpr, G: MatrixExpr) -> MatrixPolynomial:
    r"""Read the gradient of :math:`L(\phi)` with respect to X off the differential of :math:`\phi`.

    From :math:`d\phi = \sum A\, dX\, B + \sum C\, dX^\top D + \dots` it is
    :math:`\sum A^\top G B^\top + \sum D\, G^\top C`.  A summand
    :math:`\sum_i A_i\, dX_i\, B_i` contributes its term at :math:`X_i = X`.

    Parameters
    ----------
    dphi : MatrixPolynomial
        Linear in :class:`Differential` letters.
    X : sympy.MatrixExpr
        The variable, for instance ``Layer(j)``.
    G : sympy.MatrixExpr
        The gradient of L with respect to :math:`\phi`, of the shape of :math:`\phi`.

    Returns
    -------
    MatrixPolynomial
        Of the shape of X.
    """
    g = MatrixPolynomial.of(G)
    index = Symbol("_i", integer=True)
    total = MatrixPolynomial(X.shape)
    for c, word, over in dphi.summands(index):
        place = next(i for i, x in enumerate(word) if isinstance(x.node, Differential))
        variable = word[place].node.args[0]
        value = None if over is None else _solve_index(variable, X, index)
        if variable != X and value is None:
            continue
        before, after = word[:place], word[place + 1 :]
        a = _spelled(before, dphi.shape[0])
        b = _spelled(after, dphi.shape[1])
        term = b @ g.T @ a if word[place].transposed else a.T @ g @ b.T
        term = term * c
        total = total + (term if value is None else term.subs(index, value))
    return total


def _solve_index(variable: MatrixExpr, wanted: MatrixExpr, index: Symbol) -> Expr | None:
    """Return i such that X_i is the wanted matrix, where the family is indexed by i itself."""
    if variable.args and variable.args[0] == index and type(variable) is type(wanted):
        return wanted.args[0]
    return None


def _spelled(word: Word, size: Expr | None = None) -> MatrixPolynomial:
    if not word:
        return MatrixPolynomial.identity(size)
    shape = (word[0].shape[0], word[-1].shape[1])
    return MatrixPolynomial(shape, [(S.One, tuple(Letter(*x) for x in word), None)])


def _compound(matrix: Basic) -> bool:
    return isinstance(matrix, MatAdd | MatMul)
