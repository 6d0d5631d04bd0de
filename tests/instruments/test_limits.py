"""Limit points from the stationarity conditions, against flows that are integrated to their end.

Reference values: independent Gragg-Bulirsch-Stoer integration of order 16 in extended precision.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import linprog

import flowsim as fs
from flowsim._errors import InputError
from flowsim.instruments import dual_newton
from flowsim.instruments.limits import LimitError, mirror_limit
from flowsim.instruments.orbits import DiagonalOrbit
from flowsim.problems import (
    DeepLinear,
    Diagonal,
    DiagonalProduct,
    Identity,
    Parametrization,
    ScaledVector,
    SymmetricFactorization,
    TwoLayer,
    WeightNormalized,
)
from flowsim.symbolic.mirror.flows import compiled, flattened

X6 = np.array(
    [
        [1, 0.4, -0.3, 0.7, 0.2, -0.5],
        [-0.2, 0.9, 0.5, -0.4, 0.8, 0.1],
        [0.3, -0.6, 1.1, 0.2, -0.1, 0.9],
    ]
)
Y6 = np.array([1, -0.5, 0.8])
X4, Y4 = np.array([[1, 0.4, -0.3, 0.7], [-0.2, 0.9, 0.5, -0.4]]), np.array([1, -0.5])
W4 = np.array([0.05, 0.1, -0.08, 0.12])


def integrated(par, X, y, start, power=2):
    """The end of the factor flow of the loss sum |Xw - y|^p / p, as a value and factors."""
    value, _, field = compiled(par)
    start = start[0] if isinstance(par, Identity) else start

    def rhs(_, flat):
        residual = X @ value(flat) - y
        return -field(flat, X.T @ (residual * np.abs(residual) ** (power - 2)))

    def small(_, flat):
        return np.abs(X @ value(flat) - y).max() - 1e-13

    small.terminal = True
    run = solve_ivp(
        rhs, (0, 1e5), flattened(par, start), "LSODA", rtol=1e-12, atol=1e-15, events=small
    )
    return value(run.y[:, -1]), run.y[:, -1]


def certified(end, X, y, tolerance=1e-11):
    assert end.residual <= 1e-12 * max(1.0, np.abs(y).max())
    assert np.abs(X @ end.w - y).max() == end.residual
    assert end.stationarity <= tolerance


# -- references ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depth", "alpha", "norm"),
    [
        (2, 1e-3, 1.805074872166),
        (2, 1e-1, 1.894644549701),
        (2, 1.0, 1.947746162268),
        (3, 1e-2, 1.784953438336),
        (3, 1e-1, 1.802657961864),
        (4, 1e-1, 1.786018564415),
    ],
)
def test_norms_of_diagonal_limits(depth, alpha, norm):
    end = mirror_limit(Diagonal(6, depth), X6, Y6, (np.full(6, alpha),) * 2)
    certified(end, X6, Y6)
    assert np.abs(end.w).sum() == pytest.approx(norm, abs=1e-12)


def test_diagonal_limit_of_depth_three():
    end = mirror_limit(Diagonal(6, 3), X6, Y6, (np.full(6, 0.1),) * 2)
    expected = [
        1.174303903139,
        -0.3648424190618,
        0.1712279879485,
        0.05671176091052,
        -0.00363057878581,
        0.03194131201922,
    ]
    np.testing.assert_allclose(end.w, expected, atol=1e-12)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        (2, [0.4516237966599, 0.03633219932883, -0.4179331504407, 0.583519112109]),
        (3, [0.4091983596071, 0.06095247813924, -0.454539266208, 0.6143698132497]),
        (4, [0.3817006528587, 0.07690991438079, -0.4782652265396, 0.6343654477529]),
    ],
)
def test_limits_of_balanced_networks(depth, expected):
    net = DeepLinear((4,) + (1,) * depth)
    end = mirror_limit(net, X4, Y4, W4)
    certified(end, X4, Y4)
    np.testing.assert_allclose(end.w, expected, atol=1e-12)
    factors = mirror_limit(net, X4, Y4, net.balanced(W4[None]))
    np.testing.assert_allclose(factors.w, end.w, atol=1e-13)


# -- against integrated flows ----------------------------------------------------------------------

rng = np.random.default_rng(5)
QUADRATICS = np.array([[[2.0, 1.0], [1.0, 3.0]], [[1.0, 1.0], [1.0, 2.0]]])
FLOWS = {
    "diagonal": (Diagonal(6), rng.uniform(0.1, 0.9, (2, 6))),
    "diagonal, depth 3": (Diagonal(6, 3), rng.uniform(0.2, 0.9, (2, 6))),
    "diagonal, depth 5": (Diagonal(6, 5), rng.uniform(0.5, 0.9, (2, 6))),
    "product": (DiagonalProduct(6), rng.normal(size=(2, 6))),
    "product, depth 3": (DiagonalProduct(6, 3), rng.normal(size=(3, 6))),
    "network, depth 2": (DeepLinear((6, 1, 1)), None),
    "network, depth 4": (DeepLinear((6, 2, 3, 2, 1)), None),
    "two layers": (TwoLayer((6, 2, 1)), None),
    "unbalanced, one hidden unit": (
        DeepLinear((6, 1, 1)),
        (rng.normal(size=(1, 6)), np.array([[0.4]])),
    ),
    "scaled vector, c > 0": (ScaledVector(6), (rng.normal(size=6) / 4, np.array(1.3))),
    "scaled vector, c < 0": (ScaledVector(6), (rng.normal(size=6), np.array(0.3))),
    "scaled vector, c << 0": (ScaledVector(6), (2 * X6[0] - X6[1], np.array(-0.2))),
    "weight normalization": (WeightNormalized(6), (np.array(0.7), rng.normal(size=6))),
    "identity": (Identity((6,)), (rng.normal(size=6),)),
    "a map of its own": (
        Parametrization.from_function(lambda u, v, s: u * v**2 + s, {"u": 6, "v": 6, "s": 6}),
        (rng.normal(size=6), rng.normal(size=6), rng.normal(size=6)),
    ),
}


@pytest.mark.parametrize("name", FLOWS)
def test_limits_are_where_flows_end(name):
    par, start = FLOWS[name]
    if start is None:
        start = DeepLinear(par.widths).balanced(np.array([[0.3, -0.2, 0.4, 0.1, 0.2, -0.1]]))
    start = tuple(start)
    end = mirror_limit(par, X6, Y6, start)
    certified(end, X6, Y6)
    w, flat = integrated(par, X6, Y6, start)
    np.testing.assert_allclose(end.w, w, atol=1e-8)
    if end.factors:
        found = np.concatenate([np.ravel(x) for x in end.factors])
        np.testing.assert_allclose(found, flat, atol=1e-8)


def test_commuting_quadratics():
    par = Parametrization.from_function(
        lambda x: fs.functions.einsum("kij,i,j->k", QUADRATICS, x, x), {"x": 2}
    )
    start, X = (np.array([0.5, -0.7]),), np.array([[1.0, 0.5]])
    y = np.array([2.0])
    end = mirror_limit(par, X, y, start)
    certified(end, X, y)
    np.testing.assert_allclose(end.w, integrated(par, X, y, start)[0], atol=1e-9)


def test_the_limit_is_the_same_for_another_loss():
    start = tuple(rng.uniform(0.3, 0.9, (2, 6)))
    end = mirror_limit(Diagonal(6), X6, Y6, start)
    # The fourth power converges like 1/sqrt(t): compare where its residual is small but not 0.
    w, _ = integrated(Diagonal(6), X6, Y6, start, power=3)
    np.testing.assert_allclose(end.w, w, atol=1e-4)
    other = mirror_limit(Diagonal(6), X6, X6 @ w, start)
    np.testing.assert_allclose(other.w, w, atol=1e-8)


@pytest.mark.parametrize("w2", [-0.05, 0.05, -1e-3])
def test_scaled_vectors_whose_scale_changes_its_sign(w2):
    X = np.array([[0.9, -0.4, 0.3], [-0.2, 0.8, 0.5]])
    y, start = np.array([0.5, 1.2]), (np.array([0.2, -0.1, 0.4]), np.array(w2))
    end = mirror_limit(ScaledVector(3), X, y, start)
    certified(end, X, y)
    w, flat = integrated(ScaledVector(3), X, y, start)
    np.testing.assert_allclose(end.w, w, atol=1e-9)
    assert np.sign(flat[-1]) == np.sign(end.factors[1])
    assert ("integration" in end.converges) == (w2 < 0)


# -- extremes --------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [1e-12, 1e-6, 1e-3, 0.1, 1.0, 10.0])
@pytest.mark.parametrize("depth", [2, 3, 4, 6])
def test_starts_of_every_size(depth, alpha):
    local = np.random.default_rng(6)
    X = local.normal(size=(8, 25))
    beta = np.zeros(25)
    beta[:3] = [1.0, -2.0, 0.5]
    for y in (X @ beta, local.normal(size=8)):
        end = mirror_limit(Diagonal(25, depth), X, y, (np.full(25, alpha),) * 2)
        certified(end, X, y)
        least = linprog(np.ones(50), A_eq=np.hstack([X, -X]), b_eq=y).fun
        assert np.abs(end.w).sum() >= least * (1 - 1e-9)
        if depth > 2 and alpha <= 1e-6:
            assert np.abs(end.w).sum() == pytest.approx(least, rel=1e-6)
        if depth == 2 and alpha == 10.0:
            np.testing.assert_allclose(end.w, np.linalg.pinv(X) @ y, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("seed", [1, 6, 37])
def test_solutions_that_newtons_method_does_not_reach_from_a_small_start(seed):
    # Signs for a design, two ones for a solution: on the way many coordinates are of equal size.
    local, beta = np.random.default_rng(seed), np.eye(12)[0] + np.eye(12)[1]
    X = local.choice([-1.0, 1.0], size=(11, 12))
    y, alpha = X @ beta, np.full(12, 1e-8)
    orbit = DiagonalOrbit(alpha, alpha, 5)
    with pytest.raises(LimitError):
        dual_newton._from(orbit, X, y, orbit.start, np.zeros(11))
    end = mirror_limit(Diagonal(12, 5), X, y, (alpha, alpha))
    certified(end, X, y)
    np.testing.assert_allclose(end.w, beta, atol=1e-12)


def test_large_labels_and_large_starts_do_not_overflow():
    end = mirror_limit(Diagonal(6), X6, Y6 * 1e8, (np.full(6, 1e-8),) * 2)
    assert end.residual <= 1e-12 * 1e8
    assert end.stationarity < 1e-12
    end = mirror_limit(DeepLinear((4, 1, 1, 1, 1)), X4, Y4 * 1e8, W4 * 1e-12)
    assert end.residual <= 1e-12 * 1e8


def test_unequal_starts_are_near_where_they_began():
    u, v = np.full(6, 3.0), np.full(6, 2.0)
    y = X6 @ (u**2 - v**2)
    end = mirror_limit(Diagonal(6), X6, y, (u, v))
    np.testing.assert_allclose(end.w, u**2 - v**2, atol=1e-13)
    np.testing.assert_allclose(end.multipliers, 0, atol=1e-14)


def test_dependent_rows_that_agree():
    X, y = np.vstack([X6, X6[0] + X6[1]]), np.append(Y6, Y6[0] + Y6[1])
    start = (np.full(6, 0.2),) * 2
    end = mirror_limit(Diagonal(6), X, y, start)
    certified(end, X, y)
    np.testing.assert_allclose(end.w, mirror_limit(Diagonal(6), X6, Y6, start).w, atol=1e-13)


# -- what has no limit -----------------------------------------------------------------------------


def test_rows_that_contradict_each_other():
    X, y = np.vstack([X6, X6[0]]), np.append(Y6, 3.0)
    with pytest.raises(InputError, match="has no solution"):
        mirror_limit(Diagonal(6), X, y, (np.ones(6),) * 2)


def test_values_that_cannot_be_reached():
    # From u = v the product stays positive.
    par, X = DiagonalProduct(2), np.array([[1.0, 1.0]])
    with pytest.raises(LimitError, match="sign is fixed"):
        mirror_limit(par, X, np.array([-1.0]), (np.ones(2),) * 2)
    end = mirror_limit(par, X, np.array([3.0]), (np.ones(2),) * 2)
    np.testing.assert_allclose(end.w, 1.5, atol=1e-14)
    assert end.converges.startswith("Provided")


def test_a_flow_that_ends_at_a_saddle():
    X, y = np.array([[1.0, 2.0]]), np.array([1.0])
    with pytest.raises(LimitError, match="saddle"):
        mirror_limit(DeepLinear((2, 1, 1)), X, y, np.array([-0.5, -1.0]))
    end = mirror_limit(DeepLinear((2, 1, 1)), X, y, np.array([0.01, 0.02]))
    np.testing.assert_allclose(end.w, [0.2, 0.4], atol=1e-13)


@pytest.mark.parametrize(
    ("par", "start", "match"),
    [
        (SymmetricFactorization(2, 1), (np.ones((2, 1)),), "do not commute"),
        (Diagonal(4), (np.zeros(4), np.ones(4)), "positive factors"),
        (Diagonal(4), (np.ones(3), np.ones(4)), "shape"),
        (DeepLinear((4, 2, 1)), (np.ones((2, 4)), np.ones((1, 2))), "not balanced"),
        (DeepLinear((4, 1, 1)), np.zeros(4), "start is 0"),
        (DeepLinear((2, 2, 2)), np.ones((2, 2)), "2 outputs"),
        (ScaledVector(4), (np.zeros(4), 0.0), "w1 = 0, w2 = 0"),
        (Identity((4,)), np.ones(3), "entries"),
    ],
)
def test_starts_and_maps_without_a_limit(par, start, match):
    with pytest.raises((InputError, LimitError), match=match):
        mirror_limit(par, X4, Y4, start)


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (X4[:, :3], Y4, "shape"),
        (X4, Y4[:1], "shape"),
        (X4[0], Y4, "dimensions"),
        (np.zeros((2, 4)), Y4, "X is 0"),
        (X4, np.array([np.nan, 1.0]), "nan"),
    ],
)
def test_data_that_do_not_fit(X, y, match):
    with pytest.raises(InputError, match=match):
        mirror_limit(Diagonal(4), X, y, (np.ones(4),) * 2)


def test_limits_show_themselves():
    text = str(mirror_limit(Diagonal(4), X4, Y4, (np.ones(4),) * 2))
    for part in ("certificate", "mirror flow", "converges", "every loss of X w"):
        assert part in text
