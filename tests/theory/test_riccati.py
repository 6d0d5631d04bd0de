"""Two layers as a matrix Riccati equation: against integration, early and late, any widths."""

import mpmath as mp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import InputError
from flowsim.problems import TwoLayer
from flowsim.symbolic.words import MatrixPolynomial
from flowsim.theory.closed_forms import closed_form, closed_form_reasons
from flowsim.theory.gram_flow import spectrum, two_layer_gram
from flowsim.theory.records import DigitsLostError
from flowsim.theory.riccati import (
    CLOSED_FORMS,
    GROWTH,
    INVERSE,
    STACKED_START,
    matrix_riccati,
)
from tests.theory.integrating import diagonal, flow, orthogonal, product_flow

# (d, h, k) and lambda.
SHAPES = [
    (4, 2, 3, 0.0),
    (4, 3, 3, 0.0),
    (4, 5, 3, 0.0),
    (4, 2, 3, 0.5),
    (4, 3, 3, 0.5),
    (4, 3, 3, -0.7),
    (4, 4, 3, -0.7),
    (3, 3, 3, 1.0),
    (5, 1, 1, 0.3),
]


def start_of(d, h, k, imbalance, rng, size=0.2):
    """A start in general position with the imbalance wanted."""
    rank = min(d, h, k)
    w0 = size * rng.standard_normal((k, rank)) @ rng.standard_normal((rank, d))
    W1, W2 = TwoLayer((d, h, k)).lambda_balanced(w0, imbalance)
    turn = orthogonal(h, rng)
    return turn @ W1, W2 @ turn.T


@pytest.mark.parametrize(("d", "h", "k", "imbalance"), SHAPES)
def test_against_integration_early_and_late(d, h, k, imbalance):
    rng = np.random.default_rng([d, h, k])
    S = rng.standard_normal((k, d))
    W1, W2 = start_of(d, h, k, imbalance, rng)
    fastest = np.sqrt(imbalance**2 / 4 + np.linalg.norm(S, 2) ** 2)
    t = np.array([1e-8, 1e-3, 0.3, 1.0, 5.0, 20.0, 100.0]) / fastest
    P = two_layer_gram(t, W1=W1, W2=W2, target=S)
    for value, factors in zip(P, flow([W1, W2], lambda W: W - S, t), strict=True):
        Q = np.vstack([factors[0].T, factors[1]])
        assert np.abs(value - Q @ Q.T).max() <= 1e-12 * np.abs(value).max()


@pytest.mark.parametrize("late", [36.0, 100.0, 1000.0, 9000.0])
def test_no_digits_are_lost_where_the_inverse_has_none(late):
    """A fast mode and one 40 times slower: exp(2 f t) spans hundreds of orders of magnitude."""
    S = np.diag([2.0, 0.05])
    W1 = W2 = np.diag([0.3, 0.2])
    t = np.array([late / 2.0])
    W = two_layer_gram(t, W1=W1, W2=W2, target=S)[0, 2:, :2]
    with mp.workdps(30):
        # Each mode is logistic.
        expected = [
            s / (1 + (mp.mpf(s) / u - 1) * mp.exp(-2 * mp.mpf(s) * t[0]))
            for s, u in ((2.0, 0.3**2), (0.05, 0.2**2))
        ]
    assert pytest.approx(np.array(expected, dtype=float), rel=1e-13) == np.diag(W)
    assert np.abs(W - np.diag(np.diag(W))).max() <= 1e-15


def test_the_boxed_formula_in_extended_precision():
    """The record, formed literally with forty digits, at a time when float64 could not."""
    rng = np.random.default_rng(3)
    S, (W1, W2) = rng.standard_normal((3, 4)), start_of(4, 3, 3, 0.5, rng)
    t = 12.0
    f, V, C = spectrum(W1, W2, S, 0.5)
    with mp.workdps(60):
        F = mp.zeros(7)
        for i in range(4):
            F[i, i] = -mp.mpf("0.25")
        for i in range(3):
            F[4 + i, 4 + i] = mp.mpf("0.25")
            for j in range(4):
                F[4 + i, j] = F[j, 4 + i] = mp.mpf(S[i, j])
        values, vectors = mp.eigsy(F)
        Q0 = mp.matrix(np.vstack([W1.T, W2]).tolist())
        grown = mp.diag([mp.exp(x * t) for x in values])
        phi = mp.diag([mp.expm1(2 * x * t) / (2 * x) for x in values])
        E, Phi = vectors * grown * vectors.T, vectors * phi * vectors.T
        K = (mp.eye(3) + Q0.T * Phi * Q0) ** -1
        expected = np.array((E * Q0 * K * Q0.T * E).tolist(), dtype=float)
    assert np.abs(two_layer_gram([t], W1=W1, W2=W2, target=S)[0] - expected).max() <= 1e-13
    assert np.allclose(sorted(float(x) for x in values), f)
    assert C.shape == (7, 3)
    assert V.shape == (7, 7)
    # The record is the same product of the same five matrices.
    (((word, over), coefficient),) = MatrixPolynomial.of(matrix_riccati.statement()).terms.items()
    assert coefficient == 1
    assert over is None
    named = [(x.node, x.transposed) for x in word]
    assert named == [
        (GROWTH, False),
        (STACKED_START, False),
        (INVERSE, False),
        (STACKED_START, True),
        (GROWTH, False),
    ]


