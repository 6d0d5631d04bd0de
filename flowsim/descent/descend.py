"""The public verb ``descend``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from flowsim._checks import check_array, check_count, check_real, known_keywords, nearest
from flowsim._errors import InputError, IntegrationError
from flowsim._precision import in_float64
from flowsim._result import Reason, Result
from flowsim._types import ArrayLike, FloatArray, PyTree
from flowsim.descent.rules import GradientDescent, OptaxRule, Rule
from flowsim.instruments.monitors import monitor_of, with_drift
from flowsim.lowering import (
    VectorField,
    as_field,
    check_velocity,
    judge_loss,
    read_states,
    start_of,
)
from flowsim.problems import FunctionProblem, Problem
from flowsim.trajectory import Trajectory

_DEFAULT_RECORDS = 200
_LONGEST_CHUNK = 2**40  # many short chunks, each recorded, must not grow it beyond all numbers
_SECONDS_A_CHUNK = 0.5  # so that Ctrl-C, clock and progress are answered
_FIRST_CHUNK = 1000
_MOST_STEPS = 10**15


@known_keywords
@in_float64
def descend(
    field_or_problem: VectorField | Problem | FunctionProblem | Callable,
    y0: Any,
    *,
    steps: int,
    learning_rate: float | Callable[[Any], Any] | None = None,
    optimizer: str | optax.GradientTransformation = "gd",
    record: ArrayLike | None = None,
    max_seconds: float | None = None,
    monitor: Any = None,
    throw: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Trajectory:
    r"""Run gradient descent, or any optax transformation, on the field that the flow integrates.

    Gradient descent :math:`y_{k+1} = y_k + \eta F(y_k)` is Euler's method on the same lowered
    field, so that the gap between the two is discretisation and nothing else. All steps run in one
    compiled loop; only the recorded iterations are kept.

    Parameters
    ----------
    field_or_problem
        A problem, whose own parameters descend; a lowered law (descent on the end-to-end
        parameter, the "emulated" rule when lowered with strategy "spectral"); or a function
        ``(t, y, args) -> dy/dt``.
    y0
        The start, as for :func:`flowsim.integrate`.
    steps
        The number of steps.
    learning_rate
        The step size η > 0, or a schedule ``k -> η_k``. For an optax transformation, which has a
        step size of its own, it only says how much flow time a step counts as; None counts steps.
    optimizer
        ``"gd"``, or an optax transformation such as ``optax.adam(1e-3)``.
    record
        Iterations to record, increasing, from 0 to ``steps``; the run ends at the last. None
        records about 200, spaced evenly in their logarithm, with the first and the last.
    max_seconds
        Allowance of wall-clock time; None means no limit.
    monitor
        Conservation laws to watch, as for :func:`flowsim.integrate`.
    throw
        Whether a run that ends early raises, with what it has in the exception's ``trajectory``.
    progress
        Called now and then with the iteration reached.

    Returns
    -------
    Trajectory
        With ``ts`` = :math:`t_k = \sum_{j<k} \eta_j` and the iterations in
        ``stats["iterations"]``.

    Raises
    ------
    InputError
        If an argument is wrong; before any work starts.
    IntegrationError
        If the iterates leave the range of floating-point numbers and ``throw`` is true.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> loss = fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2, scale=1.0)   # mean of squares
    >>> gd = fs.descend(fs.Problem(loss, fs.Identity(2)), np.zeros(2), learning_rate=0.5, steps=2)
    >>> gd.end_to_end.tolist()
    [[0.0, 0.0], [0.5, 1.0], [0.75, 1.5]]
    >>> gd.ts.tolist()
    [0.0, 0.5, 1.0]
    """
    field = as_field(field_or_problem)
    if field.backend != "jax":
        raise InputError(
            "the field is lowered to NumPy; descent runs in one compiled loop and needs a JAX "
            "field. Lower it with backend='jax'."
        )
    steps = check_count("steps", steps)
    if steps > _MOST_STEPS:
        raise InputError(f"steps is {steps}, where at most {_MOST_STEPS} can be counted and run.")
    rule = _rule(optimizer, learning_rate)
    iterations = recorded_iterations(record, steps)
    if max_seconds is not None:
        max_seconds = check_real("max_seconds", max_seconds, above=0.0)
    if progress is not None and not callable(progress):
        raise InputError(f"progress is {progress!r}; pass a function, or None.")
    start = start_of(field, y0)
    check_velocity(field, start, 0.0)
    _check_rule(rule, start)
    watched = monitor_of(monitor, start)
    run = _descend(field, start, rule, iterations, max_seconds, progress)
    trajectory = with_drift(run, watched)
    if throw and not trajectory.result.success:
        raise IntegrationError(str(trajectory.result), trajectory)
    return trajectory


class _Carry(eqx.Module):
    """State, the rule's memory, and the time as a sum with its rounding error beside it."""

    y: PyTree
    memory: PyTree
    k: Any
    t: Any
    lost: Any


