"""The records on mirror flows, against factors that move by the chain rule alone."""

import numpy as np
import pytest
import sympy
from sympy import MatrixSymbol

from flowsim.problems import (
    DeepLinear,
    Diagonal,
    DiagonalProduct,
    Problem,
    ScaledVector,
    SymmetricFactorization,
)
from flowsim.symbolic.columns import Inner
from flowsim.symbolic.integrability import G, W
from flowsim.symbolic.mirror import mirror
from flowsim.symbolic.mirror.flows import compiled, flattened
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.mirror import (
    E_I,
    E_J,
    IMBALANCE,
    NORM,
    STATE,
    THEOREMS,
    balanced_metric,
    commuting,
    homogeneous_potential,
    scaled_vector_mirror,
    time_warped_mirror,
)
from flowsim.theory.mirror_potentials import mirror_gradient

STEP = 1e-5


def velocities(par, theta, g):
    """Velocities of the factors in a row, for the gradient g of the loss at w."""
    return -compiled(par)[2](flattened(par, theta), np.asarray(g))


def evaluated(statement, at):
    """A sum of scalars times columns, with numbers for columns and for what scalars contain."""
    total = 0
    for (word, _), c in MatrixPolynomial.of(statement).terms.items():
        numbers = {}
        for atom in c.atoms(FrobeniusNorm, Inner):
            vectors = [at[x] for x in atom.args]
            numbers[atom] = vectors[0] @ vectors[-1]
            if isinstance(atom, FrobeniusNorm):
                numbers[atom] = np.sqrt(numbers[atom])
        total = total + float(c.xreplace(numbers)) * at[word[0].node]
    return total


def moved(par, theta, g, function):
    """The derivative of a function of the factors along the flow, by central differences."""
    flat, v = flattened(par, theta), velocities(par, theta, g)
    return (function(flat + STEP * v) - function(flat - STEP * v)) / (2 * STEP)


@pytest.mark.parametrize("depth", [2, 3, 5])
def test_time_warped_mirror_along_moving_factors(depth):
    rng = np.random.default_rng(depth)
    net = DeepLinear((4,) + (1,) * depth)
    value = compiled(net)[0]
    w, g = rng.normal(size=(2, 4))
    theta = net.balanced(w[None])
    potential = time_warped_mirror.statement(sympy.Integer(depth), what="potential")
    radius = sympy.Symbol("r", positive=True)
    slope = sympy.lambdify(radius, potential.xreplace({FrobeniusNorm(W): radius}).diff(radius))

    def nu(flat):
        x = value(flat)
        return slope(np.linalg.norm(x)) * x / np.linalg.norm(x)

    stated = evaluated(time_warped_mirror.statement(sympy.Integer(depth)), {W: w, G: g})
    np.testing.assert_allclose(stated, moved(net, theta, g, nu), rtol=1e-8, atol=1e-9)
    # The mirror variable is the first layer, up to its sign.
    first = theta[0][0]
    np.testing.assert_allclose(np.abs(nu(flattened(net, theta))), np.abs(first), rtol=1e-12)


@pytest.mark.parametrize("w2", [1.7, 0.9, 0.2, -0.6])
def test_scaled_vector_mirror_along_moving_factors(w2):
    rng = np.random.default_rng(2)
    w1, g = rng.normal(size=(2, 3))
    par, c = ScaledVector(3), w2**2 - w1 @ w1
    value = compiled(par)[0]
    slope = sympy.lambdify(NORM, scaled_vector_mirror.statement(what="slope").subs(IMBALANCE, c))
    warp = sympy.lambdify(NORM, scaled_vector_mirror.statement(what="warp").subs(IMBALANCE, c))

    def nu(flat):
        x = value(flat)
        return slope(np.linalg.norm(x)) * x / np.linalg.norm(x)

    flat = flattened(par, (w1, w2))
    np.testing.assert_allclose(nu(flat), np.sign(w2) * w1, rtol=1e-12)
    assert warp(np.linalg.norm(w1 * w2)) == pytest.approx(abs(w2), rel=1e-12)
    change = moved(par, (w1, w2), g, nu)
    np.testing.assert_allclose(change, -abs(w2) * g, rtol=1e-8, atol=1e-9)


