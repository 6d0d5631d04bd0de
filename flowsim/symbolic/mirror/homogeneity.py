r"""Euler's identity :math:`\langle\theta, \nabla G_i\rangle = N G_i`, plain and with weights."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import Any

import numpy as np
import sympy
from sympy import Rational

from flowsim.symbolic.algebra import PRIME, EntryMap

__all__ = ["homogeneity", "weights"]

#: A homogeneity with a larger denominator is not looked for.
_LARGEST_DENOMINATOR = 64


def homogeneity(em: EntryMap, seed: int) -> Rational | None:
    r"""N with :math:`\langle \theta, \nabla G_i \rangle = N G_i` for all i, by Euler's identity."""
    rng = np.random.default_rng(seed)
    degree: Rational | None = None
    for value in em.values:
        if em.is_zero(value, seed):
            continue
        scaled = em.along(value, em.entries)
        point = em.random_point(rng)
        at = em.evaluate(value, point)
        if at == 0:
            return None
        ratio = em.evaluate(scaled, point) * pow(at, -1, PRIME) % PRIME
        guess = degree if degree is not None else _small_fraction(ratio)
        if guess is None:
            return None
        difference = scaled * int(guess.q) - em.reduce(value) * int(guess.p)
        if not em.is_zero(difference, seed):
            return None
        degree = guess
    return degree


def weights(em: EntryMap, degree: Rational | None) -> tuple[Rational, ...] | None:
    r"""Weights with :math:`\sum_l a_l \theta_l \partial_l G_i = G_i` for all i, or None.

    1/N for entries homogeneous of degree N; else, for polynomials, what makes
    :math:`\sum_l a_l e_l = 1` for every monomial of exponents e.
    """
    if degree:
        return (1 / degree,) * em.size
    if em.tower.extended:
        return None
    monomials = sorted({m[: em.size] for value in em.values for m in value})
    unknown = sympy.symbols(f"a:{em.size}")
    equations = [
        sympy.Add(*(a * e for a, e in zip(unknown, m, strict=True))) - 1 for m in monomials
    ]
    solutions: Any = list(sympy.linsolve(equations, *unknown))
    # What is left free may as well be 0.
    return tuple(x.subs(dict.fromkeys(unknown, 0)) for x in solutions[0]) if solutions else None


def _small_fraction(residue: int) -> Rational | None:
    """The fraction of small numerator and denominator that a residue modulo PRIME stands for."""
    for q in range(1, _LARGEST_DENOMINATOR + 1):
        p = residue * q % PRIME
        p = p - PRIME if p > PRIME // 2 else p
        if abs(p) <= 1000:
            return Rational(p, q)
    return None
