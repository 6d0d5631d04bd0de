"""Arithmetic modulo the prime 2^61 - 1: roots, circle points, and linear algebra.

An identity of polynomials that fails does so at a random point modulo this prime, except with a
probability of about degree / 2^61; so ranks and tests for zero are decided there, without rounding.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from fractions import Fraction
from math import gcd, isqrt

import numpy as np

__all__ = [
    "PRIME",
    "Echelon",
    "circle_power",
    "draw",
    "kernel",
    "modular",
    "rank",
    "rational",
    "root",
    "root_order",
]

#: A Mersenne prime.
PRIME = 2**61 - 1


def draw(rng: np.random.Generator) -> int:
    """A random residue, not zero."""
    return int(rng.integers(1, PRIME))


def modular(number: Fraction | int) -> int:
    """A rational number as a residue."""
    return int(number.numerator) * pow(int(number.denominator), -1, PRIME) % PRIME


def rational(residue: int) -> Fraction | None:
    """The fraction with small numerator and denominator that is this residue, or None.

    Wang, Guy and Davenport's reconstruction by the extended Euclidean algorithm: numerator and
    denominator are at most sqrt(PRIME / 2).
    """
    bound = isqrt(PRIME // 2)
    r0, r1, t0, t1 = PRIME, residue % PRIME, 0, 1
    while r1 > bound:
        q = r0 // r1
        r0, r1, t0, t1 = r1, r0 - q * r1, t1, t0 - q * t1
    if t1 == 0 or abs(t1) > bound or gcd(r1, abs(t1)) != 1:
        return None
    return Fraction(r1, t1)


def root_order(q: int) -> int:
    """The largest divisor of PRIME - 1 that is coprime to q: roots are taken in this subgroup."""
    order = PRIME - 1
    while (common := gcd(order, q)) > 1:
        order //= common
    return order


def root(residue: int, q: int) -> int | None:
    """The q-th root within the subgroup of order ``root_order(q)``, None outside it."""
    order = root_order(q)
    if residue % PRIME == 0 or pow(residue, order, PRIME) != 1:
        return None
    return pow(residue, pow(q, -1, order), PRIME)


def circle_power(point: tuple[int, int], n: int) -> tuple[int, int]:
    """The point (cos, sin) of the unit circle at n times the angle of ``point``."""
    if n < 0:
        return circle_power((point[0], -point[1] % PRIME), -n)
    result, square = (1, 0), point
    while n:
        if n & 1:
            result = turned(result, square)
        square = turned(square, square)
        n >>= 1
    return result


def turned(a: tuple[int, int], b: tuple[int, int]) -> tuple[int, int]:
    """The point of the circle at the sum of two angles."""
    return (a[0] * b[0] - a[1] * b[1]) % PRIME, (a[0] * b[1] + a[1] * b[0]) % PRIME


class Echelon:
    """A growing set of sparse rows in reduced echelon form.

    Attributes
    ----------
    rows : dict
        From the pivot column to the row, a dict from column to residue with 1 at the pivot.
    """

    def __init__(self) -> None:
        self.rows: dict[int, dict[int, int]] = {}

    @property
    def rank(self) -> int:
        """The number of independent rows so far."""
        return len(self.rows)

    def reduce(self, row: dict[int, int]) -> dict[int, int]:
        """What is left of a row after subtracting multiples of the rows kept."""
        row = {c: v % PRIME for c, v in row.items() if v % PRIME}
        for column in [c for c in row if c in self.rows]:
            factor = row[column]
            for c, v in self.rows[column].items():
                value = (row.get(c, 0) - factor * v) % PRIME
                if value:
                    row[c] = value
                else:
                    row.pop(c, None)
        return row

    def add(self, row: dict[int, int]) -> bool:
        """Keep a row if it is independent of those kept; say whether it was."""
        row = self.reduce(row)
        if not row:
            return False
        pivot = min(row)
        inverse = pow(row[pivot], -1, PRIME)
        row = {c: v * inverse % PRIME for c, v in row.items()}
        for other in self.rows.values():
            factor = other.get(pivot)
            if factor:
                for c, v in row.items():
                    value = (other.get(c, 0) - factor * v) % PRIME
                    if value:
                        other[c] = value
                    else:
                        other.pop(c, None)
        self.rows[pivot] = row
        return True


def rank(rows: Iterable[Sequence[int]]) -> int:
    """The rank of a matrix of residues."""
    echelon = Echelon()
    for row in rows:
        echelon.add(dict(enumerate(row)))
    return echelon.rank


def kernel(rows: Iterable[dict[int, int]], columns: int) -> list[dict[int, int]]:
    """A basis of the vectors x with row . x = 0 for every row, in reduced echelon form.

    Parameters
    ----------
    rows
        Sparse rows, dicts from column to residue.
    columns
        The number of unknowns.
    """
    echelon = Echelon()
    for row in rows:
        echelon.add(row)
    free = [c for c in range(columns) if c not in echelon.rows]
    basis: dict[int, dict[int, int]] = {c: {c: 1} for c in free}
    for pivot, row in echelon.rows.items():
        for c, v in row.items():
            if c != pivot:
                basis[c][pivot] = -v % PRIME
    return list(basis.values())
