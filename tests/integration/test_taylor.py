"""Taylor integration through heyoka: accuracy, endings, what is read and what is refused."""

import importlib
import math

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import InputError
from flowsim._result import Reason
from flowsim.integration import taylor_engine
from flowsim.integration.layout import Layout
from flowsim.integration.run import Run
from flowsim.integration.stops import Minimum, as_stop
from flowsim.integration.taylor_engine import check_taylor, run_taylor
from flowsim.lowering import as_field
from flowsim.lowering.closed import lower_closed
from flowsim.problems.families import ScaledVector
from flowsim.symbolic import derive
from flowsim.symbolic.closure import closure
from tests.integration.fields import CUBE, LOGISTIC, SQUARE, Polynomial, half_time, logistic

pytest.importorskip("heyoka")

ONE = np.array([1.0])
DEEP = fs.Problem(
    fs.LpLoss(np.eye(2), np.array([[1.0, 0.5], [-0.3, 2.0]]), p=2), fs.DeepLinear((2, 2, 2))
)
FACTORS = np.array([[0.3, 0.1], [-0.2, 0.4]]), np.array([[0.2, -0.1], [0.3, 0.5]])


def taylor(field, y0, t1, *, ts=None, rtol=1e-8, atol=None, **settings):
    """The outcome of a run, as integrate will ask for it."""
    field = as_field(field, backend="numpy")
    start = field.start(y0)
    run = Run(
        field=field,
        y0=start,
        t0=settings.pop("t0", 0.0),
        t1=float(t1),
        ts=None if ts is None else np.array(ts, float),
        solver="taylor",
        rtol=rtol,
        atol=rtol if atol is None else atol,
        max_steps=settings.pop("max_steps", 10_000),
        max_seconds=settings.pop("max_seconds", None),
        stop=as_stop(settings.pop("stop", None), field, start),
        progress=settings.pop("progress", None),
        **settings,
    )
    return run_taylor(run)


@pytest.mark.parametrize("rtol", [1e-4, 1e-8, 1e-13])
def test_the_error_is_the_one_asked_for_at_save_times_and_at_steps(rtol):
    every = taylor(LOGISTIC, ONE / 100, 20.0, rtol=rtol)
    between = taylor(LOGISTIC, ONE / 100, 20.0, ts=np.linspace(0, 20, 101), rtol=rtol)
    assert every.stats["steps"] == between.stats["steps"] < 60  # save times cost no steps
    assert len(between.ts) == 101
    for run in (every, between):
        error = np.abs(run.states[:, 0] / logistic(0.01, run.ts) - 1).max()
        assert error < 10 * rtol
    assert every.stats["local_error"] < 30 * rtol


def test_dense_output_is_as_accurate_as_steps_that_end_there():
    layout = Layout(FACTORS)
    times = np.linspace(0.5, 5.0, 10)
    exact = taylor(DEEP, FACTORS, 5.0, ts=times, rtol=1e-13).states
    dense = taylor(DEEP, FACTORS, 5.0, ts=times, rtol=1e-6).states
    t, y, stepped = 0.0, FACTORS, []
    for end in times:
        y = layout.unflatten(taylor(DEEP, y, end, t0=t, ts=[end], rtol=1e-6).states[-1])
        t = end
        stepped.append(layout.flatten(y))
    errors = [np.abs(run - exact).max() for run in (dense, np.array(stepped))]
    assert errors[0] < 2 * errors[1] < 1e-5
    assert errors[0] > 1e-12  # the tolerance is heard


def test_scipy_agrees_on_a_deep_linear_network_and_takes_more_steps():
    times = [1.0, 2.5, 5.0]
    peer = fs.integrate(
        as_field(DEEP, backend="numpy"), FACTORS, 5.0, ts=times, solver="DOP853", rtol=1e-13
    )
    ours = taylor(DEEP, FACTORS, 5.0, ts=times, rtol=1e-13)
    theirs = np.concatenate([leaf.reshape(3, -1) for leaf in peer.states], axis=1)
    np.testing.assert_allclose(ours.states, theirs, atol=1e-12)
    assert 2 * ours.stats["steps"] < peer.stats["steps"]
    assert ours.stats["rejected"] == 0


