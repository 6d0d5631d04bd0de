r"""A closed curve as smooth stretches that have derivatives, whatever it was given as.

A curve with a derivative of its own is taken at its word.  Any other is interpolated at Chebyshev
points; where 33 of them do not give it to 13 digits the stretch is halved, so that a corner ends up
between two stretches and the derivative is never taken across it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.polynomial import chebyshev

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._types import ArrayLike, FloatArray
from flowsim.instruments.curves import MEETING, Loop

__all__ = ["Leg", "smooth_legs"]

_NODES = 33  # of a Chebyshev interpolant of a curve without a derivative
_RESOLVED = 1e-13
_SMALLEST_LEG = 1e-13
_MOST_LEGS = 4000
_JUMP = 1e-3


@dataclass(frozen=True, eq=False)
class Leg:
    """A smooth stretch of the curve over [a, b], with its derivative."""

    curve: Callable[[float], FloatArray]
    derivative: Callable[[float], FloatArray]
    a: float
    b: float


def smooth_legs(curve: Callable[[float], Any], breaks: ArrayLike | None) -> list[Leg]:
    """Part a curve into smooth stretches with derivatives."""
    if isinstance(curve, Loop):
        cuts = _cuts(breaks)
        n = len(curve.pieces)
        legs = []
        for i, piece in enumerate(curve.pieces):
            inside = [c * n - i for c in cuts if 0 < c * n - i < 1]
            legs += _smooth(piece, [0.0, *inside, 1.0])
        return legs
    first, last = _point(curve, 0.0), _point(curve, 1.0)
    size = max(float(np.max(np.abs(_point(curve, s)))) for s in np.linspace(0, 1, 17))
    gap = float(np.max(np.abs(first - last)))
    if gap > MEETING * size:
        raise InputError(
            f"the curve does not close: it begins at {first.tolist()} and ends at "
            f"{last.tolist()}, {gap:.3g} apart. Append the way back."
        )
    legs = _smooth(curve, [0.0, *_cuts(breaks), 1.0])
    # Where stretches meet at a jump, each of them is smooth up to it.
    for before, after in pairwise([*legs, legs[0]]):
        jump = float(np.max(np.abs(after.curve(after.a) - before.curve(before.b))))
        if jump > _JUMP * size:
            raise InputError(
                f"the curve jumps by {jump:.3g} at s = {before.b:.6g}: it is not closed, for it is "
                "not connected."
            )
    return legs


def _cuts(breaks: ArrayLike | None) -> list[float]:
    if breaks is None:
        return []
    cuts = np.unique(check_array("breaks", breaks, ndim=1))
    if cuts.size and (cuts[0] <= 0 or cuts[-1] >= 1):
        raise InputError(
            f"breaks runs from {cuts[0]:g} to {cuts[-1]:g}; corners lie within (0, 1)."
        )
    return cuts.tolist()


def _point(curve: Callable[[float], Any], s: float) -> FloatArray:
    point = np.asarray(curve(s), np.float64)
    if point.ndim not in (1, 2) or not np.isfinite(point).all():
        raise InputError(
            f"curve({s:.6g}) is {point.tolist()}; points have shape (d,) or (k, d) and are finite."
        )
    return point


def _smooth(curve: Callable[[float], Any], cuts: Sequence[float]) -> list[Leg]:
    """The stretches between cuts; interpolated where the curve has no derivative of its own."""
    stretches = list(pairwise(cuts))
    slope: Callable[[float], Any] | None = getattr(curve, "derivative", None)
    if slope is not None:

        def derivative(s: float) -> FloatArray:
            return np.asarray(slope(s), np.float64)

        return [Leg(lambda s: _point(curve, s), derivative, a, b) for a, b in stretches]
    size = max(float(np.max(np.abs(_point(curve, s)))) for s in np.linspace(cuts[0], cuts[-1], 17))
    waiting, legs = stretches[::-1], []
    while waiting:
        a, b = waiting.pop()
        leg = _interpolated(curve, a, b, size)
        if leg is not None:
            legs.append(leg)
        elif b - a > _SMALLEST_LEG:
            middle = (a + b) / 2
            waiting += [(middle, b), (a, middle)]
        else:
            legs.append(_corner(curve, a, b, size))
        if len(legs) > _MOST_LEGS:
            raise InputError(
                f"curve is too rough to be followed near s = {a:.6g}. Give it a `derivative`, or "
                "make a Loop of smooth pieces; its points must be float64."
            )
    return legs


def _interpolated(curve: Callable[[float], Any], a: float, b: float, size: float) -> Leg | None:
    """The polynomial through Chebyshev points, or None where it is not the curve to 13 digits."""
    angles = np.pi * (np.arange(_NODES) + 0.5) / _NODES
    nodes = (a + b) / 2 + (b - a) / 2 * np.cos(angles)
    values = np.array([_point(curve, s) for s in nodes])
    shape = values.shape[1:]
    cosines = np.cos(np.outer(np.arange(_NODES), angles))
    coefficients = 2 / _NODES * cosines @ values.reshape(_NODES, -1)
    coefficients[0] /= 2
    if np.max(np.abs(coefficients[-4:])) > _RESOLVED * size:
        return None
    slopes = chebyshev.chebder(coefficients) * 2 / (b - a)

    def at(table: FloatArray, s: float) -> FloatArray:
        return np.asarray(chebyshev.chebval((2 * s - a - b) / (b - a), table)).reshape(shape)

    return Leg(lambda s: at(coefficients, s), lambda s: at(slopes, s), a, b)


def _corner(curve: Callable[[float], Any], a: float, b: float, size: float) -> Leg:
    """What is left around a corner, too short to be halved again: the chord."""
    start, stop = _point(curve, a), _point(curve, b)
    gap = float(np.max(np.abs(stop - start)))
    if gap > _JUMP * size:
        raise InputError(
            f"the curve jumps by {gap:.3g} at s = {a:.6g}: it is not closed, for it is not "
            "connected."
        )
    speed = (stop - start) / (b - a)
    return Leg(lambda s: start + (s - a) * speed, lambda s: speed, a, b)
