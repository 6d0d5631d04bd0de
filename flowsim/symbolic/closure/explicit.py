"""An explicit form entered for the whole map: its symbols, its domain, and its check in numbers."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAssignmentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalOperand=false
# pyright: reportReturnType=false
from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import sympy
from sympy import Expr, Symbol

from flowsim._errors import FlowsimError
from flowsim.symbolic.algebra.ring import EntryMap
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.pieces import Piece
from flowsim.symbolic.closure.radicals import RHO, Explicit
from flowsim.symbolic.closure.result import SIGN
from flowsim.symbolic.closure.states import states_of
from flowsim.symbolic.closure.tape import Tape
from flowsim.symbolic.closure.verdicts import level_state

__all__ = [
    "entered",
    "explicit_domain",
    "implicit_domain",
    "largest_error",
    "preconditioner_entries",
    "with_values",
]

CHECKED_STATES = 12
LONGEST_SHOWN = 200


def preconditioner_entries(em: EntryMap) -> dict[tuple[int, int], Any]:
    """The entries i <= j of J J^T in the ring of the entries."""
    entries = {}
    for i, row in enumerate(em.jacobian):
        for j in range(i, len(em.values)):
            total = em.ring.zero
            for a, b in zip(row, em.jacobian[j], strict=True):
                if a and b:
                    total = em.tower.lift(total) + em.tower.lift(em.tower.times(a, b))
            entries[i, j] = em.reduce(total)
    return {at: em.tower.lift(p) for at, p in entries.items()}


def entered(
    P: Any, whole: EntryMap, piece: Piece, found: Explicit, w: tuple, c: tuple, constants: dict
) -> dict[Expr, Expr]:
    """Enter a part's preconditioner into P for all its copies; each copy has signs of its own.

    Returns
    -------
    dict
        What the symbols of signs in the part's form are called in that of its first copy.
    """
    em, primitive = piece.level.em, found.primitive
    root = None if primitive is None else primitive.root
    signs = {} if primitive is None else primitive.signs
    own_w = [w[i] for i in piece.values[0]]
    own_c = [c[i] for i in piece.laws[0]]
    called: dict[Expr, Expr] = {}
    for positions, values, laws in zip(piece.entries, piece.values, piece.laws, strict=True):
        renamed = dict(zip(own_w, (w[i] for i in values), strict=True))
        renamed |= dict(zip(own_c, (c[i] for i in laws), strict=True))
        moved = dict(
            zip(em.entry_symbols, (whole.entry_symbols[i] for i in positions), strict=True)
        )
        for symbol, f in signs.items():
            count = sum(str(s).startswith(SIGN) for s in constants)
            renamed[symbol] = Symbol(f"{SIGN}_{count + 1}", real=True)
            constants[renamed[symbol]] = em.to_sympy(f).xreplace(moved)
            called.setdefault(symbol, renamed[symbol])
        for (i, j), entry in found.entries.items():
            full = entry if root is None else entry.xreplace({RHO: root})
            P[values[i], values[j]] = P[values[j], values[i]] = full.xreplace(renamed)
    return called


def explicit_domain(em: EntryMap, found: Explicit, called: dict[Expr, Expr]) -> list[str]:
    """Where an explicit form degenerates, and what its branch is."""
    sentences = []
    primitive = found.primitive
    below = sympy.Integer(1)
    for entry in found.entries.values():
        below = sympy.lcm(below, sympy.denom(sympy.together(entry)))
    if primitive is not None and primitive.root is not None:
        under = sympy.denom(sympy.together(primitive.root))
        below = below if under.is_number else below * under
    for factor, _ in sympy.factor_list(below)[1] if not below.is_number else ():
        shown = "rho" if factor == RHO else str(factor).replace("**", "^")
        what = ""
        if primitive is not None and factor == RHO:
            what = f" = {_text(em.to_sympy(primitive.poly))}"
        sentences.append(f"where {shown}{what} is not 0")
    if primitive is not None:
        for f, sign in primitive.manifest:
            side = ">= 0" if sign > 0 else "<= 0"
            sentences.append(
                f"at every state: the root is the one with {_text(em.to_sympy(f))} {side}"
            )
        for symbol, f in primitive.signs.items():
            shown = _text(em.to_sympy(f))
            sentences.append(f"until {shown} vanishes; {called[symbol]} is its sign")
    return sentences


def implicit_domain(piece: Piece) -> str:
    """What an implicit form presumes."""
    text = (
        "near the start's branch: theta is the solution of phi(theta) = w, h(theta) = c that "
        "continues the start's"
    )
    if piece.missing:
        text += (
            f"; {piece.missing} of the conserved quantities have no formula, so that these "
            "equations do not determine it"
        )
    return text


def _text(e: Expr) -> str:
    shown = str(e).replace("**", "^")
    return shown if len(shown) <= LONGEST_SHOWN else f"its derivative, of {len(e.args)} terms,"


def largest_error(
    level: Level, found: Explicit, w: Sequence[Expr], c: Sequence[Expr], seed: int
) -> float:
    """How far a form differs from J J^T at random states of its part, relative to its size.

    Raises
    ------
    FlowsimError
        If no state was found at which the map and its laws are defined.
    """
    em, primitive = level.em, found.primitive
    signs = {} if primitive is None else primitive.signs
    root = {} if primitive is None else {RHO: primitive.root}
    entries = [e.xreplace(root) for e in found.entries.values()]
    tape = Tape.of(entries, [*w, *c, *signs])
    readings = Tape.of([em.to_sympy(f) for f in signs.values()], em.entry_symbols)
    states = states_of(em, level.laws)
    rng = np.random.default_rng(seed)
    worst, checked = 0.0, 0
    for _ in range(CHECKED_STATES):
        if level.generic:
            x = states.defined(rng.normal(size=em.size))
        else:
            x = level_state(level, states, rng)
        if x is None:
            continue  # a state at which the map or a law is not defined
        with np.errstate(all="ignore"):
            phi, J, h, _ = states(np, x)
            given = np.sign(np.array(readings(np, list(x)), dtype=np.float64))
            stated = np.array(tape(np, [*phi, *h, *given]), dtype=np.float64)
        P = J @ J.T
        if not (np.isfinite(P).all() and np.isfinite(h).all()):
            continue
        checked += 1
        own = np.array([P[at] for at in found.entries])
        error = float(np.abs(stated - own).max() / np.abs(P).max())
        worst = max(worst, error if np.isfinite(error) else np.inf)
    if not checked:
        raise FlowsimError(
            f"none of {CHECKED_STATES} random states lies where the map and what it conserves are "
            "defined, so that the closed form cannot be checked. Pass another seed."
        )
    return worst


def with_values(
    found: Explicit, c: Sequence[Expr], values: Sequence[Fraction | None]
) -> Explicit | None:
    """A form with numbers for some conserved values; None where it divides by 0 then."""
    numbers = {s: sympy.Rational(v) for s, v in zip(c, values, strict=True) if v is not None}
    entries = {at: sympy.cancel(e.subs(numbers)) for at, e in found.entries.items()}
    primitive = found.primitive
    if primitive is not None and primitive.root is not None:
        root = primitive.root.subs(numbers)
        if root.has(sympy.zoo, sympy.nan, sympy.oo):
            return None
        primitive = dataclasses.replace(primitive, root=root)
    if any(e.has(sympy.zoo, sympy.nan, sympy.oo) for e in entries.values()):
        return None
    return dataclasses.replace(found, entries=entries, primitive=primitive)
