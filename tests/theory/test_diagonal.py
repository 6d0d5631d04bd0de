"""Diagonal networks: closed forms, potentials, windows, against moving factors and references.

The numbers come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision, and from quadratures in extended precision, to thirteen digits.
"""

import math

import mpmath
import numpy as np
import pytest
from sympy import Integer, diff

from flowsim._errors import InputError
from flowsim.problems import Diagonal, LpLoss, Problem
from flowsim.theory import diagonal as law
from flowsim.theory import diagonal_riccati as riccati
from flowsim.theory import diagonal_windows as windows
from flowsim.theory import mirror_potentials as mirror
from flowsim.theory.closed_forms import closed_form
from flowsim.theory.elementwise import CLOSED_FORMS, linear_slope
from flowsim.theory.records import DigitsLostError
from tests.theory.evaluating import flow

DEPTHS = [2, 3, 4, 5, 8]
U_START, V_START = np.array([0.5, 0.3, 0.4]), np.array([0.4, 0.6, 0.4])


def field(gradient, N, d=3):
    def velocity(t, theta):
        u, v = theta[:d], theta[d : 2 * d]
        g = gradient(u**N - v**N)
        # The last entries are the integrated gradient.
        return np.r_[-N * u ** (N - 1) * g, N * v ** (N - 1) * g, g]

    return velocity


def cubic(beta):
    """The gradient of a coupled, non-quadratic loss."""
    A = np.array([[1.0, 0.3, -0.2], [0.3, 0.8, 0.1], [-0.2, 0.1, 0.9]])
    r = A @ beta - [0.4, -0.3, 0.5]
    return A.T @ (r + r**3)


@pytest.fixture(scope="module", params=DEPTHS)
def run(request):
    N = request.param
    return N, flow(field(cubic, N), np.r_[U_START, V_START, np.zeros(3)], 0.8)


class TestClosedForm:
    def test_against_moving_factors(self, run):
        N, end = run
        u, v = law.diagonal_factors(U_START, V_START, end[6:], depth=N)
        assert np.abs(u - end[:3]).max() <= 1e-12
        assert np.abs(v - end[3:6]).max() <= 1e-12
        beta = law.diagonal_end_to_end(U_START, V_START, end[6:], depth=N)
        assert np.abs(beta - (end[:3] ** N - end[3:6] ** N)).max() <= 1e-12

    def test_statements(self, run):
        N, end = run
        i = 1
        values = {law.U0: U_START[i], law.V0: V_START[i], law.INTEGRATED: end[6 + i]}
        beta = float(law.diagonal_network.statement(N).subs(values))
        assert abs(beta - (end[i] ** N - end[3 + i] ** N)) <= 1e-12
        conserved = law.diagonal_conservation.statement(N)
        start = float(conserved.subs({law.U: U_START[i], law.V: V_START[i]}))
        assert abs(float(conserved.subs({law.U: end[i], law.V: end[3 + i]})) / start - 1) <= 1e-11
        g = cubic(end[:3] ** N - end[3:6] ** N)
        moved = field(cubic, N)(0, end)
        rate = N * end[i] ** (N - 1) * moved[i] - N * end[3 + i] ** (N - 1) * moved[3 + i]
        stated = law.diagonal_law.statement(N).subs(
            {law.U: end[i], law.V: end[3 + i], law.SLOPE: g[i]}
        )
        assert abs(float(stated) - rate) <= 1e-13

    def test_hypentropy_form(self):
        gamma = np.linspace(-2, 2, 8)
        found = law.diagonal_end_to_end(0.1, 0.1, gamma)
        assert np.abs(found / (-2 * 0.01 * np.sinh(4 * gamma)) - 1).max() <= 1e-14
        assert law.diagonal_end_to_end(0.1, 0.1, 0.0) == 0

    @pytest.mark.parametrize("N", [2, 3, 6])
    def test_small_changes_keep_their_digits(self, N):
        """beta near 0 is 2 N^2 alpha^(2N-2) nu, to first order."""
        beta = law.diagonal_end_to_end(0.3, 0.3, -1e-14, depth=N)
        assert abs(beta / (2 * N**2 * 0.3 ** (2 * N - 2) * 1e-14) - 1) <= 1e-11

    def test_no_exponent_overflows_before_beta(self):
        assert abs(law.diagonal_end_to_end(1e-160, 1e-160, -180.0) / np.exp(720 - 320 * np.log(10))
                   - 1) <= 1e-11  # fmt: skip
        assert np.isfinite(law.diagonal_end_to_end(1e-200, 1e-200, 0.0, depth=8))

    def test_poles(self):
        lower, upper = law.diagonal_pole(0.5, 0.25, depth=3)
        assert (float(lower), float(upper)) == (-2 / 3, 4 / 3)
        with pytest.raises(InputError, match=r"beyond the pole of u at -0\.666667"):
            law.diagonal_end_to_end(0.5, 0.25, -0.7, depth=3)
        with pytest.raises(InputError, match=r"at index \(1,\), beyond the pole of v at 1\.33333"):
            law.diagonal_end_to_end(0.5, 0.25, [0.0, 4 / 3], depth=3)
        assert law.diagonal_end_to_end(0.5, 0.25, -0.66666, depth=3) > 1e12

    def test_wrong_input(self):
        with pytest.raises(InputError, match=r"u0 holds -0\.1; positive"):
            law.diagonal_factors(-0.1, 0.1, 0.0)
        with pytest.raises(InputError, match="depth is 1"):
            law.diagonal_factors(0.1, 0.1, 0.0, depth=1)
        with pytest.raises(InputError, match="which does not fit starts"):
            law.diagonal_factors(np.ones(3), np.ones(3), np.ones(2))
        with pytest.raises(InputError, match="beyond the range of float64"):
            law.diagonal_end_to_end(0.1, 0.1, -400.0)


