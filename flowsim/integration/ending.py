r"""Why a run ended: reading a blow-up, a broken field or a stall off the last accepted states.

A blow-up is told by its growth. With t* the time at which the solution leaves every bound, powers
y' = y^p, exponentials y' = e^y, tangents and matrix Riccati equations all end with

.. math:: |\dot y| \propto (t^* - t)^{-b}, \qquad b \ge 1,

(b = p/(p-1) for a power, 1 for the exponential, whose solution grows as a logarithm only), so that
d log|y'|/dt = b/(t* - t): its reciprocal falls to zero linearly. With b < 1 the speed is
integrable: the velocity leaves every bound, the solution does not. Growth like e^{ct} has no t*: b
and t* run off together.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from flowsim._result import Reason, Result
from flowsim._types import FloatArray

_GROWTH_OF_BLOW_UP = 50.0
_LEAST_POWER = 1.05
_NEAR_OVERFLOW = 1e140
_KEPT = 64  # accepted steps kept of a run's history
_FEWEST = 6  # steps through which a model of three numbers is fitted
_LEAST_EXPONENT, _LARGEST_EXPONENT = 0.93, 25.0  # of (t* - t)^-b
_LARGEST_MISFIT = 0.03  # of log|y'|, root mean square, as a fraction of its range
_NARROWING = 3.0  # (t* - t) falls at least so much within the steps of a fit
# No growth of a bounded flow goes so far: in the time left, or in speed.
_CERTAIN_NARROWING, _CERTAIN_GROWTH = 1e12, 1e24
_CLEAR_NARROWING = 100.0  # within a fit; growth like e^(e^t) passes for a power over a stretch
_ROUNDED = 16.0  # a time step of fewer units in the last place is mostly rounding


class Sample(NamedTuple):
    """A state with its velocity, flat, at a time."""

    t: float
    y: FloatArray
    velocity: FloatArray


class History(NamedTuple):
    """Accepted steps of a run: times, norms of the state, norms of the velocity; each (n,).

    The speed may be |y'| at the end of a step, or its mean over the step. The last ~32 steps will
    do where steps are long; a run that keeps some of all its steps, by ``extended``, is told to
    blow up whatever its steps, and before they underflow.
    """

    ts: FloatArray
    sizes: FloatArray
    speeds: FloatArray

    @classmethod
    def empty(cls) -> History:
        """The history of a run that has not begun."""
        return cls(np.empty(0), np.empty(0), np.empty(0))

    def extended(self, ts: FloatArray, sizes: FloatArray, speeds: FloatArray) -> History:
        """The history with later steps, thinned to at most 64 steps even in log|y'|.

        Thinned by the distance travelled in log|y'|, it covers the whole growth of a blow-up
        whatever the solver's step is. The first and the last step are kept. Steps that it holds
        already are passed over, and steps in between may be missing.
        """
        new = np.asarray(ts, float) > (self.ts[-1] if self.ts.size else -np.inf)
        parts = zip(self, (ts, sizes, speeds), strict=True)
        joined = [np.concatenate([old, np.asarray(part, float)[new]]) for old, part in parts]
        if joined[0].size > _KEPT:
            with np.errstate(divide="ignore", invalid="ignore"):
                travelled = np.abs(np.diff(np.log(joined[2]), prepend=np.log(joined[2][0])))
            # A little for the step itself, so that a solution at rest is thinned evenly.
            way = np.cumsum(np.where(np.isfinite(travelled), travelled, 0.0) + 1e-9)
            marks = np.linspace(way[0], way[-1], _KEPT)
            kept = np.unique(np.searchsorted(way, marks, side="left").clip(0, way.size - 1))
            joined = [part[kept] for part in joined]
        return History(*joined)


class BlowUp(NamedTuple):
    """A fit of |y'| = c (t* - t)^-b: t*, b, how much t* - t fell, and the misfit of log|y'|."""

    time: float
    exponent: float
    narrowing: float
    misfit: float


def fit_blow_up(history: History) -> BlowUp | None:
    r"""Fit :math:`|\dot y| = c\,(t^* - t)^{-b}` to the end of a history, where it fits.

    For each t* on a logarithmic grid, refined, log|y'| is a linear function of log(t* - t); the
    best line in the mean square is taken. Steps are dropped from the front while that improves the
    fit, since growth is a power law at its end only. None unless b >= 1 (with some room), t* - t
    falls at least threefold within the steps fitted, and the line passes within 3 % of the range.

    Parameters
    ----------
    history
        Accepted steps, in order.

    Returns
    -------
    BlowUp or None

    Examples
    --------
    >>> t = 1 - 0.8 ** np.arange(32)                       # y' = y^2, y(0) = 1: y = 1/(1 - t)
    >>> fit = fit_blow_up(History(t, 1 / (1 - t), 1 / (1 - t) ** 2))
    >>> round(fit.time, 9), round(fit.exponent, 6)
    (1.0, 2.0)
    """
    ts, speeds = _resolved(history)
    while ts.size >= _FEWEST:
        fit = _fit(ts, np.log(speeds))
        if _convincing(fit):
            return fit
        ts, speeds = ts[ts.size // 3 or 1 :], speeds[speeds.size // 3 or 1 :]
    return None


def looks_like_blow_up(history: History, t_end: float) -> bool:
    """Whether a run that still advances is certain to blow up before ``t_end``.

    Certain is a fit in which the time left, t* - t, has fallen by twelve orders of magnitude since
    the first step of the history, or |y'| has grown by twenty-four. Less will not do: a depth-three
    network leaves a start of scale 1e-9 like a blow-up, for nine orders of magnitude in t* - t and
    eighteen in |y'|, and then settles. It takes a history of the whole run, kept by
    :meth:`History.extended`; of the last steps alone the answer is nearly always no.
    """
    if history.ts.size < _FEWEST or not history.speeds[-1] > 1e6 * history.speeds[0]:
        return False
    fit = fit_blow_up(history)
    if fit is None or not fit.time < t_end or fit.narrowing < _CLEAR_NARROWING:
        return False
    left = max(fit.time - history.ts[-1], np.spacing(abs(fit.time)))
    narrowing = (fit.time - history.ts[0]) / left
    with np.errstate(over="ignore", divide="ignore"):
        growth = history.speeds[-1] / history.speeds[0]
    return bool(narrowing > _CERTAIN_NARROWING or growth > _CERTAIN_GROWTH)


def diagnose_stall(
    first: Sample,
    last: Sample,
    *,
    nonfinite_ahead: bool = False,
    history: History | None = None,
) -> Result:
    """Say why steps have become too small to advance time at ``last``.

    Parameters
    ----------
    first, last
        The start of the run, and the last accepted state.
    nonfinite_ahead
        Whether the field is not finite just ahead of it.
    history
        Accepted steps up to ``last``. A blow-up is then named where |y'| = c (t* - t)^-b with
        b >= 1 fits them and t* is where the steps ended. Without it, or where its steps cover too
        little of the growth, that is read off the two samples, which misses growth as slow as that
        of y' = e^y.

    Returns
    -------
    Result
        With ``Reason.blow_up``, ``overflow``, ``nonfinite_field`` or ``stagnation``.
    """
    size = _norm(last.y)
    where = f"It stopped at t = {last.t:.10g}"
    fit = None if history is None else fit_blow_up(history)
    elapsed = last.t - first.t
    finite = np.isfinite(last.velocity).all()
    if fit is not None and fit.time - last.t < 1e-3 * elapsed:
        return _blow_up(
            float(max(fit.time, last.t)), where, size, f" like (t* - t)^-{fit.exponent:.3g}"
        )
    if not finite:
        if size > _NEAR_OVERFLOW:
            return Result(Reason.overflow, f"{where}, where the state has norm {size:.3g}.")
        return Result(Reason.nonfinite_field, f"{where}, at a state of norm {size:.6g}.")
    speed = _norm(last.velocity)
    t_star = _blow_up_of_two(first, last, size, speed)
    if t_star is not None:
        return _blow_up(t_star, where, size, "")
    if size > _NEAR_OVERFLOW:
        return Result(Reason.overflow, f"{where}, where the state has norm {size:.3g}.")
    if nonfinite_ahead:
        return Result(
            Reason.nonfinite_field, f"{where}, at a state of norm {size:.6g}, just before it."
        )
    return Result(Reason.stagnation, f"{where}, where |y'| = {speed:.3g} and |y| = {size:.3g}.")


def _blow_up(t_star: float, where: str, size: float, law: str) -> Result:
    return Result(
        Reason.blow_up,
        f"{where}, where the state has norm {size:.3g}; its velocity grows{law}, which puts the "
        f"blow-up at t* = {t_star:.8g}.",
        blow_up_time=t_star,
    )


def _resolved(history: History) -> tuple[FloatArray, FloatArray]:
    """Times and speeds of the steps that are finite, moving, and longer than rounding in time."""
    ts, speeds = np.asarray(history.ts, float), np.asarray(history.speeds, float)
    steps = np.diff(ts, prepend=-np.inf)
    kept = np.isfinite(speeds) & (speeds > 0) & (steps > _ROUNDED * np.spacing(np.abs(ts)))
    return ts[kept], speeds[kept]


def _convincing(fit: BlowUp) -> bool:
    return (
        fit.narrowing >= _NARROWING
        and _LEAST_EXPONENT <= fit.exponent <= _LARGEST_EXPONENT
        and fit.misfit <= _LARGEST_MISFIT
    )


def _fit(ts: FloatArray, logs: FloatArray) -> BlowUp:
    """The best line of log|y'| against log(t* - t), over t*."""
    span = float(ts[-1] - ts[0])
    least = max(np.spacing(abs(ts[-1])), 1e-17 * span)
    low, high = np.log(least / span), np.log(1e3)
    best = (np.inf, 0.0, 0.0)
    for _ in range(4):
        grid = np.linspace(low, high, 65)
        trials = [_line(ts[-1] - ts + max(span * np.exp(x), least), logs) for x in grid]
        i = int(np.argmin([misfit for misfit, _ in trials]))
        best = (*trials[i], float(grid[i]))
        pace = grid[1] - grid[0]
        low, high = grid[i] - pace, grid[i] + pace
    misfit, exponent, x = best
    left = span * np.exp(x)
    extent = float(np.ptp(logs))
    return BlowUp(
        time=float(ts[-1] + left),
        exponent=exponent,
        narrowing=(span + left) / left,
        misfit=misfit / extent if extent > 0 else np.inf,
    )


