"""Integration on diffrax, in chunks.

One compiled loop runs until its allowance of steps is used up, then Python looks: at the keyboard,
the clock, the budget, and at whether another solver would do better. Fields, tolerances, times and
states are arguments of the compiled program, so that nothing is compiled again when only numbers
change.
"""

from __future__ import annotations

import math
import time
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from flowsim._result import Reason, Result
from flowsim._types import FloatArray, PyTree
from flowsim.integration.ending import Sample, diagnose_stall
from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.run import Outcome, Record, Run
from flowsim.integration.solvers import REAL_STABILITY, field_evaluations, solver_name
from flowsim.integration.stepping import WatchedController
from flowsim.integration.stiffness import estimate_spectral_radius

_WINDOW = 256  # save times handled by one compiled call
_SECONDS_A_CHUNK = 0.5  # so that Ctrl-C, clock and budget are answered
_FIRST_ALLOWANCE = 64
_BUFFERED_NUMBERS = 4_000_000  # numbers held by one call that records its steps
_JUST_AHEAD = 1e-10  # where a stalled run is probed for a broken field, as a fraction of the span
_LARGEST_IMPLICIT = 1000  # state size up to which an exact Jacobian is formed
_HIGH_ACCURACY = 1e-5  # relative tolerance from which the eighth-order pair is the cheaper one


class _Progress(eqx.Module):
    """Where a run stands between two calls of the compiled loop."""

    t: Any
    y: Any
    solver_state: Any
    controller_state: Any


def run_diffrax(run: Run) -> Outcome:
    """Integrate a validated run; see :func:`flowsim.integration.integrate`."""
    return _Integration(run).go()


