"""Runs that cannot be finished: each ends promptly, says why, and keeps what it has."""

import diffrax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._result import Reason
from tests.integration.fields import CUBE, DECAY, LOGISTIC, ON_SCIPY, SQUARE, logistic

ONE = np.array([1.0])
BOTH = ("dopri8", "RK45")


@pytest.mark.parametrize(
    "solver",
    [
        *ON_SCIPY,
        "auto",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("kvaerno5", "extrapolation")),
    ],
)
@pytest.mark.parametrize(("field", "t_star"), [(SQUARE, 1.0), (CUBE, 0.5)])
def test_a_blow_up_is_named_with_its_time(field, t_star, solver):
    with pytest.raises(fs.IntegrationError, match=r"blow_up: The solution grows") as caught:
        fs.integrate(field, ONE, 2.0, solver=solver)
    run = caught.value.trajectory
    assert run.stats["steps"] < 10_000  # found by its growth, not by running out of something
    assert run.result.reason is Reason.blow_up
    assert abs(run.result.blow_up_time / t_star - 1) <= 0.01
    assert run.ts[-1] > 0.99 * t_star
    assert np.isfinite(run.states).all()


@pytest.mark.parametrize("solver", BOTH)
def test_growth_without_blow_up_is_not_called_one(solver):
    grow = fs.integrate(type(DECAY)(5.0, 0.0, 0.0), ONE, 20.0, ts=[20.0], solver=solver)
    assert abs(grow.states[0, 0] / np.exp(100.0) - 1) < 1e-5
    with pytest.raises(fs.IntegrationError, match="overflow"):
        fs.integrate(type(DECAY)(5.0, 0.0, 0.0), ONE, 1000.0, ts=[1000.0], solver=solver, rtol=1e-4)


def cliff(t, y, args):
    """y' = -y down to 1/4, which y reaches at t = ln 4; NaN below."""
    return jnp.where(y > 0.25, -y, jnp.nan)


@pytest.mark.parametrize("solver", [*ON_SCIPY, "tsit5"])
def test_a_field_that_turns_nan_ends_the_run(solver):
    backend = "scipy" if solver in ON_SCIPY else "diffrax"
    run = fs.integrate(cliff, ONE, 5.0, solver=solver, backend=backend, throw=False)
    assert run.result.reason is Reason.nonfinite_field
    assert np.isfinite(run.states).all()
    assert abs(run.ts[-1] - np.log(4.0)) < 0.1


@pytest.mark.parametrize("ts", [None, [1.0, 2.0]])
@pytest.mark.parametrize("solver", BOTH)
def test_a_field_that_is_nan_at_the_start_ends_the_run(solver, ts):
    nowhere = type(DECAY)(np.nan, 0.0, 0.0)
    run = fs.integrate(nowhere, ONE, 2.0, ts=ts, solver=solver, throw=False)
    assert run.result.reason is Reason.nonfinite_field
    assert "t = 0" in run.result.detail
    assert len(run) == (1 if ts is None else 0)
    assert "Trajectory(" in repr(run)


@pytest.mark.parametrize("ts", [None, [1.0, 6.0]])
@pytest.mark.parametrize("solver", BOTH)
def test_a_spent_budget_keeps_what_it_has(solver, ts):
    run = fs.integrate(LOGISTIC, ONE / 100, 6.0, ts=ts, solver=solver, max_steps=7, throw=False)
    assert run.result.reason is Reason.budget
    assert "Raise max_steps" in str(run.result)
    assert run.stats["steps"] + (run.stats["rejected"] or 0) == 7
    assert 0 < run.ts[-1] < 6
    np.testing.assert_allclose(run.states[:, 0], logistic(0.01, run.ts), rtol=1e-6)


@pytest.mark.parametrize("solver", BOTH)
def test_a_budget_that_just_suffices_suffices(solver):
    run = fs.integrate(LOGISTIC, ONE / 100, 6.0, ts=[6.0], solver=solver)
    steps = run.stats["steps"] + (run.stats["rejected"] or 0)
    again = fs.integrate(
        LOGISTIC, ONE / 100, 6.0, ts=[6.0], solver=solver, max_steps=steps, throw=False
    )
    assert again.result.reason is Reason.completed
    np.testing.assert_array_equal(again.states, run.states)


