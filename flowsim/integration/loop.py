"""The driver loop: one compiled program that takes a run from where it stands to its next pause.

The methods are diffrax's solvers and ours, the step-size control is diffrax's PID controller. The
loop around them is flowsim's, because an honest run needs what diffrax's own loop does not give:
steps that end exactly at the save times, so that values there come from the method and not from an
interpolant; a rejection where a trial value is not finite; what a rejected step cost, and what it
learned about the spectrum; stops that are asked at accepted steps only; and an end when the
allowance of steps is used up or steps have become too small to advance time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from flowsim.integration.solvers import cost_of_step, with_tolerances
from flowsim.integration.work import Work

#: A step below this fraction of the time no longer advances it by more than rounding.
SMALLEST_STEP = 1e-14
#: Near t = 0, where no fraction is too small, a step below this is no number any more.
SMALLEST_NUMBER = 1e-300
#: Accepted steps of which times, sizes and speeds are kept, from which a blow-up is read.
REMEMBERED = 32

# Why the loop paused.
GOING, ARRIVED, SPENT, STUCK, STOPPED, FENCED = range(6)


class Walk(eqx.Module):
    """Where a run stands between two steps.

    Attributes
    ----------
    t, y
        Time and state.
    step
        The length of the next step, before it is cut to end at a target.
    solver_state, controller_state
        What solver and controller remember.
    jumped
        Whether y is not the value that the solver's last step ended with.
    steps, rejected
        Trial steps so far.
    work
        What they cost.
    local_error
        The sum of the estimated errors of the accepted steps, each relative to the state.
    history
        Times, sizes |y| and speeds of the last accepted steps, shape (32, 3), a ring.
    """

    t: Any
    y: Any
    step: Any
    solver_state: Any
    controller_state: Any
    jumped: Any
    steps: Any
    rejected: Any
    work: Work
    local_error: Any
    history: Any


class Rules(eqx.Module):
    """What a run is asked for, as far as the loop is concerned.

    Attributes
    ----------
    rtol, atol
        Tolerances of a step.
    stop
        Asked at accepted steps: ``fires(t, y, velocity)``; or None.
    fence
        A function of the state and the value that it must not pass: the loop pauses before a step
        that would; or None.
    project
        Applied to accepted states, ``(t, y) -> y``; or None.
    """

    rtol: Any
    atol: Any
    stop: Any = None
    fence: tuple[Callable, Any] | None = None
    project: Any = None

    def controller(self, solver: Any) -> diffrax.PIDController:
        """The step-size controller, with the coefficients that suit the solver."""
        # A proportional part keeps explicit methods from bouncing off their stability limit.
        proportional, integral = getattr(solver, "controller_coefficients", (0.2, 0.4))
        return diffrax.PIDController(
            rtol=self.rtol, atol=self.atol, pcoeff=proportional, icoeff=integral
        )


class Records(NamedTuple):
    """Times (R,) and flat states (R, size) that a call recorded, of which ``count`` hold."""

    ts: Any
    states: Any
    count: Any


@eqx.filter_jit
def begin(field: Any, solver: Any, rules: Rules, t: Any, t1: Any, y: Any, step: Any = None) -> Walk:
    """The state before the first step; without a ``step``, its length follows Hairer's rule."""
    terms = diffrax.ODETerm(field)
    controller = rules.controller(solver)
    solver = with_tolerances(solver, controller)
    order = solver.error_order(terms)
    end, controller_state = controller.init(terms, t, t1, y, step, None, solver.func, order)
    # A constant start gives no scale for a step; Hairer's rule then proposes what it likes.
    proposed = jnp.where(jnp.isfinite(end - t) & (end > t), end - t, t1 - t)
    zero = jnp.zeros((), jnp.result_type(int))
    walk = Walk(
        t=t,
        y=y,
        step=jnp.minimum(proposed, t1 - t),
        solver_state=solver.init(terms, t, t + proposed, y, None),
        controller_state=controller_state,
        jumped=jnp.asarray(False),
        steps=zero,
        rejected=zero,
        work=Work.of(gradients=2 if step is None else 0),
        local_error=jnp.zeros(()),
        history=jnp.full((REMEMBERED, 3), jnp.nan),
    )
    return _committed(walk)


@eqx.filter_jit
def advance(
    field: Any,
    solver: Any,
    rules: Rules,
    walk: Walk,
    targets: Any,
    allowance: Any,
    capacity: int | None,
) -> tuple[Walk, Records, Any]:
    """Step until the last target, the allowance of steps, or whatever else ends it.

    Parameters
    ----------
    targets
        Increasing times at which a step has to end, shape (T,).
    allowance
        Number of trial steps after which to pause.
    capacity
        Record up to so many accepted steps; None records the states at the targets.

    Returns
    -------
    tuple
        The walk, the records and the code that says why the loop paused.
    """
    size = ravel_pytree(walk.y)[0].size
    rows = targets.size if capacity is None else capacity
    dtype = ravel_pytree(walk.y)[0].dtype
    blank = Records(
        jnp.full((rows,), jnp.nan), jnp.zeros((rows, size), dtype), jnp.zeros((), jnp.int32)
    )
    last = walk.steps + walk.rejected + allowance

    def going(carry: Any) -> Any:
        return carry[2] == GOING

    def body(carry: Any) -> Any:
        walk, records, _ = carry
        walk, kept, code = attempt(field, solver, rules, walk, targets)
        flat = ravel_pytree(walk.y)[0]
        # The row is written at every step and holds once the count has passed it.
        ts = records.ts.at[records.count].set(walk.t)
        states = records.states.at[records.count].set(flat)
        passed = kept if capacity is not None else kept & (walk.t >= targets[records.count])
        count = records.count + passed.astype(jnp.int32)
        code = jnp.where((code == GOING) & (walk.t >= targets[-1]), ARRIVED, code)
        spent = walk.steps + walk.rejected >= last
        if capacity is not None:
            spent = spent | (count >= capacity)
        code = jnp.where((code == GOING) & spent, SPENT, code)
        return walk, Records(ts, states, count), code

    walk, records, code = jax.lax.while_loop(
        going, body, (walk, blank, jnp.asarray(GOING, jnp.int32))
    )
    return _committed(walk), records, code


