"""LinearlyImplicitExtrapolation: its order, and the error it delivers for a tolerance."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.integration import LinearlyImplicitExtrapolation


def field(t, y, args):
    """Exact: 1/(1/2 + t)."""
    return -(y**2)


def exact(t):
    return np.array([1 / (0.5 + t)])


@pytest.mark.parametrize("columns", [2, 3, 4, 5, 6])
def test_the_measured_order_is_the_number_of_columns(columns):
    """Steps shrink until round-off; the slope is fitted by regression."""
    span = 4.0

    @jax.jit
    def end(ts):
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            LinearlyImplicitExtrapolation(columns=columns),
            t0=ts[0],
            t1=ts[-1],
            dt0=ts[1] - ts[0],
            y0=jnp.asarray(exact(0.0)),
            stepsize_controller=diffrax.ConstantStepSize(),
            max_steps=None,
        )
        return solution.ys[-1]

    hs, errors = [], []
    with fs.float64():
        for steps in (6, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256):
            found = np.asarray(end(jnp.array([0.0, span / steps, span])))
            error = np.linalg.norm(found - exact(span))
            if error < 2e-12:
                break
            hs.append(span / steps)
            errors.append(error)
    # log error = order log h + a + b h: the next term of the expansion is fitted with the slope.
    h = np.array(hs[-6:])
    columns_of_fit = np.stack([np.log(h), np.ones_like(h), h], axis=1)
    slope = np.linalg.lstsq(columns_of_fit, np.log(errors[-6:]), rcond=None)[0][0]
    assert len(h) == 6
    assert abs(slope - columns) <= 0.1, slope


def stiff_linear(t, y, args):
    """Relaxation to cos t at rate 1e5; exact from the start on the slow solution below."""
    return jnp.stack([-1e5 * (y[0] - jnp.cos(t)) - jnp.sin(t), -(y[1] ** 2)])


def quartic_well(t, y, args):
    """y' = -y^3: y = y0 / sqrt(1 + 2 y0^2 t)."""
    return -(y**3)


def bernoulli(t, y, args):
    """y' = y - y^2."""
    return y - y**2


PROBLEMS = {
    "stiff relaxation": (stiff_linear, [1.0, 0.5], lambda t: [np.cos(t), 1 / (2 + t)], 3.0),
    "quartic well": (quartic_well, [2.0], lambda t: [2 / np.sqrt(1 + 8 * t)], 50.0),
    "logistic": (bernoulli, [0.01], lambda t: [1 / (1 + 99 * np.exp(-t))], 8.0),
}


@pytest.mark.parametrize("name", PROBLEMS)
def test_the_error_follows_the_tolerance(name):
    function, y0, solution, t1 = PROBLEMS[name]
    for rtol in (1e-4, 1e-6, 1e-8, 1e-10):
        run = fs.integrate(function, np.array(y0), t1, ts=[t1], solver="extrapolation", rtol=rtol)
        error = np.abs(run.states[-1] / solution(t1) - 1).max()
        assert error <= 10 * rtol, (rtol, error)
