"""Radii that rise and fall within a run, noise at rest, and radii that were given wrong."""

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import quad
from scipy.optimize import brentq

from flowsim import float64
from flowsim.integration.stabilized import RKC2


@pytest.fixture(autouse=True)
def _double():
    with float64():
        yield


class Valley(eqx.Module):
    """A walk along a = t, in a valley around b = sin a of curvature k exp(rate a).

    From (0, 0) the exact solution is (t, sin t), and the spectral radius k exp(rate t).
    """

    k: np.ndarray
    rate: np.ndarray

    def __call__(self, t, y, args):
        a, b = y
        curvature = self.k * jnp.exp(self.rate * a)
        return jnp.stack([jnp.ones_like(a), jnp.cos(a) - curvature * (b - jnp.sin(a))])


@eqx.filter_jit
def walk(field, rtol, radius=None):
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        RKC2(radius=radius),
        0.0,
        10.0,
        None,
        jnp.zeros(2),
        saveat=diffrax.SaveAt(t1=True, steps=True, solver_state=True),
        stepsize_controller=diffrax.PIDController(rtol=rtol, atol=rtol, pcoeff=0.2, icoeff=0.4),
        max_steps=4096,
    )
    return solution.ts, solution.ys, solution.solver_state, solution.stats


@pytest.mark.parametrize(
    ("k", "factor"), [(1e2, 1e2), (1e4, 1e2), (1e4, 1e-4)], ids=["rises", "rises stiff", "falls"]
)
@pytest.mark.parametrize("rtol", [1e-3, 1e-5])
def test_a_radius_that_changes_within_the_run_stays_accurate(k, factor, rtol):
    field = Valley(np.array(k), np.array(np.log(factor) / 10))
    ts, ys, state, stats = walk(field, np.asarray(rtol))
    ts, ys = ts[np.isfinite(ts)], ys[np.isfinite(ts)]
    assert ts[-1] == 10
    error = np.abs(ys - np.stack([ts, np.sin(ts)], axis=1)).max()
    assert error < 10 * rtol
    # The estimate and the stages have followed; where steps have two stages, it is a few steps old.
    assert 0.95 < float(state.radius) / (k * factor) < 1.2
    last = ts[-1] - ts[-2]
    lengths = RKC2()._intervals()[1]
    expected = 2 + np.searchsorted(lengths, 1.05 * last * k * factor)
    assert abs(int(state.stages) - expected) <= 1 + 0.1 * expected
    # Rejections stay few.
    assert int(stats["num_rejected_steps"]) <= 12 + 0.1 * int(stats["num_accepted_steps"])


def test_a_gradient_flow_that_sharpens_by_a_hundred_stays_accurate():
    """f = (uvw - s)^2 / 2 from u = v = w = 0.05: a' = a^2 (s - a^3), solved by quadrature."""
    s, a0 = 10.0, 0.05

    def field(t, y, args):
        return jax.tree.map(jnp.negative, jax.grad(lambda p: (jnp.prod(p) - s) ** 2 / 2)(y))

    def time(a):
        return quad(lambda x: 1 / (x**2 * (s - x**3)), a0, a, epsabs=0, epsrel=1e-12, limit=200)[0]

    # While it escapes, when it is nearly there, and long after.
    ts = np.array([1.8, 1.95, 1.98, 4.0, 50.0])
    exact = [
        brentq(lambda a, t=t: time(a) - t, a0, 0.999 * s ** (1 / 3)) if t < 2 else s ** (1 / 3)
        for t in ts
    ]
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(field),
        RKC2(),
        0.0,
        ts[-1],
        None,
        jnp.full(3, a0),
        saveat=diffrax.SaveAt(ts=ts, solver_state=True),
        stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-8, pcoeff=0.2, icoeff=0.4),
    )
    # The eigenvalues grow from s a0 in modulus to 3 s^(4/3).
    assert float(solution.solver_state.radius) / (s * a0) > 100
    assert float(solution.solver_state.radius) == pytest.approx(3 * s ** (4 / 3), rel=0.05)
    # The time of the escape is what errors go into: at t = 2 its slope is near its largest.
    np.testing.assert_allclose(solution.ys, np.array(exact)[:, None] * np.ones(3), rtol=1e-4)