def test_conditions():
    problem = Problem(LpLoss(np.eye(3), np.ones(3), p=2), Diagonal(3, depth=3))
    depth, _, start, plain = riccati.diagonal_quadratic.conditions
    assert plain.failure(problem, None) is None
    decayed = Problem(problem.loss, Diagonal(3), weight_decay=0.5)
    assert plain.failure(decayed, None) == "Weight decay 0.5 is not zero."
    uneven = Problem(problem.loss, Diagonal(3), rates={"v": 2.0})
    assert "rates of their own" in plain.failure(uneven, None)
    assert depth.failure(problem, (U_START, V_START)) == "The depth is 3, not 2."
    assert start.failure(problem, (U_START, V_START)) is None
    assert "has to be positive" in start.failure(problem, (-U_START, V_START))
    equal = mirror.hypentropy.conditions[2]
    assert equal.failure(problem, (np.full(3, 0.1), np.full(3, 0.1))) is None
    assert "from 0.3 to 0.6" in equal.failure(problem, (U_START, V_START))


class TestQuadratic:
    @pytest.mark.parametrize("s", [1.0, -0.7, 0.0, 1e-9])
    @pytest.mark.parametrize("start", [(0.3, 0.2), (0.1, 0.1), (1e-3, 2.0)])
    def test_against_moving_factors(self, s, start):
        curvature = 1.3
        for t in (0.2, 3.0):
            end = flow(field(lambda beta: curvature * (beta - s), 2, d=1), np.r_[start, 0.0], t)
            u, v = riccati.diagonal_quadratic_factors(*start, s, t, curvature=curvature)
            assert np.abs(np.array([u, v]) - end[:2]).max() <= 1e-12
            values = {law.U0: start[0], law.V0: start[1], riccati.TARGET: s, riccati.TIME: t}
            stated = riccati.diagonal_quadratic.statement(2).subs(
                {**values, riccati.CURVATURE: curvature}
            )
            # The record takes the difference s - sqrt(s^2 + 4 c^2) as it stands.
            assert abs(float(stated) - u**2) <= 1e-10

    def test_long_times_and_flat_coordinates(self):
        u, v = riccati.diagonal_quadratic_factors(1e-8, 1e-8, [1.0, -2.0], 1e4)
        assert np.abs((u - v) * (u + v) - [1.0, -2.0]).max() <= 1e-15
        u, _ = riccati.diagonal_quadratic_factors(0.3, 0.2, 1.0, 5.0, curvature=0.0)
        assert abs(u - 0.3) <= 1e-16

    def test_starts_whose_product_underflows(self):
        # u^2 of a start of 1e-300 follows s / (1 + (s / u_0^2 - 1) e^{-4 s t}), v_0 u_0 / u.
        for t, largest in ((10.0, 1e-280), (400.0, 1.0)):
            u, v = riccati.diagonal_quadratic_factors(1e-300, 2e-300, 1.0, t)
            expected = math.exp(min(0.0, 2 * t - 300 * math.log(10)))
            assert abs(u - expected) <= 1e-11 * expected
            assert 0 <= v <= 2e-300
            assert u <= largest
        u, v = riccati.diagonal_quadratic_factors(1e-300, 1e4, 1.0, 50.0)
        assert abs(math.log(u) + math.log(v) + 296 * math.log(10)) <= 1e-11
        assert v <= 1e-40

    def test_wrong_input(self):
        with pytest.raises(InputError, match="t holds -1"):
            riccati.diagonal_quadratic_factors(0.1, 0.1, 1.0, -1.0)
        with pytest.raises(InputError, match="curvature holds -1"):
            riccati.diagonal_quadratic_factors(0.1, 0.1, 1.0, 1.0, curvature=-1.0)


