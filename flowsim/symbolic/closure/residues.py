"""Dense linear algebra modulo 2^61 - 1 on NumPy arrays, and roots of polynomials."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from sympy.polys.domains import ZZ
from sympy.polys.galoistools import (
    gf_edf_zassenhaus,
    gf_gcd,
    gf_monic,
    gf_pow_mod,
    gf_sub,
    gf_trunc,
)

from flowsim.symbolic.algebra.modular import PRIME

__all__ = ["dependencies", "product", "roots"]

_P = np.uint64(PRIME)
_LOW31, _LOW30 = np.uint64(2**31 - 1), np.uint64(2**30 - 1)
_S30, _S31, _S61, _ONE = (np.uint64(s) for s in (30, 31, 61, 1))


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """The product of residues, arrays of uint64, by halves of 31 bits."""
    a1, a0, b1, b0 = a >> _S31, a & _LOW31, b >> _S31, b & _LOW31
    middle = a1 * b0 + a0 * b1  # below 2^62
    total = ((a1 * b1) << _ONE) + (middle >> _S30) + ((middle & _LOW30) << _S31) + a0 * b0
    return _reduced(total)


def dependencies(columns: np.ndarray) -> Iterator[tuple[int, dict[int, int]]]:
    """Each column that depends on those before it, with its coefficients on the pivots.

    Parameters
    ----------
    columns
        Residues, uint64, shape (equations, unknowns).
    """
    A = columns.copy()
    pivots: list[int] = []
    for j in range(A.shape[1]):
        r = len(pivots)
        below = np.flatnonzero(A[r:, j])
        if not len(below):
            yield j, {p: int(v) for p, v in zip(pivots, A[:r, j], strict=True) if v}
            continue
        if below[0]:
            A[[r, r + below[0]]] = A[[r + below[0], r]]
        inverse = np.uint64(pow(int(A[r, j]), -1, PRIME))
        A[r, j:] = product(A[r, j:], inverse)
        others = np.flatnonzero(A[:, j])
        others = others[others != r]
        change = product(A[others, j][:, None], A[r, j:][None, :])
        A[others, j:] = _reduced(A[others, j:] + (_P - change))
        pivots.append(j)


def roots(coefficients: Sequence[int]) -> list[int]:
    """The roots modulo PRIME of a polynomial, its leading coefficient first."""
    f = gf_trunc([int(c) for c in coefficients], PRIME)
    if len(f) < 2:
        return []
    f = gf_monic(f, PRIME, ZZ)[1]
    if len(f) == 2:
        return [-f[1] % PRIME]
    power = gf_pow_mod([1, 0], PRIME, f, PRIME, ZZ)
    split = gf_gcd(f, gf_sub(power, [1, 0], PRIME, ZZ), PRIME, ZZ)
    if len(split) < 2:
        return []
    return sorted(-g[1] % PRIME for g in gf_edf_zassenhaus(split, 1, PRIME, ZZ))


def _reduced(x: np.ndarray) -> np.ndarray:
    x = (x & _P) + (x >> _S61)
    return np.where(x >= _P, x - _P, x)
