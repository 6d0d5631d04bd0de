r"""Mirror flows as points that are moved: where a change of the mirror variable takes a state.

A mirror flow turns :math:`\dot w = -P\,\nabla L` into :math:`\dot\nu = -s\,\nabla L` for a variable
:math:`\nu = \nabla R(w)` and a rate s > 0 of time (s = 1 for a mirror flow proper). An *orbit*
knows a state, the value w of a state, a square root B of
:math:`P = \partial w / \partial \nu = B B^\top` there, and where a finite change of
:math:`\nu` takes it. Changes add up, so nothing is lost when :math:`\nu` is large and what counts
is its last digits.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from flowsim._errors import InputError
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic.mirror.flows import compiled, moved_numerically
from flowsim.theory.diagonal import diagonal_end_to_end, diagonal_factors
from flowsim.theory.mirror_potentials import mirror_gradient

__all__ = [
    "DiagonalOrbit",
    "EntrywiseOrbit",
    "Orbit",
    "ProductOrbit",
]


class Orbit(Protocol):
    """The states that a change of the mirror variable reaches from a start."""

    start: Any
    #: The mirror flow in one line.
    law: str

    def value(self, state: Any) -> np.ndarray:
        """The end-to-end value, shape (d,)."""
        ...

    def root(self, state: Any) -> np.ndarray:
        """B with P = B Bᵀ, shape (d, D); or its diagonal, shape (d,)."""
        ...

    def reach(self, state: Any, change: np.ndarray) -> float:
        """How many times a change fits into a step that is still moderate."""
        ...

    def move(self, state: Any, change: np.ndarray) -> Any:
        """The state after the mirror variable changed; None outside of the domain."""
        ...

    def stationarity(self, state: Any, change: np.ndarray) -> float:
        """How far the mirror variable of a state is from the start's plus a change, relatively."""
        ...

    def factors(self, state: Any) -> tuple[np.ndarray, ...]:
        """The factors of a state."""
        ...


class DiagonalOrbit:
    r"""The network :math:`u^{\odot N} - v^{\odot N}` of depth N >= 2 from positive factors."""

    law = "d grad Q(w)/dt = -grad L(w), with the mirror potential Q of the diagonal network"

    def __init__(self, u: np.ndarray, v: np.ndarray, depth: int) -> None:
        if not ((u > 0).all() and (v > 0).all()):
            raise InputError(
                f"start has u >= {u.min():g} and v >= {v.min():g}; the mirror potential of a "
                "diagonal network is that of positive factors. A factor at 0 stays there: leave "
                "its coordinate out."
            )
        self.depth, self.u0, self.v0 = depth, u, v
        self.start = (u, v, np.zeros_like(u))

    def value(self, state: Any) -> np.ndarray:
        """The end-to-end value."""
        u, v, nu = state
        # While the factors are near their start their difference is that of nearly equal numbers;
        # later it is not, but the total change has lost the digits that count.
        near = np.maximum(u / self.u0, v / self.v0) < 2
        with np.errstate(all="ignore"):
            small = diagonal_end_to_end(
                self.u0, self.v0, -np.where(near, nu, 0.0), depth=self.depth
            )
            return np.where(near, small, u**self.depth - v**self.depth)

    def root(self, state: Any) -> np.ndarray:
        """B with P = B Bᵀ, or its diagonal."""
        u, v, _ = state
        N = self.depth
        return N * np.hypot(u ** (N - 1), v ** (N - 1))

    def reach(self, state: Any, change: np.ndarray) -> float:
        """How many times a change fits into a moderate step."""
        u, v, _ = state
        N = self.depth
        if N == 2:
            return 2.0 / np.abs(2 * change).max()
        speeds = N * (N - 2) * np.concatenate([u ** (N - 2) * change, -(v ** (N - 2)) * change])
        # Nine tenths of the way to the nearest pole, tenfold away from it.
        return min(0.9 / max(speeds.max(), 1e-300), 10.0 / max(-speeds.min(), 1e-300))

    def move(self, state: Any, change: np.ndarray) -> Any:
        """The state after a change of the mirror variable, or None."""
        u, v, nu = state
        try:
            with np.errstate(all="ignore"):
                u, v = diagonal_factors(u, v, -change, depth=self.depth)
        except InputError:
            return None
        return (u, v, nu + change) if (u > 0).all() and (v > 0).all() else None

    def stationarity(self, state: Any, change: np.ndarray) -> float:
        """The defect of the mirror variable after a change, relatively."""
        nu = mirror_gradient(self.value(state), (self.u0, self.v0), depth=self.depth)
        return _relative(nu - change, nu)

    def factors(self, state: Any) -> tuple[np.ndarray, ...]:
        """The factors of a state."""
        return state[:2]

    def scaled(self, factor: float) -> DiagonalOrbit:
        """The orbit of a start as many times as large."""
        return DiagonalOrbit(self.u0 * factor, self.v0 * factor, self.depth)

    def rescaled(self, state: Any, multipliers: np.ndarray, factor: float) -> Any:
        """The state on the orbit of the scaled start that is as many times as large."""
        u, v, nu = state
        power = factor ** (2 - self.depth)
        return (u * factor, v * factor, nu * power), multipliers * power