class TestClosedFormsOfTheTable:
    b = np.array([0.7, -0.3, 0.0])

    def linear(self, N):
        return Problem(lambda w: 0.7 * w[0] - 0.3 * w[1], Diagonal(3, depth=N))

    @pytest.mark.parametrize("N", [2, 3, 5])
    def test_linear_loss(self, N):
        problem, start = self.linear(N), (U_START, V_START)
        (form,) = [f for f in CLOSED_FORMS if not f.reason(problem, start)]
        end = flow(field(lambda beta: self.b, N), np.r_[start, np.zeros((1, 3))].ravel(), 1.0)
        solution = form.solve(problem, start)
        assert np.abs(solution(1.0) - (end[:3] ** N - end[3:6] ** N)).max() <= 1e-11

    def test_the_table_finds_them(self):
        found = closed_form(self.linear(3), (U_START, V_START))
        assert found is not None
        assert found.theorem is law.diagonal_network

    def test_blow_up_is_named(self):
        solution = CLOSED_FORMS[0].solve(self.linear(3), (U_START, V_START))
        # v grows along g > 0: 1/v = 1/v_0 - 3 g t; u along g < 0.
        assert abs(solution.valid_until - min(2.5 / 2.1, (1 / 0.3) / 0.9)) <= 2e-6
        assert np.isfinite(solution(solution.valid_until)).all()
        with pytest.raises(DigitsLostError, match="becomes infinite"):
            solution(2.0)

    def test_separable_quadratic(self):
        X, y = np.diag([1.0, 0.5, 2.0]), np.array([1.0, -0.4, 0.3])
        problem, start = Problem(LpLoss(X, y, p=2), Diagonal(3)), (U_START, V_START)
        (form,) = [f for f in CLOSED_FORMS if not f.reason(problem, start)]
        end = flow(
            field(lambda beta: X.T @ (X @ beta - y) / 3, 2), np.r_[U_START, V_START, np.zeros(3)], 2
        )
        found = form.solve(problem, start)([0.0, 2.0])
        assert np.abs(found[1] - (end[:3] ** 2 - end[3:6] ** 2)).max() <= 1e-12
        assert np.abs(found[0] - (U_START**2 - V_START**2)).max() <= 1e-15

    def test_reasons(self):
        coupled = Problem(LpLoss(np.ones((3, 3)) + np.eye(3), np.ones(3), p=2), Diagonal(3))
        assert "couples the coordinates" in CLOSED_FORMS[1].reason(coupled, (U_START, V_START))
        assert CLOSED_FORMS[0].reason(coupled, (U_START, V_START)) == (
            "The loss is not <b, beta> plus a constant."
        )
        negative = CLOSED_FORMS[0].reason(self.linear(2), (-U_START, V_START))
        assert negative == "The start holds -0.5, and has to be positive."
        decayed = Problem(self.linear(2).loss, Diagonal(3), weight_decay=0.1)
        assert "decay" in CLOSED_FORMS[0].reason(decayed, (U_START, V_START))

    @pytest.mark.parametrize(
        "loss",
        [lambda w: abs(w[0]), lambda w: w[0] * w[1], lambda w: w[0] ** 3 + w[1]],
    )
    def test_losses_that_are_not_linear(self, loss):
        assert linear_slope(Problem(loss, Diagonal(3))) is None

    def test_a_constant_does_not_matter(self):
        problem = Problem(lambda w: 2 * w[0] - w[2] + 1.0, Diagonal(3))
        assert linear_slope(problem).tolist() == [2.0, 0.0, -1.0]


#: Potentials at alpha = 0.3.
POTENTIALS = {
    (2, 0.001): 6.944426583384e-07,
    (2, 0.05): 0.00172519770993,
    (2, 0.7): 0.2261029082817,
    (2, -2.0): 1.094534917005,
    (3, 0.001): 3.429137538277e-06,
    (3, 0.05): 0.007622281784593,
    (3, 0.7): 0.4081645467081,
    (3, -2.0): 1.45369015677,
    (4, 0.001): 2.141311112101e-05,
    (4, 0.05): 0.02902742175897,
    (4, 0.7): 0.7796127485318,
    (4, -2.0): 2.440914569821,
}


