"""Singular values and vectors of a deep matrix factorisation, against factors that move.

Reference values come from an independent Gragg-Bulirsch-Stoer integration of order 16 in extended
precision (item o05 of the notes on laws of motion), to thirteen digits.
"""

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import flowsim as fs
from flowsim._errors import InputError
from flowsim.theory.factorization import (
    COLUMN,
    CROSSED,
    DIRECT,
    OWN,
    ROW,
    singular_value_velocity,
    singular_values,
    singular_vector_velocity,
    singular_vectors,
)
from tests.theory.integrating import (
    diagonal,
    flow,
    gradients,
    orthogonal,
    product,
    velocity_of_product,
)

DEPTHS = [1, 2, 3, 4]


def decomposition(rng, k=4, d=3):
    U, V = orthogonal(k, rng)[:, :3], orthogonal(d, rng)[:, :3]
    return U, np.array([0.9, 0.5, 0.2]), V


def moved(U, s, V, G, N):
    """The velocity of the product, from balanced factors and the product rule."""
    k, d = len(U), len(V)
    start = fs.DeepLinear((d, *[3] * (N - 1), k)).balanced(U @ np.diag(s) @ V.T)
    return velocity_of_product(start, [-g for g in gradients(start, G)])


@pytest.mark.parametrize("N", DEPTHS)
def test_singular_values_against_moving_factors(N):
    rng = np.random.default_rng(N)
    U, s, V = decomposition(rng)
    G = rng.standard_normal((4, 3))
    dW = moved(U, s, V, G, N)
    found = singular_value_velocity(U @ np.diag(s) @ V.T, G, N)
    assert found == pytest.approx(np.einsum("kr,kd,dr->r", U, dW, V), abs=1e-13)
    own = np.einsum("kr,kd,dr->r", U, G, V)
    stated = [singular_values.statement(N).subs({ROW: s[r], OWN: own[r]}) for r in range(3)]
    assert found == pytest.approx(np.array(stated, dtype=float), abs=1e-13)


@pytest.mark.parametrize("N", DEPTHS)
def test_singular_vectors_against_moving_factors(N):
    """U' S V^T + U S' V^T + U S V'^T is the velocity of W, and U and V stay orthonormal."""
    rng = np.random.default_rng(10 + N)
    U, s, V = decomposition(rng)
    G = rng.standard_normal((4, 3))
    dU, dV = singular_vector_velocity(U, s, V, G, N)
    ds = singular_value_velocity(U @ np.diag(s) @ V.T, G, N)
    total = dU @ np.diag(s) @ V.T + U @ np.diag(ds) @ V.T + U @ np.diag(s) @ dV.T
    assert total == pytest.approx(moved(U, s, V, G, N), abs=1e-12)
    assert U.T @ dU + dU.T @ U == pytest.approx(np.zeros((3, 3)), abs=1e-13)
    assert V.T @ dV + dV.T @ V == pytest.approx(np.zeros((3, 3)), abs=1e-13)


@pytest.mark.parametrize("N", [2, 3, 5])
def test_the_record_on_vectors_entry_by_entry(N):
    rng = np.random.default_rng(20 + N)
    U, s, V = decomposition(rng)
    G = rng.standard_normal((4, 3))
    g = U.T @ G @ V
    dU, dV = singular_vector_velocity(U, s, V, G, N)
    for r in range(3):
        for q in range(3):
            at = {ROW: s[r], COLUMN: s[q], DIRECT: g[r, q], CROSSED: g[q, r]}
            if r != q:
                for side, found in (("left", U.T @ dU), ("right", V.T @ dV)):
                    stated = float(singular_vectors.statement(N, side=side).subs(at))
                    assert found[r, q] == pytest.approx(stated, rel=1e-12)
    w = np.linalg.svd(U.T)[2][-1]
    leaving = [singular_vectors.statement(N, side="leaving").subs({COLUMN: x}) for x in s]
    assert w @ dU == pytest.approx((w @ G @ V) * np.array(leaving, dtype=float), rel=1e-12)


