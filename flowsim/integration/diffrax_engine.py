"""Integration on JAX, in chunks.

One compiled loop runs until its allowance of steps is used up, then Python looks: at the keyboard,
the clock, the budget, and at whether another solver would do better. Fields, tolerances, times and
states are arguments of the compiled program, so that nothing is compiled again when only numbers
change.
"""

from __future__ import annotations

import dataclasses
import math
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from flowsim._result import Reason, Result
from flowsim._types import FloatArray, PyTree
from flowsim.integration import loop
from flowsim.integration.auto import Chooser
from flowsim.integration.ending import History, Sample, diagnose_stall, looks_like_blow_up
from flowsim.integration.run import FENCE, Outcome, Record, Run
from flowsim.integration.solvers import is_counted, solver_name
from flowsim.integration.work import Work
from flowsim.lowering import velocity_at

_WINDOW = 256  # save times handled by one compiled call
_SECONDS_A_CHUNK = 0.5  # so that Ctrl-C, clock and budget are answered
_FIRST_ALLOWANCE = 64
_BUFFERED_NUMBERS = 4_000_000  # numbers held by one call that records its steps
_JUST_AHEAD = 1e-10  # where a stalled run is probed for a broken field, as a fraction of the span


def run_diffrax(run: Run) -> Outcome:
    """Integrate a validated run; see :func:`flowsim.integration.integrate`."""
    return _Integration(run).go()


