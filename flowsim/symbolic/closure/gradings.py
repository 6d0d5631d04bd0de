r"""Scalings and changes of sign of the entries under which given functions are homogeneous.

A polynomial relation between homogeneous functions falls apart into homogeneous relations, so that
only monomials of one degree need to be tried together.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Sequence
from math import lcm

from sympy.polys.domains import QQ
from sympy.polys.matrices import DomainMatrix
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.ring import EntryMap

__all__ = ["degrees", "generators_of"]

Degree = tuple[int, ...]
Equation = dict[int, int]


def degrees(
    em: EntryMap, functions: Sequence[PolyElement], invariant: Sequence[PolyElement] = ()
) -> tuple[list[Degree], list[Degree]]:
    """The degree of each function in every scaling, and its parity in every change of signs.

    Parameters
    ----------
    em : EntryMap
        The ring.
    functions : sequence of PolyElement
        What is to be homogeneous.
    invariant : sequence of PolyElement
        What is to be homogeneous of degree 0: functions set to a number that is not 0.
    """
    functions = [em.tower.lift(f) for f in functions]
    invariant = [em.tower.lift(f) for f in invariant]
    used = generators_of(em, [*functions, *invariant])
    scalings = _rational_kernel(_equations(em, functions, invariant, used, signs=False), used)
    flips = _binary_kernel(_equations(em, functions, invariant, used, signs=True), used)
    at = {g: k for k, g in enumerate(used)}

    def read(weights: Sequence[Sequence[int]], f: PolyElement) -> Degree:
        monomial = next(iter(f)) if f else ()
        return tuple(sum(e * w[at[g]] for g, e in enumerate(monomial) if e) for w in weights)

    return (
        [read(scalings, f) for f in functions],
        [tuple(d % 2 for d in read(flips, f)) for f in functions],
    )


def generators_of(em: EntryMap, functions: Sequence[PolyElement]) -> list[int]:
    """The generators that occur, and those beneath them."""
    found: set[int] = set()
    todo = list(functions)
    while todo:
        for monomial in todo.pop():
            for g, e in enumerate(monomial):
                if e and g not in found:
                    found.add(g)
                    base = em.tower.generators[g].base
                    if base is not None:
                        todo.append(base)
    return sorted(found)


def _equations(
    em: EntryMap,
    functions: Sequence[PolyElement],
    invariant: Sequence[PolyElement],
    used: Sequence[int],
    *,
    signs: bool,
) -> list[Equation]:
    equations: list[Equation] = []

    def homogeneous(f: PolyElement) -> Equation:
        first, *others = [{g: e for g, e in enumerate(m) if e} for m in f]
        equations.extend(_combined(other, first, -1) for other in others)
        return first

    for f in functions:
        if f:
            homogeneous(f)
    equations.extend(homogeneous(f) for f in invariant if f)
    for g in used:
        generator = em.tower.generators[g]
        if generator.kind == "entry":
            continue
        if generator.kind == "constant":
            equations.append({g: 1})
            continue
        base, me = homogeneous(generator.base), {g: 1}
        if generator.kind == "inverse":
            equations.append(_combined(base, me, 1))
        elif generator.kind == "root":
            even = signs and generator.order % 2 == 0  # a root of even order is positive
            equations += [base, me] if even else [_combined(base, {g: generator.order}, -1)]
        elif signs and generator.kind in ("sign", "tanh", "sin"):
            equations.append(_combined(base, me, -1))
        else:
            equations += [me] if generator.kind == "sign" else [base, me]
    return equations


def _combined(a: Equation, b: Equation, scale: int) -> Equation:
    keys = sorted(a.keys() | b.keys())
    return {g: c for g in keys if (c := a.get(g, 0) + scale * b.get(g, 0))}


def _rational_kernel(equations: Sequence[Equation], used: Sequence[int]) -> list[Degree]:
    """A basis of the integer weights of the generators used that satisfy the equations."""
    rows = [[QQ(e.get(g, 0)) for g in used] for e in equations if e]
    if not rows:
        return [tuple(int(k == i) for k in range(len(used))) for i in range(len(used))]
    basis = DomainMatrix(rows, (len(rows), len(used)), QQ).nullspace().to_list()
    found = []
    for vector in basis:
        scale = lcm(1, *(int(c.denominator) for c in vector))
        found.append(tuple(int(c * scale) for c in vector))
    return found


def _binary_kernel(equations: Sequence[Equation], used: Sequence[int]) -> list[Degree]:
    """A basis of the sign changes, as 0 and 1, that satisfy the equations modulo 2."""
    pivots: dict[int, int] = {}
    for e in equations:
        row = sum(1 << k for k, g in enumerate(used) if e.get(g, 0) % 2)
        for k, pivot in pivots.items():
            if row >> k & 1:
                row ^= pivot
        if row:
            lead = (row & -row).bit_length() - 1
            for k in pivots:
                if pivots[k] >> lead & 1:
                    pivots[k] ^= row
            pivots[lead] = row
    found = []
    for free in set(range(len(used))) - set(pivots):
        vector = {free} | {k for k, row in pivots.items() if row >> free & 1}
        found.append(tuple(int(k in vector) for k in range(len(used))))
    return found