class _Integration:
    """One run: its progress, its record and its costs."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.y0: PyTree = jax.tree.map(jnp.asarray, run.y0)
        flat, self.unravel = ravel_pytree(self.y0)
        self.size = int(flat.size)
        # Python numbers would be compiled in as constants; NumPy's are arguments.
        self.tolerances = (np.float64(run.rtol), np.float64(run.atol))
        self.chosen: list[str] = []
        self.costs: dict[str, Any] = {"gradients": 0, "jacobians": 0, "hessian_products": 0}
        self.steps = {"steps": 0, "rejected": 0}
        self.record = Record([], [], thin=run.ts is None)
        self.capacity = max(16, min(1024, _BUFFERED_NUMBERS // max(1, self.size)))

    def go(self) -> Outcome:
        run = self.run
        first = self._sample(run.t0, self.y0)
        if run.ts is None or run.ts[0] == run.t0:
            self.record.add(run.t0, first.y)
        if not np.isfinite(first.velocity).all():
            return self._outcome(Result(Reason.nonfinite_field, f"It fails at t = {run.t0:g}."))
        ends = np.array([run.t1]) if run.ts is None else run.ts[run.ts > run.t0]
        if not ends.size:
            return self._outcome(Result(Reason.completed))
        self.window = _window_size(ends.size)
        solver = self._first_solver() if run.solver == "auto" else run.solver
        if run.solver != "auto":
            self.chosen.append(f"{solver_name(solver)} as asked for")
        self.state = self._begin(solver, run.t0, self.y0, float(ends[-1]))
        allowance = _FIRST_ALLOWANCE
        reached = run.t0
        try:
            while True:
                window = ends[ends > reached][:_WINDOW]
                left = run.max_steps - sum(self.steps.values())
                began = time.monotonic()
                result, stopped = self._chunk(solver, window, min(allowance, left))
                seconds = time.monotonic() - began
                reached = float(self.state.t)
                if run.progress:
                    run.progress(reached)
                if stopped:
                    self.record.add_final(reached, self._flat(self.state.y))
                    return self._outcome(Result(Reason.stopped, f"At t = {reached:.10g}."))
                if reached >= ends[-1]:
                    return self._outcome(Result(Reason.completed))
                ending = self._ended(result, first, reached)
                if ending is not None:
                    self.record.add_final(reached, self._flat(self.state.y))
                    return self._outcome(ending)
                if run.solver == "auto":
                    solver = self._reconsider(solver, reached, float(ends[-1]))
                allowance = _next_allowance(allowance, seconds, self.capacity, run.ts is None)
        except KeyboardInterrupt:
            reached = float(self.state.t)
            self.record.add_final(reached, self._flat(self.state.y))
            return self._outcome(Result(Reason.interrupted, f"It had reached t = {reached:.6g}."))

    def _begin(self, solver: Any, t: float, y: PyTree, t1: float) -> _Progress:
        return _begin(self.run.field, solver, *self.tolerances, np.float64(t), np.float64(t1), y)

    def _chunk(self, solver: Any, window: FloatArray, allowance: int) -> tuple[Any, bool]:
        """Run the compiled loop once, to the end of the window at the most."""
        run = self.run
        padded = np.full(self.window, window[-1])
        padded[: window.size] = window
        before = float(self.state.t)
        steps_wanted = self.capacity if run.ts is None else None
        out = _advance(
            run.field,
            solver,
            *self.tolerances,
            self.state,
            padded,
            np.int32(allowance),
            steps_wanted,
            run.stop,
        )
        self.state, saved_ts, saved_ys, result, stats = out
        accepted, rejected = int(stats["num_accepted_steps"]), int(stats["num_rejected_steps"])
        self.steps["steps"] += accepted
        self.steps["rejected"] += rejected
        evaluations = field_evaluations(solver, accepted + rejected)
        if evaluations is None or self.costs["gradients"] is None:
            self.costs["gradients"] = None
        else:
            self.costs["gradients"] += evaluations
        if isinstance(solver, LinearlyImplicitExtrapolation):
            self.costs["jacobians"] += accepted + rejected
        reached = float(self.state.t)
        saved_ts = np.asarray(saved_ts)
        kept = np.flatnonzero((saved_ts > before) & (saved_ts <= reached))
        _, first_of = np.unique(saved_ts[kept], return_index=True)  # the padding repeats a time
        flat = np.asarray(saved_ys)
        for i in kept[first_of]:
            self.record.add(float(saved_ts[i]), flat[i])
        if run.ts is None and reached >= run.t1:
            self.record.add_final(reached, self._flat(self.state.y))
        return result, bool(result == diffrax.RESULTS.event_occurred)

    def _ended(self, result: Any, first: Sample, reached: float) -> Result | None:
        """The reason why the run is over, or None while it goes on."""
        run = self.run
        where = f"It had reached t = {reached:.6g} of {run.t1:.6g}."
        if result == diffrax.RESULTS.dt_min_reached:
            last = self._sample(reached, self.state.y)
            step = _JUST_AHEAD * max(run.t1 - run.t0, abs(reached))
            with np.errstate(over="ignore", invalid="ignore"):
                beyond = self.unravel(jnp.asarray(last.y + step * last.velocity))
            ahead = self._sample(reached + step, beyond)
            broken = not np.isfinite(ahead.velocity).all()
            return diagnose_stall(first, last, nonfinite_ahead=broken)
        if result not in (diffrax.RESULTS.successful, diffrax.RESULTS.max_steps_reached):
            return Result(Reason.solver_failed, where)
        if sum(self.steps.values()) >= run.max_steps:
            return Result(Reason.budget, where)
        if run.out_of_time():
            return Result(Reason.wall_clock, where)
        return None

    def _first_solver(self) -> Any:
        run = self.run
        explicit = "dopri8" if run.rtol <= _HIGH_ACCURACY else "tsit5"
        radius = self._radius(run.t0, self.y0)
        steps = radius * (run.t1 - run.t0) / REAL_STABILITY[explicit]
        if self.size <= _LARGEST_IMPLICIT and steps > 10 * self._worth_a_jacobian():
            self.chosen.append(
                f"extrapolation from t = {run.t0:g}: with spectral radius {radius:.3g} at the "
                f"start, stability would cost {explicit} about {steps:.0f} steps"
            )
            return LinearlyImplicitExtrapolation()
        self.chosen.append(
            f"{explicit} from t = {run.t0:g}: with spectral radius {radius:.3g} at the start the "
            "flow is not stiff there"
        )
        return diffrax.Dopri8() if explicit == "dopri8" else diffrax.Tsit5()

    def _reconsider(self, solver: Any, t: float, t1: float) -> Any:
        """Change to the implicit solver when stability, not accuracy, holds the step down."""
        if isinstance(solver, LinearlyImplicitExtrapolation) or self.size > _LARGEST_IMPLICIT:
            return solver
        name = "dopri8" if isinstance(solver, diffrax.Dopri8) else "tsit5"
        radius = self._radius(t, self.state.y)
        steps = radius * (t1 - t) / REAL_STABILITY[name]
        held = float(self.state.controller_state.step) * radius > 0.4 * REAL_STABILITY[name]
        if not (held and steps > self._worth_a_jacobian()):
            return solver
        self.chosen.append(
            f"extrapolation from t = {t:.4g}: with spectral radius {radius:.3g}, stability would "
            f"cost {name} about {steps:.0f} more steps"
        )
        solver = LinearlyImplicitExtrapolation()
        self.state = self._begin(solver, t, self.state.y, t1)
        return solver

    def _worth_a_jacobian(self) -> float:
        """Explicit steps that cost about as much as an implicit run with exact Jacobians."""
        return 300 + 5 * self.size

    def _radius(self, t: float, y: PyTree) -> float:
        self.costs["hessian_products"] += 12
        return float(estimate_spectral_radius(self.run.field, np.float64(t), y))

    def _sample(self, t: float, y: PyTree) -> Sample:
        velocity = _velocity(self.run.field, np.float64(t), y)
        if self.costs["gradients"] is not None:
            self.costs["gradients"] += 1
        return Sample(t, self._flat(y), self._flat(velocity))

    @staticmethod
    def _flat(y: PyTree) -> FloatArray:
        return np.asarray(ravel_pytree(y)[0])

    def _outcome(self, result: Result) -> Outcome:
        stats = {**self.costs, **self.steps}
        return Outcome.of(self.record, self.size, stats, result, self.chosen)


@eqx.filter_jit
def _velocity(field: Any, t: Any, y: PyTree) -> PyTree:
    return field(t, y, None)


@eqx.filter_jit
def _begin(field: Any, solver: Any, rtol: Any, atol: Any, t: Any, t1: Any, y: PyTree) -> _Progress:
    """The state of solver and controller before the first step."""
    terms = diffrax.ODETerm(field)
    controller = _controller(rtol, atol, t1[None], jnp.int32(0)).wrap(1)
    order = solver.error_order(terms)
    end, controller_state = controller.init(terms, t, t1, y, None, None, solver.func, order)
    return _committed(_Progress(t, y, solver.init(terms, t, end, y, None), controller_state))


@eqx.filter_jit
def _advance(
    field: Any,
    solver: Any,
    rtol: Any,
    atol: Any,
    state: _Progress,
    targets: Any,
    allowance: Any,
    steps_wanted: int | None,
    stop: Any,
) -> tuple[_Progress, Any, Any, Any, dict[str, Any]]:
    """Step until the last target is reached or the allowance is used up."""
    controller = _controller(rtol, atol, targets, allowance)
    fresh = eqx.tree_at(lambda s: s.used, state.controller_state, jnp.zeros((), jnp.int32))

    def flat(t: Any, y: PyTree, args: Any) -> Any:
        del t, args
        return ravel_pytree(y)[0]

    if steps_wanted is None:
        wanted = diffrax.SubSaveAt(ts=jnp.maximum(targets, state.t), fn=flat)
    else:
        wanted = diffrax.SubSaveAt(steps=True, fn=flat)
    event = None
    if stop is not None:
        event = diffrax.Event(lambda t, y, args, **_: jnp.asarray(stop(t, y)).astype(bool))
    step = controller._end(state.t, state.controller_state.step) - state.t
    solution: Any = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        state.t,
        targets[-1],
        step,
        state.y,
        saveat=diffrax.SaveAt(
            subs=[wanted, diffrax.SubSaveAt(t1=True)], solver_state=True, controller_state=True
        ),
        stepsize_controller=controller,
        max_steps=steps_wanted,
        adjoint=diffrax.ForwardMode(),
        event=event,
        solver_state=state.solver_state,
        controller_state=fresh,
        made_jump=False,
        throw=False,
    )
    (saved_ts, t1), (saved_ys, y1) = solution.ts, solution.ys
    progress = _Progress(
        t1[-1],
        jax.tree.map(lambda leaf: leaf[-1], y1),
        solution.solver_state,
        solution.controller_state,
    )
    return _committed(progress), saved_ts, saved_ys, solution.result, solution.stats


def _committed(progress: _Progress) -> _Progress:
    """The same values as arrays in dtypes of their own: Python's scalars would compile anew."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), progress)


def _controller(rtol: Any, atol: Any, targets: Any, allowance: Any) -> WatchedController:
    # A proportional part keeps explicit methods from bouncing off their stability limit.
    pid = diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.2, icoeff=0.4)
    return WatchedController(  # pyright: ignore[reportCallIssue] (abstract fields hide its own)
        pid, targets, allowance
    )


def _window_size(count: int) -> int:
    """A power of two, so that few shapes of save times are ever compiled."""
    return min(_WINDOW, 2 ** math.ceil(math.log2(max(count, 1))))


def _next_allowance(allowance: int, seconds: float, capacity: int, recording: bool) -> int:
    """Steps for the next chunk, aiming at half a second of work."""
    factor = min(8.0, max(0.25, _SECONDS_A_CHUNK / max(seconds, 1e-3)))
    most = capacity if recording else 1_000_000
    return int(min(most, max(16, allowance * factor)))