class ProductOrbit:
    r"""The product :math:`u \odot v` of two vectors.

    :math:`u \pm v` move by :math:`e^{\pm\nu}`, and :math:`w = \frac14[(u+v)^2 - (u-v)^2]`.
    """

    law = "d grad R(w)/dt = -grad L(w), grad R = arsinh(2 w/c)/2 up to a constant, c = u^2 - v^2"
    depth = 2

    def __init__(self, u: np.ndarray, v: np.ndarray) -> None:
        self.start = (u, v, u + v, u - v)

    def value(self, state: Any) -> np.ndarray:
        """The end-to-end value."""
        u, v, p, q = state
        a, b = np.abs(p), np.abs(q)
        return np.where((a < 4 * b) & (b < 4 * a), u * v, (p - q) * (p + q) / 4)

    def root(self, state: Any) -> np.ndarray:
        """B with P = B Bᵀ, or its diagonal."""
        _, _, p, q = state
        return np.hypot(p, q) / np.sqrt(2.0)

    def reach(self, state: Any, change: np.ndarray) -> float:
        """How many times a change fits into a moderate step."""
        return 2.0 / np.abs(change).max()

    def move(self, state: Any, change: np.ndarray) -> Any:
        """The state after a change of the mirror variable, or None."""
        u, v, p, q = state
        with np.errstate(over="ignore", invalid="ignore"):
            even, odd = np.cosh(change), np.sinh(change)
            new = (
                u * even + v * odd,
                v * even + u * odd,
                p * np.exp(change),
                q * np.exp(-change),
            )
        return new if np.isfinite(new).all() else None

    def stationarity(self, state: Any, change: np.ndarray) -> float:
        """The defect of the mirror variable after a change, relatively."""
        return _distance_from_moved(self, state, change)

    def factors(self, state: Any) -> tuple[np.ndarray, ...]:
        """The factors of a state."""
        _, _, p, q = state
        return (p + q) / 2, (p - q) / 2

    def scaled(self, factor: float) -> ProductOrbit:
        """The orbit of a start as many times as large."""
        return ProductOrbit(self.start[0] * factor, self.start[1] * factor)

    def rescaled(self, state: Any, multipliers: np.ndarray, factor: float) -> Any:
        """The state on the orbit of the scaled start that is as many times as large."""
        return tuple(x * factor for x in state), multipliers


class EntrywiseOrbit:
    r"""Any commuting parametrization: a change of :math:`\mu` is a flow of the gradient fields.

    The state is all factors; the change :math:`\delta` moves them along
    :math:`\sum_i \delta_i \nabla G_i` for the time 1, by integration to round-off.
    """

    law = "d grad R(w)/dt = -grad L(w), grad R* = G(psi(mu)) along the commuting gradient fields"

    def __init__(self, par: Parametrization, theta: tuple[np.ndarray, ...]) -> None:
        self.par = par
        self.start = par.flattened(theta)
        self._value, self._jacobian, self._field = compiled(par)

    def value(self, state: Any) -> np.ndarray:
        """The end-to-end value."""
        return self._value(state)

    def root(self, state: Any) -> np.ndarray:
        """B with P = B Bᵀ, or its diagonal."""
        return self._jacobian(state)

    def reach(self, state: Any, change: np.ndarray) -> float:
        """How many times a change fits into a moderate step."""
        speed = np.linalg.norm(self._field(state, change))
        return float(np.linalg.norm(state) / speed) if speed else np.inf

    def move(self, state: Any, change: np.ndarray) -> Any:
        """The state after a change of the mirror variable, or None."""
        return moved_numerically(self._field, state, change)

    def stationarity(self, state: Any, change: np.ndarray) -> float:
        """The defect of the mirror variable after a change, relatively."""
        return _distance_from_moved(self, state, change)

    def factors(self, state: Any) -> tuple[np.ndarray, ...]:
        """The factors of a state."""
        return self.par.unflattened(state)


def _distance_from_moved(orbit: Orbit, state: Any, change: np.ndarray) -> float:
    """How far the value of a state is from that of the start after a change, relatively."""
    moved = orbit.move(orbit.start, change)
    if moved is None:
        return np.inf
    value = orbit.value(state)
    return _relative(orbit.value(moved) - value, value)


def _relative(difference: np.ndarray, scale: np.ndarray) -> float:
    return float(np.abs(difference).max() / max(np.abs(scale).max(), 1e-300))