def one_step(field, y, share, radius=None):
    """A trial step of a share of the longest, from t = 0."""
    solver, terms = RKC2(radius=radius, most_stages=20), diffrax.ODETerm(field)
    state = solver.init(terms, 0.0, 1.0, y, None)
    h = share * solver.longest_step(state)
    y1, error, _, after, _ = solver.step(terms, jnp.zeros(()), h, y, None, state, False)
    return solver, state, after, y1, error


def test_a_step_is_refused_where_the_radius_rises_beyond_its_stages_and_learns_it():
    # The curvature of b doubles within the step, while y stays smooth and its error small.
    steep = Valley(np.array(100.0), np.array(0.4))
    solver, before, after, _, error = one_step(steep, jnp.zeros(2), 1.0)
    assert bool(after.sharpened)
    assert np.all(np.asarray(error) > 1e20)
    learned = solver.learned(before, after)
    assert float(before.radius) < float(learned.radius) <= 2 * float(before.radius)
    assert float(solver.longest_step(learned)) < float(solver.longest_step(before))
    flat = Valley(np.array(100.0), np.array(0.0))
    solver, before, after, _, error = one_step(flat, jnp.zeros(2), 1.0)
    assert not bool(after.sharpened)
    assert int(after.stages) == 20
    assert np.all(np.asarray(error) < 1)
    assert float(solver.learned(before, after).radius) == float(before.radius)


def fifty(t, y, args):
    return 50.0 + 0 * t


@pytest.mark.parametrize("radius", [np.array(50.0), fifty], ids=["number", "function"])
def test_a_radius_that_is_too_small_is_refused_by_name(radius):
    field = Valley(np.array(1e2), np.array(0.0))
    said = r"radius is 50 at t = 0, where .* measured to be at least (9\d\.|1\d\d)"
    with pytest.raises(Exception, match=said):
        jax.block_until_ready(walk(field, np.asarray(1e-3), radius))


def test_a_radius_that_is_given_right_is_used():
    field = Valley(np.array(1e2), np.array(np.log(100.0) / 10))
    radius = lambda t, y, args: field.k * jnp.exp(field.rate * t)  # noqa: E731
    ts, ys, state, _ = walk(field, np.asarray(1e-4), radius)
    ts, ys = ts[np.isfinite(ts)], ys[np.isfinite(ts)]
    assert np.abs(ys[:, 1] - np.sin(ts)).max() < 1e-3
    assert float(state.radius) == pytest.approx(1e4, rel=1e-12)


@pytest.mark.parametrize("spread", ["linear", "logarithmic"])
def test_noise_at_rest_does_not_grow_unseen(spread):
    """Steps at the very end of the stability interval, ten thousand of them, far below atol."""
    grids = {"linear": np.linspace(0, 100, 30), "logarithmic": np.geomspace(1e-3, 100, 30)}
    curvatures = grids[spread]
    noise = 1e-12 * np.random.default_rng(0).standard_normal(30)

    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: -args * (y + y**2)),
        RKC2(most_stages=12),
        0.0,
        1e4 * 0.85,
        None,
        noise,
        args=curvatures,
        saveat=diffrax.SaveAt(steps=True),
        stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3, pcoeff=0.2, icoeff=0.4),
        max_steps=2**16,
    )
    assert 1e4 <= int(solution.stats["num_accepted_steps"]) < 3e4
    largest = np.nanmax(np.abs(np.where(np.isfinite(solution.ys), solution.ys, 0)))
    assert largest <= np.abs(noise).max()


def test_rest_and_a_field_that_is_zero_take_one_long_step():
    solution = diffrax.diffeqsolve(
        diffrax.ODETerm(lambda t, y, args: 0 * y),
        RKC2(),
        0.0,
        1e6,
        1e6,
        jnp.ones(3),
        stepsize_controller=diffrax.PIDController(rtol=1e-3, atol=1e-3),
    )
    assert int(solution.stats["num_steps"]) == 1
    np.testing.assert_array_equal(solution.ys[-1], np.ones(3))
