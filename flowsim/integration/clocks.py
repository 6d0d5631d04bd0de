r"""Clocks: integrating a flow in another variable than its time, with results on flow time.

With a rate :math:`r(t, y) > 0` and :math:`d\sigma = r\,dt` the flow reads
:math:`dy/d\sigma = F(y)/r`. The logarithmic clock, :math:`r = 1/(1 + t - t_0)`, has
:math:`t = t_0 + e^\sigma - 1` in closed form. For any other rate t is integrated beside the state,
through :math:`\ell = \log(1 + t - t_0)`, :math:`d\ell/d\sigma = e^{-\ell}/r`, which stays moderate
where t does not. The loss clock is the rate :math:`r = L(y)`: for separable data under an
exponential loss it makes dy/dσ a mean of the data and σ grow like log t.

Times asked for are met exactly. The run in σ pauses before the step that would pass one, and goes
the rest of the way in flow time.

Reference: K. Lyu and J. Li, "Gradient descent maximizes the margin of homogeneous neural networks"
(2020), for loss-normalised time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import nearest
from flowsim._errors import InputError
from flowsim._result import Reason, Result
from flowsim._types import FloatArray, PyTree
from flowsim.integration.layout import Layout
from flowsim.integration.run import FENCE, Outcome, Run
from flowsim.integration.views import PlainStop

_CLOCKS = ("time", "log", "loss")
_ENDLESS = 1e250  # the end of a run in σ, which ends by its fence

Engine = Callable[[Run], Outcome]


def check_clock(clock: Any, field: Any, t0: float, start: PyTree) -> Any:
    """The clock as given, validated; see :func:`flowsim.integration.integrate`.

    Raises
    ------
    InputError
        If it is none, asks for the loss of a field without one, or its rate is not positive at the
        start.
    """
    if isinstance(clock, str):
        if clock not in _CLOCKS:
            raise InputError(
                f"clock is {clock!r}; pass 'time', 'log', 'loss', or a rate (t, y) -> dσ/dt."
                f"{nearest(clock, _CLOCKS)}"
            )
        if clock != "loss":
            return clock
        rate, name = field.value(start), "the loss"
        if np.isnan(rate):
            raise InputError(
                "clock is 'loss', but the field has no loss that can be read; pass a problem, a "
                "lowered law, or a rate (t, y) -> dσ/dt."
            )
    elif callable(clock):
        own: Any = clock
        rate, name = own(t0, start), "the rate"
        if np.shape(rate) != ():
            raise InputError(f"clock gives an array of shape {np.shape(rate)}; a rate is a number.")
    else:
        raise InputError(
            f"clock is {clock!r}; pass 'time', 'log', 'loss', or a rate (t, y) -> dσ/dt."
        )
    if not (np.isfinite(rate) and rate > 0):
        raise InputError(
            f"clock needs a positive rate, and {name} is {float(rate):.6g} at the start."
        )
    return clock


def run_on_clock(run: Run, clock: Any, engine: Engine) -> Outcome:
    """Run an engine on the variable of a clock, and bring its record back to flow time."""
    if clock == "time":
        return engine(run)
    if clock == "log":
        return _on_log_clock(run, engine)
    return _on_rate_clock(run, clock, engine)


# --- the fields -----------------------------------------------------------------------------------


class LogField(eqx.Module):
    """A flow in σ = log(1 + t - t0)."""

    field: Any
    t0: Any
    backend: str = eqx.field(static=True)

    def __call__(self, s: Any, y: PyTree, args: Any = None) -> PyTree:
        """The velocity dy/dσ."""
        xp = _arrays(self.backend)
        t, y = self.plain(s, y)
        velocity, factor = self.field(t, y, args), xp.exp(s)
        return jax.tree.map(lambda v: factor * v, velocity)

    def plain(self, s: Any, y: PyTree) -> tuple[Any, PyTree]:
        """Flow time and state."""
        return self.t0 + _arrays(self.backend).expm1(s), y


class RateField(eqx.Module):
    """A flow in a variable that passes at a given rate; the state is (y, log(1 + t - t0))."""

    field: Any
    t0: Any
    rate: Callable | None  # None for the loss
    backend: str = eqx.field(static=True)

    def __call__(self, s: Any, y: PyTree, args: Any = None) -> PyTree:
        """The velocities of the state and of the logarithm of time."""
        t, state = self.plain(s, y)
        rate = self.field.value(state) if self.rate is None else self.rate(t, state)
        velocity = self.field(t, state, args)
        logarithm = _arrays(self.backend).exp(-y[1]) / rate
        return jax.tree.map(lambda v: v / rate, velocity), logarithm

    def plain(self, s: Any, y: PyTree) -> tuple[Any, PyTree]:
        """Flow time and state."""
        return self.t0 + _arrays(self.backend).expm1(y[1]), y[0]


class _PlainProjection(eqx.Module):
    """A projection of the state at a flow time, applied on a clock."""

    project: Any
    on_clock: Any

    def __call__(self, s: Any, y: PyTree) -> PyTree:
        t, state = self.on_clock.plain(s, y)
        state = self.project(t, state)
        return state if isinstance(self.on_clock, LogField) else (state, y[1])


# --- the runs -------------------------------------------------------------------------------------


def _on_log_clock(run: Run, engine: Engine) -> Outcome:
    on_clock = LogField(run.field, np.float64(run.t0), run.field.backend)
    ends = np.array([run.t1]) if run.ts is None else run.ts
    marks = np.log1p(ends - run.t0)
    inner = _moved(run, on_clock, t0=0.0, t1=float(marks[-1]), ts=None if run.ts is None else marks)
    outcome = engine(inner)
    times = run.t0 + np.expm1(outcome.ts)
    for i, mark in enumerate(marks):  # the times asked for, to the last bit
        times[outcome.ts == mark] = ends[i]
    return dataclasses.replace(outcome, ts=times)


def _on_rate_clock(run: Run, rate: Any, engine: Engine) -> Outcome:
    on_clock = RateField(
        run.field, np.float64(run.t0), None if rate == "loss" else rate, run.field.backend
    )
    ends = np.array([run.t1]) if run.ts is None else run.ts[run.ts > run.t0]
    t, y, mark, s = run.t0, run.y0, 0.0, 0.0
    layout = Layout(run.y0)
    parts: list[Outcome] = []
    ts: list[FloatArray] = []
    states: list[FloatArray] = []
    chosen: list[str] = []

    def keep(times: FloatArray, rows: FloatArray) -> None:
        ts.append(times)
        states.append(rows)

    if run.ts is not None and run.ts[0] == run.t0:
        keep(np.array([run.t0]), layout.flatten(run.y0)[None])
    result = Result(Reason.completed)
    for end in ends:
        goal = float(np.log1p(end - run.t0))
        leg = dataclasses.replace(
            _moved(_remaining(run, parts), on_clock, t0=s, t1=_ENDLESS),
            y0=(y, np.float64(mark)),
            fence=(_logarithm, np.float64(goal)),
            horizon=s + _span_in_clock(on_clock, s, (y, np.float64(mark)), goal - mark),
        )
        on_way = engine(leg)
        parts.append(on_way)
        chosen += on_way.chosen
        marks = on_way.states[:, -1]
        if run.ts is None:
            fresh = (marks > mark) | (len(ts) == 0)
            keep(run.t0 + np.expm1(marks[fresh]), on_way.states[fresh, :-1])
        result = on_way.result
        if len(marks):
            s, mark = float(on_way.ts[-1]), float(marks[-1])
            t, y = run.t0 + float(np.expm1(mark)), layout.unflatten(on_way.states[-1, :-1])
        if on_way.result is FENCE:
            rest = dataclasses.replace(
                _remaining(run, parts), t0=t, y0=y, t1=float(end), ts=np.array([end])
            )
            rest = dataclasses.replace(rest, solver=on_way.solver, first_step=float(end) - t)
            arrived = engine(rest)
            parts.append(arrived)
            keep(arrived.ts, arrived.states)
            result = arrived.result
            if len(arrived.ts):
                t, y = float(arrived.ts[-1]), layout.unflatten(arrived.states[-1])
                mark = float(np.log1p(t - run.t0))
        elif run.ts is not None and t > (ts[-1][-1] if ts else -np.inf):
            keep(np.array([t]), layout.flatten(y)[None])
        if result.reason is not Reason.completed:
            break
    return Outcome(
        ts=np.concatenate(ts) if ts else np.empty(0),
        states=np.concatenate(states) if states else np.empty((0, layout.size)),
        stats=_summed([part.stats for part in parts]),
        result=result,
        chosen=list(dict.fromkeys(chosen)),
        solver=parts[-1].solver if parts else run.solver,
        notes=[note for part in parts for note in part.notes],
    )


def _moved(run: Run, on_clock: Any, **changes: Any) -> Run:
    """The run on a clock: its field, its stop, its projection and how it tells the time."""
    return dataclasses.replace(
        run,
        field=on_clock,
        stop=None if run.stop is None else PlainStop(run.stop, on_clock),
        project=None if run.project is None else _PlainProjection(run.project, on_clock),
        clock=ClockFace(on_clock, run.t1),
        **{"ts": None, **changes},
    )


@dataclasses.dataclass(frozen=True)
class ClockFace:
    """How a run on a clock reads flow time: its field and the flow time of its end."""

    on_clock: Any
    goal: float

    def plain(self, s: float, y: PyTree) -> tuple[float, PyTree]:
        """Flow time and state."""
        t, state = self.on_clock.plain(s, y)
        return float(t), state

    def in_flow_time(self, history: FloatArray) -> FloatArray:
        """Rows of times, sizes and speeds; none on a clock whose time is part of the state."""
        if not isinstance(self.on_clock, LogField):
            return history[:0]
        s, size, speed = history.T
        return np.stack([self.on_clock.t0 + np.expm1(s), size, speed * np.exp(-s)], axis=1)


def _remaining(run: Run, parts: list[Outcome]) -> Run:
    """The run with what is left of its budget."""
    used = sum(part.stats["steps"] + (part.stats["rejected"] or 0) for part in parts)
    return dataclasses.replace(run, max_steps=max(1, run.max_steps - used))


def _span_in_clock(on_clock: RateField, s: float, z: Any, span: float) -> float:
    """About how long the clock runs over a span of log t, judged by its rate now."""
    speed = float(on_clock(np.float64(s), z)[1])
    return span / speed if speed > 0 else _ENDLESS


def _logarithm(z: Any) -> Any:
    return z[1]


def _summed(stats: list[dict[str, Any]]) -> dict[str, Any]:
    names = stats[0] if stats else ()
    columns = {name: [part[name] for part in stats] for name in names}
    return {name: None if None in parts else sum(parts) for name, parts in columns.items()}


def _arrays(backend: str) -> Any:
    return np if backend == "numpy" else jnp
