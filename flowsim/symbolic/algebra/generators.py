"""What a generator of the ring is, and names for polynomials that outlive the ring's growth."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportReturnType=false
from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import sympy
from sympy.polys.rings import PolyElement

__all__ = ["Generator", "fraction", "key_of", "rational_of", "single", "sparse"]


@dataclass(frozen=True)
class Generator:
    """One generator: an entry, or what was added for the sake of a function.

    Attributes
    ----------
    kind : str
        "entry", "root", "inverse", "exp", "log", "tanh", "sin", "cos", "sign" or "constant".
    base : PolyElement or None
        What it is a function of.
    order : int
        The q of a root.
    value : sympy.Expr or None
        The number, for a constant.
    """

    kind: str
    base: Any = None
    order: int = 1
    value: Any = None


def fraction(c: Any) -> Fraction:
    """A coefficient as a fraction."""
    return Fraction(int(c.numerator), int(c.denominator))


def rational_of(poly: PolyElement) -> sympy.Rational:
    """A constant polynomial as a SymPy number."""
    c = fraction(poly.LC) if poly else Fraction(0)
    return sympy.Rational(c.numerator, c.denominator)


def sparse(monomial: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    """The generators of a monomial with their exponents."""
    return tuple((g, e) for g, e in enumerate(monomial) if e)


def key_of(poly: PolyElement) -> Any:
    """A name for a polynomial that does not change as the ring grows."""
    return frozenset((sparse(m), fraction(c)) for m, c in poly.items())


def single(poly: PolyElement) -> int | None:
    """The generator that a polynomial is, or None."""
    if len(poly) == 1:
        ((monomial, c),) = poly.items()
        used = sparse(monomial)
        if c == 1 and len(used) == 1 and used[0][1] == 1:
            return used[0][0]
    return None