def attempt(
    field: Any, solver: Any, rules: Rules, walk: Walk, targets: Any
) -> tuple[Walk, Any, Any]:
    """Try one step; return the walk after it, whether it was accepted, and a code."""
    terms = diffrax.ODETerm(field)
    controller = rules.controller(solver)
    solver = with_tolerances(solver, controller)
    t0, y0, before = walk.t, walk.y, walk.solver_state
    t1 = _end(t0, walk.step, targets)
    y1, error, _, after, outcome = solver.step(terms, t0, t1, y0, None, before, walk.jumped)
    finite = _all_finite(y1) & _all_finite(error) & (outcome == diffrax.RESULTS.successful)
    # A trial value that is not finite is a rejection, with the step cut by ten; the controller is
    # shown the old value, so that no NaN enters its memory.
    shown = _where(finite, y1, y0)
    error = _where(finite, error, jax.tree.map(jnp.zeros_like, error))
    keep, next_t0, next_t1, _, controller_state, _ = controller.adapt_step_size(
        t0, t1, y0, shown, None, error, solver.error_order(terms), walk.controller_state
    )
    keep = keep & finite
    proposed = jnp.where(finite, next_t1 - next_t0, 0.1 * (t1 - t0))
    fenced = jnp.asarray(False)
    if rules.fence is not None:
        reading, limit = rules.fence
        fenced = keep & (reading(shown) > limit)
        keep = keep & ~fenced
    # A step cut short to end at a target says nothing against the longer one planned before.
    shortened = t1 - t0 < 0.99 * walk.step
    step = jnp.maximum(proposed, jnp.where(keep & shortened, walk.step, 0.0))
    learned = solver.learned(before, after) if hasattr(solver, "learned") else before
    solver_state = _where(keep, after, learned)
    if hasattr(solver, "longest_step"):
        step = jnp.minimum(step, solver.longest_step(solver_state))
    y = _where(keep, shown, y0)
    # A projected state stays one that the solver's memory does not know until a step is accepted.
    jumped = jnp.where(keep, False, walk.jumped)
    if rules.project is not None:
        y = _where(keep, rules.project(t1, y), y0)
        jumped = jnp.where(keep, True, walk.jumped)
    t = jnp.where(keep, t1, t0)
    new = Walk(
        t=t,
        y=y,
        step=step,
        solver_state=solver_state,
        controller_state=controller_state,
        jumped=jumped,
        steps=walk.steps + keep,
        rejected=walk.rejected + ~keep,
        work=walk.work + cost_of_step(solver, before, after),
        local_error=walk.local_error + jnp.where(keep, _size(error) / _scale(shown), 0.0),
        history=_remembered(walk, t1, shown, keep),
    )
    too_small = step <= jnp.maximum(SMALLEST_STEP * jnp.abs(t), SMALLEST_NUMBER)
    code = jnp.where(too_small & ~keep, STUCK, GOING)
    code = jnp.where(fenced, FENCED, code)
    if rules.stop is not None:
        fires = rules.stop.fires(t, y, terms.vf(t, y, None))
        code = jnp.where(keep & fires, STOPPED, code)
    return new, keep, code.astype(jnp.int32)


def history_of(walk: Walk) -> np.ndarray:
    """The times, sizes and speeds of the last accepted steps in order, shape (n, 3)."""
    ring = np.asarray(walk.history)
    rows = ring[np.isfinite(ring[:, 0])]
    return rows[np.argsort(rows[:, 0], kind="stable")]


def _remembered(walk: Walk, t1: Any, y1: Any, keep: Any) -> Any:
    moved = jax.tree.map(jnp.subtract, y1, walk.y)
    row = jnp.stack([t1, _size(y1), _size(moved) / (t1 - walk.t)])
    at = walk.steps % REMEMBERED
    return walk.history.at[at].set(jnp.where(keep, row, walk.history[at]))


def _end(t: Any, step: Any, targets: Any) -> Any:
    """The end of a step from t: at the next target if the step reaches it, else on the way."""
    index = jnp.minimum(jnp.searchsorted(targets, t, side="right"), targets.size - 1)
    target = targets[index]
    left = target - t
    # Two equal steps instead of a long one and a sliver.
    return jnp.where(
        step >= left * (1 - 1e-12), target, t + jnp.where(2 * step > left, left / 2, step)
    )


def _size(tree: Any) -> Any:
    """The Euclidean norm, without overflow."""
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)]
    largest = jnp.max(jnp.stack([jnp.max(jnp.abs(leaf), initial=0.0) for leaf in leaves]))
    unit = jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1.0)
    return unit * jnp.sqrt(sum(jnp.sum((leaf / unit) ** 2) for leaf in leaves))


def _scale(tree: Any) -> Any:
    return jnp.maximum(_size(tree), SMALLEST_NUMBER)


def _where(condition: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(condition, a, b), new, old)


def _all_finite(tree: Any) -> Any:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))


def _committed(walk: Walk) -> Walk:
    """The same values as arrays in dtypes of their own: Python's scalars would compile anew."""
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.result_type(leaf)), walk)
