"""Reference values of the laws of motion, met through integrate on both backends.

The numbers come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision (items o01 and o02 of the notes on laws of motion), to thirteen digits.
"""

import functools

import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim.lowering import lower_problem

ENGINES = {
    "diffrax": {"solver": "dopri8", "rtol": 1e-13},
    "scipy": {"solver": "DOP853", "rtol": 1e-13},
}
DIGITS = 1e-11


def assert_digits(found, expected):
    assert np.abs(np.asarray(found) - expected).max() <= DIGITS


# --- item 1: lp regression, w = w1 w2 -------------------------------------------------------------

X = np.array(
    [[0.9, -0.4, 0.3], [-0.2, 0.8, 0.5], [0.6, 0.7, -0.9], [-1.1, 0.2, 0.4], [0.3, -0.6, 1.0]]
)
y = np.array([0.5, 1.2, -0.7, -0.3, 0.8])


@functools.cache
def regression(p, backend):
    prob = fs.Problem(fs.LpLoss(X, y, p=p), fs.DeepLinear((3, 1, 1)))
    return lower_problem(prob, backend={"diffrax": "jax", "scipy": "numpy"}[backend])


@functools.cache
def regression_run(p, backend, signs="same", t=3.0):
    w1, w2 = {"same": ([0.1, -0.05, 0.2], 0.3), "change": ([0.2, -0.1, 0.4], -0.05)}[signs]
    start = (np.array([w1]), np.array([[w2]]))
    ts = sorted({1.25, t} if t > 1.25 else {t})
    return fs.integrate(regression(p, backend), start, t, ts=ts, **ENGINES[backend])


@pytest.mark.parametrize("backend", ENGINES)
class TestRegression:
    def test_p4_at_t3(self, backend):
        run = regression_run(4.0, backend)
        assert_digits(run.end_to_end[-1], [0.02748387495878, 0.07102372230212, 0.2621677350543])
        assert_digits(run.states[1][-1, 0, 0], 0.5407383644857)

    def test_p2_at_t3(self, backend):
        run = regression_run(2.0, backend)
        assert_digits(run.end_to_end[-1], [0.1250168953975, -0.03005989540482, 0.4418516132215])

    @pytest.mark.parametrize(("p", "expected"), [(4.0, 0.03658527708068), (2.0, 0.06320701481363)])
    def test_memory_coefficient(self, p, expected, backend):
        """mu(3, 1.25) = w2'(3) w2(1.25), with w2' from the gradient by hand."""
        run = regression_run(p, backend)
        w1, w2 = run.states[0][-1, 0], run.states[1][:, 0, 0]
        r = X @ (w1 * w2[-1]) - y
        gradient = (np.sign(r) * np.abs(r) ** (p - 1)) @ X / len(X)
        assert_digits(-(w1 @ gradient) * w2[0], expected)

    def test_start_whose_sign_changes(self, backend):
        run = regression_run(2.0, backend, "change")
        assert_digits(run.end_to_end[-1], [0.1145673845191, -0.05041983334382, 0.3045648479642])
        crossing = regression_run(2.0, backend, "change", 0.268471694141)
        assert abs(crossing.states[1][-1, 0, 0]) <= 1e-12


# --- item 2: end-to-end dynamics ------------------------------------------------------------------

PHI = np.array([[1, -0.5, 0.3, 0.2], [0.4, 0.9, -0.6, -0.1], [-0.2, 0.3, 0.7, 0.8]])
SIGMA = np.array([[1.2, 0.3, 0, -0.1], [0.3, 0.9, 0.2, 0.1], [0, 0.2, 1.1, -0.2],
                  [-0.1, 0.1, -0.2, 0.8]])  # fmt: skip
