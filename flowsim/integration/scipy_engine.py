"""Integration with SciPy's solvers, driven step by step.

The solvers are stepped here rather than through ``solve_ivp``, so that steps end at the save times,
and with a guard around the field: SciPy's own loop never returns from a blow-up with LSODA, and
reports success with NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate
from jax.flatten_util import ravel_pytree

from flowsim._result import Reason, Result
from flowsim._types import FloatArray
from flowsim.integration.ending import Sample, diagnose_stall
from flowsim.integration.layout import Layout
from flowsim.integration.run import FENCE, Outcome, Record, Run
from flowsim.lowering import flat_velocity_at, jacobian_at, velocity_at

_IMPLICIT = ("Radau", "BDF", "LSODA")
_LARGEST_JACOBIAN = 1000
# A run is stuck when so many evaluations have not advanced time by this fraction of what it has
# run so far.
_PATIENCE = 3000
_PROGRESS = 1e-9


class _Halt(Exception):
    """Raised inside the field to get out of a solver that will not come back by itself."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def run_scipy(run: Run) -> Outcome:
    """Integrate a validated run; see :func:`flowsim.integration.integrate`."""
    method = "LSODA" if run.solver == "auto" else run.solver
    why = "SciPy's own switch between Adams and BDF" if run.solver == "auto" else "as asked for"
    layout = Layout(run.y0)
    field = _GuardedField(run, layout, strict=method == "LSODA")
    record = Record([], [], thin=run.ts is None)
    y0 = layout.flatten(run.y0)
    plain = _plain_sampler(run, layout)
    first = plain(run.t0, y0)
    counts = {"steps": 0}
    if run.ts is None or run.ts[0] == run.t0:
        record.add(run.t0, y0)

    def outcome(result: Result) -> Outcome:
        stats = {
            "gradients": field.evaluations,
            "jacobians": field.jacobians,
            "hessian_products": 0,
            "steps": counts["steps"],
            "rejected": None,  # SciPy does not tell
            "local_error": None,  # nor this
        }
        return Outcome.of(record, layout.size, stats, result, [f"{method}: {why}"], method)

    if not np.isfinite(first.velocity).all():
        return outcome(Result(Reason.nonfinite_field, f"It fails at t = {first.t:g}."))
    ends = np.array([run.t1]) if run.ts is None else run.ts[run.ts > run.t0]
    solver: Any = None
    t, y = run.t0, y0
    try:
        for end in ends:
            solver = _to(solver, method, field, run, t, y, float(end))
            while solver.status == "running":
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # trial steps overflow, LSODA narrates
                    try:
                        message = solver.step()
                    except (ValueError, np.linalg.LinAlgError) as error:
                        # Radau and BDF factorise a Jacobian that need not be finite.
                        record.add_final(t, y)
                        return outcome(_failed(str(error), first, field, plain(t, y), run))
                if solver.status == "failed" or not np.isfinite(solver.y).all():
                    record.add_final(t, y)
                    return outcome(_failed(message, first, field, plain(t, y), run))
                if _passes(run.fence, layout, solver.y):
                    record.add_final(t, y)
                    return outcome(FENCE)
                t, y = float(solver.t), np.array(solver.y)
                counts["steps"] += 1
                if run.ts is None:
                    record.add(t, y)
                if run.progress and counts["steps"] % 50 == 0:
                    run.progress(run.plain(t, layout.unflatten(y))[0])
                field.note_progress(t)
                if run.stop is not None:
                    ended = stopping(t, y)
                    if ended is not None:
                        record.add_final(t, y)
                        return outcome(ended)
                if run.out_of_time() and t < ends[-1]:
                    raise _Halt(Reason.wall_clock)
                if counts["steps"] >= run.max_steps and t < ends[-1]:
                    record.add_final(t, y)
                    return outcome(Result(Reason.budget, run.reached(t, layout.unflatten(y))))
            if run.ts is not None:
                record.add(t, y)
    except _Halt as halt:
        record.add_final(t, y)
        if halt.reason is not Reason.wall_clock:
            return outcome(_failed(None, first, field, plain(t, y), run))
        return outcome(Result(halt.reason, run.reached(t, layout.unflatten(y))))
    except KeyboardInterrupt:
        record.add_final(t, y)
        return outcome(Result(Reason.interrupted, run.reached(t, layout.unflatten(y))))
    record.add_final(t, y)
    return outcome(Result(Reason.completed))


