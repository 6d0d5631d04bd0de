r"""The vocabulary of matrix laws: nodes of symbolic size that SymPy does not have.

A law of motion of a product of matrices is written with few words: a factor
:math:`W_j`, a product of consecutive factors :math:`W_{b:a} = W_b W_{b-1} \cdots W_a`, a real
power of a positive semidefinite matrix, a finite sum over layers, a norm and a projection.
Each is one node here.  Nodes are whole matrices, never tables of entries, and their sizes are the
symbols :math:`n_j` (:math:`W_j` is :math:`n_j \times n_{j-1}`), so that one derivation serves every
width.

Two facts make the nodes fit for the calculus of words in :mod:`flowsim.symbolic.words`; a node
that has them says so by methods of these names.

``joined(right)``
    the product ``self * right`` as a single node, or None.
``without_tail(tail)``, ``without_head(head)``
    the matrix ``X`` with ``self = X * tail``, or ``self = head * X``, or None where no such
    splitting is *proved*; a length that may be negative is not split.

The module is long because it is the whole vocabulary: a printer needs one entry for each class.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false
# pyright: reportIndexIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from functools import cache

from sympy import (
    Add,
    Basic,
    Dummy,
    Expr,
    Identity,
    IndexedBase,
    Integer,
    MatAdd,
    MatMul,
    MatrixExpr,
    MatrixSymbol,
    Mul,
    Symbol,
    Transpose,
    ZeroMatrix,
    cancel,
    expand,
    together,
)
from sympy.printing.printer import Printer

__all__ = [
    "Chain",
    "FrobeniusNorm",
    "Layer",
    "MatrixSum",
    "PSDPower",
    "Projection",
    "WholeMatrix",
    "end_to_end",
    "gradient",
    "width",
]

#: The widths: ``n[0]`` is the input dimension d, ``n[N]`` the output dimension k.
_WIDTHS = IndexedBase("n", integer=True, positive=True)


def as_expr(value: Expr | int) -> Expr:
    """Return an integer or a SymPy scalar as a SymPy scalar; text is refused, never parsed."""
    if isinstance(value, Expr):
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return Integer(value)
    raise TypeError(f"expected an integer or a SymPy expression, got {value!r}")


def as_index(value: Expr | int) -> Expr:
    """Return a layer index in its normal form (expanded), so that equal indices compare equal."""
    index = as_expr(value)
    return index if index.is_Atom else expand(index)


def width(j: Expr | int) -> Expr:
    """Return the symbol :math:`n_j`, the number of rows of :math:`W_j`."""
    return _width(as_index(j))


@cache
def _width(j: Expr) -> Expr:
    return _WIDTHS[j]


class WholeMatrix(MatrixExpr):
    """A matrix that is never written out entry by entry."""

    def _entry(self, i: Expr, j: Expr, **kwargs: object) -> Expr:
        raise NotImplementedError(f"{type(self).__name__} is a whole matrix and has no entries")


class Layer(WholeMatrix):
    r"""The factor :math:`W_j`, of shape :math:`n_j \times n_{j-1}`.

    Parameters
    ----------
    j : int or sympy.Expr
        Index of the layer, 1 for the one next to the input.
    """

    def __new__(cls, j: Expr | int) -> Layer:
        """Make the node; its arguments are those of the class."""
        return super().__new__(cls, as_index(j))

    index = property(lambda self: self.args[0], doc="The index j.")

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """Rows and columns."""
        return width(self.index), width(self.index - 1)

    def joined(self, right: MatrixExpr) -> MatrixExpr | None:
        """Return ``self * right`` as one node, or None."""
        return _join(self, right)

    def without_tail(self, tail: MatrixExpr) -> MatrixExpr | None:
        """Return X with ``self = X * tail`` where that is certain, else None."""
        return _drop_tail(self, tail)

    def without_head(self, head: MatrixExpr) -> MatrixExpr | None:
        """Return X with ``self = head * X`` where that is certain, else None."""
        return _drop_head(self, head)

    def _sympystr(self, printer: Printer) -> str:
        return f"W_{_subscript(printer, self.index)}"

    def _latex(self, printer: Printer) -> str:
        return f"W_{{{_tight(printer, self.index)}}}"


class Chain(WholeMatrix):
    r"""The product :math:`W_{b:a} = W_b W_{b-1} \cdots W_a`, of shape :math:`n_b \times n_{a-1}`.

    ``Chain(a - 1, a)`` is the empty product, the identity of size :math:`n_{a-1}`, and
    ``Chain(a, a)`` is ``Layer(a)``; both are recognised for symbolic indices as well.

    Parameters
    ----------
    b, a : int or sympy.Expr
        Indices of the leftmost (output side) and of the rightmost factor.

    Raises
    ------
    ValueError
        If the indices leave a product of negative length.
    """

    def __new__(cls, b: Expr | int, a: Expr | int) -> MatrixExpr:  # type: ignore[misc]
        """Make the node; its arguments are those of the class."""
        b, a = as_index(b), as_index(a)
        length = expand(b - a + 1)
        if length == 0:
            return Identity(width(b))
        if length == 1:
            return Layer(a)
        if length.is_negative:
            raise ValueError(f"Chain({b}, {a}) would be a product of {length} factors")
        return super().__new__(cls, b, a)

    first = property(lambda self: self.args[0], doc="The index b of the leftmost factor.")
    last = property(lambda self: self.args[1], doc="The index a of the rightmost factor.")

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """Rows and columns."""
        return width(self.first), width(self.last - 1)

    def expand_chain(self) -> MatrixExpr:
        """Return the product written out, where the number of factors is a number."""
        length = expand(self.first - self.last + 1)
        if not isinstance(length, Integer):
            return self
        return MatMul(*(Layer(self.first - i) for i in range(int(length))))

    def doit(self, **hints: object) -> MatrixExpr:
        """Return the product written out, where the number of factors is a number."""
        return self.expand_chain()

    def joined(self, right: MatrixExpr) -> MatrixExpr | None:
        """Return ``self * right`` as one node, or None."""
        return _join(self, right)

    def without_tail(self, tail: MatrixExpr) -> MatrixExpr | None:
        """Return X with ``self = X * tail`` where that is certain, else None."""
        return _drop_tail(self, tail)

    def without_head(self, head: MatrixExpr) -> MatrixExpr | None:
        """Return X with ``self = head * X`` where that is certain, else None."""
        return _drop_head(self, head)

    def _sympystr(self, printer: Printer) -> str:
        return f"W_({_tight(printer, self.first)}:{_tight(printer, self.last)})"

    def _latex(self, printer: Printer) -> str:
        return f"W_{{{_tight(printer, self.first)}:{_tight(printer, self.last)}}}"


def _span(matrix: MatrixExpr) -> tuple[Expr, Expr] | None:
    """Return the indices (b, a) of a product of consecutive layers, or None."""
    if isinstance(matrix, Layer):
        return matrix.index, matrix.index
    return (matrix.first, matrix.last) if isinstance(matrix, Chain) else None


def _join(left: MatrixExpr, right: MatrixExpr) -> MatrixExpr | None:
    """W_{b:c+1} W_{c:a} = W_{b:a}."""
    x, y = _span(left), _span(right)
    if x is None or y is None or expand(x[1] - 1 - y[0]) != 0:
        return None
    return Chain(x[0], y[1])


def _drop_tail(whole: MatrixExpr, tail: MatrixExpr) -> MatrixExpr | None:
    """W_{b:a} = W_{b:c+1} W_{c:a}, where c <= b is certain."""
    x, y = _span(whole), _span(tail)
    if x is None or y is None or x[1] != y[1] or not expand(x[0] - y[0]).is_nonnegative:
        return None
    return Chain(x[0], y[0] + 1)


def _drop_head(whole: MatrixExpr, head: MatrixExpr) -> MatrixExpr | None:
    """W_{b:a} = W_{b:c} W_{c-1:a}, where c >= a is certain."""
    x, y = _span(whole), _span(head)
    if x is None or y is None or x[0] != y[0] or not expand(y[1] - x[1]).is_nonnegative:
        return None
    return Chain(y[1] - 1, x[1])


class PSDPower(WholeMatrix):
    r"""The power :math:`A^p` of a symmetric positive semidefinite matrix, for real p >= 0.

    With the eigendecomposition :math:`A = U \operatorname{diag}(a) U^\top` it is
    :math:`U \operatorname{diag}(a^p) U^\top`, and :math:`A^0 = I` also where A is singular.
    That A is positive semidefinite is the business of whoever writes the node.  The exponent 1 is
    kept, so that powers of one base, the first among them, multiply by adding their exponents.

    Parameters
    ----------
    A : sympy.MatrixExpr
        Square, symmetric, positive semidefinite.
    p : int or sympy.Expr
        The exponent.

    Raises
    ------
    ValueError
        If A is not square, or p is known to be negative.
    """

    def __new__(cls, A: MatrixExpr, p: Expr | int) -> MatrixExpr:  # type: ignore[misc]
        """Make the node; its arguments are those of the class."""
        p = cancel(as_expr(p))
        if expand(A.rows - A.cols) != 0:
            raise ValueError(f"PSDPower needs a square base, got one of shape {A.shape}")
        if p.is_negative:
            raise ValueError(f"PSDPower is defined for exponents p >= 0, got p = {p}")
        if p == 0 or isinstance(A, Identity):
            return Identity(A.rows)
        return super().__new__(cls, A, p)

    base = property(lambda self: self.args[0], doc="The matrix A.")
    exponent = property(lambda self: self.args[1], doc="The exponent p.")
    shape = property(lambda self: self.base.shape, doc="The shape of A.")

    def _eval_transpose(self) -> MatrixExpr:
        return self

    def joined(self, right: MatrixExpr) -> MatrixExpr | None:
        """A^p A^q = A^(p+q)."""
        if isinstance(right, PSDPower) and right.base == self.base:
            return PSDPower(self.base, self.exponent + right.exponent)
        return None

    def _sympystr(self, printer: Printer) -> str:
        over, under = together(self.exponent).as_numer_denom()
        p = printer.doprint(over)
        if under != 1:
            p = f"({p})/{under}" if over.is_Add else f"{p}/{under}"
        power = "" if p == "1" else f"^{p}" if p.isalnum() else f"^({p})"
        return f"({printer.doprint(self.base)}){power}"

    def _latex(self, printer: Printer) -> str:
        over, under = together(self.exponent).as_numer_denom()
        p = printer.doprint(over)
        p = p if under == 1 else rf"\frac{{{p}}}{{{printer.doprint(under)}}}"
        power = "" if p == "1" else f"^{{{p}}}"
        return rf"\left({printer.doprint(self.base)}\right){power}"


class MatrixSum(WholeMatrix):
    r"""The finite sum :math:`\sum_{j=a}^{b} T_j` of matrices of one shape.

    Parameters
    ----------
    term : sympy.MatrixExpr
        The summand; its shape must not depend on j.
    j : sympy.Symbol
        The bound index.
    lower, upper : int or sympy.Expr
        The range, both ends included; empty when upper = lower - 1.
    """

    def __new__(
        cls, term: MatrixExpr, j: Symbol, lower: Expr | int, upper: Expr | int
    ) -> MatrixSum:
        """Make the node; its arguments are those of the class."""
        if not isinstance(j, Symbol):
            raise TypeError(f"the index of a MatrixSum is a Symbol, got {j!r}")
        return super().__new__(cls, term, j, as_index(lower), as_index(upper))

    term = property(lambda self: self.args[0], doc="The summand.")
    index = property(lambda self: self.args[1], doc="The bound index.")
    lower = property(lambda self: self.args[2], doc="The first value of the index.")
    upper = property(lambda self: self.args[3], doc="The last value of the index.")
    shape = property(lambda self: self.term.shape, doc="The shape of every summand.")
    bound_symbols = property(lambda self: [self.index], doc="The bound index, as a list.")

    @property
    def free_symbols(self) -> set[Basic]:
        """The symbols of the expression, without the bound index."""
        inner = self.term.free_symbols - {self.index}
        return inner | self.lower.free_symbols | self.upper.free_symbols

    def _eval_subs(self, old: Basic, new: Basic) -> MatrixExpr:
        term, j = self.term, self.index
        if j in getattr(new, "free_symbols", set()):
            # The new expression speaks of another j: rename ours before it is captured.
            fresh = Dummy(j.name, **j.assumptions0)
            term, j = term.subs(j, fresh), fresh
        if old != self.index:
            term = term.subs(old, new)
        return self.func(term, j, self.lower.subs(old, new), self.upper.subs(old, new))

    def _eval_transpose(self) -> MatrixExpr:
        return self.func(Transpose(self.term).doit(), self.index, self.lower, self.upper)

    def doit(self, **hints: object) -> MatrixExpr:
        """Return the sum unrolled where its ends are integers."""
        if not (isinstance(self.lower, Integer) and isinstance(self.upper, Integer)):
            return self
        values = range(int(self.lower), int(self.upper) + 1)
        if not values:
            return ZeroMatrix(*self.shape)
        terms = [self.term.subs(self.index, i) for i in values]
        terms = [t.doit(**hints) for t in terms] if hints.get("deep", True) else terms
        return terms[0] if len(terms) == 1 else MatAdd(*terms)

    def _sympystr(self, printer: Printer) -> str:
        j, lower, upper = (printer.doprint(a) for a in self.args[1:])
        return f"sum_{{{j}={lower}..{upper}}} {self._summand(printer, '({})')}"

    def _latex(self, printer: Printer) -> str:
        j, lower, upper = (printer.doprint(a) for a in self.args[1:])
        summand = self._summand(printer, r"\left({}\right)")
        return rf"\sum_{{{j}={lower}}}^{{{upper}}} {summand}"

    def _summand(self, printer: Printer, brackets: str) -> str:
        text = printer.doprint(self.term)
        return brackets.format(text) if isinstance(self.term, MatAdd) else text


class FrobeniusNorm(Expr):
    r"""The Frobenius norm :math:`\|A\|_F = (\operatorname{tr} A^\top A)^{1/2}`, a scalar >= 0."""

    is_commutative = True
    is_extended_real = True

    def __new__(cls, A: MatrixExpr) -> Expr:  # type: ignore[misc]
        """Make the node; its arguments are those of the class."""
        return Integer(0) if isinstance(A, ZeroMatrix) else super().__new__(cls, A)

    matrix = property(lambda self: self.args[0], doc="The matrix A.")

    def _eval_is_extended_nonnegative(self) -> bool:
        return True

    def _eval_is_finite(self) -> bool:
        return True

    def _sympystr(self, printer: Printer) -> str:
        return f"||{printer.doprint(self.matrix)}||"

    def _latex(self, printer: Printer, exp: str | None = None) -> str:
        norm = rf"\left\lVert {printer.doprint(self.matrix)} \right\rVert"
        norm += "" if getattr(printer, "vectors", False) else "_F"
        return norm if exp is None else rf"{norm}^{{{exp}}}"


class Projection(WholeMatrix):
    r"""The projection :math:`\mathrm{Pr}_w g = w \langle w, g\rangle / \|w\|^2` of g on w.

    It has the shape of w, and is 0 at w = 0.

    Parameters
    ----------
    w, g : sympy.MatrixExpr
        The direction and what is projected on it, of one shape.
    """

    def __new__(cls, w: MatrixExpr, g: MatrixExpr) -> MatrixExpr:  # type: ignore[misc]
        """Make the node; its arguments are those of the class."""
        if any(expand(a - b) != 0 for a, b in zip(w.shape, g.shape, strict=True)):
            raise ValueError(f"Projection needs one shape, got {w.shape} and {g.shape}")
        if isinstance(w, ZeroMatrix) or isinstance(g, ZeroMatrix):
            return ZeroMatrix(*w.shape)
        return super().__new__(cls, w, g)

    shape = property(lambda self: self.args[0].shape, doc="The shape of w.")

    def _sympystr(self, printer: Printer) -> str:
        return f"Pr_{printer.doprint(self.args[0])}({printer.doprint(self.args[1])})"

    def _latex(self, printer: Printer) -> str:
        w, g = (printer.doprint(a) for a in self.args)
        return rf"\mathrm{{Pr}}_{{{w}}} {g}"


def end_to_end(N: Expr | int) -> MatrixSymbol:
    r"""Return ``W``, the end-to-end parameter, of shape :math:`n_N \times n_0`."""
    return MatrixSymbol("W", width(N), width(0))


def gradient(N: Expr | int) -> MatrixSymbol:
    """Return ``G``, the gradient of the loss with respect to the end-to-end parameter, at W."""
    return MatrixSymbol("G", width(N), width(0))


def _tight(printer: Printer, index: Expr) -> str:
    """Print an index without spaces, as indices are set."""
    return printer.doprint(index).replace(" ", "")


def _subscript(printer: Printer, index: Expr) -> str:
    text = _tight(printer, index)
    return f"({text})" if isinstance(index, Add | Mul) else text
