"""The search for conservation laws: how many there are, and formulas for them."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from fractions import Fraction

import numpy as np
import sympy
from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement

from flowsim._checks import check_count, check_real
from flowsim._errors import InputError
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic import printing
from flowsim.symbolic.algebra.elements import exact
from flowsim.symbolic.algebra.lie import generation_ranks
from flowsim.symbolic.algebra.modular import PRIME, rational
from flowsim.symbolic.algebra.ring import EntryMap, entry_map
from flowsim.symbolic.conservation.basis import Found, search
from flowsim.symbolic.conservation.components import Component, components
from flowsim.symbolic.conservation.directions import directions
from flowsim.symbolic.conservation.laws import ConservationLaw, ConservationLaws

__all__ = ["conservation_laws"]


def conservation_laws(
    par: Parametrization,
    *,
    degree: int = 4,
    weight_decay: float = 0.0,
    rates: Mapping[str, float] | None = None,
    seed: int = 0,
) -> ConservationLaws:
    r"""What gradient flow on the factors conserves, whatever the loss and the data.

    A function h of the factors is constant along
    :math:`\dot\theta = -\nabla_\theta L(\varphi(\theta))` for every L if and only if
    :math:`\langle\nabla h, \nabla\varphi_i\rangle \equiv 0` for every entry of φ. Near a generic
    point there are exactly :math:`D - \dim\mathrm{Lie}\{\nabla\varphi_i\}(\theta)` independent
    ones.

    Formulas are sought among differences of Gram matrices, polynomials up to a degree, ratios of
    minors, and sums of powers (negative and fractional too), logarithms and the map's own
    functions. Every law returned was verified exactly.

    Parameters
    ----------
    par : Parametrization
        A map of at most 64 parameters.
    degree : int
        The degree up to which polynomials are searched.
    weight_decay : float
        λ in :math:`L(\varphi(\theta)) + \tfrac\lambda2\|\theta\|^2`. A law that is homogeneous of
        degree k then decays as :math:`e^{-k\lambda t}`; others are dropped.
    rates : mapping or None
        A learning rate for each factor, by name, where they differ:
        :math:`\dot\theta_f = -\kappa_f \partial_f(\ldots)`. The regulariser is scaled with the
        loss. Factors not named learn at rate 1.
    seed : int
        Of the random point modulo 2^61 - 1.

    Returns
    -------
    ConservationLaws

    Raises
    ------
    InputError
        If an argument is wrong, or the map is too large for exact work.

    References
    ----------
    Marcotte, Gribonval, Peyré, "Abide by the law and follow the flow", 2023, arXiv:2307.00144.

    Examples
    --------
    >>> import flowsim as fs
    >>> print(conservation_laws(fs.Diagonal(1, depth=3)))
    1 conservation law of 2 parameters
      1/v[0] + 1/u[0]
    >>> laws = conservation_laws(fs.TwoLayer((2, 2, 2)))
    >>> laws.count, laws.generation_ranks, laws.complete
    (3, (4, 5), True)
    >>> print(laws[1])
    (W2^T W2 - W1 W1^T)[0,1] = -W1[0, 0]*W1[1, 0] - W1[0, 1]*W1[1, 1] + W2[0, 0]*W2[0, 1] + ...
    """
    degree = check_count("degree", degree)
    decay = check_real("weight_decay", weight_decay, at_least=0)
    seed = check_count("seed", seed, at_least=0)
    em = entry_map(par)
    kappa = _rates(par, rates)
    parts = components(em)
    count, ranks, searched = 0, [], 0
    kept: list[ConservationLaw] = []
    dropped: list[ConservationLaw] = []
    for part in parts:
        # Copies that learn at other rates are other components.
        for members in _alike(part, kappa):
            scale = [kappa[position] for position in members[0].positions]
            fields = directions(members[0], scale)
            grown = generation_ranks(members[0], fields, seed)
            target = members[0].size - grown[-1]
            count += target * len(members)
            ranks.append((grown, len(members)))
            found, reached = search(members[0], fields, target, degree, seed)
            if len(found) < target:
                searched = min(reached, searched or reached)
            for member, law in itertools.product(members, found):
                shrinks = _homogeneity(member, law, scale)
                rate = 0.0 if shrinks is None or not decay else -float(shrinks) * decay
                lost = bool(decay) and shrinks is None
                (dropped if lost else kept).append(_named(member, law, rate))
    return ConservationLaws(
        count,
        tuple(kept),
        em.size,
        _total(ranks),
        parts,
        tuple(dropped),
        decay,
        dict(rates or {}),
        searched,
    )


def _rates(par: Parametrization, rates: Mapping[str, float] | None) -> list[Fraction]:
    """The learning rate of every entry."""
    given = {} if rates is None else dict(rates)
    for name, rate in given.items():
        if name not in par.names:
            raise InputError(f"rates names {name!r}; the factors are {', '.join(par.names)}.")
        check_real(f"rates[{name!r}]", rate, above=0)
    entries: list[Fraction] = []
    for name, shape in zip(par.names, par.shapes, strict=True):
        rate = exact(given.get(name, 1))
        if rate is None:
            raise InputError(f"rates[{name!r}] is {given[name]!r}; pass a positive number.")
        entries.extend([rate] * int(np.prod(shape)))
    return entries


def _alike(part: Component, kappa: Sequence[Fraction]) -> list[list[EntryMap]]:
    """The copies of a component, those with the same rates together."""
    groups: dict[tuple[Fraction, ...], list[EntryMap]] = {}
    for member in (part.em, *part.copies):
        groups.setdefault(tuple(kappa[p] for p in member.positions), []).append(member)
    return list(groups.values())


def _total(ranks: list[tuple[tuple[int, ...], int]]) -> tuple[int, ...]:
    """The ranks of all components together, generation by generation."""
    length = max((len(grown) for grown, _ in ranks), default=0)
    return tuple(
        sum(grown[min(g, len(grown) - 1)] * times for grown, times in ranks) for g in range(length)
    )


def _named(em: EntryMap, law: Found, rate: float) -> ConservationLaw:
    """A law for one copy of its component."""
    if law.ratio is None:
        expression = em.to_sympy(law.poly)
    else:
        above, below = (em.to_sympy(part) for part in law.ratio)
        expression = sympy.Mul(above, sympy.Pow(below, -1))
    poly, name = law.poly, law.name
    if name is None:
        name = printing.text(expression)
        if name.startswith("-"):
            poly, expression = -poly, sympy.expand(-expression)
            name = printing.text(expression)
    return ConservationLaw(
        name,
        expression,
        _kind(em, poly),
        tuple(em.names[i] for i in sorted(em.depends(poly))),
        _homogeneity(em, law, [Fraction(1)] * em.size),
        rate,
        em,
        poly,
    )


def _kind(em: EntryMap, poly: PolyElement) -> str:
    kinds = {em.tower.generators[g].kind for g in em.tower.needed(poly)} - {"sign", "constant"}
    if not kinds:
        return "polynomial"
    if kinds == {"inverse"}:
        return "rational"
    if kinds <= {"inverse", "root"}:
        return "algebraic"
    return "logarithmic" if kinds <= {"inverse", "root", "log"} else "transcendental"


def _homogeneity(em: EntryMap, law: Found, scale: Sequence[Fraction]) -> Fraction | None:
    """The k with sum_i kappa_i theta_i d_i h = k h (Euler), or None."""
    if law.ratio is None:
        return _eigenvalue(em, law.poly, scale)
    above, below = (_eigenvalue(em, part, scale) for part in law.ratio)
    return None if above is None or below is None else above - below


def _eigenvalue(em: EntryMap, poly: PolyElement, scale: Sequence[Fraction]) -> Fraction | None:
    euler = em.along(
        poly,
        tuple(x * QQ(k.numerator, k.denominator) for x, k in zip(em.entries, scale, strict=True)),
    )
    point = em.random_point(np.random.default_rng(0))
    value = em.evaluate(poly, point)
    k = None if value == 0 else rational(em.evaluate(euler, point) * pow(value, -1, PRIME))
    if k is None:
        return None
    holds = em.is_zero(euler - em.tower.lift(poly) * QQ(k.numerator, k.denominator))
    return k if holds else None