@pytest.mark.parametrize("solver", BOTH)
def test_the_clock_ends_a_run(solver):
    # Stability holds an explicit method to steps of 5e-6 of 1e6: hours of them.
    run = fs.integrate(
        type(DECAY)(-1e6, 0.0, 0.0),
        ONE,
        1e6,
        ts=[1e6],
        solver=solver,
        max_seconds=0.5,
        max_steps=10**9,
        throw=False,
    )
    assert run.result.reason is Reason.wall_clock
    assert np.isfinite(run.states).all()
    assert len(run) == 1


@pytest.mark.parametrize("solver", BOTH)
def test_an_interrupt_keeps_what_was_computed(solver):
    seen = []

    def interrupt(t):
        seen.append(t)
        raise KeyboardInterrupt

    run = fs.integrate(DECAY, ONE, 40.0, solver=solver, rtol=1e-13, progress=interrupt, throw=False)
    assert run.result.reason is Reason.interrupted
    assert run.ts[-1] == seen[0] > 0
    np.testing.assert_allclose(run.states[:, 0], np.exp(-run.ts), rtol=1e-9)
    np.testing.assert_array_equal(run.evaluate(run.ts[-1]), run.states[-1])


@pytest.mark.parametrize("solver", BOTH)
def test_progress_is_told_increasing_times(solver):
    seen = []
    fs.integrate(DECAY, ONE, 40.0, solver=solver, rtol=1e-13, progress=seen.append)
    assert seen
    assert seen == sorted(seen)
    assert seen[-1] <= 40.0


@pytest.mark.parametrize("solver", ["auto", "RK45"])
def test_stop_ends_at_an_accepted_step(solver):
    run = fs.integrate(LOGISTIC, ONE / 100, 20.0, solver=solver, stop=lambda t, y: y[0] > 0.5)
    assert run.result.reason is Reason.stopped
    assert run.result.success
    assert run.states[-1, 0] > 0.5 >= run.states[-2, 0]
    np.testing.assert_allclose(run.states[:, 0], logistic(0.01, run.ts), rtol=1e-6)


def test_flat_states_are_no_trouble():
    for solver in BOTH:
        run = fs.integrate(DECAY, np.zeros(2), 1.0, ts=[1.0], solver=solver)
        np.testing.assert_array_equal(run.states, np.zeros((1, 2)))


def test_a_stiff_run_changes_solver_and_says_so():
    run = fs.integrate(
        lambda t, y, a: -jnp.array([1e6, 1.0]) * (y - 1.0), np.zeros(2), 10.0, ts=[10.0]
    )
    assert "extrapolation" in run.settings["solver"]
    np.testing.assert_allclose(run.states[-1], [1.0, 1 - np.exp(-10.0)], rtol=1e-7)
    assert run.stats["steps"] < 500


def test_work_is_counted():
    calls = 0

    def counted(t, y, args):
        nonlocal calls
        calls += 1
        return -y

    run = fs.integrate(counted, ONE, 3.0, solver="RK45", backend="scipy")
    # Two calls look at the field before any step: for its shape, and for a finite value.
    assert calls - 2 <= run.stats["gradients"] <= calls
    on_diffrax = fs.integrate(DECAY, ONE, 3.0, ts=[3.0], solver=diffrax.Dopri8())
    trials = on_diffrax.stats["steps"] + on_diffrax.stats["rejected"]
    assert on_diffrax.stats["gradients"] >= 12 * trials


@pytest.mark.parametrize("solver", ["auto", "LSODA", "Radau"])
def test_slow_growth_on_a_long_run_is_no_blow_up(solver):
    """y' = y(1 - y) from 1e-100: exponential for 230 units of time, at rest for the other 1e6."""
    run = fs.integrate(type(DECAY)(1.0, -1.0, 0.0), np.array([1e-100]), 1e6, solver=solver)
    assert run.result.reason is Reason.completed
    assert abs(run.states[-1, 0] - 1) < 1e-6


def test_a_velocity_of_another_shape_is_refused():
    for solver in BOTH:
        with pytest.raises(fs.InputError, match=r"shape \(\).*shape \(3,\)"):
            fs.integrate(lambda t, y, args: -y[0], np.ones(3), 1.0, solver=solver)


def test_a_loss_that_is_nan_is_said():
    problem = fs.Problem.from_function(jnp.log, np.array(-1.0))
    run = fs.integrate(problem, np.array(-1.0), 0.4, ts=[0.1, 0.4], throw=False)
    assert run.result.reason is Reason.nonfinite_loss


def test_tiny_entries_beside_large_ones_are_warned_of():
    with pytest.warns(fs.ToleranceWarning, match=r"above an entry of the start, 1e-12"):
        fs.integrate(DECAY, np.array([1.0, 1e-12]), 0.1, solver="RK45")
