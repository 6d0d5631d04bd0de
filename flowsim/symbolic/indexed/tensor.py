r"""Expressions of any rank and any size, in index notation: sums of products of indexed factors.

A parametrization that multiplies, adds, transposes, sums and takes powers is, entry by entry, a sum
of terms such as :math:`\sum_k U_{ik} s_k V_{jk}`. A term is a coefficient, a multiset of factors
whose slots hold indices, and the set of indices that are summed. Sizes may be symbols: no entry is
ever written out.

The normal form decides equality. Deltas with a summed index are eliminated, equal factors are
gathered into one power, summed indices are named in an order that depends on nothing but the term
(colour refinement, and a search among what it leaves tied), and like terms are added up.
Expressions with one normal form are equal. Equal polynomials have one, and so have their quotients
and roots by single products; quotients by sums, and indices of size 1, may be left apart.

An axis is a tuple of indices: one for a plain axis, several where a Kronecker product has made one
axis of many.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportReturnType=false
# pyright: reportOperatorIssue=false
from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property, lru_cache
from numbers import Integral, Real
from typing import Any, NamedTuple

from sympy import Expr, Float, Integer, Rational, S, expand

from flowsim._errors import InputError

__all__ = [
    "CHANGE",
    "GRADIENT",
    "Apply",
    "Body",
    "Constant",
    "Delta",
    "Factor",
    "Index",
    "Tensor",
    "Term",
    "Variable",
]

Size = int | Expr
#: The name of the loss's gradient, and the prefix of a change: no identifiers, so that no factor
#: has them. The first sorts last.
GRADIENT = "~G"
CHANGE = "d "
_counter = itertools.count()


class Index(NamedTuple):
    """A subscript: free ("f"), summed ("d") in a normal form, or fresh ("x") at work."""

    kind: str
    number: int
    size: Size


def fresh(size: Size) -> Index:
    """A new index."""
    return Index("x", next(_counter), size)


Slot = tuple[Index, ...]


@dataclass(frozen=True)
class Variable:
    """A factor of the parametrization, a gradient, or a differential: a name with a shape."""

    name: str
    shape: tuple[Size, ...]

    @property
    def key(self) -> tuple:
        """What tells it from others, in a fixed order."""
        return ("0variable", self.name)


@dataclass(frozen=True)
class Delta:
    """Kronecker's delta."""

    key = ("1delta",)


@dataclass(frozen=True, eq=False)
class Constant:
    """An array of numbers that the parametrization's function holds."""

    name: str
    value: Any

    @property
    def key(self) -> tuple:
        """What tells it from others: its numbers."""
        return ("2constant", self.value.shape, self.value.tobytes())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Constant) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)


@dataclass(frozen=True)
class Body:
    """A sum in brackets, to stand below a power."""

    inner: Tensor

    @property
    def key(self) -> tuple:
        """What tells it from others."""
        return ("3body", self.inner.key)


@dataclass(frozen=True)
class Apply:
    """A function of one variable, applied entry by entry."""

    name: str
    inner: Tensor

    @property
    def key(self) -> tuple:
        """What tells it from others."""
        return ("4apply", self.name, self.inner.key)


Atom = Variable | Delta | Constant | Body | Apply


class Factor(NamedTuple):
    """An atom at indices, to a power."""

    atom: Atom
    slots: tuple[Slot, ...]
    power: Expr = S.One

    def moved(self, substitution: Mapping[Index, Slot]) -> Factor:
        """The factor with indices replaced, one perhaps by several."""
        slots = tuple(
            tuple(itertools.chain.from_iterable(substitution.get(i, (i,)) for i in slot))
            for slot in self.slots
        )
        return self._replace(slots=slots)


class Term(NamedTuple):
    """A product of factors, summed over some of their indices."""

    factors: tuple[Factor, ...]
    sums: frozenset[Index]

    def moved(self, substitution: Mapping[Index, Slot]) -> Term:
        """The term with indices replaced."""
        sums = frozenset(
            itertools.chain.from_iterable(substitution.get(i, (i,)) for i in self.sums)
        )
        return Term(tuple(f.moved(substitution) for f in self.factors), sums)


