"""Stops: at a condition, at a value of the loss, at a minimum that the curvature confirms."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._precision import float64
from flowsim._result import Reason
from flowsim.integration.stops import AtMinimum, Minimum, as_stop
from flowsim.lowering import as_field

BACKENDS = ("diffrax", "scipy")


class Quadratic(eqx.Module):
    """The flow y' = -h y of h.y²/2."""

    h: np.ndarray

    def __call__(self, t, y, args):
        return -self.h * y


def bowl():
    """The mean of squares of w - (1, 2), whose flow is w = (1, 2)(1 - e^-t) from 0."""
    return fs.Problem(fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2, scale=1.0), fs.Identity(2))


def deep(N, d=3, values=(1.0, 0.8, 0.5)):
    """Half the squared distance of a product of N factors from a diagonal matrix."""
    net = fs.DeepLinear((d,) * (N + 1))
    loss = fs.LpLoss(np.eye(d), np.diag(np.resize(values, d)), p=2, scale=d / 2)
    return fs.Problem(loss, net), net


def small_start(net, scale, seed=0):
    rng = np.random.default_rng(seed)
    return tuple(scale * rng.normal(size=shape) for shape in net.shapes)


def zeros(net):
    return tuple(np.zeros(shape) for shape in net.shapes)


def fires(stop, field, y, t=0.0):
    with float64():
        return bool(stop.fires(t, y, field(t, y, None)))


# --- what stop= may be ----------------------------------------------------------------------------


def test_none_is_none():
    field = as_field(bowl())
    assert as_stop(None, field, np.zeros(2)) is None


@pytest.mark.parametrize(
    ("stop", "message"),
    [
        ("minimun", "none of 'minimum'. Did you mean 'minimum'"),
        (True, "pass a function"),
        ([1.0], "pass a function"),
        (np.nan, "a finite number"),
        ((), "empty tuple"),
        (10.0, r"the loss at the start is 2\.5 already"),
        (2.5, r"the loss at the start is 2\.5 already"),
        ((None, "nowhere"), "none of 'minimum'"),
    ],
)
def test_what_is_no_stop_is_refused(stop, message):
    with pytest.raises(fs.InputError, match=message):
        as_stop(stop, as_field(bowl()), np.zeros(2))


def test_a_field_without_a_loss_has_no_value_to_stop_at():
    with pytest.raises(fs.InputError, match="this field has no loss"):
        as_stop(0.1, as_field(Quadratic(np.ones(2))), np.ones(2))


def test_a_minimum_needs_a_gradient_flow():
    turning = as_field(lambda t, y, args: jnp.array([-y[1], y[0]]))
    with pytest.raises(fs.InputError, match="not symmetric"):
        as_stop("minimum", turning, np.ones(2))
    law = fs.derive(fs.DeepLinear((2, 2, 2))).lower(
        fs.LpLoss(np.eye(2), np.eye(2), p=2), strategy="spectral"
    )
    with pytest.raises(fs.InputError, match="whose Jacobian is none"):
        as_stop("minimum", law, np.eye(2))


@pytest.mark.parametrize("gradient", [0.0, -1.0, np.nan, "small"])
def test_a_threshold_is_a_positive_number(gradient):
    with pytest.raises(fs.InputError, match="gradient is"):
        Minimum(gradient=gradient)


# --- when it fires --------------------------------------------------------------------------------


def test_a_condition_fires_where_it_holds():
    field = as_field(Quadratic(np.ones(1)))
    stop = as_stop(lambda t, y: y[0] < 0.5, field, np.ones(1))
    assert not fires(stop, field, np.array([0.6]))
    assert fires(stop, field, np.array([0.4]))
    assert stop.confirm(field, 1.0, np.array([0.4])).result.reason is Reason.stopped


def test_a_value_of_the_loss_fires_at_it():
    field = as_field(bowl())
    stop = as_stop(0.1, field, np.zeros(2))
    assert not fires(stop, field, np.array([0.5, 1.0]))
    assert fires(stop, field, np.array([0.9, 1.9]))
    result = stop.confirm(field, 3.0, np.array([0.9, 1.9])).result
    assert result.reason is Reason.stopped
    assert "at or below 0.1" in result.detail