def balanced_preconditioner(w, N):
    r = np.linalg.norm(w)
    return r ** (2 - 2 / N) * (np.eye(len(w)) + (N - 1) * np.outer(w, w) / r**2)


@pytest.mark.parametrize("depth", [1, 2, 3, 4])
def test_balanced_metric_against_differences(depth):
    rng = np.random.default_rng(depth)
    w = rng.normal(size=3)
    e, f = np.eye(3)[:2]
    net = DeepLinear((3,) + (1,) * depth)
    J = compiled(net)[1](flattened(net, net.balanced(w[None])))
    np.testing.assert_allclose(J @ J.T, balanced_preconditioner(w, depth), rtol=1e-11, atol=1e-12)

    def directional(column, direction):
        ahead, behind = (
            balanced_preconditioner(w + s * STEP * direction, depth) @ column for s in (1, -1)
        )
        return (ahead - behind) / (2 * STEP)

    P = balanced_preconditioner(w, depth)
    found = directional(f, P @ e) - directional(e, P @ f)
    stated = evaluated(balanced_metric.statement(sympy.Integer(depth)), {W: w, E_I: e, E_J: f})
    np.testing.assert_allclose(stated + np.zeros(3), found, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("depth", [2, 3])
def test_commuting_maps_follow_their_mirror_flow(depth):
    rng = np.random.default_rng(depth)
    par = Diagonal(3, depth)
    start, g = tuple(rng.uniform(0.5, 1.0, (2, 3))), rng.normal(size=3)
    value = compiled(par)[0]
    change = moved(par, start, g, lambda x: mirror_gradient(value(x), start, depth=depth))
    assert commuting.statement().args[0] == -1
    np.testing.assert_allclose(change, -g, rtol=1e-6)


@pytest.mark.parametrize("par", [Diagonal(2, 3), DiagonalProduct(2, 4)])
def test_homogeneous_potential_along_moving_factors(par):
    rng = np.random.default_rng(1)
    theta, g = tuple(rng.uniform(0.4, 1.0, shape) for shape in par.shapes), rng.normal(size=2)
    degree = mirror(par).homogeneity
    (((word, _), c),) = MatrixPolynomial.of(homogeneous_potential.statement(degree)).terms.items()
    assert [x.node for x in word] == [STATE, STATE]
    change = moved(par, theta, g, lambda x: float(c) * (x @ x))
    # d R*/dt = <w, d mu/dt> = -<w, g>
    assert change == pytest.approx(-compiled(par)[0](flattened(par, theta)) @ g, rel=1e-8)


def problem(par):
    return Problem(lambda w: ((w - 1.0) ** 2).sum(), par)


@pytest.mark.parametrize(
    ("theorem", "par", "start", "failure"),
    [
        (commuting, Diagonal(2), (np.ones(2),) * 2, None),
        (commuting, SymmetricFactorization(1, 2), (np.ones((1, 2)),), None),
        (commuting, ScaledVector(2), (np.ones(2), np.array(1.0)), "do not commute"),
        (homogeneous_potential, Diagonal(2), (np.ones(2),) * 2, None),
        (time_warped_mirror, DeepLinear((2, 1, 1)), (np.ones((1, 2)), np.ones((1, 1))), "unbal"),
        (time_warped_mirror, DeepLinear((2, 1, 1)), None, None),
        (scaled_vector_mirror, ScaledVector(2), (np.ones(2), np.array(0.0)), "is 0"),
    ],
)
def test_conditions(theorem, par, start, failure):
    if start is None:
        start = par.balanced(np.array([[0.3, -0.4]]))
    found = [c.failure(problem(par), start) for c in theorem.conditions]
    failures = [f for f in found if f]
    if failure is None:
        assert not failures
    else:
        assert failure in failures[0]


def test_statements_refuse_what_they_do_not_state():
    for theorem in (time_warped_mirror, scaled_vector_mirror):
        with pytest.raises(ValueError, match="what is"):
            theorem.statement(2, what="something")


def test_records_name_columns_of_symbolic_size():
    assert len({t.name for t in THEOREMS}) == 5
    assert all(isinstance(x, MatrixSymbol) for x in (STATE, E_I, E_J))
