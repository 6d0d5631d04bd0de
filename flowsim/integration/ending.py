"""Why a run ended: reading a blow-up, a broken field or a stall off the last accepted states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flowsim._result import Reason, Result
from flowsim._types import FloatArray

_GROWTH_OF_BLOW_UP = 50.0
_LEAST_POWER = 1.05
_NEAR_OVERFLOW = 1e140


class Sample(NamedTuple):
    """A state with its velocity, flat, at a time."""

    t: float
    y: FloatArray
    velocity: FloatArray


def diagnose_stall(first: Sample, last: Sample, *, nonfinite_ahead: bool = False) -> Result:
    """Say why steps have become too small to advance time at ``last``.

    Near a blow-up the solution grows like (t* - t)^-a, so that its own time scale
    |y|/|y'| = (t* - t)/a has gone to zero with it, and y' points outward. Elsewhere a field that
    is not finite just ahead explains the stall; what is left is a field that is not smooth.
    """
    size, start = _norm(last.y), _norm(first.y)
    where = f"It stopped at t = {last.t:.10g}"
    if not np.isfinite(last.velocity).all():
        if size > _NEAR_OVERFLOW:
            return Result(Reason.overflow, f"{where}, where the state has norm {size:.3g}.")
        return Result(Reason.nonfinite_field, f"{where}, at a state of norm {size:.6g}.")
    speed = _norm(last.velocity)
    outward = float(np.dot(last.y / max(size, 1e-300), last.velocity / max(speed, 1e-300))) > 0
    time_scale = size / speed if speed > 0 else np.inf
    grown = size > _GROWTH_OF_BLOW_UP * max(start, 1e-300)
    collapsed = time_scale < 1e-6 * (last.t - first.t)
    # Growth like e^t has a short time scale too on a long run, but one that does not shrink.
    power = _growth_power(first, last)
    if outward and grown and collapsed and power > _LEAST_POWER:
        t_star = last.t + time_scale / (power - 1.0)
        return Result(
            Reason.blow_up,
            f"{where}, where the state has norm {size:.3g}; its growth puts the blow-up at "
            f"t* = {t_star:.8g}.",
            blow_up_time=t_star,
        )
    if size > _NEAR_OVERFLOW:
        return Result(Reason.overflow, f"{where}, where the state has norm {size:.3g}.")
    if nonfinite_ahead:
        return Result(
            Reason.nonfinite_field, f"{where}, at a state of norm {size:.6g}, just before it."
        )
    return Result(Reason.stagnation, f"{where}, where |y'| = {speed:.3g} and |y| = {size:.3g}.")


def _norm(v: FloatArray) -> float:
    """The Euclidean norm, without overflow."""
    largest = float(np.max(np.abs(v), initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(v / largest))


def _growth_power(first: Sample, last: Sample) -> float:
    """The q of |y|' = c|y|^q through both samples; above 1 the solution ends in finite time.

    Then t* - t = |y|/((q - 1)|y|'). Where the first says nothing, 2, as for y' = y^2.
    """
    sizes = [_norm(s.y) for s in (first, last)]
    radial = [
        float(np.dot(s.y / size, s.velocity)) if size > 0 else 0.0
        for s, size in zip((first, last), sizes, strict=True)
    ]
    if min(radial) > 0 and sizes[1] > sizes[0] > 0:
        return float(np.log(radial[1] / radial[0]) / np.log(sizes[1] / sizes[0]))
    return 2.0
