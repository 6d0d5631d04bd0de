"""Rates: closed forms against natural gradient and K-FAC flows of factors, written by hand.

Reference values come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision (item o11 of the notes on laws of motion), to thirteen digits.
"""

import itertools

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sympy import MatrixSymbol

import flowsim as fs
from flowsim._errors import InputError
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.fisher_flows import (
    kfac_chain,
    kfac_flow,
    kfac_velocity,
    natural_gradient_flow,
)
from flowsim.theory.rates import (
    EXCESS,
    MU,
    TIME,
    kfac,
    natural_gradient,
    polyak_lojasiewicz,
    polyak_lojasiewicz_bound,
    weakest_rate,
)
from tests.theory.integrating import flow, gradients, orthogonal, product, velocity_of_product

WIDTHS = [(3, 3, 3, 3), (3, 4, 3), (2, 4, 5, 3), (2, 3)]


def setting(widths, rng):
    d, k = widths[0], widths[-1]
    factors = [0.6 * rng.standard_normal((m, n)) for n, m in itertools.pairwise(widths)]
    root = rng.standard_normal((d, 2 * d))
    return factors, rng.standard_normal((k, d)), root @ root.T / (2 * d)


def jacobian(factors):
    """Of vec W (column by column) with respect to the vec of every factor, side by side."""
    columns = []
    for j in range(len(factors)):
        above = product([np.eye(len(factors[j])), *factors[j + 1 :]])
        below = product([np.eye(factors[0].shape[1]), *factors[:j]])
        columns.append(np.kron(below.T, above))
    return np.hstack(columns)


def natural_velocity(factors, target, sigma):
    """-F^+ grad L with the exact Fisher matrix, by the singular value decomposition."""
    J, k = jacobian(factors), len(target)
    H = np.kron(sigma, np.eye(k))
    slope = J.T @ ((product(factors) - target) @ sigma).ravel(order="F")
    moves = -np.linalg.pinv(J.T @ H @ J, rcond=1e-11, hermitian=True) @ slope
    sizes = np.cumsum([W.size for W in factors])[:-1]
    parts = zip(np.split(moves, sizes), factors, strict=True)
    return [part.reshape(W.shape, order="F") for part, W in parts]


def block_velocity(factors, target, sigma):
    """The same with every layer's block of the Fisher matrix by itself."""
    J, k = jacobian(factors), len(target)
    H = np.kron(sigma, np.eye(k))
    slope = ((product(factors) - target) @ sigma).ravel(order="F")
    out = []
    sizes = np.cumsum([W.size for W in factors])[:-1]
    for block, W in zip(np.split(J, sizes, axis=1), factors, strict=True):
        move = -np.linalg.pinv(block.T @ H @ block, rcond=1e-11, hermitian=True) @ block.T @ slope
        out.append(move.reshape(W.shape, order="F"))
    return out


def integrated(velocity, factors, target, sigma, t):
    sizes = np.cumsum([W.size for W in factors])[:-1]

    def unpack(y):
        return [p.reshape(W.shape) for p, W in zip(np.split(y, sizes), factors, strict=True)]

    def field(_, y):
        return np.concatenate([v.ravel() for v in velocity(unpack(y), target, sigma)])

    y0 = np.concatenate([W.ravel() for W in factors])
    run = solve_ivp(field, (0, t), y0, method="DOP853", rtol=1e-11, atol=1e-13)
    return product(unpack(run.y[:, -1]))


@pytest.mark.parametrize("widths", WIDTHS)
def test_natural_gradient_of_factors(widths):
    rng = np.random.default_rng(len(widths))
    factors, target, sigma = setting(widths, rng)
    W0 = product(factors)
    moved = velocity_of_product(factors, natural_velocity(factors, target, sigma))
    assert moved == pytest.approx(target - W0, abs=1e-8)
    ended = integrated(natural_velocity, factors, target, sigma, 0.7)
    assert ended == pytest.approx(natural_gradient_flow([0.7], W0=W0, target=target)[0], abs=1e-8)


@pytest.mark.parametrize("widths", WIDTHS)
def test_kfac_of_factors(widths):
    rng = np.random.default_rng(10 + len(widths))
    factors, target, sigma = setting(widths, rng)
    W0, N = product(factors), len(factors)
    moved = velocity_of_product(factors, block_velocity(factors, target, sigma))
    assert moved == pytest.approx(N * (target - W0), abs=1e-8)
    assert kfac_velocity(factors, target=target, curvature=sigma) == pytest.approx(moved, abs=1e-8)
    ended = integrated(block_velocity, factors, target, sigma, 0.4)
    assert ended == pytest.approx(kfac_flow([0.4], W0=W0, target=target, N=N)[0], abs=1e-8)


def test_kfac_through_a_bottleneck():
    """Where a layer is too narrow the projections remain, and the closed form does not hold."""
    rng = np.random.default_rng(4)
    factors, target, sigma = setting((3, 2, 4, 3), rng)
    moved = velocity_of_product(factors, block_velocity(factors, target, sigma))
    found = kfac_velocity(factors, target=target, curvature=sigma)
    assert found == pytest.approx(moved, abs=1e-9)
    assert np.abs(found - 3 * (target - product(factors))).max() > 0.1


def test_reference_values_of_a_scalar_chain():
    expected = [0.7057934407253, 1.12926950516, 2.117380322176]
    found = kfac_chain([0.0, 0.5], w0=[0.5, 0.8, 1.5], target=2.0)
    assert found[1] == pytest.approx(expected, rel=1e-12)
    assert (found[0] == [0.5, 0.8, 1.5]).all()
    W = kfac_flow([0.5], W0=[[0.6]], target=[[2.0]], N=3)
    assert np.prod(found[1]) == pytest.approx(W[0, 0, 0], rel=1e-14)