class Tensor:
    """A sum of terms with common free axes, always in normal form.

    Parameters
    ----------
    axes
        The free axes, each a tuple of indices.
    terms
        Pairs of a coefficient and a term in those indices.
    """

    __slots__ = ("__dict__", "axes", "terms")

    def __init__(self, axes: Iterable[Slot], terms: Iterable[tuple[Expr, Term]]) -> None:
        axes = tuple(axes)
        numbers = itertools.count()
        free: dict[Index, Slot] = {}
        named = []
        for axis in axes:
            group = []
            for index in axis:
                name = Index("f", next(numbers), index.size)
                free[index] = (name,)
                group.append(name)
            named.append(tuple(group))
        self.axes: tuple[Slot, ...] = tuple(named)
        total: dict[Term, Expr] = {}
        todo = [(coefficient, term.moved(free)) for coefficient, term in reversed(list(terms))]
        while todo:
            coefficient, term = todo.pop()
            scale, canonical = _canonical(term)
            opened = _without_brackets(canonical)
            if opened is not None:
                todo += [(coefficient * scale * c, t) for c, t in reversed(opened)]
                continue
            value = total.get(canonical, S.Zero) + coefficient * scale
            total[canonical] = value if value.is_Rational else expand(value)
        self.terms: dict[Term, Expr] = {t: c for t, c in total.items() if c != 0}

    @classmethod
    def variable(cls, name: str, shape: tuple[Size, ...]) -> Tensor:
        """The tensor that a name stands for."""
        indices = tuple((fresh(n),) for n in shape)
        atom = Variable(name, tuple(shape))
        return cls(indices, [(S.One, Term((Factor(atom, indices),), frozenset()))])

    @classmethod
    def number(cls, value: Expr | int) -> Tensor:
        """A scalar number."""
        value = Integer(value) if isinstance(value, int) else value
        return cls((), [(value, Term((), frozenset()))])

    @property
    def shape(self) -> tuple[Size, ...]:
        """Sizes of the axes."""
        return tuple(size_of(axis) for axis in self.axes)

    @property
    def is_zero(self) -> bool:
        """Whether nothing is left."""
        return not self.terms

    @cached_property
    def key(self) -> tuple:
        """What tells the tensor from others, in a fixed order."""
        sizes = tuple(tuple(str(i.size) for i in axis) for axis in self.axes)
        return (sizes, tuple(sorted((term_key(t), str(c)) for t, c in self.terms.items())))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Tensor) and self.key == other.key

    def __hash__(self) -> int:
        return hash(self.key)

    def opened(self) -> tuple[tuple[Slot, ...], list[tuple[Expr, Term]]]:
        """Axes and terms with fresh indices everywhere, ready to be put into a product."""
        renamed = {i: (fresh(i.size),) for axis in self.axes for i in axis}
        axes = tuple(tuple(renamed[i][0] for i in axis) for axis in self.axes)
        terms = []
        for term, coefficient in self.terms.items():
            inner = {i: (fresh(i.size),) for i in term.sums}
            terms.append((coefficient, term.moved({**renamed, **inner})))
        return axes, terms

    def placed(self, slots: tuple[Slot, ...]) -> list[tuple[Expr, Term]]:
        """The terms with the axes at given slots."""
        axes, terms = self.opened()
        substitution = matched(axes, slots)
        return [(c, term.moved(substitution)) for c, term in terms]

    def scaled(self, number: Expr | int) -> Tensor:
        """The tensor times a number."""
        return Tensor(self.axes, [(c * number, t) for t, c in self.terms.items()])

    def __neg__(self) -> Tensor:
        return self.scaled(-1)

    def __add__(self, other: Tensor) -> Tensor:
        axes, terms = self.opened()
        others_axes, others = other.opened()
        here, there = unified(axes, others_axes)
        moved = [(c, t.moved(here)) for c, t in terms] + [(c, t.moved(there)) for c, t in others]
        return Tensor(tuple(moved_slot(axis, here) for axis in axes), moved)

    def __sub__(self, other: Tensor) -> Tensor:
        return self + (-other)

    def multiplied_out(self, power: int) -> Tensor:
        """A whole positive power, entry by entry."""
        result = self
        for _ in range(power - 1):
            axes, terms = result.opened()
            result = Tensor(axes, product(terms, self.placed(axes)))
        return result

    def transposed(self, order: tuple[int, ...]) -> Tensor:
        """The tensor with its axes in another order."""
        axes, terms = self.opened()
        return Tensor(tuple(axes[i] for i in order), terms)

    def replaced(self, change: Callable[[Term], Iterable[tuple[Expr, Term]]]) -> Tensor:
        """The tensor with each term replaced by others in the same indices."""
        new = [(c * k, t) for term, c in self.terms.items() for k, t in change(term)]
        return Tensor(self.axes, new)

    def variables(self) -> set[str]:
        """Names of the variables in it."""
        found: set[str] = set()
        for term in self.terms:
            for factor in term.factors:
                if isinstance(factor.atom, Variable):
                    found.add(factor.atom.name)
                elif isinstance(factor.atom, (Body, Apply)):
                    found |= factor.atom.inner.variables()
        return found

    def constants(self) -> dict[str, Any]:
        """The arrays of numbers in it by their names."""
        found: dict[str, Any] = {}
        for term in self.terms:
            for factor in term.factors:
                if isinstance(factor.atom, Constant):
                    found[factor.atom.name] = factor.atom.value
                elif isinstance(factor.atom, (Body, Apply)):
                    found |= factor.atom.inner.constants()
        return found

    def __repr__(self) -> str:
        from flowsim.symbolic.indexed.notation import text

        return text(self)

    def _repr_latex_(self) -> str:
        from flowsim.symbolic.indexed.notation import latex

        return rf"$\displaystyle {latex(self)}$"


