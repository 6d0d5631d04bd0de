r"""Indexed expressions as a paper writes them: products of matrices where there are any.

A term is a graph: its indices are the vertices, a matrix is an edge, a vector sits at its vertex.
The graph is reduced as an electric network is: two matrices in series are a product, with the
vector between them as a diagonal matrix; two in parallel are multiplied entry by entry; a matrix
that leads nowhere is a matrix times a vector, and one that leads back is a diagonal. Only where the
network is not of that kind are the indices written.

Plain text is in the language of :meth:`flowsim.problems.Parametrization.from_text`.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
from __future__ import annotations

import abc
import re
from collections import defaultdict
from dataclasses import dataclass

from sympy import Add, Expr, Float, Integer, Rational, S
from sympy.printing.latex import latex as sympy_latex
from sympy.printing.str import sstr

from flowsim.symbolic.indexed.tensor import (
    CHANGE,
    GRADIENT,
    Apply,
    Body,
    Constant,
    Delta,
    Factor,
    Index,
    Tensor,
    Term,
    Variable,
)

__all__ = ["latex", "subscripts", "text"]

#: A fraction with a longer denominator is a decimal number that somebody wrote.
_LONGEST_DENOMINATOR = 10**6

_GREEK = frozenset(
    word
    for line in (
        "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau",
        "upsilon phi chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega",
    )
    for word in line.split()
)


def text(tensor: Tensor, *, bracket: bool = False) -> str:
    """The expression in plain text."""
    return _written(tensor, _Text(), bracket)


def latex(tensor: Tensor, *, bracket: bool = False) -> str:
    """The expression in LaTeX."""
    return _written(tensor, _Latex(), bracket)


_LETTERS = "ijklmnopqrstuvwxyzabcdefgh"


class _NoMatrices(Exception):
    """A term that has no reading in products of matrices."""


# -- styles ---------------------------------------------------------------------------------------


class _Style(abc.ABC):
    """How the parts of an expression are spelt."""

    zero = "0"
    closing = ")"

    @abc.abstractmethod
    def name(self, name: str) -> str: ...
    @abc.abstractmethod
    def power(self, base: str, exponent: Expr, *, entrywise: bool) -> str: ...
    @abc.abstractmethod
    def transposed(self, matrix: str) -> str: ...
    @abc.abstractmethod
    def matrix_product(self, parts: list[str]) -> str: ...
    @abc.abstractmethod
    def entry_product(self, parts: list[str]) -> str: ...
    @abc.abstractmethod
    def outer(self, a: str, b: str) -> str: ...
    @abc.abstractmethod
    def inner(self, a: str, b: str) -> str: ...
    @abc.abstractmethod
    def call(self, function: str, argument: str) -> str: ...
    @abc.abstractmethod
    def norm(self, argument: str, power: Expr) -> str: ...
    @abc.abstractmethod
    def kron(self, parts: list[str]) -> str: ...
    @abc.abstractmethod
    def identity(self, index: Index) -> str: ...
    @abc.abstractmethod
    def one(self) -> str: ...
    @abc.abstractmethod
    def ones(self) -> str: ...
    @abc.abstractmethod
    def scaled(self, number: Expr, scalars: list[str], rest: str) -> str: ...
    @abc.abstractmethod
    def indexed(self, factors: list[tuple[str, str, Expr]], sums: str) -> str: ...
    @abc.abstractmethod
    def brackets(self, inner: str) -> str: ...


class _Text(_Style):
    def name(self, name: str) -> str:
        return "G" if name == GRADIENT else name.replace(CHANGE, "d")

    def power(self, base: str, exponent: Expr, *, entrywise: bool) -> str:
        shown = sstr(_decimal(exponent), full_prec=False)
        return base if exponent == 1 else f"{base}**{shown if shown.isalnum() else f'({shown})'}"

    def transposed(self, matrix: str) -> str:
        return f"{matrix}.T" if _is_plain(matrix) else f"({matrix}).T"

    def matrix_product(self, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else " @ ".join(_guarded(p, " * ") for p in parts)

    def entry_product(self, parts: list[str]) -> str:
        return parts[0] if len(parts) == 1 else " * ".join(_guarded(p, " @ ") for p in parts)

    def outer(self, a: str, b: str) -> str:
        return f"outer({a}, {b})"

    def inner(self, a: str, b: str) -> str:
        return f"({_guarded(a, ' * ')} @ {_guarded(b, ' * ')})"

    def call(self, function: str, argument: str) -> str:
        return f"{function}({argument})"

    def norm(self, argument: str, power: Expr) -> str:
        return self.power(f"norm({argument})", power, entrywise=False)

    def kron(self, parts: list[str]) -> str:
        total = parts[0]
        for part in parts[1:]:
            total = f"kron({total}, {part})"
        return total

    def identity(self, index: Index) -> str:
        return f"I_{index.size}" if not isinstance(index.size, int) else "I"

    def one(self) -> str:
        return "1"

    def ones(self) -> str:
        raise _NoMatrices  # the language has no name for a vector of ones

    def scaled(self, number: Expr, scalars: list[str], rest: str) -> str:
        sign = "-" if number.could_extract_minus_sign() else ""
        number = _decimal(-number if sign else number)
        shown = sstr(number, full_prec=False)
        front = [f"({shown})" if isinstance(number, Add) else shown]
        parts = ([] if number == 1 else front) + scalars
        if rest and not (parts and rest == self.one()):  # a number stands for all entries
            parts.append(_guarded(rest, " @ ") if parts else rest)
        return sign + (" * ".join(parts) or "1")

    def indexed(self, factors: list[tuple[str, str, Expr]], sums: str) -> str:
        shown = " * ".join(
            self.power(f"{name}[{indices}]" if indices else name, p, entrywise=False)
            for name, indices, p in factors
        )
        return f"sum_{{{sums}}} {shown}" if sums else shown

    def brackets(self, inner: str) -> str:
        return f"({inner})"


class _Latex(_Style):
    closing = r"\right)"

    def name(self, name: str) -> str:
        if name == GRADIENT:
            return r"\nabla L"
        if name.startswith(CHANGE):
            return rf"\mathrm{{d}}{self.name(name.removeprefix(CHANGE))}"
        match = re.fullmatch(r"([A-Za-z]+?)_?(\d*)", name)
        if match is None:
            return rf"\mathrm{{{name}}}".replace("_", r"\_")
        letters, digits = match.groups()
        shown = rf"\{letters}" if letters in _GREEK else letters
        if len(letters) > 1 and letters not in _GREEK:
            shown = rf"\mathrm{{{letters}}}"
        return f"{shown}_{{{digits}}}" if digits else shown

    def power(self, base: str, exponent: Expr, *, entrywise: bool) -> str:
        if exponent == 1:
            return base
        circle = r"\odot " if entrywise else ""
        return f"{base}^{{{circle}{_latex_number(exponent)}}}"

    def transposed(self, matrix: str) -> str:
        if "^" in matrix or " " in matrix.replace(r"\nabla L", ""):
            return rf"\left({matrix}\right)^{{\top}}"
        return rf"{matrix}^{{\top}}"

    def matrix_product(self, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        return r" \, ".join(_latex_guarded(part, r" \odot ") for part in parts)

    def entry_product(self, parts: list[str]) -> str:
        if len(parts) == 1:
            return parts[0]
        return r" \odot ".join(_latex_guarded(part, r" \, ") for part in parts)

    def outer(self, a: str, b: str) -> str:
        left = _latex_guarded(a, r" \odot ")
        return rf"{left} \, {self.transposed(b)}"

    def inner(self, a: str, b: str) -> str:
        return rf"\langle {a}, {b} \rangle"

    def call(self, function: str, argument: str) -> str:
        known = {"exp", "log", "tanh", "sin", "cos"}
        name = rf"\{function}" if function in known else rf"\operatorname{{{function}}}"
        return rf"{name}\left({argument}\right)"

    def norm(self, argument: str, power: Expr) -> str:
        shown = rf"\lVert {argument} \rVert"
        return shown if power == 1 else f"{shown}^{{{_latex_number(power)}}}"

    def kron(self, parts: list[str]) -> str:
        return r" \otimes ".join(_latex_guarded(part, r" \, ") for part in parts)

    def identity(self, index: Index) -> str:
        return "I"

    def one(self) -> str:
        return r"\mathbf{1}"

    def ones(self) -> str:
        return self.one()

    def scaled(self, number: Expr, scalars: list[str], rest: str) -> str:
        sign = "-" if number.could_extract_minus_sign() else ""
        number = -number if sign else number
        front = _latex_number(number)
        front = rf"\left({front}\right)" if isinstance(number, Add) else front
        parts = ([] if number == 1 else [front]) + scalars + ([rest] if rest else [])
        return sign + (r" \, ".join(parts) or "1")

    def indexed(self, factors: list[tuple[str, str, Expr]], sums: str) -> str:
        shown = r" \, ".join(
            self.power(f"{{{name}}}_{{{indices}}}" if indices else name, p, entrywise=False)
            for name, indices, p in factors
        )
        return rf"\sum_{{{sums}}} {shown}" if sums else shown

    def brackets(self, inner: str) -> str:
        return rf"\left({inner}\right)"


def _decimal(number: Expr) -> Expr:
    """The number with decimals for fractions that nobody would write."""
    return number.xreplace(
        {x: Float(float(x)) for x in number.atoms(Rational) if x.q > _LONGEST_DENOMINATOR}
    )


def _latex_number(number: Expr) -> str:
    return sympy_latex(_decimal(number), full_prec=False)


def _is_plain(shown: str) -> bool:
    return shown.isalnum() or re.fullmatch(r"[A-Za-z_]\w*\([^()]*\)", shown) is not None


def _guarded(shown: str, weaker: str) -> str:
    """Brackets around a product of the other kind, or a sum, at the top of a text."""
    level = 0
    for place, character in enumerate(shown):
        level += (character == "(") - (character == ")")
        if level == 0 and shown[place:].startswith((weaker, " + ", " - ")):
            return f"({shown})"
    return shown


def _latex_guarded(shown: str, weaker: str) -> str:
    level = 0
    for place, character in enumerate(shown):
        level += (character in "({") - (character in ")}")
        if level == 0 and shown[place:].startswith((weaker, " + ", " - ")):
            return rf"\left({shown}\right)"
    return shown


# -- sums -----------------------------------------------------------------------------------------


def _written(tensor: Tensor, style: _Style, bracket: bool = False) -> str:
    parts = _terms(tensor, style)
    if not parts:
        return style.zero
    shown = parts[0] + "".join(
        f" - {part[1:]}" if part.startswith("-") else f" + {part}" for part in parts[1:]
    )
    return style.brackets(shown) if bracket and (len(parts) > 1 or shown[0] == "-") else shown


def _terms(tensor: Tensor, style: _Style) -> list[str]:
    """The terms, all in products of matrices, or else all in indices."""
    try:
        return [
            style.scaled(number, *_in_matrices(tensor, term, style))
            for term, number in tensor.terms.items()
        ]
    except _NoMatrices:
        return [
            style.scaled(number, [], _in_indices(tensor, term, style))
            for term, number in tensor.terms.items()
        ]


def subscripts(tensor: Tensor) -> str:
    """The free indices that an expression is written in, ``"i,j"``; none where in matrices."""
    try:
        for term in tensor.terms:
            _in_matrices(tensor, term, _Text())
    except _NoMatrices:
        letters = iter(_LETTERS)
        axes = ["".join(next(letters, "?") for _ in axis) for axis in tensor.axes]
        return ",".join(axis if len(axis) == 1 else f"({axis})" for axis in axes)
    return ""


def _in_indices(tensor: Tensor, term: Term, style: _Style) -> str:
    letters = iter(_LETTERS)
    names = {index: next(letters, "?") for axis in tensor.axes for index in axis}
    names |= {index: next(letters, "?") for index in sorted(term.sums, key=lambda i: i.number)}
    factors: list[tuple[str, str, Expr]] = []
    for f in term.factors:
        indices = [
            names[s[0]] if len(s) == 1 else f"({''.join(names[i] for i in s)})" for s in f.slots
        ]
        if isinstance(f.atom, Delta):
            shown = "delta" if isinstance(style, _Text) else r"\delta"
        else:
            shown = _atom(f._replace(power=Integer(1)), style, entrywise=False)
        separator = "," if isinstance(style, _Text) else ""
        if indices:
            factors.append((shown, separator.join(indices), f.power))
        else:
            # With its power inside: that of a norm is not that of the sum of squares.
            factors.append((_atom(f, style, entrywise=False), "", Integer(1)))
    sums = "".join(names[i] for i in sorted(term.sums, key=lambda i: i.number))
    return style.indexed(factors, sums)


def _atom(factor: Factor, style: _Style, *, entrywise: bool) -> str:
    """A factor without its indices, with its power."""
    atom, power = factor.atom, factor.power
    if isinstance(atom, Variable):
        return style.power(style.name(atom.name), power, entrywise=entrywise)
    if isinstance(atom, Constant):
        return style.power(atom.name, power, entrywise=entrywise)
    if isinstance(atom, Apply):
        return style.power(
            style.call(atom.name, _written(atom.inner, style)), power, entrywise=entrywise
        )
    if isinstance(atom, Body):
        squared = _squared(atom.inner)
        if squared is not None:
            return style.norm(_written(squared, style), 2 * power)
        return style.power(style.brackets(_written(atom.inner, style)), power, entrywise=entrywise)
    return "I"


def _squared(tensor: Tensor) -> Tensor | None:
    """The x of a scalar that is the sum of the squares of the entries of x."""
    if tensor.axes or len(tensor.terms) != 1:
        return None
    ((term, number),) = tensor.terms.items()
    if number != 1 or len(term.factors) != 1 or term.factors[0].power != 2:
        return None
    (factor,) = term.factors
    indices = [i for slot in factor.slots for i in slot]
    if set(indices) != term.sums or len(set(indices)) != len(indices):
        return None
    alone = Term((factor._replace(power=S.One),), frozenset())
    return Tensor(factor.slots, [(S.One, alone)])


# -- a term as a network of matrices --------------------------------------------------------------


def _in_matrices(tensor: Tensor, term: Term, style: _Style) -> tuple[list[str], str]:
    """Scalars in front, and the rest as products of matrices and vectors."""
    if not term.factors:
        return [], ""  # a number, at every entry
    plain = all(len(axis) == 1 for axis in tensor.axes)
    if plain and len(tensor.axes) <= 2:
        return _network(term, [axis[0] for axis in tensor.axes], style)
    if plain and len(tensor.axes) == 4:
        # vec(M X N^T) = (N kron M) vec(X), columns stacked.
        i, j, k, m = (axis[0] for axis in tensor.axes)
        return _kronecker(term, [(j, m), (i, k)], style)
    if len(tensor.axes) == 2 and len(tensor.axes[0]) == len(tensor.axes[1]):
        return _kronecker(term, list(zip(*tensor.axes, strict=True)), style)
    raise _NoMatrices


def _kronecker(
    term: Term, pairs: list[tuple[Index, Index]], style: _Style
) -> tuple[list[str], str]:
    """A product of terms that each hold one pair of the free indices."""
    owner: dict[Index, int] = {i: n for n, pair in enumerate(pairs) for i in pair}
    factors = [(f, {i for slot in f.slots for i in slot}) for f in term.factors]
    changed = True
    while changed:
        changed = False
        for _, indices in factors:
            owners = {owner[i] for i in indices if i in owner}
            if len(owners) > 1:
                raise _NoMatrices
            for i in indices - set(owner):
                if owners:
                    owner[i] = next(iter(owners))
                    changed = True
    scalars, shown = [], []
    for n, pair in enumerate([*pairs, ()]):
        mine = n if pair else -1
        part = tuple(f for f, ind in factors if owner.get(next(iter(ind), _NOWHERE), -1) == mine)
        sums = frozenset(i for i in term.sums if owner.get(i, -1) == mine)
        front, rest = _network(Term(part, sums), list(pair), style)
        scalars += front
        shown += [rest] if pair else []
    return scalars, style.kron(shown)


_NOWHERE = Index("", -1, 0)


@dataclass
class _Edge:
    """A product of matrices that leads from one vertex to another."""

    ends: tuple[Index, Index]
    parts: list[tuple[str, bool]]  # what is shown, and whether transposed
    squared: str = ""  # the matrix whose entries are squared here, if that is all there is

    def read(self, start: Index) -> list[tuple[str, bool]]:
        """The parts in the order in which they are read from one end."""
        if start == self.ends[0]:
            return self.parts
        return [(shown, not turned) for shown, turned in reversed(self.parts)]

    def other(self, end: Index) -> Index:
        """The end that is not this one."""
        return self.ends[1] if end == self.ends[0] else self.ends[0]


class _Graph:
    """A term as a network, reduced step by step."""

    def __init__(self, term: Term, free: list[Index], style: _Style) -> None:
        self.style, self.free = style, free
        self.inner = sorted(term.sums, key=lambda i: i.number)
        self.vectors: dict[Index, list[str]] = defaultdict(list)
        self.squares: dict[Index, str] = {}
        self.scalars: list[str] = []
        self.edges: list[_Edge] = []
        for factor in term.factors:
            self._enter(factor)
        while self._step():
            pass
        if self.inner:
            raise _NoMatrices

    def _enter(self, factor: Factor) -> None:
        if any(len(slot) != 1 for slot in factor.slots) or len(factor.slots) > 2:
            raise _NoMatrices
        ends = tuple(slot[0] for slot in factor.slots)
        shown = _atom(factor, self.style, entrywise=bool(ends))
        plain = _atom(factor._replace(power=S.One), self.style, entrywise=False)
        if not ends:
            self.scalars.append(shown)
        elif len(ends) == 1:
            self.vectors[ends[0]].append(shown)
            if factor.power == 2:
                self.squares[ends[0]] = plain
        elif isinstance(factor.atom, Delta):
            self.edges.append(_Edge((ends[0], ends[1]), []))
        else:
            squared = plain if factor.power == 2 else ""
            self.edges.append(_Edge((ends[0], ends[1]), [(shown, False)], squared))

    def _step(self) -> bool:
        """Reduce the network at one place; return whether there was one."""
        for edge in self.edges:
            if edge.ends[0] == edge.ends[1]:
                self.edges.remove(edge)
                back = [(shown, not turned) for shown, turned in reversed(edge.parts)]
                # Both have one diagonal: the one with fewer transposes is written.
                parts = min(edge.parts, back, key=lambda parts: sum(turned for _, turned in parts))
                shown = self._spelt(parts, edge.ends[0])
                self.vectors[edge.ends[0]].append(self.style.call("diag", shown))
                return True
        for index in self.inner:
            meeting = [e for e in self.edges if index in e.ends]
            if len(meeting) <= 2:
                self.inner.remove(index)
                (self._end, self._dangle, self._join)[len(meeting)](index, *meeting)
                return True
        return self._parallel()

    def _end(self, index: Index) -> None:
        """A sum over vectors alone."""
        shown = self.vectors[index]
        if len(shown) == 2:
            self.scalars.append(self.style.inner(*shown))
        elif len(shown) == 1 and index in self.squares:
            self.scalars.append(self.style.norm(self.squares[index], Integer(2)))
        elif len(shown) == 1 and self._is_diagonal(shown[0]):
            empty, closing = self.style.call("diag", ""), self.style.closing
            inside = shown[0][len(empty) - len(closing) : -len(closing)]
            self.scalars.append(self.style.call("trace", inside))
        else:
            self.scalars.append(self.style.call("sum", self.style.entry_product(shown)))

    def _dangle(self, index: Index, edge: _Edge) -> None:
        """A matrix times a vector."""
        there = edge.other(index)
        sole = there in self.inner and sum(there in e.ends for e in self.edges) == 1
        if sole and not self.vectors[index] and not self.vectors[there]:
            self.edges.remove(edge)
            self.inner.remove(there)
            if edge.squared:
                self.scalars.append(self.style.norm(edge.squared, Integer(2)))
            else:
                inside = self._spelt(edge.parts, edge.ends[0])
                self.scalars.append(self.style.call("sum", inside))
            return
        self.edges.remove(edge)
        tail = self.vectors[index] or [self.style.ones()]
        parts = [self._token(part) for part in edge.read(there)]
        shown = self.style.matrix_product([*parts, self.style.entry_product(tail)])
        self.vectors[there].append(shown)

    def _join(self, index: Index, first: _Edge, second: _Edge) -> None:
        """Two matrices in series."""
        self.edges = [e for e in self.edges if e is not first and e is not second]
        start, end = first.other(index), second.other(index)
        between = self.vectors[index]
        middle = [(self.style.call("diag", self.style.entry_product(between)), False)]
        parts = first.read(start) + (middle if between else []) + second.read(index)
        self.edges.append(_Edge((start, end), parts))

    def _parallel(self) -> bool:
        """Two matrices between the same vertices."""
        for n, first in enumerate(self.edges):
            for second in self.edges[n + 1 :]:
                if set(first.ends) == set(second.ends) and (
                    set(first.ends) & set(self.inner) or (first.parts and second.parts)
                ):
                    self.edges = [e for e in self.edges if e is not first and e is not second]
                    a, b = (
                        self._spelt(e.read(first.ends[0]), first.ends[0]) for e in (first, second)
                    )
                    both = self.style.entry_product([a, b])
                    self.edges.append(_Edge(first.ends, [(both, False)]))
                    return True
        return False

    def _token(self, part: tuple[str, bool]) -> str:
        shown, turned = part
        return self.style.transposed(shown) if turned and not self._is_diagonal(shown) else shown

    def _is_diagonal(self, shown: str) -> bool:
        head = self.style.call("diag", "").removesuffix(self.style.closing)
        if not shown.startswith(head):
            return False
        level = 1
        for place, character in enumerate(shown[len(head) :], len(head)):
            level += (character == "(") - (character == ")")
            if level == 0:
                return place == len(shown) - 1
        return False

    def _spelt(self, parts: list[tuple[str, bool]], start: Index) -> str:
        if not parts:
            return self.style.identity(start)
        return self.style.matrix_product([self._token(part) for part in parts])

    def written(self) -> str:
        """What is left at and between the free indices."""
        style, free = self.style, self.free
        if not free:
            return ""
        rows = self.vectors[free[0]]
        if len(free) == 1:
            return style.entry_product(rows) if rows else style.one()
        columns = self.vectors[free[1]]
        between = [self._spelt(e.read(free[0]), free[0]) for e in self.edges if e.parts]
        on_diagonal = any(not e.parts for e in self.edges)
        if on_diagonal:
            inside = rows + columns + [style.call("diag", m) for m in between]
            whole = style.entry_product(inside) if inside else ""
            return style.call("diag", whole) if inside else style.identity(free[0])
        if not between:
            a = style.entry_product(rows) if rows else style.ones()
            b = style.entry_product(columns) if columns else style.ones()
            return style.outer(a, b)
        matrix = style.entry_product(between)
        parts = [style.call("diag", style.entry_product(rows))] if rows else []
        parts.append(matrix)
        parts += [style.call("diag", style.entry_product(columns))] if columns else []
        return style.matrix_product(parts)


def _network(term: Term, free: list[Index], style: _Style) -> tuple[list[str], str]:
    """Scalars in front, and the rest."""
    graph = _Graph(term, free, style)
    return graph.scalars, graph.written()
