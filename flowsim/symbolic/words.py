r"""The calculus of words: matrix polynomials in normal form.

A matrix expression without inverses is a linear combination of *words*, products of letters; a
letter is a matrix or its transpose.  Since matrices do not commute, two such expressions are equal
for all matrices of all sizes exactly when they have the same words with the same coefficients.
That is the normal form on which every identity in flowsim is decided.  A term may also be summed
over one index, :math:`\sum_{j=a}^{b} c_j\, w_j`, which is how a law of symbolic depth is held.

Letters that are neighbours and know how to be one (``joined`` in :mod:`flowsim.symbolic.nodes`)
become one: :math:`W_{N:j+1} W_j \to W_{N:j}`, :math:`A^p A^q \to A^{p+q}`.

Nothing here knows of any particular parametrization.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from sympy import (
    Dummy,
    Expr,
    Identity,
    Integer,
    MatAdd,
    MatMul,
    MatPow,
    MatrixExpr,
    MatrixSymbol,
    S,
    Symbol,
    Transpose,
    ZeroMatrix,
    expand,
)

from flowsim.symbolic import scalars
from flowsim.symbolic.nodes import MatrixSum, PSDPower, WholeMatrix, as_expr, as_index

__all__ = ["BOUND", "Letter", "MatrixPolynomial", "Range", "Word"]

#: The bound index of every sum in normal form.
BOUND = Dummy("j", integer=True)


class Letter(NamedTuple):
    """A matrix, or its transpose; a symmetric matrix is never marked as transposed."""

    node: MatrixExpr
    transposed: bool = False

    @property
    def T(self) -> Letter:
        """The transpose."""
        return Letter(self.node, not self.transposed and not isinstance(self.node, PSDPower))

    @property
    def shape(self) -> tuple[Expr, Expr]:
        """Rows and columns."""
        rows, cols = self.node.shape
        return (cols, rows) if self.transposed else (rows, cols)

    @property
    def expr(self) -> MatrixExpr:
        """The letter as a SymPy expression."""
        return Transpose(self.node) if self.transposed else self.node

    def joined(self, right: Letter) -> Word | None:
        """Return the product with the letter on the right where it is one letter or none."""
        x, y = (right, self) if self.transposed else (self, right)
        if self.transposed != right.transposed or not hasattr(x.node, "joined"):
            return None
        node = x.node.joined(y.node)
        if node is None or isinstance(node, Identity):
            return None if node is None else ()
        return (Letter(node, self.transposed),)

    def without_tail(self, tail: Letter) -> MatrixPolynomial | None:
        """Return X with ``self = X * tail`` where that is proved, else None."""
        if self == tail:
            return MatrixPolynomial.identity(self.shape[0])
        return self._without(tail, "without_head" if self.transposed else "without_tail")

    def without_head(self, head: Letter) -> MatrixPolynomial | None:
        """Return X with ``self = head * X`` where that is proved, else None."""
        if self == head:
            return MatrixPolynomial.identity(self.shape[1])
        return self._without(head, "without_tail" if self.transposed else "without_head")

    def _without(self, part: Letter, method: str) -> MatrixPolynomial | None:
        if self.transposed != part.transposed or not hasattr(self.node, method):
            return None
        node = getattr(self.node, method)(part.node)
        return None if node is None else _oriented(node, self.transposed)


Word = tuple[Letter, ...]


class Range(NamedTuple):
    """The range of a bound index, both ends included."""

    lower: Expr
    upper: Expr


class MatrixPolynomial:
    """A linear combination of words, in normal form.  Immutable.

    Build one with :meth:`of`; combine with ``+ - @``, scalars with ``*``.

    Attributes
    ----------
    shape : tuple of sympy.Expr
        Rows and columns.
    terms : dict
        ``{(word, range or None): coefficient}``, no coefficient zero.
    """

    __slots__ = ("shape", "terms")

    def __init__(
        self,
        shape: tuple[Expr, Expr],
        terms: Iterable[tuple[Expr, Word, Range | None]] = (),
    ) -> None:
        self.shape = (as_index(shape[0]), as_index(shape[1]))
        collected: dict[tuple[Word, Range | None], Expr] = {}
        for coefficient, word, over in terms:
            if over is not None and not _mentions_bound(coefficient, word):
                coefficient, over = coefficient * (over.upper - over.lower + 1), None
            key = (word, over)
            collected[key] = collected.get(key, S.Zero) + coefficient
        normal = {key: scalars.normal(c) for key, c in collected.items()}
        self.terms = {key: c for key, c in normal.items() if not scalars.is_zero(c)}

    # -- building ---------------------------------------------------------------------------

    @classmethod
    def identity(cls, size: Expr) -> MatrixPolynomial:
        """Return the identity matrix, the empty word."""
        return cls((size, size), [(S.One, (), None)])

    @classmethod
    def of(cls, expr: MatrixExpr | MatrixPolynomial) -> MatrixPolynomial:
        """Return the normal form of a matrix expression.

        Raises
        ------
        TypeError
            If the expression is not a matrix, or is one whose structure the calculus of words
            does not know (an inverse, an elementwise function); the message names it.
        """
        if isinstance(expr, MatrixPolynomial):
            return expr
        if isinstance(expr, Identity):
            return cls.identity(expr.rows)
        if isinstance(expr, ZeroMatrix):
            return cls(expr.shape)
        if isinstance(expr, Transpose):
            return cls.of(expr.arg).T
        if isinstance(expr, MatAdd):
            return add_up([cls.of(arg) for arg in expr.args])
        if isinstance(expr, MatMul):
            coefficient, factors = expr.as_coeff_matrices()
            return multiply([cls.of(f) for f in factors]) * coefficient
        if isinstance(expr, MatPow) and isinstance(expr.exp, Integer) and expr.exp >= 0:
            unit = cls.identity(expr.base.rows)
            return multiply([unit, *[cls.of(expr.base)] * int(expr.exp)])
        if isinstance(expr, MatrixSum):
            return cls.of(expr.term).summed(expr.index, expr.lower, expr.upper)
        if isinstance(expr, MatrixSymbol | WholeMatrix):
            return cls(expr.shape, [(S.One, (Letter(expr),), None)])
        raise TypeError(f"the calculus of words does not know {type(expr).__name__}: {expr!r}")

    def summed(self, index: Symbol, lower: Expr | int, upper: Expr | int) -> MatrixPolynomial:
        """Return the sum of this polynomial over an index, unrolled where the ends are numbers."""
        lower, upper = as_index(lower), as_index(upper)
        if any(over is not None for _, over in self.terms):
            raise NotImplementedError("a sum within a sum has no normal form here")
        count = expand(upper - lower)
        if isinstance(count, Integer):
            values = [lower + i for i in range(int(count) + 1)]
            return add_up([MatrixPolynomial(self.shape), *(self.subs(index, v) for v in values)])
        body = self.subs(index, BOUND)
        over = Range(lower, upper)
        return MatrixPolynomial(self.shape, [(c, w, over) for (w, _), c in body.terms.items()])

    # -- algebra ----------------------------------------------------------------------------

    def __add__(self, other: MatrixPolynomial) -> MatrixPolynomial:
        return add_up([self, other])

    def __neg__(self) -> MatrixPolynomial:
        return self * Integer(-1)

    def __sub__(self, other: MatrixPolynomial) -> MatrixPolynomial:
        return add_up([self, -other])

    def __mul__(self, scalar: Expr | int) -> MatrixPolynomial:
        c = as_expr(scalar)
        return MatrixPolynomial(self.shape, [(c * a, w, o) for (w, o), a in self.terms.items()])

    def __matmul__(self, other: MatrixPolynomial) -> MatrixPolynomial:
        if expand(self.shape[1] - other.shape[0]) != 0:
            raise ValueError(f"shapes {self.shape} and {other.shape} do not multiply")
        parts = [MatrixPolynomial((self.shape[0], other.shape[1]))]
        for (u, over_u), a in self.terms.items():
            for (v, over_v), b in other.terms.items():
                if over_u is not None and over_v is not None:
                    raise NotImplementedError("a product of two sums has no normal form here")
                over = over_v if over_u is None else over_u
                parts.append(MatrixPolynomial(parts[0].shape, [(a * b, _concatenated(u, v), over)]))
        return add_up(parts)

    @property
    def T(self) -> MatrixPolynomial:
        """The transpose."""
        turned = [
            (c, tuple(letter.T for letter in reversed(word)), over)
            for (word, over), c in self.terms.items()
        ]
        return MatrixPolynomial((self.shape[1], self.shape[0]), turned)

    @property
    def is_zero(self) -> bool:
        """Whether this is the zero matrix for all values of its letters."""
        return not self.terms

    def __eq__(self, other: object) -> bool:
        return isinstance(other, MatrixPolynomial) and (self - other).is_zero

    __hash__ = None  # type: ignore[assignment]

    # -- substitution -----------------------------------------------------------------------

    def substitute(
        self, image: Callable[[MatrixExpr], MatrixPolynomial | None]
    ) -> MatrixPolynomial:
        """Replace letters: ``image(node)`` is what a node becomes, None to leave it."""
        parts = [MatrixPolynomial(self.shape)]
        for (word, over), c in self.terms.items():
            factors = []
            for letter in word:
                new = image(letter.node)
                if new is None:
                    new = MatrixPolynomial(
                        letter.node.shape, [(S.One, (Letter(letter.node),), None)]
                    )
                factors.append(new.T if letter.transposed else new)
            product = multiply([MatrixPolynomial.identity(self.shape[0]), *factors]) * c
            parts.append(bind(product, over))
        return add_up(parts)

    def subs(self, old: Expr, new: Expr | int) -> MatrixPolynomial:
        """Substitute a scalar symbol everywhere: in coefficients, indices, exponents and ranges."""
        new = as_expr(new)
        shape = (self.shape[0].subs(old, new), self.shape[1].subs(old, new))
        parts = [MatrixPolynomial(shape)]
        for (word, over), c in self.terms.items():
            images = [MatrixPolynomial.of(letter.expr.subs(old, new)) for letter in word]
            product = multiply([MatrixPolynomial.identity(shape[0]), *images]) * c.subs(old, new)
            if over is not None:
                ends = (over.lower.subs(old, new), over.upper.subs(old, new))
                product = product.summed(BOUND, *ends)
            parts.append(product)
        return add_up(parts)

    def peeled(self, *, last: bool = False) -> MatrixPolynomial:
        """Take the first (or the last) summand out of every sum.

        Raises
        ------
        ValueError
            If the range of a sum is not known to be nonempty.
        """
        parts = [MatrixPolynomial(self.shape)]
        for (word, over), c in self.terms.items():
            one = MatrixPolynomial(self.shape, [(c, word, None)])
            if over is None:
                parts.append(one)
                continue
            if not expand(over.upper - over.lower).is_nonnegative:
                raise ValueError(f"the sum from {over.lower} to {over.upper} may be empty")
            rest = (over.lower, over.upper - 1) if last else (over.lower + 1, over.upper)
            parts += [one.subs(BOUND, over[last]), one.summed(BOUND, *rest)]
        return add_up(parts)

    def reflected(self) -> MatrixPolynomial:
        """Run every sum backwards, by the substitution j -> lower + upper - j."""
        parts = [MatrixPolynomial(self.shape)]
        for (word, over), c in self.terms.items():
            one = MatrixPolynomial(self.shape, [(c, word, None)])
            if over is not None:
                one = one.subs(BOUND, over.lower + over.upper - BOUND)
                one = one.summed(BOUND, over.lower, over.upper)
            parts.append(one)
        return add_up(parts)

    # -- reading ----------------------------------------------------------------------------

    def summands(self, index: Symbol) -> list[tuple[Expr, Word, Range | None]]:
        """Return the terms as (coefficient, word, range), bound indices written as ``index``."""
        listed = []
        for (word, over), c in self.terms.items():
            if over is not None:
                word = tuple(Letter(x.node.subs(BOUND, index), x.transposed) for x in word)
                c = c.subs(BOUND, index)
            listed.append((c, word, over))
        return listed

    def expr(self, index: Symbol | None = None) -> MatrixExpr:
        """Return a SymPy expression, sums last and written with the index given (j)."""
        j = index or Symbol("j", integer=True, positive=True)
        plain, sums = [], []
        for c, word, over in self.summands(j):
            matrices = [letter.expr for letter in word] or [Identity(self.shape[0])]
            if over is None:
                plain.append(_scaled(c, matrices))
            else:
                outer, inner = c.as_independent(j, as_Add=False)
                total = MatrixSum(_scaled(inner, matrices), j, over.lower, over.upper)
                sums.append(_scaled(outer, [total]))
        terms = plain + sums
        if not terms:
            return ZeroMatrix(*self.shape)
        return terms[0] if len(terms) == 1 else MatAdd(*terms)

    def __repr__(self) -> str:
        return f"MatrixPolynomial({self.expr()})"


# -- the mechanics of words -----------------------------------------------------------------


def _concatenated(left: Word, right: Word) -> Word:
    """Write two words in normal form one after the other: letters can join where they meet."""
    while left and right:
        joined = left[-1].joined(right[0])
        if joined is None:
            break
        # What came of the two may in turn join its new neighbours, or have vanished.
        left, right = _concatenated(left[:-1], joined), right[1:]
    return left + right


def _mentions_bound(coefficient: Expr, word: Word) -> bool:
    return coefficient.has(BOUND) or any(letter.node.has(BOUND) for letter in word)


def bind(polynomial: MatrixPolynomial, over: Range | None) -> MatrixPolynomial:
    """Sum a polynomial over the bound index, where there is a range for it."""
    return polynomial if over is None else polynomial.summed(BOUND, *over)


def one_letter(letter: Letter) -> MatrixPolynomial:
    """Return a letter as a polynomial."""
    return MatrixPolynomial(letter.shape, [(S.One, (letter,), None)])


def _oriented(node: MatrixExpr, transposed: bool) -> MatrixPolynomial:
    polynomial = MatrixPolynomial.of(node)
    return polynomial.T if transposed else polynomial


def add_up(parts: list[MatrixPolynomial]) -> MatrixPolynomial:
    """Add polynomials of one shape."""
    shape = parts[0].shape
    for part in parts:
        if any(expand(a - b) != 0 for a, b in zip(shape, part.shape, strict=True)):
            raise ValueError(f"shapes {shape} and {part.shape} do not add")
    terms = [(c, word, over) for p in parts for (word, over), c in p.terms.items()]
    return MatrixPolynomial(shape, terms)


def multiply(factors: list[MatrixPolynomial]) -> MatrixPolynomial:
    """Multiply polynomials in the order given."""
    result = factors[0]
    for factor in factors[1:]:
        result = result @ factor
    return result


def _scaled(coefficient: Expr, matrices: list[MatrixExpr]) -> MatrixExpr:
    if coefficient == 1:
        return matrices[0] if len(matrices) == 1 else MatMul(*matrices)
    return MatMul(coefficient, *matrices)