class TestPotentials:
    @pytest.mark.parametrize(("case", "expected"), POTENTIALS.items(), ids=str)
    def test_reference_values(self, case, expected):
        N, beta = case
        assert abs(mirror.mirror_potential(beta, 0.3, depth=N) / expected - 1) <= 1e-12

    @pytest.mark.parametrize("N", [3, 4, 7])
    @pytest.mark.parametrize("alpha", [1e-3, 0.3, 5.0])
    @pytest.mark.parametrize("beta", [1e-12, 1e-5, 0.1, 1.0, 30.0])
    def test_all_digits(self, N, alpha, beta):
        """Against the definition in fifty digits."""
        with mpmath.workdps(50):
            a, b, p = mpmath.mpf(alpha), mpmath.mpf(beta), mpmath.mpf(N) / (N - 2)
            level = b / a**N
            y = mpmath.findroot(
                lambda y: mpmath.e ** (N * y) - (2 - mpmath.e ** (-(N - 2) * y)) ** -p - level,
                mpmath.log(1 + level) / N if level > 1 else level / (2 * N),
            )
            z = 1 - mpmath.e ** (-(N - 2) * y)
            nu = z * a ** (2 - N) / (N * (N - 2))
            size = a**2 * ((1 - z) ** (-mpmath.mpf(2) / (N - 2)) - 2)
            size += a**2 * (1 + z) ** (-mpmath.mpf(2) / (N - 2))
            expected = float(nu * b - size / (2 * N))
            expected_nu = float(nu)
        assert abs(mirror.mirror_potential(beta, alpha, depth=N) / expected - 1) <= 3e-15
        assert abs(mirror.mirror_gradient(beta, alpha, depth=N) / expected_nu - 1) <= 3e-15

    @pytest.mark.parametrize("N", [2, 3, 5])
    @pytest.mark.parametrize("start", [0.3, (0.3, 0.7)], ids=str)
    def test_identities(self, N, start):
        beta = np.array([-3.0, -1e-4, 0.2, 5.0])
        nu = mirror.mirror_gradient(beta, start, depth=N)
        assert np.abs(mirror.dual_gradient(nu, start, depth=N) / beta - 1).max() <= 1e-11
        Q = [mirror.mirror_potential(b, start, depth=N) for b in beta]
        Q_dual = [mirror.dual_potential(n, start, depth=N) for n in nu]
        assert np.abs(np.add(Q, Q_dual) - nu * beta).max() <= 1e-14
        total = mirror.mirror_potential(beta, start, depth=N)
        assert abs(total - np.sum(Q)) <= 1e-14
        h = 1e-5
        slope = [mirror.mirror_potential(b + h, start, depth=N)
                 - mirror.mirror_potential(b - h, start, depth=N) for b in beta]  # fmt: skip
        assert np.abs(np.array(slope) / (2 * h) - nu)[[0, 2, 3]].max() <= 1e-8

    def test_mirror_flow(self, run):
        N, end = run
        moved = mirror.mirror_gradient(end[:3] ** N - end[3:6] ** N, (U_START, V_START), depth=N)
        at_start = mirror.mirror_gradient(U_START**N - V_START**N, (U_START, V_START), depth=N)
        assert np.abs(at_start).max() <= 1e-11
        assert np.abs(moved - at_start + end[6:]).max() <= 1e-10

    def test_statements(self):
        nu, alpha = 0.11, 0.4
        for N in DEPTHS:
            stated = mirror.diagonal_mirror.statement(N).subs(
                {mirror.DUAL: nu, mirror.ALPHA: alpha}
            )
            assert abs(float(stated) - mirror.dual_potential(nu, alpha, depth=N)) <= 1e-15
            slope = diff(mirror.diagonal_mirror.statement(N), mirror.DUAL)
            slope = float(slope.subs({mirror.DUAL: nu, mirror.ALPHA: alpha}))
            assert abs(slope - law.diagonal_end_to_end(alpha, alpha, -nu, depth=N)) <= 1e-14
        stated = mirror.hypentropy.statement(2).subs({mirror.BETA: -0.7, mirror.ALPHA: alpha})
        assert abs(float(stated) - mirror.mirror_potential(-0.7, alpha)) <= 1e-15

    def test_curvature_at_0(self):
        """Q''(0) = 1/(2 N^2 alpha^(2N-2))."""
        for N in DEPTHS:
            found = mirror.mirror_gradient(1e-12, 0.5, depth=N) / 1e-12
            assert abs(found * 2 * N**2 * 0.5 ** (2 * N - 2) - 1) <= 1e-8

    def test_range(self):
        """alpha = 1e-200: beta/alpha^2 is beyond float64, its logarithm is not."""
        expected = (np.log(1.0) + 400 * np.log(10) - 1) / 4
        assert abs(mirror.mirror_potential(1.0, 1e-200) / expected - 1) <= 1e-14
        with pytest.raises(InputError, match="outside the range of float64"):
            mirror.dual_potential(200.0, 1.0)

    def test_wrong_input(self):
        with pytest.raises(InputError, match=r"nu is 1 at index \(\); .* infinite at -0.333333"):
            mirror.dual_potential(1.0, 1.0, depth=3)
        with pytest.raises(InputError, match="start holds 0; positive"):
            mirror.mirror_potential(1.0, 0.0)
        with pytest.raises(InputError, match="start holds 3 parts"):
            mirror.mirror_potential(1.0, (1.0, 1.0, 1.0))
        with pytest.raises(InputError, match="does not fit a start"):
            mirror.mirror_potential(np.ones(3), (np.ones(2), np.ones(2)))


