"""A problem that fails is named, and costs the others nothing."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.integration.batch import BatchError, integrate_batch
from tests.integration.fields import Polynomial

GOOD = [Polynomial(-1.0, 0.0, 0.0), Polynomial(-2.0, 0.0, 0.0), Polynomial(1.0, -1.0, 0.0)]


class Walled(eqx.Module):
    """y' = c, not finite beyond a wall."""

    wall: np.ndarray

    def __call__(self, t, y, args):
        return jnp.where(y > self.wall, jnp.nan, 1.0)


def test_blow_ups_are_named_with_their_times_and_nothing_is_lost():
    y0 = np.array([0.5])
    fields = [*GOOD, Polynomial(0.0, 1.0, 0.0), *GOOD, Polynomial(0.0, 0.0, 1.0), *GOOD]
    batch = integrate_batch(fields, y0, t1=5.0, ts=[1.0, 3.0, 5.0])
    np.testing.assert_array_equal(batch.failed, [3, 7])
    assert [r.name for r in batch.results].count("completed") == 9
    assert batch.results[3].name == batch.results[7].name == "blow_up"
    assert batch.results[3].blow_up_time == pytest.approx(2.0, rel=0.01)  # y0 / (1 - y0 t)
    assert batch.results[7].blow_up_time == pytest.approx(2.0, rel=0.01)  # y0 / sqrt(1 - 2 y0² t)
    # The failed runs keep their record and the state at which they ended.
    np.testing.assert_allclose(batch[3].states[0], [1.0], rtol=1e-6)
    assert len(batch[3]) == 2
    assert batch[3].ts[-1] == pytest.approx(2.0, rel=1e-6)
    assert np.isfinite(batch[3].final).all()
    # What is missing is masked, so that means are over what is there.
    final = batch.final
    assert isinstance(final, np.ma.MaskedArray)
    assert final.mask[:, 0].tolist() == [i in (3, 7) for i in range(11)]
    assert float(final[::4].max()) < 1.0
    assert batch.ts.mask[3].tolist() == [False, True, True]
    assert np.isfinite(batch.ts.filled(0.0)).all()
    assert "2 blow_up" in repr(batch)


def test_with_throw_the_exception_carries_the_whole_batch():
    fields = [GOOD[0], Polynomial(0.0, 1.0, 0.0), GOOD[1]]
    with pytest.raises(BatchError, match="1 of 3 problems ended early; the first is number 1") as e:
        integrate_batch(fields, np.array([0.5]), t1=5.0, throw=True)
    assert len(e.value.batch) == 3
    assert e.value.trajectory.result.name == "blow_up"
    np.testing.assert_allclose(e.value.batch[2].final, 0.5 * np.exp(-10.0), rtol=1e-5)
    assert isinstance(e.value, fs.IntegrationError)


def test_a_field_that_is_not_finite_is_named():
    walls = [10.0, 1.5, -1.0]
    batch = integrate_batch([Walled(np.array(w)) for w in walls], np.array([0.0]), t1=3.0)
    assert [r.name for r in batch.results] == ["completed", "nonfinite_field", "nonfinite_field"]
    assert batch[1].ts[-1] == pytest.approx(1.5, rel=1e-6)
    assert "fails at t = 0" in batch.results[2].detail
    assert len(batch[2]) == 1


def test_each_problem_has_a_budget_of_its_own():
    fields = [Polynomial(-rate, 0.0, 0.0) for rate in (0.1, 1e4, 0.2)]
    batch = integrate_batch(fields, np.array([1.0]), t1=1.0, solver="dopri5", max_steps=100)
    assert [r.name for r in batch.results] == ["completed", "budget", "completed"]
    assert batch[1].stats["steps"] + batch[1].stats["rejected"] == 100
    assert 0 < batch[1].ts[-1] < 1
    np.testing.assert_allclose(batch[2].final, np.exp(-0.2), rtol=1e-6)


def test_the_clock_ends_a_batch_with_what_it_has():
    fields = [Polynomial(-rate, 0.0, 0.0) for rate in (0.1, 1e8, 0.2)]
    batch = integrate_batch(
        fields, np.array([1.0]), t1=1.0, solver="dopri5", max_steps=10**9, max_seconds=3.0
    )
    assert batch.results[1].name == "wall_clock"
    assert "It had reached t = " in batch.results[1].detail
    assert batch[1].stats["steps"] > 0


def test_a_loss_that_is_not_a_number_is_a_failure():
    problem = fs.Problem.from_function(lambda y: jnp.sum(jnp.log(y + 1) * 0 + y**2), np.ones(1))
    batch = integrate_batch(problem, np.array([[1.0], [2.0]]), t1=1.0)
    assert [r.name for r in batch.results] == ["completed"] * 2
    bad = integrate_batch(
        fs.Problem.from_function(lambda y: jnp.sum(y + jnp.where(y < 0, jnp.nan, 0.0)), np.ones(1)),
        np.array([[5.0], [0.5]]),
        t1=1.0,
    )
    assert [r.name for r in bad.results] == ["completed", "nonfinite_loss"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((GOOD, [np.ones(1)] * 2, 1.0), "list of 2 starts for 3 fields"),
        (([], np.ones(1), 1.0), "the batch is empty"),
        ((GOOD[0], np.ones((2, 1)), [1.0, 2.0, 3.0]), r"t1 has shape \(3,\)"),
        ((GOOD[0], np.ones((2, 1)), [1.0, -2.0]), "t1 is -2"),
        ((GOOD[0], (np.ones((2, 1)), np.ones((3, 1))), 1.0), "leading axis"),
        ((GOOD[0], np.array([[1.0], [np.nan]]), 1.0), "holds nan"),
        ((GOOD[0], np.float64(1.0), 1.0), "no common leading axis"),
    ],
)
def test_wrong_input_is_refused(arguments, message):
    with pytest.raises(fs.InputError, match=message):
        integrate_batch(*arguments)


def test_wrong_keywords_are_refused():
    y0 = np.ones((2, 1))
    with pytest.raises(fs.InputError, match="of which nothing would be recorded"):
        integrate_batch(GOOD[0], y0, t1=[1.0, 3.0], ts=[2.0, 3.0])
    with pytest.raises(fs.InputError, match="backend"):
        integrate_batch(GOOD[0], y0, t1=1.0, solver="LSODA")
    with pytest.raises(fs.InputError, match="rtol"):
        integrate_batch(GOOD[0], y0, t1=1.0, rtol=1e-16)
    with pytest.raises(TypeError, match="Did you mean 'max_steps'"):
        integrate_batch(GOOD[0], y0, t1=1.0, maxsteps=3)


def test_an_absolute_tolerance_above_a_start_is_warned_of():
    y0 = np.array([[1.0], [1e-9]])
    with pytest.warns(fs.ToleranceWarning, match="1 starts, the first of them number 1"):
        integrate_batch(GOOD[0], y0, t1=0.5, atol=1e-6)
    batch = integrate_batch(GOOD[0], y0, t1=0.5)
    np.testing.assert_allclose(batch.final[:, 0], y0[:, 0] * np.exp(-0.5), rtol=1e-7)