def _descend(
    field: VectorField,
    start: PyTree,
    rule: Rule,
    iterations: FloatArray,
    max_seconds: float | None,
    progress: Callable[[int], None] | None,
) -> Trajectory:
    began = time.monotonic()
    y0 = jax.tree.map(jnp.asarray, start)
    zero = jnp.zeros(())
    carry = _Carry(y0, rule.init(y0), jnp.zeros((), jnp.int64), zero, zero)
    k, chunk = 0, _FIRST_CHUNK
    recorded: list[tuple[int, float, PyTree]] = []
    result = Result(Reason.completed)
    if not bool(_finite(field(zero, y0, None))):
        result = Result(Reason.nonfinite_field, "It fails at the start.")
    try:
        for target in iterations:
            while k < target and result.success:
                n = int(min(chunk, target - k))
                before, tick = carry, time.monotonic()
                carry = _advance(field, rule, carry, np.int64(n))
                if not bool(_finite(carry.y)):
                    carry = _advance_while_finite(field, rule, before, np.int64(n))
                    k = int(carry.k)
                    result = Result(
                        Reason.diverged,
                        f"The state was last finite at iteration {k}, t = {float(carry.t):.6g}.",
                    )
                    break
                k += n
                seconds = time.monotonic() - tick
                growth = min(8.0, max(0.2, _SECONDS_A_CHUNK / max(seconds, 1e-4)))
                chunk = min(_LONGEST_CHUNK, max(1, int(chunk * growth)))
                if progress:
                    progress(k)
                if max_seconds is not None and time.monotonic() - began > max_seconds:
                    result = Result(Reason.wall_clock, f"It had reached iteration {k}.")
            if not recorded or k > recorded[-1][0]:
                recorded.append((k, float(carry.t), jax.tree.map(np.asarray, carry.y)))
            if not result.success:
                break
    except KeyboardInterrupt:
        result = Result(Reason.interrupted, f"It had reached iteration {k}.")
    kept = np.array([k for k, _, _ in recorded])
    times = np.array([t for _, t, _ in recorded])
    if rule.constant_duration is not None:
        times = kept * rule.constant_duration  # exact to rounding, however many steps
    states = jax.tree.map(lambda *leaves: np.stack(leaves), *(y for _, _, y in recorded))
    end_to_end, loss = read_states(field, states)
    result = judge_loss(field, times, loss, result)
    return Trajectory(
        ts=times,
        states=states,
        loss=loss,
        end_to_end=end_to_end,
        stats={
            "gradients": k,
            "hessian_products": 0,
            "steps": k,
            "rejected": 0,
            "iterations": kept,
            "seconds": time.monotonic() - began,
        },
        result=result,
        settings={
            "optimizer": type(rule).__name__,
            "learning_rate": rule.constant_duration or "schedule",
            "strategy": field.about.strategy,
            "dtype": str(np.result_type(*jax.tree.leaves(start))),
        },
        parent=field.about.parent,
    )


