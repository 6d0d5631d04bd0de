"""Parts of a parametrization that share no parameter: laws are found in each on its own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from flowsim.symbolic.algebra.ring import EntryMap

__all__ = ["Component", "components"]


@dataclass(frozen=True)
class Component:
    """Entries that occur together, with the values that depend on them.

    Attributes
    ----------
    em : EntryMap
        The part of the map, in a ring of its own entries.
    copies : tuple of EntryMap
        The same part for each other set of entries that is mapped alike, over the same ring.
    """

    em: EntryMap = field(repr=False)
    copies: tuple[EntryMap, ...] = field(default=(), repr=False)

    @property
    def multiplicity(self) -> int:
        """How often this part occurs."""
        return 1 + len(self.copies)


def components(em: EntryMap) -> tuple[Component, ...]:
    """Split a map into its connected parts, equal ones together."""
    groups = list(range(em.size))

    def find(i: int) -> int:
        while groups[i] != i:
            i = groups[i]
        return i

    used = [sorted(em.depends(value)) for value in em.values]
    for entries in used:
        for i in entries[1:]:
            groups[find(i)] = find(entries[0])
    found: dict[object, Component] = {}
    for leader in sorted({find(i) for i in range(em.size)}, key=lambda r: _first(em, find, r)):
        entries = [i for i in range(em.size) if find(i) == leader]
        values = [v for v, deps in enumerate(used) if deps and find(deps[0]) == leader]
        part = em.restricted(entries, values)
        key = (len(entries), part.tower.keys(), tuple(frozenset(v.items()) for v in part.values))
        if key in found:
            known = found[key]
            # One ring for all copies, so that what is found for one is said of all.
            copy = dataclasses.replace(part, tower=known.em.tower, values=known.em.values)
            found[key] = dataclasses.replace(known, copies=(*known.copies, copy))
        else:
            found[key] = Component(part)
    return tuple(found.values())


def _first(em: EntryMap, find, leader: int) -> int:  # noqa: ANN001
    return next(i for i in range(em.size) if find(i) == leader)
