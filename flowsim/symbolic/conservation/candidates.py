"""Functions among which laws are sought: entries of Gram matrices, powers, logarithms, minors."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from sympy.polys.rings import PolyElement

from flowsim._errors import InputError
from flowsim.symbolic.algebra.elements import Element
from flowsim.symbolic.algebra.functions import log, power
from flowsim.symbolic.algebra.generators import key_of
from flowsim.symbolic.algebra.ring import EntryMap

__all__ = ["Named", "balances", "factor_arrays", "minor_families", "powers"]

#: Exponents tried for every entry, beside those that the map itself suggests.
BOX = 4
MOST_POWERS = 600
#: Products of higher powers leave the range of float64, and stay sums of logarithms.
LARGEST_EXPONENT = 64
LARGEST_MINOR = 4
MOST_MINORS = 130


@dataclass(frozen=True)
class Named:
    """A candidate with the name that a paper would give it."""

    name: str
    poly: PolyElement


def factor_arrays(em: EntryMap) -> dict[str, np.ndarray]:
    """The factors of which all entries are in the ring, as arrays of its entries."""
    par, start = em.parametrization, 0
    place = {position: i for i, position in enumerate(em.positions)}
    arrays: dict[str, np.ndarray] = {}
    for name, shape in zip(par.names, par.shapes, strict=True):
        size = int(np.prod(shape))
        positions = range(start, start + size)
        start += size
        if all(p in place for p in positions):
            array = np.empty(size, dtype=object)
            array[:] = [Element(em.tower, em.entries[place[p]]) for p in positions]
            arrays[name] = array.reshape(shape)
    return arrays


def balances(em: EntryMap) -> Iterator[Named]:
    """Differences of entries of Gram matrices of two factors, and of their squared lengths.

    First whole matrices, such as U^T U - V^T V; then the diagonals against the squares of vectors;
    then the squared lengths; last the squared length of one factor, as of a normalized one.
    """
    arrays = factor_arrays(em)
    squares = {name: list(_squares(name, array)) for name, array in arrays.items()}
    for kind in range(3):
        for first, second in itertools.combinations(arrays, 2):
            # W2^T W2 - W1 W1^T of numbered layers, U^T U - V^T V of others.
            layers = first[-1].isdigit() and second[-1].isdigit()
            pair = (second, first) if layers else (first, second)
            for A, B in itertools.product(squares[pair[0]], squares[pair[1]]):
                if A.kind == B.kind == kind and A.entries.keys() == B.entries.keys():
                    for index, a in A.entries.items():
                        name = f"({A.name} - {B.name}){index}" if index else f"{A.name} - {B.name}"
                        yield Named(name, (a - B.entries[index]).poly)
    for sums in squares.values():
        yield from (Named(A.name, A.entries[""].poly) for A in sums if A.kind == 2)


@dataclass(frozen=True)
class _Squares:
    """A Gram matrix (kind 0), the squares of its diagonal (1) or its trace (2), by index."""

    kind: int
    name: str
    entries: dict[str, Element]


def _squares(name: str, array: np.ndarray) -> Iterator[_Squares]:
    """The sums of squares that a factor is known by."""
    flat = array.reshape(-1)
    if array.size == 1:
        yield _Squares(0, f"{name}^2", {"": flat[0] * flat[0]})
        yield _Squares(2, f"{name}^2", {"": flat[0] * flat[0]})
        return
    if array.ndim == 1:
        yield _Squares(1, f"{name}*{name}", {f"[{i}]": x * x for i, x in enumerate(flat)})
    if array.ndim == 2:
        for text, A in ((f"{name}^T {name}", array.T), (f"{name} {name}^T", array)):
            gram = A @ A.T
            pairs = itertools.combinations_with_replacement(range(len(A)), 2)
            if len(A) > 1:
                yield _Squares(0, text, {f"[{i},{j}]": gram[i, j] for i, j in pairs})
                yield _Squares(1, f"diag({text})", {f"[{i}]": gram[i, i] for i in range(len(A))})
    total = np.sum(flat * flat)
    yield _Squares(2, f"|{name}|^2", {"": total})


def powers(em: EntryMap, seed_exponents: bool = True) -> list[PolyElement]:
    r"""Powers, negative and fractional ones too, logarithms, and products of two of them.

    For :math:`x^e` in the map, :math:`x^{2-e}` is what a law can hold: along the flow of
    :math:`f(u) - g(v)` it is :math:`\int du / f' + \int dv / g'` that is constant.

    Simplest last: the first are expressed by the others where they can be.
    """
    tower = em.tower
    terms: dict[Any, tuple[Fraction, PolyElement]] = {}

    def enter(weight: Fraction | int, poly: PolyElement) -> None:
        poly = em.reduce(poly)
        terms.setdefault(key_of(poly), (Fraction(weight), poly))

    generators = [g for g in range(em.size, len(tower.generators))]
    suggested = _exponents(em) if seed_exponents else {}
    for i in range(em.size):
        x = em.ring.gens[i]
        order = suggested.get(i, (1, set()))[0]
        exponents = {Fraction(k, order) for k in range(-BOX * order, BOX * order + 1)}
        exponents |= {2 - e for e in suggested.get(i, (1, set()))[1]}
        for e in sorted(exponents - {Fraction(0)}):
            enter(abs(e), power(tower, tower.lift(x), e))
        enter(Fraction(1, 2), log(tower, tower.lift(x)))
    for g in generators:
        for weight, poly in _functions(em, g):
            enter(weight, poly)
    for exponents in _mixed(em.size):
        product = em.ring.one
        for i, e in enumerate(exponents):
            product = tower.times(product, power(tower, tower.generator(i), Fraction(e)))
        enter(sum(map(abs, exponents)), product)
    if len(terms) > MOST_POWERS:
        return []
    ordered = sorted(terms.values(), key=lambda term: -term[0])
    return [tower.lift(poly) for _, poly in ordered]


def _mixed(size: int) -> Iterator[tuple[int, ...]]:
    """Exponents of the products tried: fewer the more entries there are."""
    total = {1: 0, 2: 8, 3: 5, 4: 4, 5: 3, 6: 2}.get(size, 0)
    largest = min(total, 6)
    for exponents in itertools.product(range(-largest, largest + 1), repeat=size):
        used = sum(map(bool, exponents))
        if used and sum(map(abs, exponents)) <= total:
            yield exponents


def _exponents(em: EntryMap) -> dict[int, tuple[int, set[Fraction]]]:
    """For each entry, the order of its root in the map and the exponents with which it occurs."""
    found: dict[int, tuple[int, set[Fraction]]] = {}
    roots: dict[int, tuple[int, Fraction]] = {}
    for g, generator in enumerate(em.tower.generators):
        if generator.kind == "entry":
            roots[g] = (g, Fraction(1))
        elif generator.kind in ("root", "inverse") and len(generator.base) == 1:
            ((monomial, _),) = generator.base.items()
            used = [(k, e) for k, e in enumerate(monomial) if e]
            if len(used) == 1 and used[0][0] in roots:
                entry, exponent = roots[used[0][0]]
                exponent *= used[0][1]
                sign = Fraction(1, generator.order) if generator.kind == "root" else Fraction(-1)
                roots[g] = (entry, exponent * sign)
    for value in em.values:
        for monomial in value:
            exponents: dict[int, Fraction] = {}
            for g, e in enumerate(monomial):
                if e and g in roots:
                    entry, exponent = roots[g]
                    exponents[entry] = exponents.get(entry, Fraction(0)) + exponent * e
            for entry, e in exponents.items():
                order, seen = found.get(entry, (1, set()))
                found[entry] = (max(order, e.denominator), seen | {e})
    return found


def _functions(em: EntryMap, g: int) -> Iterator[tuple[Fraction | int, PolyElement]]:
    """Functions of a generator that antiderivatives of its kind are made of."""
    tower = em.tower
    generator, x = tower.generators[g], tower.generator(g)
    one = tower.ring.one
    if generator.kind in ("exp", "root"):
        for e in (-2, -1, 1, 2):
            yield abs(e) + 1, power(tower, tower.lift(x), Fraction(e))
    elif generator.kind == "log":
        yield 2, x
        yield 3, x**2
        for e in (1, 2):
            yield 2 + e, tower.times(power(tower, generator.base, Fraction(e)), x)
    elif generator.kind == "tanh":
        complement = one - x**2
        yield 2, log(tower, x)
        yield 2, log(tower, complement)
        yield 3, power(tower, tower.lift(complement), Fraction(-1))
        yield 4, tower.times(x, power(tower, tower.lift(complement), Fraction(-1)))
        yield 1, tower.lift(generator.base)
    elif generator.kind in ("sin", "cos"):
        yield 1, x
        yield 2, log(tower, x)
        yield 3, power(tower, tower.lift(x), Fraction(-1))
    elif generator.kind == "inverse" and len(generator.base) > 1:
        yield 1, tower.lift(generator.base)
        yield 2, log(tower, generator.base)
    if generator.kind in ("sin", "cos", "exp") and len(generator.base) == 1:
        yield 1, tower.lift(generator.base)


def minor_families(em: EntryMap) -> Iterator[tuple[str, dict[tuple[int, ...], PolyElement]]]:
    """The maximal minors of each factor, and of factors stacked on each other, by their columns.

    Ratios of maximal minors depend on the row space alone.
    """
    arrays = factor_arrays(em)
    matrices: list[tuple[str, np.ndarray]] = []
    stacked: list[tuple[str, np.ndarray]] = []
    for name, array in arrays.items():
        mine = [(f"{name}^T", array[None, :])] if array.ndim == 1 else []
        if array.ndim == 2:
            mine = [(name, array), (f"{name}^T", array.T)]
        stacked.extend(
            (f"({a}; {b})", np.concatenate([A, B]))
            for (a, A), (b, B) in itertools.product(matrices, mine)
            if A.shape[1] == B.shape[1]
        )
        matrices.extend(mine)
    for name, matrix in matrices + stacked:
        rows, columns = matrix.shape
        if rows >= columns or rows > LARGEST_MINOR:
            continue
        chosen = list(itertools.combinations(range(columns), rows))
        if len(chosen) > MOST_MINORS:
            continue
        yield name, {c: _determinant(matrix[:, c]).poly for c in chosen}


def _determinant(matrix: np.ndarray) -> Element:
    """The determinant, by expansion along the first row."""
    if matrix.shape == (1, 1):
        return matrix[0, 0]
    total: Any = 0
    for j in range(len(matrix)):
        minor = np.delete(matrix[1:], j, axis=1)
        total = total + (-1) ** j * matrix[0, j] * _determinant(minor)
    return total


def monomial_of_logs(em: EntryMap, poly: PolyElement) -> PolyElement | None:
    """The exponential of a sum of logarithms with integer coefficients, a product of powers.

    None for anything else, and where an exponent is large.
    """
    result = em.ring.one
    for monomial, c in poly.items():
        used = [(g, e) for g, e in enumerate(monomial) if e]
        if len(used) != 1 or used[0][1] != 1 or int(c.denominator) != 1:
            return None
        generator = em.tower.generators[used[0][0]]
        if generator.kind != "log" or abs(int(c.numerator)) > LARGEST_EXPONENT:
            return None
        try:
            part = power(em.tower, generator.base, Fraction(int(c.numerator)))
        except InputError:
            return None
        result = em.tower.times(result, part)
    return em.reduce(result)
