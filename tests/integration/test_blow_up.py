"""Blow-up is named with its time, from the growth alone; other growth and other stalls are not."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import flowsim as fs
from flowsim._result import Reason
from flowsim.integration.ending import (
    History,
    Sample,
    diagnose_stall,
    fit_blow_up,
    looks_like_blow_up,
)

MOST_STEPS = 4000


def power(p):
    return lambda t, y: y**p


def riccati(t, y):
    """W' = W² + I: W = tan of a matrix, its largest eigenvalue first to leave every bound."""
    W = y.reshape(2, 2)
    return (W @ W + np.eye(2)).ravel()


RICCATI_START = np.array([0.3, 0.1, 0.1, -0.5])
RICCATI_TIME = np.pi / 2 - np.arctan(np.linalg.eigvalsh(RICCATI_START.reshape(2, 2))[-1])

# Field, start, the end asked for, and the time of blow-up.
BLOW_UPS = {
    "y' = y^1.2": (power(1.2), [1.0], 20.0, 5.0),
    "y' = y^1.5": (power(1.5), [1.0], 20.0, 2.0),
    "y' = y^2": (power(2.0), [1.0], 2.0, 1.0),
    "y' = y^3": (power(3.0), [1.0], 2.0, 0.5),
    "y' = y^5": (power(5.0), [1.0], 2.0, 0.25),
    "y' = y^3 from 1e-3": (power(3.0), [1e-3], 1e6, 5e5),
    "y' = y^3 from 1e3": (power(3.0), [1e3], 1.0, 5e-7),
    "y' = e^y": (lambda t, y: np.exp(y), [0.0], 2.0, 1.0),
    "y' = 1 + y^2": (lambda t, y: 1 + y**2, [0.0], 3.0, np.pi / 2),
    "one component of three": (
        lambda t, y: np.array([-y[0], y[1] ** 2, np.cos(t)]),
        [1e3, 1.0, 0.0],
        3.0,
        1.0,
    ),
    "matrix Riccati": (riccati, RICCATI_START, 4.0, RICCATI_TIME),
}

OTHERS = {
    "y' = y": (lambda t, y: y, [1.0], 1000.0),
    "y' = 50 y": (lambda t, y: 50 * y, [1.0], 1000.0),
    "e^(e^t)": (lambda t, y: np.exp(t) * y, [1.0], 50.0),
    "y' = -sign y": (lambda t, y: -np.sign(y), [1.0], 3.0),
    "y' = y(1 - y) from 1e-100": (lambda t, y: y * (1 - y), [1e-100], 1e4),
    "y' = -sqrt y": (lambda t, y: -np.sqrt(np.maximum(y, 0.0)), [1.0], 5.0),
    "y' = -1/y: the velocity ends, the state does not": (lambda t, y: -1 / y, [1.0], 5.0),
    "a jump": (lambda t, y: np.where(t < 1, 1.0, -1e6) * np.ones(1), [0.0], 2.0),
    "a steep layer": (
        lambda t, y: 1e6 / np.cosh(np.minimum(1e6 * abs(t - 1), 300.0)) ** 2 * np.ones(1),
        [0.0],
        2.0,
    ),
    "depth three from 1e-9": (lambda t, y: y**2 * (1 - y), [1e-9], 2e9),
    "growth to 1e9": (lambda t, y: y**2 * (1 - y / 1e9), [1.0], 3.0),
}


class Drive:
    """A run of a SciPy solver, with what an engine would know of it when it ends."""

    def __init__(self, case, method, *, mean_speeds=False):
        field, start, t1 = case[:3]
        start = np.array(start, float)
        scale = np.abs(start).max() or 1.0
        self.history, self.called = History.empty(), False
        t, y = 0.0, start
        rows = []
        with np.errstate(all="ignore"):
            solver = method(field, 0.0, start, t1, rtol=1e-8, atol=1e-8 * scale)
            for _ in range(MOST_STEPS):
                solver.step()
                if solver.status == "failed" or not np.isfinite(solver.y).all():
                    break
                mean = np.linalg.norm(solver.y - y) / (solver.t - t)
                t, y = solver.t, solver.y.copy()
                speed = mean if mean_speeds else np.linalg.norm(field(t, y))
                rows.append((t, np.linalg.norm(y), speed))
                if len(rows) % 32 == 0:
                    self.history = self.history.extended(*np.transpose(rows[-32:]))
                    self.called = self.called or looks_like_blow_up(self.history, t1)
                if solver.status == "finished":
                    break
            self.history = self.history.extended(*np.transpose(rows[-32:]))
            self.last_steps = History(*np.transpose(rows[-32:]))
            self.first = Sample(0.0, start, field(0.0, start))
            self.last = Sample(t, y, field(t, y))

    def diagnosis(self, history):
        return diagnose_stall(self.first, self.last, history=history)