@pytest.mark.parametrize("p", [2, 4, 8])
def test_losses_with_an_even_exponent_are_read(p):
    loss = fs.LpLoss(np.array([[1.0, 0.5], [0.2, 1.0], [1.0, -1.0]]), np.array([1.0, 0, 2]), p=p)
    prob, start = fs.Problem(loss, fs.Diagonal(2)), (np.full(2, 0.5), np.full(2, 0.4))
    ours = taylor(prob, start, 2.0, ts=[1.0, 2.0], rtol=1e-12)
    peer = fs.integrate(
        as_field(prob, backend="numpy"), start, 2.0, ts=[1.0, 2.0], solver="DOP853", rtol=1e-12
    )
    theirs = np.concatenate([leaf.reshape(2, -1) for leaf in peer.states], axis=1)
    np.testing.assert_allclose(ours.states, theirs, atol=1e-10)


def test_a_residual_of_zero_has_a_series():
    """heyoka's own powers divide by their base: x**3 at x = 0 gives NaN there."""
    loss = fs.LpLoss(np.eye(2), np.array([0.0, 1.0]), p=4)
    run = taylor(fs.Problem(loss, fs.Identity(2)), np.zeros(2), 1.0, ts=[1.0], rtol=1e-12)
    # r' = -r^3 / 2 from r = -1
    np.testing.assert_allclose(run.states[0], [0.0, 1 - 2**-0.5], rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("u0", [1e-6, 1e-20])
def test_the_escape_from_a_saddle_is_in_time(u0):
    # u = a² with a' = a (1 - a²), beside an entry of size one whose tolerance is not that of a.
    escape = Polynomial(1.0, 0.0, -1.0)

    def beside(t, y, args):
        return {"a": escape(t, y["a"], None), "still": 0.0 * y["still"]}

    a0, half = math.sqrt(u0), half_time(2, u0, 1.0)
    start = {"a": np.array([a0]), "still": ONE}
    run = taylor(beside, start, half, ts=[half], rtol=1e-8, atol=1e-8 * a0)
    assert run.states[0, 0] ** 2 == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(("field", "t_star"), [(SQUARE, 1.0), (CUBE, 0.5)])
@pytest.mark.parametrize("ts", [None, [0.25, 2.0]])
def test_a_blow_up_is_named_with_its_time(field, t_star, ts):
    run = taylor(field, ONE, 2.0, ts=ts)
    assert run.result.reason is Reason.blow_up
    assert abs(run.result.blow_up_time / t_star - 1) < 0.01
    assert run.stats["steps"] < 1000
    assert np.isfinite(run.states).all()


def test_growth_that_ends_in_no_time_is_overflow():
    assert taylor(Polynomial(5.0, 0.0, 0.0), ONE, 1000.0).result.reason is Reason.overflow


@pytest.mark.parametrize("ts", [None, [1.0, 2.0]])
def test_a_field_that_is_nan_at_the_start_ends_the_run(ts):
    run = taylor(Polynomial(np.nan, 0.0, 0.0), ONE, 2.0, ts=ts)
    assert run.result.reason is Reason.nonfinite_field
    assert len(run.ts) == (1 if ts is None else 0)


def test_a_start_without_a_series_is_said():
    run = taylor(lambda t, y, args: np.sqrt(y) + 1.0, np.zeros(1), 1.0)
    assert run.result.reason is Reason.nonfinite_field
    assert "no Taylor series" in run.result.detail


def test_a_term_beyond_the_last_is_seen():
    """All coefficients computed of y = t^31 / 31 at t = 0 are zero."""
    run = taylor(lambda t, y, args: t**30 + 0.0 * y, np.zeros(1), 1.0, rtol=1e-10)
    assert run.states[-1, 0] == pytest.approx(1 / 31, rel=1e-7)
    assert run.stats["rejected"] > 0


def test_every_named_function_is_numpys():
    def field(t, y, args):
        x = 0.3 * y  # in the domain of all
        total = np.exp(x) + np.expm1(x) + np.log(x) + np.log1p(x) + np.sqrt(x) + np.tan(x)
        total = total + np.sin(x) + np.cos(x) + np.sinh(x) + np.cosh(x) + np.tanh(x)
        total = total + np.arcsin(x) + np.arccos(x) + np.arctan(x) + np.arcsinh(x) + np.arctanh(x)
        return total + np.arccosh(1.0 + x) + x**0.7 + 2.0**x + x**-2 + 1 / x + np.square(x) - +x

    # Held against the function's own values, which run_taylor does at every start.
    run = taylor(field, np.array([1.0, 2.0]), 1e-4, rtol=1e-10)
    before, after = run.states[0], run.states[-1]
    middle = field(0.0, (before + after) / 2, None)
    np.testing.assert_allclose((after - before) / run.ts[-1], middle, rtol=1e-5)


def test_time_may_enter():
    run = taylor(lambda t, y, args: -2.0 * t * y, ONE, 2.0, ts=[1.0, 2.0], rtol=1e-12, t0=0.0)
    np.testing.assert_allclose(run.states[:, 0], np.exp([-1.0, -4.0]), rtol=1e-10)


def test_closed_and_mapped_fields_are_read():
    loss = fs.LpLoss(np.eye(2), np.array([1.0, -1.0]), p=2)
    start = np.array([0.3, 0.1]), np.array(0.5)
    mapped = as_field(fs.Problem(loss, ScaledVector(2)), backend="numpy")
    closed = lower_closed(closure(ScaledVector(2)), loss, start)
    times = [0.5, 1.0]
    factors = Layout(start).unflatten(taylor(mapped, start, 1.0, ts=times, rtol=1e-12).states)
    w = taylor(closed, start, 1.0, ts=times, rtol=1e-12).states
    np.testing.assert_allclose(w, factors[0] * factors[1][:, None], rtol=1e-11)


def test_a_start_at_rest_stays_there():
    X = np.array([[1.0, 0.3], [0.2, -1.1], [0.7, 0.1]])
    w = np.array([0.1, 0.7])  # X w - y is zero up to rounding
    run = taylor(fs.Problem(fs.LpLoss(X, X @ w, p=2), fs.Identity(2)), w, 100.0, rtol=1e-10)
    assert run.result.reason is Reason.completed
    np.testing.assert_allclose(run.states[-1], w, rtol=1e-9)


def test_nothing_is_compiled_twice():
    def compilations(**changes):
        loss = fs.LpLoss(np.eye(2), changes.get("labels", np.array([1.0, 2.0])), p=2)
        before = taylor_engine._compiled.cache_info().misses
        run = taylor(fs.Problem(loss, fs.Identity(2)), changes.get("y0", np.zeros(2)), 1.0, ts=[1])
        w = changes.get("labels", np.array([1.0, 2.0]))
        y0 = changes.get("y0", np.zeros(2))
        rate = np.exp(-0.5)
        np.testing.assert_allclose(run.states[0], w + (y0 - w) * rate, rtol=1e-6)
        misses = taylor_engine._compiled.cache_info().misses - before
        assert (run.stats["compile_seconds"] > 0) == (misses > 0)
        return misses

    taylor_engine._compiled.cache_clear()
    assert compilations() == 1
    assert compilations(y0=np.array([3.0, 1.0])) == 0
    assert compilations(labels=np.array([-1.0, 0.5])) == 0


def test_a_function_that_changed_is_read_again():
    numbers = {"rate": 1.0}

    def field(t, y, args):
        return -numbers["rate"] * y

    assert taylor(field, ONE, 1.0).states[-1, 0] == pytest.approx(np.exp(-1.0))
    numbers["rate"] = 2.0
    assert taylor(field, ONE, 1.0).states[-1, 0] == pytest.approx(np.exp(-2.0))


def test_stops_budget_clock_and_interruption_keep_what_there_is():
    stopped = taylor(LOGISTIC, ONE / 100, 20.0, stop=lambda t, y: y[0] > 0.5)
    assert stopped.result.reason is Reason.stopped
    assert stopped.states[-2, 0] <= 0.5 < stopped.states[-1, 0]  # at the first such step
    spent = taylor(LOGISTIC, ONE / 100, 20.0, max_steps=7)
    assert spent.result.reason is Reason.budget
    assert spent.stats["steps"] == 7
    late = taylor(LOGISTIC, ONE / 100, 20.0, max_seconds=0.0)
    assert late.result.reason is Reason.wall_clock

    def interrupt(t, y):
        if t > 5:
            raise KeyboardInterrupt
        return False

    halted = taylor(LOGISTIC, ONE / 100, 20.0, stop=interrupt)
    assert halted.result.reason is Reason.interrupted
    for run in (spent, halted):
        assert 0 < run.ts[-1] < 20
        np.testing.assert_allclose(run.states[:, 0], logistic(0.01, run.ts), rtol=1e-6)


def test_a_level_of_the_loss_ends_a_run():
    value = as_field(DEEP, backend="numpy").value
    level = taylor(DEEP, FACTORS, 1e4, stop=0.1)
    assert level.result.reason is Reason.stopped
    before, after = (value(Layout(FACTORS).unflatten(y)) for y in level.states[-2:])
    assert after <= 0.1 < before


def test_a_saddle_on_the_way_to_a_minimum_is_noted_and_left():
    start = tuple(1e-3 * factor for factor in FACTORS)
    run = taylor(DEEP, start, 1e3, stop=Minimum(gradient=1e-2), atol=1e-11)
    assert run.result.reason is Reason.flat_valley  # factors of one product make a valley
    assert any("saddle" in note for note in run.notes)


def test_progress_is_told():
    seen = []
    taylor(Polynomial(-1e3, 0.0, 0.0), ONE, 1.0, progress=seen.append)
    assert len(seen) >= 2
    assert seen == sorted(seen)


def test_on_a_stiff_flow_steps_are_those_of_an_explicit_method():
    run = taylor(lambda t, y, args: -np.array([1.0, 1e3]) * y, np.ones(2), 10.0, ts=[10.0])
    assert run.states[0, 0] == pytest.approx(np.exp(-10.0), rel=1e-6)
    reach = 10.0 * 1e3 / run.stats["steps"]  # h λ
    assert 3 < reach < 8


LAW = derive(fs.DeepLinear((2, 2, 2)))


@pytest.mark.parametrize(
    ("field", "start", "says"),
    [
        (fs.Problem(lambda w: jnp.sum(w**2), fs.Identity(2)), np.ones(2), "a JAX function"),
        (
            as_field(fs.Problem.from_function(lambda y: jnp.sum(y**2), np.ones(2))),
            np.ones(2),
            "a JAX function",
        ),
        (as_field(DEEP, backend="jax"), FACTORS, "backend='numpy'"),
        (
            LAW.lower(DEEP.loss, backend="numpy", strategy="spectral"),
            np.eye(2),
            "strategy='factors'",
        ),
        (
            fs.Problem(fs.LpLoss(np.eye(2), np.ones(2), p=3), fs.Identity(2)),
            np.zeros(2),
            "p is not even",
        ),
        (lambda t, y, args: jnp.sin(y), np.ones(2), "functions of JAX"),
        (lambda t, y, args: -y if y[0] > 0 else y, np.ones(2), "comparison"),
        (lambda t, y, args: np.where(y == 0, y, -y), np.ones(2), "comparison"),
        (lambda t, y, args: np.abs(y), np.ones(2), "absolute values"),
        (lambda t, y, args: np.array([math.exp(y[0])]), np.ones(1), "JAX or math"),
        (lambda t, y, args: y[:1], np.ones(2), "one number|finite number"),
        (lambda t, y, args: np.outer(y, y) @ np.outer(y, y) @ y, np.ones(40), "50000 operations"),
    ],
)
def test_what_cannot_be_read_is_refused(field, start, says):
    field = as_field(field, backend="numpy")
    with pytest.raises(InputError, match=says):
        check_taylor(field, field.start(start))


def test_a_field_that_is_not_what_it_computes_is_refused():
    calls = []

    def field(t, y, args):
        calls.append(t)
        return -len(calls) * y

    with pytest.raises(InputError, match="arithmetic alone"):
        taylor(field, ONE, 1.0)


def test_other_clocks_are_refused():
    with pytest.raises(InputError, match="clock is given"):
        taylor(LOGISTIC, ONE, 1.0, clock="log")


def test_without_heyoka_it_says_how_to_install_it(monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    field = as_field(DEEP, backend="numpy")
    with pytest.raises(InputError, match=r"pip install 'flowsim\[taylor\]'"):
        check_taylor(field, FACTORS)
