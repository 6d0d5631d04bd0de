"""w = w_1 w_2: the records against factors that move, and against reference values.

The numbers come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision, to thirteen digits.
"""

import numpy as np
import pytest
from scipy.integrate import quad

from flowsim._errors import InputError
from flowsim.problems import Problem, ScaledVector
from flowsim.theory import scaled_vector as law
from flowsim.theory.elementwise import CLOSED_FORMS
from tests.theory.evaluating import evaluate, flow

X = np.array(
    [[0.9, -0.4, 0.3], [-0.2, 0.8, 0.5], [0.6, 0.7, -0.9], [-1.1, 0.2, 0.4], [0.3, -0.6, 1.0]]
)
y = np.array([0.5, 1.2, -0.7, -0.3, 0.8])
STARTS = {"c > 0": ([0.1, -0.05, 0.2], 0.3), "c < 0": ([0.2, -0.1, 0.4], -0.05)}


def gradient(w, p):
    return (X @ w - y) ** (p - 1) @ X / len(X)


def field(p):
    def velocity(t, theta):
        g = gradient(theta[:3] * theta[3], p)
        return np.r_[-theta[3] * g, -theta[:3] @ g]

    return velocity


def descent(p, eta=0.01, steps=200):
    w1, w2 = np.array(STARTS["c > 0"][0]), STARTS["c > 0"][1]
    path = [(w1, w2)]
    for _ in range(steps):
        g = gradient(w1 * w2, p)
        w1, w2 = w1 - eta * w2 * g, w2 - eta * w1 @ g
        path.append((w1, w2))
    return path


def stated_velocity(w, g, c):
    arrays = {"w": w[:, None], "g": g[:, None]}
    return evaluate(law.scaled_vector.statement(2), arrays, {law.IMBALANCE: c})[:, 0]


@pytest.mark.parametrize("c", [0.7, 0.0, -0.3])
def test_memoryless_law_against_moving_factors(c):
    rng = np.random.default_rng(3)
    w1, g = rng.standard_normal(4), rng.standard_normal(4)
    w1 *= np.sqrt(0.9) / np.linalg.norm(w1)
    w2 = np.sqrt(c + 0.9)
    moved = -(w2**2) * g - (w1 @ g) * w1
    assert np.abs(law.scaled_vector_velocity(w1 * w2, g, c=c) - moved).max() <= 1e-14
    assert np.abs(stated_velocity(w1 * w2, g, c) - moved).max() <= 1e-14


@pytest.mark.parametrize(
    ("p", "expected"),
    [
        (2, [0.1250168953975, -0.03005989540482, 0.4418516132215]),
        (4, [0.02748387495878, 0.07102372230212, 0.2621677350543]),
    ],
)
def test_memoryless_law_integrated(p, expected):
    w1, w2 = np.array(STARTS["c > 0"][0]), STARTS["c > 0"][1]
    c = w2**2 - w1 @ w1
    end = flow(lambda t, w: law.scaled_vector_velocity(w, gradient(w, p), c=c), w1 * w2, 3.0)
    assert np.abs(end - expected).max() <= 1e-12
    rho = float(law.squared_scale(np.linalg.norm(end), c))
    if p == 4:
        assert abs(np.sqrt(rho) - 0.5407383644857) <= 1e-12


@pytest.mark.parametrize("start", STARTS, ids=str)
def test_memory_form_along_a_run(start):
    """With the past integrated numerically, through a zero of w_2 in the second start."""
    w1, w2 = np.array(STARTS[start][0]), STARTS[start][1]
    run = flow(field(2), np.r_[w1, w2], 3.0, dense_output=True)
    t, i = 1.7, 2

    def g(tau):
        theta = run(tau)
        return gradient(theta[:3] * theta[3], 2)

    theta, velocity = run(t), field(2)(t, run(t))
    moved = velocity[i] * theta[3] + theta[i] * velocity[3]
    past, _ = quad(lambda tau: velocity[3] * run(tau)[3] * g(tau)[i], 0, t, epsabs=1e-12)
    assert abs(-(theta[3] ** 2) * g(t)[i] - past + velocity[3] * w1[i] - moved) <= 1e-10
    # The record, its integral and its functions replaced by these numbers.
    stated = law.scaled_vector_memory.statement(2)
    (integral,) = stated.atoms(law.Integral)
    at = law.TIME
    stated = stated.subs(integral, past).subs(law.SCALE_AT(at).diff(at), velocity[3])
    stated = stated.subs({law.SCALE_AT(at): theta[3], law.GRADIENT_AT(at): g(t)[i]})
    assert abs(float(stated.subs(law.FIRST, w1[i])) - moved) <= 1e-10
    if start == "c < 0":
        assert abs(run(0.268471694141)[3]) <= 1e-10


