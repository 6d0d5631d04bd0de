"""The gap, its prediction, the curvature and the certificate, against closed forms."""

import importlib

import numpy as np
import pytest

import flowsim as fs


def product_loss(theta):
    return 0.5 * (theta[0] * theta[1] - 1.0) ** 2


PRODUCT = fs.Problem.from_function(product_loss, np.zeros(2))
START = np.array([0.6, 0.2])
NET = fs.DeepLinear((3, 2, 2))
RNG = np.random.default_rng(5)
NETWORK = fs.Problem(fs.LpLoss(RNG.normal(size=(20, 3)), RNG.normal(size=(20, 2)), p=4), NET)
THETA = NET.balanced(RNG.normal(size=(2, 3)))


@pytest.fixture(scope="module")
def network():
    return fs.compare(NETWORK, THETA, learning_rate=2e-4, steps=10_000)


@pytest.mark.parametrize(
    ("eta", "ratio"), [(0.02, 1.00512), (0.01, 1.00255), (0.005, 1.00128), (0.0025, 1.00064)]
)
def test_product_loss_against_reference(eta, ratio):
    """Reference values from an independent integration in extended precision: theta(3), e_1(3),
    and the measured over the predicted gap."""
    steps = round(3 / eta)
    result = fs.compare(
        PRODUCT, START, learning_rate=eta, steps=steps, record=[0, steps], rtol=1e-11
    )
    np.testing.assert_allclose(result.flow.final, [1.07754247607125, 0.91711383575747], rtol=1e-10)
    e1 = np.linalg.norm([-0.02612094820402, 0.05881952010693])
    assert result.predicted_gap[-1] == pytest.approx(eta * e1, rel=1e-5)
    assert result.gap[-1] / result.predicted_gap[-1] == pytest.approx(ratio, abs=2e-5)


def test_gap_is_of_first_order_with_the_right_constant():
    """An order alone does not see a shift by one step; the constant does."""
    etas = np.array([4e-4, 2e-4, 1e-4, 5e-5])
    gaps, predictions = [], []
    for eta in etas:
        steps = round(2 / eta)
        result = fs.compare(
            NETWORK, THETA, learning_rate=float(eta), steps=steps, record=[0, steps], rtol=1e-10
        )
        gaps.append(result.gap[-1])
        predictions.append(result.predicted_gap[-1])
    slope = np.polyfit(np.log(etas), np.log(gaps), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.02)
    assert gaps[-1] / predictions[-1] == pytest.approx(1.0, abs=0.01)


def test_prediction_holds_where_curvature_is_small(network):
    calm = (network.learning_rate * network.sharpness <= 0.02) & (network.iterations > 0)
    assert calm.sum() > 20
    np.testing.assert_allclose(network.gap[calm], network.predicted_gap[calm], rtol=0.05)
    np.testing.assert_allclose(
        network.end_to_end_gap[calm], network.predicted_end_to_end_gap[calm], rtol=0.05
    )


def test_conserved_quantities_drift_as_the_discrete_identity_says(network):
    """D+ - D = eta^2 (G2'G2 - G1 G1') exactly, so the drift of descent is of order eta."""
    assert network.drift["flow"].max() < 1e-9
    half = fs.compare(NETWORK, THETA, learning_rate=1e-4, steps=20_000, record=[0, 20_000])
    ratio = network.drift["descent"][-1] / half.drift["descent"][-1]
    assert ratio == pytest.approx(2.0, abs=0.02)
    assert network.balance_defect < 1e-14


def test_reference_error_bounds_the_true_one():
    """Least squares, whose flow is known: the certificate must not be below the true error."""
    A = np.diag([3.0, 1.0, 0.1])
    problem = fs.Problem(fs.LpLoss(np.sqrt(3.0) * np.sqrt(A), np.zeros(3), p=2), fs.Identity(3))
    w0 = np.array([1.0, -2.0, 0.5])
    for rtol in (1e-4, 1e-6):
        result = fs.compare(problem, w0, learning_rate=1e-2, steps=500, rtol=rtol)
        exact = np.exp(-np.outer(result.ts, np.diag(A))) * w0
        true = np.linalg.norm(result.flow.end_to_end - exact, axis=1)
        assert true.max() <= result.reference_error.max()
        assert result.reference_error.max() < 1e3 * rtol


