"""The public verb ``integrate``."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_choice, check_count, check_real, check_times, known_keywords
from flowsim._errors import InputError, IntegrationError, ToleranceWarning
from flowsim._precision import in_float64
from flowsim._result import Reason, Result
from flowsim._threads import one_blas_thread
from flowsim._types import ArrayLike, FloatArray, PyTree
from flowsim.instruments.energy import EnergyField, Moving, with_energy
from flowsim.instruments.monitors import chosen_laws, monitor_of, split_energy, with_drift
from flowsim.instruments.monotony import check_monotony
from flowsim.integration.batch import integrate_batch, is_batch
from flowsim.integration.clocks import check_clock, run_on_clock
from flowsim.integration.differentiable import (
    ADJOINTS,
    integrate_traced,
    is_traced,
    refuse_untraceable,
    traced_start,
)
from flowsim.integration.diffrax_engine import run_diffrax
from flowsim.integration.layout import Layout
from flowsim.integration.projection import Projector
from flowsim.integration.run import Run
from flowsim.integration.scipy_engine import run_scipy
from flowsim.integration.solvers import SCIPY_SOLVERS, resolve_solver, solver_name
from flowsim.integration.stops import as_stop
from flowsim.integration.taylor_engine import check_taylor, run_taylor
from flowsim.integration.views import PlainRate, PlainStop
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

_ENGINES = {"diffrax": run_diffrax, "scipy": run_scipy, "heyoka": run_taylor}
_DEFAULT_STEPS = 1_000_000
_SMALLEST_RTOL = 1e-14
_BY_CHANCE = 0.01  # of the size to be expected of the smallest entry of an array
_SMALLEST_ATOL = 1e-300  # instead of 0, which makes the relative error of an exact zero 0/0


@known_keywords
@in_float64
def integrate(
    field_or_problem: Any,
    y0: Any,
    t1: Any,
    *,
    t0: float = 0.0,
    ts: ArrayLike | None = None,
    solver: Any = "auto",
    backend: str | None = None,
    rtol: float = 1e-8,
    atol: float | None = None,
    clock: str | Callable = "time",
    stop: Any = None,
    max_steps: int | None = None,
    max_seconds: float | None = None,
    monitor: Any = None,
    project: Any = None,
    adjoint: str = "direct",
    batch: bool | None = None,
    throw: bool = True,
    progress: Callable[[float], None] | None = None,
) -> Any:
    r"""Integrate a flow :math:`\dot y = F(y)` from t0 to t1, adaptively and in float64.

    Parameters
    ----------
    field_or_problem
        A problem, whose own parameters flow; a lowered law, whose end-to-end parameter flows; or
        a function ``(t, y, args) -> dy/dt``. A list of them is a batch; see ``batch``.
    y0
        The start: parameters for a problem, an end-to-end value of shape (k, d) or (d,) for a
        lowered law, whatever its strategy. One more leading axis of length n in every array makes
        a batch of n starts.
    t1
        Final time, after t0; in flow time, which gradient descent with step size η passes at rate
        η an iteration.
    t0
        Initial time.
    ts
        Times to record, strictly increasing in [t0, t1]. Steps end at each of them, so the values
        are the method's and no interpolant's; the run ends at the last. None records the steps
        that the integrator takes, at most about 2000 of them.
    solver
        ``"auto"``, a diffrax solver object, or a name: a SciPy method (``"LSODA"``, ``"Radau"``,
        ...) or a diffrax solver in lower case (``"dopri8"``, ``"extrapolation"``, ...). On diffrax
        ``"auto"`` begins with an explicit pair where the flow is not stiff and changes to
        linearly implicit extrapolation where stability would hold the step down, for states of at
        most 1000 numbers; on SciPy it is LSODA. ``settings["solver"]`` says what was chosen, when
        and why.
    backend
        ``"diffrax"`` or ``"scipy"``; None takes the solver's, and for ``"auto"`` diffrax, or SciPy
        for a field lowered to NumPy.
    rtol
        Relative tolerance of a step.
    atol
        Absolute tolerance; None means ``rtol`` times the scale of the start, the smallest root
        mean square among its nonzero arrays. A larger one hides the escape from a saddle: from a
        start of 1e-12 explicit pairs come out 30 % late and implicit ones never escape. Where
        large and tiny entries share an array a warning says so.
    clock
        The variable that is stepped in: ``"time"``; ``"log"``, log(1 + t - t0), for slow tails;
        ``"loss"``, in which time passes at the rate of the loss, for separable data; or a rate of
        your own, a positive function ``(t, y) -> dσ/dt``. Times given and returned are flow times
        whatever the clock.
    stop
        What ends the run before t1, asked at accepted steps: a condition ``(t, y) -> bool``, which
        must be traceable by JAX on diffrax; a number, to which the loss is to come down;
        ``"minimum"`` or :class:`Minimum`, which is confirmed by the curvature of the loss, so that
        a saddle plateau is passed; or a tuple of these.
    max_steps
        Budget of steps, accepted and rejected; None means a million.
    max_seconds
        Allowance of wall-clock time, compilation included; None means no limit.
    monitor
        Conservation laws to watch, from ``conservation_laws(parametrization)``; ``"energy"``, the
        identity f(0) - f(t) = ∫|∇f|²; or a list of both. Their drift at the recorded times is the
        trajectory's ``drift``, and ``stats["error_from_laws"]`` the error that laws give away, to
        be held beside the solver's own ``stats["local_error"]``.
    project
        Conservation laws onto whose level set the state is put back after every accepted step.
    adjoint
        How a run is differentiated that JAX traces, inside ``jax.grad`` and the like: ``"direct"``,
        ``"forward"`` or ``"adjoint"``; see :mod:`flowsim.integration.differentiable`.
    batch
        Whether many flows are asked for, which are then integrated at once, none waiting for
        another; see :func:`flowsim.integration.batch.integrate_batch`, which says what fields,
        starts and times may be. None reads it off the fields and the start; for the starts of a
        plain function, whose states may have any shape, pass True. With ``throw``, a batch in which
        some fail raises with all that there is in the exception's ``batch``.
    throw
        Whether a run that does not do what was asked raises, with what it has in the exception's
        ``trajectory``; otherwise the trajectory is returned with the reason in ``result``.
    progress
        Called now and then with the time reached.

    Returns
    -------
    Trajectory, or Batch
        A :class:`flowsim.integration.batch.Batch` is a sequence of trajectories in order.

    Notes
    -----
    Functions are compiled once and then known by their identity, as JAX does: to change a number
    inside one, make a new function, or an Equinox module with the number as an array.

    Raises
    ------
    InputError
        If an argument is wrong; before any work starts.
    HypothesisError
        If factors are given to an end-to-end law whose hypotheses they do not satisfy.
    IntegrationError
        If the run ends early and ``throw`` is true.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> loss = fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2, scale=1.0)   # mean of squares
    >>> flow = fs.integrate(fs.Problem(loss, fs.Identity(2)), np.zeros(2), t1=1.0, ts=[0.5, 1.0])
    >>> np.allclose(flow.end_to_end[-1], np.array([1.0, 2.0]) * (1 - np.exp(-1.0)), rtol=1e-7)
    True
    """
    if batch or (batch is None and is_batch(field_or_problem, y0)):
        _only_single(backend=backend, clock=clock, stop=stop, monitor=monitor, project=project)
        return integrate_batch(
            field_or_problem,
            y0,
            t1,
            t0=t0,
            ts=ts,
            solver=solver,
            rtol=rtol,
            atol=atol,
            max_steps=max_steps,
            max_seconds=max_seconds,
            throw=throw,
            progress=progress,
        )
    field = as_field(field_or_problem, backend=_field_backend(field_or_problem, solver, backend))
    chosen, solver = resolve_solver(solver, backend, field.backend)
    if is_traced(field, y0, t0, t1, ts):
        refuse_untraceable(clock=clock, stop=stop, monitor=monitor, project=project)
        return _traced(field, y0, t0, t1, ts, solver, rtol, atol, max_steps, adjoint)
    t0 = check_real("t0", t0)
    t1 = check_real("t1", t1)
    if not t1 > t0:
        raise InputError(f"t1 is {t1:g}, which is not after t0 = {t0:g}. Flow time runs forward.")
    times = None if ts is None else check_times(ts, t0, t1)
    # A float32 start is a float64 number as well, and its flow is known to more than seven digits.
    start = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), start_of(field, y0))
    check_velocity(field, start, t0)
    clock = check_clock(clock, field, t0, start)
    rtol = check_real("rtol", rtol, above=0.0, below=1.0)
    if rtol < _SMALLEST_RTOL:
        raise InputError(
            f"rtol is {rtol:g}, finer than float64 can resolve. Pass at least {_SMALLEST_RTOL:g}."
        )
    if progress is not None and not callable(progress):
        raise InputError(f"progress is {progress!r}; pass a function, or None.")
    check_choice("adjoint", adjoint, ADJOINTS)
    laws, energy = split_energy(monitor)
    watched = monitor_of(laws, start, t0)
    if chosen == "heyoka":
        check_taylor(field, start)
    run = Run(
        field=field,
        y0=start,
        t0=t0,
        t1=t1,
        ts=times,
        solver=solver,
        rtol=rtol,
        atol=_absolute_tolerance(atol, rtol, start),
        max_steps=_DEFAULT_STEPS if max_steps is None else check_count("max_steps", max_steps),
        max_seconds=None
        if max_seconds is None
        else check_real("max_seconds", max_seconds, above=0.0),
        stop=as_stop(stop, field, start, t0),
        project=_projector(project, field, start, t0, chosen),
        progress=progress,
    )
    if energy:
        run, clock = _with_energy_beside(run, clock)
    trajectory = _integrate(run, chosen, clock)
    if energy:
        trajectory = with_energy(trajectory, run.field, run.y0)
    trajectory = with_drift(trajectory, watched)
    trajectory.stats["loss_rise"] = check_monotony(trajectory, field)
    if throw and not trajectory.result.success:
        raise IntegrationError(str(trajectory.result), trajectory)
    return trajectory


def _integrate(run: Run, backend: str, clock: Any = "time") -> Trajectory:
    """Run an engine and read its record."""
    began = time.perf_counter()
    with one_blas_thread():
        outcome = run_on_clock(run, clock, _ENGINES[backend])
    layout = Layout(run.y0)
    states = layout.unflatten(outcome.states)
    end_to_end, loss = read_states(run.field, states)
    settings = {
        "solver": "; ".join(outcome.chosen),
        "backend": backend,
        "strategy": run.field.about.strategy,
        "strategy_reason": run.field.about.reason,
        "rtol": run.rtol,
        "atol": run.atol,
        "dtype": str(layout.flatten(run.y0).dtype),
        "clock": clock if isinstance(clock, str) else "own rate",
        "asked_solver": solver_name(run.solver),
        "notes": " ".join(outcome.notes),
    }

    def go_on(t: float, state: PyTree, times: FloatArray) -> Trajectory:
        piece = dataclasses.replace(
            run, y0=state, t0=t, t1=float(times[-1]), ts=times, stop=None, progress=None
        )
        return in_float64(_integrate)(piece, backend)

    return Trajectory(
        ts=outcome.ts,
        states=states,
        loss=loss,
        end_to_end=end_to_end,
        stats={**outcome.stats, "seconds": time.perf_counter() - began},
        result=judge_loss(run.field, outcome.ts, loss, outcome.result),
        settings=settings,
        parent=run.field.about.parent,
        _continue=go_on,
    )


def _only_single(**options: Any) -> None:
    """Refuse what a batch does not have."""
    plain = {"clock": "time", "backend": "diffrax"}
    for name, value in options.items():
        if value is not None and not (isinstance(value, str) and value == plain.get(name)):
            raise InputError(
                f"{name} is {value!r}, which a batch does not take. Leave it out, or integrate the "
                "problems one by one."
            )


def _with_energy_beside(run: Run, clock: Any) -> tuple[Run, Any]:
    """The run of the state with the energy that it has dissipated, and its clock."""
    field = EnergyField(run.field)
    whole = dataclasses.replace(
        run,
        field=field,
        y0=(run.y0, np.zeros(())),
        stop=None if run.stop is None else PlainStop(run.stop, field),
        project=None if run.project is None else Moving(run.project),
    )
    return whole, clock if isinstance(clock, str) else PlainRate(clock, field)


def _projector(laws: Any, field: VectorField, start: PyTree, t0: float, backend: str) -> Any:
    """The projection that a run was asked for, or None."""
    if laws is None:
        return None
    if backend != "diffrax":
        raise InputError(
            f"project is given, and {backend}'s solvers cannot be handed another state between "
            "their steps. Pass a solver of diffrax, such as 'dopri8'."
        )
    return Projector.of(chosen_laws("project", laws), start, t0, field=field)


def _traced(
    field: VectorField,
    y0: Any,
    t0: Any,
    t1: Any,
    ts: Any,
    solver: Any,
    rtol: float,
    atol: Any,
    max_steps: int | None,
    adjoint: str,
) -> Trajectory:
    """A run inside a function that JAX is tracing: its arrays are JAX's."""
    times, states, stats = integrate_traced(
        field,
        traced_start(field, y0),
        t0,
        t1,
        ts,
        solver=solver,
        rtol=rtol,
        atol=atol,
        max_steps=max_steps,
        adjoint=adjoint,
    )
    loss: Any = jax.vmap(lambda y: jnp.asarray(field.value(y), float))(states)
    return Trajectory(
        ts=times,
        states=states,
        loss=loss,
        end_to_end=jax.vmap(field.read)(states),
        stats=stats,
        result=Result(Reason.completed),
        settings={"solver": solver_name(solver), "backend": "diffrax", "adjoint": adjoint},
        parent=field.about.parent,
    )