@pytest.mark.parametrize(("p", "expected"), [(4, 0.03658527708068), (2, 0.06320701481363)])
def test_weight_of_the_past(p, expected):
    run = flow(field(p), np.r_[STARTS["c > 0"][0], STARTS["c > 0"][1]], 1.25)
    end = flow(field(p), np.r_[STARTS["c > 0"][0], STARTS["c > 0"][1]], 3.0)
    assert abs(field(p)(0, end)[3] * run[3] - expected) <= 1e-12


def test_exponential_kernel():
    """exp(-int gamma) = w_2(t)/w_2(tau) along a run without a zero of w_2."""
    run = flow(field(2), np.r_[STARTS["c > 0"][0], STARTS["c > 0"][1]], 3.0, dense_output=True)

    def rate(s):
        return field(2)(s, run(s))[3] / run(s)[3]

    integral, _ = quad(rate, 1.25, 3.0, epsabs=1e-12)
    grown = law.growth_since(law.TIME, law.EARLIER)
    (inner,) = grown.args
    assert abs(float(grown.xreplace({inner: integral})) - run(3.0)[3] / run(1.25)[3]) <= 1e-9
    mu = rate(3.0) * run(1.25)[3] ** 2 * np.exp(integral)
    assert abs(mu - 0.06320701481363) <= 1e-9


class TestDescent:
    def test_reference_values(self):
        path, eta = descent(2), 0.01
        w1, w2 = path[200]
        expected = [0.08010650461508, -0.03326067525484, 0.2609132606678]
        assert np.abs(w1 * w2 - expected).max() <= 1e-13
        (w1, w2), (_, following) = path[100], path[101]
        assert abs(eta * w2**2 - 0.001636023157267) <= 1e-15
        gamma = eta * w1 @ gradient(w1 * w2, 2) / w2
        assert abs(gamma + 0.003056483897031) <= 1e-15
        moments = (path[50][1], path[51][1], w2, following)
        values = dict(zip(law.MOMENTS, moments, strict=True)) | {law.RATE: eta}
        mu = law.scaled_vector_descent.statement(2, what="momentum").subs(values)
        assert abs(float(mu) - 4.281371931471e-06) <= 1e-18
        assert abs(float(mu) * path[51][1] / path[50][1] - 4.29429835671e-06) <= 1e-17

    def test_reference_values_of_the_fourth_power(self):
        w1, w2 = descent(4)[200]
        expected = [0.02908009585236, 0.02986025543522, 0.1729642060818]
        assert np.abs(w1 * w2 - expected).max() <= 1e-13

    @pytest.mark.parametrize("k", [0, 50, 150])
    def test_a_step_and_the_drift(self, k):
        path, eta = descent(2), 0.01
        (w1, w2), (v1, v2) = path[k], path[k + 1]
        g = gradient(w1 * w2, 2)
        arrays = {"w": (w1 * w2)[:, None], "g": g[:, None]}
        stated = evaluate(
            law.scaled_vector_descent.statement(2), arrays, {law.RATE: eta, law.SCALE: w2}
        )
        assert np.abs(stated[:, 0] - v1 * v2).max() <= 1e-16
        drift = law.scaled_vector_descent.statement(2, what="drift").subs(
            {law.RATE: eta, law.SCALE: w2, law.COMPONENT: w1 @ g, law.STEEPNESS: g @ g}
        )
        assert abs(float(drift) - (v2**2 - v1 @ v1 - w2**2 + w1 @ w1)) <= 1e-16

    def test_the_product_of_momentum_telescopes(self):
        path, eta = descent(2), 0.01
        gamma = [eta * a @ gradient(a * b, 2) / b for a, b in path]
        product = np.prod([1 - gamma[s] for s in range(51, 100)])
        mu = -gamma[100] * eta * path[50][1] ** 2 * product
        assert abs(mu - 4.281371931471e-06) <= 1e-17

    def test_unknown_kernel(self):
        with pytest.raises(InputError, match="none of 'exact', 'exponential'"):
            law.scaled_vector_memory.statement(2, kernel="exp")

    def test_unknown_part_of_the_record(self):
        with pytest.raises(InputError, match="none of 'step', 'momentum', 'drift'"):
            law.scaled_vector_descent.statement(2, what="steps")


