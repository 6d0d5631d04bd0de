"""Clocks: the same flow whatever it is stepped in, times met exactly, slow tails reached."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._result import Reason
from tests.integration.fields import DECAY, LOGISTIC, SQUARE, logistic

# Separable data; the reference values are an independent computation in extended precision.
X = np.array([[1, 0.5, 0.2], [0.3, 1.2, -0.4], [2, 1.5, 1], [1.5, 2.5, -0.5], [2.2, 0.9, 0.8]])
W0 = np.array([0.1, -0.2, 0.3])
MARGIN = np.array([0.6705578032765, 0.6625986602109, -0.009285666909863])
OFFSET = np.array([0.1002874173757, 0.924837086995, -0.06429291368501])
OFFSET_LOGISTIC = np.array([0.0961004181785, 0.9292144043376, -0.05430121105524])
AT_10 = np.array([2.134333733476, 2.298969645174, 0.1795265643047])


def exponential(w):
    return jnp.sum(jnp.exp(-X @ w))


def logistic_loss(w):
    return jnp.sum(jnp.log1p(jnp.exp(-X @ w)))


PROBLEM = fs.Problem.from_function(exponential, W0)


def slow(t, y):
    return 1 / (1 + t)


@pytest.mark.parametrize("solver", ["dopri8", "DOP853", "LSODA"])
@pytest.mark.parametrize("clock", ["log", "loss", slow])
def test_separable_data_reach_e_to_the_100(clock, solver):
    """w = margin log t + offset + O(t^-0.27), with digits of both known."""
    ts = np.exp([np.log(10.0), 50.0, 100.0])
    flow = fs.integrate(PROBLEM, W0, ts[-1], ts=ts, clock=clock, solver=solver, rtol=1e-9)
    np.testing.assert_array_equal(flow.ts, ts)
    np.testing.assert_allclose(flow.states[0], AT_10, rtol=0, atol=1e-7)
    for t, w in zip(ts[1:], flow.states[1:], strict=True):
        np.testing.assert_allclose(w, MARGIN * np.log(t) + OFFSET, atol=2e-6)
    assert flow.stats["gradients"] < 2500
    assert np.isfinite(flow.loss).all()
    assert (flow.loss > 0).all()


def test_the_logistic_loss_has_the_same_margin_and_its_own_offset():
    prob = fs.Problem.from_function(logistic_loss, W0)
    t1 = np.exp(100.0)
    flow = fs.integrate(prob, W0, t1, ts=[t1], clock="log", rtol=1e-9)
    np.testing.assert_allclose(flow.states[-1], MARGIN * 100 + OFFSET_LOGISTIC, atol=1e-8)


@pytest.mark.parametrize("solver", ["dopri8", "DOP853"])
@pytest.mark.parametrize("clock", ["log", slow])
@pytest.mark.parametrize("t0", [0.0, -3.0, 50.0])
def test_times_are_flow_times(clock, solver, t0):
    def rate(t, y):
        return clock(t - t0, y)

    ts = t0 + np.array([0.0, 1e-9, 0.5, 0.50001, 6.0])
    used = rate if callable(clock) else clock
    y0 = np.array([0.01, 0.3])
    flow = fs.integrate(LOGISTIC, y0, ts[-1], t0=t0, ts=ts, clock=used, solver=solver, rtol=1e-10)
    np.testing.assert_array_equal(flow.ts, ts)
    np.testing.assert_allclose(flow.states, logistic(y0, ts[:, None] - t0), rtol=1e-8)


@pytest.mark.parametrize("solver", ["dopri8", "DOP853"])
@pytest.mark.parametrize("clock", ["log", slow])
def test_steps_are_recorded_on_flow_time(clock, solver):
    flow = fs.integrate(LOGISTIC, np.array([0.01]), 6.0, clock=clock, solver=solver, rtol=1e-9)
    assert flow.ts[0] == 0
    assert flow.ts[-1] == 6.0
    assert (np.diff(flow.ts) > 0).all()
    np.testing.assert_allclose(flow.states[:, 0], logistic(0.01, flow.ts), rtol=1e-7)
    np.testing.assert_allclose(flow.evaluate(1.234), [logistic(0.01, 1.234)], rtol=1e-7)


@pytest.mark.parametrize("clock", ["log", slow])
def test_a_field_may_depend_on_time(clock):
    def forced(t, y, args):
        return -y * jnp.cos(t)

    flow = fs.integrate(forced, np.ones(1), 9.0, ts=[9.0], clock=clock, solver="dopri8")
    np.testing.assert_allclose(flow.states[-1], np.exp(-np.sin(9.0)), rtol=1e-7)


@pytest.mark.parametrize("clock", ["log", slow])
def test_stops_see_flow_time_and_the_state(clock):
    flow = fs.integrate(
        DECAY, np.ones(1), 1e6, clock=clock, solver="dopri8", stop=lambda t, y: t > 3.0
    )
    assert flow.result.reason is Reason.stopped
    assert flow.ts[-1] > 3.0 >= flow.ts[-2]
    np.testing.assert_allclose(flow.states[:, 0], np.exp(-flow.ts), rtol=1e-6)


@pytest.mark.parametrize("solver", ["dopri8", "DOP853"])
def test_blow_up_is_named_on_flow_time(solver):
    run = fs.integrate(SQUARE, np.ones(1), 1e9, clock="log", solver=solver, throw=False)
    assert run.result.reason is Reason.blow_up
    assert abs(run.result.blow_up_time - 1) < 0.01


@pytest.mark.parametrize("clock", ["log", slow])
@pytest.mark.parametrize("solver", ["dopri8", "DOP853"])
def test_budgets_hold_on_every_clock(clock, solver):
    y0 = np.array([0.01])
    run = fs.integrate(
        LOGISTIC, y0, 6.0, ts=[3.0, 6.0], clock=clock, solver=solver, max_steps=6, throw=False
    )
    assert run.result.reason is Reason.budget
    assert run.stats["steps"] + (run.stats["rejected"] or 0) <= 6
    assert 0 < run.ts[-1] < 6
    np.testing.assert_allclose(run.states[:, 0], logistic(0.01, run.ts), rtol=1e-6)


@pytest.mark.parametrize(
    ("clock", "match"),
    [
        ("steps", r"clock is 'steps'; pass 'time', 'log', 'loss', or a rate"),
        ("logg", r"Did you mean 'log'"),
        (3.0, r"clock is 3\.0; pass"),
        ("loss", r"clock is 'loss', but the field has no loss"),
        (lambda t, y: -1.0, r"the rate is -1 at the start"),
        (lambda t, y: np.nan, r"the rate is nan at the start"),
        (lambda t, y: y, r"an array of shape \(2,\)"),
    ],
)
def test_wrong_clocks_are_refused(clock, match):
    with pytest.raises(fs.InputError, match=match):
        fs.integrate(LOGISTIC, np.array([0.1, 0.2]), 1.0, clock=clock)


def test_a_loss_that_is_not_positive_is_no_clock():
    prob = fs.Problem.from_function(lambda w: jnp.sum(w**2), np.zeros(2))
    with pytest.raises(fs.InputError, match=r"the loss is 0 at the start"):
        fs.integrate(prob, np.zeros(2), 1.0, clock="loss")
