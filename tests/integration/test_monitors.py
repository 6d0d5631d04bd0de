"""What is conserved is watched on request, in flows and in descents, and comes back from a file."""

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs

PAR = fs.Parametrization.from_text("u**2 * v", {"u": 2, "v": 2})
LAWS = fs.conservation_laws(PAR)
PROBLEM = fs.Problem(lambda w: jnp.sum((w - jnp.array([1.0, -0.5])) ** 2) / 2, PAR)
START = (np.array([0.5, 0.7]), np.array([0.4, 0.3]))


@pytest.fixture(scope="module")
def flow():
    return fs.integrate(
        PROBLEM, START, 3.0, solver="DOP853", rtol=1e-10, ts=[0.0, 1.0, 3.0], monitor=LAWS
    )


def test_a_flow_keeps_what_is_conserved(flow):
    assert set(flow.drift) == {law.name for law in LAWS}
    assert max(np.abs(d).max() for d in flow.drift.values()) < 1e-9
    assert flow[1:].drift["u[0]^2 - 2*v[0]^2"].shape == (2,)


def test_descent_moves_it_by_the_square_of_the_step():
    def moved(rate, steps):
        run = fs.descend(PROBLEM, START, learning_rate=rate, steps=steps, monitor=LAWS[0])
        (deviation,) = run.drift.values()
        return np.abs(deviation[-1])

    coarse, fine = moved(0.02, 50), moved(0.01, 100)
    assert coarse > 1e-5
    assert coarse / fine == pytest.approx(2.0, rel=0.1)


def test_the_drift_is_saved_and_labelled(flow, tmp_path):
    flow.save(tmp_path / "run.nc")
    back = fs.load(tmp_path / "run.nc")
    for name, deviation in flow.drift.items():
        assert np.array_equal(back.drift[name], deviation)
    assert flow.to_xarray()["drift"].dims == ("law", "t")


def test_none_is_watched_unless_asked_for():
    assert fs.descend(PROBLEM, START, learning_rate=0.01, steps=2).drift is None


@pytest.mark.parametrize(
    ("monitor", "message"),
    [
        ((), "monitor holds no conservation law"),
        ("balance", "monitor holds no conservation law"),
        (3, "monitor holds no conservation law"),
        (fs.conservation_laws(fs.Diagonal(3)), "shape"),
    ],
)
def test_a_wrong_monitor_is_refused_before_any_work(monitor, message):
    with pytest.raises(fs.InputError, match=message):
        fs.integrate(PROBLEM, START, 1.0, monitor=monitor)
