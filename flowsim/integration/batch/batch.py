"""The verb ``integrate_batch``."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any, Protocol

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_array, check_count, check_real, check_times, known_keywords
from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._types import ArrayLike, FloatArray, PyTree
from flowsim.integration.batch.inputs import Structure, absolute_tolerances, read_problems
from flowsim.integration.batch.pool import Group, Log, Plan, name_of, run_on_lanes
from flowsim.integration.batch.result import Batch, BatchError, Part
from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.solvers import REAL_STABILITY, resolve_solver, solver_name
from flowsim.integration.stabilized.rock4 import ROCK4
from flowsim.lowering import judge_loss
from flowsim.lowering.fields import CallableField
from flowsim.trajectory import Trajectory

_DEFAULT_STEPS = 1_000_000
_SMALLEST_RTOL = 1e-14
_HIGH_ACCURACY = 1e-5  # relative tolerance from which the eighth-order pair is the cheaper one
_LARGEST_IMPLICIT = 1000  # state size up to which an exact Jacobian is formed
_READ = 256  # states whose losses one call evaluates


class Engine(Protocol):
    """What runs the problems of one structure: on this machine's processor, or elsewhere.

    It takes them as arrays and gives back the log of what became of each, in order; it raises for
    nothing that happens to a single problem.
    """

    def __call__(self, group: Group, plan: Plan) -> Log:
        """Run all problems of a group."""
        ...


def engine_of(group: Group) -> Engine:
    """The engine for a group. There is one; others plug in here."""
    del group
    return run_on_lanes


@known_keywords
@in_float64
def integrate_batch(
    fields: Any,
    y0: Any,
    t1: ArrayLike,
    *,
    t0: float = 0.0,
    ts: ArrayLike | None = None,
    solver: Any = "auto",
    rtol: float = 1e-8,
    atol: float | None = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    throw: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Batch:
    r"""Integrate many flows :math:`\dot y_i = F_i(y_i)` at once, none waiting for another.

    Every problem has its own times and step lengths. One that is done, or fails, makes room for the
    next; one that turns out stiff goes on with a solver for stiff problems, on its own. A problem
    that fails costs the others nothing and keeps its reason.

    Parameters
    ----------
    fields
        One problem, lowered law or function as in :func:`flowsim.integrate`, for all starts; or a
        list of them, one for each trajectory. Those of a list that differ in the numbers in their
        arrays alone (the data of a loss, the arrays of an Equinox module) are run together; others,
        such as networks of different depths, are run as separate batches, and all come back in the
        order of the list.
    y0
        For one field: starts stacked, every array with one extra leading axis of length n, or a
        list of n starts. For a list of fields: a list with a start for each, or a single start for
        all. A list is always a list of starts; a start that consists of factors is a tuple.
    t1
        Final time, or one for each problem, (n,).
    t0
        Initial time of all.
    ts
        Times to record, shared by all, strictly increasing in [t0, max(t1)]; steps end at each. A
        problem ends at the last of them within its own t1. None records the start and the end
        alone, so that the memory of a batch is known beforehand: n times the record.
    solver
        ``"auto"``, a diffrax solver object or name. ``"auto"`` is an explicit pair, Dopri8 for
        rtol up to 1e-5 and Tsit5 above; a problem whose steps stability holds down goes on with
        linearly implicit extrapolation where the state has at most 1000 numbers, and with ROCK4
        where it has more.
    rtol
        Relative tolerance of a step.
    atol
        Absolute tolerance; None means ``rtol`` times the scale of each start by itself.
    max_steps
        Budget of steps of each problem, accepted and rejected; None means a million.
    max_seconds
        Allowance of wall-clock time for the whole batch; None means no limit.
    throw
        Whether a batch in which a problem failed raises, with all trajectories in the exception's
        ``batch``. The default returns them, and the batch says which failed in ``failed``.
    progress
        Called now and then with the number of problems that are over.

    Returns
    -------
    Batch
        A sequence of trajectories in the order of the problems.

    Raises
    ------
    InputError
        If an argument is wrong; before any work starts.
    BatchError
        If a problem failed and ``throw`` is true.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> from flowsim.integration.batch import integrate_batch
    >>> loss = fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2, scale=1.0)   # mean of squares
    >>> starts = np.array([[0.0, 0.0], [1.0, 0.0], [2.0, 2.0]])
    >>> flows = integrate_batch(fs.Problem(loss, fs.Identity(2)), starts, t1=1.0)
    >>> target = np.array([1.0, 2.0])
    >>> np.allclose(flows.final, target + (starts - target) * np.exp(-1.0), rtol=1e-7)
    True
    """
    began = time.perf_counter()
    t0 = check_real("t0", t0)
    rtol = check_real("rtol", rtol, above=0.0, below=1.0)
    if rtol < _SMALLEST_RTOL:
        raise InputError(
            f"rtol is {rtol:g}, finer than float64 can resolve. Pass at least {_SMALLEST_RTOL:g}."
        )
    if progress is not None and not callable(progress):
        raise InputError(f"progress is {progress!r}; pass a function, or None.")
    budget = _DEFAULT_STEPS if max_steps is None else check_count("max_steps", max_steps)
    deadline = None
    if max_seconds is not None:
        deadline = time.monotonic() + check_real("max_seconds", max_seconds, above=0.0)
    resolve_solver(solver, "diffrax", "jax")
    structures = read_problems(fields, y0, t0)
    n = sum(s.problems.size for s in structures)
    last = _final_times(t1, t0, n)
    times = None if ts is None else check_times(ts, t0, float(last.max()))
    ends = last if times is None else _ends(times, last)
    parts, where, over = [], np.zeros((n, 2), int), 0
    for number, structure in enumerate(structures):
        group = Group(
            field=structure.field,
            own=structure.own,
            starts=structure.starts,
            t0=t0,
            ends=ends[structure.problems],
            ts=times,
            rtol=rtol,
            atol=absolute_tolerances(atol, rtol, structure.trees),
            max_steps=budget,
        )
        plan = _plan(solver, group, deadline)
        if progress is not None:
            plan = dataclasses.replace(plan, progress=lambda k, before=over: progress(before + k))
        parts.append(_part(structure, group, plan, engine_of(group)(group, plan)))
        where[structure.problems, 0] = number
        where[structure.problems, 1] = np.arange(structure.problems.size)
        over += structure.problems.size
    batch = Batch(tuple(parts), where, time.perf_counter() - began)
    if throw and batch.failed.size:
        raise BatchError(batch)
    return batch


def _final_times(t1: ArrayLike, t0: float, n: int) -> FloatArray:
    given = check_array("t1", t1, ndim=(0, 1)).astype(np.float64)
    if given.ndim and given.shape != (n,):
        raise InputError(f"t1 has shape {given.shape}; pass one time, or {n}, one for each.")
    last = np.broadcast_to(given, (n,)).copy()
    if not (last > t0).all():
        raise InputError(
            f"t1 is {last.min():g}, which is not after t0 = {t0:g}. Flow time runs forward."
        )
    return last


def _ends(times: FloatArray, last: FloatArray) -> FloatArray:
    """The last save time within each problem's own final time."""
    place = np.searchsorted(times, last, side="right") - 1
    if (place < 0).any():
        i = int(np.argmax(place < 0))
        raise InputError(
            f"ts begins at {times[0]:g}, after t1 = {last[i]:g} of problem {i}, of which nothing "
            "would be recorded. Begin ts earlier, or move that t1."
        )
    return times[place]


