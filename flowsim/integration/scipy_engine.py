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
from flowsim._types import FloatArray, PyTree
from flowsim.integration.ending import History, Sample, diagnose_stall
from flowsim.integration.layout import Layout
from flowsim.integration.run import FENCE, Outcome, Record, Run
from flowsim.lowering import flat_velocity_at, jacobian_at, velocity_at

_IMPLICIT = ("Radau", "BDF", "LSODA")
_LARGEST_JACOBIAN = 1000
# A run is stuck when so many evaluations have not advanced time by this fraction of what it has
# run so far.
_PATIENCE = 3000
_PROGRESS = 1e-9
_REMEMBERED = 32  # accepted steps from which a blow-up is read, at a time


class _Halt(Exception):
    """Raised inside the field to get out of a solver that will not come back by itself."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason


def run_scipy(run: Run) -> Outcome:
    """Integrate a validated run; see :func:`flowsim.integration.integrate`."""
    return _Stepping(run).go()


class _Stepping:
    """One run: the solver, where it stands, and what it has recorded."""

    def __init__(self, run: Run) -> None:
        self.run, self.stop = run, run.stop
        self.method = "LSODA" if run.solver == "auto" else run.solver
        self.layout = Layout(run.y0)
        self.field = _GuardedField(run, self.layout, strict=self.method == "LSODA")
        self.t, self.y = run.t0, self.layout.flatten(run.y0)
        self.first = self._sample()
        self.record = Record([], [], thin=run.ts is None)
        self.steps = 0
        self.notes: list[str] = []
        self.history = History.empty()
        self.recent: list[tuple[float, float, float]] = []

    def go(self) -> Outcome:
        """Step until the run is over, for whatever reason."""
        run = self.run
        if run.ts is None or run.ts[0] == run.t0:
            self.record.add(run.t0, self.y)
        if not np.isfinite(self.first.velocity).all():
            return self._outcome(
                Result(Reason.nonfinite_field, f"It fails at t = {self.first.t:g}.")
            )
        ends = np.array([run.t1]) if run.ts is None else run.ts[run.ts > run.t0]
        solver: Any = None
        try:
            for end in ends:
                solver = self._solver_to(float(end), solver)
                while solver.status == "running":
                    ending = self._step(solver, float(ends[-1]))
                    if ending is not None:
                        self.record.add_final(self.t, self.y)
                        return self._outcome(ending)
                if run.ts is not None:
                    self.record.add(self.t, self.y)
        except _Halt as halt:
            self.record.add_final(self.t, self.y)
            if halt.reason is Reason.wall_clock:
                return self._outcome(Result(halt.reason, self._reached()))
            return self._outcome(self._failed(None))
        except KeyboardInterrupt:
            self.record.add_final(self.t, self.y)
            return self._outcome(Result(Reason.interrupted, self._reached()))
        self.record.add_final(self.t, self.y)
        return self._outcome(Result(Reason.completed))

    def _step(self, solver: Any, last: float) -> Result | None:
        """One step; the reason why the run is over after it, or None."""
        run = self.run
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # trial steps overflow, LSODA narrates
            try:
                message = solver.step()
            except (ValueError, np.linalg.LinAlgError) as error:
                # Radau and BDF factorise a Jacobian that need not be finite.
                return self._failed(str(error))
        if solver.status == "failed" or not np.isfinite(solver.y).all():
            return self._failed(message)
        if run.fence is not None and run.fence[0](self._state(solver.y)) > run.fence[1]:
            return FENCE
        self._remember(float(solver.t), solver.y)
        advanced = solver.t > self.t
        self.t, self.y = float(solver.t), np.array(solver.y)
        self.steps += 1
        if run.ts is None and advanced:
            self.record.add(self.t, self.y)
        if run.progress and self.steps % 50 == 0:
            run.progress(run.plain(self.t, self._state(self.y))[0])
        self.field.note_progress(self.t)
        if self.stop is not None:
            ending = self._stopped()
            if ending is not None:
                return ending
        if run.out_of_time() and self.t < last:
            return Result(Reason.wall_clock, self._reached())
        if self.steps >= run.max_steps and self.t < last:
            return Result(Reason.budget, self._reached())
        return None

    def _stopped(self) -> Result | None:
        """What the stop says at the state reached; the run may go on, and it know more."""
        state = self._state(self.y)
        velocity = self.layout.unflatten(self.field.plain(self.t, self.y))
        if not bool(self.stop.fires(self.t, state, velocity)):
            return None
        result, self.stop, note = self.stop.confirm(self.run.field, self.t, state)
        self.notes += [note] if note else []
        return result

    def _remember(self, t: float, y: FloatArray) -> None:
        if not t > self.t:
            return  # LSODA near a blow-up: steps that rounding swallows
        with np.errstate(over="ignore"):
            speed = np.linalg.norm((y - self.y) / (t - self.t))
            self.recent.append((t, float(np.linalg.norm(y)), float(speed)))
        if len(self.recent) >= _REMEMBERED:
            self._look_back()

    def _look_back(self) -> None:
        if self.recent:
            self.history = self.history.extended(*self.run.in_flow_time(np.array(self.recent)).T)
            self.recent.clear()

    def _failed(self, message: str | None) -> Result:
        """Why no further step can be taken."""
        self._look_back()
        here = self._sample()
        result = diagnose_stall(
            self.first,
            here,
            nonfinite_ahead=self.field.nonfinite_trials > 0,
            history=self.history,
        )
        if result.reason is Reason.stagnation and message:
            detail = f"SciPy says: {message} It stopped at t = {here.t:g}."
            return Result(Reason.solver_failed, detail)
        return result

    def _solver_to(self, end: float, solver: Any) -> Any:
        """A solver that will step up to ``end``: the one at hand, or a new one."""
        if solver is not None and self.method != "LSODA":
            solver.t_bound, solver.status = end, "running"
            return solver
        options: dict[str, Any] = {"rtol": self.run.rtol, "atol": self.run.atol}
        if self.method in _IMPLICIT and self.field.jacobian is not None:
            options["jac"] = self.field.counted_jacobian
        # LSODA bounds its steps inside Fortran, so it is begun anew at every save time.
        return getattr(scipy.integrate, self.method)(self.field, self.t, self.y, end, **options)

    def _state(self, y: FloatArray) -> PyTree:
        return self.layout.unflatten(y)

    def _sample(self) -> Sample:
        """State and velocity in flow time."""
        flow = self.run.flow
        t, state = self.run.plain(self.t, self._state(self.y))
        on_jax = flow.backend == "jax"
        velocity = velocity_at(flow, np.float64(t), state) if on_jax else flow(t, state, None)
        flat = Layout(state).flatten
        return Sample(t, flat(state), np.asarray(flat(velocity)))

    def _reached(self) -> str:
        return self.run.reached(self.t, self._state(self.y))

    def _outcome(self, result: Result) -> Outcome:
        on_auto = self.run.solver == "auto"
        why = "SciPy's own switch between Adams and BDF" if on_auto else "as asked for"
        stats = {
            "gradients": self.field.evaluations,
            "jacobians": self.field.jacobians,
            "hessian_products": 0,
            "steps": self.steps,
            "rejected": None,  # SciPy does not tell
            "local_error": None,  # nor this
        }
        chosen = [f"{self.method}: {why}"]
        return Outcome.of(
            self.record, self.layout.size, stats, result, chosen, self.method, self.notes
        )


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