def product(pairs: Iterable[tuple[Expr, Term]], other: Iterable[tuple[Expr, Term]]) -> list:
    """All products of terms, whose summed indices must be apart already."""
    right = list(other)
    return [
        (c * d, Term(s.factors + t.factors, s.sums | t.sums)) for c, s in pairs for d, t in right
    ]


def size_of(axis: Slot) -> Size:
    """The size of an axis."""
    total: Size = 1
    for index in axis:
        total = total * index.size
    return total


def matched(axes: tuple[Slot, ...], slots: tuple[Slot, ...]) -> dict[Index, Slot]:
    """The substitution that puts axes at given slots, which it leaves as they are."""
    here, there = unified(axes, slots)
    if there:
        raise ValueError(f"axes {axes} are divided, and {slots} are not")
    return here


def unified(
    first: tuple[Slot, ...], second: tuple[Slot, ...]
) -> tuple[dict[Index, Slot], dict[Index, Slot]]:
    """Substitutions that make two lists of axes the same.

    A plain axis that meets one made of several indices is divided in the same way.

    Raises
    ------
    ValueError
        If sizes differ, or two axes are divided differently.
    """
    here: dict[Index, Slot] = {}
    there: dict[Index, Slot] = {}
    for a, b in zip(first, second, strict=True):
        if tuple(i.size for i in a) == tuple(i.size for i in b):
            here.update({i: (j,) for i, j in zip(a, b, strict=True)})
        elif size_of(a) != size_of(b):
            raise ValueError(f"sizes {size_of(a)} and {size_of(b)} differ")
        elif len(a) == 1:
            here[a[0]] = b
        elif len(b) == 1:
            there[b[0]] = a
        else:
            raise ValueError(
                f"an axis of size {size_of(a)} is divided as {[i.size for i in a]} and as "
                f"{[i.size for i in b]}"
            )
    return here, there


def moved_slot(slot: Slot, substitution: Mapping[Index, Slot]) -> Slot:
    """The indices of an axis with some replaced."""
    return tuple(itertools.chain.from_iterable(substitution.get(i, (i,)) for i in slot))


# -- brackets ------------------------------------------------------------------------------------


def _without_brackets(term: Term) -> list[tuple[Expr, Term]] | None:
    """Multiply out a bracket with a whole positive power, or take a sum into its bracket."""
    for place, factor in enumerate(term.factors):
        if not isinstance(factor.atom, Body):
            continue
        rest = term.factors[:place] + term.factors[place + 1 :]
        if factor.power.is_Integer and factor.power.is_positive:
            opened = factor.atom.inner.multiplied_out(int(factor.power))
            return product([(S.One, Term(rest, term.sums))], opened.placed(factor.slots))
        inner = factor.atom.inner
        if inner.axes or len(inner.terms) != 1:
            continue
        # (sum_k v_k^2) (sum_k v_k^2)^p = (sum_k v_k^2)^(p+1), for scalars that are one term.
        ((wanted, number),) = inner.terms.items()
        for part in _closed_parts(Term(rest, term.sums)):
            scale, canonical = _canonical(part)
            if canonical == wanted and scale == 1:
                others = tuple(f for f in rest if f not in part.factors)
                raised = factor._replace(power=factor.power + 1)
                new = (*others, raised) if raised.power != 0 else others
                return [(1 / number, Term(new, term.sums - part.sums))]
    return None