def test_regime_exit_is_where_sharpness_crosses():
    """f = (uv - 1)^2 / 2, unbalanced start: the sharpness u^2 + v^2 rises to above 2/eta."""
    eta = 0.9
    result = fs.compare(
        PRODUCT, np.array([1.2, 0.1]), learning_rate=eta, steps=40, record=range(41)
    )
    level = 2 / eta
    assert result.regime_exit is not None
    before = result.sharpness[result.ts < result.regime_exit]
    after = result.sharpness[result.ts >= result.regime_exit]
    assert (before <= level).all()
    assert after[0] > level
    calm = fs.compare(PRODUCT, START, learning_rate=1e-2, steps=100)
    assert calm.regime_exit is None


def test_diverging_descent_is_compared_as_far_as_it_goes():
    result = fs.compare(NETWORK, THETA, learning_rate=5.0, steps=1000)
    assert result.descent.result.name == "diverged"
    assert result.iterations[-1] < 1000
    assert len(result.gap) == len(result.ts) == len(result.flow)


def test_a_flow_that_blows_up_is_compared_as_far_as_it_goes():
    """y' = y^2 from 1 is gone at t = 1; descent with step 0.01 is not."""
    cubic = fs.Problem.from_function(lambda y: -(y[0] ** 3) / 3, np.zeros(1))
    result = fs.compare(cubic, np.ones(1), learning_rate=1e-2, steps=150, record=range(0, 151, 15))
    assert result.flow.result.name == "blow_up"
    assert result.ts.tolist() == [k * 1e-2 for k in range(0, 100, 15)]
    np.testing.assert_allclose(result.flow.states[:, 0], 1 / (1 - result.ts), rtol=1e-6)


def test_ctrl_c_ends_the_comparison(monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    module = importlib.import_module("flowsim.comparison.compare")
    monkeypatch.setattr(module, "extreme_eigenvalues", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fs.compare(PRODUCT, START, learning_rate=1e-2, steps=10)


def test_scipy_agrees_with_diffrax():
    options = {"learning_rate": 1e-2, "steps": 300, "record": [0, 100, 300]}
    one = fs.compare(PRODUCT, START, **options)
    other = fs.compare(PRODUCT, START, backend="scipy", **options)
    np.testing.assert_allclose(one.gap, other.gap, rtol=1e-5)
    np.testing.assert_allclose(one.predicted_gap, other.predicted_gap, rtol=1e-4)


def test_a_record_without_the_start_changes_no_number(network):
    part = fs.compare(NETWORK, THETA, learning_rate=2e-4, steps=10_000, record=[2000, 10_000])
    whole = fs.compare(NETWORK, THETA, learning_rate=2e-4, steps=10_000, record=[0, 2000, 10_000])
    assert part.iterations.tolist() == [2000, 10_000]
    np.testing.assert_array_equal(part.predicted_gap, whole.predicted_gap[1:])
    np.testing.assert_array_equal(part.drift["descent"], whole.drift["descent"][1:])
    assert part.gap[-1] == pytest.approx(network.gap[-1], rel=1e-5)


def test_dataset_holds_what_the_comparison_holds(network):
    data = network.to_xarray()
    np.testing.assert_array_equal(data["gap"], network.gap)
    assert data.attrs["learning_rate"] == 2e-4
    assert "versions" in data.attrs


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"flows": ("gradent",)}, "Did you mean 'gradient'"),
        ({"flows": "gradient"}, "sequence of names"),
        ({"learning_rate": float("nan")}, "learning_rate is nan"),
        ({"steps": -1}, "steps is -1"),
        ({"rtol": 0.0}, "rtol is 0"),
    ],
)
def test_bad_arguments_are_refused_by_name(changes, message):
    with pytest.raises(fs.InputError, match=message):
        fs.compare(PRODUCT, START, **{"learning_rate": 1e-2, "steps": 10, **changes})


def test_only_problems_are_compared():
    with pytest.raises(fs.InputError, match="pass a Problem"):
        fs.compare(product_loss, START, learning_rate=1e-2, steps=10)
