"""A map and its conserved quantities in floating point: values, slopes, and Newton's method."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import sympy
from sympy.polys.rings import PolyElement

from flowsim.symbolic.algebra.modular import rational
from flowsim.symbolic.algebra.packed import BITS, MASK, PackedField
from flowsim.symbolic.algebra.ring import EntryMap
from flowsim.symbolic.closure.tape import Tape

__all__ = ["NumericField", "States", "absolute_logs", "states_of", "whole_states"]

MOST_NEWTON = 60
#: Relative size of singular values that a step of least norm takes for 0.
RCOND = 1e-11
#: Of central differences.
STEP = 1e-5


@dataclass(frozen=True)
class States:
    """Functions of the entries x of all factors, a vector of length D.

    Attributes
    ----------
    tape : Tape
        Evaluates the m values, their m * D derivatives, the k laws and their k * D derivatives.
    values, laws, size : int
        m, k and D.
    """

    tape: Tape
    values: int
    laws: int
    size: int

    def __call__(self, xp: Any, x: Any) -> tuple[Any, Any, Any, Any]:
        """φ(x), J(x), h(x), dh(x), by the operations of ``xp``: NumPy or JAX's NumPy."""
        m, k, D = self.values, self.laws, self.size
        flat = self.tape(xp, [x[i] for i in range(D)])
        zero = 0.0 * x[0]
        numbers = np.array(flat) if xp is np else xp.stack([zero + value for value in flat])

        def block(start: int, *shape: int) -> Any:
            return numbers[start : start + int(np.prod(shape))].reshape(shape)

        return (
            block(0, m),
            block(m, m, D),
            block(m + m * D, k),
            block(m + m * D + k, k, D),
        )

    def preconditioner(self, x: np.ndarray) -> np.ndarray:
        """P = J J^T at x."""
        J = self(np, x)[1]
        return J @ J.T

    def changes(self, x: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """The derivatives of P at x along columns, as columns, by central differences."""
        return np.stack(
            [
                (self.preconditioner(x + STEP * v) - self.preconditioner(x - STEP * v)).ravel()
                / (2 * STEP)
                for v in directions.T
            ],
            axis=1,
        )

    def defined(self, x: np.ndarray) -> np.ndarray | None:
        """x, or else abs(x) + 1/2, if the map, its laws and their slopes are finite there."""
        with np.errstate(all="ignore"):
            for state in (x, np.abs(x) + 0.5):
                if all(np.isfinite(part).all() for part in self(np, state)):
                    return state
        return None

    def equations(
        self, xp: Any, x: Any, w: Any = None, c: Any = None, which: Sequence[int] | None = None
    ) -> tuple[Any, Any]:
        """What is missing at x to φ = w and h = c (those laws), and the slopes of φ and h.

        At least one of w and c is given.
        """
        phi, J, h, dh = self(xp, x)
        if which is not None:
            h, dh = h[list(which)], dh[list(which)]
        parts = [] if w is None else [(w - phi, J)]
        parts += [] if c is None else [(c - h, dh)]
        missing, slopes = zip(*parts, strict=True)
        return xp.concatenate(missing), xp.concatenate(slopes)

    def step(
        self, xp: Any, x: Any, w: Any = None, c: Any = None, which: Sequence[int] | None = None
    ) -> Any:
        """The Gauss-Newton step of least norm towards φ = w, h = c; NaN where it is none."""
        r, A = self.equations(xp, x, w, c, which)
        if xp is np and not (np.isfinite(r).all() and np.isfinite(A).all()):
            return np.full_like(x, np.nan)
        return xp.linalg.lstsq(A, r, rcond=RCOND)[0]

    def solved(
        self,
        x: np.ndarray,
        *,
        w: np.ndarray | None = None,
        c: np.ndarray | None = None,
        which: Sequence[int] | None = None,
    ) -> np.ndarray | None:
        """The state near x with these values, by Gauss-Newton steps of least norm; None if none."""
        before = x
        with np.errstate(all="ignore"):
            for _ in range(MOST_NEWTON):
                before, step = x, self.step(np, x, w, c, which)
                x = x + step
                # A step that is not a number ends it too: what is missing is none then.
                if not np.abs(step).max() > 4e-16 * (1.0 + np.abs(x).max()):
                    break
            scale = 1.0 + np.abs(self.equations(np, before, w, c, which)[0]).max()
            error = np.abs(self.equations(np, x, w, c, which)[0]).max()
        return x if error <= 1e-12 * scale else None


def states_of(em: EntryMap, laws: Sequence[PolyElement]) -> States:
    """Compile a map and its laws; logarithms in laws are those of absolute values."""
    return _compiled(
        [em.to_sympy(value) for value in em.values],
        [em.to_sympy(x) for row in em.jacobian for x in row],
        [em.to_sympy(law) for law in laws],
        [em.to_sympy(x) for law in laws for x in em.gradient(law)],
        em.entry_symbols,
    )


def whole_states(
    values: Sequence[sympy.Expr], laws: Sequence[sympy.Expr], entries: Sequence[sympy.Expr]
) -> States:
    """Compile a map and its laws from expressions in the entries, read as by :func:`states_of`."""
    return _compiled(
        values,
        [sympy.diff(f, x) for f in values for x in entries],
        laws,
        [sympy.diff(h, x) for h in laws for x in entries],
        entries,
    )


def _compiled(
    values: Sequence[sympy.Expr],
    slopes: Sequence[sympy.Expr],
    laws: Sequence[sympy.Expr],
    law_slopes: Sequence[sympy.Expr],
    entries: Sequence[sympy.Expr],
) -> States:
    # The map keeps its own domain: only a law is as well conserved with |.| in its logarithms.
    read = [*values, *slopes, *(absolute_logs(e) for e in (*laws, *law_slopes))]
    return States(Tape.of(read, entries), len(values), len(laws), len(entries))


def absolute_logs(e: sympy.Expr) -> sympy.Expr:
    """An expression with logarithms of absolute values, as laws are read."""
    return e.replace(sympy.log, lambda a: sympy.log(sympy.Abs(a)))


class NumericField:
    """A vector field with coefficients modulo the prime, evaluated in floating point."""

    def __init__(self, em: EntryMap, field: PackedField) -> None:
        generators = sorted({g for poly in field.values() for key in poly for g in _used(key)})
        self.size = em.size
        self.tape = Tape.of([em.symbols[g] for g in generators], em.entry_symbols)
        at = {g: k for k, g in enumerate(generators)}
        components, numbers, powers = [], [], []
        for i, poly in field.items():
            for key, residue in poly.items():
                c = rational(residue)
                if c is None:
                    raise ValueError("a coefficient of a bracket is no small fraction")
                components.append(i)
                numbers.append(float(c))
                row = [0] * len(generators)
                for g, e in _used(key).items():
                    row[at[g]] = e
                powers.append(row)
        self.components = np.array(components)
        self.numbers = np.array(numbers)
        self.powers = np.array(powers).reshape(len(numbers), len(generators))

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """The field at x."""
        known = np.array(self.tape(np, list(x)), dtype=np.float64)
        terms = self.numbers * np.prod(known**self.powers, axis=1)
        return np.bincount(self.components, weights=terms, minlength=self.size)


def _used(key: int) -> dict[int, int]:
    found, g = {}, 0
    while key:
        if key & MASK:
            found[g] = key & MASK
        key >>= BITS
        g += 1
    return found