def _plan(solver: Any, group: Group, deadline: float | None) -> Plan:
    size = group.starts.shape[1]
    if solver != "auto":
        chosen = resolve_solver(solver, "diffrax", "jax")[1]
        return Plan(chosen, None, np.inf, np.inf, deadline)
    name = "dopri8" if group.rtol <= _HIGH_ACCURACY else "tsit5"
    explicit = diffrax.Dopri8() if name == "dopri8" else diffrax.Tsit5()
    stiff = LinearlyImplicitExtrapolation() if size <= _LARGEST_IMPLICIT else ROCK4()
    # The explicit steps of one lane that cost about as much as to begin anew on others.
    return Plan(explicit, stiff, REAL_STABILITY[name], 1000.0 + 10.0 * size, deadline)


def _part(structure: Structure, group: Group, plan: Plan, log: Log) -> Part:
    """Read the record of a group."""
    field, shapes = structure.field, structure.field.shapes
    n, records = log.ts.shape
    ends = np.cumsum([0, *(int(np.prod(shape)) for shape in shapes)])
    pieces = [
        log.states[:, :, a:b].reshape((n, records, *shape))
        for a, b, shape in zip(ends, ends[1:], shapes, strict=False)
    ]
    end_to_end, loss = _read(group, log)
    # A plain function has no loss; of the others few have one that is not a number.
    lacking = isinstance(structure.of(0), CallableField)
    broken: Any = np.isnan(loss).any(axis=1) & (not lacking)
    results = [
        judge_loss(structure.of(i), log.ts[i], loss[i, : log.counts[i]], result)
        if broken[i]
        else result
        for i, result in enumerate(log.results)
        if result is not None
    ]

    def settings(i: int) -> dict[str, Any]:
        about = structure.of(i).about
        return {
            "solver": name_of(plan, log, i),
            "backend": "diffrax",
            "strategy": about.strategy,
            "strategy_reason": about.reason,
            "rtol": group.rtol,
            "atol": float(group.atol[i]),
            "dtype": "float64",
            "asked_solver": "auto" if plan.stiff_solver is not None else solver_name(plan.solver),
        }

    def go_on(i: int) -> Callable[[float, PyTree, FloatArray], Trajectory]:
        def piece(t: float, state: PyTree, times: FloatArray) -> Trajectory:
            one = _one_more(structure, group, i, t, state, times)
            quiet = dataclasses.replace(plan, deadline=None, progress=None)
            alone = dataclasses.replace(
                structure, problems=np.arange(1), fields=[structure.of(i)], own=one.own
            )
            return _part(alone, one, quiet, engine_of(one)(one, quiet)).trajectory(0, 0.0)

        return in_float64(piece)

    return Part(
        ts=log.ts,
        states=jax.tree.unflatten(field.structure, pieces),
        end_to_end=end_to_end,
        loss=loss,
        counts=log.counts,
        extra=log.extra,
        costs={
            "gradients": log.work[:, 0],
            "jacobians": log.work[:, 1],
            "hessian_products": log.work[:, 2],
            "steps": log.steps,
            "rejected": log.rejected,
        },
        results=results,
        settings=settings,
        parents=lambda i: structure.of(i).about.parent,
        go_on=go_on,
    )