#: alpha = 0.1: time to 0.9 for s = 1, time to 0.01 for s = 0.05, their difference and ratio.
WINDOWS = {
    2: (1.695371378524, 2.678768116568, 0.9833967380442, 1.580047976804),
    3: (3.319519103672, 38.34857553831, 35.02905643464, 11.55244911707),
    4: (12.59366718118, 229.6794935689, 217.0858263877, 18.23769758758),
    5: (66.76324733467, 1318.410051774, 1251.64680444, 19.7475423142),
    6: (416.7538845749, 8322.537652687, 7905.783768112, 19.96991020534),
}


class TestWindows:
    @pytest.mark.parametrize("N", WINDOWS)
    def test_reference_values(self, N):
        found = windows.window(depth=N, alpha=0.1)
        values = (found.opens, found.closes, found.width, found.ratio)
        assert np.abs(np.array(values) / WINDOWS[N] - 1).max() <= 1e-12

    @pytest.mark.parametrize("alpha", [1e-8, 1e-3, 0.1, 2.0])
    @pytest.mark.parametrize(
        ("s", "level"), [(1.0, 0.9), (1.0, 1 - 1e-6), (1.0, 1e-3), (-2.0, -0.3), (0.05, 0.01)]
    )
    def test_depth_two_against_its_closed_form(self, alpha, s, level):
        t = windows.hitting_time(s, level, depth=2, alpha=alpha)
        u, v = riccati.diagonal_quadratic_factors(alpha, alpha, s, t)
        assert abs((u - v) * (u + v) - level) <= 1e-12 * abs(level)
        assert abs((s - (u - v) * (u + v)) / (s - level) - 1) <= 1e-9

    @pytest.mark.parametrize("N", [3, 5])
    def test_against_the_flow(self, N):
        t = windows.hitting_time(0.8, 0.79, depth=N, alpha=0.3)
        end = flow(field(lambda beta: beta - 0.8, N, d=1), [0.3, 0.3, 0.0], t)
        assert abs(end[0] ** N - end[1] ** N - 0.79) <= 1e-11

    def test_leading_order(self):
        for N in (3, 4, 6):
            ratios = [
                windows.hitting_time(1.0, 0.9, depth=N, alpha=a)
                / windows.leading_hitting_time(1.0, 0.9, depth=N, alpha=a)
                for a in (1e-1, 1e-2, 1e-3)
            ]
            errors = np.abs(np.array(ratios) - 1)
            assert errors[0] > errors[1] > errors[2]
            assert errors[2] <= 2e-3
        exact = windows.hitting_time(1.0, 0.9, depth=2, alpha=1e-6)
        assert abs(exact - windows.leading_hitting_time(1.0, 0.9, depth=2, alpha=1e-6)) <= 1e-11

    def test_record(self):
        stated = windows.diagonal_hitting_time.statement(
            3, alpha=Integer(1) / 10, target=Integer(2), level=Integer(1)
        )
        assert stated == Integer(10) / 6

    def test_wrong_input(self):
        assert windows.hitting_time(1.0, 0.0, depth=3, alpha=0.1) == 0.0
        for level in (1.0, 1.5, -0.5):
            with pytest.raises(InputError, match="between 0 and the target"):
                windows.hitting_time(1.0, level, depth=3, alpha=0.1)
        with pytest.raises(InputError, match="both excluded"):
            windows.leading_hitting_time(1.0, 0.0, depth=3, alpha=0.1)
        with pytest.raises(InputError, match="beyond the range of float64"):
            windows.hitting_time(1.0, 0.9, depth=8, alpha=1e-60)
