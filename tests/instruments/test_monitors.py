"""Conservation laws along runs: constant where the flow is solved, drifting where it is not."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.linalg import expm

import flowsim as fs
from flowsim.instruments.monitors import Monitor, drift
from flowsim.symbolic.conservation import conservation_laws

RNG = np.random.default_rng(4)
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=6)

MAPS = {
    "u^2 - v^2": fs.Diagonal(3),
    "u^3 - v^3": fs.Diagonal(3, 3),
    "u^5 - v^5": fs.Diagonal(3, 5),
    "product of three": fs.DiagonalProduct(3, 3),
    "scaled vector": fs.ScaledVector(3),
    "weight norm": fs.WeightNormalized(3),
    "text": fs.Parametrization.from_text("u**4 - v**2", {"u": 3, "v": 3}),
    "exponential": fs.Parametrization.from_text("exp(s) * v", {"s": (), "v": 3}),
    "deep linear": fs.DeepLinear((3, 2, 2, 1)),
}


def start(par, scale=0.7):
    rng = np.random.default_rng(1)
    return tuple(scale + 0.3 * rng.uniform(size=shape) for shape in par.shapes)


def solved(par, rtol=1e-10, decay=0.0, t1=1.0):
    """Times and factors of the flow of the mean squared error, by DOP853."""
    theta = start(par)
    cuts = np.cumsum([np.size(x) for x in theta])[:-1]

    def factors(flat):
        parts = np.split(flat, cuts, axis=-1)
        shapes = [(*part.shape[:-1], *s) for part, s in zip(parts, par.shapes, strict=True)]
        return tuple(part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))

    with fs.float64():

        @jax.jit
        def gradient(flat):
            def loss(flat):
                residual = X @ par(factors_of(flat)).reshape(-1) - Y
                return (residual @ residual) / (2 * len(Y)) + decay / 2 * (flat @ flat)

            return jax.grad(loss)(flat)

        def factors_of(flat):
            return tuple(
                part.reshape(s) for part, s in zip(jnp.split(flat, cuts), par.shapes, strict=True)
            )

        run = solve_ivp(
            lambda t, y: -np.asarray(gradient(y)),
            (0, t1),
            np.concatenate([np.ravel(x) for x in theta]),
            method="DOP853",
            rtol=rtol,
            atol=rtol,
        )
    return run.t, factors(run.y.T)


@pytest.mark.parametrize("par", MAPS.values(), ids=MAPS)
def test_flows_conserve(par):
    ts, states = solved(par)
    record = Monitor(conservation_laws(par).laws)(ts, states)
    assert 0 <= record.drift < 1e-9
    assert np.abs(states[0][-1] - states[0][0]).max() > 1e-2
    for name, value in record.values.items():
        assert value.shape == ts.shape
        assert record.absolute[name] == np.abs(value - value[0]).max()
        assert record.relative[name] <= record.drift


def test_runs_are_read():
    par = fs.Diagonal(3, 3)
    ts, states = solved(par)
    run, laws = SimpleNamespace(ts=ts, states=states), conservation_laws(par)
    assert drift(laws, run).drift < 1e-9
    assert list(drift(laws[1], run).values) == [laws[1].name]
    one = fs.SymmetricFactorization(1, 2)  # a state that is one array and no tuple
    run = SimpleNamespace(ts=ts, states=np.ones((len(ts), 1, 2)))
    assert drift(conservation_laws(one), run).drift == 0
    with pytest.raises(fs.InputError, match="holds no conservation law"):
        drift((), run)
    with pytest.raises(fs.InputError, match="w1 has shape"):
        drift(conservation_laws(fs.ScaledVector(2)), SimpleNamespace(ts=ts, states=states))


@pytest.mark.slow
def test_trajectories_conserve():
    par = fs.Diagonal(3, 3)
    run = fs.integrate(fs.Problem(fs.LpLoss(X, Y, p=2), par), start(par), 1.0, rtol=1e-10)
    record = drift(conservation_laws(par), run)
    assert record.drift < 1e-9
    np.testing.assert_array_equal(record.ts, run.ts)


def test_flows_with_decay_follow_the_rates():
    par = fs.DeepLinear((3, 2, 1))
    ts, states = solved(par, decay=0.2)
    decaying = Monitor(conservation_laws(par, weight_decay=0.2).laws)(ts, states)
    assert decaying.drift < 1e-9
    # Taken as conserved, the same laws drift by as much as they decay.
    for name, part in Monitor(conservation_laws(par).laws)(ts, states).relative.items():
        value = decaying.values[name]
        assert part == pytest.approx(
            abs(value[0]) * (1 - np.exp(-0.4)) / decaying.scales[name], rel=1e-6
        )


def test_drift_measures_the_error_of_an_integration():
    par = fs.Diagonal(3, 3)
    monitor = Monitor(conservation_laws(par).laws)
    drifts = [monitor(*solved(par, rtol)).drift for rtol in (1e-4, 1e-7, 1e-10)]
    assert drifts[0] > 10 * drifts[1] > 100 * drifts[2]


def test_descent_drifts_in_proportion_to_its_step():
    par = fs.Diagonal(3)
    u0, v0 = start(par)

    def descended(eta):
        states = [(u0, v0)]
        for _ in range(round(1 / eta)):
            u, v = states[-1]
            g = X.T @ (X @ (u * u - v * v) - Y) / len(Y)
            states.append((u - 2 * eta * u * g, v + 2 * eta * v * g))
        u, v = (np.stack(factor) for factor in zip(*states, strict=True))
        return Monitor(conservation_laws(par).laws)(eta * np.arange(len(u)), (u, v)).drift

    assert descended(0.001) == pytest.approx(descended(0.002) / 2, rel=0.02)


def test_the_scale_is_that_of_the_terms():
    law = conservation_laws(fs.DeepLinear((1, 1, 1)))
    one = np.full((2, 1, 1), 3.0)
    record = Monitor(law.laws)([0.0, 1.0], (one, one + np.array([0.0, 1e-9]).reshape(2, 1, 1)))
    assert record.scales == {"W2^2 - W1^2": 18.0}  # the law itself is 0 there
    assert record.drift == pytest.approx(6e-9 / 18, rel=1e-6)


def test_one_factor_and_views():
    par = fs.SymmetricFactorization(2, 3)
    ts = np.linspace(0, 1, 4)
    U = start(par)[0]
    G = np.array([[1.0, 0.2], [0.2, -0.5]])
    states = np.stack([expm(t * G) @ U for t in ts])
    laws = conservation_laws(par)
    record = Monitor(laws.laws)(ts, states)
    assert record.drift < 1e-13
    data = record.to_xarray()
    assert dict(data.sizes) == {"law": 2, "t": 4}
    np.testing.assert_array_equal(data["value"].sel(law=laws[0].name), record.values[laws[0].name])
    assert "2 laws at 4 times" in str(record)
    some = Monitor(laws.laws[1:])(ts, states)
    assert list(some.values) == [laws[1].name]


def test_wrong_input():
    laws = conservation_laws(fs.Diagonal(2))
    with pytest.raises(fs.InputError, match="pass a Trajectory"):
        drift(laws, (np.ones(2), np.ones(2)))
    with pytest.raises(fs.InputError, match="ts is empty"):
        Monitor(laws.laws)([], (np.ones((0, 2)), np.ones((0, 2))))
    with pytest.raises(fs.InputError, match=r"records where ts has \(3,\)"):
        Monitor(laws.laws)([0.0, 1.0, 2.0], (np.ones((2, 2)), np.ones((2, 2))))
