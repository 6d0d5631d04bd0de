"""The energy identity and the monotony of the loss, along runs and where they fail."""

import dataclasses
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import MonotonyWarning
from flowsim.instruments import EnergyField, check_monotony, energy_drift, largest_rise
from flowsim.instruments.energy import with_energy
from flowsim.instruments.monotony import explained_rise
from flowsim.lowering import as_field

RNG = np.random.default_rng(0)
X, Y = RNG.normal(size=(20, 3)), RNG.normal(size=(20, 3))
LOSS = fs.LpLoss(X, Y, p=2)
NET = fs.DeepLinear((3, 3, 3))
FACTORS = tuple(0.5 * RNG.normal(size=(3, 3)) for _ in range(2))
W0 = 0.5 * np.eye(3) + 0.1 * RNG.normal(size=(3, 3))
PAR = fs.Parametrization.from_text("u**2 * v", {"u": 3, "v": 3})
ENTRIES = (np.array([0.5, 0.7, 0.2]), np.array([0.4, 0.3, 0.6]))
VALLEY = fs.Problem.from_function(
    lambda p: (1 - p["x"]) ** 2 / 2 + 20 * (p["y"] - p["x"] ** 2) ** 2, {"x": 0.0, "y": 0.0}
)


def with_rates_and_decay():
    return fs.Problem(fs.LpLoss(X, Y[:, 0], p=2), PAR, weight_decay=0.05, rates={"v": 3.0})


CASES = {
    "factors": lambda: (fs.Problem(LOSS, NET), FACTORS),
    "decay": lambda: (fs.Problem(LOSS, NET, weight_decay=0.1), FACTORS),
    "rates": lambda: (with_rates_and_decay(), ENTRIES),
    "spectral": lambda: (fs.derive(NET).lower(LOSS, strategy="spectral"), W0),
    "lifted": lambda: (fs.derive(NET, weight_decay=0.1).lower(LOSS), W0),
    "function": lambda: (VALLEY, {"x": -0.5, "y": 1.0}),
}


def drift_of(field, start, **options):
    run = fs.integrate(field, start, 3.0, ts=[1.0, 2.0, 3.0], **options)
    return np.abs(energy_drift(field, field.start(start), run.states)).max() / run.loss.max()


@pytest.mark.parametrize("case", list(CASES))
def test_the_energy_identity_holds_to_the_tolerance(case):
    problem, start = CASES[case]()
    field = EnergyField(as_field(problem))
    coarse, fine = (drift_of(field, start, solver="tsit5", rtol=rtol) for rtol in (1e-5, 1e-8))
    assert fine < 1e-6  # the integral has no part in the choice of steps
    assert coarse > 20 * fine


@pytest.mark.parametrize("solver", ["extrapolation", "LSODA"])
def test_any_solver_carries_the_energy_and_goes_on_as_without(solver):
    problem, start = CASES["factors"]()
    plain = as_field(problem)
    field = EnergyField(plain)
    options = {"solver": solver, "rtol": 1e-7, "ts": [1.0, 3.0]}
    run = fs.integrate(field, start, 3.0, **options)
    same = fs.integrate(plain, start, 3.0, **options)
    assert run.stats["steps"] == same.stats["steps"]
    for a, b in zip(run.states[0], same.states, strict=True):
        assert np.allclose(a, b, rtol=0, atol=1e-10)
    back = with_energy(run, field, field.start(start))
    assert jax.tree.structure(back.states) == jax.tree.structure(same.states)
    assert np.abs(back.drift["energy"]).max() < 1e-6 * same.loss[0]
    assert np.allclose(back.evaluate(2.0), same.evaluate(2.0), rtol=0, atol=1e-7)


def test_a_wrong_field_breaks_the_identity():
    # The velocity of another loss than the one whose energy is counted.
    problem, start = CASES["factors"]()
    field = EnergyField(as_field(problem))
    run = fs.integrate(field, start, 3.0, solver="tsit5", rtol=1e-8, ts=[1.0, 3.0])
    other = EnergyField(as_field(fs.Problem(fs.LpLoss(X, 1.1 * Y, p=2), NET)))
    assert np.abs(energy_drift(other, field.start(start), run.states)).max() > 1e-2


