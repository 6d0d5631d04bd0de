r"""Random states on which the conserved quantities have the values asked for.

Where the values stay symbols any state will do. A special value, such as the 0 of a balanced start,
confines the states to a level set: modulo the prime the laws are solved one after the other, each
for an entry that it alone still has open; in floating point by Newton's method.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np
import sympy
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.modular import PRIME, draw, modular, root
from flowsim.symbolic.algebra.ring import EntryMap
from flowsim.symbolic.closure.gradings import generators_of
from flowsim.symbolic.closure.residues import roots

__all__ = ["Level"]

MOST_TRIES = 200


@dataclass(frozen=True)
class Level:
    """A map, its conserved quantities, and the values that some of them are to have.

    Attributes
    ----------
    em : EntryMap
        The map.
    laws : tuple of PolyElement
        Its conserved quantities.
    values : tuple of Fraction or None
        The value of each law, None where it stays a symbol.
    """

    em: EntryMap
    laws: tuple[PolyElement, ...]
    values: tuple[Fraction | None, ...]
    _equations: list = field(default_factory=list, repr=False)

    @property
    def generic(self) -> bool:
        """Whether all values stay symbols."""
        return all(value is None for value in self.values)

    def point(self, rng: np.random.Generator) -> list[int] | None:
        """A random point modulo PRIME, values of all generators; None where none is found."""
        if self.generic:
            return self.em.random_point(rng)
        generators = self.em.tower.generators
        used = generators_of(self.em, [*self.em.values, *self.laws])
        if any(generators[g].kind not in ("entry", "inverse", "root") for g in used):
            return None
        if not self._equations:
            self._equations.extend(self._numerators())
        for _ in range(MOST_TRIES):
            entries = self._solved(rng)
            if entries is None:
                continue
            point = self._completed(entries)
            if point is not None:
                return point
        return None

    def _numerators(self) -> list[dict[tuple[int, ...], int]]:
        """The equations of the level set as polynomials in the entries."""
        em = self.em
        found = []
        for law, value in zip(self.laws, self.values, strict=True):
            if value is None:
                continue
            shifted = em.to_sympy(law) - sympy.Rational(value)
            above, _ = sympy.fraction(sympy.together(shifted))
            poly = sympy.Poly(above, *em.symbols[: em.size])
            found.append(
                {m: modular(Fraction(int(c.p), int(c.q))) for m, c in poly.as_dict().items()}
            )
        return found

    def _solved(self, rng: np.random.Generator) -> list[int] | None:
        known: dict[int, int] = {}
        todo = list(self._equations)
        while todo:
            # The law with the fewest open entries is next: all of these but one are drawn.
            opened = [
                sorted({g for m in e for g, k in enumerate(m) if k} - set(known)) for e in todo
            ]
            i = min(range(len(todo)), key=lambda k: len(opened[k]))
            equation, free = todo.pop(i), opened[i]
            if not free:
                if _at(equation, known):
                    return None
                continue
            last = free[int(rng.integers(len(free)))]
            known.update({g: draw(rng) for g in free if g != last})
            by_power: dict[int, dict[tuple[int, ...], int]] = {}
            for monomial, c in equation.items():
                rest = (*monomial[:last], 0, *monomial[last + 1 :])
                by_power.setdefault(monomial[last], {})[rest] = c
            degree = max(by_power)
            found = roots([_at(by_power.get(k, {}), known) for k in range(degree, -1, -1)])
            if not found:
                return None
            known[last] = found[int(rng.integers(len(found)))]
        return [known[g] if g in known else draw(rng) for g in range(self.em.size)]

    def _completed(self, entries: Sequence[int]) -> list[int] | None:
        point = list(entries)
        for g in self.em.tower.generators[self.em.size :]:
            value = 0  # of what no function here is made of
            if g.kind in ("inverse", "root"):
                below = self.em.evaluate(g.base, point)
                if not below:
                    return None
                value = pow(below, -1, PRIME) if g.kind == "inverse" else root(below, g.order)
                if value is None:
                    return None
            point.append(value)
        return point


def _at(equation: dict[tuple[int, ...], int], known: dict[int, int]) -> int:
    """The value of a polynomial all of whose entries are known."""
    total = 0
    for monomial, c in equation.items():
        for g, e in enumerate(monomial):
            if e:
                c = c * pow(known[g], e, PRIME) % PRIME
        total += c
    return total % PRIME
