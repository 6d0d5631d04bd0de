"""Signs that can be read off: sums of squares with coefficients of one sign."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

from fractions import Fraction

from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.generators import fraction
from flowsim.symbolic.algebra.ring import EntryMap

__all__ = ["manifest_sign"]

LARGEST_GRAM = 40


def manifest_sign(em: EntryMap, poly: PolyElement) -> int:
    """1 where a function is a sum of squares that is seen to be one, -1 for its negative, else 0.

    Factors that are positive wherever they are defined, such as norms, may multiply the squares.
    """
    if not poly:
        return 0
    for sign in (1, -1):
        if _sum_of_squares(em, poly * sign):
            return sign
    return 0


def _sum_of_squares(em: EntryMap, poly: PolyElement) -> bool:
    used = {g for monomial in poly for g, e in enumerate(monomial) if e}
    positive = {g: _positive(em, g) for g in used}
    squares: dict[tuple[int, ...], Fraction] = {}
    mixed: dict[tuple[int, ...], Fraction] = {}
    for monomial, c in poly.items():
        # A positive generator counts as a square of its root: all exponents are doubled for it.
        key = tuple(2 * e if positive.get(g) else e for g, e in enumerate(monomial))
        value = fraction(c)
        if all(e % 2 == 0 for e in key):
            squares[tuple(e // 2 for e in key)] = value
        else:
            mixed[key] = value
    if not mixed:
        return all(c > 0 for c in squares.values())
    if len(squares) > LARGEST_GRAM:
        return False
    # The Gram matrix in the roots of the squares, which is to be positive semidefinite.
    roots = list(squares)
    gram = {(i, i): squares[root] for i, root in enumerate(roots)}
    for i, a in enumerate(roots):
        for j in range(i):
            c = mixed.pop(tuple(map(int.__add__, a, roots[j])), None)
            gram[i, j] = gram[j, i] = Fraction(0) if c is None else c / 2
    return not mixed and _semidefinite(gram, len(roots))


def _semidefinite(gram: dict[tuple[int, int], Fraction], size: int) -> bool:
    A = [[gram[i, j] for j in range(size)] for i in range(size)]
    for k in range(size):
        if A[k][k] < 0 or (A[k][k] == 0 and any(A[k][k + 1 :])):
            return False
        if A[k][k]:
            for i in range(k + 1, size):
                factor = A[i][k] / A[k][k]
                for j in range(k + 1, size):
                    A[i][j] -= factor * A[k][j]
    return True


def _positive(em: EntryMap, index: int) -> bool:
    """Whether a generator is positive wherever it is defined."""
    g = em.tower.generators[index]
    if g.kind == "exp" or (g.kind == "root" and g.order % 2 == 0):
        return True
    return g.kind in ("inverse", "root") and manifest_sign(em, g.base) == 1
