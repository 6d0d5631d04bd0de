r"""Solving for the preconditioner: a primitive element, its root, and the branch.

On the states with one w and one value of every conserved quantity, all entries of
:math:`P = J J^\top` are functions of one q(θ), which satisfies a polynomial equation
:math:`F(q; w, c) = 0`. Where F has degree 1 or 2 in a power of q it is solved by roots. Which root
it is, the state says: :math:`\sqrt{b^2 - 4ac} = \pm(2aq + b)`, and the sign of the right-hand side
is a function of θ.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import gcd

import sympy
from sympy import Abs, Expr, Rational, Symbol, sqrt
from sympy.polys.domains import QQ
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.ring import EntryMap
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.relations import Eliminator, Relation
from flowsim.symbolic.closure.signs import manifest_sign

__all__ = ["Explicit", "Primitive", "solve_preconditioner"]

MOST_CANDIDATES = 8
HIGHEST_POWER = 8
# Once there is a form, so many more are tried for a shorter one.
MOST_AFTER_FOUND = 3
# With more entries than these the first form is kept.
#: Maps with more entries of P are left implicit: the same map at a smaller size shows its form.
MOST_SOLVED = 120
LARGEST_SEARCHED = 10
RHO = Symbol("rho", real=True)


@dataclass(frozen=True)
class Primitive:
    """The element by which P is expressed.

    Attributes
    ----------
    poly : PolyElement
        What it is, as a function of θ.
    relation : Relation
        Its equation, in the last of the relation's symbols.
    root : sympy.Expr or None
        Its value in w and c by roots, None where there is no such form.
    signs : dict
        Symbols for signs in it, each with the function of θ whose sign it is.
    manifest : tuple
        Pairs of a function of θ and its sign, 1 or -1, that is the same at every state.
    """

    poly: PolyElement
    relation: Relation
    root: Expr | None
    signs: dict[Symbol, PolyElement] = field(default_factory=dict)
    manifest: tuple[tuple[PolyElement, int], ...] = ()


@dataclass(frozen=True)
class Explicit:
    """P by one primitive element.

    Attributes
    ----------
    entries : dict
        The entries P[i, j], i <= j, in w, c and ``RHO``.
    primitive : Primitive or None
        What RHO stands for; None where the entries are rational in w and c.
    """

    entries: dict[tuple[int, int], Expr]
    primitive: Primitive | None

    @property
    def solved(self) -> bool:
        """Whether the entries can be written by roots."""
        return self.primitive is None or self.primitive.root is not None

    @property
    def cost(self) -> tuple[bool, int, int]:
        """What forms are compared by: solved, dividing by little that can vanish, short."""
        size = sum(int(e.count_ops()) + 1 for e in self.entries.values())
        divisors = 0
        root = None if self.primitive is None else self.primitive.root
        for e in [*self.entries.values(), *([] if root is None else [root])]:
            below = sympy.denom(sympy.together(e))
            factors = () if below.is_number else sympy.factor_list(below)[1]
            divisors += sum(not (f.has(RHO) or f.is_nonnegative) for f, _ in factors)
        if self.primitive is not None:
            size += int((self.primitive.root or self.primitive.relation.expression()).count_ops())
        return not self.solved, divisors, size


def solve_preconditioner(
    level: Level,
    w: Sequence[Expr],
    c: Sequence[Expr],
    P: dict[tuple[int, int], PolyElement],
    seed: int = 0,
) -> Explicit | None:
    """Write the entries of P in w and the values of the conserved quantities.

    Parameters
    ----------
    level : Level
        The map on its level set.
    w : sequence of sympy.Expr
        A symbol for each value.
    c : sequence of sympy.Expr
        A symbol for each law; those of laws with a number as their value are not used.
    P : dict
        The entries i <= j as functions of θ.
    seed : int
        Of the random states.

    Returns
    -------
    Explicit or None
        The shortest form found, one by roots before any other; None where the bounded search found
        no primitive element.
    """
    em = level.em
    eliminator = Eliminator(level, seed)
    if eliminator.points(4) is None:
        return None
    free = [(law, s) for law, s, v in zip(level.laws, c, level.values, strict=True) if v is None]
    functions = [*map(em.tower.lift, em.values), *(em.tower.lift(law) for law, _ in free)]
    symbols = [*w, *(s for _, s in free)]
    costly = range(len(w), len(symbols))
    rational = _rational_entries(eliminator, functions, symbols, P)
    if rational is not None:
        return rational
    best: Explicit | None = None
    more = MOST_AFTER_FOUND if len(P) <= LARGEST_SEARCHED else 0
    for candidate in _candidates(level, P):
        if best is not None:
            if best.solved and best.entries == {(0, 0): RHO}:
                break  # P itself by roots
            more -= 1
            if more < 0:
                break
        relation = eliminator.relation(
            [*functions, candidate], [*symbols, RHO], highest=HIGHEST_POWER, costly=costly
        )
        if relation is None:
            continue
        primitive = _solved(level, candidate, relation, functions)
        if best is not None and best.solved and primitive.root is None:
            continue
        found = _expressed(eliminator, primitive, functions, symbols, P, costly)
        if found is not None and (best is None or found.cost < best.cost):
            best = found
    return best


def _rational_entries(
    eliminator: Eliminator,
    functions: Sequence[PolyElement],
    symbols: Sequence[Expr],
    P: dict[tuple[int, int], PolyElement],
) -> Explicit | None:
    entries = {}
    for at, p in P.items():
        if not p:
            entries[at] = sympy.Integer(0)
            continue
        relation = eliminator.relation([*functions, p], [*symbols, RHO], highest=1)
        if relation is None:
            return None
        parts = relation.coefficients(len(functions))
        entries[at] = sympy.factor(sympy.cancel(-parts.get(0, sympy.Integer(0)) / parts[1]))
    return Explicit(entries, None)


def _candidates(level: Level, P: dict[tuple[int, int], PolyElement]) -> list[PolyElement]:
    """Functions to try as primitive elements: a single P, and the monomials of which P is made."""
    em = level.em
    ngens = em.ring.ngens
    terms = [m + (0,) * (ngens - len(m)) for p in P.values() for m in p]
    monomials: set[tuple[int, ...]] = set()
    for m in terms:
        common = gcd(*m)
        if not common:
            continue
        root = tuple(e // common for e in m)
        monomials |= {m, root, tuple(2 * e for e in root)}
        for g, e in enumerate(m):
            if e:
                monomials |= {tuple(k * (h == g) for h in range(ngens)) for k in (1, 2)}

    def rank(f: tuple[int, ...]) -> tuple:
        # Even powers, whose sign is known; then what occurs in most terms; then simple ones.
        holding = sum(all(map(int.__le__, f, m)) for m in terms)
        return any(e % 2 for e in f), -holding, sum(f), [-e for e in f]

    found = [em.ring.from_dict({m: QQ(1)}) for m in sorted(monomials, key=rank)]
    if len(em.values) == 1:
        found.insert(0, em.tower.lift(P[0, 0]))
    norms = _norms(level)
    # A norm divides by nothing that a single entry would not divide by too.
    return ([*found[:1], *norms, *found[1:]] if len(P) == 1 else [*norms, *found])[:MOST_CANDIDATES]


def _norms(level: Level) -> list[PolyElement]:
    """The sums of squares of the factors that have several entries here."""
    em = level.em
    factors: dict[str, list[PolyElement]] = {}
    for name, x in zip(em.names, em.entries, strict=True):
        factors.setdefault(name.partition("[")[0], []).append(x**2)
    return [sum(squares, em.ring.zero) for squares in factors.values() if len(squares) > 1]


def _expressed(
    eliminator: Eliminator,
    primitive: Primitive,
    functions: Sequence[PolyElement],
    symbols: Sequence[Expr],
    P: dict[tuple[int, int], PolyElement],
    costly: Sequence[int],
) -> Explicit | None:
    """All entries as rational functions of the primitive element."""
    p = Symbol("p", real=True)
    entries = {}
    for at, f in P.items():
        if not f:
            entries[at] = sympy.Integer(0)
            continue
        if f == primitive.poly:
            entries[at] = RHO
            continue
        relation = eliminator.relation(
            [*functions, primitive.poly, f],
            [*symbols, RHO, p],
            highest=1,
            costly=costly,
        )
        if relation is None:
            return None
        parts = relation.coefficients(len(functions) + 1)
        above, below = -parts.get(0, sympy.Integer(0)), parts[1]
        # Term by term over a denominator of one term: rho + w w^T / rho rather than one fraction.
        single = not isinstance(sympy.expand(below), sympy.Add)
        entries[at] = sympy.expand(above / below) if single else sympy.cancel(above / below)
    return Explicit(entries, primitive)


def _solved(
    level: Level, q: PolyElement, relation: Relation, functions: Sequence[PolyElement]
) -> Primitive:
    """The primitive element by roots, where its equation has such a solution."""
    em = level.em
    k = len(functions)
    parts = relation.coefficients(k)
    step = gcd(*(e for e in parts if e))
    degree = max(parts) // step
    a = [sympy.factor(parts.get(step * e, sympy.Integer(0))) for e in range(degree + 1)]
    signs: dict[Symbol, PolyElement] = {}
    manifest: list[tuple[PolyElement, int]] = []

    def sign_of(f: PolyElement) -> Expr:
        known = manifest_sign(em, f)
        if known:
            manifest.append((f, known))
            return sympy.Integer(known)
        symbol = Symbol(f"sigma_{len(signs) + 1}", real=True)
        signs[symbol] = f
        return symbol

    if degree == 1:
        y = -a[0] / a[1]
    elif degree == 2:
        # sqrt(discriminant) = +-(2 a_2 y + a_1), the derivative of the equation.
        values = [*functions, q]
        slope = _substituted(em, relation, values, {2 * step: 2, step: 1}, step)
        outside, root = _square_root(sympy.expand(a[1] ** 2 - 4 * a[2] * a[0]))
        if outside.is_nonnegative or manifest_sign(em, slope):
            g = outside if outside.is_nonnegative else Abs(outside)
        else:
            # The sign of the product changes less often than that of the slope.
            g = outside
            factor = _in_theta(em, outside, relation.symbols[:-1], functions)
            slope = em.reduce(em.tower.times(slope, factor))
        y = (-a[1] + sign_of(slope) * g * root) / (2 * a[2])
        y = sympy.expand(y) if (2 * a[2]).is_number else y
    else:
        return Primitive(q, relation, None)
    if step == 1:
        return Primitive(q, relation, y, signs, tuple(manifest))
    if step % 2:
        whole = _power(y, Rational(1, step))
        if whole is None:
            whole = sympy.sign(y) * Abs(y) ** Rational(1, step)
    else:
        whole = _power(y, Rational(1, step), even=True)
        whole = (y ** Rational(1, step) if whole is None else whole) * sign_of(q)
    return Primitive(q, relation, whole, signs, tuple(manifest))


def _substituted(
    em: EntryMap,
    relation: Relation,
    values: Sequence[PolyElement],
    factors: dict[int, int],
    step: int,
) -> PolyElement:
    """The sum of factor * coefficient * power of q, the power lowered by ``step``, in θ."""
    total = em.ring.zero
    for exponents, c in relation.terms.items():
        factor = factors.get(exponents[-1], 0)
        if not factor:
            continue
        lowered = (*exponents[:-1], exponents[-1] - step)
        term = em.ring.one
        for f, e in zip(values, lowered, strict=True):
            for _ in range(e):
                term = em.reduce(em.tower.times(term, f))
        total = em.tower.lift(total) + em.tower.lift(term) * QQ(c * factor)
    return em.reduce(total)


def _in_theta(
    em: EntryMap,
    e: Expr,
    symbols: Sequence[Expr],
    functions: Sequence[PolyElement],
) -> PolyElement:
    """A polynomial in w and c as a function of θ."""
    total = em.ring.zero
    for exponents, c in sympy.Poly(e, *symbols).terms():
        term = em.ring.one * QQ(int(c.p), int(c.q))
        for f, k in zip(functions, exponents, strict=True):
            for _ in range(k):
                term = em.reduce(em.tower.times(term, f))
        total = em.tower.lift(total) + em.tower.lift(term)
    return em.reduce(total)


def _square_root(disc: Expr) -> tuple[Expr, Expr]:
    """A polynomial as g^2 r: what comes out of the root, and the root of the rest."""
    content, factors = sympy.factor_list(disc)
    outside, inside = sympy.Integer(1), sympy.Integer(1)
    for f, e in factors:
        outside *= f ** (e // 2)
        inside *= f ** (e % 2)
    number = sqrt(content) if content > 0 else sqrt(-content)
    if not number.is_Rational:
        inside, number = inside * content, sympy.Integer(1)
    elif content < 0:
        inside = -inside
    return number * outside, sqrt(sympy.expand(inside))


def _power(y: Expr, exponent: Rational, *, even: bool = False) -> Expr | None:
    """A real root of a product of powers, by absolute values; None where y is no such product."""
    above, below = sympy.fraction(sympy.together(y))
    if not (above.is_polynomial() and below.is_polynomial()):
        return None
    content, factors = sympy.factor_list(above)
    under, dividing = sympy.factor_list(below)
    content, factors = content / under, [*factors, *((f, -e) for f, e in dividing)]
    if any(isinstance(f, sympy.Add) for f, _ in factors):
        return y**exponent if y.is_nonnegative else None
    result, negative = Abs(content) ** exponent, content < 0
    sign = sympy.Integer(-1 if negative else 1)
    if even and (content < 0 or any(e % 2 for _, e in factors)):
        return None  # its sign restricts w, and no absolute values are needed
    for f, e in factors:
        result *= Abs(f) ** (e * exponent)
        if e % 2:
            sign *= sympy.sign(f)
    return result if even else sign * result