W0 = np.array(
    [
        [0.2741496598639, -0.1687074829932, 0.0734693877551, -0.1278911564626],
        [0.6993197278912, 0.1278911564626, 0.6244897959184, -0.8108843537415],
        [0.1034013605442, 0.4034013605442, 0.5632653061224, 0.2258503401361],
    ]
)
N3_QUADRATIC = [
    [0.8699045755278, -0.2115125348128, 0.09365825289404, 0.07726785424855],
    [0.5084301466758, 0.494351346387, -0.1807998974077, -0.2305520673144],
    [-0.2357005615167, 0.3427539847671, 0.6987830184511, 0.7017197457706],
]
N3_SINGULAR = [1.170531716646, 0.9089269481594, 0.6019897834678]
N3_DECAY = [
    [0.6750673757339, -0.0585352041636, 0.008470716025416, -0.04317495814339],
    [0.4723870115505, 0.2703900571101, -0.04785402097633, -0.1853427707456],
    [-0.239041971457, 0.3267192732806, 0.5564387369352, 0.5434760782691],
]


def quadratic(W):
    return jnp.trace((W - PHI) @ SIGMA @ (W - PHI).T) / 2


def quartic(W):
    return jnp.sum((W - PHI) ** 4) / 4


def end_to_end(N, loss, backend, strategy, t=1.5, decay=0.0):
    law = fs.derive(fs.DeepLinear((4, *[3] * (N - 1), 3)), weight_decay=decay)
    lowered = {"diffrax": "jax", "scipy": "numpy"}[backend]
    field = law.lower(loss, backend=lowered, strategy=strategy)
    return fs.integrate(field, W0, t, ts=[t], **ENGINES[backend]).end_to_end[-1]


@pytest.mark.parametrize("strategy", ["factors", "spectral"])
@pytest.mark.parametrize("backend", ["scipy", pytest.param("diffrax", marks=pytest.mark.slow)])
class TestEndToEnd:
    def test_depth_3_quadratic(self, backend, strategy):
        W = end_to_end(3, quadratic, backend, strategy)
        assert_digits(W, N3_QUADRATIC)
        assert_digits(np.linalg.svd(W)[1], N3_SINGULAR)

    def test_depth_2_quadratic(self, backend, strategy):
        W = end_to_end(2, quadratic, backend, strategy)
        assert_digits(np.linalg.svd(W)[1], [1.150139021728, 0.8668540770866, 0.6353786276055])

    def test_depth_4_quartic(self, backend, strategy):
        W = end_to_end(4, quartic, backend, strategy)
        assert_digits(np.linalg.svd(W)[1], [0.9990537459017, 0.7389728323488, 0.4179446142296])

    def test_depth_3_with_decay_at_rate_08(self, backend, strategy):
        """Flow with step size eta to t is flow with step size 1 to eta t."""
        W = end_to_end(3, quadratic, backend, strategy, t=0.8 * 1.5, decay=0.15)
        assert_digits(W, N3_DECAY)


@pytest.mark.parametrize("strategy", ["factors", "spectral"])
def test_single_output_at_a_point(strategy):
    w, g = np.array([0.6, -0.3, 0.5, 0.2]), np.array([0.9, 0.4, -0.7, 0.3])
    law = fs.derive(fs.DeepLinear((4, 1, 1, 1)))
    field = law.lower(lambda v: v @ jnp.asarray(g), backend="numpy", strategy=strategy)
    velocity = field(0.0, field.start(w))
    if strategy == "factors":
        W1, W2, W3 = field.start(w)
        V1, V2, V3 = velocity
        velocity = (V3 @ W2 @ W1 + W3 @ V2 @ W1 + W3 @ W2 @ V1)[0]
    expected = [0.908785196996, 0.2410160254807, -0.4289643022317, 0.3029283989987]
    assert_digits(-velocity, expected)


def test_eigenvalues_of_the_preconditioner():
    W = np.zeros((3, 4))
    W[:3, :3] = np.diag([1.3, 0.7, 0.0])
    law = fs.derive(fs.DeepLinear((4, 3, 3, 3)))
    columns = []
    for i in np.ndindex(3, 4):
        G = np.zeros((3, 4))
        G[i] = 1.0
        field = law.lower(
            lambda V, G=G: jnp.sum(jnp.asarray(G) * V), backend="numpy", strategy="spectral"
        )
        columns.append(-field(0.0, W).ravel())
    expected = [0.0] * 2 + [0.6215328012198] * 3 + [1.418810747979] * 3
    expected += [1.864598403659, 2.979405537884, 2.979405537884, 4.256432243938]
    assert_digits(np.linalg.eigvalsh(np.array(columns)), expected)
