"""The records of depth as a regularizer, and of modified equations, against what moves."""

import numpy as np
import pytest
from scipy.integrate import solve_ivp
from sympy import Integer, Rational, Symbol, symbols

from flowsim.problems import DeepLinear, LpLoss, Problem, ScaledVector
from flowsim.symbolic.integrability import G, H, W
from flowsim.symbolic.modified import STEP
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.trees import ElementaryDifferential
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.modified import modified_equation
from flowsim.theory.no_regularizer import DEGREE, LEFT, RIGHT, antisymmetric_part, sector_loop


def loss_and_derivatives(rng, d):
    """A quartic loss with its gradient and Hessian, written by hand."""
    C, b = rng.normal(size=(d + 1, d)), rng.normal(size=d)
    return (
        lambda w: np.sum((C @ w) ** 4) / 4 - b @ w,
        lambda w: C.T @ (C @ w) ** 3 - b,
        lambda w: 3 * C.T @ np.diag((C @ w) ** 2) @ C,
    )


def balanced_factors(w, N):
    """Factors 1 x 1 above a row, every one of the norm |w|^(1/N)."""
    size = np.linalg.norm(w)
    return [(w / size * size ** (1 / N))[None, :]] + [np.full((1, 1), size ** (1 / N))] * (N - 1)


def end_to_end_velocity(gradient, w, N):
    """dw/dt from factors that follow their gradients, by the chain rule on numbers."""
    factors = balanced_factors(w, N)

    def chain(b, a):
        product = np.eye(factors[a - 2].shape[0] if a > 1 else len(w))
        for j in range(a, b + 1):
            product = factors[j - 1] @ product
        return product

    g = gradient(w)[None, :]
    total = np.zeros((1, len(w)))
    for j in range(1, N + 1):
        above, below = chain(N, j + 1), chain(j - 1, 1)
        total -= above @ (above.T @ g @ below.T) @ below
    return total[0]


def evaluate(polynomial, letters, norm):
    total = 0.0
    for (word, _), c in polynomial.terms.items():
        product = float(c.subs(FrobeniusNorm(W), norm))
        for i, letter in enumerate(word):
            matrix = letters[letter.node].T if letter.transposed else letters[letter.node]
            product = product * matrix if i == 0 else product @ matrix
        total = total + product
    return total


@pytest.mark.parametrize("N", [1, 2, 3, 5])
@pytest.mark.parametrize("d", [2, 4])
def test_the_antisymmetric_part_against_moving_factors(N, d):
    rng = np.random.default_rng(10 * N + d)
    _, gradient, hessian = loss_and_derivatives(rng, d)
    w = rng.normal(size=d)
    h = 1e-5
    J = np.array(
        [
            (end_to_end_velocity(gradient, w + s, N) - end_to_end_velocity(gradient, w - s, N))
            / (2 * h)
            for s in h * np.eye(d)
        ]
    ).T
    letters = {W: w[:, None], G: gradient(w)[:, None], H: hessian(w)}
    stated = evaluate(
        MatrixPolynomial.of(antisymmetric_part.statement(N)), letters, np.linalg.norm(w)
    )
    # dw/dt = -F.
    assert pytest.approx(stated + np.zeros((d, d)), abs=1e-7 * np.max(np.abs(J))) == -(J - J.T)


@pytest.mark.parametrize("N", [2, 3, 6])
def test_the_loop_integral_against_moving_factors(N):
    # <w, c>^4/4 around a sector, the velocity of factors integrated along the four legs.
    rng = np.random.default_rng(N)
    c = rng.normal(size=2)
    r, R, angle = 0.4, 1.3, 2.0

    def field(w):
        return -end_to_end_velocity(lambda v: (c @ v) ** 3 * c, w, N)

    def e(a):
        return np.array([np.cos(a), np.sin(a)])

    def leg(integrand, start, stop):
        run = solve_ivp(lambda t, _: [integrand(t)], (start, stop), [0.0], rtol=1e-11, atol=1e-12)
        return run.y[0, -1]

    total = leg(lambda p: field(p * e(0)) @ e(0), r, R)
    total += leg(lambda a: field(R * e(a)) @ e(a + np.pi / 2) * R, 0, angle)
    total += leg(lambda p: field(p * e(angle)) @ e(angle), R, r)
    total += leg(lambda a: field(r * e(a)) @ e(a + np.pi / 2) * r, angle, 0)
    heights = tuple(float((c @ e(a)) ** 4 / 4) for a in (0, angle))
    stated = sector_loop.statement(float(N), degree=4.0, heights=heights, radii=(r, R))
    assert total == pytest.approx(stated, rel=1e-8)


