"""Which closed form applies, what it gives against integration, and when it says that it cannot."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import InputError
from flowsim.problems import TwoLayer
from flowsim.theory import THEOREMS
from flowsim.theory.closed_forms import CLOSED_FORMS, closed_form, closed_form_reasons
from flowsim.theory.modes import mode_times, saxe_modes, two_weights
from flowsim.theory.quadratic import quadratic_form
from flowsim.theory.records import Condition, DigitsLostError, Solution, Theorem
from flowsim.theory.riccati import matrix_riccati
from tests.theory.integrating import diagonal, orthogonal, product, product_flow

TIMES = np.array([0.0, 0.3, 1.0, 4.0])


def bases(k, d, rng):
    return orthogonal(k, rng), orthogonal(d, rng)


def quadratic(target, sigma, constant=0.0):
    return lambda W: jnp.trace((W - target) @ sigma @ (W - target).T) / 2 + constant


def error(found, start, target, sigma, times=TIMES):
    expected = product_flow([np.atleast_2d(W) for W in start], target, sigma, times)
    return np.abs(found(times).reshape(expected.shape) - expected).max()


# -- modes -----------------------------------------------------------------------------------------

WIDTHS = [(4, 3, 3), (4, 3, 5, 3), (4, 2, 3, 3), (3, 4, 4, 4, 4), (2, 2, 2, 2, 2, 2, 2)]


@pytest.mark.parametrize("widths", WIDTHS)
def test_modes_with_inputs_that_share_them(widths):
    rng = np.random.default_rng(len(widths))
    d, k = widths[0], widths[-1]
    U, V = bases(k, d, rng)
    m = min(d, k)
    s, u = rng.uniform(0.5, 2.0, m), rng.uniform(0.05, 0.6, m)
    s[::2] *= -1  # mirror images of the target among them
    u[min(widths) :] = 0
    target, W0 = U @ diagonal(s, (k, d)) @ V.T, U @ diagonal(u, (k, d)) @ V.T
    sigma = (V * rng.uniform(0.5, 1.5, d)) @ V.T
    net = fs.DeepLinear(widths)
    problem, start = fs.Problem(quadratic(target, sigma, 2.0), net), net.balanced(W0)
    found = closed_form(problem, start)
    assert found.theorem is mode_times
    times = TIMES[found.valid_until >= TIMES]
    assert len(times) >= 3
    assert error(found, start, target, sigma, times) <= 1e-11
    assert found(0.0) == pytest.approx(W0, abs=1e-14)


def test_modes_are_found_whatever_the_hidden_bases():
    """Rotations of the hidden layers change the factors, and nothing else."""
    rng = np.random.default_rng(5)
    U, V = bases(3, 3, rng)
    R1, R2 = orthogonal(4, rng)[:, :3], orthogonal(5, rng)[:, :3]
    a = np.diag([0.9, 0.5, 0.4])
    start = (R1 @ a @ V.T, R2 @ a @ R1.T, U @ a @ R2.T)
    target = U @ np.diag([1.0, 2.0, 3.0]) @ V.T
    problem = fs.Problem(quadratic(target, np.eye(3)), fs.DeepLinear((3, 4, 5, 3)))
    found = closed_form(problem, start)
    assert found.theorem is mode_times
    assert error(found, start, target, np.eye(3)) <= 1e-11


def test_equal_modes_need_no_basis_of_their_own():
    start = [0.1 ** (1 / 3) * np.eye(3)] * 3
    problem = fs.Problem(quadratic(2 * np.eye(3), np.eye(3)), fs.DeepLinear((3, 3, 3, 3)))
    found = closed_form(problem, tuple(start))
    assert found.theorem is mode_times
    assert error(found, start, 2 * np.eye(3), np.eye(3)) <= 1e-11


def test_a_mode_that_the_product_does_not_show():
    """Strengths 0.09 and 1e-20: the weaker is below round-off in W, and learned by t = 25."""
    rng = np.random.default_rng(6)
    U, _ = bases(2, 2, rng)
    factors = (np.diag([1e-10, 0.3]), U @ np.diag([1e-10, 0.3]))
    target = U @ np.diag([2.0, 1.0])
    problem = fs.Problem(quadratic(target, np.eye(2)), fs.DeepLinear((2, 2, 2)))
    found = closed_form(problem, factors)
    assert found.theorem is mode_times
    times = np.array([1.0, 10.0, 12.0, 25.0])
    assert error(found, factors, target, np.eye(2), times) <= 1e-10
    assert np.abs(found(25.0) - target).max() <= 1e-9


def test_one_factor_from_any_start():
    rng = np.random.default_rng(7)
    root = rng.standard_normal((3, 3))
    sigma, target = root @ root.T, rng.standard_normal((2, 3))
    W0 = rng.standard_normal((2, 3))
    for par, start in ((fs.DeepLinear((3, 2)), (W0,)), (fs.Identity((2, 3)), W0)):
        found = closed_form(fs.Problem(quadratic(target, sigma), par), start)
        assert found.theorem is saxe_modes
        assert found.valid_until == math.inf
        assert error(found, [W0], target, sigma) <= 1e-11
    vector = closed_form(
        fs.Problem(lambda w: ((w - target[0]) @ sigma @ (w - target[0])) / 2, fs.Identity((3,))),
        W0[0],
    )
    assert vector.shape == (3,)
    assert error(vector, [W0[:1]], target[:1], sigma) <= 1e-11


def test_two_scalars():
    problem = fs.Problem(lambda W: 0.7 * (W[0, 0] - 1.5) ** 2, fs.DeepLinear((1, 1, 1)))
    for a, b in ((0.9, 0.2), (0.5, -0.3), (-0.5, -0.4)):
        start = (np.array([[a]]), np.array([[b]]))
        found = closed_form(problem, start)
        assert found.theorem is two_weights
        assert error(found, start, np.array([[1.5]]), np.array([[1.4]])) <= 1e-11
    balanced = (np.array([[0.5]]), np.array([[0.5]]))
    assert closed_form(problem, balanced).theorem is mode_times


# -- when digits are lost --------------------------------------------------------------------------


def test_a_saddle_that_round_off_leaves():
    """A mode learned along the mirror image of its target decays, and then its rounding grows."""
    rng = np.random.default_rng(8)
    U, V = bases(3, 3, rng)
    net = fs.DeepLinear((3, 3, 3))
    target = U @ np.diag([2.0, 1.5, 1.0]) @ V.T
    start = net.balanced(U @ np.diag([-0.3, 0.2, 0.4]) @ V.T)
    found = closed_form(fs.Problem(quadratic(target, np.eye(3)), net), start)
    assert 3 < found.valid_until < 20
    before = np.array([0.5, 0.99]) * found.valid_until
    assert error(found, start, target, np.eye(3), before) <= 1e-6
    late = found.valid_until + 8.0
    moved = product_flow(start, target, np.eye(3), np.array([late]))[0]
    assert np.abs(moved - found.evaluate(np.array([late]))[0]).max() > 1e-3
    with pytest.raises(DigitsLostError, match=r"is after .* saddle"):
        found(late)


def test_a_bottleneck_on_the_weaker_modes():
    """Two hidden units on modes 2 and 3 of three: W stays there until round-off turns it."""
    rng = np.random.default_rng(9)
    U, V = bases(3, 3, rng)
    net = fs.DeepLinear((3, 2, 3))
    target = U @ np.diag([3.0, 1.5, 1.0]) @ V.T
    start = net.balanced(U @ np.diag([0.0, 0.2, 0.4]) @ V.T)
    found = closed_form(fs.Problem(quadratic(target, np.eye(3)), net), start)
    assert 5 < found.valid_until < 60
    assert error(found, start, target, np.eye(3), np.array([0.9 * found.valid_until])) <= 1e-6


def test_a_bottleneck_on_the_strongest_modes_stays():
    rng = np.random.default_rng(10)
    U, V = bases(3, 3, rng)
    net = fs.DeepLinear((3, 2, 3))
    target = U @ np.diag([3.0, 1.5, 1.0]) @ V.T
    start = net.balanced(U @ np.diag([0.1, 0.2, 0.0]) @ V.T)
    found = closed_form(fs.Problem(quadratic(target, np.eye(3)), net), start)
    assert found.valid_until == math.inf
    assert found(1e6) == pytest.approx(U @ np.diag([3.0, 1.5, 0.0]) @ V.T, abs=1e-13)


def test_exact_starts_lose_nothing():
    """Where the factors are diagonal without rounding, exact saddles are stayed at."""
    target = np.diag([2.0, 1.0])
    for W1 in (np.zeros((2, 2)), np.diag([0.0, 0.5])):
        problem = fs.Problem(quadratic(target, np.eye(2)), fs.DeepLinear((2, 2, 2)))
        found = closed_form(problem, (W1, W1.T))
        assert found.valid_until == math.inf
        assert found(1e5) == pytest.approx(np.diag([0.0, 1.0 if W1.any() else 0.0]), abs=1e-15)


# -- which one, and why not ------------------------------------------------------------------------


def test_reasons_for_a_deep_start_in_general_position():
    rng = np.random.default_rng(11)
    net = fs.DeepLinear((3, 3, 3, 3))
    target = rng.standard_normal((3, 3))
    start = net.balanced(0.1 * rng.standard_normal((3, 3)))
    problem = fs.Problem(quadratic(target, np.eye(3)), net)
    assert closed_form(problem, start) is None
    reasons = closed_form_reasons(problem, start)
    assert "not balanced and decoupled" in reasons[mode_times.name]
    assert "3 factors, not two" in reasons[matrix_riccati.name]
    assert "not two scalars" in reasons[two_weights.name]
    assert all(reasons.values())
    assert list(reasons) == list(dict.fromkeys(form.theorem.name for form in CLOSED_FORMS))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"weight_decay": 0.1}, "Weight decay 0.1"),
        ({"rates": {"W1": 2.0}}, "rates of their own"),
        ({"loss": lambda W: jnp.sum(W**4)}, "not 1/2 tr"),
        ({"loss": lambda W: jnp.sum((W - 1) ** 2 * jnp.array([[1.0], [2.0]]))}, "not 1/2 tr"),
        ({"parametrization": fs.Parametrization.from_function(lambda a, b: a @ b @ b,
          {"a": (2, 2), "b": (2, 2)})}, "not a product of matrices"),
    ],
    ids=["decay", "rates", "quartic", "outputs weighed", "other family"],
)  # fmt: skip
def test_reasons_for_other_problems(change, said):
    given = {"loss": quadratic(np.eye(2), np.eye(2)), "parametrization": fs.DeepLinear((2, 2, 2))}
    problem = fs.Problem(**{**given, **change})
    start = (np.eye(2) / 2, np.eye(2) / 2)
    assert closed_form(problem, start) is None
    assert said in closed_form_reasons(problem, start)[mode_times.name]


def test_unbalanced_modes_are_refused():
    net = fs.DeepLinear((2, 2, 2, 2))
    problem = fs.Problem(quadratic(np.diag([1.0, 2.0]), np.eye(2)), net)
    good = [np.diag([0.5, 0.3])] * 3
    assert closed_form(problem, tuple(good)).theorem is mode_times
    for j in range(3):
        bad = list(good)
        bad[j] = np.diag([0.5, 0.3001])
        assert closed_form(problem, tuple(bad)) is None
    # A difference that is small beside the strong mode, and not beside its own.
    weak = [np.diag([0.5, 1e-7]), np.diag([0.5, 2e-7]), np.diag([0.5, 1e-7])]
    assert closed_form(problem, tuple(weak)) is None


def test_wrong_input_is_named():
    net = fs.DeepLinear((2, 2, 2))
    problem = fs.Problem(quadratic(np.eye(2), np.eye(2)), net)
    with pytest.raises(InputError, match="problem is function"):
        closed_form(lambda W: W, (np.eye(2),))
    with pytest.raises(InputError, match="start holds 1 factors"):
        closed_form(problem, (np.eye(2),))
    with pytest.raises(InputError, match="FunctionProblem"):
        closed_form(fs.Problem.from_function(lambda p: p["a"] ** 2, {"a": 1.0}), {"a": 1.0})
    found = closed_form(problem, (np.eye(2), np.eye(2)))
    for t, said in ((-1.0, "t holds -1"), ([[1.0]], "2 dimensions"), (math.nan, "t holds nan")):
        with pytest.raises(InputError, match=said):
            found(t)


def test_solutions_show_themselves():
    problem = fs.Problem(quadratic(np.eye(2), np.eye(2)), fs.DeepLinear((2, 2, 2)))
    found = closed_form(problem, (np.eye(2), np.eye(2)))
    assert found.citation == mode_times.citation
    assert repr(found).startswith("Solution(mode times; shape (2, 2); Saxe")
    assert "valid until t = inf" in repr(found)
    assert found([0.0, 1.0, 0.5]).shape == (3, 2, 2)
    assert found(np.zeros(0)).shape == (0, 2, 2)


def test_a_solution_that_is_not_finite_says_so():
    broken = Solution(mode_times, lambda t: np.full((len(t), 1), np.nan), (1,))
    with pytest.raises(DigitsLostError, match="not finite at t = 2"):
        broken(2.0)


def test_every_closed_form_belongs_to_a_theorem_of_the_book():
    for form in CLOSED_FORMS:
        assert form.theorem in THEOREMS
        assert form.conditions


def test_conditions_and_theorems():
    worded, checked = Condition("L is smooth."), Condition("No.", lambda p, s: "never")
    assert worded.failure(None, None) is None
    assert checked.failure(None, None) == "never"
    theorem = Theorem("n", "T.", lambda N: N, ("a", checked), "c", "p")
    assert [str(c) for c in theorem.conditions] == ["a", "No."]


# -- quadratic losses ------------------------------------------------------------------------------


@pytest.mark.parametrize(("m", "d", "k"), [(6, 3, 2), (2, 4, 3), (6, 3, None), (2, 4, None)])
@pytest.mark.parametrize("scale", [None, 2.0])
def test_data_and_hessian_give_the_same_quadratic(m, d, k, scale):
    """More examples than inputs, and fewer, where the target of least norm is meant."""
    rng = np.random.default_rng([m, d])
    X, y = rng.standard_normal((m, d)), rng.standard_normal((m, k) if k else m)
    loss = fs.LpLoss(X, y, p=2, scale=scale)
    factor = 0.5 if scale is None else scale
    plain = lambda w: factor * jnp.sum((X @ w.T - y) ** 2) / m  # noqa: E731
    one, two = quadratic_form(loss, loss.shape), quadratic_form(plain, loss.shape)
    assert one.target == pytest.approx(two.target, abs=1e-12)
    assert one.curvature == pytest.approx(two.curvature, abs=1e-12)
    w = rng.standard_normal(loss.shape)
    assert loss.gradient(w) == pytest.approx((w - one.target) @ one.curvature, abs=1e-12)


@pytest.mark.parametrize(
    "loss",
    [
        lambda W: jnp.sum(W**4),
        lambda W: jnp.sum(W**2 * jnp.array([[1.0], [2.0]])),
        lambda W: jnp.sum(W),
        lambda W: -jnp.sum(W**2),
        lambda W: jnp.sum(W**2) + jnp.sum(W) ** 3 / 1e3,
        lambda W: jnp.sum(jnp.where(jnp.abs(W) < 1, W**2 / 2, jnp.abs(W) - 0.5)),
        lambda W: W[0, 0] * W[1, 1],
        lambda W: jnp.nan * jnp.sum(W),
    ],
    ids=["quartic", "outputs weighed", "linear", "concave", "cubic", "huber", "saddle", "nan"],
)
def test_what_is_not_quadratic(loss):
    assert quadratic_form(loss, (2, 2)) is None


def test_other_powers_are_not_quadratic():
    assert quadratic_form(fs.LpLoss(np.eye(2), np.ones(2), p=4), (2,)) is None


def test_two_layer_family_is_known():
    net = TwoLayer((2, 2, 2))
    problem = fs.Problem(quadratic(np.eye(2), np.eye(2)), net)
    start = net.lambda_balanced(np.array([[0.2, 0.1], [0.0, 0.3]]), 0.4)
    assert product(start) == pytest.approx(np.array([[0.2, 0.1], [0.0, 0.3]]))
    assert closed_form(problem, start).theorem is matrix_riccati
