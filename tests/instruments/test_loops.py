"""Loop integrals, curves, and antisymmetric parts, against closed forms and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose

import flowsim as fs
from flowsim._errors import InputError
from flowsim.instruments import (
    Loop,
    QuadratureError,
    Segment,
    antisymmetric_part,
    loop_integral,
    paper_loop,
    paper_loop_integral,
    sector_loop,
    sector_loop_integral,
)

A = np.array([[1.5, 0.4, -0.2], [0.4, 0.8, 0.3], [-0.2, 0.3, 1.1]])
TARGET = np.array([0.6, -0.8, 0.5])
B = A @ TARGET
E, F = np.array([2.0, 1.0, 2.0]) / 3, np.array([-1.0, -2.0, 2.0]) / 3
INNER, OUTER = 0.2, 1.1

# Independent quadrature in extended precision.
TABLE = {
    (2, 1.0): 0.1285366541306,
    (2, np.pi): 0.0,
    (2.5, 1.0): 0.2124622827839,
    (2.5, np.pi): -0.1193346976607,
    (3, 1.0): 0.300080690234,
    (3, np.pi): -0.2544717732568,
    (4, 1.0): 0.4806274237467,
    (4, np.pi): -0.5455101908351,
    (8, 1.0): 1.224118865524,
    (8, np.pi): -1.786387765768,
}


def balanced(gradient, N):
    def field(w):
        g, norm = gradient(w), np.linalg.norm(w)
        return norm ** (2 - 2 / N) * (g + (N - 1) * w * (w @ g) / norm**2)

    return field


def quadratic(w):
    return A @ w - B


def turned(angle):
    return np.cos(angle) * E + np.sin(angle) * F


def circle(s):
    return np.array([np.cos(2 * np.pi * s), np.sin(2 * np.pi * s)])


def rotation(w):
    return np.array([-w[1], w[0]])


# -- the table -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("N", "angle"), TABLE)
def test_sector_loops_in_closed_form_and_by_quadrature(N, angle):
    closed = sector_loop_integral((A, B), N, E, turned(angle), INNER, OUTER)
    found = loop_integral(
        balanced(quadratic, N), sector_loop(E, turned(angle), INNER, OUTER, through=F)
    )
    assert closed == pytest.approx(TABLE[N, angle], abs=1e-12)
    assert found.value == pytest.approx(closed, abs=1e-12)
    assert abs(found.value - closed) <= found.error <= 1e-10 * found.scale


@pytest.mark.parametrize(
    ("N", "wanted"),
    [(2, 0.0), (3, 3.501905136561), (4, 7.507020974795), (8, 24.58331787754)],
)
def test_the_curve_of_the_paper(N, wanted):
    U = np.array([3.0, 0.0, -4.0])
    closed = paper_loop_integral(U, N, INNER, OUTER)
    found = loop_integral(balanced(lambda w: U, N), paper_loop(U, INNER, OUTER))
    assert closed == pytest.approx(wanted, abs=1e-11)
    assert float(found) == pytest.approx(closed, abs=1e-11)


def test_depth_one_and_two_of_a_constant_gradient_gather_nothing():
    U = np.array([1.0, 2.0])
    assert paper_loop_integral(U, 1, 0.5, 2.0) == 0
    assert paper_loop_integral(U, 2, 0.5, 2.0) == 0
    assert paper_loop_integral(U, 1.5, 0.5, 2.0) < 0 < paper_loop_integral(U, 2.5, 0.5, 2.0)


def test_any_degree():
    # <c, w>^m on the half space where it is smooth, m not whole.
    c, N = np.array([0.5, 1.0, 0.7]), 3.5
    for m in (0.4, 1.5, 3.0, 2 / N):
        field = balanced(lambda w, m=m: m * (c @ w) ** (m - 1) * c, N)
        other = np.array([0.1, 0.9, 0.3])
        closed = sector_loop_integral({m: lambda w, m=m: (c @ w) ** m}, N, E, other, 0.3, 0.9)
        found = loop_integral(field, sector_loop(E, other, 0.3, 0.9))
        assert found.value == pytest.approx(closed, abs=1e-12)
    assert abs(closed) < 1e-15  # degree 2/N gathers nothing


@pytest.mark.parametrize("p", [2, 4, 6])
def test_regression_losses_are_sums_of_homogeneous_ones(p):
    rng = np.random.default_rng(p)
    loss = fs.LpLoss(rng.normal(size=(5, 3)), rng.normal(size=5), p=p)
    closed = sector_loop_integral(loss, 3, E, turned(0.7), INNER, OUTER)
    numeric = loss.to_numpy()
    found = loop_integral(balanced(numeric.gradient, 3), sector_loop(E, turned(0.7), INNER, OUTER))
    assert found.value == pytest.approx(closed, rel=1e-11)


def test_several_outputs_on_a_plane_of_rank_one_are_one_output():
    # On {rho u x^T} the field of several outputs is that of g = G^T u.
    rng = np.random.default_rng(2)
    u = np.array([0.6, 0.8])
    G = rng.normal(size=(2, 3))

    def field(W, N=3):
        left, s, right = np.linalg.svd(W)
        s3 = np.array([s[0], 0.0, 0.0])  # W has rank one here
        P = left @ np.diag(s3[:2]) @ left.T
        Q = right.T @ np.diag(s3) @ right

        def power(M, p):
            values, vectors = np.linalg.eigh(M)
            return vectors @ np.diag(np.where(values > 1e-12, values, 0) ** p) @ vectors.T

        return power(P, 4 / 3) @ G + power(P, 2 / 3) @ G @ power(Q, 2 / 3) + G @ power(Q, 4 / 3)

    loop = sector_loop(np.outer(u, E), np.outer(u, turned(1.0)), INNER, OUTER)
    closed = sector_loop_integral({1: lambda w: G.T @ u @ w}, 3, E, turned(1.0), INNER, OUTER)
    assert float(loop_integral(field, loop)) == pytest.approx(closed, abs=1e-10)


# -- fields ----------------------------------------------------------------------------------------


def test_a_lowered_law_is_the_field_of_the_flow_with_the_sign_turned():
    loss = fs.LpLoss(np.diag([1.0, 2.0, 3.0]), np.array([1.0, -1.0, 0.5]), p=2)
    field = fs.derive(fs.DeepLinear((3, 1, 1, 1))).lower(loss, strategy="spectral")
    closed = sector_loop_integral(loss, 3, E, turned(1.0), INNER, OUTER)
    found = loop_integral(field, sector_loop(E, turned(1.0), INNER, OUTER))
    assert found.value == pytest.approx(-closed, rel=1e-11)


def test_fields_are_told_apart_by_their_arguments():
    value = np.pi * 2
    assert float(loop_integral(rotation, circle)) == pytest.approx(value, rel=1e-13)
    assert float(loop_integral(lambda t, y, args: rotation(y), circle)) == pytest.approx(value)
    assert float(loop_integral(lambda t, y, args=None: rotation(y), circle)) == pytest.approx(value)
    assert float(loop_integral(lambda w, k=2.0: k * rotation(w), circle)) == pytest.approx(
        2 * value
    )
    assert float(loop_integral(lambda w: jnp.stack([-w[1], w[0]]), circle)) == pytest.approx(value)


def test_a_gradient_gathers_nothing():
    def field(w):
        return np.array([2 * w[0] * np.cos(w[1]), -(w[0] ** 2) * np.sin(w[1])])

    found = loop_integral(field, lambda s: circle(s) + np.array([0.3, 0.1]))
    assert abs(found.value) <= max(found.error, 1e-13)


# -- curves ----------------------------------------------------------------------------------------


def polygon(s):
    corners = np.array([[0, 0], [2, 0], [2, 1], [0.3, 1.4], [0, 0]], float)
    places = np.array([0.0, 0.2, 0.37, 0.8, 1.0])
    return np.array([np.interp(s, places, corners[:, i]) for i in range(2)])


def test_corners_are_found_and_may_be_given():
    corners = np.array([[0, 0], [2, 0], [2, 1], [0.3, 1.4]])
    x, y = corners.T
    twice_the_area = np.sum(x * np.roll(y, -1) - y * np.roll(x, -1))
    alone = loop_integral(rotation, polygon)
    told = loop_integral(rotation, polygon, breaks=[0.2, 0.37, 0.8])
    exact = loop_integral(rotation, Loop.polygon(corners))
    for found in (alone, told, exact):
        assert found.value == pytest.approx(twice_the_area, rel=1e-12)
    assert told.evaluations < alone.evaluations


def test_a_curve_with_an_absolute_value_is_followed():
    # A complex step would take |s - 1/3| to be analytic, and give a wrong derivative in silence.
    def lens(s):
        u = abs(s - 1 / 3)
        return np.array(
            [np.sin(2 * np.pi * s) + u * (1 - s) * s, np.cos(2 * np.pi * s) + u * s * (1 - s)]
        )

    found = loop_integral(rotation, lens)
    t = np.linspace(0, 1, 600001)
    w = np.array([lens(s) for s in t[::30]])
    area = np.sum(w[:-1, 0] * w[1:, 1] - w[:-1, 1] * w[1:, 0])
    assert found.value == pytest.approx(area, rel=1e-7)
    assert found.error < 1e-9


def test_pieces_without_derivatives_join_those_with():
    arc = Loop((lambda u: circle(u / 2), Segment(circle(0.5), circle(0.0))))
    assert float(loop_integral(rotation, arc)) == pytest.approx(np.pi, rel=1e-13)
    with pytest.raises(InputError, match=r"pieces\[0\] has no derivative"):
        arc.derivative(0.1)


def test_loops_are_curves_with_exact_derivatives():
    h = 1e-6
    for loop in (sector_loop(E, F, 0.2, 1.1), paper_loop(E, 0.2, 1.1)):
        for s in (0.1, 0.3, 0.6, 0.9):
            difference = (loop(s + h) - loop(s - h)) / (2 * h)
            assert_allclose(loop.derivative(s), difference, atol=1e-8)
        assert_allclose(loop(0.0), loop(1.0), atol=1e-15)
        assert loop.breaks.tolist() == [0.25, 0.5, 0.75]


def test_the_half_plane_of_an_arc_can_be_chosen():
    loop = sector_loop(E, -E, 0.5, 1.0, through=F)
    assert_allclose(loop(0.375), F, atol=1e-15)
    long_way = sector_loop(E, F, 0.5, 1.0, through=-F)
    assert_allclose(np.linalg.norm(long_way(0.375)), 1.0)
    assert long_way(0.375) @ (E + F) < 0


# -- refusals --------------------------------------------------------------------------------------


def test_curves_that_do_not_close_are_refused_by_name():
    with pytest.raises(InputError, match="the curve does not close: it begins at"):
        loop_integral(rotation, lambda s: circle(0.9 * s))
    with pytest.raises(InputError, match=r"does not close: pieces\[1\] ends at"):
        Loop((Segment(np.zeros(2), np.ones(2)), Segment(np.ones(2), np.array([1.0, 2.0]))))
    with pytest.raises(InputError, match=r"the curve jumps by 1 at s = 0\.3"):
        loop_integral(rotation, lambda s: circle(s) + np.array([float(0.3 < s < 0.6), 0.0]))


@pytest.mark.parametrize(
    ("call", "complaint"),
    [
        (lambda: loop_integral(3, circle), "field is int"),
        (lambda: loop_integral(lambda a, b, c, d: a, circle), "field takes 4 arguments"),
        (lambda: loop_integral(rotation, 3), "curve is int"),
        (lambda: loop_integral(rotation, circle, breaks=[0.5, 1.0]), "breaks runs from 0.5 to 1"),
        (lambda: loop_integral(rotation, circle, rtol=0.0), "rtol is 0.0"),
        (lambda: loop_integral(rotation, circle, rtol=1e-15), "rtol is 1e-15"),
        (lambda: loop_integral(lambda w: w[:1], circle), "field returns shape"),
        (lambda: loop_integral(lambda w: w * np.nan, circle), "field is not finite at w"),
        (lambda: loop_integral(rotation, lambda s: np.array([np.nan, 0.0])), r"curve\(0\) is"),
        (lambda: sector_loop(E, E, 0.1, 1.0), "the same direction"),
        (lambda: sector_loop(0 * E, E, 0.1, 1.0), "e0 is 0"),
        (lambda: sector_loop(E, F, 1.0, 0.5), "R is 0.5"),
        (lambda: sector_loop(E, F, 0.0, 0.5), "r is 0.0"),
        (lambda: sector_loop(E, F, 0.1, 1.0, through=np.ones(3)), "outside the plane"),
        (lambda: sector_loop([1.0], [-1.0], 0.1, 1.0), "no arc between"),
        (lambda: sector_loop_integral((A, B), 0.5, E, F, 0.1, 1.0), "depth is 0.5"),
        (lambda: sector_loop_integral((A, B[:2]), 2, E, F, 0.1, 1.0), r"b \(2,\)"),
        (lambda: sector_loop_integral((A + np.eye(3, k=1), B), 2, E, F, 0.1, 1.0), "not symmetric"),
        (lambda: sector_loop_integral(np.sin, 2, E, F, 0.1, 1.0), "loss is ufunc"),
        (lambda: sector_loop_integral({-1: np.sum}, 2, E, F, 0.1, 1.0), "a degree of loss is -1"),
        (lambda: paper_loop_integral(np.zeros(2), 2, 0.1, 1.0), "U is 0"),
        (lambda: antisymmetric_part(rotation, np.ones(2), method="exact"), "method is 'exact'"),
    ],
)
def test_wrong_input_is_named(call, complaint):
    with pytest.raises(InputError, match=complaint):
        call()


def test_odd_powers_are_no_polynomials():
    loss = fs.LpLoss(np.eye(3), np.ones(3), p=3)
    with pytest.raises(InputError, match="even p only"):
        sector_loop_integral(loss, 2, E, F, 0.1, 1.0)


def test_the_factors_of_a_law_are_no_end_to_end_field():
    loss = fs.LpLoss(np.eye(3), np.ones(3), p=2)
    field = fs.derive(fs.DeepLinear((3, 1, 1))).lower(loss, strategy="factors")
    with pytest.raises(InputError, match="moves the factors"):
        loop_integral(field, sector_loop(E, F, 0.2, 1.0))


def test_a_tolerance_that_is_not_met_raises_with_what_was_found():
    def rough(w):
        return rotation(w) * (1 + np.sign(np.sin(40 * w[0]))) + np.sign(w[1] - 0.3 * w[0])

    with pytest.raises(QuadratureError, match="give its place in breaks") as caught:
        loop_integral(rough, circle, rtol=1e-13)
    kept = loop_integral(rough, circle, rtol=1e-13, throw=False)
    assert kept == caught.value.integral
    assert kept.error > 1e-13 * kept.scale


# -- antisymmetric parts ---------------------------------------------------------------------------


def test_one_output_at_a_point():
    w = np.array([0.7, -0.4, 0.9])
    # Independent evaluation in 30 digits.
    found = antisymmetric_part(balanced(quadratic, 3), w)
    assert found.norm == pytest.approx(2.314291806801, abs=1e-11)
    quartic = antisymmetric_part(balanced(lambda w: (w - TARGET) ** 3, 3), w)
    assert quartic.norm == pytest.approx(0.7961100798788, abs=1e-11)


@pytest.mark.parametrize(
    ("N", "wanted"), [(2, 0.3840801395162), (3, 0.8856324122002), (4, 1.457291911497)]
)
def test_several_outputs_have_no_regularizer_at_any_depth(N, wanted):
    # At depth 2 one output on a linear loss is conservative; two outputs are not.
    W = np.array([[0.9, 0.2, -0.4], [0.3, -0.7, 0.5]])
    G = np.array([[1.0, -0.5, 0.3], [0.4, 0.9, -0.6]])

    def field(W):
        u, s, v = np.linalg.svd(W, full_matrices=False)
        total = np.zeros_like(W)
        for j in range(1, N + 1):
            # A^0 = I, in all directions.
            left = np.eye(2) if j == N else u @ np.diag(s ** (2 * (N - j) / N)) @ u.T
            right = np.eye(3) if j == 1 else v.T @ np.diag(s ** (2 * (j - 1) / N)) @ v
            total += left @ G @ right
        return total

    found = antisymmetric_part(field, W)
    assert found.method == "differences"
    assert found.norm == pytest.approx(wanted, abs=1e-11)
    assert_allclose(found.matrix, -found.matrix.T)


def test_the_lowered_law_of_two_outputs_has_the_same_antisymmetric_part():
    W = np.array([[0.9, 0.2, -0.4], [0.3, -0.7, 0.5]])
    with jax.enable_x64(True):
        G = jnp.asarray(np.array([[1.0, -0.5, 0.3], [0.4, 0.9, -0.6]]))
        law = fs.derive(fs.DeepLinear((3, 3, 2)))
        field = law.lower(lambda W: jnp.sum(G * W), strategy="spectral")
        found = antisymmetric_part(field, W)
    assert found.method == "jax"
    assert found.norm == pytest.approx(0.3840801395162, abs=1e-12)


def test_differentiation_and_differences_agree():
    def field(w):
        return jnp.stack([w[0] * w[1] ** 2 + jnp.sin(w[1]), jnp.exp(w[0]) * w[1]])

    w = np.array([0.3, -1.2])
    by_jax, by_differences = (
        antisymmetric_part(field, w, method=m) for m in ("jax", "differences")
    )
    assert by_jax.norm == pytest.approx(by_differences.norm, rel=1e-11)
    assert np.max(np.abs(by_jax.matrix - by_differences.matrix)) <= by_differences.error
    curl = 2 * w[0] * w[1] + np.cos(w[1]) - np.exp(w[0]) * w[1]
    assert by_jax.matrix[0, 1] == pytest.approx(curl, rel=1e-14)


def test_a_derivative_that_is_not_finite_is_refused():
    def field(w):
        return jnp.sqrt(jnp.abs(w - jnp.asarray([0.5, 0.0]))) * w[::-1]

    with pytest.raises(InputError, match="method='differences'"):
        antisymmetric_part(field, np.array([0.5, 1.0]), method="jax")


@pytest.mark.parametrize("place", [0.5, 0.999])
def test_a_jump_where_stretches_meet_is_refused(place):
    def curve(s):
        shift = 0.3 if place <= s < 1 else 0.0
        return np.array([np.cos(2 * np.pi * s) + shift, np.sin(2 * np.pi * s)])

    with pytest.raises(fs.InputError, match="jumps"):
        fs.loop_integral(lambda w: np.array([-w[1], w[0]]), curve)