def test_statements_take_numbers_and_symbols():
    exact = sector_loop.statement(Integer(3), degree=1)
    assert exact.subs({LEFT: 1, RIGHT: -1, Symbol("r", positive=True): 1}).has(
        Symbol("R", positive=True)
    )
    # At degree 2/N nothing is gathered, whatever the loss.
    N = Symbol("N", positive=True)
    assert sector_loop.statement(N, degree=2 / N) == 0
    assert sector_loop.statement(2, degree=1) == 0
    assert sector_loop.statement(3).has(DEGREE)


def test_the_number_of_outputs_is_checked():
    (condition, *_) = antisymmetric_part.conditions
    X, y = np.eye(3), np.ones(3)
    one = Problem(LpLoss(X, y, p=2), DeepLinear((3, 2, 1)))
    assert condition.failure(one, None) is None
    assert condition.failure(Problem(LpLoss(X, y, p=2), ScaledVector(3)), None) is None
    two = Problem(LpLoss(X, np.ones((3, 2)), p=2), DeepLinear((3, 2, 2)))
    assert "2 outputs" in condition.failure(two, None)


# -- the modified equation -------------------------------------------------------------------------


def entries(statement, values):
    """The statement as numbers, the derivatives of L put in by hand."""
    total = 0.0
    for (word, _), c in MatrixPolynomial.of(statement).terms.items():
        (letter,) = word
        total = total + float(c.subs(values["symbols"])) * values[letter.node.tree]
    return total


def by_hand(w, h, extra=None):
    """g, H g, H^2 g, T[g, g], ... of x^4/4 + x y^2 - y, from their formulas."""
    x, y = w
    g = np.array([x**3 + y**2, 2 * x * y - 1])
    M = np.array([[3 * x**2, 2 * y], [2 * y, 2 * x]])

    def T(a, b):
        return np.array([6 * x * a[0] * b[0] + 2 * a[1] * b[1], 2 * (a[0] * b[1] + a[1] * b[0])])

    return {
        "symbols": {STEP: h} | (extra or {}),
        (): g,
        ((),): M @ g,
        (((),),): M @ M @ g,
        ((), ()): T(g, g),
        ((((),),),): M @ M @ M @ g,
        (((), ()),): M @ T(g, g),
        ((), ((),)): T(g, M @ g),
    }


def flow(statement, start, h, t, extra=None):
    run = solve_ivp(
        lambda _, w: entries(statement, by_hand(w, h, extra)),
        (0, t),
        start,
        method="DOP853",
        rtol=1e-13,
        atol=1e-14,
    )
    return run.y[:, -1]


def test_the_modified_equation_against_descent():
    start, t = np.array([0.8, 0.3]), 0.5
    gaps = []
    for n in (20, 40):
        w, h = start, t / n
        for _ in range(n):
            w = w - h * by_hand(w, h)[()]
        gaps.append(np.linalg.norm(w - flow(modified_equation.statement(), start, h, t)))
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(4, abs=0.15)


def test_the_modified_equation_of_the_heavy_ball_against_it():
    lam = symbols("lambda")
    statement = modified_equation.statement(momentum=lam)
    momentum, start, t = Rational(1, 2), np.array([0.8, 0.3]), 0.5
    gaps = []
    for n in (400, 800):
        w, v, h = start, np.zeros(2), t / n
        for _ in range(n):
            v = v / 2 - h * by_hand(w, h)[()]
            w = w + v
        # Started on the slow manifold, h lambda/(1 - lambda)^2 ahead.
        ahead = start + 2 * h * by_hand(start, h)[()]
        gaps.append(np.linalg.norm(w - flow(statement, ahead, h, t, {lam: momentum})))
    assert np.log2(gaps[0] / gaps[1]) == pytest.approx(2, abs=0.1)


def test_every_elementary_differential_of_the_statement_is_a_column():
    for word, _ in MatrixPolynomial.of(modified_equation.statement()).terms:
        assert isinstance(word[0].node, ElementaryDifferential)
        assert word[0].node.shape == W.shape