@pytest.mark.parametrize(
    ("start", "threshold"), [(1.0, 1e-6), (1e-4, 1e-7), (1e-9, 1e-8), (1e6, 1e-3)]
)
def test_the_default_threshold_follows_the_start_between_bounds(start, threshold):
    field = as_field(Quadratic(np.ones(1)))
    stop = as_stop("minimum", field, np.array([start]))
    assert float(stop.threshold) == pytest.approx(threshold, rel=1e-12)


def test_several_stops_end_at_the_first():
    field = as_field(bowl())
    stop = as_stop((lambda t, y: t > 2.0, 0.1, "minimum"), field, np.zeros(2))
    y = np.array([0.5, 1.0])
    assert not fires(stop, field, y, t=1.0)
    assert fires(stop, field, y, t=3.0)
    assert fires(stop, field, np.array([0.9, 1.9]), t=1.0)
    with float64():
        assert "At t = 3" in stop.confirm(field, 3.0, y).result.detail
        assert "the loss is" in stop.confirm(field, 1.0, np.array([0.9, 1.9])).result.detail
        at_rest = stop.confirm(field, 1.0, np.array([1.0, 2.0])).result
    assert "the loss is" in at_rest.detail  # asked for before the minimum


def test_nothing_is_compiled_again_when_numbers_change():
    compilations = 0

    @eqx.filter_jit
    def asked(stop, t, y, velocity):
        nonlocal compilations
        compilations += 1
        return stop.fires(t, y, velocity)

    field = as_field(bowl())
    with float64():
        for level in (0.1, 0.2):
            for start in (np.zeros(2), np.full(2, 0.1)):
                stop = as_stop((level, Minimum(gradient=level)), field, start)
                asked(stop, np.float64(level), jnp.asarray(start), jnp.asarray(start))
        later = AtMinimum(np.float64(1e-3), np.float64(5.0), np.float64(1e-6))
        moved = eqx.tree_at(lambda s: s.stops[1], stop, later)
        asked(moved, np.float64(0.3), jnp.asarray(start), jnp.asarray(start))
    assert compilations == 1


# --- what a minimum is confirmed to be ------------------------------------------------------------


def test_a_strict_minimum_ends_the_run():
    field = as_field(Quadratic(np.array([1.0, 3.0])))
    stop = as_stop("minimum", field, np.ones(2))
    result = stop.confirm(field, 20.0, np.full(2, 1e-9)).result
    assert result.reason is Reason.minimum
    assert result.success
    assert "strict minimum" in result.detail


def test_a_flat_valley_ends_the_run_under_its_own_name():
    problem, net = deep(2)
    field = as_field(problem)
    stop = as_stop("minimum", field, small_start(net, 0.1))
    result = stop.confirm(field, 20.0, net.balanced(np.diag([1.0, 0.8, 0.5]))).result
    assert result.reason is Reason.flat_valley
    assert result.success


def test_a_plateau_lets_the_run_go_on_and_says_when_to_ask_again():
    problem, net = deep(3)
    field = as_field(problem)
    start = small_start(net, 0.01)
    stop = as_stop(Minimum(gradient=1e-2), field, start)
    assert fires(stop, field, start)
    result, later, note = stop.confirm(field, 1.0, start)
    assert result is None
    assert "saddle plateau" in note
    assert "λ_min = -" in note
    assert not fires(later, field, start, t=1.0)  # no second Lanczos at the next step
    assert fires(later, field, start, t=float(later.again))
    assert fires(later, field, tuple(W / 2 for W in start), t=1.0)  # the gradient has fallen


