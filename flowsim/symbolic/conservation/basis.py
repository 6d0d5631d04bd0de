"""A basis of the conservation laws of one component, the simplest and most telling first."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import comb

from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.functions import power
from flowsim.symbolic.algebra.ring import EntryMap, Field
from flowsim.symbolic.conservation.candidates import (
    balances,
    minor_families,
    monomial_of_logs,
    powers,
)
from flowsim.symbolic.conservation.directions import homogeneous
from flowsim.symbolic.conservation.kernels import (
    Independent,
    combinations,
    is_conserved,
    monomials,
    simplicity,
)

__all__ = ["Basis", "Found", "search"]

#: Polynomials with more monomials than this are not searched; with fewer than SOON, before others.
MOST_MONOMIALS = 4000
SOON = 600


@dataclass(frozen=True)
class Found:
    """A law as it was found in a component, before it is named for each of its copies."""

    poly: PolyElement
    name: str | None = None
    ratio: tuple[PolyElement, PolyElement] | None = None


def search(
    em: EntryMap, fields: list[Field], target: int, degree: int, seed: int
) -> tuple[list[Found], int]:
    """Independent laws of one component, and the degree up to which polynomials were searched."""
    basis = Basis(em, fields, target, seed)
    reached = 0
    if not basis.full:
        for named in balances(em):
            if not basis.full and named.poly and is_conserved(em, named.poly, fields):
                basis.add(Found(named.poly, named.name))
    by_degree = homogeneous(em, fields)
    late = []
    for k in range(1, degree + 1):
        number = comb(em.size + k - 1, k) if by_degree else comb(em.size + k, k) - 1
        if not basis.full and number <= SOON:
            basis.extend(_polynomials(em, fields, k, by_degree))
            reached = k
        elif number <= MOST_MONOMIALS:
            late.append(k)
    if not basis.full:
        basis.minors()
    if not basis.full:
        basis.powers()
    for k in late:
        if not basis.full and reached == k - 1:
            basis.extend(_polynomials(em, fields, k, by_degree))
            reached = k
    return basis.found, reached


class Basis:
    """A growing set of independent laws of one component."""

    def __init__(self, em: EntryMap, fields: list[Field], target: int, seed: int) -> None:
        self.em, self.fields, self.target = em, fields, target
        self.independent = Independent(em, seed)
        self.found: list[Found] = []

    @property
    def full(self) -> bool:
        """Whether there are as many laws as there can be."""
        return len(self.found) >= self.target

    def add(self, law: Found) -> None:
        """Keep a law if it is independent of those kept and there is room for it."""
        if not self.full and self.independent.add(law.poly):
            self.found.append(law)

    def extend(self, polys: Sequence[PolyElement]) -> None:
        """Keep what is independent, the simplest first."""
        for poly in sorted(polys, key=simplicity):
            self.add(Found(poly))

    def minors(self) -> None:
        """Ratios of maximal minors that differ in one column from the first."""
        em, times = self.em, self.em.tower.times
        for matrix, minors in minor_families(em):
            first, *others = minors
            base = minors[first]
            slopes = [em.along(base, field) for field in self.fields]
            for chosen in others:
                if self.full or len(set(first) & set(chosen)) < len(first) - 1:
                    continue
                minor = minors[chosen]
                if all(
                    em.is_zero(times(em.along(minor, field), base) - times(slope, minor))
                    for field, slope in zip(self.fields, slopes, strict=True)
                ):
                    # Not reduced: the relation of 1/base would only lengthen it.
                    ratio = times(minor, power(em.tower, base, Fraction(-1)))
                    columns = [f"det {matrix}[:,{list(c)}]" for c in (chosen, first)]
                    name = " / ".join(columns) if len(first) > 1 else None
                    self.add(Found(ratio, name, (minor, base)))

    def powers(self) -> None:
        """Sums of powers, logarithms and the map's own functions."""
        em = self.em
        candidates = [em.tower.lift(c) for c in powers(em)]
        laws = []
        for poly in combinations(em, candidates, self.fields):
            product = monomial_of_logs(em, poly)
            conserved = product is not None and is_conserved(em, product, self.fields)
            laws.append(em.tower.lift(product if conserved and product is not None else poly))
        self.extend(laws)


def _polynomials(
    em: EntryMap, fields: list[Field], degree: int, by_degree: bool
) -> list[PolyElement]:
    """All polynomial laws of this degree, or up to it where the map is not homogeneous."""
    degrees = [degree] if by_degree else range(degree, 0, -1)
    return combinations(em, [m for k in degrees for m in monomials(em, k)], fields)
