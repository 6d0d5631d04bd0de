"""The public verb ``compare``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from flowsim._checks import check_choice, check_count, check_real, known_keywords
from flowsim._errors import InputError, IntegrationError
from flowsim._precision import in_float64
from flowsim._result import Reason
from flowsim._types import ArrayLike, FloatArray, PyTree
from flowsim.comparison.comparison import Comparison
from flowsim.comparison.drift import conserved_drift
from flowsim.comparison.prediction import FlowWithGap, difference, end_to_end_change, norms
from flowsim.curvature import extreme_eigenvalues
from flowsim.descent import descend, recorded_iterations
from flowsim.integration import integrate
from flowsim.lowering import VectorField, derived_law, lower_problem
from flowsim.problems import DeepLinear, FunctionProblem, Problem
from flowsim.symbolic import EndToEnd, PushforwardLaw
from flowsim.trajectory import Trajectory

FLOWS = ("gradient",)
_LARGEST_STATE = 1e60  # squares and fourth powers of states stay finite
_PREDICTION_RTOL = 1e-6  # a leading-order term needs no more


@known_keywords
@in_float64
def compare(
    problem: Problem | FunctionProblem,
    theta: Any,
    *,
    learning_rate: float,
    steps: int,
    flows: Sequence[str] = ("gradient",),
    record: ArrayLike | None = None,
    rtol: float = 1e-8,
    solver: Any = "auto",
    backend: str | None = None,
    progress: Callable[[str], None] | None = None,
) -> Comparison:
    r"""Run gradient descent beside its flow, and measure and explain the gap.

    Both start at ``theta`` and are compared at the same time :math:`t_k = k\eta`. The flow is
    integrated in steps that end at the recorded times, once at the tolerance and once at half of it
    with steps at most half as long between records (the reference, which the first certifies); the
    leading-order gap is integrated along it, and
    the extreme eigenvalues of the Hessian are computed at every record. If descent diverges, or
    the flow ends early, the comparison covers the time that both have.

    Parameters
    ----------
    problem
        What is minimised.
    theta
        The start: parameters, as for ``integrate(problem, theta, t1)``.
    learning_rate
        The step size η > 0.
    steps
        The number of descent steps.
    flows
        The flows to compare with; ``("gradient",)``.
    record
        Iterations at which to compare; None takes about 200, spaced evenly in their logarithm.
    rtol, solver, backend
        How the flow is integrated; see :func:`flowsim.integrate`.
    progress
        Called with the name of each stage as it begins.

    Returns
    -------
    Comparison

    Raises
    ------
    InputError
        If an argument is wrong; before any work starts.
    IntegrationError
        If a run ends before the first record.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> net = fs.DeepLinear((2, 1, 1))
    >>> prob = fs.Problem(fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2), net)
    >>> result = fs.compare(prob, net.balanced([0.3, 0.1]), learning_rate=1e-3, steps=1000)
    >>> bool(abs(result.gap[-1] / result.predicted_gap[-1] - 1) < 0.01)
    True
    """
    if not isinstance(problem, (Problem, FunctionProblem)):
        raise InputError(
            f"problem is {type(problem).__name__}; pass a Problem, or Problem.from_function(f, "
            "params)."
        )
    if isinstance(flows, str) or not flows:
        raise InputError(f"flows is {flows!r}; pass a sequence of names, such as ('gradient',).")
    for name in flows:
        check_choice("flows", name, FLOWS)
    rtol = check_real("rtol", rtol, above=0.0, below=1.0)
    learning_rate = check_real("learning_rate", learning_rate, above=0.0)
    if progress is not None and not callable(progress):
        raise InputError(f"progress is {progress!r}; pass a function, or None.")
    say = progress or (lambda _: None)
    field = lower_problem(problem)
    options = {"solver": solver, "backend": backend, "throw": False}

    say("gradient descent")
    wanted = recorded_iterations(record, check_count("steps", steps))
    if wanted[-1] == 0:
        raise InputError("record is [0], the start alone. Record an iteration after it.")
    descent = descend(
        problem,
        theta,
        learning_rate=learning_rate,
        steps=steps,
        # Prediction and drift begin at the start, whether or not it is asked for.
        record=np.union1d([0], wanted),
        throw=False,
    )
    _pass_on_interrupt(descent)
    t1 = float(descent.ts[-1])
    if not t1 > 0:
        raise InputError(
            f"learning_rate is {learning_rate:g}, at which descent leaves the range of "
            "floating-point numbers in its first step. Lower it."
        )
    say("flow")
    coarse = integrate(field, theta, t1, ts=descent.ts, rtol=rtol, **options)
    _pass_on_interrupt(coarse)
    say("flow again, at half the tolerance")
    # Steps end at the save times. Where these lie so close that they, and not the tolerance, set
    # the step, the second run would repeat the first: it stops at the midpoints too.
    flow = integrate(field, theta, t1, ts=_with_midpoints(descent.ts), rtol=rtol / 2, **options)
    _pass_on_interrupt(flow)
    flow = flow[::2]
    n = min(
        _in_common(flow.ts, descent.ts),
        _in_common(coarse.ts, descent.ts),
        _of_moderate_size(descent.states),
    )
    if n <= int(wanted[0] > 0):  # nothing, or nothing but a start that was not asked for
        early = flow if len(flow) <= len(descent) else descent
        raise IntegrationError(f"a run ends before the first record: {early.result}", early)
    flow, coarse, descent = flow[:n], coarse[:n], descent[:n]

    say("leading-order gap")
    if "extrapolation" in flow.settings["solver"] and backend != "scipy":
        options["solver"] = "extrapolation"  # stiff with the flow: one solver to compile, not two
    e1 = _first_order_gap(field, flow.ts, flow.states, max(rtol, _PREDICTION_RTOL), options)
    say("curvature")
    lambda_min, sharpness = extreme_eigenvalues(problem, flow.states)
    _, descent_sharpness = extreme_eigenvalues(problem, descent.states)
    law, drift, defect = _conservation(problem, flow.ts, flow.states, descent.states)
    ends = flow.end_to_end
    comparison = Comparison(
        ts=flow.ts,
        iterations=descent.stats["iterations"],
        flow=flow,
        descent=descent,
        learning_rate=learning_rate,
        gap=norms(difference(descent.states, flow.states)),
        end_to_end_gap=None if ends is None else norms(descent.end_to_end - ends),
        predicted_gap=learning_rate * norms(e1),
        predicted_end_to_end_gap=None
        if ends is None
        else learning_rate * norms(np.asarray(end_to_end_change(field, flow.states, e1))),
        bound=None,
        lambda_min=lambda_min,
        sharpness=sharpness,
        descent_sharpness=descent_sharpness,
        reference_error=2 * norms(difference(flow.states, coarse.states))
        + np.finfo(float).eps * norms(flow.states),
        regime_exit=first_crossing(flow.ts, learning_rate * sharpness, 2.0),
        drift=drift,
        law=law,
        balance_defect=defect,
    )
    return comparison if wanted[0] == 0 else comparison.from_record(1)


def first_crossing(ts: FloatArray, values: FloatArray, level: float) -> float | None:
    """The first time at which values rise above a level, linear between records; or None."""
    above = np.flatnonzero(values > level)
    if not above.size:
        return None
    i = int(above[0])
    if i == 0:
        return float(ts[0])
    share = (level - values[i - 1]) / (values[i] - values[i - 1])
    return float(ts[i - 1] + share * (ts[i] - ts[i - 1]))


def _pass_on_interrupt(run: Trajectory) -> None:
    """Ctrl-C during a stage ends the comparison, not the stage alone."""
    if run.result.reason is Reason.interrupted:
        raise KeyboardInterrupt


def _in_common(ts: FloatArray, wanted: FloatArray) -> int:
    """How many leading records of a run are at the times wanted; one cut short ends elsewhere."""
    n = min(len(ts), len(wanted))
    apart = np.flatnonzero(ts[:n] != wanted[:n])
    return int(apart[0]) if apart.size else n


def _of_moderate_size(states: PyTree) -> int:
    """How many records come before descent is too large to be squared."""
    largest = np.max(
        [np.abs(leaf).reshape(len(leaf), -1).max(1) for leaf in jax.tree.leaves(states)], 0
    )
    beyond = np.flatnonzero(largest > _LARGEST_STATE)
    return int(beyond[0]) if beyond.size else len(largest)


def _with_midpoints(ts: FloatArray) -> FloatArray:
    """The times and the midpoints between them; every second is one of ``ts``."""
    finer = np.empty(2 * len(ts) - 1)
    finer[::2], finer[1::2] = ts, (ts[1:] + ts[:-1]) / 2
    return finer


def _first_order_gap(
    field: VectorField, ts: FloatArray, states: PyTree, rtol: float, options: dict[str, Any]
) -> PyTree:
    """e₁ at the recorded times, as stacked states; NaN where its integration ended early."""
    start = jax.tree.map(lambda leaf: leaf[0], states)
    zero = jax.tree.map(np.zeros_like, start)
    augmented = FlowWithGap(field)
    if len(ts) == 1:
        return jax.tree.map(np.zeros_like, states)
    run = integrate(augmented, (start, zero), float(ts[-1]), ts=ts, rtol=rtol, **options)
    missing = len(ts) - len(run)
    _, e1 = run.states
    return jax.tree.map(
        lambda leaf: np.concatenate([leaf, np.full((missing, *leaf.shape[1:]), np.nan)]), e1
    )


def _conservation(
    problem: Problem | FunctionProblem, ts: FloatArray, flow: PyTree, descent: PyTree
) -> tuple[EndToEnd | PushforwardLaw | None, dict[str, FloatArray] | None, float | None]:
    """The law, the drift of what it conserves along both runs, and the start's balance defect."""
    if isinstance(problem, FunctionProblem):
        return None, None, None
    law = derived_law(problem)
    net = problem.parametrization
    if not isinstance(law, EndToEnd) or not isinstance(net, DeepLinear) or not law.conserved:
        return law, None, None
    widths = net.known_widths()
    drift = {
        "flow": conserved_drift(law, widths, ts, flow),
        "descent": conserved_drift(law, widths, ts, descent),
    }
    start = tuple(factor[0] for factor in flow)
    defect = max(hypothesis.check(start).defect for hypothesis in law.hypotheses)
    return law, drift, defect