@pytest.mark.parametrize("N", [2, 3, 4])
def test_integrated_equations_reproduce_the_factors(N):
    """(U, S, V) integrated by the record ends where the factors of a completion problem do."""
    rng = np.random.default_rng(30 + N)
    U, s, V = decomposition(rng)
    seen, values = rng.random((4, 3)) < 0.6, rng.standard_normal((4, 3))

    def gradient(W):
        return seen * (W - values)

    start = fs.DeepLinear((3, *[3] * (N - 1), 4)).balanced(U @ np.diag(s) @ V.T)
    expected = product(flow(start, gradient, [0.5])[-1])

    def field(_, y):
        u, x, v = y[:12].reshape(4, 3), y[12:15], y[15:].reshape(3, 3)
        G = gradient(u @ np.diag(x) @ v.T)
        dU, dV = singular_vector_velocity(u, x, v, G, N)
        # In the order of the columns, which along the path need not be that of size.
        dx = -N * x ** (2 - 2 / N) * np.einsum("kr,kd,dr->r", u, G, v)
        return np.concatenate([dU.ravel(), dx, dV.ravel()])

    y0 = np.concatenate([U.ravel(), s, V.ravel()])
    y = solve_ivp(field, (0, 0.5), y0, method="DOP853", rtol=1e-12, atol=1e-13).y[:, -1]
    ended = y[:12].reshape(4, 3) @ np.diag(y[12:15]) @ y[15:].reshape(3, 3).T
    assert np.abs(ended - expected).max() <= 1e-9


@pytest.mark.parametrize(
    ("N", "entry", "loss"),
    [
        (2, 4.053518405343, 0.02728595098719),
        (3, 5.594027675055, 0.01529216215263),
        (4, 7.079412610431, None),
    ],
)
def test_completion_that_no_norm_explains(N, entry, loss):
    """Razin and Cohen: w_12 = w_21 = 1, w_22 = 0 seen; w_11 grows as the loss falls."""
    seen = np.array([[0.0, 1.0], [1.0, 1.0]])
    values = np.array([[0.0, 1.0], [1.0, 0.0]])

    def gradient(W):
        return seen * (W - values)

    start = [0.1 ** (1 / N) * np.eye(2)] * N
    W = product(flow(start, gradient, [20.0])[-1])
    assert W[0, 0] == pytest.approx(entry, rel=1e-10)
    if loss is not None:
        assert (seen * (W - values) ** 2).sum() / 2 == pytest.approx(loss, rel=1e-10)
    # Its larger singular value grows, as the law of singular values says, and the norm with it.
    step = 1e-4
    run = flow(start, gradient, [20.0 - step, 20.0, 20.0 + step])
    s = np.array([np.linalg.svd(product(f), compute_uv=False) for f in run])
    found = singular_value_velocity(product(run[1]), gradient(product(run[1])), N)
    assert found == pytest.approx((s[2] - s[0]) / (2 * step), rel=1e-6)
    assert found[0] > 0
    assert abs(W[0, 0]) >= abs(W[0, 1] * W[1, 0]) / abs(W[1, 1])


def test_a_gap_of_round_off_keeps_its_digits():
    U = V = np.eye(2)
    s = np.array([1.0, 1.0 + 2**-40])
    dU, _ = singular_vector_velocity(U, s, V, [[0.0, 1.0], [0.5, 0.0]], 3)
    gap = 2 / 3 * 2**-40 * (1 - 2**-40 / 6)
    assert dU[0, 1] == pytest.approx(-(s[1] + 0.5) / gap, rel=1e-11)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: singular_value_velocity(np.eye(2), np.eye(3), 2), "one shape"),
        (lambda: singular_value_velocity(np.eye(2), np.eye(2), 0.5), "N is 0.5"),
        (
            lambda: singular_vector_velocity(np.eye(2), [1, 1], np.eye(2), np.eye(2), 2),
            "positive and distinct",
        ),
        (
            lambda: singular_vector_velocity(np.eye(2), [1, 0], np.eye(2), np.eye(2), 2),
            "positive and distinct",
        ),
        (
            lambda: singular_vector_velocity(np.eye(2), [1, 2], np.eye(2), np.eye(3), 2),
            "have shapes",
        ),
        (lambda: singular_vectors.statement(2, side="up"), "side is 'up'"),
    ],
)
def test_wrong_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_hypotheses_are_checked():
    rng = np.random.default_rng(1)
    net = fs.DeepLinear((3, 3, 3))
    problem = fs.Problem(lambda W: (W**4).sum(), net)
    balanced = net.balanced(diagonal([3.0, 2.0, 1.0], (3, 3)))
    for start, failing in (
        (balanced, []),
        ((balanced[0], 1.1 * balanced[1]), ["W_2^T W_2 differs"]),
        (net.balanced(np.eye(3)), ["positive and distinct"]),
        (tuple(rng.standard_normal((2, 3, 3))), ["W_2^T W_2 differs"]),
    ):
        failures = [c.failure(problem, start) for c in singular_vectors.conditions]
        failures = [f for f in failures if f]
        assert len(failures) == len(failing)
        assert all(part in f for part, f in zip(failing, failures, strict=True))