class _Integration:
    """One run: its progress, its record and its costs."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.y0: PyTree = jax.tree.map(jnp.asarray, run.y0)
        self.size = int(ravel_pytree(self.y0)[0].size)
        # Python numbers would be compiled in as constants; NumPy's are arguments.
        self.rules = loop.Rules(
            np.float64(run.rtol), np.float64(run.atol), run.stop, run.fence, run.project
        )
        self.chosen: list[str] = []
        self.notes: list[str] = []
        self.chooser: Chooser | None = None
        self.history = History.empty()
        self.counted = True
        self.costs = {"gradients": 0, "jacobians": 0, "hessian_products": 0}
        self.steps = {"steps": 0, "rejected": 0}
        self.local_error = 0.0
        self.solver: Any = run.solver
        self.record = Record([], [], thin=run.ts is None)
        rows = _BUFFERED_NUMBERS // max(1, self.size)
        self.capacity = max(4, min(1024, rows))
        self.most_targets = max(1, min(_WINDOW, rows))

    def go(self) -> Outcome:
        run = self.run
        first = self._sample(*run.plain(run.t0, self.y0))
        if run.ts is None or run.ts[0] == run.t0:
            self.record.add(run.t0, self._flat(self.y0))
        if not np.isfinite(first.velocity).all():
            return self._outcome(Result(Reason.nonfinite_field, f"It fails at t = {first.t:g}."))
        ends = np.array([run.t1]) if run.ts is None else run.ts[run.ts > run.t0]
        if not ends.size:
            return self._outcome(Result(Reason.completed))
        self.window = min(self.most_targets, _power_of_two(ends.size))
        chooser = Chooser(run, self.size, float(ends[-1])) if run.solver == "auto" else None
        self.chooser = chooser
        if chooser is None:
            solver = run.solver
            self.chosen.append(f"{solver_name(solver)} as asked for")
        else:
            solver, why = chooser.first(run.t0, self.y0)
            self.chosen.append(why)
        self._begin(solver, run.t0, self.y0, float(ends[-1]))
        allowance = _FIRST_ALLOWANCE
        reached = run.t0
        try:
            while True:
                window = ends[ends > reached][: self.most_targets]
                left = run.max_steps - sum(self.steps.values())
                began = time.monotonic()
                patience = chooser.patience(solver, self.steps["steps"]) if chooser else None
                code = self._chunk(solver, window, min(allowance, left, patience or left))
                seconds = time.monotonic() - began
                reached = float(self.walk.t)
                if run.progress:
                    run.progress(run.plain(reached, self.walk.y)[0])
                ending = self._ended(code, first, reached, float(ends[-1]))
                if ending is not None:
                    if not (run.ts is not None and ending.reason is Reason.completed):
                        self.record.add_final(reached, self._flat(self.walk.y))
                    return self._outcome(ending)
                if chooser is not None:
                    switch = chooser.again(solver, self.walk)
                    if switch is not None:
                        solver, why = switch
                        self.chosen.append(why)
                        self._begin(solver, reached, self.walk.y, float(ends[-1]))
                allowance = _next_allowance(allowance, seconds, self.capacity, run.ts is None)
        except KeyboardInterrupt:
            reached = float(self.walk.t)
            self.record.add_final(reached, self._flat(self.walk.y))
            return self._outcome(Result(Reason.interrupted, run.reached(reached, self.walk.y)))

    def _begin(self, solver: Any, t: float, y: PyTree, t1: float) -> None:
        """Start a solver where the run stands."""
        self.solver = solver
        step = None if self.run.first_step is None else np.float64(self.run.first_step)
        self.walk = loop.begin(
            self.run.field, solver, self.rules, np.float64(t), np.float64(t1), y, step
        )
        self._count(self.walk.work)
        self.counted = self.counted and is_counted(solver)

    def _chunk(self, solver: Any, window: FloatArray, allowance: int) -> int:
        """Run the compiled loop once, to the end of the window at the most."""
        run, before = self.run, self.walk
        padded = np.full(self.window, window[-1])
        padded[: window.size] = window
        self.walk, records, code = loop.advance(
            run.field,
            solver,
            self.rules,
            before,
            padded,
            np.int32(allowance),
            self.capacity if run.ts is None else None,
        )
        self.steps["steps"] += int(self.walk.steps) - int(before.steps)
        self.steps["rejected"] += int(self.walk.rejected) - int(before.rejected)
        self._count(self.walk.work, before.work)
        self.local_error += float(self.walk.local_error) - float(before.local_error)
        self.history = self.history.extended(*run.in_flow_time(loop.history_of(self.walk)).T)
        count = min(int(records.count), window.size if run.ts is not None else self.capacity)
        ts, states = np.asarray(records.ts[:count]), np.asarray(records.states[:count])
        for t, y in zip(ts, states, strict=True):
            self.record.add(float(t), y)
        return int(code)

    def _count(self, work: Work, before: Work | None = None) -> None:
        for name in self.costs:
            was = 0 if before is None else int(getattr(before, name))
            self.costs[name] += int(getattr(work, name)) - was

    def _ended(self, code: int, first: Sample, reached: float, last: float) -> Result | None:
        """The reason why the run is over, or None while it goes on."""
        run = self.run
        where = run.reached(reached, self.walk.y)
        if code == loop.STOPPED:
            ended = self._stopped(reached)
            if ended is not None:
                return ended
        if code == loop.FENCED:
            return FENCE
        if reached >= last:
            return Result(Reason.completed)
        if code == loop.STUCK:
            return self._stalled(first, *run.plain(reached, self.walk.y))
        if looks_like_blow_up(self.history, last):
            return self._stalled(first, *run.plain(reached, self.walk.y))
        if sum(self.steps.values()) >= run.max_steps:
            return Result(Reason.budget, where)
        if run.out_of_time():
            return Result(Reason.wall_clock, where)
        return None

    def _stopped(self, t: float) -> Result | None:
        """What the stop that fired comes to; the run may go on, with a stop that knows more."""
        state = jax.tree.map(np.asarray, self.walk.y)
        verdict = self.rules.stop.confirm(self.run.field, t, state)
        if verdict.note:
            self.notes.append(verdict.note)
        self.rules = dataclasses.replace(self.rules, stop=verdict.stop)
        return verdict.result

    def _stalled(self, first: Sample, t: float, y: PyTree) -> Result:
        """Why steps have become too small at a flow time and a state."""
        here = self._sample(t, y)
        span = abs(t) if self.run.clock else max(self.run.t1 - self.run.t0, abs(t))
        step = _JUST_AHEAD * span
        unravel = ravel_pytree(y)[1]
        with np.errstate(over="ignore", invalid="ignore"):
            beyond = unravel(jnp.asarray(here.y + step * here.velocity))
        ahead = self._sample(t + step, beyond)
        broken = not np.isfinite(ahead.velocity).all()
        return diagnose_stall(first, here, nonfinite_ahead=broken, history=self.history)

    def _sample(self, t: float, y: PyTree) -> Sample:
        """State and velocity in flow time."""
        velocity = velocity_at(self.run.flow, np.float64(t), y)
        self.costs["gradients"] += 1
        return Sample(t, self._flat(y), self._flat(velocity))

    @staticmethod
    def _flat(y: PyTree) -> FloatArray:
        return np.asarray(ravel_pytree(y)[0])

    def _outcome(self, result: Result) -> Outcome:
        stats: dict[str, Any] = {**self.costs, **self.steps, "local_error": self.local_error}
        if self.chooser is not None:
            stats["hessian_products"] += self.chooser.products
        if not self.counted:
            stats["gradients"] = None
        return Outcome.of(
            self.record, self.size, stats, result, self.chosen, self.solver, self.notes
        )


def _power_of_two(count: int) -> int:
    """At least ``count``, so that few shapes of save times are ever compiled."""
    return 2 ** math.ceil(math.log2(max(count, 1)))


def _next_allowance(allowance: int, seconds: float, capacity: int, recording: bool) -> int:
    """Steps for the next chunk, aiming at half a second of work."""
    factor = min(8.0, max(0.25, _SECONDS_A_CHUNK / max(seconds, 1e-3)))
    most = capacity if recording else 1_000_000
    return int(min(most, max(16, allowance * factor)))
