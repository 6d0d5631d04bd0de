r"""Runs that JAX differentiates: what is integrated while a user's own function is being traced.

Inside ``jax.grad``, ``jax.jvp``, ``jax.vmap`` or ``jax.jit`` there are no numbers to look at, so a
run is one diffrax solve with one solver. Its derivative is had in one of three ways.

``"direct"``
    The discrete solution is differentiated backwards, step by step, from checkpoints.
``"forward"``
    The discrete solution is differentiated forwards.
``"adjoint"``
    The continuous adjoint equation is integrated backwards along the stored solution.

The adjoint equation of :math:`\dot y = F(y, p)`,

.. math:: \dot\lambda = -J^\top\lambda, \qquad \frac{d}{dp} = \int \lambda^\top F_p\, dt,
          \qquad J = F_y,

is stable backwards in time where the flow contracts. Integrating y itself backwards, to save its
storage, is not: an error grows as :math:`e^{|J| t}`. So the solution is kept, as the polynomials
that the solver has for each of its steps.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax._src.core import trace_state_clean  # JAX has no public name for it
from jax.core import Tracer

from flowsim._checks import check_choice
from flowsim._errors import InputError
from flowsim._types import PyTree

__all__ = ["ADJOINTS", "integrate_traced", "is_traced", "refuse_untraceable", "traced_start"]

ADJOINTS = ("direct", "forward", "adjoint")
#: Steps that a run may take, and that it has storage for.
MOST_STEPS = {"direct": 65536, "forward": 65536, "adjoint": 4096}
#: Relative tolerance from which the eighth-order pair is the cheaper one.
HIGH_ACCURACY = 1e-5
#: An interpolant is less accurate than the steps that it joins; so they are made so much better.
INTERPOLATED = 0.01
#: Absolute tolerance of the adjoint, relative to its size at the end of a span and to rtol.
VANISHED = 1e-6
SMALLEST_RTOL = 1e-14


def is_traced(field: Callable, y0: PyTree, *numbers: Any) -> bool:
    """Whether a run is part of a function that JAX is tracing.

    Parameters
    ----------
    field
        ``(t, y, args) -> dy/dt``. Tracers that it closes over are found as well as those among its
        arrays.
    y0
        The start.
    numbers
        Whatever else may be traced, such as t0, t1 and ts.

    Returns
    -------
    bool

    Examples
    --------
    >>> import jax, numpy as np
    >>> seen = []
    >>> def size(rate):
    ...     seen.append(is_traced(lambda t, y, args: -rate * y, np.ones(2)))
    ...     return rate
    >>> _ = jax.grad(size)(1.0), size(1.0)
    >>> seen
    [True, False]
    """
    if trace_state_clean():
        return False  # nothing is traced anywhere, and the field need not be read
    leaves = jax.tree.leaves((eqx.filter(field, eqx.is_array), y0, numbers))
    if any(isinstance(leaf, Tracer) for leaf in leaves):
        return True
    if getattr(field, "backend", "jax") != "jax":
        return False
    try:
        program = jax.make_jaxpr(lambda y: field(np.float64(0.0), y, None))(y0)
    except Exception:  # a field that cannot be evaluated is complained of where it is checked
        return False
    return any(isinstance(constant, Tracer) for constant in program.consts)


def refuse_untraceable(**options: Any) -> None:
    """Refuse what a traced run cannot have, since it needs numbers to look at.

    Raises
    ------
    InputError
        If an option is given.
    """
    for name, value in options.items():
        if value is not None and not (name == "clock" and value == "time"):
            raise InputError(
                f"{name} is given, and this run is part of a function that JAX is tracing, where "
                "there are no numbers to decide on. Leave it out, or integrate outside."
            )


def traced_start(field: Any, y0: PyTree) -> PyTree:
    """The state that a start of tracers stands for, as :meth:`VectorField.start` orders it.

    Raises
    ------
    InputError
        If the field's start is more than an arrangement of the numbers given, as where an
        end-to-end value is lifted to factors.
    """
    leaves, structure = jax.tree.flatten(y0)
    sizes = [int(np.prod(np.shape(leaf))) for leaf in leaves]
    ends = np.cumsum([1, *sizes])
    # Numbered entries show where each of them goes.
    numbered = [
        np.arange(a, b, dtype=np.float64).reshape(np.shape(leaf))
        for a, b, leaf in zip(ends[:-1], ends[1:], leaves, strict=True)
    ]
    arranged = field.start(jax.tree.unflatten(structure, numbered))
    found = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(arranged)])
    if not np.array_equal(np.sort(found), np.arange(1, ends[-1])):
        raise InputError(
            "y0 is traced by JAX, and this field's start is computed from it outside JAX. Pass "
            "the state itself: the factors for a problem; or lower the law with "
            "strategy='spectral'."
        )
    flat = jnp.concatenate([jnp.ravel(jnp.asarray(leaf)) for leaf in leaves])
    return jax.tree.map(lambda leaf: flat[leaf.astype(int) - 1], arranged)


def integrate_traced(
    field: Callable,
    y0: PyTree,
    t0: Any,
    t1: Any,
    ts: Any = None,
    *,
    solver: Any = "auto",
    rtol: float = 1e-8,
    atol: Any = None,
    max_steps: int | None = None,
    adjoint: str = "direct",
) -> tuple[Any, PyTree, dict[str, Any]]:
    r"""Integrate a field as a JAX operation, with derivatives.

    Derivatives are those with respect to the start, to arrays that the field holds or closes over,
    and to the times. In each way they are as accurate as the run, about ``rtol``.

    Parameters
    ----------
    field
        ``(t, y, args) -> dy/dt``: a vector field, an Equinox module or a function.
    y0
        The start, a pytree of float64 arrays or tracers.
    t0, t1
        The span.
    ts
        Increasing times to record, shape (T,), at which steps end; None records t0 and t1.
    solver
        An adaptive diffrax solver; ``"auto"`` is Dopri8 for ``rtol`` up to 1e-5, else Tsit5.
    rtol, atol
        Tolerances of a step; ``atol`` None is ``rtol`` times the root mean square of the start.
    max_steps
        Budget of steps; None is 65536, and 4096 for ``"adjoint"``, which keeps every step.
    adjoint
        ``"direct"`` for reverse mode (``jax.grad``, ``jax.vjp``): memory for about
        :math:`\sqrt{2\,\text{max\_steps}}` states. ``"forward"`` for forward mode (``jax.jvp``,
        ``jax.jacfwd``). ``"adjoint"`` for reverse mode with any solver, one that cannot be
        differentiated itself included, and for forward over reverse (``jax.hessian``): memory for
        ``max_steps`` steps with their stages.

    Returns
    -------
    tuple
        The times (T,), the states with a leading axis of length T, and what the run cost.

    Raises
    ------
    InputError
        If an argument is wrong, or the start is not in float64.
    Exception
        Where the compiled run spends its budget or meets a value that is not finite: Equinox's
        runtime error, which can be caught outside of ``jit`` only.

    References
    ----------
    P. Kidger, On Neural Differential Equations (2021), section 5.1, arXiv:2202.02435.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, flowsim as fs
    >>> def decayed(rate):
    ...     flow = lambda t, y, args: -rate * y
    ...     return integrate_traced(flow, jnp.ones(1), 0.0, 2.0)[1][-1, 0]
    >>> with fs.float64():
    ...     round(float(jax.grad(decayed)(1.0)), 6)     # -2 exp(-2)
    -0.270671
    """
    check_choice("adjoint", adjoint, ADJOINTS)
    y0 = _in_float64("y0", y0)
    _in_float64("the field", eqx.filter(field, eqx.is_inexact_array))
    t0, t1 = (jnp.asarray(t, jnp.float64) for t in (t0, t1))
    ts = jnp.stack([t0, t1]) if ts is None else jnp.asarray(ts, jnp.float64)
    if solver == "auto":
        solver = diffrax.Dopri8() if rtol <= HIGH_ACCURACY else diffrax.Tsit5()
    if not isinstance(solver, diffrax.AbstractAdaptiveSolver):
        raise InputError(
            f"solver is {solver!r}; a run that JAX traces takes 'auto' or an adaptive diffrax "
            "solver object, such as diffrax.Tsit5()."
        )
    if atol is None:
        atol = rtol * jax.lax.stop_gradient(_root_mean_square(y0))
    steps = MOST_STEPS[adjoint] if max_steps is None else max_steps
    # What the field closes over becomes an argument, with respect to which it is differentiated.
    field = eqx.filter_closure_convert(field, t0, y0, None)
    # The adjoint of a Python number that is traced would be lost: JAX types those weakly.
    field = jax.tree.map(lambda x: jnp.asarray(x, x.dtype) if eqx.is_inexact_array(x) else x, field)
    run = _adjoint_run if adjoint == "adjoint" else _direct_run
    states, stats = run((field, y0, t0, ts), solver, rtol, atol, steps, adjoint)
    return ts, states, stats


def _direct_run(
    given: tuple, solver: Any, rtol: Any, atol: Any, steps: int, adjoint: str
) -> tuple[PyTree, dict[str, Any]]:
    """The discrete solution, which diffrax differentiates."""
    mode = diffrax.ForwardMode() if adjoint == "forward" else diffrax.RecursiveCheckpointAdjoint()
    solution = _solve(given, solver, rtol, atol, steps, mode, dense=False)
    return _finite(solution.ys), _stats(solution)


@eqx.filter_custom_vjp
def _adjoint_run(
    given: tuple, solver: Any, rtol: Any, atol: Any, steps: int, adjoint: str
) -> tuple[PyTree, dict[str, Any]]:
    """The solution with the derivative of the continuous adjoint equation."""
    return _direct_run(given, solver, rtol, atol, steps, "forward")


@_adjoint_run.def_fwd
def _adjoint_forward(
    perturbed: Any, given: tuple, solver: Any, rtol: Any, atol: Any, steps: int, adjoint: str
) -> tuple[Any, Any]:
    del perturbed, adjoint
    # Forward mode, so that what is done here can be differentiated forwards once more.
    fine = max(INTERPOLATED * rtol, SMALLEST_RTOL) / rtol
    mode = diffrax.ForwardMode()
    solution = _solve(given, solver, fine * rtol, fine * atol, steps, mode, dense=True)
    ys = _finite(solution.ys)
    return (ys, _stats(solution)), (ys, solution.interpolation)


@_adjoint_run.def_bwd
def _adjoint_backward(
    residuals: Any,
    cotangent: Any,
    perturbed: Any,
    given: tuple,
    solver: Any,
    rtol: Any,
    atol: Any,
    steps: int,
    adjoint: str,
) -> Any:
    del perturbed, atol, adjoint
    field, y0, t0, ts = given
    ys, path = residuals
    ct = jax.tree.map(_zeros_where_none, ys, cotangent[0], is_leaf=lambda leaf: leaf is None)
    arrays, rest = eqx.partition(field, eqx.is_inexact_array)

    def velocity(arrays: Any, t: Any, y: Any) -> Any:
        return eqx.combine(arrays, rest)(t, y, None)

    def backwards(t: Any, state: Any, args: Any) -> Any:
        del args
        pull = jax.vjp(lambda p, y: velocity(p, t, y), arrays, path.evaluate(t))[1]
        by_arrays, by_state = pull(state[0])
        return jax.tree.map(jnp.negative, (by_state, by_arrays))

    def span(state: Any, at: Any) -> tuple[Any, Any]:
        begin, end, added, y = at
        # A later time of recording moves the recorded state along the flow.
        by_time = _inner(added, velocity(arrays, end, y))
        state = (jax.tree.map(jnp.add, state[0], added), state[1])
        size = _root_mean_square(state[0])
        size = jnp.where(size > 0, size, 1.0)
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(backwards),
            solver,
            end,
            begin,
            None,
            state,
            # What is integrated of the adjoint has no part in the choice of its steps.
            stepsize_controller=diffrax.PIDController(
                rtol=rtol,
                atol=jax.lax.stop_gradient(VANISHED * rtol * size),
                norm=lambda scaled: _root_mean_square(scaled[0]),
            ),
            max_steps=4 * steps,
            adjoint=diffrax.ForwardMode(),
        )
        return jax.tree.map(lambda leaf: leaf[-1], solution.ys), by_time

    nothing = jax.tree.map(jnp.zeros_like, (y0, arrays))
    begins = jnp.concatenate([t0[None], ts[:-1]])
    (at_start, by_arrays), by_ts = jax.lax.scan(span, nothing, (begins, ts, ct, ys), reverse=True)
    by_t0 = -_inner(at_start, velocity(arrays, t0, y0))
    return by_arrays, at_start, by_t0, by_ts


def _solve(
    given: tuple, solver: Any, rtol: Any, atol: Any, steps: int, mode: Any, dense: bool
) -> diffrax.Solution:
    field, y0, t0, ts = given
    fixed = jax.lax.stop_gradient(ts)
    pid = diffrax.PIDController(rtol=rtol, atol=atol, pcoeff=0.2, icoeff=0.4)
    return diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        solver,
        t0,
        ts[-1],
        None,
        y0,
        saveat=diffrax.SaveAt(ts=ts, dense=dense),
        stepsize_controller=diffrax.ClipStepSizeController(pid, step_ts=fixed),
        max_steps=steps,
        adjoint=mode,
    )


def _in_float64(name: str, tree: PyTree) -> PyTree:
    for leaf in jax.tree.leaves(tree):
        kind = jnp.result_type(leaf)
        if kind != np.float64:
            raise InputError(
                f"{name} holds {kind} where JAX traces it, and a flow is integrated in float64. "
                "Put the whole call, jax.grad included, inside `with fs.float64():`, and start "
                "from float64 arrays."
            )
    return jax.tree.map(jnp.asarray, tree)


def _finite(states: PyTree) -> PyTree:
    """The states, with a runtime error where one is not finite."""
    bad = ~jnp.all(jnp.stack([jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(states)]))
    return eqx.error_if(states, bad, "the run reached a state that is not finite")


def _stats(solution: diffrax.Solution) -> dict[str, Any]:
    counts = solution.stats
    return {"steps": counts["num_accepted_steps"], "rejected": counts["num_rejected_steps"]}


def _root_mean_square(tree: PyTree) -> Any:
    leaves = jax.tree.leaves(tree)
    total = sum(jnp.sum(leaf**2) for leaf in leaves)
    square = total / max(1, sum(leaf.size for leaf in leaves))
    return jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1.0)), 0.0)


def _inner(a: PyTree, b: PyTree) -> Any:
    return sum(jnp.sum(x * y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


def _zeros_where_none(like: Any, value: Any) -> Any:
    return jnp.zeros_like(like) if value is None else value
