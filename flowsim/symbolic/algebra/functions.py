"""Powers, quotients and functions in a growing ring: each brings the generators that it needs."""

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
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np
import sympy
from sympy.polys.domains import QQ, ZZ
from sympy.polys.galoistools import gf_sqf_p
from sympy.polys.rings import PolyElement

from flowsim._errors import InputError
from flowsim.symbolic.algebra.generators import fraction, rational_of, single
from flowsim.symbolic.algebra.modular import PRIME, draw, modular

if TYPE_CHECKING:
    from flowsim.symbolic.algebra.tower import Tower

__all__ = ["absolute", "cos", "exp", "log", "odd", "power", "quotient"]

#: Polynomials in more variables are only made square-free, which is quicker.
FACTORED = 6


def quotient(tower: Tower, a: PolyElement, b: PolyElement) -> PolyElement:
    """A divided by b; a polynomial where b divides a."""
    if not b:
        raise InputError("the map divides by 0.")
    if not b.is_ground and a:
        whole, rest = divmod(a, b)
        if not rest:
            return whole
    return tower.times(a, power(tower, b, Fraction(-1)))


def power(tower: Tower, poly: PolyElement, exponent: Fraction) -> PolyElement:
    """A rational power, on the branch where what has an even root is positive."""
    poly = tower.lift(poly)
    if exponent.denominator == 1 and exponent >= 0:
        return tower.reduce(poly ** int(exponent))
    if not poly:
        raise InputError(f"the map takes 0 to the power {exponent}.")
    if poly.is_ground:
        return _constant_power(tower, fraction(poly.LC), exponent)
    if exponent.denominator == 1:
        content, factors = _factors(tower, poly)
        result = tower.constant(content ** int(exponent))
        for factor, e in factors:
            result = tower.times(result, _power(tower, factor, e * exponent))
        return tower.reduce(tower.lift(result))
    q = exponent.denominator
    content, factors = _factors(tower, poly)
    outside, inside = tower.ring.one, tower.ring.one
    for factor, e in factors:
        whole, rest = divmod(e, q)
        inside = tower.times(inside, factor**rest)
        if whole:
            pulled = absolute(tower, factor) if q % 2 == 0 else factor
            pulled = power(tower, pulled, Fraction(whole * exponent.numerator))
            outside = tower.times(outside, pulled)
    inside = tower.lift(inside)
    if content < 0 and (q % 2 == 1 or not inside.is_ground):
        # (-x)^(1/2) is a root of -x; (-x)^(1/3) = -(x^(1/3)) would do, and so does this.
        inside, content = -inside, -content
    result = tower.times(outside, _constant_power(tower, content, exponent))
    if not (inside.is_ground and inside == 1):
        result = tower.times(result, _power(tower, inside, exponent))
    return tower.reduce(tower.lift(result))


def absolute(tower: Tower, poly: PolyElement) -> PolyElement:
    """The absolute value: the element times its locally constant sign."""
    poly = tower.lift(poly)
    if poly.is_ground:
        return tower.ring.ground_new(abs(poly.LC)) if poly else poly
    sign = tower.generator(tower.add("sign", poly))
    return tower.reduce(tower.times(sign, poly))


def exp(tower: Tower, poly: PolyElement) -> PolyElement:
    """The exponential, a product over the terms."""
    result = tower.ring.one
    for monomial, c in poly.terms():
        c, used = fraction(c), [(g, e) for g, e in enumerate(monomial) if e]
        if not used:
            part = _number(tower, sympy.exp(sympy.Rational(c.numerator, c.denominator)))
        elif len(used) == 1 and used[0][1] == 1 and tower.generators[used[0][0]].kind == "log":
            part = power(tower, tower.generators[used[0][0]].base, c)
        else:
            ring = poly.ring
            argument = ring.from_dict({monomial: QQ(1, c.denominator)})
            E = tower.generator(tower.add("exp", argument))
            part = power(tower, E, Fraction(c.numerator))
        result = tower.times(result, part)
    return tower.reduce(tower.lift(result))


def log(tower: Tower, poly: PolyElement) -> PolyElement:
    """The logarithm of the absolute value, a sum over the factors."""
    poly = tower.lift(poly)
    if not poly:
        raise InputError("the map takes the logarithm of 0.")
    content, factors = _factors(tower, poly)
    number = sympy.log(sympy.Rational(abs(content.numerator), content.denominator))
    result = _number(tower, number) if number else tower.ring.zero
    for factor, e in factors:
        index = single(factor)
        kind = None if index is None else tower.generators[index]
        if kind is not None and kind.kind == "exp":
            part = kind.base
        elif kind is not None and kind.kind == "sign":
            continue
        elif kind is not None and kind.kind in ("root", "inverse"):
            part = tower.lift(log(tower, kind.base)) * QQ(
                1, kind.order if kind.kind == "root" else -1
            )
        else:
            _power(tower, factor, Fraction(-1))  # its derivative is 1/factor
            part = tower.generator(tower.add("log", factor))
        result = tower.lift(result) + tower.lift(part) * e
    return tower.lift(result)


