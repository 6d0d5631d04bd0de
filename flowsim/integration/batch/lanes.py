"""The compiled engine: lanes that step on their own and take the next problem when one is done.

Every lane has its own time, step length, tolerance, solver and controller state, and works on one
problem. One trial step of all lanes is one iteration of the inner loop, which ends when an eighth
of the lanes has something to hand over. The outer loop then writes records, and gives waiting
problems to idle lanes, so that nobody waits for the slowest. It pauses when the buffer of records
is full, problems run out, lanes have failed or its allowance is used up; Python, in
:mod:`flowsim.integration.batch.pool`, does the rest.
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from flowsim.integration.batch.steppers import LaneField
from flowsim.integration.loop import REMEMBERED, SMALLEST_NUMBER, SMALLEST_STEP

#: What a lane is doing: nothing; stepping; holding a record; a last record; or one of the failures.
IDLE, RUNNING, DUE, DONE, STUCK, SPENT, STIFF = range(7)

_SAFETY, _SMALLEST_FACTOR, _LARGEST_FACTOR = 0.9, 0.2, 10.0
_HELD = 0.5  # of the stability interval: a step beyond it is held by stability
_HELD_STEPS = 20


class Waiting(eqx.Module):
    """A page of problems that wait for a lane; one a row of each array.

    Attributes
    ----------
    index
        The problem's number, (Q,).
    t, end
        Where it stands and where it ends, (Q,).
    y
        Its state, (Q, size).
    cursor
        The place in the save times of the next record, (Q,).
    atol
        Absolute tolerances, (Q,).
    left
        Trial steps that it may take, (Q,).
    own
        Its arrays of the field, each with a leading axis (Q, ...).
    """

    index: Any
    t: Any
    end: Any
    y: Any
    cursor: Any
    atol: Any
    left: Any
    own: Any


class Lanes(eqx.Module):
    """The state of all lanes; arrays with the lane axis last.

    Attributes
    ----------
    status
        One of the codes of this module.
    problem
        As :class:`Waiting`, the problem of each lane, brought up to date.
    step
        The length of the next step, before it is cut to end at a save time.
    memory
        What the stepper remembers.
    error
        The scaled error of the last accepted step.
    held
        How many of the last steps were held by stability.
    accepted, rejected
        Trial steps so far.
    work
        Evaluations, Jacobians and Hessian products so far, (3, lanes).
    history
        Times, sizes and speeds of the last accepted steps, a ring of shape (32, 3, lanes).
    """

    status: Any
    problem: Waiting
    step: Any
    memory: Any
    error: Any
    held: Any
    accepted: Any
    rejected: Any
    work: Any
    history: Any


class Rows(eqx.Module):
    """Records as they were made: ``count`` rows hold.

    Attributes
    ----------
    tags
        Problem, place in the save times, and whether it is the last; accepted and rejected steps
        and work of a last one: (rows, 8).
    t, y
        Times (rows,) and states (rows, size).
    """

    tags: Any
    t: Any
    y: Any
    count: Any


class Rules(eqx.Module):
    """What holds for all lanes.

    Attributes
    ----------
    rtol
        Relative tolerance.
    ts
        Save times, padded with infinity, (T,).
    stability
        Length of the stability interval beyond half of which steps count as held; infinity where
        stiff lanes are to stay.
    worth
        Steps that a lane held by stability must have before it to be handed over.
    """

    rtol: Any
    ts: Any
    stability: Any
    worth: Any


@eqx.filter_jit
def idle_lanes(field: LaneField, stepper: Any, page: Waiting, count: int) -> Lanes:
    """Lanes without a problem, of the shapes that a page of problems asks for."""
    problem = jax.tree.map(lambda x: jnp.zeros((*x.shape[1:], count), x.dtype), page)
    own = field.of(problem.own)
    memory = stepper.init(own, problem.t, problem.t, problem.y, problem.y)
    zero = jnp.zeros(count, jnp.int64)
    return Lanes(
        status=jnp.full(count, IDLE, jnp.int32),
        problem=problem,
        step=problem.t,
        memory=jax.tree.map(jnp.zeros_like, memory),
        error=jnp.ones_like(problem.t),
        held=zero,
        accepted=zero,
        rejected=zero,
        work=jnp.zeros((3, count), jnp.int64),
        history=jnp.full((REMEMBERED, 3, count), jnp.nan),
    )


@eqx.filter_jit
def advance(
    field: LaneField,
    stepper: Any,
    rules: Rules,
    page: Waiting,
    taken: Any,
    available: Any,
    lanes: Lanes,
    rows: int,
    allowance: Any,
    fewest: Any,
) -> tuple[Lanes, Any, Rows]:
    """Run lanes until something is Python's to do.

    Parameters
    ----------
    page, taken, available
        Waiting problems, and the range of rows that still wait.
    lanes
        Lanes as a previous call left them, or as :func:`idle_lanes` makes them.
    rows
        The number of rows of the buffer of records, at least the number of lanes.
    allowance
        The number of iterations after which to pause.
    fewest
        Pause when no problem waits and no more than so many lanes are busy.

    Returns
    -------
    tuple
        The lanes, the number of problems taken from the page so far, and the records.
    """
    count = lanes.status.size
    share = max(1, count // 8)
    blank = Rows(
        jnp.zeros((rows, 8), jnp.int64),
        jnp.zeros(rows),
        jnp.zeros((rows, page.y.shape[1]), page.y.dtype),
        jnp.asarray(0),
    )

    def going(carry: Any) -> Any:
        lanes, taken, out, spent = carry
        failed = jnp.sum(lanes.status >= STUCK)
        busy = jnp.sum((lanes.status == RUNNING) | (lanes.status == DUE))
        work = (taken < available) | (busy > fewest)
        return work & (failed < share) & (spent < allowance) & (out.count + count <= rows)

    def body(carry: Any) -> Any:
        lanes, taken, out, spent = carry
        lanes, taken = _refill(field, stepper, rules, page, taken, available, lanes)

        def stepping(carry: Any) -> Any:
            lanes, spent = carry
            running = jnp.sum(lanes.status == RUNNING)
            resting = count - running
            quiet = jnp.sum(lanes.status == IDLE)
            return (running > 0) & (resting - quiet < share) & (spent < allowance)

        def step(carry: Any) -> Any:
            lanes, spent = carry
            return _step(field, stepper, rules, lanes), spent + 1

        lanes, spent = jax.lax.while_loop(stepping, step, (lanes, spent))
        lanes, out = _hand_over(lanes, out)
        return lanes, taken, out, spent

    lanes, taken, out, _ = jax.lax.while_loop(going, body, (lanes, taken, blank, jnp.asarray(0)))
    return lanes, taken, out


def _refill(
    field: LaneField,
    stepper: Any,
    rules: Rules,
    page: Waiting,
    taken: Any,
    available: Any,
    lanes: Lanes,
) -> tuple[Lanes, Any]:
    """Give waiting problems to idle lanes."""
    idle = lanes.status == IDLE
    source = taken + jnp.cumsum(idle) - 1
    fresh = idle & (source < available)
    source = jnp.clip(source, 0, page.t.shape[0] - 1)
    new = jax.tree.map(lambda x: jnp.moveaxis(x[source], 0, -1), page)
    problem = _where(fresh, new, lanes.problem)
    own = field.of(problem.own)
    step, velocity = _first_step(own, rules, problem, stepper.order)
    finite = jnp.all(jnp.isfinite(velocity), 0)
    zero = jnp.zeros_like(lanes.accepted)
    begun = Lanes(
        status=jnp.where(finite, RUNNING, STUCK).astype(jnp.int32),
        problem=problem,
        step=step,
        memory=stepper.init(own, problem.t, step, problem.y, velocity),
        error=jnp.ones_like(step),
        held=zero,
        accepted=zero,
        rejected=zero,
        work=jnp.zeros_like(lanes.work).at[0].set(2),
        history=jnp.full_like(lanes.history, jnp.nan),
    )
    return _where(fresh, begun, lanes), taken + jnp.sum(fresh)


def _first_step(field: LaneField, rules: Rules, problem: Waiting, order: float) -> tuple[Any, Any]:
    """A first step by Hairer's rule, and the velocity at the start.

    E. Hairer, S. P. Nørsett and G. Wanner, Solving Ordinary Differential Equations I, II.4.
    """
    t, y = problem.t, problem.y
    scale = problem.atol + rules.rtol * jnp.abs(y)
    d0 = _mean(y / scale)

    def slopes(i: Any, carry: Any) -> Any:
        """The velocity at the start, then that after a small Euler step; compiled once."""
        f0, _, h0, _ = carry
        f = field(t + h0, y + h0 * f0)
        d1 = _mean(f / scale)
        small = (d0 < 1e-5) | (d1 < 1e-5)
        h = jnp.where(small, 1e-6, 0.01 * d0 / jnp.where(small, 1.0, d1))
        begins = i == 0
        return jnp.where(begins, f, f0), f, jnp.where(begins, h, h0), d1

    zero = jnp.zeros_like(y)
    f0, f1, h0, _ = jax.lax.fori_loop(0, 2, slopes, (zero, zero, jnp.zeros_like(t), t))
    largest = jnp.maximum(_mean(f0 / scale), _mean((f1 - f0) / scale) / h0)
    flat = ~(largest > 1e-15)
    h1 = (0.01 / jnp.where(flat, 1.0, largest)) ** (1 / order)
    h = jnp.minimum(100 * h0, jnp.where(flat, jnp.maximum(1e-6, 1e-3 * h0), h1))
    left = problem.end - t
    h = jnp.where(jnp.isfinite(h) & (h > 0), h, left)
    return jnp.minimum(h, left), f0


def _step(field: LaneField, stepper: Any, rules: Rules, lanes: Lanes) -> Lanes:
    """One trial step of every lane; only those that run keep its outcome."""
    running, p = lanes.status == RUNNING, lanes.problem
    own = field.of(p.own)
    target = jnp.minimum(rules.ts[jnp.minimum(p.cursor, rules.ts.size - 1)], p.end)
    left = target - p.t
    arrives = lanes.step >= left * (1 - 1e-12)
    # Two equal steps instead of a long one and a sliver.
    h = jnp.where(2 * lanes.step > left, left / 2, lanes.step)
    t1 = jnp.where(arrives, target, p.t + h)
    h = t1 - p.t
    trial = stepper.step(own, p.t, h, p.y, lanes.memory, (rules.rtol, p.atol))
    scale = p.atol + rules.rtol * jnp.maximum(jnp.abs(p.y), jnp.abs(trial.y))
    size = _mean(trial.error / scale)
    finite = jnp.isfinite(size) & jnp.all(jnp.isfinite(trial.y), 0)
    keep = finite & (size <= 1)
    size = jnp.maximum(jnp.where(finite, size, 1.0), 1e-16)
    step = _next_step(stepper, lanes, h, size, keep, finite)
    step = jnp.where(jnp.isfinite(step), jnp.minimum(step, trial.longest), lanes.step)

    held = keep & (trial.stiffness > _HELD * rules.stability)
    held = jnp.where(held, lanes.held + 1, jnp.maximum(lanes.held - 1, 0))
    t = jnp.where(keep, t1, p.t)
    tried = lanes.accepted + lanes.rejected + 1
    too_small = ~keep & (step <= jnp.maximum(SMALLEST_STEP * jnp.abs(t), SMALLEST_NUMBER))
    stiff = (held >= _HELD_STEPS) & ((p.end - t) > rules.worth * h)
    status = jnp.full_like(lanes.status, RUNNING)
    status = jnp.where(stiff, STIFF, status)
    status = jnp.where(tried >= p.left, SPENT, status)
    status = jnp.where(too_small, STUCK, status)
    status = jnp.where(keep & (t >= target), jnp.where(t >= p.end, DONE, DUE), status)
    after = Lanes(
        status=status,
        problem=eqx.tree_at(lambda q: (q.t, q.y), p, (t, jnp.where(keep, trial.y, p.y))),
        step=step,
        memory=_where(keep, trial.accepted, trial.rejected),
        error=jnp.where(keep, size, lanes.error),
        held=held,
        accepted=lanes.accepted + keep,
        rejected=lanes.rejected + ~keep,
        work=lanes.work + trial.work,
        history=_remembered(lanes, t1, h, trial.y, keep),
    )
    return _where(running, after, lanes)


def _next_step(stepper: Any, lanes: Lanes, h: Any, size: Any, keep: Any, finite: Any) -> Any:
    """Proportional and integral control; an explicit method must not bounce off its limit."""
    proportional, integral = getattr(stepper.solver, "controller_coefficients", (0.2, 0.4))
    order = stepper.order
    factor = _SAFETY * size ** (-(proportional + integral) / order)
    factor = factor * lanes.error ** (proportional / order)
    largest = jnp.where(keep, _LARGEST_FACTOR, _SAFETY)
    factor = jnp.where(finite, jnp.clip(factor, _SMALLEST_FACTOR, largest), 0.1)
    # A step cut short to end at a target says nothing against the longer one planned before.
    planned = jnp.where(keep & (h < 0.99 * lanes.step), lanes.step, 0.0)
    return jnp.maximum(h * factor, planned)


def _remembered(lanes: Lanes, t1: Any, h: Any, y1: Any, keep: Any) -> Any:
    moved = jnp.sqrt(jnp.sum((y1 - lanes.problem.y) ** 2, 0))
    row = jnp.stack([t1, jnp.sqrt(jnp.sum(y1**2, 0)), moved / h])
    here = jnp.arange(REMEMBERED)[:, None, None] == lanes.accepted % REMEMBERED
    return jnp.where(here & keep, row, lanes.history)


def _hand_over(lanes: Lanes, out: Rows) -> tuple[Lanes, Rows]:
    """Write the records that are due, and let their lanes go on or idle."""
    p = lanes.problem
    last = lanes.status == DONE
    due = last | (lanes.status == DUE)
    first = jnp.argsort(
        ~due, stable=True
    )  # lanes with a record come first; the rest is overwritten
    tags = jnp.stack([p.index, p.cursor, last, lanes.accepted, lanes.rejected, *lanes.work])
    written = Rows(
        jax.lax.dynamic_update_slice(out.tags, tags[:, first].T, (out.count, 0)),
        jax.lax.dynamic_update_slice(out.t, p.t[first], (out.count,)),
        jax.lax.dynamic_update_slice(out.y, p.y[:, first].T, (out.count, 0)),
        out.count + jnp.sum(due),
    )
    status = jnp.where(last, IDLE, jnp.where(due, RUNNING, lanes.status))
    lanes = eqx.tree_at(lambda s: (s.status, s.problem.cursor), lanes, (status, p.cursor + due))
    return lanes, written


def _mean(x: Any) -> Any:
    """The root of the mean of squares over a state."""
    return jnp.sqrt(jnp.mean(x**2, 0))


def _where(lane: Any, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda a, b: jnp.where(lane, a, b).astype(b.dtype), new, old)
