"""Elements of the ring read as SymPy expressions and as functions of floating-point arrays."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.generators import fraction

if TYPE_CHECKING:
    from flowsim.symbolic.algebra.tower import Tower

__all__ = ["numeric", "symbols"]


def symbols(tower: Tower, entries: Sequence[sympy.Expr]) -> tuple[sympy.Expr, ...]:
    """SymPy's reading of every generator, from that of the entries."""
    known = list(entries)

    def read(poly: PolyElement) -> sympy.Expr:
        return sympy.Add(
            *(
                sympy.Mul(
                    sympy.Rational(int(c.numerator), int(c.denominator)),
                    *(known[g] ** e for g, e in enumerate(monomial) if e),
                )
                for monomial, c in poly.terms()
            )
        )

    functions = {
        "exp": sympy.exp,
        "log": sympy.log,
        "tanh": sympy.tanh,
        "sin": sympy.sin,
        "cos": sympy.cos,
        "sign": sympy.sign,
    }
    for g in tower.generators[tower.size :]:
        if g.kind == "constant":
            known.append(g.value)
        elif g.kind == "root":
            known.append(read(g.base) ** sympy.Rational(1, g.order))
        elif g.kind == "inverse":
            known.append(1 / read(g.base))
        else:
            known.append(functions[g.kind](read(g.base)))
    return tuple(known)


def numeric(tower: Tower, poly: PolyElement) -> Callable[[list[np.ndarray]], np.ndarray]:
    """The polynomial as a function of the entries' values, arrays of one shape."""
    needed = tower.needed(poly)
    functions = {
        "inverse": lambda x: 1.0 / x,
        "exp": np.exp,
        "log": lambda x: np.log(np.abs(x)),
        "tanh": np.tanh,
        "sin": np.sin,
        "cos": np.cos,
        "sign": np.sign,
    }

    def evaluate(entries: list[np.ndarray]) -> np.ndarray:
        known: dict[int, np.ndarray] = dict(enumerate(entries))
        with np.errstate(all="ignore"):
            for i in needed:
                g = tower.generators[i]
                if g.kind == "constant":
                    known[i] = np.asarray(float(g.value))
                elif g.kind == "root":
                    known[i] = _sum(g.base, known) ** (1.0 / g.order)
                else:
                    known[i] = functions[g.kind](_sum(g.base, known))
            return _sum(poly, known) + np.zeros(np.shape(entries[0]))

    return evaluate


def _sum(poly: PolyElement, known: dict[int, np.ndarray]) -> np.ndarray:
    """The value of a polynomial in floating point, term by term."""
    total: Any = np.asarray(0.0)
    for monomial, c in poly.items():
        term: Any = float(fraction(c))
        for g, e in enumerate(monomial):
            if e:
                term = term * known[g] ** e
        total = total + term
    return total
