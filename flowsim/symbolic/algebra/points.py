"""Random points modulo 2^61 - 1 at which the relations of the ring hold, and values there."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportReturnType=false
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from sympy.polys.rings import PolyElement

from flowsim._errors import InputError
from flowsim.symbolic.algebra.generators import Generator, sparse
from flowsim.symbolic.algebra.modular import (
    PRIME,
    circle_power,
    draw,
    modular,
    root_order,
    turned,
)

if TYPE_CHECKING:
    from flowsim.symbolic.algebra.tower import Tower

__all__ = ["evaluate", "random_point"]

MOST_DRAWS = 5000


def random_point(tower: Tower, rng: np.random.Generator) -> list[int]:
    """Values of all generators modulo PRIME, consistent with the relations.

    Entries, and what is algebraically independent of them, are drawn at random; entries are
    drawn again until every base of a root has one.
    """
    orders = [g.order for g in tower.generators if g.kind == "root"]
    order = root_order(math.lcm(1, *orders))
    denominators = [
        int(c.denominator)
        for g in tower.generators
        if g.kind in ("exp", "tanh", "sin", "cos")
        for c in g.base.values()
    ]
    scale = math.lcm(1, *denominators)
    for _ in range(MOST_DRAWS):
        point: list[int] = []
        bases = _Bases(rng, scale, (PRIME - 1) // order)
        for g in tower.generators:
            value = _value(tower, g, point, bases, order)
            if value is None:
                break
            point.append(value)
        else:
            return point
    raise InputError(
        f"par has {len(orders)} roots, whose bases have no roots modulo 2^61 - 1 at any of "
        f"{MOST_DRAWS} random points. Take smaller sizes, with fewer roots."
    )


def evaluate(tower: Tower, poly: PolyElement, point: Sequence[int]) -> int:
    """The value at a point, modulo PRIME."""
    total = 0
    for monomial, c in poly.items():
        term = modular(c)
        for g, e in enumerate(monomial):
            if e == 1:
                term = term * point[g] % PRIME
            elif e:
                term = term * pow(point[g], e, PRIME) % PRIME
        total += term
    return total % PRIME


def _value(tower: Tower, g: Generator, point: list[int], bases: _Bases, order: int) -> int | None:
    """The value of the next generator at a random point; None where a root does not exist."""
    if g.kind == "entry":
        return bases.entry()
    if g.kind in ("log", "constant"):
        return bases.free()
    if g.kind == "sign":
        return bases.sign()
    if g.kind in ("exp", "tanh", "sin", "cos"):
        if g.kind == "exp":
            return bases.exponential(g.base, 1)
        if g.kind == "tanh":
            e = bases.exponential(g.base, 2)
            below = (e + 1) % PRIME
            return (e - 1) * pow(below, -1, PRIME) % PRIME if below else None
        return bases.angle(g.base)[g.kind == "sin"]
    value = evaluate(tower, g.base, point)
    if value == 0:
        return None
    if g.kind == "inverse":
        return pow(value, -1, PRIME)
    if pow(value, order, PRIME) != 1:
        return None
    return pow(value, pow(g.order, -1, order), PRIME)


class _Bases:
    """What is drawn at random for one point: each independent quantity once.

    Values of exp, tanh, sin and cos follow from those of e^{m / scale} and of the angle m / scale
    for each monomial m, so that the addition theorems hold.
    """

    def __init__(self, rng: np.random.Generator, scale: int, power: int) -> None:
        self.rng = rng
        self.scale = scale
        self.power = power
        self.exponentials: dict[Any, int] = {}
        self.angles: dict[Any, tuple[int, int]] = {}

    def free(self) -> int:
        return draw(self.rng)

    def entry(self) -> int:
        """An entry that has every root asked for."""
        return pow(draw(self.rng), self.power, PRIME)

    def sign(self) -> int:
        return 1 if self.rng.integers(2) else PRIME - 1

    def exponential(self, poly: PolyElement, times: int) -> int:
        value = 1
        for monomial, c in poly.items():
            h = self.exponentials.setdefault(sparse(monomial), draw(self.rng))
            n = int(c.numerator) * self.scale // int(c.denominator) * times
            value = value * pow(h, n, PRIME) % PRIME
        return value

    def angle(self, poly: PolyElement) -> tuple[int, int]:
        value = (1, 0)
        for monomial, c in poly.items():
            key = sparse(monomial)
            if key not in self.angles:
                t = draw(self.rng)
                below = pow(1 + t * t, -1, PRIME)
                self.angles[key] = ((1 - t * t) * below % PRIME, 2 * t * below % PRIME)
            n = int(c.numerator) * self.scale // int(c.denominator)
            value = turned(value, circle_power(self.angles[key], n))
        return value
