r"""The derivation of one part's law, as checked lines.

Expressions in θ are derived here a second time, by SymPy's own differentiation and substitution,
and certified against what the ring of entries gave.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
from __future__ import annotations

import random
from collections.abc import Sequence

import sympy
from sympy import Derivative, Expr, Symbol
from sympy.polys.rings import PolyElement

from flowsim.symbolic.certify import CertificationError, Derivation, Step
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.radicals import RHO, Explicit, Primitive

__all__ = ["derivation_of"]

# Lines whose expansion would be longer are left to the check that found them.
LONGEST = 3000
RESIDUES = "values at random states modulo 2^61 - 1"
RING = "polynomial identity in the ring of the entries"
#: Up to this many entries of P each is differentiated once more, by SymPy, for its line.
MOST_DIFFERENTIATED = 60


def derivation_of(
    level: Level,
    w: Sequence[Expr],
    c: Sequence[Expr],
    P: dict[tuple[int, int], PolyElement],
    found: Explicit | None,
) -> tuple[Step, ...]:
    """The lines from w = φ(θ) to the law of one part.

    Raises
    ------
    CertificationError
        If a line does not hold.
    """
    em = level.em
    page = Derivation()
    plain = not em.tower.extended and len(P) <= MOST_DIFFERENTIATED
    phi = [em.to_sympy(v) for v in em.values]
    entries = em.entry_symbols
    for x, value in zip(w, phi, strict=True):
        page.enter(x, value, "The map, entry by entry.", check="evaluated on the entries")
    for (i, j), p in P.items():
        stated = em.to_sympy(p)
        name = Symbol(f"P_{i}{j}" if len(w) > 1 else "P")
        if plain:
            gradients = ([sympy.diff(phi[k], x) for x in entries] for k in (i, j))
            derived = sympy.Add(*(a * b for a, b in zip(*gradients, strict=True)))
            page.step(name, stated, "The chain rule: P = J J^T.", derived=derived)
        else:
            page.enter(name, stated, "The chain rule: P = J J^T.", check=RING)
    for law, symbol, value in zip(level.laws, c, level.values, strict=True):
        expression = em.to_sympy(law)
        for x, f, row in zip(w, phi, em.jacobian, strict=True):
            rate = em.along(law, row)
            if rate and not em.is_zero(rate):
                raise ValueError(f"{expression} is not conserved")
            if plain:
                slope = sympy.Add(*(sympy.diff(expression, a) * sympy.diff(f, a) for a in entries))
                page.step(
                    Derivative(symbol, x),
                    sympy.Integer(0),
                    f"{symbol} = {expression} is conserved: its gradient is orthogonal to that of "
                    f"{x}.",
                    derived=slope,
                )
        if not plain or value is not None:
            shown = expression if value is None else sympy.Rational(value)
            because = "Conserved." if value is None else f"{expression} is conserved, and given."
            page.enter(symbol, shown, because, check=RING)
    if found is None:
        return tuple(page.steps)
    state = dict(zip(w, phi, strict=True))
    state |= {
        s: em.to_sympy(law)
        for law, s, v in zip(level.laws, c, level.values, strict=True)
        if v is None
    }
    if found.primitive is not None:
        _primitive_lines(page, level, found.primitive, state)
    for at, p in P.items():
        if not p:
            continue
        name = Symbol(f"P_{at[0]}{at[1]}" if len(w) > 1 else "P")
        entry = found.entries[at]
        because = "By elimination of the factors."
        small = plain and level.generic and len(str(entry)) < LONGEST
        if small and found.primitive is None:
            above, below = sympy.fraction(sympy.together(entry))
            page.step(
                name,
                entry,
                because,
                derived=entry - (above - below * em.to_sympy(p)).xreplace(state) / below,
            )
        else:
            page.enter(name, entry, because, check=RING if level.generic else RESIDUES)
    return tuple(page.steps)


def _primitive_lines(page: Derivation, level: Level, primitive: Primitive, state: dict) -> None:
    em = level.em
    q = em.to_sympy(primitive.poly)
    page.enter(RHO, q, "The element by which P is expressed.", check="by definition")
    equation = primitive.relation.expression()
    because = "The equation of rho in w and the conserved values."
    if level.generic and not em.tower.extended and len(str(equation)) < LONGEST:
        page.step(equation, sympy.Integer(0), because, derived=equation.xreplace({**state, RHO: q}))
    else:
        check = RING if primitive.relation.exact else RESIDUES
        page.enter(equation, sympy.Integer(0), because, check=check)
    for f, sign in primitive.manifest:
        side = "positive" if sign > 0 else "negative"
        shown = em.to_sympy(f)
        page.enter(
            sympy.sign(shown, evaluate=False),
            sympy.Integer(sign),
            f"A sum of squares with {side} coefficients, which picks the root.",
            check="Gram matrix of the squares",
        )
    for symbol, f in primitive.signs.items():
        page.enter(
            symbol,
            sympy.sign(em.to_sympy(f), evaluate=False),
            "The sign that picks the root; it can change only where this vanishes.",
            check="by definition",
        )
    if primitive.root is not None:
        _root_line(page, primitive, equation, primitive.root)


def _root_line(page: Derivation, primitive: Primitive, equation: Expr, root: Expr) -> None:
    """The root put into its equation: in normal form where that decides, else in numbers."""
    value = equation.xreplace({RHO: root})
    because = "The root solves the equation."
    squares = {s**2: sympy.Integer(1) for s in primitive.signs}
    spelled = value.replace(sympy.sign, lambda x: x / sympy.Abs(x))
    derived = sympy.expand(sympy.numer(sympy.together(sympy.expand(spelled)))).subs(squares)
    try:
        page.step(value, sympy.Integer(0), because, derived=sympy.expand(derived))
    except CertificationError:
        # Nested roots and absolute values have no normal form here.
        residual = _residual(root, equation, set(primitive.signs))
        if not residual < 1e-25:
            raise
        page.enter(value, sympy.Integer(0), because, check="30 digits at random values")


def _residual(root: Expr, equation: Expr, signs: set[Symbol]) -> float:
    """The largest residual at random values at which the root is real, relative to the terms."""
    rng = random.Random(0)
    letters = equation.atoms(sympy.Indexed) | root.atoms(sympy.Indexed)
    letters |= {s for s in equation.free_symbols | root.free_symbols if s.is_Symbol and s.is_real}
    symbols = sorted(letters - {RHO}, key=str)
    worst, tried = 0.0, 0
    for _ in range(40):
        numbers = {
            s: sympy.Integer(rng.choice([-1, 1]))
            if s in signs
            else sympy.Rational(rng.randint(-200, 200), 97)
            for s in symbols
        }
        number = root.subs(numbers).evalf(40)
        if not (number.is_real and number.is_finite):
            continue
        tried += 1
        terms = [t.subs(numbers).subs(RHO, number).evalf(40) for t in equation.args]
        size = max(abs(t) for t in terms)
        worst = max(worst, float(abs(sum(terms)) / size) if size else 0.0)
    return worst if tried >= 3 else 1.0