def _line(left: FloatArray, logs: FloatArray) -> tuple[float, float]:
    """The misfit, root mean square, of the line of log|y'| against log(t* - t), and its -slope."""
    x, y = np.log(left), logs - logs.mean()
    x = x - x.mean()
    slope = float(x @ y / (x @ x))
    return float(np.sqrt(np.mean((y - slope * x) ** 2))), -slope


def _blow_up_of_two(first: Sample, last: Sample, size: float, speed: float) -> float | None:
    """The t* of |y|' = c|y|^q through two samples, or None where they show no such growth."""
    outward = float(np.dot(last.y / max(size, 1e-300), last.velocity / max(speed, 1e-300))) > 0
    time_scale = size / speed if speed > 0 else np.inf
    grown = size > _GROWTH_OF_BLOW_UP * max(_norm(first.y), 1e-300)
    collapsed = time_scale < 1e-6 * (last.t - first.t)
    # Growth like e^t has a short time scale too on a long run, but one that does not shrink.
    power = _growth_power(first, last)
    if outward and grown and collapsed and power > _LEAST_POWER:
        return float(last.t + time_scale / (power - 1.0))
    return None


def _norm(v: FloatArray) -> float:
    """The Euclidean norm, without overflow."""
    largest = float(np.max(np.abs(v), initial=0.0))
    if largest == 0 or not np.isfinite(largest):
        return largest
    return largest * float(np.linalg.norm(v / largest))


def _growth_power(first: Sample, last: Sample) -> float:
    """The q of |y|' = c|y|^q through both samples; above 1 the solution ends in finite time.

    Then t* - t = |y|/((q - 1)|y'|). Where the first says nothing, 2, as for y' = y^2.
    """
    sizes = [_norm(s.y) for s in (first, last)]
    with np.errstate(over="ignore", invalid="ignore"):  # of velocities near the largest number
        radial = [
            float(np.dot(s.y / size, s.velocity)) if size > 0 else 0.0
            for s, size in zip((first, last), sizes, strict=True)
        ]
    growth = [float(np.log(b) - np.log(a)) if a > 0 and b > 0 else 0.0 for a, b in (sizes, radial)]
    if np.isfinite(growth).all() and growth[0] > 0.01 and min(radial) > 0:
        return growth[1] / growth[0]
    return 2.0
