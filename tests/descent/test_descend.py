"""Descent is Euler's method on the lowered field, on the clock of the flow."""

import jax
import numpy as np
import optax
import pytest

import flowsim as fs
from flowsim.lowering import lower_problem

RNG = np.random.default_rng(3)
X, Y = RNG.normal(size=(30, 4)), RNG.normal(size=(30, 2))
LOSS = fs.LpLoss(X, Y, p=4)
NET = fs.DeepLinear((4, 3, 2))
PROBLEM = fs.Problem(LOSS, NET)
THETA = NET.balanced(RNG.normal(size=(2, 4)))


def numpy_descent(theta, learning_rate, steps):
    """Gradient descent by hand: gradients of (1/4m) sum |X W2W1' - Y|^4 by the chain rule."""
    W1, W2 = (np.array(W) for W in theta)
    for _ in range(steps):
        residual = X @ (W2 @ W1).T - Y
        G = (residual**3).T @ X / len(X)
        W1, W2 = W1 - learning_rate * W2.T @ G, W2 - learning_rate * G @ W1.T
    return W1, W2


def test_descent_is_a_loop_of_gradient_steps():
    run = fs.descend(PROBLEM, THETA, learning_rate=1e-2, steps=500)
    for mine, by_hand in zip(run.final, numpy_descent(THETA, 1e-2, 500), strict=True):
        np.testing.assert_allclose(mine, by_hand, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("strategy", ["spectral", "factors"])
def test_descent_on_a_law_is_euler_on_its_field(strategy):
    field = fs.derive(NET).lower(LOSS, strategy=strategy)
    eta, w0 = 1e-3, NET(THETA)
    run = fs.descend(field, w0, learning_rate=eta, steps=3, record=[0, 1, 2, 3])
    with fs.float64():
        y = field.start(w0)
        for k in range(3):
            y = jax.tree.map(lambda a, b: a + eta * b, y, field(0.0, y))
            by_hand = NET(y) if strategy == "factors" else y
            np.testing.assert_allclose(run.end_to_end[k + 1], by_hand, rtol=1e-14, atol=1e-15)


def test_the_clock_is_step_size_times_iteration():
    record = [0, 1, 7, 100]
    run = fs.descend(PROBLEM, THETA, learning_rate=1e-3, steps=100, record=record)
    assert run.stats["iterations"].tolist() == record
    assert run.ts.tolist() == [k * 1e-3 for k in record]
    np.testing.assert_array_equal(run.states[0][0], THETA[0])


def test_a_schedule_sums_its_steps():
    def schedule(k):
        return 1e-2 / (1.0 + k)

    run = fs.descend(PROBLEM, THETA, learning_rate=schedule, steps=50, record=[0, 10, 50])
    expected = [sum(1e-2 / (1.0 + k) for k in range(n)) for n in (0, 10, 50)]
    np.testing.assert_allclose(run.ts, expected, rtol=1e-14)


def test_a_constant_schedule_is_gradient_descent():
    plain = fs.descend(PROBLEM, THETA, learning_rate=1e-2, steps=50)
    scheduled = fs.descend(PROBLEM, THETA, learning_rate=lambda k: 1e-2 + 0.0 * k, steps=50)
    np.testing.assert_allclose(plain.final[0], scheduled.final[0], rtol=1e-14)


def test_an_optax_transformation_descends():
    sgd = fs.descend(PROBLEM, THETA, optimizer=optax.sgd(1e-2), steps=100, learning_rate=1e-2)
    plain = fs.descend(PROBLEM, THETA, learning_rate=1e-2, steps=100)
    np.testing.assert_allclose(sgd.final[0], plain.final[0], rtol=1e-13)
    np.testing.assert_array_equal(sgd.ts, plain.ts)
    adam = fs.descend(PROBLEM, THETA, optimizer=optax.adam(1e-2), steps=200)
    assert adam.loss[-1] < 0.9 * adam.loss[0]
    assert adam.ts[-1] == 200


def test_default_record_is_logarithmic_with_both_ends():
    run = fs.descend(PROBLEM, THETA, learning_rate=1e-3, steps=20_000)
    iterations = run.stats["iterations"]
    assert iterations[0] == 0
    assert iterations[-1] == 20_000
    assert len(iterations) < 220
    ratio = iterations[100:] / iterations[99:-1]
    assert ratio.max() < 1.08


def test_p2_moments_descend_like_the_data():
    loss = fs.LpLoss(X, Y[:, 0], p=2)
    w0 = np.zeros(4)
    run = fs.descend(fs.Problem(loss, fs.Identity(4)), w0, learning_rate=0.1, steps=40)
    w = w0
    for _ in range(40):
        w = w - 0.1 * (X @ w - Y[:, 0]) @ X / len(X)
    np.testing.assert_allclose(run.final, w, rtol=1e-12)


def test_divergence_keeps_what_it_has_and_names_the_iteration():
    run = fs.descend(PROBLEM, THETA, learning_rate=50.0, steps=10_000, throw=False)
    assert run.result.name == "diverged"
    last = run.stats["iterations"][-1]
    assert all(np.isfinite(W).all() for W in run.states)
    W1, W2 = numpy_descent_until(50.0, last)
    assert np.isfinite(W1).all()
    assert np.isfinite(W2).all()
    assert f"iteration {last}" in str(run.result)
    with pytest.raises(fs.IntegrationError, match="learning_rate") as caught:
        fs.descend(PROBLEM, THETA, learning_rate=50.0, steps=10_000)
    assert len(caught.value.trajectory) == len(run)


def numpy_descent_until(learning_rate, steps):
    with np.errstate(all="ignore"):
        finite = numpy_descent(THETA, learning_rate, steps)
        beyond = numpy_descent(THETA, learning_rate, steps + 1)
    assert not all(np.isfinite(W).all() for W in beyond)
    return finite


def test_interrupt_keeps_the_record():
    def interrupt(k):
        if k >= 1000:
            raise KeyboardInterrupt

    run = fs.descend(
        PROBLEM, THETA, learning_rate=1e-4, steps=100_000, progress=interrupt, throw=False
    )
    assert run.result.name == "interrupted"
    assert 0 < run.stats["iterations"][-1] <= 2000


def test_wall_clock_ends_a_run():
    run = fs.descend(PROBLEM, THETA, learning_rate=1e-6, steps=10**9, max_seconds=0.3, throw=False)
    assert run.result.name == "wall_clock"
    assert np.isfinite(run.loss).all()


def test_float32_stays_float32():
    loss = fs.LpLoss(X.astype(np.float32), Y.astype(np.float32), p=4)
    theta = tuple(W.astype(np.float32) for W in THETA)
    run = fs.descend(fs.Problem(loss, NET), theta, learning_rate=1e-2, steps=10)
    assert run.states[0].dtype == np.float32
    assert run.settings["dtype"] == "float32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"learning_rate": 0.0}, "learning_rate is 0.0"),
        ({"learning_rate": -1e-3}, "learning_rate is -0.001"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"learning_rate": None}, "learning_rate is missing"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'"),
        ({"steps": 0}, "steps is 0"),
        ({"steps": 2.5}, "steps is 2.5"),
        ({"optimizer": "gdd"}, "optimizer is 'gdd'.*Did you mean 'gd'"),
        ({"record": [0, 5, 3]}, "record must hold increasing iterations"),
        ({"record": [0, 200]}, "record runs from 0 to 200"),
        ({"record": [0.5, 1]}, "record must hold"),
        ({"progress": 3}, "progress is 3"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, message):
    arguments = {"learning_rate": 1e-3, "steps": 100, **changes}
    with pytest.raises(fs.InputError, match=message):
        fs.descend(PROBLEM, THETA, **arguments)


def test_a_misspelt_keyword_is_answered():
    with pytest.raises(TypeError, match="Did you mean 'learning_rate'"):
        fs.descend(PROBLEM, THETA, learningrate=1e-3, steps=10)


def test_a_numpy_field_is_refused():
    field = lower_problem(PROBLEM, backend="numpy")
    with pytest.raises(fs.InputError, match="backend='jax'"):
        fs.descend(field, THETA, learning_rate=1e-3, steps=10)


def test_recording_every_iteration_of_a_long_run():
    X, y = np.eye(2), np.array([1.0, 2.0])
    problem = fs.Problem(fs.LpLoss(X, y, p=2), fs.Identity((2,)))
    run = fs.descend(problem, np.zeros(2), learning_rate=1e-2, steps=600, record=np.arange(601))
    assert len(run.ts) == 601
    assert np.allclose(run.end_to_end[-1], y * (1 - (1 - 0.5e-2) ** 600))