def test_a_function_has_no_energy():
    with pytest.raises(fs.InputError, match="has no loss"):
        EnergyField(as_field(lambda t, y, args: -y))


@pytest.mark.parametrize("backend", ["diffrax", "scipy"])
def test_energy_is_monitored_beside_laws_on_request(backend):
    problem, start = CASES["factors"]()
    laws = fs.conservation_laws(NET)
    run = fs.integrate(
        problem, start, 3.0, ts=[1.0, 3.0], backend=backend, rtol=1e-8, monitor=[*laws, "energy"]
    )
    assert set(run.drift) == {*(law.name for law in laws), "energy"}
    assert 0 < np.abs(run.drift["energy"]).max() < 1e-6
    assert run.states[0].shape == (2, 3, 3)
    alone = fs.integrate(problem, start, 3.0, ts=[3.0], backend=backend, monitor="energy")
    assert list(alone.drift) == ["energy"]


def test_the_largest_rise():
    assert largest_rise([4.0, 2.0, 2.5, 1.0]) == 0.125
    assert largest_rise([3.0, 2.0, 1.0]) == 0.0
    assert largest_rise([1.0]) == largest_rise([0.0, 0.0]) == 0.0
    with pytest.raises(fs.InputError, match="nan"):
        largest_rise([1.0, np.nan])


@pytest.mark.parametrize("case", list(CASES))
def test_no_false_alarm_of_a_run_to_the_minimum(case):
    problem, start = CASES[case]()
    field = as_field(problem)
    # A solver at its stability limit, a coarse tolerance, and records at the level of its errors.
    run = fs.integrate(
        field, start, 200.0, solver="tsit5", rtol=1e-4, ts=np.linspace(0.0, 200.0, 101)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert check_monotony(run, field) < 1e-3


def test_with_decay_the_objective_is_what_must_not_rise():
    # From the minimum of the loss the decay moves the loss up, and the objective down.
    net, loss = fs.DeepLinear((1, 1)), fs.LpLoss(np.ones((1, 1)), np.ones(1), p=2)
    par = fs.Parametrization.from_text("u * v", {"u": 1, "v": 1})
    problem = fs.Problem(fs.LpLoss(np.ones((1, 1)), np.ones(1), p=2), par, weight_decay=0.3)
    del net, loss
    field = as_field(problem)
    run = fs.integrate(field, (np.ones(1), np.ones(1)), 2.0, ts=[0.0, 1.0, 2.0])
    assert largest_rise(run.loss) > 0.1
    assert check_monotony(run, field) == 0.0


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_a_rise_that_no_tolerance_explains_is_told(backend):
    problem, start = CASES["factors"]()
    field = as_field(problem, backend=backend)
    run = fs.integrate(field, start, 3.0, ts=[0.0, 1.0, 2.0, 3.0], rtol=1e-6)
    turned = dataclasses.replace(
        run, states=jax.tree.map(lambda leaf: leaf[::-1], run.states), loss=run.loss[::-1]
    )
    with pytest.warns(MonotonyWarning, match="the loss rises by"):
        rise = check_monotony(turned, field)
    assert rise == largest_rise(run.loss[::-1]) > 0.01


def test_the_explained_rise_is_that_of_the_steepest_direction():
    H = jnp.array([1.0, 1e4])
    quadratic = fs.Problem.from_function(lambda y: jnp.sum(H * y**2) / 2, np.zeros(2))
    field = as_field(quadratic)
    assert explained_rise(field, np.zeros(2), 1e-3) == pytest.approx(1e4 * 1e-6 / 2)
    away = explained_rise(field, np.array([1.0, 0.0]), 1e-9)
    assert away == pytest.approx(1e-9, rel=1e-2)