def _absolute_tolerance(atol: float | None, rtol: float, start: PyTree) -> float:
    """The absolute tolerance: as given, or following the start; with a warning where it hides it.

    Entries below the rounding of their array's largest are zeros that a product did not hit.
    """
    leaves = [np.abs(leaf[np.nonzero(leaf)]) for leaf in map(np.atleast_1d, jax.tree.leaves(start))]
    leaves = [leaf[leaf > 1e-14 * leaf.max()] for leaf in leaves if leaf.size]
    sizes = [np.max(leaf) * np.sqrt(np.mean((leaf / np.max(leaf)) ** 2)) for leaf in leaves]
    if atol is None:
        atol = rtol * float(min(sizes, default=1.0))
    atol = max(check_real("atol", atol, at_least=0.0), _SMALLEST_ATOL)
    # The smallest of n numbers of one scale is about 1/n of it; one far below that means something.
    hidden = [
        float(leaf.min())
        for leaf, size in zip(leaves, sizes, strict=True)
        if atol > size or (atol > leaf.min() and leaf.min() < _BY_CHANCE * size / leaf.size)
    ]
    if hidden:
        smallest = min(hidden)
        warnings.warn(
            f"atol = {atol:g} is above an entry of the start, {smallest:.3g}: the solver may take "
            "it for zero and miss its growth. To follow it, pass an atol of at most "
            f"{rtol * smallest:.3g}.",
            ToleranceWarning,
            stacklevel=5,
        )
    return atol


def _field_backend(field_or_problem: Any, solver: Any, backend: str | None) -> str:
    """The arrays that a field which is lowered here should compute with."""
    name = solver if isinstance(solver, str) else ""
    if name == "taylor":
        return "numpy"  # whose code runs on symbols too
    known = (VectorField, Problem, FunctionProblem)
    plain_function = callable(field_or_problem) and not isinstance(field_or_problem, known)
    return "numpy" if plain_function and (backend == "scipy" or name in SCIPY_SOLVERS) else "jax"
