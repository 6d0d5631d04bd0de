r"""Two states that w and the conserved quantities do not tell apart, and that move differently.

From a random state the search follows the leaf, in a direction that keeps w and changes
:math:`P = J J^\top`, and then corrects by Newton's method.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.integrate import solve_ivp

from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic.closure.leaf import leaf_fields
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.states import NumericField, States, states_of

__all__ = ["Witness", "find_state_pair", "make_witness"]

MOST_STARTS = 12
LONGEST = 4.0
VISIBLE = 0.05
PLAIN = 0.25
NULL = 1e-9
# How far Newton's method may correct a state of the path.
NEAR = 1e-2


@dataclass(frozen=True, eq=False)
class Witness:
    r"""Two states on one leaf with the same w whose end-to-end velocities differ.

    Attributes
    ----------
    first, second : tuple of numpy.ndarray
        The two states, arrays of the factors' shapes.
    w : tuple of numpy.ndarray
        Their end-to-end values, the same to 1e-12.
    conserved : tuple of numpy.ndarray
        The values of the known laws, in the order of the closure's constants, the same to 1e-12.
    preconditioners : tuple of numpy.ndarray
        :math:`P = J J^\top` at either, shape (m, m).
    gradient : numpy.ndarray
        A gradient g of the loss, shape (m,).
    """

    names: tuple[str, ...]
    first: tuple[np.ndarray, ...]
    second: tuple[np.ndarray, ...]
    w: tuple[np.ndarray, np.ndarray]
    conserved: tuple[np.ndarray, np.ndarray]
    preconditioners: tuple[np.ndarray, np.ndarray]
    gradient: np.ndarray

    @property
    def velocities(self) -> tuple[np.ndarray, np.ndarray]:
        """The velocities -P g of w at the two states."""
        return tuple(-P @ self.gradient for P in self.preconditioners)  # type: ignore[return-value]

    @property
    def difference(self) -> float:
        """How far the velocities differ, relative to the larger."""
        a, b = self.velocities
        return float(np.linalg.norm(a - b) / max(np.linalg.norm(a), np.linalg.norm(b)))

    def __str__(self) -> str:
        a, b = self.velocities
        lines = ["two states with the same w and the same conserved values"]
        for label, state in (("first", self.first), ("second", self.second)):
            shown = "; ".join(
                f"{name} = {_short(x)}" for name, x in zip(self.names, state, strict=True)
            )
            lines.append(f"  {label:<7}{shown}")
        lines.append(f"  w      = {_short(self.w[0])}")
        if self.conserved[0].size:
            lines.append(f"  c      = {_short(self.conserved[0])}")
        lines.append(f"  for the gradient g = {_short(self.gradient)} they move w by")
        lines.append(f"  -P g   = {_short(a)}  and  {_short(b)}")
        return "\n".join(lines)


def find_state_pair(level: Level, seed: int) -> tuple[np.ndarray, np.ndarray] | None:
    """Two states of the entries of one part of a map, or None where the search found none."""
    em = level.em
    rng = np.random.default_rng(seed)
    point = level.point(rng)
    if point is None:
        point = em.random_point(rng)
    fields = [NumericField(em, field) for field in leaf_fields(em, point)]
    states = states_of(em, level.laws)
    fixed = [k for k, v in enumerate(level.values) if v is not None]
    target = np.array([float(v) for v in level.values if v is not None])
    for _ in range(MOST_STARTS):
        x = np.round(rng.uniform(0.5, 2.0, em.size) * rng.choice([-1.0, 1.0], em.size), 1)
        start = states.defined(x)
        if start is not None and fixed:
            start = states.solved(start, c=target, which=fixed)
        if start is None:
            continue
        second = _moved(states, fields, start)
        if second is not None:
            return start, second
    return None


def _moved(states: States, fields: list[NumericField], start: np.ndarray) -> np.ndarray | None:
    phi, _, h, _ = states(np, start)
    P = states.preconditioner(start)
    if not (np.isfinite(P).all() and np.isfinite(h).all()):
        return None

    def still(x: np.ndarray) -> np.ndarray:
        """An orthonormal basis of the directions on the leaf that keep w, as columns."""
        B = np.linalg.qr(np.stack([f(x) for f in fields], axis=1))[0]
        J = states(np, x)[1]
        _, s, Vt = np.linalg.svd(J @ B)
        rank = int((s > NULL * s[0]).sum())
        return B @ Vt[rank:].T

    basis = still(start)
    if not basis.shape[1]:
        return None
    direction = basis @ np.linalg.svd(states.changes(start, basis))[2][0]

    def velocity(_t: float, x: np.ndarray) -> np.ndarray:
        Q = still(x)
        return Q @ (Q.T @ direction)

    def path() -> Iterator[np.ndarray]:
        if states.laws != states.size - len(fields):  # without all laws only the path keeps to it
            yield from solve_ivp(
                velocity,
                (0.0, LONGEST),
                start,
                method="DOP853",
                rtol=1e-13,
                atol=1e-14,
                t_eval=np.linspace(0.2, LONGEST, 20),
            ).y.T
            return
        x, h = start, 0.1
        for _ in range(round(LONGEST / h)):
            a = velocity(0.0, x)
            b = velocity(0.0, x + h / 2 * a)
            x = x + h * velocity(0.0, x + h / 2 * b)
            yield x

    def change(x: np.ndarray) -> float:
        return float(np.linalg.norm(states.preconditioner(x) - P) / np.linalg.norm(P))

    # The nearest state at which P has plainly changed, else the one at which it has most.
    best: np.ndarray | None = None
    for x in path():
        corrected = states.solved(x, w=phi, c=h)
        if corrected is None or np.abs(corrected - x).max() > NEAR:
            continue
        if change(corrected) > max(VISIBLE, 0.0 if best is None else change(best)):
            best = corrected
        if best is not None and change(best) > PLAIN:
            break
    return best


def make_witness(
    par: Parametrization,
    whole: States,
    pair: tuple[np.ndarray, np.ndarray],
) -> Witness:
    """The witness of two states, vectors of all entries in order."""
    found: list[Any] = [whole(np, x) for x in pair]
    P, Q = (J @ J.T for _, J, _, _ in found)
    # The gradient, a unit vector, for which the velocities differ most.
    i = int(np.argmax(np.abs(P - Q).max(axis=1)))
    g = np.zeros(len(P))
    g[i] = 1.0
    return Witness(
        par.names,
        par.unflattened(pair[0]),
        par.unflattened(pair[1]),
        (found[0][0], found[1][0]),
        (found[0][2], found[1][2]),
        (P, Q),
        g,
    )


def _short(x: np.ndarray) -> str:
    flat = np.array2string(
        np.asarray(x) + 0.0, precision=4, suppress_small=True, separator=", ", max_line_width=10**6
    )
    return " ".join(flat.split()).replace("[ ", "[")
