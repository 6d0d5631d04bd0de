"""Batches give what single runs give, in the order of the problems."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.integration.batch import Batch, integrate_batch
from tests.integration.fields import LOGISTIC, Polynomial, logistic

RNG = np.random.default_rng(0)
TRACES = []


class Relaxation(eqx.Module):
    """y' = -k (y - y*), entry by entry; it counts how often it is traced."""

    k: np.ndarray
    target: np.ndarray

    def __call__(self, t, y, args):
        TRACES.append(y.shape)
        return -self.k * (y - self.target)

    def exact(self, y0, t):
        return self.target + (y0 - self.target) * np.exp(-self.k * t)


def problem(seed, depth=2):
    rng = np.random.default_rng(seed)
    X, y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    return fs.Problem(fs.LpLoss(X, y, p=2), fs.DeepLinear((3, *[2] * (depth - 1), 2)))


def factors(seed, depth=2):
    rng = np.random.default_rng(seed)
    shapes = [(2, 3), *[(2, 2)] * (depth - 1)]
    return tuple(0.5 * rng.normal(size=shape) for shape in shapes)


def test_many_starts_agree_with_single_runs():
    starts = [factors(seed) for seed in range(12)]
    stacked = tuple(np.stack(parts) for parts in zip(*starts, strict=True))
    ts = [0.5, 1.0, 4.0]
    batch = integrate_batch(problem(0), stacked, t1=4.0, ts=ts, rtol=1e-9)
    assert isinstance(batch, Batch)
    assert len(batch) == 12
    assert not batch.failed.size
    for i in (0, 5, 11):
        single = fs.integrate(problem(0), starts[i], t1=4.0, ts=ts, rtol=1e-12)
        scale = np.abs(single.end_to_end).max()
        np.testing.assert_array_equal(batch[i].ts, ts)
        np.testing.assert_allclose(batch[i].end_to_end, single.end_to_end, atol=1e-8 * scale)
        np.testing.assert_allclose(batch[i].loss, single.loss, atol=1e-8 * single.loss.max())
        np.testing.assert_allclose(batch.end_to_end[i], batch[i].end_to_end, rtol=0, atol=0)
        np.testing.assert_allclose(batch.final[0][i], batch[i].final[0], rtol=0, atol=0)
        assert batch[i].parent is not None


def test_order_survives_ragged_difficulty():
    k = np.concatenate([10 ** RNG.uniform(-1, 2, 11), [0.0]])
    fields = [Relaxation(np.full(2, rate), np.array([1.0, rate])) for rate in k]
    starts = [RNG.normal(size=2) for _ in k]
    batch = integrate_batch(fields, starts, t1=3.0, ts=[0.0, 1.0, 3.0], rtol=1e-8)
    for field, y0, run in zip(fields, starts, batch, strict=True):
        np.testing.assert_array_equal(run.ts, [0.0, 1.0, 3.0])
        for t, y in zip(run.ts, run.states, strict=True):
            np.testing.assert_allclose(y, field.exact(y0, t), rtol=1e-6, atol=1e-7)
    assert batch[3].stats["steps"] != batch[11].stats["steps"]
    assert batch.stats["steps"] == sum(run.stats["steps"] for run in batch)


def test_a_stiff_lane_is_handed_over_and_costs_itself():
    fields = [Relaxation(np.array([1.0, rate]), np.ones(2)) for rate in [2.0] * 11 + [1e5]]
    starts = [np.array([2.0, 1.5])] * 12
    batch = integrate_batch(fields, starts, t1=10.0)
    exact = [f.exact(y0, 10.0) for f, y0 in zip(fields, starts, strict=True)]
    np.testing.assert_allclose(batch.final, exact, rtol=1e-6)
    assert "LinearlyImplicitExtrapolation from t = " in batch[11].settings["solver"]
    assert all(run.settings["solver"] == "dopri8" for run in batch[:11])
    assert batch[11].stats["jacobians"] > 0
    assert batch[0].stats["jacobians"] == 0
    assert batch[11].stats["steps"] < 1000


def test_problems_of_several_structures_come_back_in_order():
    depths = [2, 3, 2, 1, 3]
    problems = [problem(seed, depth) for seed, depth in enumerate(depths)]
    starts = [factors(seed, depth) for seed, depth in enumerate(depths)]
    batch = integrate_batch(problems, starts, t1=2.0, rtol=1e-9)
    assert len(batch.parts) == 3
    assert [len(run.states) for run in batch] == depths
    assert batch.end_to_end.shape == (5, 2, 2, 3)
    for i in (1, 2):
        single = fs.integrate(problems[i], starts[i], t1=2.0, rtol=1e-12)
        np.testing.assert_allclose(batch[i].end_to_end[-1], single.end_to_end[-1], atol=1e-8)
        assert batch[i].parent is problems[i]
    with pytest.raises(fs.InputError, match="differ in the shape of final"):
        _ = batch.final
    assert batch[::2][:1].final[0].shape == (1, 2, 3)


