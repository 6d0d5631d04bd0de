"""The end-to-end law is the pushforward of the factor flow: pointwise, along runs, at any width."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.lowering import lower_problem
from tests.laws.handwritten import (
    balanced_law,
    gradient_of,
    loss_of,
    product,
    rank_r,
    relative,
    velocity_of_product,
)

P = 4.0
DEPTHS = (2, 3, 4, 8)
# name: outputs k, inputs d, rank, hidden width
SHAPES = {
    "square k3 d3, full rank": (3, 3, 3, 3),
    "square k3 d3, hidden 5": (3, 3, 3, 5),
    "square k3 d3, bottleneck 2": (3, 3, 2, 2),
    "square k3 d3, rank 2, hidden 3": (3, 3, 2, 3),
    "wide k2 d4": (2, 4, 2, 2),
    "wide k2 d4, hidden 3": (2, 4, 2, 3),
    "tall k4 d2": (4, 2, 2, 2),
    "tall k4 d2, bottleneck 1": (4, 2, 1, 1),
    "single k1 d4": (1, 4, 1, 1),
    "single k1 d4, hidden 3": (1, 4, 1, 3),
}


class Case:
    """A problem, its law and a start."""

    def __init__(self, N, shape):
        self.k, self.d, self.rank, hidden = SHAPES[shape]
        rng = np.random.default_rng(17)
        self.N, self.X = N, rng.normal(size=(6, self.d))
        self.Y = rng.normal(size=(6, self.k))
        self.net = fs.DeepLinear((self.d, *[hidden] * (N - 1), self.k))
        self.loss = fs.LpLoss(self.X, self.Y[:, 0] if self.k == 1 else self.Y, p=P)
        self.prob = fs.Problem(self.loss, self.net)
        self.law = fs.derive(self.net)
        self.W0 = rank_r(self.k, self.d, self.rank, 23)
        self.start = self.W0[0] if self.k == 1 else self.W0

    def velocity(self, field, y):
        """The velocity of the end-to-end matrix, (k, d), whatever the field's state is."""
        with fs.float64():
            on = jnp.asarray if field.backend == "jax" else np.asarray
            y = jax.tree.map(on, y)
            moved = jax.tree.map(np.asarray, field(0.0, y))
        if isinstance(y, tuple):
            return velocity_of_product([np.asarray(W) for W in y], moved)
        return moved.reshape(self.k, self.d)


@pytest.fixture(scope="module", params=SHAPES)
def shape(request):
    return request.param


@pytest.fixture(scope="module", params=DEPTHS)
def case(request, shape):
    return Case(request.param, shape)


@pytest.mark.parametrize("backend", ["jax", "numpy"])
@pytest.mark.parametrize("strategy", ["factors", "spectral"])
def test_the_law_moves_as_the_product_of_the_factors_does(backend, strategy, case):
    factors = case.net.balanced(case.W0)
    of_factors = case.velocity(lower_problem(case.prob, backend=backend), factors)
    field = case.law.lower(case.loss, backend=backend, strategy=strategy)
    assert field.strategy == strategy
    of_law = case.velocity(field, field.start(case.start))
    assert relative(of_law, of_factors) <= 1e-12
    by_hand = balanced_law(case.W0, gradient_of(case.X, case.Y, case.W0, P), case.N)
    assert relative(of_law, by_hand) <= 1e-12


