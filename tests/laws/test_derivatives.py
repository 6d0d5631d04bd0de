"""The fields as functions of JAX: derivatives of the spectral form, and diffrax by hand."""

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from tests.laws.handwritten import balanced_law, gradient_of, rank_r, relative

P = 4.0
RNG = np.random.default_rng(31)
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=(6, 3))
STARTS = {
    "multiple of the identity": 0.1 * np.eye(3),
    "distinct": rank_r(3, 3, 3, 1),
    "nearly repeated": np.diag([1.0, 1.0 + 1e-9, 0.4]),
    "repeated": np.diag([1.0, 1.0, 0.3]),
    "rank 2": rank_r(3, 3, 2, 1),
    "rank 1": rank_r(3, 3, 1, 1),
    "repeated and zero": np.diag([0.5, 0.5, 0.0]),
    "zero": np.zeros((3, 3)),
    "tiny": 1e-100 * rank_r(3, 3, 3, 1),
}
SMOOTH = ("multiple of the identity", "distinct", "nearly repeated", "repeated")


@pytest.fixture(scope="module", params=[2, 3])
def spectral_k3_d3(request):
    N = request.param
    net = fs.DeepLinear((3, *[3] * (N - 1), 3))
    field = fs.derive(net).lower(fs.LpLoss(X, Y, p=P), strategy="spectral")
    with fs.float64():
        return N, field, jax.jit(jax.jacfwd(lambda W: field(0.0, W)))


@pytest.mark.parametrize("name", STARTS)
def test_the_jacobian_is_finite(name, spectral_k3_d3):
    _, _, jacobian = spectral_k3_d3
    with fs.float64():
        assert np.isfinite(np.asarray(jacobian(STARTS[name]))).all()


@pytest.mark.parametrize("name", SMOOTH)
def test_the_jacobian_is_that_of_the_law_by_hand_where_it_is_smooth(name, spectral_k3_d3):
    N, _, jacobian = spectral_k3_d3
    W = STARTS[name]
    with fs.float64():
        found = np.asarray(jacobian(W))
    expected = np.empty_like(found)
    h = 3e-3 * np.linalg.svd(W)[1].min()
    for i in np.ndindex(3, 3):
        values = []
        for step in (-3, -2, -1, 1, 2, 3):
            moved = W.copy()
            moved[i] += step * h
            values.append(balanced_law(moved, gradient_of(X, Y, moved, P), N))
        a, b, c, d, e, f = values
        expected[(..., *i)] = (-a + 9 * b - 45 * c + 45 * d - 9 * e + f) / (60 * h)
    assert relative(found, expected) <= 1e-9


@pytest.mark.parametrize(("k", "d"), [(2, 4), (4, 2), (1, 3)])
def test_the_jacobian_of_rectangular_laws_is_that_of_the_law_by_hand(k, d):
    N, rng = 3, np.random.default_rng(8)
    X, Y, W = rng.normal(size=(6, d)), rng.normal(size=(6, k)), rank_r(k, d, min(k, d), 5)
    loss = fs.LpLoss(X, Y[:, 0] if k == 1 else Y, p=P)
    field = fs.derive(fs.DeepLinear((d, 2, 2, k))).lower(loss, strategy="spectral")
    start = W[0] if k == 1 else W
    with fs.float64():
        found = np.asarray(jax.jacfwd(lambda y: field(0.0, y))(jnp.asarray(start)))
    found = found.reshape(k, d, k, d)
    h = 3e-3
    for i in np.ndindex(k, d):
        values = []
        for step in (-3, -2, -1, 1, 2, 3):
            moved = W.copy()
            moved[i] += step * h
            values.append(balanced_law(moved, gradient_of(X, Y, moved, P), N))
        a, b, c, d_, e, f = values
        expected = (-a + 9 * b - 45 * c + 45 * d_ - 9 * e + f) / (60 * h)
        assert np.abs(found[(..., *i)] - expected).max() <= 1e-8 * np.abs(found).max()


def test_reverse_mode_is_the_transpose_of_forward_mode(spectral_k3_d3):
    _, field, jacobian = spectral_k3_d3
    W, v = STARTS["repeated"], RNG.normal(size=(3, 3))
    with fs.float64():
        gradient = jax.grad(lambda y: jnp.sum(v * field(0.0, y)))(jnp.asarray(W))
        assert relative(gradient, np.einsum("ij,ijkl", v, np.asarray(jacobian(W)))) <= 1e-12


def test_jit_and_vmap_give_what_a_plain_call_gives(spectral_k3_d3):
    _, field, _ = spectral_k3_d3
    stack = np.stack([STARTS[name] for name in ("distinct", "repeated", "rank 2", "zero")])
    with fs.float64():
        plain = np.stack([np.asarray(field(0.0, jnp.asarray(W))) for W in stack])
        mapped = jax.jit(jax.vmap(lambda W: field(0.0, W)))(stack)
        assert relative(mapped, plain) <= 1e-13


@pytest.mark.slow
def test_an_implicit_solver_succeeds_from_a_multiple_of_the_identity():
    """Through the plain derivative of a decomposition it would burn its steps without moving."""
    net = fs.DeepLinear((3, 3, 3, 3))
    law, loss = fs.derive(net), fs.LpLoss(X, Y, p=P)
    start = STARTS["multiple of the identity"]
    flow = fs.integrate(
        law.lower(loss, strategy="spectral"), start, 5.0, ts=[5.0], solver="kvaerno5", rtol=1e-7
    )
    assert flow.stats["steps"] + flow.stats["rejected"] < 1000
    factors = law.lower(loss, backend="numpy")
    reference = fs.integrate(factors, start, 5.0, ts=[5.0], solver="DOP853", rtol=1e-11)
    assert relative(flow.end_to_end, reference.end_to_end) <= 1e-5


@pytest.mark.parametrize("strategy", ["factors", "spectral"])
def test_a_field_drops_into_diffrax_by_hand(strategy):
    net = fs.DeepLinear((3, 3, 3))
    loss = fs.LpLoss(X, Y, p=P)
    law = fs.derive(net)
    field = law.lower(loss, strategy=strategy)
    start = STARTS["distinct"]
    with fs.float64():
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=0.0,
            t1=1.0,
            dt0=None,
            y0=jax.tree.map(jnp.asarray, field.start(start)),
            stepsize_controller=diffrax.PIDController(rtol=1e-11, atol=1e-11),
        )
        end = np.asarray(field.read(jax.tree.map(lambda leaf: leaf[-1], solution.ys)))
    numpy = law.lower(loss, backend="numpy", strategy=strategy)
    reference = fs.integrate(numpy, start, 1.0, ts=[1.0], solver="DOP853", rtol=1e-12)
    assert relative(end, reference.end_to_end[-1]) <= 1e-9