@eqx.filter_jit
def _advance(field: VectorField, rule: Rule, carry: _Carry, n: Any) -> _Carry:
    """Take n steps."""
    return jax.lax.fori_loop(0, n, lambda _, c: _step(field, rule, c), carry)


@eqx.filter_jit
def _advance_while_finite(field: VectorField, rule: Rule, carry: _Carry, n: Any) -> _Carry:
    """Take at most n steps, and none that leaves the range of floating-point numbers."""
    last = carry.k + n

    def going(pair: tuple[_Carry, _Carry]) -> Any:
        now, ahead = pair
        return (now.k < last) & _finite(ahead.y)

    def move(pair: tuple[_Carry, _Carry]) -> tuple[_Carry, _Carry]:
        _, ahead = pair
        return ahead, _step(field, rule, ahead)

    return jax.lax.while_loop(going, move, (carry, _step(field, rule, carry)))[0]


def _step(field: VectorField, rule: Rule, c: _Carry) -> _Carry:
    velocity = field(c.t, c.y, None)
    y, memory = rule.update(c.y, velocity, c.memory, c.k)
    # Kahan's summation: a plain sum of 10^7 step sizes is wrong in its tenth digit.
    duration = rule.duration(c.k) - c.lost
    t = c.t + duration
    return _Carry(y, memory, c.k + 1, t, (t - c.t) - duration)


@jax.jit
def _finite(y: PyTree) -> Any:
    return jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(y)]))


def _check_rule(rule: Rule, start: PyTree) -> None:
    """Try one step without computing it, and the first step size of a schedule."""
    if callable(getattr(rule, "learning_rate", None)):
        try:
            first = float(jnp.asarray(rule.duration(jnp.zeros((), jnp.int64))))
        except Exception as error:  # whatever the user's function raises
            raise InputError(
                f"learning_rate is a schedule that fails at iteration 0: {error}. It must map a "
                "traced integer to one step size; use jax.numpy.where instead of if."
            ) from None
        check_real("learning_rate(0)", first, above=0.0)
    try:
        jax.eval_shape(
            lambda y: rule.update(y, y, rule.init(y), jnp.zeros((), jnp.int64))[0], start
        )
    except Exception as error:  # whatever the user's schedule or transformation raises
        raise InputError(
            f"optimizer or learning_rate cannot take a step: {error}. Schedules must be traceable "
            "by JAX; transformations that ask for the loss's value, such as line searches, are "
            "not supported."
        ) from None


def _rule(optimizer: Any, learning_rate: Any) -> Rule:
    if isinstance(optimizer, optax.GradientTransformation):
        clock = 1.0 if learning_rate is None else learning_rate
        return OptaxRule(optimizer, jnp.asarray(check_real("learning_rate", clock, above=0.0)))
    if optimizer != "gd":
        raise InputError(
            f"optimizer is {optimizer!r}; pass 'gd' or an optax transformation, such as "
            f"optax.adam(1e-3).{nearest(optimizer, ('gd',))}"
        )
    if callable(learning_rate):
        return GradientDescent(learning_rate)
    if learning_rate is None:
        raise InputError("learning_rate is missing; gradient descent needs a step size, above 0.")
    return GradientDescent(jnp.asarray(check_real("learning_rate", learning_rate, above=0.0)))


def recorded_iterations(record: ArrayLike | None, steps: int) -> FloatArray:
    """Return the iterations to record, validated; spaced in their logarithm where None is given."""
    if record is None:
        spaced = np.geomspace(1, steps, _DEFAULT_RECORDS)
        return np.unique(np.concatenate([[0], np.round(spaced).astype(np.int64), [steps]]))
    array = check_array("record", record, ndim=1)
    if not array.size or (array != np.round(array)).any() or (np.diff(array) <= 0).any():
        raise InputError(
            "record must hold increasing iterations, such as numpy.arange(0, 101, 10)."
        )
    if array[0] < 0 or array[-1] > steps:
        raise InputError(
            f"record runs from {array[0]:g} to {array[-1]:g}, outside 0 to steps = {steps}."
        )
    return array.astype(np.int64)