# --- derivatives without JAX ----------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["jax", "numpy"])
@pytest.mark.parametrize("N", [1, 2, 3])
@pytest.mark.parametrize("p", [1.5, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("decay", [0.0, 0.3])
def test_the_factor_field_is_minus_the_differences_of_a_loss_by_hand(p, N, backend, decay):
    rng = np.random.default_rng(4)
    X, Y = rng.normal(size=(6, 3)), rng.normal(size=(6, 2))
    net = fs.DeepLinear((3, *[2] * (N - 1), 2))
    prob = fs.Problem(fs.LpLoss(X, Y, p=p), net, weight_decay=decay)
    factors = tuple(rng.normal(size=shape) for shape in net.shapes)  # not balanced
    X, Y = X.astype(np.longdouble), Y.astype(np.longdouble)
    assert np.abs(X @ product(factors).T - Y).min() > 0.02  # no kink within the stencil
    with fs.float64():
        field = lower_problem(prob, backend=backend)
        velocities = jax.tree.map(np.asarray, field(0.0, factors))
    h = np.longdouble(1e-4)
    for j, W in enumerate(factors):
        for i in np.ndindex(W.shape):
            values = []
            for step in (-2, -1, 1, 2):
                moved = [F.astype(np.longdouble) for F in factors]
                moved[j][i] += step * h
                penalty = sum(np.sum(F**2) for F in moved) * np.longdouble(decay) / 2
                values.append(loss_of(X, Y, product(moved), np.longdouble(p)) + penalty)
            slope = (values[0] - 8 * values[1] + 8 * values[2] - values[3]) / (12 * h)
            assert abs(velocities[j][i] + slope) <= 1e-10 * (1 + abs(slope))


# --- along runs -----------------------------------------------------------------------------------


LIPSCHITZ = ("square k3 d3, full rank", "wide k2 d4, hidden 3", "tall k4 d2", "single k1 d4")
DEFICIENT = ("square k3 d3, rank 2, hidden 3", "tall k4 d2, bottleneck 1")
TIGHT = {"t1": 2.0, "ts": [0.7, 2.0], "rtol": 1e-12}


@pytest.mark.parametrize("N", DEPTHS)
@pytest.mark.parametrize("shape", LIPSCHITZ)
def test_strategies_agree_along_runs_in_numpy(N, shape):
    case = Case(N, shape)
    runs = [
        fs.integrate(
            case.law.lower(case.loss, backend="numpy", strategy=strategy),
            case.start,
            solver="DOP853",
            **TIGHT,
        ).end_to_end
        for strategy in ("factors", "spectral")
    ]
    assert runs[0].shape == (2, *case.start.shape)
    assert relative(runs[0], runs[1]) <= 1e-9


@pytest.mark.parametrize("N", DEPTHS)
@pytest.mark.parametrize("shape", DEFICIENT)
def test_auto_agrees_with_the_factor_flow_from_deficient_starts_in_numpy(N, shape):
    case = Case(N, shape)
    auto = case.law.lower(case.loss, backend="numpy")
    assert auto.strategy == "factors"
    flow = fs.integrate(auto, case.start, solver="DOP853", **TIGHT)
    factors = fs.integrate(
        lower_problem(case.prob, backend="numpy"),
        case.net.balanced(case.W0),
        solver="DOP853",
        **TIGHT,
    )
    assert relative(flow.end_to_end, factors.end_to_end) <= 1e-8
    for W in flow.end_to_end:  # rank is kept
        assert np.linalg.svd(W)[1][case.rank :].max() <= 1e-12


@pytest.mark.slow
@pytest.mark.parametrize(("N", "shape"), [(2, "single k1 d4"), (3, "wide k2 d4, hidden 3")])
def test_strategies_agree_along_runs_on_diffrax(N, shape):
    case = Case(N, shape)
    factors, spectral, numpy = (
        fs.integrate(
            case.law.lower(case.loss, backend=backend, strategy=strategy), case.start, **options
        ).end_to_end
        for backend, strategy, options in (
            ("jax", "factors", {**TIGHT, "solver": "dopri8"}),
            ("jax", "spectral", {**TIGHT, "solver": "dopri8"}),
            ("numpy", "factors", {**TIGHT, "solver": "DOP853"}),
        )
    )
    assert relative(factors, spectral) <= 1e-9
    assert relative(factors, numpy) <= 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("N", [2, 8])
def test_auto_agrees_with_the_factor_flow_from_deficient_starts_on_diffrax(N):
    case = Case(N, "square k3 d3, rank 2, hidden 3")
    flow = fs.integrate(case.law.lower(case.loss), case.start, **TIGHT)
    factors = fs.integrate(case.prob, case.net.balanced(case.W0), **TIGHT)
    assert relative(flow.end_to_end, factors.end_to_end) <= 1e-8


@pytest.mark.parametrize("N", [2, 3])
def test_balanced_flows_of_every_width_are_one(N):
    rng = np.random.default_rng(2)
    X, Y = rng.normal(size=(6, 4)), rng.normal(size=(6, 3))
    loss, W0 = fs.LpLoss(X, Y, p=P), rank_r(3, 4, 2, 9)
    hidden = {2: [(2,), (3,), (7,)], 3: [(2, 2), (2, 5), (4, 3)]}[N]
    runs = []
    for widths in hidden:
        net = fs.DeepLinear((4, *widths, 3))
        field = lower_problem(fs.Problem(loss, net), backend="numpy")
        runs.append(fs.integrate(field, net.balanced(W0), solver="DOP853", **TIGHT).end_to_end)
    for other in runs[1:]:
        assert relative(other, runs[0]) <= 1e-10


def test_balance_is_kept_along_the_factor_flow():
    case = Case(3, "wide k2 d4, hidden 3")
    field = lower_problem(case.prob, backend="numpy")
    flow = fs.integrate(field, case.net.balanced(case.W0), 30.0, solver="RK45", rtol=1e-9)
    W1, W2, W3 = flow.states
    for below, above in ((W1, W2), (W2, W3)):
        drift = np.swapaxes(above, 1, 2) @ above - below @ np.swapaxes(below, 1, 2)
        assert np.abs(drift).max() <= 1e-8


def test_weight_decay_shrinks_imbalance_at_its_rate():
    rng = np.random.default_rng(6)
    net = fs.DeepLinear((3, 2, 2))
    loss = fs.LpLoss(rng.normal(size=(6, 3)), rng.normal(size=(6, 2)), p=2.0)
    decay = 0.2
    field = lower_problem(fs.Problem(loss, net, weight_decay=decay), backend="numpy")
    theta = tuple(rng.normal(size=shape) for shape in net.shapes)
    flow = fs.integrate(field, theta, 3.0, ts=[0.0, 3.0], solver="DOP853", rtol=1e-11)
    W1, W2 = flow.states
    imbalance = np.swapaxes(W2, 1, 2) @ W2 - W1 @ np.swapaxes(W1, 1, 2)
    assert relative(imbalance[1], np.exp(-2 * decay * 3.0) * imbalance[0]) <= 1e-9
