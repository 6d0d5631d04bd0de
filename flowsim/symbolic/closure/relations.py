r"""Elimination of θ: polynomial relations between functions of it, found by linear algebra.

The relation of lowest degree in a function q(θ), with coefficients in the entries of w and in the
conserved quantities, is a linear dependency between the values of monomials at random states modulo
a prime. Degrees are bounded, so that the search ends; fractions are recovered from the residues;
and what comes out is substituted back and verified exactly.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalSubscript=false
from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from math import gcd, lcm

import numpy as np
import sympy
from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.modular import PRIME, rational
from flowsim.symbolic.closure.gradings import degrees
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.residues import dependencies, product

__all__ = ["Eliminator", "Relation"]

MOST_MONOMIALS = 3000
LARGEST_CLASS = 240
HIGHEST_DEGREE = 18
# Multiplications of residues in one search, and in all searches on one level set.
MOST_WORK = 6_000_000
MOST_WORK_TOGETHER = 40_000_000
# Substituting back multiplies polynomials out; beyond this many terms random states decide.
MOST_TERMS = 20_000

Exponents = tuple[int, ...]


@dataclass(frozen=True)
class Relation:
    """A polynomial relation: exponents of the functions, with integer coefficients.

    Attributes
    ----------
    terms : dict
        From exponents, one for each function, to a coefficient.
    symbols : tuple of sympy.Expr
        A symbol for each function.
    exact : bool
        Whether it was verified by multiplying out; else at random states modulo 2^61 - 1.
    """

    terms: dict[Exponents, int]
    symbols: tuple[sympy.Expr, ...]
    exact: bool

    def expression(self) -> sympy.Expr:
        """The polynomial that vanishes."""
        return sympy.Add(
            *(
                sympy.Mul(c, *(s**e for s, e in zip(self.symbols, exponents, strict=True) if e))
                for exponents, c in self.terms.items()
            )
        )

    def coefficients(self, k: int) -> dict[int, sympy.Expr]:
        """The coefficients of the powers of the k-th function."""
        parts: dict[int, list[sympy.Expr]] = defaultdict(list)
        for exponents, c in self.terms.items():
            rest = (
                s**e
                for i, (s, e) in enumerate(zip(self.symbols, exponents, strict=True))
                if e and i != k
            )
            parts[exponents[k]].append(sympy.Mul(c, *rest))
        return {e: sympy.Add(*terms) for e, terms in parts.items()}


@dataclass
class Eliminator:
    """Finds relations on a level set; states and values at them are kept and reused.

    Attributes
    ----------
    level : Level
        The map, its laws and their values.
    seed : int
        Of the random states.
    budget : int
        How much work is left; relations are no longer found when it is spent.
    """

    level: Level
    seed: int = 0
    budget: int = MOST_WORK_TOGETHER
    _points: list[list[int]] = field(default_factory=list)
    _values: dict[object, list[int]] = field(default_factory=dict)
    _rng: np.random.Generator | None = None

    def points(self, count: int) -> list[list[int]] | None:
        """Random states modulo the prime, the same ones each time; None where there are none."""
        self._rng = self._rng or np.random.default_rng(self.seed)
        while len(self._points) < count:
            point = self.level.point(self._rng)
            if point is None:
                return None
            self._points.append(point)
        return self._points[:count]

    def values(self, f: PolyElement, count: int) -> np.ndarray:
        """The values of a function at the first states."""
        key = frozenset(f.items())
        known = self._values.setdefault(key, [])
        for point in self.points(count)[len(known) :]:
            known.append(self.level.em.evaluate(f, point))
        return np.array(known[:count], dtype=np.uint64)

    def relation(
        self,
        functions: Sequence[PolyElement],
        symbols: Sequence[sympy.Expr],
        *,
        highest: int,
        costly: Sequence[int] = (),
    ) -> Relation | None:
        """The relation of lowest total degree that holds the last function, of lowest degree in it.

        Parameters
        ----------
        functions : sequence of PolyElement
            The functions; the last is the one that is asked about.
        symbols : sequence of sympy.Expr
            Their symbols.
        highest : int
            The highest power of the last function that is tried.
        costly : sequence of int
            Functions to be avoided where the relation can do without.
        """
        for found in self._candidates(functions, highest, costly):
            relation = self._verified(functions, symbols, found)
            if relation is not None:
                return relation
        return None

    def _candidates(
        self,
        functions: Sequence[PolyElement],
        highest: int,
        costly: Sequence[int],
    ) -> Iterator[dict[Exponents, int]]:
        fixed = [
            law
            for law, value in zip(self.level.laws, self.level.values, strict=True)
            if value is not None
        ]
        numbers = [v for v in self.level.values if v is not None]
        weights, parities = degrees(
            self.level.em,
            [*functions, *(law for law, v in zip(fixed, numbers, strict=True) if not v)],
            [law for law, v in zip(fixed, numbers, strict=True) if v],
        )
        n, classes, total = len(functions), defaultdict(list), 0
        bounds = [HIGHEST_DEGREE] * (n - 1) + [highest]
        work = 0
        for degree in range(HIGHEST_DEGREE + 1):
            touched = set()
            for exponents in _compositions(degree, bounds):
                total += 1
                if total > MOST_MONOMIALS:
                    return
                key = (
                    tuple(
                        sum(e * w[s] for e, w in zip(exponents, weights, strict=False))
                        for s in range(len(weights[0]))
                    ),
                    tuple(
                        sum(e * w[s] for e, w in zip(exponents, parities, strict=False)) % 2
                        for s in range(len(parities[0]))
                    ),
                )
                classes[key].append(exponents)
                touched.add(key)
            found = []
            for key in touched:
                members = classes[key]
                if not any(e[-1] for e in members) or not 2 <= len(members) <= LARGEST_CLASS:
                    continue
                work += len(members) ** 3
                self.budget -= len(members) ** 3
                if work > MOST_WORK or self.budget < 0:
                    return
                best = self._dependency(functions, members, costly)
                if best is not None:
                    found.append(best)
            yield from sorted(found, key=lambda r: (max(e[-1] for e in r), len(r)))

    def _dependency(
        self,
        functions: Sequence[PolyElement],
        members: Sequence[Exponents],
        costly: Sequence[int],
    ) -> dict[Exponents, int] | None:
        """The dependency of lowest degree in the last function between these monomials."""
        ordered = sorted(members, key=lambda e: (e[-1], sum(e[k] for k in costly), sum(e), e))
        count = len(ordered) + 4
        if self.points(count) is None:
            return None
        columns = np.ones((count, len(ordered)), dtype=np.uint64)
        for k, f in enumerate(functions):
            highest = max(e[k] for e in ordered)
            base = self.values(f, count)
            powers = [np.ones(count, dtype=np.uint64)]
            for _ in range(highest):
                powers.append(product(powers[-1], base))
            for j, exponents in enumerate(ordered):
                if exponents[k]:
                    columns[:, j] = product(columns[:, j], powers[exponents[k]])
        for j, on in dependencies(columns):
            top = max(ordered[k][-1] for k in (j, *on))
            leading = 0
            for k, v in [(j, PRIME - 1), *on.items()]:
                if ordered[k][-1] == top:
                    leading += v * int(columns[0, k])
            if not top or not leading % PRIME:
                continue  # a relation between the w and c alone, or a multiple of one
            terms: dict[Exponents, Fraction] = {ordered[j]: Fraction(-1)}
            for p, v in on.items():
                c = rational(v)
                if c is None:
                    return None
                terms[ordered[p]] = c
            scale = lcm(*(c.denominator for c in terms.values()))
            whole = {e: int(c * scale) for e, c in terms.items()}
            common = gcd(*whole.values())
            return {e: -c // common for e, c in whole.items()}
        return None

    def _verified(
        self,
        functions: Sequence[PolyElement],
        symbols: Sequence[sympy.Expr],
        terms: dict[Exponents, int],
    ) -> Relation | None:
        em = self.level.em
        size = max(
            (
                int(
                    np.prod([float(max(len(f), 1)) ** k for f, k in zip(functions, e, strict=True)])
                )
                for e in terms
            ),
            default=0,
        )
        if self.level.generic and size * len(terms) <= MOST_TERMS:
            total = em.ring.zero
            for exponents, c in terms.items():
                term = em.ring.one
                for f, e in zip(functions, exponents, strict=True):
                    for _ in range(e):
                        term = em.reduce(em.tower.times(term, f))
                total = em.tower.lift(total) + em.tower.lift(term) * QQ(c)
            return Relation(terms, tuple(symbols), True) if em.is_zero(total) else None
        # On a level set, and for large expressions: three states that took no part so far.
        count = len(self._points)
        for point in self.points(count + 3)[count:]:
            total = 0
            values = [em.evaluate(f, point) for f in functions]
            for exponents, c in terms.items():
                for v, e in zip(values, exponents, strict=True):
                    c = c * pow(v, e, PRIME) % PRIME
                total += c
            if total % PRIME:
                return None
        return Relation(terms, tuple(symbols), False)


def _compositions(total: int, bounds: Sequence[int]) -> Iterator[Exponents]:
    """All exponents with this sum, each within its bound."""
    if len(bounds) == 1:
        if total <= bounds[0]:
            yield (total,)
        return
    for first in range(min(total, bounds[0]) + 1):
        for rest in _compositions(total - first, bounds[1:]):
            yield (first, *rest)