def test_zero_start_and_zero_target():
    t = [0.0, 1.0, 50.0]
    nothing = {"W1": np.zeros((2, 3)), "W2": np.zeros((2, 2))}
    assert (two_layer_gram(t, target=np.eye(2, 3), **nothing) == 0).all()
    # Without a target, balanced scalars decay as 1/t.
    P = two_layer_gram(t, W1=[[0.5]], W2=[[0.5]], target=[[0.0]])
    assert P[:, 1, 0] == pytest.approx([0.25, 0.25 / 1.5, 0.25 / 26], rel=1e-14)


@pytest.mark.parametrize(("d", "h", "k", "imbalance"), SHAPES)
def test_closed_form_is_found_for_data(d, h, k, imbalance):
    """Whitened data, a second moment of 1.7, and a start in general position."""
    rng = np.random.default_rng([h, d, k])
    X = orthogonal(12, rng)[:, :d] * np.sqrt(12 * 1.7)
    y = rng.standard_normal((12, k)) if k > 1 else rng.standard_normal(12)
    net = TwoLayer((d, h, k)) if h > 1 else fs.DeepLinear((d, h, k))
    problem, start = fs.Problem(fs.LpLoss(X, y, p=2), net), start_of(d, h, k, imbalance, rng)
    found = closed_form(problem, start)
    assert found.theorem is matrix_riccati
    assert found.shape == ((k, d) if k > 1 else (d,))
    t = np.array([0.0, 0.1, 1.0, 5.0])
    target = np.linalg.lstsq(X, y.reshape(12, -1), rcond=None)[0].T
    expected = product_flow(start, target, 1.7 * np.eye(d), t)
    assert np.abs(found(t).reshape(expected.shape) - expected).max() <= 1e-11
    assert (found(0.1) == found(t)[1]).all()


def test_solution_says_when_round_off_decides():
    """A start that lacks the strongest mode of the target, in bases that float64 rounds."""
    rng = np.random.default_rng(2)
    U, V = orthogonal(3, rng), orthogonal(3, rng)
    S = U @ np.diag([2.0, 1.0, 0.5]) @ V.T
    net = TwoLayer((3, 3, 3))
    W1, W2 = net.lambda_balanced(U @ np.diag([0.0, 0.3, 0.2]) @ V.T, 0.0)
    W1[np.abs(W1) < 1e-15] = 0
    problem = fs.Problem(lambda W: ((W - S) ** 2).sum() / 2, fs.DeepLinear((3, 3, 3)))
    (form,) = CLOSED_FORMS
    assert form.reason(problem, (W1, W2)) == ""
    found = form.solve(problem, (W1, W2))
    assert 2.0 < found.valid_until < 30.0
    exact = U @ diagonal(
        [0, 1 / (1 + (1 / 0.3 - 1) * np.exp(-4.0)), 0.5 / (1 + (0.5 / 0.2 - 1) * np.exp(-2.0))],
        (3, 3),
    )
    assert np.abs(found(2.0) - exact @ V.T).max() <= 1e-8
    with pytest.raises(DigitsLostError, match="is after"):
        found(2 * found.valid_until)


def test_reasons():
    rng = np.random.default_rng(5)
    S = rng.standard_normal((2, 3))
    net = fs.DeepLinear((3, 2, 2))
    start = start_of(3, 2, 2, 0.4, rng)
    name = matrix_riccati.name

    def why(loss, factors, **kwargs):
        return closed_form_reasons(fs.Problem(loss, net, **kwargs), factors)[name]

    def quadratic(W):
        return ((W - S) ** 2).sum() / 2

    assert why(quadratic, start) == ""
    assert "Weight decay" in why(quadratic, start, weight_decay=0.1)
    assert "not 1/2 tr" in why(lambda W: (W**4).sum(), start)
    tilted = np.diag([1.0, 2.0, 3.0])
    assert "not whitened" in why(lambda W: ((W @ tilted - S) ** 2).sum() / 2, start)
    off = (start[0], start[1] + rng.standard_normal(start[1].shape))
    assert "nearest multiple" in why(quadratic, off)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"t": [-1.0]}, "t holds -1"),
        ({"t": [1e9]}, "overflows"),
        ({"W2": np.eye(3)}, "have shapes"),
        ({"W1": np.diag([1.0, 2.0])}, "do not fit"),
        ({"target": [[np.nan, 0], [0, 1]]}, "target holds nan"),
    ],
)
def test_wrong_input_is_named(change, said):
    given = {"t": [1.0], "W1": np.eye(2), "W2": np.eye(2), "target": np.eye(2), **change}
    with pytest.raises(InputError, match=said):
        two_layer_gram(given.pop("t"), **given)
