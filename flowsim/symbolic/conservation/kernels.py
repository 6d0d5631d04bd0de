r"""Conserved combinations of given functions: linear algebra modulo a prime, then exact checks.

The function :math:`h = \sum_k c_k f_k` is conserved for every loss if and only if
:math:`\langle\nabla h, \nabla\varphi_i\rangle \equiv 0` for every entry :math:`\varphi_i` of the
parametrization. Comparing coefficients gives linear equations for c over the rationals. They are
solved modulo 2^61 - 1; fractions are recovered from the residues; and what comes out is verified
over the rationals before anyone sees it.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Mapping, Sequence
from fractions import Fraction
from math import gcd, lcm
from typing import Any

import numpy as np
from sympy.polys.domains import QQ
from sympy.polys.matrices import DomainMatrix
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.generators import fraction, sparse
from flowsim.symbolic.algebra.modular import Echelon, kernel, rational
from flowsim.symbolic.algebra.packed import PackedRing
from flowsim.symbolic.algebra.ring import EntryMap, Field

__all__ = [
    "Independent",
    "combinations",
    "is_conserved",
    "monomials",
    "primitive",
    "simplicity",
]

#: Combinations of more candidates than this are not solved for over the rationals.
MOST_SOLVED = 12


def monomials(em: EntryMap, degree: int) -> list[PolyElement]:
    """All monomials of this degree in the entries."""
    gens = em.entries
    found = []
    for chosen in itertools.combinations_with_replacement(range(em.size), degree):
        product = em.ring.one
        for i in chosen:
            product *= gens[i]
        found.append(product)
    return found


def is_conserved(em: EntryMap, poly: PolyElement, fields: Sequence[Field]) -> bool:
    """Whether a function is constant along all fields, exactly."""
    return all(em.is_zero(em.along(poly, field)) for field in fields)


def combinations(
    em: EntryMap, candidates: Sequence[PolyElement], fields: Sequence[Field]
) -> list[PolyElement]:
    """A basis of the linear combinations of candidates that are constant along all fields.

    Parameters
    ----------
    em : EntryMap
        The ring.
    candidates : sequence of PolyElement
        Functions of the entries, the ones to be eliminated from the others first.
    fields : sequence of Field
        The fields.

    Returns
    -------
    list of PolyElement
        In reduced echelon form with respect to the candidates, with coprime integer coefficients.
    """
    rows = _equations(em, candidates, fields)
    basis = Echelon()
    for vector in kernel(rows, len(candidates)):
        basis.add(vector)
    found = []
    for vector in basis.rows.values():
        total = _combined(em, candidates, {k: rational(v) for k, v in vector.items()})
        # Large fractions may be recovered wrongly, or not at all; those are solved for exactly.
        if total is None or not is_conserved(em, total, fields):
            total = _exactly(em, candidates, fields, sorted(vector))
        if total is not None:
            found.append(primitive(total))
    return found


def _combined(
    em: EntryMap, candidates: Sequence[PolyElement], coefficients: Mapping[int, Fraction | None]
) -> PolyElement | None:
    """A linear combination of candidates; None where it is 0 or a coefficient is unknown."""
    total = em.ring.zero
    for k, c in coefficients.items():
        if c is None:
            return None
        total += em.tower.lift(candidates[k]) * QQ(c.numerator, c.denominator)
    return total or None


def _exactly(
    em: EntryMap, candidates: Sequence[PolyElement], fields: Sequence[Field], support: list[int]
) -> PolyElement | None:
    """The one combination of a few candidates that is conserved, over the rationals."""
    if len(support) > MOST_SOLVED:
        return None
    rows: dict[object, dict[int, Any]] = defaultdict(dict)
    for place, k in enumerate(support):
        for f, field in enumerate(fields):
            for monomial, c in em.tower.lift(em.along(candidates[k], field)).items():
                rows[f, sparse(monomial)][place] = c
    table = [[row.get(i, QQ.zero) for i in range(len(support))] for row in rows.values()]
    solutions = DomainMatrix(table, (len(table), len(support)), QQ).nullspace().to_list()
    if len(solutions) != 1:
        return None
    (solution,) = solutions
    total = _combined(
        em, candidates, {k: fraction(c) for k, c in zip(support, solution, strict=True)}
    )
    return total if total is not None and is_conserved(em, total, fields) else None


def primitive(poly: PolyElement) -> PolyElement:
    """The same law without constant term, with coprime integers, the leading one positive."""
    constant = poly.coeff(1)
    if constant and not poly.is_ground:
        poly = poly - constant
    numbers = [fraction(c) for c in poly.values()]
    scale = Fraction(lcm(*(c.denominator for c in numbers)), 1)
    scale /= gcd(*(int(c * scale) for c in numbers))
    if poly.LC < 0:
        scale = -scale
    return poly * QQ(scale.numerator, scale.denominator)


def simplicity(poly: PolyElement) -> tuple[int, int, int]:
    """What laws are sorted by: degree, number of terms, size of the coefficients."""
    height = sum(abs(int(c.numerator)) + int(c.denominator) for c in poly.values())
    return max(map(sum, poly)), len(poly), height


class Independent:
    """Functionally independent laws, told by the rank of their gradients at a random point."""

    def __init__(self, em: EntryMap, seed: int) -> None:
        self.em = em
        self.rng_seed = seed
        self.laws: list[PolyElement] = []
        self._restart()

    def add(self, poly: PolyElement) -> bool:
        """Keep a law if it is independent of those kept; say whether it was."""
        gradient = self._gradient(poly)
        if len(self.point) < self.em.ring.ngens:  # the ring has grown since
            self._restart()
        if not self._echelon.add(self._values(gradient)):
            return False
        self.laws.append(poly)
        return True

    def _restart(self) -> None:
        self.point = self.em.random_point(np.random.default_rng(self.rng_seed))
        self._echelon = Echelon()
        for law in self.laws:
            self._echelon.add(self._values(self._gradient(law)))

    def _gradient(self, poly: PolyElement) -> Field:
        # Only values at the point are asked for, so normal forms are not.
        return tuple(self.em.tower.derive(poly, i) for i in range(self.em.size))

    def _values(self, gradient: Field) -> dict[int, int]:
        return {i: self.em.evaluate(g, self.point) for i, g in enumerate(gradient) if g}


def _equations(
    em: EntryMap, candidates: Sequence[PolyElement], fields: Sequence[Field]
) -> list[dict[int, int]]:
    """One equation for each monomial of each derivative along a field."""
    rows: dict[object, dict[int, int]] = defaultdict(dict)
    ring = PackedRing(em, em.random_point(np.random.default_rng(0)))
    packed = [ring.pack_field(field) for field in fields]
    polynomial = [not any(_extended(em, c) for c in field) for field in fields]
    for k, candidate in enumerate(candidates):
        plain = not _extended(em, candidate)
        for f, field in enumerate(fields):
            if plain and polynomial[f]:
                derivative = ring.along(ring.pack(candidate), packed[f])
            else:  # comparing coefficients needs normal forms
                derivative = ring.pack(em.along(candidate, field))
            for monomial, c in derivative.items():
                rows[f, monomial][k] = c
    # Short equations first: they eliminate without filling in.
    return sorted(rows.values(), key=len)


def _extended(em: EntryMap, poly: PolyElement) -> bool:
    """Whether a polynomial holds generators besides the entries."""
    return any(any(monomial[em.size :]) for monomial in poly)