def test_a_scalar_chain_keeps_ratios_where_gradient_flow_keeps_differences_of_squares():
    w0, target = np.array([0.5, 0.8, 1.5]), np.array([[2.0]])
    start = [np.array([[w]]) for w in w0]
    by_kfac = kfac_chain([0.3], w0=w0, target=2.0)[0]
    by_gradient = np.ravel(flow(start, lambda W: W - target, [0.3])[-1])
    assert by_kfac / by_kfac[0] == pytest.approx(w0 / w0[0], rel=1e-14)
    assert by_gradient**2 - by_gradient[0] ** 2 == pytest.approx(w0**2 - w0[0] ** 2, abs=1e-12)


@pytest.mark.parametrize(("record", "rate"), [(natural_gradient, 1), (kfac, 3)])
def test_records_state_what_is_computed(record, rate):
    stated = MatrixPolynomial.of(record.statement(3)).subs(TIME, 0)
    assert stated == MatrixPolynomial.of(MatrixSymbol("W_0", *stated.shape))
    rng = np.random.default_rng(6)
    start, goal, t = rng.standard_normal((2, 2)), rng.standard_normal((2, 2)), 0.37
    values = {"W_0": start, "W^*": goal}
    total = sum(
        float(c.subs(TIME, t)) * values[word[0].node.name]
        for (word, _), c in MatrixPolynomial.of(record.statement(3)).terms.items()
    )
    assert kfac_flow([t], W0=start, target=goal, N=rate)[0] == pytest.approx(total, rel=1e-13)


# -- Polyak and Lojasiewicz ------------------------------------------------------------------------


def test_bound_holds_and_is_attained():
    t = np.linspace(0, 3, 7)
    # L = mu/2 w^2 attains it.
    mu, w0 = 0.8, 1.7
    attained = mu / 2 * (w0 * np.exp(-mu * t)) ** 2
    assert polyak_lojasiewicz_bound(t, excess=mu / 2 * w0**2, mu=mu) == pytest.approx(
        attained, rel=1e-14
    )
    stated = polyak_lojasiewicz.statement().subs({MU: 0.8, TIME: 1.5, EXCESS: 2.0})
    assert polyak_lojasiewicz_bound(1.5, excess=2.0, mu=0.8) == pytest.approx(float(stated))


@pytest.mark.parametrize(("k", "d", "N"), [(3, 3, 2), (3, 3, 3), (2, 3, 2), (2, 3, 4)])
def test_weakest_rate_against_moving_factors(k, d, N):
    """-L' >= rate ||G||^2 along balanced factors for every gradient, with equality for one."""
    rng = np.random.default_rng([k, d, N])
    W = rng.standard_normal((k, d))
    start = fs.DeepLinear((d, *[3] * (N - 1), k)).balanced(W)
    rate = weakest_rate(W, N)
    columns = []
    for i in range(k * d):
        G = np.zeros(k * d)
        G[i] = 1
        pushed = velocity_of_product(start, gradients(start, G.reshape(k, d)))
        columns.append(pushed.ravel())
    P = np.array(columns)
    assert np.linalg.eigvalsh((P + P.T) / 2)[0] == pytest.approx(rate, rel=1e-10)


def test_loss_of_balanced_factors_stays_below_the_bound():
    rng = np.random.default_rng(8)
    net, target = fs.DeepLinear((3, 3, 3)), orthogonal(3, rng) @ np.diag([1.0, 2.0, 3.0])
    W0 = target @ (np.eye(3) + 0.1 * rng.standard_normal((3, 3)))
    t = np.linspace(0.0, 0.5, 6)
    run = [product(f) for f in flow(net.balanced(W0), lambda W: W - target, t)]
    loss = np.array([((W - target) ** 2).sum() / 2 for W in run])
    mu = min(weakest_rate(W, 2) for W in run)
    bound = polyak_lojasiewicz_bound(t, excess=loss[0], mu=mu)
    assert (loss <= bound * (1 + 1e-12)).all()
    assert loss[-1] > 1e-4 * bound[-1]


def test_hypotheses_are_checked():
    rng = np.random.default_rng(9)

    def failures(widths, sigma=None):
        net = fs.DeepLinear(widths)
        factors, target, found = setting(widths, rng)
        sigma = found if sigma is None else sigma
        problem = fs.Problem(lambda W: (((W - target) @ sigma) * (W - target)).sum() / 2, net)
        return [f for c in kfac.conditions if (f := c.failure(problem, tuple(factors)))]

    assert failures((3, 4, 3)) == []
    (said,) = failures((3, 2, 3))
    assert "rank 2" in said
    (said,) = failures((2, 3, 3), np.diag([1.0, 0.0]))
    assert "singular" in said


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: kfac_flow([1.0], W0=np.eye(2), target=np.eye(3), N=2), "one shape"),
        (lambda: kfac_flow([-1.0], W0=np.eye(2), target=np.eye(2), N=2), "t holds -1"),
        (lambda: kfac_flow([1.0], W0=np.eye(2), target=np.eye(2), N=0), "N is 0"),
        (lambda: kfac_chain([1.0], w0=[0.5, -0.5], target=1.0), "one sign"),
        (lambda: kfac_chain([1.0], w0=[0.5, 0.0], target=1.0), "not 0"),
        (lambda: polyak_lojasiewicz_bound(1.0, excess=-1, mu=1), "excess is -1"),
        (lambda: polyak_lojasiewicz_bound(1.0, excess=1, mu=0), "mu is 0"),
    ],
)
def test_wrong_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()