def _one_more(
    structure: Structure, group: Group, i: int, t: float, state: PyTree, times: FloatArray
) -> Group:
    """The group of one problem that goes on from a state."""
    flat = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(state)])[None]
    return dataclasses.replace(
        group,
        own=jax.tree.map(lambda x: x[i : i + 1], structure.own),
        starts=flat,
        t0=t,
        ends=np.array([times[-1]]),
        ts=np.asarray(times),
        atol=group.atol[i : i + 1],
    )


def _read(group: Group, log: Log) -> tuple[FloatArray | None, FloatArray]:
    """End-to-end values (n, R, ...) or None, and losses (n, R), of all records."""
    n, records = log.ts.shape
    problem, place = np.nonzero(np.arange(records) < log.counts[:, None])
    loss = np.zeros((n, records))
    end_to_end: FloatArray | None = None
    for first in range(0, problem.size, _READ):
        rows = np.minimum(np.arange(first, first + _READ), problem.size - 1)
        i, k = problem[rows], place[rows]
        own = jax.tree.map(lambda x, i=i: np.moveaxis(x[i], 0, -1), group.own)
        states = np.ascontiguousarray(log.states[i, k].T)
        value, read = _read_states(group.field.of(own), log.ts[i, k], states)
        loss[i, k] = np.asarray(value)
        if read is not None:
            read = np.moveaxis(np.asarray(read), -1, 0)
            if end_to_end is None:
                end_to_end = np.zeros((n, records, *read.shape[1:]))
            end_to_end[i, k] = read
    return end_to_end, loss


@eqx.filter_jit
def _read_states(field: Any, t: Any, y: Any) -> tuple[Any, Any]:
    def one(field: Any, t: Any, y: PyTree) -> tuple[Any, Any]:
        del t
        return jnp.asarray(field.value(y), float), field.read(y)

    return field.read(one, t, y)