def _closed_parts(term: Term) -> list[Term]:
    """The parts of a product that share no index with the rest, and have none that is free."""
    parts: list[tuple[set[Index], list[Factor]]] = []
    for factor in term.factors:
        indices = {i for slot in factor.slots for i in slot}
        joined: tuple[set[Index], list[Factor]] = (indices, [factor])
        apart = []
        for part in parts:
            if part[0] & indices:
                joined = (joined[0] | part[0], part[1] + joined[1])
            else:
                apart.append(part)
        parts = [*apart, joined]
    return [
        Term(tuple(factors), frozenset(indices))
        for indices, factors in parts
        if indices and indices <= term.sums
    ]


# -- the normal form of a term -------------------------------------------------------------------


def _canonical(term: Term) -> tuple[Expr, Term]:
    """A number and the term in normal form whose product is the term."""
    scale, term = _without_deltas(term)
    term = _undivided(_one_name_for_equal_indices(term))
    powers: dict[tuple[Atom, tuple[Slot, ...]], Expr] = {}
    for factor in term.factors:
        slots = factor.slots
        if isinstance(factor.atom, Delta):
            slots = tuple(sorted(slots))
        where = (factor.atom, slots)
        power = powers.get(where, S.Zero) + factor.power
        powers[where] = S.One if isinstance(factor.atom, Delta) else power
    factors = tuple(Factor(a, s, expand(p)) for (a, s), p in powers.items() if expand(p) != 0)
    used = {i for f in factors for slot in f.slots for i in slot}
    for index in term.sums - used:
        scale = scale * index.size
    return scale, _named(Term(factors, term.sums & used))


def _without_deltas(term: Term) -> tuple[Expr, Term]:
    """Sum out every delta that has a summed index of its own."""
    scale: Expr = S.One
    while True:
        for place, factor in enumerate(term.factors):
            if not isinstance(factor.atom, Delta):
                continue
            a, b = factor.slots
            rest = term.factors[:place] + term.factors[place + 1 :]
            if a == b:
                # Equal indices: the delta is 1, and a sum over what is left counts its size.
                term = Term(rest, term.sums)
                break
            if len(a) == len(b) > 1:
                parts = tuple(Factor(Delta(), ((i,), (j,))) for i, j in zip(a, b, strict=True))
                term = Term(parts + rest, term.sums)
                break
            gone, kept = (a, b) if len(a) == 1 and a[0] in term.sums else (b, a)
            if len(gone) == 1 and gone[0] in term.sums and gone[0] not in kept:
                moved = Term(rest, term.sums - {gone[0]}).moved({gone[0]: kept})
                term = moved
                break
        else:
            return scale, term


def _one_name_for_equal_indices(term: Term) -> Term:
    """Write every factor with the first of the free indices that deltas make equal."""
    factors = list(term.factors)
    for place in range(len(factors)):
        factor = factors[place]  # as the deltas before it have left it
        if not isinstance(factor.atom, Delta) or any(len(slot) != 1 for slot in factor.slots):
            continue
        low, high = sorted(slot[0] for slot in factor.slots)
        if low != high and not {low, high} & term.sums:
            moved: dict[Index, Slot] = {high: (low,)}
            factors = [f if n == place else f.moved(moved) for n, f in enumerate(factors)]
    # A delta of an index with itself is 1.
    kept = [f for f in factors if not (isinstance(f.atom, Delta) and f.slots[0] == f.slots[1])]
    return Term(tuple(kept), term.sums)


def _undivided(term: Term) -> Term:
    """One index for summed ones that divide an axis but always stand together."""
    while True:
        slots = [slot for factor in term.factors for slot in factor.slots]
        counts = Counter(i for slot in slots for i in slot)
        pairs = Counter(pair for slot in slots for pair in itertools.pairwise(slot))
        for (a, b), count in pairs.items():
            if a != b and {a, b} <= term.sums and count == counts[a] == counts[b]:
                break
        else:
            return term
        whole = fresh(a.size * b.size)
        term = Term(term.factors, term.sums - {b}).moved({a: (whole,), b: ()})


def _named(term: Term) -> Term:
    """Name the summed indices in an order that depends on nothing but the term."""
    if not term.sums:
        return Term(tuple(sorted(term.factors, key=_factor_key)), term.sums)
    return _least(term, _refined(term, {i: (1, str(i.size)) for i in term.sums}))