def odd(tower: Tower, poly: PolyElement, kind: str) -> PolyElement:
    """An odd function, "tanh" or "sin"."""
    if poly.is_ground:
        return _number(tower, getattr(sympy, kind)(rational_of(poly)))
    if poly.LC < 0:
        return -odd(tower, -poly, kind)
    if kind == "sin":
        tower.add("cos", poly)
    return tower.generator(tower.add(kind, poly))


def cos(tower: Tower, poly: PolyElement) -> PolyElement:
    """The cosine, an even function."""
    if poly.is_ground:
        return _number(tower, sympy.cos(rational_of(poly)))
    poly = -poly if poly.LC < 0 else poly
    odd(tower, poly, "sin")
    return tower.generator(tower.add("cos", poly))


def _constant_power(tower: Tower, number: Fraction, exponent: Fraction) -> PolyElement:
    if exponent.denominator == 1:
        return tower.constant(number ** int(exponent))
    if number == 1:
        return tower.ring.one
    if number < 0:
        raise InputError(f"the map takes {number} to the power {exponent}, which is not real.")
    base = sympy.Rational(number.numerator, number.denominator)
    return _number(tower, base ** sympy.Rational(exponent.numerator, exponent.denominator))


def _factors(tower: Tower, poly: PolyElement) -> tuple[Fraction, list[tuple[PolyElement, int]]]:
    """Content and monic factors: generators, and what is left, factored where it is small."""
    poly = tower.lift(poly)
    common = tuple(map(min, zip(*poly.keys(), strict=True)))
    factors = [(tower.ring.gens[g], e) for g, e in enumerate(common) if e]
    rest = tower.ring.from_dict({tuple(map(int.__sub__, m, common)): c for m, c in poly.items()})
    content = fraction(rest.LC)
    if rest.is_ground:
        return content, factors
    rest = rest.monic()
    highest = tuple(map(max, zip(*rest.keys(), strict=True)))
    variables = sum(map(bool, highest))
    if variables <= FACTORED:
        return content, factors + [(f.monic(), e) for f, e in rest.factor_list()[1]]
    if _square_free(rest, highest):
        return content, [*factors, (rest, 1)]
    return content, factors + [(f.monic(), e) for f, e in rest.sqf_list()[1]]


def _square_free(poly: PolyElement, highest: tuple[int, ...]) -> bool:
    """Whether no square divides a polynomial, quickly; False where random numbers do not tell.

    The square of a factor has degree 2 or more in some variable x. With numbers modulo PRIME for
    the others it stays a square, where the degree in x stays.
    """
    values = [draw(np.random.default_rng(i)) for i in range(len(highest))]
    for x, degree in enumerate(highest):
        if degree < 2:
            continue
        row = [0] * (degree + 1)
        for monomial, c in poly.items():
            term = modular(fraction(c))
            for g, e in enumerate(monomial):
                if e and g != x:
                    term = term * pow(values[g], e, PRIME) % PRIME
            row[degree - monomial[x]] += term
        row = [c % PRIME for c in row]
        if not row[0] or not gf_sqf_p([ZZ(c) for c in row], PRIME, ZZ):
            return False
    return True


def _power(tower: Tower, base: PolyElement, exponent: Fraction) -> PolyElement:
    """A power that is not a natural number, of a monic polynomial taken as one thing."""
    index = single(base)
    if index is not None:
        g = tower.generators[index]
        if g.kind == "root":
            return power(tower, g.base, exponent / g.order)
        if g.kind == "inverse":
            return power(tower, g.base, -exponent)
        if g.kind == "exp" and exponent.denominator != 1:
            return exp(tower, g.base * QQ(exponent.numerator, exponent.denominator))
        if g.kind == "sign":
            is_odd = exponent.denominator % 2 == 1 and exponent.numerator % 2 == 1
            return tower.generator(index) if is_odd else tower.ring.one
    whole, q = math.floor(exponent), exponent.denominator
    result = tower.ring.one
    if q > 1:
        # The root's derivative needs the inverse of its base.
        tower.inverse(base)
        r = tower.add("root", base, order=q)
        result = tower.generator(r) ** (exponent.numerator - whole * q)
    if whole > 0:
        result = tower.times(result, base**whole)
    elif whole < 0:
        result = tower.times(result, tower.inverse(base) ** -whole)
    return tower.reduce(tower.lift(result))


def _number(tower: Tower, value: sympy.Expr) -> PolyElement:
    """An irrational constant."""
    if value.is_Rational:
        return tower.constant(Fraction(int(value.p), int(value.q)))
    return tower.generator(tower.add("constant", None, value=value))