def test_one_start_for_all_fields_and_lifted_starts():
    problems = [problem(0), problem(1)]
    batch = integrate_batch(problems, factors(3), t1=1.0)
    assert not np.allclose(batch[0].end_to_end[-1], batch[1].end_to_end[-1])
    law = fs.derive(fs.DeepLinear((3, 2, 2))).lower(problems[0].loss)
    W = RNG.normal(size=(4, 2, 3))
    lifted = integrate_batch(law, W, t1=1.0, rtol=1e-9)
    np.testing.assert_allclose(lifted.end_to_end[:, 0], W, atol=1e-12)
    single = fs.integrate(law, W[2], t1=1.0, rtol=1e-12)
    np.testing.assert_allclose(lifted[2].end_to_end[-1], single.end_to_end[-1], atol=1e-8)


def test_each_problem_may_end_at_a_time_of_its_own():
    y0 = RNG.uniform(0.1, 0.9, size=(4, 1))
    t1 = np.array([1.0, 2.0, 5.0, 3.0])
    batch = integrate_batch(LOGISTIC, y0, t1=t1)
    np.testing.assert_allclose(batch.final[:, 0], logistic(y0[:, 0], t1), rtol=1e-7)
    np.testing.assert_array_equal(batch.ts[:, 1], t1)
    shared = integrate_batch(LOGISTIC, y0, t1=t1, ts=[0.5, 1.0, 2.0, 4.0])
    assert [len(run) for run in shared] == [2, 3, 4, 3]
    np.testing.assert_array_equal(shared.ts.mask.sum(axis=1), [2, 1, 0, 1])
    assert np.isfinite(shared.end_to_end is None or shared.loss.mask.sum())
    np.testing.assert_allclose(shared[1].states[-1], logistic(y0[1], 2.0), rtol=1e-7)


def test_a_trajectory_of_a_batch_can_be_evaluated_between_its_records():
    batch = integrate_batch(LOGISTIC, np.array([[0.1], [0.3]]), t1=4.0)
    np.testing.assert_allclose(batch[1].evaluate(1.7), logistic(np.array([0.3]), 1.7), rtol=1e-7)


def test_solvers_of_ones_own_and_loose_tolerances():
    y0 = RNG.uniform(0.1, 0.9, size=(4, 1))
    exact = logistic(y0[:, 0], 3.0)
    for solver, rtol in (("auto", 1e-4), ("heun", 1e-5), ("kvaerno5", 1e-6)):
        batch = integrate_batch(LOGISTIC, y0, t1=3.0, solver=solver, rtol=rtol)
        np.testing.assert_allclose(batch.final[:, 0], exact, rtol=20 * rtol)
        name = "tsit5" if solver == "auto" else solver
        assert all(run.settings["solver"] == name for run in batch)


def test_nothing_is_compiled_again_when_only_numbers_change():
    field = Relaxation(np.array([1.0]), np.array([0.0]))

    def run(n, rate, t1, rtol):
        several = [eqx.tree_at(lambda f: f.k, field, np.array([rate + i])) for i in range(n)]
        return integrate_batch(several, [np.ones(1)] * n, t1=t1, rtol=rtol)

    run(30, 1.0, 1.0, 1e-8)
    run(40, 1.0, 1.0, 1e-8)
    seen = len(TRACES)
    checks = 3  # each batch asks for the shape of the velocity once, on its first start
    for n, rate, t1, rtol in ((30, 2.0, 3.0, 1e-6), (25, 0.5, 2.0, 1e-9), (100, 1.0, 1.0, 1e-8)):
        batch = run(n, rate, t1, rtol)
        exact = np.exp(-(rate + np.arange(n)) * t1)
        np.testing.assert_allclose(batch.final[:, 0], exact, atol=100 * rtol)
    assert len(TRACES) - seen <= checks


def test_memory_is_bounded_by_the_record():
    n, size = 40, 50
    k = np.linspace(1.0, 30.0, n)
    fields = [Relaxation(np.full(size, rate), np.zeros(size)) for rate in k]
    batch = integrate_batch(fields, [np.ones(size)] * n, t1=2.0, ts=[1.0, 2.0])
    (part,) = batch.parts
    assert part.states.nbytes == n * 2 * size * 8
    assert np.shares_memory(batch[7].states, part.states)
    np.testing.assert_allclose(batch.final[:, 0], np.exp(-2.0 * k), rtol=1e-6, atol=1e-8)


def test_a_batch_of_polynomials_with_their_own_coefficients():
    fields = [Polynomial(-1.0 - i, 0.0, 0.0) for i in range(3)]
    batch = integrate_batch(fields, np.array([1.0, 2.0]), t1=1.0)
    for i, run in enumerate(batch):
        np.testing.assert_allclose(run.final, np.array([1, 2]) * np.exp(-1.0 - i), rtol=1e-7)
    assert batch.end_to_end is None
    assert jnp.ndim(batch.loss) == 2