def _least(term: Term, colours: dict[Index, tuple]) -> Term:
    """The least of the terms named in every order that colour refinement leaves possible.

    Two choices among tied indices that end in the same term, each followed by the first choices
    from there on, are images of each other under a symmetry of the term: one of them will do.
    """
    tied = _tied(colours)
    if not tied:
        return _ordered(term, colours)
    ends: set[Term] = set()
    best: Term | None = None
    for chosen in tied:
        apart = _apart(term, colours, tied, chosen)
        end = _first(term, apart)
        if end in ends:
            continue
        ends.add(end)
        least = _least(term, apart)
        best = least if best is None else min(best, least, key=term_key)
    return best or _ordered(term, colours)


def _first(term: Term, colours: dict[Index, tuple]) -> Term:
    """The term named in the order that the first choice among tied indices leads to."""
    while tied := _tied(colours):
        colours = _apart(term, colours, tied, tied[0])
    return _ordered(term, colours)


def _tied(colours: dict[Index, tuple]) -> list[Index]:
    """The first indices that share a colour, or none."""
    classes: dict[tuple, list[Index]] = {}
    for index, colour in colours.items():
        classes.setdefault(colour, []).append(index)
    return min(((c, m) for c, m in classes.items() if len(m) > 1), default=((), []))[1]


def _apart(
    term: Term, colours: dict[Index, tuple], tied: list[Index], chosen: Index
) -> dict[Index, tuple]:
    """The colours that follow when one of the tied indices comes before the others."""
    others = set(tied) - {chosen}
    return _refined(term, {i: (*c, int(i in others)) for i, c in colours.items()})


def _ordered(term: Term, colours: dict[Index, tuple]) -> Term:
    """The term with its summed indices named in the order of their colours."""
    order = sorted(colours, key=lambda i: colours[i])
    named = term.moved({i: (Index("d", n, i.size),) for n, i in enumerate(order)})
    return Term(tuple(sorted(named.factors, key=_factor_key)), named.sums)


def _refined(term: Term, colours: dict[Index, tuple]) -> dict[Index, tuple]:
    """Colour each summed index by where it stands, until nothing changes."""
    count = len(set(colours.values()))
    while True:
        ranks = {c: n for n, c in enumerate(sorted(set(colours.values())))}
        shown = {i: (1, ranks[c]) for i, c in colours.items()}
        places: dict[Index, list] = {i: [] for i in colours}
        for factor in term.factors:
            pattern = tuple(
                tuple(shown.get(i, (0, i.number)) for i in slot) for slot in factor.slots
            )
            signature = (factor.atom.key, _spelt(factor.power), pattern)
            for s, slot in enumerate(factor.slots):
                for p, i in enumerate(slot):
                    if i in places:
                        places[i].append((signature, s, p))
        colours = {i: (shown[i], tuple(sorted(places[i]))) for i in colours}
        new = len(set(colours.values()))
        if new == count:
            ranks = {c: n for n, c in enumerate(sorted(set(colours.values())))}
            return {i: (1, ranks[c]) for i, c in colours.items()}
        count = new


def _factor_key(factor: Factor) -> tuple:
    slots = tuple(tuple((i.kind, i.number) for i in slot) for slot in factor.slots)
    return (factor.atom.key, slots, _spelt(factor.power))


@lru_cache(maxsize=4096)
def _spelt(number: Expr) -> str:
    return str(number)


def term_key(term: Term) -> tuple:
    """What tells a term from others, in a fixed order."""
    return tuple(_factor_key(f) for f in term.factors)


def exact(number: Any) -> Expr:
    """A number as an exact SymPy scalar.

    A float is the short fraction that rounds to it, as 0.1 is 1/10, or else the fraction that it
    is: sums of products of them cancel exactly.
    """
    if isinstance(number, Expr):
        return number.xreplace({x: exact(float(x)) for x in number.atoms(Float)})
    if isinstance(number, Integral):
        return Integer(int(number))
    if isinstance(number, Fraction):
        return Rational(number)
    if isinstance(number, Real) and math.isfinite(number):
        value = Fraction(float(number))
        short = value.limit_denominator(1000)
        chosen = short if float(short) == float(number) else value
        return Rational(chosen)
    raise InputError(f"{number!r} stands in a formula; finite real numbers can.")