METHODS = [scipy.integrate.DOP853, scipy.integrate.Radau, scipy.integrate.BDF]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("case", BLOW_UPS)
def test_a_blow_up_is_named_from_the_history_of_the_run(case, method):
    run = Drive(BLOW_UPS[case], method)
    assert run.history.ts.size <= 64
    result = run.diagnosis(run.history)
    assert result.reason is Reason.blow_up
    assert result.blow_up_time == pytest.approx(BLOW_UPS[case][3], rel=1e-3)
    assert "grows like (t* - t)^-" in result.detail


@pytest.mark.parametrize("mean_speeds", [False, True])
@pytest.mark.parametrize("case", BLOW_UPS)
def test_the_last_steps_alone_will_do_where_steps_are_long(case, mean_speeds):
    run = Drive(BLOW_UPS[case], scipy.integrate.DOP853, mean_speeds=mean_speeds)
    result = run.diagnosis(run.last_steps)
    assert result.reason is Reason.blow_up
    assert result.blow_up_time == pytest.approx(BLOW_UPS[case][3], rel=1e-3)


@pytest.mark.parametrize("method", METHODS[:2])
@pytest.mark.parametrize("case", OTHERS)
def test_other_growth_and_other_stalls_are_no_blow_up(case, method):
    run = Drive(OTHERS[case], method)
    assert not run.called
    for history in (run.history, run.last_steps):
        assert run.diagnosis(history).reason is not Reason.blow_up
        assert not looks_like_blow_up(history, np.inf)


@pytest.mark.parametrize("p", [1.2, 2.0, 5.0])
def test_the_exponent_of_the_growth_is_found(p):
    run = Drive((power(p), [1.0], 20.0), scipy.integrate.DOP853)
    fit = fit_blow_up(run.history)
    assert fit.exponent == pytest.approx(p / (p - 1), rel=0.02)
    assert fit.narrowing > 1e6


def test_a_run_is_called_off_before_its_steps_underflow():
    run = Drive(BLOW_UPS["y' = y^3"], scipy.integrate.Radau)
    assert run.called
    early = History(*(part[:15] for part in run.history))
    assert not looks_like_blow_up(early, 2.0)  # too little growth to be certain
    assert not looks_like_blow_up(run.history, 0.4)  # the run ends before it


@pytest.mark.parametrize("n", [0, 1, 5])
def test_few_steps_tell_nothing(n):
    t = np.linspace(0.0, 0.9, n)
    assert fit_blow_up(History(t, 1 / (1 - t), 1 / (1 - t) ** 2)) is None
    assert not looks_like_blow_up(History(t, 1 / (1 - t), 1 / (1 - t) ** 2), 2.0)


def test_noise_and_rest_are_no_growth():
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.uniform(size=64))
    for speeds in (np.zeros(64), np.ones(64), rng.uniform(size=64), np.full(64, np.nan)):
        history = History.empty().extended(t, np.ones(64), speeds)
        assert fit_blow_up(history) is None


class Growth(eqx.Module):
    """y' = a + b|y|^p + c e^y: one program for all of them."""

    a: np.ndarray
    b: np.ndarray
    p: np.ndarray
    c: np.ndarray

    def __init__(self, a, b, p, c):
        self.a, self.b, self.p, self.c = (np.asarray(v, float) for v in (a, b, p, c))

    def __call__(self, t, y, args):
        return self.a + self.b * jnp.abs(y) ** self.p + self.c * jnp.exp(jnp.minimum(y, 700.0))


END_TO_END = {
    "y^1.2": (Growth(0, 1, 1.2, 0), 1.0, 20.0, 5.0),
    "y^5": (Growth(0, 1, 5, 0), 1.0, 2.0, 0.25),
    "e^y": (Growth(0, 0, 1, 1), 0.0, 2.0, 1.0),
    "1 + y^2": (Growth(1, 1, 2, 0), 0.0, 3.0, np.pi / 2),
    "y^3 from 1e-3": (Growth(0, 1, 3, 0), 1e-3, 1e6, 5e5),
    "y^3 from 1e3": (Growth(0, 1, 3, 0), 1e3, 1.0, 5e-7),
}


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize(
    "solver",
    [
        "auto",
        "LSODA",
        "RK45",
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("tsit5", "extrapolation")),
        *(pytest.param(s, marks=pytest.mark.slow) for s in ("RK23", "DOP853", "Radau", "BDF")),
    ],
)
@pytest.mark.parametrize("case", END_TO_END)
def test_integrate_names_a_blow_up_on_every_backend(case, solver, given):
    field, start, t1, t_star = END_TO_END[case]
    ts = np.linspace(0, t1, 9)[1:] if given else None
    run = fs.integrate(field, np.array([start]), t1, ts=ts, solver=solver, throw=False)
    assert run.result.reason is Reason.blow_up, str(run.result)
    assert run.result.blow_up_time == pytest.approx(t_star, rel=0.01)
    assert run.stats["steps"] < 30_000
    assert np.isfinite(run.states).all()
