"""The parts of a map that share no parameter, and the values that its laws are to have."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalOperand=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from sympy import Expr, Symbol

from flowsim._errors import InputError
from flowsim.symbolic.algebra.elements import exact
from flowsim.symbolic.algebra.ring import EntryMap
from flowsim.symbolic.closure.leaf import decide
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.conservation import ConservationLaw, ConservationLaws

__all__ = ["Piece", "fixed_values", "pieces_of"]


@dataclass(frozen=True)
class Piece:
    """A part of the map with the values that its laws are to have, and where its copies lie.

    Attributes
    ----------
    level : Level
        The part, its laws and their values.
    entries, values, laws : tuple of tuple of int
        For each copy, the positions of its parameters, its end-to-end values and its laws among
        those of the whole map.
    missing : int
        How many of its laws have no formula.
    """

    level: Level
    entries: tuple[tuple[int, ...], ...]
    values: tuple[tuple[int, ...], ...]
    laws: tuple[tuple[int, ...], ...]
    missing: int


def fixed_values(values: Any, known: ConservationLaws) -> tuple[Fraction | None, ...]:
    """The value of each law, None where it stays a symbol."""
    laws = known.laws
    if values is None:
        return (None,) * len(laws)
    if isinstance(values, str) and values == "zero":
        return (Fraction(0),) * len(laws)
    if not isinstance(values, Mapping):
        raise InputError(
            f'values is {values!r}; pass None, "zero", or a mapping from laws to numbers.'
        )
    found: list[Fraction | None] = [None] * len(laws)
    names = [f"c_{i + 1}" for i in range(len(laws))]
    for key, number in values.items():
        index = next(
            (
                i
                for i, law in enumerate(laws)
                if (isinstance(key, ConservationLaw) and key is law)
                or (isinstance(key, int) and not isinstance(key, bool) and key == i)
                or (isinstance(key, str | Symbol) and str(key) in (names[i], law.name))
                or (isinstance(key, Expr) and key == law.expression)
            ),
            None,
        )
        if index is None:
            raise InputError(
                f"values: there is no law {key!r}; there are "
                + (
                    ", ".join(f"{n} = {law.name}" for n, law in zip(names, laws, strict=True))
                    or "none"
                )
                + "."
            )
        found[index] = exact(number)
        if found[index] is None:
            raise InputError(f"values[{key!r}] is {number!r}; pass a finite number.")
    return tuple(found)


def pieces_of(
    em: EntryMap, known: ConservationLaws, fixed: tuple[Fraction | None, ...]
) -> list[Piece]:
    """The parts of the map; copies stay together where their laws have the same values."""
    depends = [{em.positions[i] for i in em.depends(value)} for value in em.values]
    pieces: list[Piece] = []
    for component in known.components:
        groups: dict[tuple, list[tuple]] = {}
        for part in (component.em, *component.copies):
            at = [i for i, law in enumerate(known.laws) if law.em.positions == part.positions]
            held = tuple(i for i, d in enumerate(depends) if d and d <= set(part.positions))
            if not held:
                continue  # parameters that w does not depend on
            key = tuple(fixed[i] for i in at)
            groups.setdefault(key, []).append((part.positions, held, tuple(at)))
        for key, members in groups.items():
            first = members[0][2]
            rows = [known.laws[i].poly for i in first]
            point = component.em.random_point(np.random.default_rng(0))
            count = component.em.size - decide(component.em, point).leaf
            pieces.append(
                Piece(
                    Level(component.em, tuple(rows), key),
                    tuple(p for p, _, _ in members),
                    tuple(v for _, v, _ in members),
                    tuple(a for _, _, a in members),
                    count - len(rows),
                )
            )
    return pieces
