"""Why a run ended: reading a blow-up, a broken field or a stall off the last accepted states."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flowsim._result import Reason, Result
from flowsim._types import FloatArray

_GROWTH_OF_BLOW_UP = 50.0
_NEAR_OVERFLOW = 1e140


class Sample(NamedTuple):
    """A state with its velocity, flat, at a time."""

    t: float
    y: FloatArray
    velocity: FloatArray


def diagnose_stall(first: Sample, last: Sample, span: float) -> Result:
    """Say why steps have become too small to advance time at ``last``.

    Near a blow-up the solution grows like (t* - t)^-a, so that its own time scale
    |y|/|y'| = (t* - t)/a has gone to zero with it, and y' points outward.
    """
    size, start = float(np.linalg.norm(last.y)), float(np.linalg.norm(first.y))
    where = f"It stopped at t = {last.t:.10g}"
    if not np.isfinite(last.velocity).all():
        if size > _NEAR_OVERFLOW:
            return Result(Reason.overflow, f"{where}, where the state has norm {size:.3g}.")
        return Result(Reason.nonfinite_field, f"{where}, at a state of norm {size:.6g}.")
    speed = float(np.linalg.norm(last.velocity))
    outward = float(np.dot(last.y / max(size, 1e-300), last.velocity / max(speed, 1e-300))) > 0
    time_scale = size / speed if speed > 0 else np.inf
    grown = size > _GROWTH_OF_BLOW_UP * max(start, 1e-300)
    if outward and grown and time_scale < 1e-6 * span:
        t_star = last.t + _remaining(first, last)
        return Result(
            Reason.blow_up,
            f"{where}, where the state has norm {size:.3g}; its growth puts the blow-up at "
            f"t* = {t_star:.8g}.",
            blow_up_time=t_star,
        )
    if size > _NEAR_OVERFLOW:
        return Result(Reason.overflow, f"{where}, where the state has norm {size:.3g}.")
    return Result(Reason.stagnation, f"{where}, where |y'| = {speed:.3g} and |y| = {size:.3g}.")


def _remaining(first: Sample, last: Sample) -> float:
    """t* - t at ``last``, from |y|' = c|y|^q: (t* - t) = |y| / ((q - 1)|y|')."""
    radial = [
        (np.log(np.linalg.norm(s.y)), np.log(np.dot(s.y, s.velocity) / np.linalg.norm(s.y)))
        for s in (first, last)
        if np.linalg.norm(s.y) > 0 and np.dot(s.y, s.velocity) > 0
    ]
    size = np.linalg.norm(last.y)
    scale = size / (np.dot(last.y, last.velocity) / size)
    q = 2.0
    if len(radial) == 2 and radial[1][0] > radial[0][0]:
        q = (radial[1][1] - radial[0][1]) / (radial[1][0] - radial[0][0])
    return float(scale / max(q - 1.0, 0.1))
