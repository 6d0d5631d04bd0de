"""The directions in which gradient flow can move: the gradients of a map's entries.

What is conserved along a field is conserved along the field times any function, and so is what
their Lie brackets span. So fields are freed of denominators and of common factors first.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.generators import key_of
from flowsim.symbolic.algebra.ring import EntryMap, Field

__all__ = ["directions", "homogeneous"]


def directions(em: EntryMap, scale: Sequence[Fraction]) -> list[Field]:
    """The gradients of the values up to factors, each once, their components times the rates.

    Parameters
    ----------
    em : EntryMap
        The map.
    scale : sequence of Fraction
        The learning rate of each entry.
    """
    fields: dict[object, Field] = {}
    for row in em.jacobian:
        field = tuple(c * QQ(k.numerator, k.denominator) for c, k in zip(row, scale, strict=True))
        if any(field):
            field = _without_content(em, _without_denominators(em, field))
            fields.setdefault(tuple(map(key_of, field)), field)
    return list(fields.values())


def homogeneous(em: EntryMap, fields: Sequence[Field]) -> bool:
    """Whether every field is a homogeneous polynomial, so that laws can be sought by degree."""
    return all(
        len({sum(m) for component in field for m in component}) <= 1
        and not any(any(m[em.size :]) for component in field for m in component)
        for field in fields
    )


def _without_denominators(em: EntryMap, field: Field) -> Field:
    """The field times the highest power of each denominator in it."""
    tower = em.tower
    for g in reversed(range(em.size, len(tower.generators))):
        generator = tower.generators[g]
        if generator.kind != "inverse":
            continue
        field = tuple(tower.lift(component) for component in field)
        highest = max((m[g] for component in field for m in component), default=0)
        if not highest:
            continue
        base = tower.lift(generator.base)
        powers = [base**k for k in range(highest + 1)]
        cleared = []
        for component in field:
            total = em.ring.zero
            for m, c in component.items():
                rest = em.ring.from_dict({(*m[:g], 0, *m[g + 1 :]): c})
                total += rest * powers[highest - m[g]]
            cleared.append(em.reduce(total))
        field = tuple(cleared)
    return field


def _without_content(em: EntryMap, field: Field) -> Field:
    """The field without the monomial and the number that all its components share."""
    present = [em.tower.lift(component) for component in field if component]
    common = tuple(map(min, zip(*(m for component in present for m in component), strict=True)))
    lead: PolyElement = present[0]
    number = 1 / lead.LC

    def reduced(component: PolyElement) -> PolyElement:
        lifted = em.tower.lift(component)
        return em.ring.from_dict(
            {tuple(map(int.__sub__, m, common)): c * number for m, c in lifted.items()}
        )

    return tuple(reduced(component) for component in field)
