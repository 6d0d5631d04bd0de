"""Derivatives through runs: direct, forward and by the adjoint equation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.integration.differentiable import integrate_traced, is_traced, traced_start
from flowsim.lowering import as_field

A = np.array([[-1.0, 0.5], [0.5, -2.0]])
Y0 = np.array([1.0, 2.0])
TS = np.array([0.5, 1.0, 2.0])
RNG = np.random.default_rng(0)
SMALL = fs.Problem(
    fs.LpLoss(RNG.normal(size=(9, 2)), RNG.normal(size=(9, 2)), p=2), fs.DeepLinear((2, 2, 2, 2))
)
START = tuple(0.7 * RNG.normal(size=(2, 2)) for _ in range(3))


class Linear(eqx.Module):
    """y' = A y, with A among what is differentiated."""

    A: jax.Array

    def __call__(self, t, y, args):
        return self.A @ y


def read(y):
    return jnp.sum(y[0] ** 2) + jnp.sum(jnp.sin(y[1] * y[2]))


def through_run(given, adjoint):
    ys = integrate_traced(Linear(given[0]), given[1], 0.0, 2.0, TS, rtol=1e-10, adjoint=adjoint)[1]
    return read(ys)


def through_exponential(given):
    return read(jnp.stack([jax.scipy.linalg.expm(t * given[0]) @ given[1] for t in TS]))


def derivative(adjoint):
    return jax.jacfwd if adjoint == "forward" else jax.grad


def relative(a, b):
    a, b = (np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)]) for tree in (a, b))
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def differences(function, y, h=1e-4):
    """Central differences with their error in h^2 removed."""
    flat, shape = jax.flatten_util.ravel_pytree(y)

    def slope(i, h):
        e = np.zeros(flat.size)
        e[i] = h
        return (function(shape(flat + e)) - function(shape(flat - e))) / (2 * h)

    return np.array([(4 * slope(i, h) - slope(i, 2 * h)) / 3 for i in range(flat.size)])


@pytest.mark.parametrize("adjoint", ["direct", "forward", "adjoint"])
def test_a_linear_flow_with_respect_to_start_and_field_at_several_times(adjoint):
    with fs.float64():
        given = jnp.asarray(A), jnp.asarray(Y0)
        exact = jax.grad(through_exponential)(given)
        found = derivative(adjoint)(through_run)(given, adjoint)
    assert relative(found, exact) < 1e-8


def test_many_starts_at_once_and_second_derivatives():
    with fs.float64():
        matrix = jnp.asarray(A)
        starts = jnp.stack([jnp.asarray(Y0), 2 * jnp.asarray(Y0)])
        found = jax.vmap(jax.jacfwd(jax.grad(lambda y: through_run((matrix, y), "adjoint"))))(
            starts
        )
        exact = jax.vmap(jax.hessian(lambda y: through_exponential((matrix, y))))(starts)
    assert relative(found, exact) < 1e-8


def test_the_times_of_recording():
    with fs.float64():

        def size(times):
            begin, end = times
            flow = Linear(jnp.asarray(A))
            return jnp.sum(integrate_traced(flow, Y0, begin, end, adjoint="adjoint")[1][-1])

        found = jax.grad(size)((jnp.asarray(0.0), jnp.asarray(1.5)))
        slope = jnp.sum(A @ jax.scipy.linalg.expm(1.5 * A) @ Y0)
    assert np.allclose(found, (-slope, slope), rtol=1e-7)


@pytest.mark.parametrize("adjoint", ["direct", "forward", "adjoint"])
def test_the_loss_of_a_deep_network_with_respect_to_its_start(adjoint):
    field = as_field(SMALL)

    def loss(y0, mode):
        end = integrate_traced(field, y0, 0.0, 1.5, rtol=1e-11, adjoint=mode)[1]
        return field.value(jax.tree.map(lambda leaf: leaf[-1], end))

    with fs.float64():
        y0 = jax.tree.map(jnp.asarray, START)
        found = derivative(adjoint)(loss)(y0, adjoint)
        expected = differences(eqx.filter_jit(lambda y: loss(y, "forward")), y0)
    assert relative(found, expected) < 1e-6


@pytest.mark.parametrize(
    "adjoint", ["forward", "adjoint", pytest.param("direct", marks=pytest.mark.slow)]
)
def test_a_stiff_flow(adjoint):
    # Integrating it backwards instead would multiply errors by exp(1e4 * 0.1).
    Q = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    H = Q @ np.diag([1.0, 100.0, 1e4]) @ Q.T
    y0 = np.array([1.0, 2.0, -1.0])

    def end(given):
        ys = integrate_traced(Linear(given[0]), given[1], 0.0, 0.1, rtol=1e-9, adjoint=adjoint)[1]
        return jnp.sum(jnp.sin(ys[-1]))

    def exact(given):
        return jnp.sum(jnp.sin(jax.scipy.linalg.expm(0.1 * given[0], max_squarings=30) @ given[1]))

    with fs.float64():
        given = jnp.asarray(-H), jnp.asarray(y0)
        found = jax.jit(derivative(adjoint)(end))(given)
        assert relative(found, jax.grad(exact)(given)) < 1e-6


