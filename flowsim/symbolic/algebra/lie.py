r"""The dimension of the Lie algebra of vector fields at a generic point.

Marcotte, Gribonval and Peyré (2023, arXiv:2307.00144): near a generic point the gradients
:math:`\nabla\varphi_i` of a parametrization's entries leave exactly
:math:`D - \dim \mathrm{Lie}\{\nabla\varphi_i\}(\theta)` independent functions unchanged
(Frobenius's theorem).

The generated algebra need only be spanned over functions, not over numbers: with
:math:`[X, fY] = f[X, Y] + X(f)\,Y` a bracket whose value at a generic point lies in the span of
what was kept gives nothing new there, nor do its own brackets. So a bracket is kept only if it
raises the rank at one random point, and values at a point decide this without the bracket.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from flowsim._errors import InputError
from flowsim.symbolic.algebra.modular import PRIME, Echelon
from flowsim.symbolic.algebra.packed import PackedField, PackedRing
from flowsim.symbolic.algebra.ring import EntryMap, Field

__all__ = ["LieAlgebra", "generated", "generation_ranks"]

LARGEST_FIELD = 100_000


def generation_ranks(em: EntryMap, fields: Sequence[Field], seed: int = 0) -> tuple[int, ...]:
    """The rank at a random point of the fields, and of their brackets, generation by generation.

    Parameters
    ----------
    em : EntryMap
        The ring of the fields.
    fields : sequence of Field
        The generators.
    seed : int
        Of the random point modulo 2^61 - 1.

    Returns
    -------
    tuple of int
        Strictly increasing; the last is the dimension of the Lie algebra at a generic point.

    Raises
    ------
    InputError
        If a field that is needed has more than 100 000 monomials.
    """
    _complete(em)
    return generated(em, fields, em.random_point(np.random.default_rng(seed))).ranks


def generated(em: EntryMap, fields: Sequence[Field], point: Sequence[int]) -> LieAlgebra:
    """The Lie algebra of fields, spanned at a point and near it.

    Parameters
    ----------
    em : EntryMap
        The ring of the fields.
    fields : sequence of Field
        The generators.
    point : sequence of int
        Values of all generators of the ring modulo PRIME.

    Raises
    ------
    InputError
        If a field that is needed has more than 100 000 monomials.
    """
    _complete(em)
    ring = PackedRing(em, point)
    algebra = LieAlgebra(ring)
    for field in fields:
        algebra.add(ring.pack_field(field))
    generators = len(algebra.kept)
    ranks = [generators]
    newest = range(generators)
    while len(newest) and ranks[-1] < em.size:
        before = len(algebra.kept)
        for a in range(generators):
            for b in newest:
                if a < b:
                    algebra.add_bracket(a, b)
        newest = range(before, len(algebra.kept))
        if len(newest):
            ranks.append(len(algebra.kept))
    algebra.ranks = tuple(ranks)
    return algebra


def _complete(em: EntryMap) -> None:
    """Make every derivative of a generator exist, as it must before the ring is packed."""
    for g in range(em.size, em.ring.ngens):
        for i in range(em.size):
            em.derive(em.ring.gens[g], i)


class LieAlgebra:
    """The fields kept, with their Jacobians, and the values of both at the point.

    Attributes
    ----------
    kept : list of PackedField
        Fields that span the algebra at the point and near it.
    values : list of dict
        The components of each at the point that are not 0.
    ranks : tuple of int
        How many fields there are after each generation of brackets.
    """

    def __init__(self, ring: PackedRing) -> None:
        self.ring = ring
        self.echelon = Echelon()
        self.kept: list[PackedField] = []
        self.values: list[dict[int, int]] = []
        self.ranks: tuple[int, ...] = ()
        self.jacobians: list[dict] = []
        self.slopes: list[dict[tuple[int, int], int]] = []

    def add(self, field: PackedField) -> bool:
        """Keep a field if its value at the point is independent of those of the others."""
        value = {i: v for i, c in field.items() if (v := self.ring.evaluate(c))}
        if not self.echelon.add(value):
            return False
        if (terms := sum(map(len, field.values()))) > LARGEST_FIELD:
            raise InputError(
                f"par has D = {self.ring.em.size} parameters, and a gradient or a bracket has "
                f"{terms} monomials; at most {LARGEST_FIELD} are worked with exactly. Take smaller "
                "widths or a lower degree: the pattern usually shows there."
            )
        jacobian = self.ring.jacobian(field)
        self.kept.append(field)
        self.jacobians.append(jacobian)
        self.values.append(value)
        self.slopes.append({at: v for at, c in jacobian.items() if (v := self.ring.evaluate(c))})
        return True

    def add_bracket(self, a: int, b: int) -> None:
        """Keep the bracket of two fields if its value, found without it, is independent."""
        value: dict[int, int] = {}
        for sign, slope, at in (
            (1, self.slopes[b], self.values[a]),
            (-1, self.slopes[a], self.values[b]),
        ):
            for (k, i), v in slope.items():
                if i in at:
                    value[k] = (value.get(k, 0) + sign * v * at[i]) % PRIME
        if self.echelon.reduce(value):
            self.add(
                self.ring.bracket(self.kept[a], self.jacobians[a], self.kept[b], self.jacobians[b])
            )