@pytest.mark.parametrize("N", [2, 3])
def test_a_run_at_rest_on_a_saddle_ends_without_success(N):
    problem, net = deep(N)
    field = as_field(problem)
    stop = as_stop("minimum", field, zeros(net))
    assert fires(stop, field, zeros(net))
    result = stop.confirm(field, 0.1, zeros(net)).result
    assert result.reason is Reason.saddle_plateau
    assert not result.success
    assert "Start beside it" in str(result)


def test_a_tiny_start_beside_a_saddle_is_not_at_rest():
    """It is followed as it grows, from 1e-200 as well."""
    field = as_field(Quadratic(np.array([1.0, -1.0])))
    stop = as_stop("minimum", field, np.array([1.0, 1e-200]))
    assert stop.confirm(field, 50.0, np.array([1e-22, 1e-178])).result is None
    assert stop.confirm(field, 50.0, np.zeros(2)).result.reason is Reason.saddle_plateau


@pytest.mark.parametrize(
    ("h", "y", "reason"),
    [
        ([1.0, 2.0], [1e-9, 1e-9], Reason.minimum),
        ([1.0, 0.0], [1e-9, 1.0], Reason.flat_valley),
        ([1.0, -1.0], [0.0, 0.0], Reason.saddle_plateau),
        ([1.0, -1.0], [1e-9, 1e-9], None),
    ],
)
def test_a_field_on_numpy_is_confirmed_too(h, y, reason):
    field = as_field(lambda t, y, args: -np.asarray(h) * y, backend="numpy")
    stop = as_stop("minimum", field, np.ones(2))
    assert fires(stop, field, np.array(y))
    result = stop.confirm(field, 20.0, np.array(y)).result
    assert (result and result.reason) is reason


# --- through integrate ----------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
def test_integrate_stops_at_a_value_of_the_loss(backend):
    run = fs.integrate(bowl(), np.zeros(2), 50.0, backend=backend, stop=0.1)
    assert run.result.reason is Reason.stopped
    assert run.loss[-1] <= 0.1 < run.loss[-2]


@pytest.mark.parametrize("backend", BACKENDS)
def test_integrate_stops_at_a_minimum(backend):
    run = fs.integrate(bowl(), np.zeros(2), 1e3, backend=backend, stop="minimum")
    assert run.result.reason is Reason.minimum
    assert run.ts[-1] < 100
    np.testing.assert_allclose(run.end_to_end[-1], [1.0, 2.0], rtol=1e-5)


@pytest.mark.parametrize("backend", BACKENDS)
def test_depth_three_is_never_called_a_minimum_on_a_plateau(backend):
    """From scale 0.01 the loss waits at its start, and at the losses of the lower ranks."""
    problem, net = deep(3)
    run = fs.integrate(
        problem,
        small_start(net, 0.01),
        1e5,
        backend=backend,
        stop=Minimum(gradient=2e-3),
        throw=False,
    )
    assert run.result.reason is Reason.flat_valley, str(run.result)
    assert run.loss[-1] < 1e-5


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("N", [2, 3])
def test_a_run_from_a_saddle_itself_ends_there(N, backend):
    problem, net = deep(N)
    run = fs.integrate(problem, zeros(net), 1e6, backend=backend, stop="minimum", throw=False)
    assert run.result.reason is Reason.saddle_plateau
    assert run.ts[-1] < 1e6


def test_a_numpy_field_on_scipy_stops_at_a_minimum():
    run = fs.integrate(
        lambda t, y, args: -np.array([1.0, 2.0]) * y,
        np.ones(2),
        1e3,
        backend="scipy",
        stop="minimum",
    )
    assert run.result.reason is Reason.minimum
    assert run.ts[-1] < 100


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_first_of_several_ends_a_run(backend):
    stop = (lambda t, y: t > 1.0, "minimum")
    run = fs.integrate(bowl(), np.zeros(2), 1e3, backend=backend, stop=stop)
    assert run.result.reason is Reason.stopped
    assert 1.0 < run.ts[-1] < 10.0


def test_a_stop_in_hand_is_a_pytree():
    field = as_field(bowl())
    stop = as_stop("minimum", field, np.zeros(2))
    assert len(jax.tree.leaves(stop)) == 3