def _to(
    solver: Any, method: str, field: _GuardedField, run: Run, t: float, y: FloatArray, end: float
) -> Any:
    """A solver that will step up to ``end``: the one at hand, or a new one."""
    if solver is not None and method != "LSODA":
        solver.t_bound, solver.status = end, "running"
        return solver
    options: dict[str, Any] = {"rtol": run.rtol, "atol": run.atol}
    if method in _IMPLICIT and field.jacobian is not None:
        options["jac"] = field.counted_jacobian
    # LSODA bounds its steps inside Fortran, so it is begun anew at every save time.
    return getattr(scipy.integrate, method)(field, t, y, end, **options)


def _failed(
    message: str | None, first: Sample, field: _GuardedField, here: Sample, run: Run
) -> Result:
    result = diagnose_stall(first, here, nonfinite_ahead=field.nonfinite_trials > 0)
    if result.reason is Reason.stagnation and message:
        return Result(Reason.solver_failed, f"SciPy says: {message} It stopped at t = {here.t:g}.")
    return result


def _passes(fence: Any, layout: Layout, y: FloatArray) -> bool:
    return fence is not None and bool(fence[0](layout.unflatten(y)) > fence[1])


def _plain_sampler(run: Run, layout: Layout) -> Callable[[float, FloatArray], Sample]:
    """State and velocity in flow time, of a vector of the run."""

    def sample(t: float, y: FloatArray) -> Sample:
        t, state = run.plain(t, layout.unflatten(y))
        velocity = (
            velocity_at(run.flow, np.float64(t), state)
            if run.flow.backend == "jax"
            else run.flow(t, state, None)
        )
        flat = Layout(state).flatten
        return Sample(t, flat(state), np.asarray(flat(velocity)))

    return sample


class _GuardedField:
    """The field on flat vectors, counting evaluations and watching budget and clock."""

    def __init__(self, run: Run, layout: Layout, *, strict: bool) -> None:
        self.run, self.strict = run, strict
        self.evaluations = self.jacobians = self.nonfinite_trials = 0
        self._mark, self._evaluations_at_mark = run.t0, 0
        self._patience = _PATIENCE + 4 * layout.size  # differenced Jacobians take size evaluations
        if run.field.backend == "jax":
            self.plain, self.jacobian = _compiled(run, layout)
        else:
            field = run.field
            self.plain = lambda t, v: layout.flatten(field(t, layout.unflatten(v), None))
            self.jacobian = None

    def note_progress(self, t: float) -> None:
        """Tell the guard the time that an accepted step has reached."""
        if t - self._mark > _PROGRESS * (t - self.run.t0):
            self._mark, self._evaluations_at_mark = t, self.evaluations
            self.nonfinite_trials = 0

    def __call__(self, t: float, vector: FloatArray) -> FloatArray:
        self.evaluations += 1
        if self.evaluations - self._evaluations_at_mark > self._patience:
            raise _Halt(Reason.stagnation)
        if self.evaluations % 64 == 0 and self.run.out_of_time():
            raise _Halt(Reason.wall_clock)
        velocity = self.plain(t, vector)
        if not np.isfinite(velocity).all():
            self.nonfinite_trials += 1
            if self.strict:
                # The other methods reject such a trial step; LSODA would go on with it.
                raise _Halt(Reason.nonfinite_field)
        return velocity

    def counted_jacobian(self, t: float, vector: FloatArray) -> FloatArray:
        """The exact Jacobian at a state."""
        assert self.jacobian is not None
        self.jacobians += 1
        return self.jacobian(t, vector)


def _compiled(
    run: Run, layout: Layout
) -> tuple[Callable[..., FloatArray], Callable[..., FloatArray] | None]:
    """A JAX field, and its Jacobian where that is small, on NumPy vectors."""
    unravel = ravel_pytree(run.y0)[1]

    def velocity(t: float, v: FloatArray) -> FloatArray:
        return np.asarray(flat_velocity_at(run.field, unravel, np.float64(t), v))

    def jacobian(t: float, v: FloatArray) -> FloatArray:
        return np.asarray(jacobian_at(run.field, unravel, np.float64(t), v))

    return velocity, jacobian if layout.size <= _LARGEST_JACOBIAN else None
