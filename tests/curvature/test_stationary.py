"""Minima, flat valleys and saddle plateaus told apart: ten cases each, and what is none of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.curvature import classify_stationary
from flowsim.lowering import as_field

ORTHOGONAL = np.linalg.qr(np.random.default_rng(5).normal(size=(6, 6)))[0]


def rng():
    return np.random.default_rng(0)


class Quartic(eqx.Module):
    """The flow of h.x²/2 + c.x³/3 + q.x⁴/4 in the coordinates x = R y: one program a size."""

    h: np.ndarray
    c: np.ndarray
    q: np.ndarray
    R: np.ndarray

    def __init__(self, h, c=0.0, q=0.0, R=None):
        self.h = np.asarray(h, float)
        n = self.h.size
        self.c, self.q = np.broadcast_to(c, n) * 1.0, np.broadcast_to(q, n) * 1.0
        self.R = np.eye(1) if R is None and n > 10 else np.eye(n) if R is None else R

    def __call__(self, t, y, args):
        turned = self.R.shape[0] == y.shape[0]
        x = self.R @ y if turned else y
        g = x * (self.h + x * (self.c + x * self.q))
        return -(self.R.T @ g if turned else g)


class Network(eqx.Module):
    """The flow of half the squared error of a tanh network of one hidden layer; y = (U, V)."""

    X: np.ndarray
    Y: np.ndarray

    def __call__(self, t, y, args):
        def loss(y):
            U, V = y
            return 0.5 * jnp.sum((jnp.tanh(self.X @ U) @ V - self.Y) ** 2)

        return jax.tree.map(jnp.negative, jax.grad(loss)(y))


def tanh_network(inputs, hidden, examples, noise=0.0):
    """A network and parameters at which it interpolates its data, or nearly."""
    g = rng()
    X = g.normal(size=(examples, inputs))
    U, V = g.normal(size=(inputs, hidden)), g.normal(size=(hidden, 1))
    Y = np.tanh(X @ U) @ V
    return Network(X, Y), tuple(W + noise * g.normal(size=W.shape) for W in (U, V))


def deep_linear(N, d=4, values=(1.6, 1.1, 0.7, 0.4)):
    """Half the squared distance of a depth-N product from a target of given singular values."""
    g = rng()
    P, Q = (np.linalg.qr(g.normal(size=(d, d)))[0] for _ in range(2))
    s = np.resize(values, d)
    net = fs.DeepLinear((d,) * (N + 1))
    target = P * s @ Q.T
    problem = fs.Problem(fs.LpLoss(np.eye(d), target.T, p=2, scale=d / 2), net)
    return problem, net, [(P[:, :r] * s[:r]) @ Q[:, :r].T for r in range(d + 1)]


def perturbed(theta, size):
    g = rng()
    return tuple(W + size * g.normal(size=W.shape) for W in theta)


def zeros(net):
    return tuple(np.zeros(shape) for shape in net.shapes)


def classify(problem, theta, gradient=None):
    return classify_stationary(problem, theta, gradient=gradient)


def rosenbrock(w):
    return 100 * (w[1] - w[0] ** 2) ** 2 + (1 - w[0]) ** 2


def factorisation(w):
    """The rank-one factorisation of 1: a hyperbola of minima, a saddle at the origin."""
    return 0.5 * (w[0] * w[1] - 1) ** 2


def peano(w):
    """A saddle at the origin along every line through which the loss rises."""
    return (w[1] - w[0] ** 2) * (w[1] - 2 * w[0] ** 2)


def of(f, n=2):
    return fs.Problem.from_function(f, np.zeros(n))


MINIMA = {
    "condition number 10": lambda: (Quartic(np.logspace(0, 1, 6), R=ORTHOGONAL), np.full(6, 1e-9)),
    "condition number 1e4": lambda: (Quartic(np.logspace(0, 4, 6), R=ORTHOGONAL), np.full(6, 1e-9)),
    "condition number 1e8": lambda: (Quartic(np.logspace(0, 8, 6), R=ORTHOGONAL), np.full(6, 1e-9)),
    "condition number 1e9": lambda: (Quartic(np.logspace(-9, 0, 6)), np.ones(6) * 1e-3),
    "rosenbrock": lambda: (of(rosenbrock), np.ones(2) + 1e-9),
    "rosenbrock, on the valley floor": lambda: (of(rosenbrock), np.array([1.001, 1.001**2])),
    "weight decay": lambda: (
        fs.Problem(deep_linear(2)[0].loss, fs.DeepLinear((4, 4, 4)), weight_decay=3.0),
        perturbed(zeros(deep_linear(2)[1]), 1e-8),
    ),
    "least squares, more data than parameters": lambda: (
        fs.Problem(fs.LpLoss(rng().normal(size=(9, 4)), np.zeros(9), p=2), fs.Identity(4)),
        np.full(4, 1e-8),
    ),
    "tanh network, more data than parameters": lambda: tanh_network(2, 2, 30, 1e-9),
    "600 parameters": lambda: (Quartic(np.logspace(-6, 0, 600)), np.full(600, 1e-9)),
    "1600 parameters, by Lanczos": lambda: (Quartic(np.logspace(-1, 0, 1600)), np.full(1600, 1e-9)),
}

# A minimum, though the Hessian is singular there: the fourth order decides.
DEGENERATE = {
    "a quartic, at rest": lambda: (Quartic([0, 0, 0], q=1.0), np.zeros(3)),
    "a quartic, on the way": lambda: (Quartic([0, 0, 0], q=1.0), np.array([1e-3, -2e-3, 1e-4])),
    "a quartic beside a square": lambda: (Quartic([0, 2, 2], q=4.0), np.array([1e-3, 1e-8, 0])),
}

SADDLES = {
    "a quadratic": lambda: (Quartic([1, 1, 1, 1, 1, -1e-6], R=ORTHOGONAL), np.zeros(6)),
    "a weak one": lambda: (Quartic([1e4, 1, 1, 1, 1, -1e-4], R=ORTHOGONAL), np.full(6, 1e-7)),
    "the origin, depth 2": lambda: (deep_linear(2)[0], zeros(deep_linear(2)[1])),
    "the origin, depth 3": lambda: (deep_linear(3)[0], zeros(deep_linear(3)[1])),
    "near the origin, depth 3": lambda: (
        deep_linear(3)[0],
        perturbed(zeros(deep_linear(3)[1]), 0.01),
    ),
    "deficient rank, depth 2": lambda: (
        deep_linear(2)[0],
        deep_linear(2)[1].balanced(deep_linear(2)[2][2]),
    ),
    "deficient rank, depth 3": lambda: (
        deep_linear(3)[0],
        deep_linear(3)[1].balanced(deep_linear(3)[2][1]),
    ),
    "near deficient rank, depth 3": lambda: (
        deep_linear(3)[0],
        perturbed(deep_linear(3)[1].balanced(deep_linear(3)[2][1]), 0.01),
    ),
    "factorisation at the origin": lambda: (of(factorisation), np.zeros(2)),
    "monkey saddle": lambda: (of(lambda w: w[0] ** 3 - 3 * w[0] * w[1] ** 2), np.zeros(2)),
    "an inflection, from above": lambda: (Quartic([0, 0, 0], c=1.0), np.array([1e-4, 1e-5, 0])),
    "descent along a curve only": lambda: (of(peano), np.zeros(2)),
    "the origin, 1200 parameters, depth 3": lambda: (
        deep_linear(3, 20)[0],
        zeros(deep_linear(3, 20)[1]),
    ),
    "1600 parameters, by Lanczos": lambda: (
        Quartic(np.r_[np.logspace(-3, 0, 1599), -1e-3]),
        np.full(1600, 1e-8),
    ),
}

VALLEYS = {
    "a quadratic": lambda: (Quartic([1, 1, 1, 0, 0, 0], R=ORTHOGONAL), ORTHOGONAL[5]),
    "a constant": lambda: (Quartic([0, 0, 0]), np.ones(3)),
    "a circle": lambda: (
        of(lambda w: (w @ w - 1) ** 2, 3),
        np.array([0.6, 0.8, 0.0]),
    ),
    "near a circle": lambda: (
        of(lambda w: (w @ w - 1) ** 2, 3),
        np.array([0.6, 0.8, 0.0]) * (1 + 1e-5),
    ),
    "factorisation": lambda: (of(factorisation), np.array([0.5, 2.0])),
    "the global minimum, depth 2": lambda: (
        deep_linear(2)[0],
        deep_linear(2)[1].balanced(deep_linear(2)[2][4]),
    ),
    "the global minimum, depth 3": lambda: (
        deep_linear(3)[0],
        deep_linear(3)[1].balanced(deep_linear(3)[2][4]),
    ),
    # Residuals make eigenvalues negative here, which is no saddle.
    "near the global minimum, depth 3": lambda: (
        deep_linear(3)[0],
        perturbed(deep_linear(3)[1].balanced(deep_linear(3)[2][4]), 1e-3),
    ),
    "least squares, more parameters than data": lambda: (
        fs.Problem(fs.LpLoss(rng().normal(size=(3, 6)), np.ones(3), p=2), fs.Identity(6)),
        np.linalg.lstsq(rng().normal(size=(3, 6)), np.ones(3))[0] + 1e-12,
    ),
    "tanh network, more parameters than data": lambda: tanh_network(4, 8, 5),
    "near interpolation": lambda: tanh_network(4, 8, 5, 1e-4),
    "tanh network of 600 parameters": lambda: tanh_network(29, 20, 12),
    "the global minimum, 820 parameters": lambda: at_820(),
    "1600 parameters, by Lanczos": lambda: (
        Quartic(np.r_[np.logspace(-2, 0, 1200), np.zeros(400)]),
        np.r_[np.zeros(1200), np.ones(400)],
    ),
}


def at_820():
    net = fs.DeepLinear((30, 20, 11))
    g = rng()
    theta = tuple(g.normal(size=shape) / 5 for shape in net.shapes)
    X = g.normal(size=(40, 30))
    return fs.Problem(fs.LpLoss(X, X @ net(theta).T, p=2), net), theta


@pytest.mark.parametrize("case", MINIMA)
def test_a_strict_minimum(case):
    found = classify(*MINIMA[case]())
    assert found.kind == "minimum", found.sentence
    assert found.lambda_min > 0
    assert "strict" in found.sentence
    assert found.escape_rate is None
    assert found.negative in (0, None)


@pytest.mark.parametrize("case", DEGENERATE)
def test_a_minimum_of_fourth_order_is_not_called_proven(case):
    found = classify(*DEGENERATE[case]())
    assert found.kind == "minimum", found.sentence
    assert "evidence for a minimum, not proof" in found.sentence


@pytest.mark.parametrize("case", SADDLES)
def test_a_saddle_plateau(case):
    found = classify(*SADDLES[case]())
    assert found.kind == "saddle plateau", found.sentence
    assert found.escape_rate == pytest.approx(max(0.0, -found.lambda_min), abs=1e-12)


@pytest.mark.parametrize("case", VALLEYS)
def test_a_flat_valley(case):
    found = classify(*VALLEYS[case]())
    assert found.kind == "flat valley", found.sentence
    assert found.escape_rate is None


def test_zero_and_negative_eigenvalues_are_counted():
    problem, net, targets = deep_linear(2)
    found = classify(problem, net.balanced(targets[2]))
    H = hessian_of_factorisation(net.balanced(targets[2]), targets[4])
    values = np.linalg.eigvalsh(H)
    scale = np.abs(values).max()
    assert found.negative == np.sum(values < -1e-9 * scale)
    assert found.zero == np.sum(np.abs(values) < 1e-9 * scale)
    assert found.lambda_min == pytest.approx(values[0], rel=1e-9)
    assert found.lambda_max == pytest.approx(values[-1], rel=1e-9)


def hessian_of_factorisation(factors, target):
    """Of |W2 W1 - T|²/2, by second differences of the loss, which is a polynomial of degree 4."""
    theta = np.concatenate([W.ravel() for W in factors])
    n = theta.size // 2

    def gradient(v):
        W1, W2 = v[:n].reshape(factors[0].shape), v[n:].reshape(factors[1].shape)
        R = W2 @ W1 - target
        return np.concatenate([(W2.T @ R).ravel(), (R @ W1.T).ravel()])

    h = 1e-3  # exact but for rounding: central differences of a cubic, extrapolated once
    columns = []
    for e in np.eye(theta.size):
        one, two = (
            (gradient(theta + s * h * e) - gradient(theta - s * h * e)) / (2 * s * h)
            for s in (1, 2)
        )
        columns.append((4 * one - two) / 3)
    return np.array(columns)


def test_a_large_gradient_is_not_stationary():
    found = classify_stationary(of(rosenbrock), np.array([0.5, 0.25]))
    assert found.kind == "not stationary"
    assert found.gradient == pytest.approx(1.0)


def test_a_tail_that_falls_for_ever_is_not_stationary():
    """Separable data: the gradient goes to zero, and there is no minimum."""

    def logistic(w):
        return jnp.log1p(jnp.exp(-w[0])) + jnp.log1p(jnp.exp(-2 * w[0] - w[1]))

    found = classify(of(logistic), np.array([14.0, 3.0]))
    assert found.kind == "not stationary"
    assert "does not attain" in found.sentence


def test_rates_give_the_rate_at_which_the_flow_itself_leaves():
    loss = fs.LpLoss(np.eye(1), np.ones(1), p=2, scale=1.0)
    net = fs.DeepLinear((1, 1, 1))
    slow = classify(fs.Problem(loss, net), zeros(net)).escape_rate
    fast = classify(fs.Problem(loss, net, rates={net.names[0]: 9.0}), zeros(net)).escape_rate
    assert fast == pytest.approx(3 * slow, rel=1e-12)  # sqrt(9 * 1)


@pytest.mark.parametrize(
    ("h", "kind"),
    [([1, 2, 3], "minimum"), ([1, 2, -1e-4], "saddle plateau"), ([1, 2, 0], "flat valley")],
)
def test_a_field_on_numpy(h, kind):
    problem = fs.Problem(fs.LpLoss(np.eye(3), np.zeros(3), p=2), fs.Identity(3))
    field = as_field(lambda t, y, args: -np.asarray(h) * y, backend="numpy")
    found = classify(field, np.array([0.0, 0.0, 1e-3 if h[2] == 0 else 1e-9]))
    assert found.kind == kind, found.sentence
    assert classify(as_field(problem, backend="numpy"), np.full(3, 1e-9)).kind == "minimum"


def test_a_law_has_no_hessian():
    net = fs.DeepLinear((2, 2, 2))
    field = fs.derive(net).lower(fs.LpLoss(np.eye(2), np.eye(2), p=2), strategy="spectral")
    with pytest.raises(fs.InputError, match="whose Jacobian is none"):
        classify_stationary(field, np.eye(2))