def test_a_number_that_a_function_closes_over():
    def end(scale):
        problem = fs.Problem.from_function(lambda y: scale * jnp.sum(y**2) / 2, np.ones(2))
        field = as_field(problem)
        assert is_traced(field, np.ones(2))
        ys = integrate_traced(field, np.ones(2), 0.0, 1.0, adjoint="adjoint")[1]
        return jnp.sum(ys[-1])

    with fs.float64():
        assert jax.grad(end)(0.7) == pytest.approx(-2 * np.exp(-0.7), rel=1e-7)


def test_data_of_a_loss():
    field = as_field(SMALL)

    def end(correlation):
        traced = eqx.tree_at(lambda f: f.loss.moments[1], field, correlation)
        ys = integrate_traced(traced, START, 0.0, 1.0, rtol=1e-11, adjoint="adjoint")[1]
        return jnp.sum(traced.read(jax.tree.map(lambda leaf: leaf[-1], ys)))

    with fs.float64():
        at = field.loss.moments[1]
        found = jax.grad(end)(at)
        expected = differences(jax.jit(end), at)
    assert relative(found, expected) < 1e-6
    # The constructor looks at the numbers, and says that it cannot.
    with fs.float64(), pytest.raises(fs.InputError, match="X cannot be read"):
        jax.grad(lambda x: fs.LpLoss(x * np.eye(2), np.ones(2), p=2)(jnp.ones(2)))(1.0)


def test_tracers_are_found_wherever_they_are():
    field, seen = Linear(jnp.asarray(A)), []

    def note(*given):
        seen.append(is_traced(*given))
        return 0.0

    assert not is_traced(field, Y0, 0.0, 1.0)
    jax.grad(lambda y: note(field, y))(Y0)
    jax.vmap(lambda a: note(Linear(a), Y0))(jnp.asarray(A)[None])
    jax.jit(lambda t1: note(field, Y0, 0.0, t1))(1.0)
    jax.grad(lambda a: note(lambda t, y, args: jnp.sin(a) * y, Y0))(1.0)
    jax.grad(lambda a: note(jax.jit(lambda t, y, args: a * y), Y0))(1.0)
    assert seen == [True] * 5


def test_a_traced_start_is_arranged_as_the_field_wants_it():
    par = fs.Parametrization.from_text("u**2 * v", {"v": 2, "u": 2})
    problem = fs.Problem(fs.LpLoss(np.eye(2), np.ones(2), p=2), par)
    field = as_field(problem)
    given = {"u": np.array([1.0, 2.0]), "v": np.array([3.0, 4.0])}
    with fs.float64():
        arranged = jax.jit(lambda y: traced_start(field, y))(given)
        for a, b in zip(arranged, field.start(given), strict=True):
            assert np.array_equal(a, b)
        lifted = fs.derive(fs.DeepLinear((2, 2, 2))).lower(
            fs.LpLoss(np.eye(2), np.eye(2) + 1.0, p=2)
        )
        with pytest.raises(fs.InputError, match="strategy='spectral'"):
            jax.jit(lambda y: traced_start(lifted, y))(np.eye(2))


def test_float32_is_refused_with_the_remedy():
    with pytest.raises(fs.InputError, match=r"fs\.float64"):
        jax.grad(lambda y: jnp.sum(integrate_traced(Linear(A), y, 0.0, 1.0)[1]))(
            jnp.ones(2, jnp.float32)
        )


@pytest.mark.filterwarnings("ignore")  # JAX's own notes on the error that is raised on purpose
def test_a_run_that_fails_is_not_a_silent_nan():
    def end(y, steps, power):
        flow = lambda t, y, args: y**power  # noqa: E731
        return jnp.sum(integrate_traced(flow, y, 0.0, 2.0, max_steps=steps)[1][-1])

    with fs.float64():
        with pytest.raises(Exception, match="maximum number of solver steps"):
            jax.grad(end)(jnp.ones(1), 3, 1)
        with pytest.raises(Exception, match=r"steps|finite"):
            jax.grad(end)(jnp.ones(1), 200, 2)  # infinite at t = 1


@pytest.mark.parametrize("adjoint", ["direct", "adjoint"])
def test_integrate_itself_is_differentiated(adjoint):
    def final_loss(y0):
        return fs.integrate(SMALL, y0, 1.5, ts=[0.7, 1.5], rtol=1e-11, adjoint=adjoint).loss[-1]

    with fs.float64():
        found = jax.grad(final_loss)(jax.tree.map(jnp.asarray, START))
        expected = differences(final_loss, START)
    assert relative(found, expected) < 1e-6
