"""The estimate of the spectral radius: right from the start, and in step with what changes."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from flowsim import float64
from flowsim.integration.stabilized import estimate_spectral_radius
from flowsim.integration.stabilized.radius import COLD_PRODUCTS, cold_estimate, warm_estimate

SIZE = 400
SPECTRA = {
    "two close": np.append(np.linspace(0, 0.9, SIZE - 2), [0.999, 1.0]),
    "uniform": np.linspace(0, 1, SIZE),
    "one alone": np.append(np.linspace(0, 0.1, SIZE - 1), 1.0),
    "heavy tail": 1 / np.sqrt(np.arange(1, SIZE + 1)),
    "negative curvature": np.append(np.linspace(0, 0.9, SIZE - 1), -1.0),
    "pair of signs": np.append(np.linspace(-0.5, 0.5, SIZE - 2), [-1.0, 1.0]),
}


@pytest.fixture(autouse=True)
def _double():
    with float64():
        yield


class Bowl(eqx.Module):
    """Minus the gradient of a sum of curvatures[i] y_i^2 / 2."""

    curvatures: np.ndarray

    def __call__(self, t, y, args):
        return -self.curvatures * y


@eqx.filter_jit
def follow(field, y, steps):
    """Cold, and then warm so many times where nothing changes."""

    def again(estimate, _):
        estimate = warm_estimate(field, 0.0, y, None, estimate)
        return estimate, estimate

    first = cold_estimate(field, 0.0, y, None)
    return first, jax.lax.scan(again, first, length=steps)[1]


@pytest.mark.parametrize("name", SPECTRA)
@pytest.mark.parametrize("scale", [1e-6, 1e5])
def test_the_estimate_is_hardly_too_small_and_little_too_large(name, scale):
    y = np.random.default_rng(0).standard_normal(SIZE)
    cold, warm = follow(Bowl(scale * SPECTRA[name]), y, 100)
    # A pair of signs makes the Rayleigh quotient small and the residual large.
    ceiling = 1.42 if name in ("negative curvature", "pair of signs") else 1.05
    every = np.append(cold.radius, warm.radius) / scale
    assert every.min() > 0.98
    assert every.max() < ceiling
    # What is said to be certain is.
    assert np.append(cold.least, warm.least).max() <= scale * (1 + 1e-12)
    assert 2 <= int(cold.products) <= COLD_PRODUCTS
    # Warm, one product is enough.
    assert int(warm.products[-1]) == int(cold.products) + 100


def test_a_direction_that_the_vector_has_lost_is_found_when_it_sharpens():
    sharp = np.append(np.zeros(SIZE - 2), [1.0, 0.0])
    later = np.append(np.zeros(SIZE - 2), [1.0, 3.0])
    y = np.ones(SIZE)
    estimate = cold_estimate(Bowl(sharp), 0.0, y, None)
    # Worse than any run: the vector has nothing at all of the new direction.
    lost = eqx.tree_at(lambda e: e.direction, estimate, jnp.zeros(SIZE).at[-2].set(1.0))
    step = eqx.filter_jit(lambda f, e: warm_estimate(f, 0.0, y, None, e))
    for _ in range(12):
        lost = step(Bowl(later), lost)
    assert float(lost.radius) == pytest.approx(3.0, rel=0.03)


def test_the_estimate_follows_a_fall_at_once():
    y = np.ones(SIZE)
    step = eqx.filter_jit(lambda f, e: warm_estimate(f, 0.0, y, None, e))
    before = cold_estimate(Bowl(1e4 * SPECTRA["two close"]), 0.0, y, None)
    after = step(Bowl(SPECTRA["two close"]), before)
    assert 0.9 < float(after.radius) < 1.1


@pytest.mark.parametrize("curvatures", [np.zeros(3), np.array([0.0, 0.0, 2.0])])
@pytest.mark.parametrize("y", [np.zeros(3), np.ones(3)])
def test_zero_fields_and_zero_jacobians_give_numbers(curvatures, y):
    cold, warm = follow(Bowl(curvatures), y, 3)
    assert float(cold.radius) == pytest.approx(curvatures.max(), rel=1e-3)
    assert np.all(np.isfinite(warm.radius))
    assert float(estimate_spectral_radius(Bowl(curvatures), 0.0, y)) == float(cold.radius)


def test_it_agrees_with_the_hessian_of_a_network_at_a_pytree():
    rng = np.random.default_rng(1)
    X, Y = rng.standard_normal((20, 5)), rng.standard_normal((20, 2))

    def loss(p):
        return 0.5 * jnp.mean(jnp.sum((jnp.tanh(X @ p["first"]) @ p["second"] - Y) ** 2, axis=1))

    p = {"first": rng.standard_normal((5, 6)) / 2, "second": rng.standard_normal((6, 2)) / 2}
    flat, unravel = jax.flatten_util.ravel_pytree(p)
    hessian = jax.hessian(lambda v: loss(unravel(v)))(flat)
    truth = np.abs(np.linalg.eigvalsh(hessian)).max()

    def field(t, y, args):
        return jax.tree.map(jnp.negative, jax.grad(loss)(y))

    assert float(estimate_spectral_radius(field, 0.0, p)) == pytest.approx(truth, rel=0.03)
