"""What integrate returns against exact solutions: records, tolerances, saddles, precision."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import ToleranceWarning
from tests.integration.fields import DECAY, LOGISTIC, ON_SCIPY, half_time, logistic

Y0 = np.array([0.01, 0.3])
SPAN = 6.0


# --- records --------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", ["dopri8", "DOP853", "Radau"])
def test_values_at_save_times_are_the_ends_of_steps(solver):
    """Three awkward times: an interpolant of order 4 to 7 would show against the step's error."""
    ts = np.array([0.1234567, 2.7182818, 5.9999])
    flow = fs.integrate(LOGISTIC, Y0, SPAN, ts=ts, solver=solver, rtol=1e-10)
    np.testing.assert_array_equal(flow.ts, ts)
    exact = logistic(Y0, ts[:, None])
    assert np.abs(flow.states / exact - 1).max() <= (2e-8 if solver == "Radau" else 2e-9)
    assert flow.result.name == "completed"


def test_many_save_times_in_several_windows():
    ts = np.linspace(0.0, SPAN, 601)
    for solver in ("dopri8", "DOP853"):
        flow = fs.integrate(LOGISTIC, Y0, SPAN, ts=ts, solver=solver, rtol=1e-10)
        np.testing.assert_array_equal(flow.ts, ts)
        assert np.abs(flow.states / logistic(Y0, ts[:, None]) - 1).max() <= 1e-8


@pytest.mark.parametrize("solver", ["dopri8", "RK45"])
def test_without_save_times_the_steps_are_recorded(solver):
    flow = fs.integrate(LOGISTIC, Y0, SPAN, solver=solver, rtol=1e-9)
    assert flow.ts[0] == 0
    assert flow.ts[-1] == SPAN
    assert (np.diff(flow.ts) > 0).all()
    assert len(flow) == flow.stats["steps"] + 1
    assert np.abs(flow.states / logistic(Y0, flow.ts[:, None]) - 1).max() <= 1e-7


def test_long_runs_are_thinned_evenly():
    flow = fs.integrate(DECAY, Y0, 3.0, solver="RK23", rtol=1e-11)
    assert flow.stats["steps"] > 2000
    assert 1000 <= len(flow) <= 2001
    assert flow.ts[-1] == 3.0
    assert np.abs(flow.states / (Y0 * np.exp(-flow.ts[:, None])) - 1).max() <= 1e-7


@pytest.mark.parametrize("t0", [-5.0, 1e6])
def test_runs_may_begin_anywhere(t0):
    for solver in ("dopri8", "DOP853"):
        flow = fs.integrate(LOGISTIC, Y0, t0 + 2, t0=t0, ts=[t0, t0 + 2.0], solver=solver)
        np.testing.assert_array_equal(flow.states[0], Y0)
        assert np.abs(flow.states[1] / logistic(Y0, 2.0) - 1).max() <= 1e-6


# --- tolerances -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("solver", "rtol"),
    [
        *((s, rtol) for s in ("DOP853", "LSODA", "dopri8") for rtol in (1e-4, 1e-7, 1e-10)),
        *((s, rtol) for s in ("RK45", "Radau", "BDF") for rtol in (1e-4, 1e-7)),
    ],
)
def test_the_error_follows_rtol(solver, rtol):
    flow = fs.integrate(LOGISTIC, Y0, SPAN, ts=[SPAN], solver=solver, rtol=rtol)
    error = np.abs(flow.states / logistic(Y0, SPAN) - 1).max()
    assert error <= (1000 if solver == "BDF" else 30) * rtol


def test_a_coarse_atol_is_warned_of():
    with pytest.warns(ToleranceWarning, match=r"atol = 0\.001 is above.*1e-12.*at most 1e-20"):
        fs.integrate(LOGISTIC, np.array([1e-12]), 1.0, ts=[1.0], solver="RK45", atol=1e-3)


# --- saddles --------------------------------------------------------------------------------------

S = 1.5


@functools.cache
def chain(N):
    return fs.Problem(lambda w: 0.5 * jnp.sum((w - S) ** 2), fs.DeepLinear((1,) * (N + 1)))


def escape_error(N, u0, **options):
    """Error in the time of escape, relative, from the value at the exact half time."""
    prob = chain(N)
    t = half_time(N, u0, S)
    theta = prob.parametrization.balanced(np.array([u0]))
    flow = fs.integrate(prob, theta, t, ts=[t], **options)
    u = float(flow.end_to_end[-1, 0])
    speed = N * (S / 2) ** (2 - 2 / N) * S / 2
    return abs(u - S / 2) / speed / t


@pytest.mark.parametrize(
    ("N", "u0", "solver"),
    [
        *((2, 1e-12, solver) for solver in ON_SCIPY),
        *((2, 1e-100, solver) for solver in ("DOP853", "BDF", "LSODA")),
        *((3, 1e-12, solver) for solver in ("DOP853", "BDF", "LSODA")),
        *(
            pytest.param(N, u0, solver, marks=pytest.mark.slow)
            for N, u0 in ((2, 1e-100), (3, 1e-12))
            for solver in ("RK23", "RK45", "Radau")
        ),
    ],
)
def test_saddles_are_escaped_in_time_on_scipy(N, u0, solver):
    assert escape_error(N, u0, solver=solver) <= 1e-4


