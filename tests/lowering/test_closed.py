"""Closed motions as fields on w: their trajectories are those of the factor flow."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

import flowsim as fs
from flowsim._errors import HypothesisError, InputError
from flowsim.lowering.closed import ClosedField, ImplicitField, lower_closed
from flowsim.problems import as_loss
from flowsim.problems.families import CP, Diagonal, ScaledVector, TwoLayer, WeightNormalized
from flowsim.problems.parametrizations import DeepLinear, Parametrization
from flowsim.symbolic.closure import closure


def scalars(formula, names):
    return Parametrization.from_text(formula, {name: () for name in names})


def quadratic(m, seed):
    """A strictly convex loss of the flattened end-to-end value, for JAX, and its gradient."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(m, m))
    Q, b = A @ A.T / m + np.eye(m), rng.normal(size=m)

    def loss(w):
        r = jnp.ravel(w) - b
        return 0.5 * r @ Q @ r

    return as_loss(loss), lambda w: Q @ (np.ravel(w) - b)


def factor_flow(par, gradient, theta, times):
    """w along the flow of the factors, by SciPy and derivatives of the map by JAX."""
    shapes = [np.shape(x) for x in theta]
    sizes = [int(np.prod(s)) for s in shapes]

    def factors(x):
        parts = np.split(x, np.cumsum(sizes)[:-1])
        return tuple(p.reshape(s) for p, s in zip(parts, shapes, strict=True))

    def flat(x):
        return jnp.ravel(par(jnp_factors(x)))

    def jnp_factors(x):
        at, found = 0, []
        for s, n in zip(shapes, sizes, strict=True):
            found.append(x[at : at + n].reshape(s))
            at += n
        return tuple(found)

    with fs.float64():
        slope = jax.jit(jax.jacfwd(flat))
        run = solve_ivp(
            lambda t, x: -np.asarray(slope(x)).T @ gradient(par(factors(x))),
            (0.0, times[-1]),
            np.concatenate([np.ravel(x) for x in theta]),
            method="DOP853",
            rtol=1e-12,
            atol=1e-14,
            t_eval=times,
        )
    assert run.success
    return np.array([np.ravel(par(factors(x))) for x in run.y.T])


def closed_flow(field, start, times):
    """w along the lowered field."""
    with fs.float64():
        w0 = field.start(start)
        call = (
            (lambda y: field(0.0, y))
            if field.backend == "numpy"
            else jax.jit(lambda y: field(0.0, y))
        )
        run = solve_ivp(
            lambda t, y: np.ravel(np.asarray(call(y.reshape(w0.shape)))),
            (0.0, times[-1]),
            w0.ravel(),
            method="DOP853",
            rtol=1e-12,
            atol=1e-14,
            t_eval=times,
        )
    assert run.success, run.message
    return run.y.T


CASES = {
    "u^2 - v^2": (Diagonal(3), ClosedField),
    "scaled vector": (ScaledVector(3), ClosedField),
    "weight normalized": (WeightNormalized(3), ClosedField),
    "one hidden unit": (DeepLinear((3, 1, 1)), ClosedField),
    "rank-one matrix": (TwoLayer((2, 1, 2)), ClosedField),
    "(a + b) c": (scalars("(a + b)*c", "abc"), ClosedField),
    "u/v": (scalars("u/v", "uv"), ClosedField),
    "tanh(u) v": (scalars("tanh(u)*v", "uv"), ClosedField),
    "linear": (scalars("2*u - v", "uv"), ClosedField),
    "chain of three": (DeepLinear((1, 1, 1, 1)), ImplicitField),
    "u^3 - v^3": (Diagonal(2, 3), ImplicitField),
    "three factors, vector": (DeepLinear((2, 1, 1, 1)), ImplicitField),
    "rank-one tensor": (CP((2, 2, 2), 1), ImplicitField),
    "u^2 v": (scalars("u**2*v", "uv"), ImplicitField),
    "u^4 - v^2": (scalars("u**4 - v**2", "uv"), ImplicitField),
    "u^2 - v": (scalars("u**2 - v", "uv"), ImplicitField),
    "e^u v": (scalars("exp(u)*v", "uv"), ImplicitField),
}


@pytest.mark.parametrize("backend", ["numpy", "jax"])
@pytest.mark.parametrize("name", CASES)
def test_trajectories_are_those_of_the_factor_flow(name, backend):
    par, kind = CASES[name]
    rng = np.random.default_rng(7)
    theta = tuple(rng.uniform(0.5, 1.1, size=shape) for shape in par.shapes)
    loss, gradient = quadratic(int(np.prod(par.end_to_end_shape)), seed=2)
    times = np.linspace(0.0, 0.5, 6)
    field = lower_closed(closure(par), loss, theta, backend=backend)
    assert type(field) is kind
    expected = factor_flow(par, gradient, theta, times)
    np.testing.assert_allclose(closed_flow(field, theta, times), expected, rtol=0, atol=1e-9)
    with fs.float64():
        assert float(field.value(field.start(theta))) == pytest.approx(float(loss(par(theta))))