class TestFixedDirection:
    e = np.array([2.0, -1.0, 2.0]) / 3

    @pytest.mark.parametrize("gamma", [-1.3, 0.4, 6.0])
    def test_against_the_flow(self, gamma):
        w1, w2 = np.array([0.3, -0.2, 0.5]), 0.4
        end = flow(
            lambda t, x: np.r_[-x[3] * gamma * self.e, -x[:3] @ self.e * gamma], np.r_[w1, w2], 1.0
        )
        first, second = law.scaled_vector_on_a_line(w1, w2, 5 * self.e, gamma)
        scale = np.abs(end).max()
        assert np.abs(first - end[:3]).max() <= 1e-11 * scale
        assert abs(second - end[3]) <= 1e-11 * scale
        values = {law.SCALE_0: w2, law.ALONG: w1 @ self.e, law.INTEGRATED: gamma}
        assert abs(float(law.scaled_vector_line.statement(2).subs(values)) - second) <= 1e-9
        along = float(law.scaled_vector_line.statement(2, factor=1).subs(values))
        assert abs(along - first @ self.e) <= 1e-9

    def test_a_start_that_decays_keeps_its_digits(self):
        _, w2 = law.scaled_vector_on_a_line(self.e, 1.0, self.e, 30.0)
        assert abs(w2 / np.exp(-30) - 1) <= 1e-12

    def test_closed_form(self):
        b = np.array([0.7, -0.3, 0.1])
        problem = Problem(lambda w: 0.7 * w[0] - 0.3 * w[1] + 0.1 * w[2], ScaledVector(3))
        start = (np.array([0.1, -0.05, 0.2]), np.array(0.3))
        (form,) = [f for f in CLOSED_FORMS if not f.reason(problem, start)]
        solution = form.solve(problem, start)
        end = flow(lambda t, x: np.r_[-x[3] * b, -x[:3] @ b], np.r_[start[0], start[1]], 2.0)
        assert np.abs(solution(2.0) - end[:3] * end[3]).max() <= 1e-12
        assert solution([0.0, 2.0]).shape == (2, 3)

    def test_closed_form_of_a_loss_that_is_no_line(self):
        problem = Problem(lambda w: w[0] ** 2, ScaledVector(3))
        reasons = [f.reason(problem, (np.ones(3), np.array(1.0))) for f in CLOSED_FORMS]
        assert reasons[-1] == "The loss is not <b, beta> plus a constant."


class TestWrongInput:
    def test_where_w_does_not_determine_its_velocity(self):
        with pytest.raises(InputError, match="w_2 = 0"):
            law.scaled_vector_velocity(np.zeros(2), np.ones(2), c=-1.0)
        assert law.scaled_vector_velocity(np.zeros(2), np.ones(2), c=2.0).tolist() == [-2.0, -2.0]

    def test_shapes(self):
        with pytest.raises(InputError, match="gradient has shape"):
            law.scaled_vector_velocity(np.ones(2), np.ones(3), c=1.0)
        with pytest.raises(InputError, match="direction is"):
            law.scaled_vector_on_a_line(np.ones(2), 1.0, np.zeros(2), 1.0)

    def test_condition_on_the_start(self):
        condition = law.scaled_vector.conditions[1]
        assert condition.failure(None, (np.ones(2), np.array(0.5))) is None
        assert "w_2 is 0" in condition.failure(None, (np.ones(2), np.array(0.0)))