@pytest.mark.parametrize("u0", [1e-12, 1e-100])
@pytest.mark.parametrize(
    "solver", ["auto", *(pytest.param(s, marks=pytest.mark.slow) for s in ("kvaerno5", "tsit5"))]
)
def test_saddles_are_escaped_in_time_on_diffrax(u0, solver):
    assert escape_error(2, u0, solver=solver) <= 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["auto", "tsit5", "extrapolation"])
def test_deeper_saddles_are_escaped_in_time_on_diffrax(solver):
    assert escape_error(3, 1e-12, solver=solver) <= 1e-4


# --- precision and pytrees ------------------------------------------------------------------------


def plain_logistic(t, y, args):
    return y - y * y


@pytest.mark.parametrize("solver", ["dopri8", "RK45", "LSODA"])
def test_float32_starts_flow_in_float64(solver):
    start = Y0.astype(np.float32)
    flow = fs.integrate(plain_logistic, start, 2.0, ts=[2.0], solver=solver)
    assert flow.settings["dtype"] == "float64"
    assert flow.states.dtype == np.float64
    assert np.abs(flow.states / logistic(start.astype(float), 2.0) - 1).max() <= 1e-7


def bowl(params):
    return jnp.sum((params["w"] - 1) ** 2) / 2 + jnp.sum(params["more"][0] ** 2)


PATTERN = {"w": np.zeros(2), "more": (np.zeros((2, 1)),)}
BOWL_START = {"w": np.array([0.0, 3.0]), "more": (np.array([[1], [2]]),)}  # integers, too


@pytest.fixture(scope="module", params=["dopri8", "DOP853"])
def bowl_run(request):
    prob = fs.Problem.from_function(bowl, PATTERN)
    return fs.integrate(prob, BOWL_START, 1.0, ts=[0.0, 0.5, 1.0], solver=request.param)


def test_pytrees_come_back_as_pytrees(bowl_run):
    assert bowl_run.states["w"].shape == (3, 2)
    assert bowl_run.states["more"][0].shape == (3, 2, 1)
    t = bowl_run.ts[:, None]
    np.testing.assert_allclose(
        bowl_run.states["w"], 1 + (BOWL_START["w"] - 1) * np.exp(-t), rtol=1e-7, atol=1e-9
    )
    np.testing.assert_allclose(
        bowl_run.states["more"][0][..., 0], [1, 2] * np.exp(-2 * t), rtol=1e-7
    )
    assert bowl_run.end_to_end is None
    np.testing.assert_allclose(bowl_run.loss, [bowl_exact(s) for s in bowl_run.ts], rtol=1e-7)


def bowl_exact(t):
    return (1 + 4) * np.exp(-2 * t) / 2 + (1 + 4) * np.exp(-4 * t)


def test_a_run_of_a_pytree_is_saved_and_evaluated(bowl_run, tmp_path):
    bowl_run.save(tmp_path / "run.nc")
    loaded = fs.load(tmp_path / "run.nc")
    np.testing.assert_array_equal(loaded.states["more"][0], bowl_run.states["more"][0])
    assert loaded.stats == bowl_run.stats
    between = bowl_run.evaluate(0.3)
    np.testing.assert_allclose(between["w"], 1 + (BOWL_START["w"] - 1) * np.exp(-0.3), rtol=1e-7)
    np.testing.assert_array_equal(loaded.evaluate(0.5)["w"], bowl_run.states["w"][1])
    with pytest.raises(fs.InputError, match=r"t = 0\.3 lies between records"):
        loaded.evaluate(0.3)


def test_jax_stays_in_float32_after_every_run(bowl_run):
    assert bowl_run.states["w"].dtype == bowl_run.loss.dtype == np.float64
    assert isinstance(bowl_run.states["w"], np.ndarray)
    assert not jax.config.jax_enable_x64
    assert jnp.ones(1).dtype == jnp.float32


def test_no_tolerance_below_rounding():
    with pytest.raises(fs.InputError, match=r"rtol is 1e-15, finer than float64"):
        fs.integrate(plain_logistic, Y0, 2.0, rtol=1e-15)


# --- evaluate -------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["dopri8", "DOP853"])
def logistic_run(request):
    return fs.integrate(LOGISTIC, Y0, SPAN, ts=[0.5, 3.0, SPAN], solver=request.param, rtol=1e-10)


def test_evaluate_takes_a_time_or_many_in_any_order(logistic_run):
    run = logistic_run
    assert run.evaluate(1.7).shape == (2,)
    np.testing.assert_allclose(run.evaluate(1.7), logistic(Y0, 1.7), rtol=1e-8)
    times = np.array([5.5, 0.5, 1.0, 1.0, 3.0, SPAN, 3.0000001, 0.7])
    np.testing.assert_allclose(run.evaluate(times), logistic(Y0, times[:, None]), rtol=1e-8)
    np.testing.assert_array_equal(run.evaluate(3.0), run.states[1])
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("t", [0.4, 6.1, np.nan, np.inf, "x", None, [], [[1.0]], 1j, [1.0, 9.0]])
def test_evaluate_refuses_times_outside_the_run(t, logistic_run):
    with pytest.raises(fs.InputError, match=r"^t "):
        logistic_run.evaluate(t)
