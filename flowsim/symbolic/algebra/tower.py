"""The growing ring beneath :mod:`flowsim.symbolic.algebra.ring`: generators and relations."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy.polys.domains import QQ
from sympy.polys.orderings import lex
from sympy.polys.rings import PolyElement, PolyRing

from flowsim._errors import InputError
from flowsim.symbolic.algebra.elements import Element, exact
from flowsim.symbolic.algebra.generators import Generator, key_of

__all__ = ["Tower"]

MOST_GENERATORS = 200


class Tower:
    """The entries of some factors and, as they are called for, generators on top of them."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.generators: list[Generator] = []
        self._known: dict[Any, int] = {}
        self._partials: dict[tuple[int, int], PolyElement] = {}
        self._rules: list[tuple[dict[int, int], PolyElement]] = []
        self.generators.extend([Generator("entry")] * size)
        self.ring = _ring(self.size)

    @property
    def extended(self) -> bool:
        """Whether there are generators besides the entries."""
        return len(self.generators) > self.size

    def entries(self) -> list[Element]:
        """The entries as elements."""
        return [Element(self, gen) for gen in self.ring.gens[: self.size]]

    def element(self, value: Any) -> Any:
        """A number or an element as an element; NotImplemented for anything else."""
        if isinstance(value, Element):
            return value
        if isinstance(value, np.ndarray) and value.shape == ():
            return self.element(value.item())
        number = exact(value)
        return NotImplemented if number is None else Element(self, self.constant(number))

    def lift(self, poly: PolyElement) -> PolyElement:
        """The same polynomial in the ring as it now is."""
        missing = self.ring.ngens - poly.ring.ngens
        if not missing:
            return poly
        return self.ring.from_dict({m + (0,) * missing: c for m, c in poly.items()})

    def times(self, a: PolyElement, b: PolyElement) -> PolyElement:
        """A product, in the ring as it is once both factors are known."""
        return self.lift(a) * self.lift(b)

    def generator(self, index: int) -> PolyElement:
        """A generator as a polynomial."""
        return self.ring.gens[index]

    def adopt(self, other: Tower, poly: PolyElement, entries: Sequence[int]) -> PolyElement:
        """A polynomial of another tower in this one, whose i-th entry is there ``entries[i]``."""
        here = {there: i for i, there in enumerate(entries)}
        total = self.ring.zero
        for monomial, c in poly.items():
            term = self.ring.ground_new(c)
            for g, e in enumerate(monomial):
                if e and g < other.size:
                    term = self.times(term, self.generator(here[g]) ** e)
                elif e:
                    term = self.times(term, self._copied(other, g, entries) ** e)
            total = self.lift(total) + term
        return self.lift(total)

    def keys(self) -> tuple[Any, ...]:
        """What the generators are, comparable between towers."""
        return tuple(
            (g.kind, g.order, g.value, None if g.base is None else key_of(g.base))
            for g in self.generators
        )

    def derive(self, poly: PolyElement, i: int) -> PolyElement:
        """The partial derivative with respect to the i-th entry, not reduced."""
        poly = self.lift(poly)
        total = poly.diff(self.ring.gens[i])
        if self.extended:
            used = set()
            for monomial in poly:
                used.update(g for g in range(self.size, len(monomial)) if monomial[g])
            for g in used:
                partial = self._partial(g, i)
                if partial:
                    total += poly.diff(self.ring.gens[g]) * self.lift(partial)
        return total

    def reduce(self, poly: PolyElement) -> PolyElement:
        """The normal form modulo the relations."""
        if not self._rules:
            return poly
        rules = [(list(lead.items()), self.lift(to)) for lead, to in self._rules]
        todo, done = dict(poly), {}
        while todo:
            monomial, c = todo.popitem()
            for lead, to in rules:
                if all(monomial[g] >= e for g, e in lead):
                    rest = list(monomial)
                    for g, e in lead:
                        rest[g] -= e
                    for m, k in to.items():
                        product = tuple(map(int.__add__, m, rest))
                        total = todo.get(product, 0) + c * k
                        if total:
                            todo[product] = total
                        else:
                            todo.pop(product, None)
                    break
            else:
                total = done.get(monomial, 0) + c
                if total:
                    done[monomial] = total
                else:
                    done.pop(monomial, None)
        return self.ring.from_dict(done)

    def depends(self, poly: PolyElement) -> set[int]:
        """The entries on which a polynomial depends, through its generators too."""
        parts = [poly, *(self.generators[g].base for g in self.needed(poly))]
        return {
            g
            for part in parts
            if part is not None
            for monomial in part
            for g, e in enumerate(monomial[: self.size])
            if e
        }

    def needed(self, poly: PolyElement) -> list[int]:
        """The generators that a polynomial is made of, each after those it is a function of."""
        needed: set[int] = set()
        todo = [poly]
        while todo:
            for monomial in todo.pop():
                for g in range(self.size, len(monomial)):
                    if monomial[g] and g not in needed:
                        needed.add(g)
                        if self.generators[g].base is not None:
                            todo.append(self.generators[g].base)
        return sorted(needed)

    def _copied(self, other: Tower, index: int, entries: Sequence[int]) -> PolyElement:
        """A generator of another tower, with those that its derivative needs."""
        g = other.generators[index]
        base = None if g.base is None else self.adopt(other, g.base, entries)
        if g.kind in ("root", "log"):
            self.inverse(base)
        if g.kind in ("sin", "cos"):
            self.add("sin", base)
        return self.generator(self.add(g.kind, base, order=g.order, value=g.value))

    def constant(self, number: Fraction) -> PolyElement:
        """A rational number."""
        return self.ring.ground_new(QQ(number.numerator, number.denominator))

    def inverse(self, base: PolyElement) -> PolyElement:
        """One over a monic polynomial, as a generator."""
        return self.generator(self.add("inverse", base))

    def add(self, kind: str, base: PolyElement | None, *, order: int = 1, value: Any = None) -> int:
        """The index of a generator, new or known, with its relation."""
        key = (kind, order, value if base is None else key_of(base))
        if key in self._known:
            return self._known[key]
        if len(self.generators) >= MOST_GENERATORS:
            raise InputError(
                f"the map needs more than {MOST_GENERATORS} entries, roots, quotients and "
                "functions; take smaller sizes."
            )
        if kind == "sin":  # sin^2 = 1 - cos^2 needs the cosine first
            self.add("cos", base)
        index = len(self.generators)
        self._known[key] = index
        self.generators.append(Generator(kind, base, order, value))
        self.ring = _ring(index + 1)
        one = self.ring.one
        if kind == "root":
            self._rules.append(({index: order}, self.lift(base)))
        elif kind == "sign":
            self._rules.append(({index: 2}, one))
        elif kind == "sin":
            cos = self.generator(self._known["cos", 1, key_of(base)])
            self._rules.append(({index: 2}, one - cos**2))
        elif kind == "inverse":
            # Oriented by the lexicographic order in which later generators are larger, as all
            # rules are, so that rewriting ends.
            lifted = self.lift(base)
            lead = max(lifted, key=lambda m: m[::-1])
            c = lifted[lead]
            rest = lifted - self.ring.from_dict({lead: c})
            s = self.generator(index)
            powers = {g: e for g, e in enumerate(lead) if e} | {index: 1}
            self._rules.append((powers, (one - s * rest) * (1 / c)))
        return index

    def _partial(self, g: int, i: int) -> PolyElement:
        """The derivative of a generator added, with respect to the i-th entry."""
        key = (g, i)
        if key not in self._partials:
            self._partials[key] = self.reduce(self._derivative(g, i))
        return self._partials[key]

    def _derivative(self, g: int, i: int) -> PolyElement:
        generator, me = self.generators[g], self.generator(g)
        if generator.kind in ("sign", "constant"):
            return self.ring.zero
        inner = self.derive(generator.base, i)
        if not inner:
            return self.ring.zero
        if generator.kind == "inverse":
            return -(me**2) * inner
        if generator.kind == "exp":
            return me * inner
        if generator.kind == "tanh":
            return (self.ring.one - me**2) * inner
        key = key_of(generator.base)
        if generator.kind == "sin":
            return self.generator(self._known["cos", 1, key]) * inner
        if generator.kind == "cos":
            return -self.generator(self._known["sin", 1, key]) * inner
        inverse = self.generator(self._known["inverse", 1, key])
        if generator.kind == "log":
            return inverse * inner
        return me * inverse * inner * QQ(1, generator.order)


def _ring(size: int) -> Any:
    # The names never show: entries and generators print by to_sympy.
    return PolyRing([sympy.Symbol(f"x{i}") for i in range(size)], QQ, lex)
