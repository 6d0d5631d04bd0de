"""Polynomials modulo 2^61 - 1 with a monomial packed into one integer, for Lie brackets.

A polynomial is a dict from monomial to residue. The exponents of a monomial stand 16 bits apart in
an integer, so that monomials multiply by adding integers.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence

from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.modular import PRIME, modular
from flowsim.symbolic.algebra.ring import EntryMap

__all__ = ["PackedField", "PackedRing", "Poly"]

BITS = 16
MASK = (1 << BITS) - 1

Poly = dict[int, int]
#: The components of a vector field that are not zero.
PackedField = dict[int, Poly]


class PackedRing:
    """Packed arithmetic in the ring of an entry map, at one random point of it.

    Parameters
    ----------
    em : EntryMap
        The ring, its derivations and relations.
    point : sequence of int
        Values of its generators modulo PRIME.
    """

    def __init__(self, em: EntryMap, point: Sequence[int]) -> None:
        self.em = em
        self.point = point
        self._partials: dict[tuple[int, int], Poly] = {}
        self._powers: dict[tuple[int, int], int] = {}

    def pack(self, poly: PolyElement) -> Poly:
        """A polynomial of the ring, packed."""
        packed: Poly = {}
        for monomial, c in poly.items():
            key = 0
            for g, e in enumerate(monomial):
                key |= e << (BITS * g)
            packed[key] = modular(c)
        return packed

    def pack_field(self, field: Sequence[PolyElement]) -> PackedField:
        """A vector field, packed."""
        return {i: self.pack(component) for i, component in enumerate(field) if component}

    def derive(self, poly: Poly, i: int) -> Poly:
        """The partial derivative with respect to the i-th entry."""
        total = _diff(poly, i)
        for g in range(self.em.size, len(self.point)):
            inner = _diff(poly, g)
            if inner:
                _add_product(total, inner, self._partial(g, i), 1)
        return total

    def along(self, poly: Poly, field: PackedField) -> Poly:
        """The derivative along a field."""
        total: Poly = {}
        for i, component in field.items():
            _add_product(total, self.derive(poly, i), component, 1)
        return total

    def evaluate(self, poly: Poly) -> int:
        """The value at the point, modulo PRIME."""
        total = 0
        for key, c in poly.items():
            g, term = 0, c
            while key:
                e = key & MASK
                if e:
                    term = term * self._power(g, e) % PRIME
                key >>= BITS
                g += 1
            total += term
        return total % PRIME

    def jacobian(self, field: PackedField) -> dict[tuple[int, int], Poly]:
        """The derivatives of a field's components that are not zero, by (component, entry)."""
        return {
            (k, i): derivative
            for k, component in field.items()
            for i in range(self.em.size)
            if (derivative := self.derive(component, i))
        }

    def bracket(
        self,
        X: PackedField,
        DX: dict[tuple[int, int], Poly],
        Y: PackedField,
        DY: dict[tuple[int, int], Poly],
    ) -> PackedField:
        """The bracket [X, Y] = DY X - DX Y of fields with their Jacobians."""
        result: PackedField = {}
        for sign, D, Z in ((1, DY, X), (PRIME - 1, DX, Y)):
            for (k, i), derivative in D.items():
                if i in Z:
                    _add_product(result.setdefault(k, {}), derivative, Z[i], sign)
        return {k: component for k, component in result.items() if component}

    def _partial(self, g: int, i: int) -> Poly:
        key = (g, i)
        if key not in self._partials:
            self._partials[key] = self.pack(self.em.derive(self.em.ring.gens[g], i))
        return self._partials[key]

    def _power(self, g: int, e: int) -> int:
        if (g, e) not in self._powers:
            self._powers[g, e] = pow(self.point[g], e, PRIME)
        return self._powers[g, e]


def _diff(poly: Poly, g: int) -> Poly:
    """The formal derivative with respect to a generator."""
    shift = BITS * g
    one = 1 << shift
    return {
        key - one: c * e % PRIME for key, c in poly.items() if (e := (key >> shift) & MASK) != 0
    }


def _add_product(total: Poly, a: Poly, b: Poly, scale: int) -> None:
    """Add scale * a * b to a polynomial."""
    for ka, ca in a.items():
        factor = ca * scale % PRIME
        for kb, cb in b.items():
            key = ka + kb
            value = (total.get(key, 0) + factor * cb) % PRIME
            if value:
                total[key] = value
            else:
                total.pop(key, None)