def test_branches_are_those_of_the_start():
    """Over one w and one c, starts on different branches have different velocities."""
    par = scalars("u**3 - v**3", "uv")
    loss = as_loss(lambda w: w)
    known = closure(par)
    # 1/u + 1/v = 1 and u^3 - v^3 = 7 at (2, 2)'s neighbours: roots of one equation in u.
    c, w = 1.0, 7.0
    roots = [
        u.real
        for u in np.roots([1, -3, 3, -2 - w, 3 * w, -3 * w, w])
        if abs(u.imag) < 1e-9 and abs(u.real - 1) > 1e-6
    ]
    assert len(roots) >= 2
    speeds = []
    for u in roots[:2]:
        v = u / (c * u - 1)
        theta = (np.asarray(u), np.asarray(v))
        field = lower_closed(known, loss, theta)
        with fs.float64():
            speeds.append(float(field(0.0, np.asarray(u**3 - v**3))))
        np.testing.assert_allclose(speeds[-1], -9 * (u**4 + v**4), rtol=1e-6)
    assert abs(speeds[0] - speeds[1]) > 1.0


def test_balanced_matrices():
    net = DeepLinear((3, 2, 2))
    rng = np.random.default_rng(0)
    theta = net.balanced(rng.normal(size=(2, 3)))
    loss, gradient = quadratic(6, seed=1)
    field = lower_closed(closure(net, values="zero"), loss, theta)
    times = np.linspace(0.0, 0.3, 4)
    expected = factor_flow(net, gradient, theta, times)
    np.testing.assert_allclose(closed_flow(field, theta, times), expected, rtol=0, atol=1e-9)
    with pytest.raises(HypothesisError, match="balanced"):
        lower_closed(
            closure(net, values="zero"), loss, tuple(2 * W if i else W for i, W in enumerate(theta))
        )


def test_lambda_balanced_matrices():
    par = TwoLayer((2, 2, 2))
    theta = par.lambda_balanced(np.array([[0.7, 0.2], [-0.3, 0.9]]), 0.5)
    loss, gradient = quadratic(4, seed=3)
    known = closure(par, values={0: 0.5, 1: 0, 2: 0.5})
    field = lower_closed(known, loss, theta)
    assert isinstance(field, ImplicitField)
    times = np.linspace(0.0, 0.3, 4)
    expected = factor_flow(par, gradient, theta, times)
    np.testing.assert_allclose(closed_flow(field, theta, times), expected, rtol=0, atol=1e-9)


def test_a_vector_loss_for_a_row():
    X, y = np.eye(3), np.array([1.0, -2.0, 0.5])
    loss = fs.LpLoss(X, y, p=2)
    net = DeepLinear((3, 1, 1))
    theta = (np.array([[0.3, -0.2, 0.4]]), np.array([[0.8]]))
    field = lower_closed(closure(net), loss, theta)
    assert field.start(theta).shape == (3,)
    with fs.float64():
        assert field(0.0, field.start(theta)).shape == (3,)


@pytest.mark.parametrize("backend", ["numpy", "jax"])
def test_a_point_that_no_state_belongs_to_has_no_velocity(backend):
    """Along u^2 - 2 v^2 = c < 0 with v > 0 there is no state with u^2 v < 0."""
    theta = (np.asarray(0.5), np.asarray(1.0))
    known = closure(scalars("u**2*v", "uv"))
    with fs.float64():
        field = lower_closed(known, as_loss(lambda w: w), theta, backend=backend)
        assert np.isfinite(np.asarray(field(0.0, np.asarray(0.2))))
        assert np.isnan(np.asarray(field(0.0, np.asarray(-0.2))))


def test_jax_fields_compile_and_differentiate_in_their_data():
    par = ScaledVector(2)
    theta = (np.array([0.3, 0.1]), np.asarray(0.5))
    loss, _ = quadratic(2, seed=0)
    with fs.float64():
        field = lower_closed(closure(par), loss, theta, backend="jax")
        slope = jax.jacfwd(lambda y: field(0.0, y))(jnp.asarray(field.start(theta)))
        e = 1e-6
        y = field.start(theta)
        by_differences = np.stack(
            [(field(0.0, y + e * d) - field(0.0, y - e * d)) / (2 * e) for d in np.eye(2)], axis=1
        )
    np.testing.assert_allclose(slope, by_differences, atol=1e-7)


def test_wrong_input():
    loss, _ = quadratic(2, seed=0)
    good = (np.array([0.3, 0.1]), np.asarray(0.5))
    known = closure(ScaledVector(2))
    with pytest.raises(InputError, match="backend"):
        lower_closed(known, loss, good, backend="torch")
    with pytest.raises(InputError, match="closure is ScaledVector"):
        lower_closed(ScaledVector(2), loss, good)
    with pytest.raises(InputError, match="does not close"):
        lower_closed(closure(TwoLayer((2, 2, 1))), loss, good)
    with pytest.raises(InputError, match=r"start\[0\] has shape"):
        lower_closed(known, loss, (np.zeros(3), np.asarray(0.5)))
    with pytest.raises(InputError, match="was asked for with 0"):
        lower_closed(closure(ScaledVector(2), values="zero"), loss, good)
    field = lower_closed(known, loss, good)
    with pytest.raises(InputError, match="other conserved values"):
        field.start((np.array([0.3, 0.1]), np.asarray(0.9)))
    with pytest.raises(InputError, match="y0 has shape"):
        field.start(np.zeros(3))
    missing = closure(scalars("u*v + v**2", "uv"))
    with pytest.raises(InputError, match="no formula"):
        lower_closed(missing, as_loss(lambda w: w**2), (np.asarray(1.0), np.asarray(0.5)))


def test_a_start_outside_the_domain():
    """rho = 0: the direction of w is lost."""
    loss, _ = quadratic(2, seed=0)
    with pytest.raises(HypothesisError, match="outside the form's domain"):
        lower_closed(closure(ScaledVector(2)), loss, (np.array([0.3, 0.1]), np.asarray(0.0)))
