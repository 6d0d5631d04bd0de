"""Losses: values and gradients against formulas by hand, and every input that is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import InputError, PrecisionError
from flowsim.problems import as_loss
from tests.problems.handwritten import differences, lp_gradient, lp_value

EXPONENTS = (1.0, 1.5, 2.0, 3.0, 4.0, 6)


def relative(a, b):
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)


@pytest.fixture(scope="module", params=["one output", "three outputs"])
def data_m7_d4(request):
    rng = np.random.default_rng(11)
    k = () if request.param == "one output" else (3,)
    return rng.normal(size=(7, 4)), rng.normal(size=(7, *k)), rng.normal(size=(*k, 4))


@pytest.fixture(scope="module")
def data_m3_d5():
    rng = np.random.default_rng(12)
    return rng.normal(size=(3, 5)), rng.normal(size=3), rng.normal(size=5)


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", EXPONENTS)
@pytest.mark.parametrize("scale", [None, 1.0, 0.3])
def test_values_and_gradients_are_those_written_by_hand(p, scale, data_m7_d4):
    X, y, w = data_m7_d4
    loss = fs.LpLoss(X, y, p=p, scale=scale)
    by_hand = (X, y, p, 1 / p if scale is None else scale, w)
    assert relative(loss(w), lp_value(*by_hand)) <= 1e-14
    assert relative(loss.gradient(w), lp_gradient(*by_hand)) <= 1e-13
    assert loss.gradient(w).shape == w.shape
    with fs.float64():
        on_jax = jnp.asarray(w)
        assert relative(loss(on_jax), lp_value(*by_hand)) <= 1e-14
        assert relative(loss.gradient(on_jax), lp_gradient(*by_hand)) <= 1e-13


@pytest.mark.parametrize("p", [1.5, 2.0, 3.0, 4.0])
def test_gradients_are_differences_of_the_value_by_hand(p, data_m7_d4):
    X, y, w = data_m7_d4
    X, y = X.astype(np.longdouble), y.astype(np.longdouble)

    def value(v):
        return np.sum(np.abs(X @ v.T - y) ** np.longdouble(p)) / (len(X) * np.longdouble(p))

    loss = fs.LpLoss(X.astype(float), y.astype(float), p=p)
    # No residual of these data is within 0.01 of the kink, so that differences may cross none.
    assert np.abs(X @ w.T - y).min() > 0.01
    assert relative(loss.gradient(w), differences(value, w)) <= 1e-9


@pytest.mark.parametrize("p", [1.5, 3.0, 4.0])
def test_hessians_are_differences_of_the_gradient(p, data_m7_d4):
    X, y, w = data_m7_d4
    loss = fs.LpLoss(X, y, p=p)
    direction = np.random.default_rng(1).normal(size=w.shape)
    with fs.float64():
        product = jax.jvp(loss.gradient, (jnp.asarray(w),), (jnp.asarray(direction),))[1]
        twice = jax.jvp(jax.grad(loss), (jnp.asarray(w),), (jnp.asarray(direction),))[1]
    h = 1e-4
    ahead, behind = (
        [lp_gradient(X, y, p, 1 / p, w + sign * n * h * direction) for n in (1, 2)]
        for sign in (1, -1)
    )
    expected = (8 * (ahead[0] - behind[0]) - (ahead[1] - behind[1])) / (12 * h)
    assert relative(product, expected) <= 1e-8
    assert relative(twice, expected) <= 1e-8


@pytest.mark.parametrize("p", EXPONENTS)
def test_derivatives_are_finite_where_a_residual_vanishes(p):
    X, w = np.eye(2), np.array([1.0, 2.0])
    loss = fs.LpLoss(X, np.array([1.0, 0.0]), p=p)
    with fs.float64():
        v = jnp.asarray(w)
        gradient, hessian = np.asarray(jax.grad(loss)(v)), np.asarray(jax.hessian(loss)(v))
    assert np.isfinite(gradient).all()
    assert np.isfinite(hessian).all()
    assert gradient[0] == 0
    assert relative(gradient, [0.0, 2.0 ** (p - 1) / 2]) <= 1e-14
    if p > 2:
        assert relative(hessian, np.diag([0.0, (p - 1) * 2.0 ** (p - 2) / 2])) <= 1e-14


@pytest.mark.parametrize("m", [3, 5, 9])
@pytest.mark.parametrize("k", [None, 2])
def test_moments_give_what_the_data_give(m, k):
    rng = np.random.default_rng(m)
    X, y = rng.normal(size=(m, 5)), rng.normal(size=(m,) if k is None else (m, k))
    w = rng.normal(size=(5,) if k is None else (k, 5))
    loss = fs.LpLoss(X, y, p=2)
    assert (loss.moments is not None) == (m >= 5)
    assert loss.examples == m
    assert relative(loss(w), lp_value(X, y, 2, 0.5, w)) <= 1e-13
    assert relative(loss.gradient(w), lp_gradient(X, y, 2, 0.5, w)) <= 1e-13


def test_moments_keep_the_least_value_of_an_ill_conditioned_task():
    rng = np.random.default_rng(5)
    X = rng.normal(size=(40, 6)) * np.logspace(0, -5, 6)
    y = rng.normal(size=40)
    best = np.linalg.lstsq(X, y, rcond=None)[0]
    loss = fs.LpLoss(X, y, p=2)
    assert relative(loss(best), lp_value(X, y, 2, 0.5, best)) <= 1e-12
    assert np.linalg.norm(loss.gradient(best)) <= 1e-10


def test_the_numpy_reading_is_the_jax_reading(data_m7_d4):
    X, y, w = data_m7_d4
    for p in (1.5, 2, 4):
        loss = fs.LpLoss(X, y, p=p)
        plain = loss.to_numpy()
        assert isinstance(plain.gradient(w), np.ndarray)
        with fs.float64():
            assert relative(plain.gradient(w), np.asarray(loss.gradient(jnp.asarray(w)))) <= 1e-14
            assert relative(plain(w), float(loss(jnp.asarray(w)))) <= 1e-14


# --- precision ------------------------------------------------------------------------------------


def test_numbers_are_float64_while_jax_stays_in_float32(data_m3_d5):
    X, y, w = data_m3_d5
    loss = fs.LpLoss(X, y, p=3)
    assert loss(w).dtype == loss.gradient(w).dtype == loss.dtype == np.float64
    assert not jax.config.jax_enable_x64
    assert jnp.asarray(1.0).dtype == jnp.float32


def test_functions_of_numpy_arrays_are_evaluated_in_float64(data_m3_d5):
    *_, w = data_m3_d5
    loss = as_loss(lambda v: jnp.sum((v - 1 / 3) ** 2) / 3)
    assert relative(loss(w), np.sum((w - 1 / 3) ** 2) / 3) <= 1e-15
    assert relative(loss.gradient(w), 2 / 3 * (w - 1 / 3)) <= 1e-15
    assert not jax.config.jax_enable_x64


def test_float64_data_refuse_to_be_truncated(data_m3_d5):
    X, y, w = data_m3_d5
    loss = fs.LpLoss(X, y, p=4)
    with pytest.raises(PrecisionError, match=r"float64 data.*with flowsim\.float64"):
        loss(jnp.asarray(w))
    with pytest.raises(PrecisionError, match=r"float64 data"):
        jax.jit(lambda v: loss.gradient(v))(jnp.asarray(w, jnp.float32))


def test_float32_data_stay_float32():
    X, y = np.eye(2, dtype=np.float32), np.ones(2, np.float32)
    for p in (2, 4):
        loss = fs.LpLoss(X, y, p=p)
        assert loss.dtype == np.float32
        assert loss.gradient(jnp.zeros(2, jnp.float32)).dtype == np.float32


# --- what is refused ------------------------------------------------------------------------------


def test_integers_and_booleans_are_converted():
    X, y = np.array([[2, 1], [0, 3]], np.int8), np.array([True, False])
    loss = fs.LpLoss(X, y, p=4)
    w = np.array([100.0, 3.0])  # whose residuals would overflow int8
    assert loss(w) == lp_value(X.astype(float), y.astype(float), 4, 0.25, w)
    loss = fs.LpLoss([[1, 2], [3, 4]], [5, 6], p=2)
    assert relative(loss(np.array([1, 1])), (2**2 + 1) / 4) <= 1e-14


@pytest.mark.parametrize(
    ("X", "y", "match"),
    [
        (np.ones((3, 2)), np.ones(4), r"y has 4 rows and X has 3.*one label.*for each row"),
        (np.ones((3, 2)), np.ones((3, 1)), r"y has shape \(3, 1\).*broadcasts.*y\[:, 0\]"),
        (np.ones((3, 2)), np.ones((3, 0)), r"y has shape \(3, 0\).*no output"),
        (np.ones((3, 2)), np.ones((3, 1, 1)), r"y has shape \(3, 1, 1\).*1 or 2 would do"),
        (np.ones((3, 2)), 1.0, r"y has shape \(\).*1 or 2 would do"),
        (np.ones(3), np.ones(3), r"X has shape \(3,\), that is 1 dimensions, where 2 would do"),
        (np.ones((0, 2)), np.ones(0), r"X has shape \(0, 2\); at least one example"),
        (np.ones((3, 0)), np.ones(3), r"X has shape \(3, 0\); at least one example and one input"),
        (np.array([[1.0, np.nan]]), [1.0], r"X holds nan at index \(0, 1\).*Remove or replace"),
        (np.ones((2, 2)), [1.0, np.inf], r"y holds inf at index \(1,\).*Remove or replace"),
        (np.ones((1, 2)) * 1j, [1.0], r"X has dtype complex128.*X\.real"),
        (np.ones((1, 2)), [1j], r"y has dtype complex128.*y\.real"),
        (np.array([["1", "2"]]), [1.0], r"X has dtype <U1.*Pass an array of numbers"),
        ("abc", [1.0], r"X has dtype <U3"),
        (np.array([[1, None]], object), [1.0], r"X has dtype object.*numbers only"),
        ([[1.0, 2.0], [3.0]], [1.0, 2.0], r"X cannot be read as an array of numbers"),
        (np.ones((1, 2), np.float16), [1.0], r"X has dtype float16.*X\.astype\(numpy\.float64\)"),
        (np.ones((1, 2), np.longdouble), [1.0], r"X has dtype .*X\.astype\(numpy\.float64\)"),
        (np.ones((1, 2), ">f8"), [1.0], r"X has dtype >f8.*X\.astype\(numpy\.float64\)"),
        (np.array([[2**53 + 1, 1]]), [1.0], r"X holds the integer 9007199254740993.*Rescale"),
        (np.ma.masked_array(np.ones((1, 2)), [[0, 1]]), [1.0], r"X is a masked array.*filled"),
        (np.ones((2, 2)), np.ma.masked_equal([1.0, 9.0], 9), r"y is a masked array.*filled"),
        ([np.ma.masked_array([1.0, 2.0], [0, 1])], [1.0], r"X .*masked array.*filled"),
    ],
)
def test_bad_data_are_refused_by_name(X, y, match):
    with pytest.raises(InputError, match=match):
        fs.LpLoss(X, y, p=2)


@pytest.mark.parametrize("p", [0.5, 0.0, -2, np.nan, np.inf, "4", None, True, 1j, [1, 2]])
def test_p_below_one_or_no_number_is_refused(p):
    with pytest.raises(InputError, match=r"p is .*a finite number at least 1 is needed"):
        fs.LpLoss(np.eye(2), np.ones(2), p=p)


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf, "1"])
def test_scale_must_be_positive(scale):
    with pytest.raises(InputError, match=r"scale is .*a finite number above 0 is needed"):
        fs.LpLoss(np.eye(2), np.ones(2), p=2, scale=scale)


@pytest.mark.parametrize("given", ["scal", "Scale"])
def test_a_misspelt_keyword_is_answered_with_the_right_one(given):
    with pytest.raises(TypeError, match=rf"LpLoss.*{given}.*[Dd]id you mean 'scale'"):
        fs.LpLoss(np.eye(2), np.ones(2), p=2, **{given: 1.0})


@pytest.mark.parametrize("shape", [(1, 2), (2, 1), (3,), ()])
@pytest.mark.parametrize("p", [2, 4])
def test_a_parameter_of_another_shape_never_broadcasts(shape, p):
    loss = fs.LpLoss(np.eye(2), np.ones(2), p=p)
    match = r"w has shape .*this loss is on shape \(2,\)"
    with pytest.raises(InputError, match=match):
        loss(np.zeros(shape))
    with fs.float64():
        for function in (loss, loss.gradient, jax.jit(lambda v: loss(v))):
            with pytest.raises(InputError, match=match):
                function(jnp.zeros(shape))


def test_a_loss_that_is_no_function_is_refused():
    with pytest.raises(InputError, match=r"loss is ndarray.*LpLoss\(X, y, p=\.\.\.\)"):
        fs.Problem(np.ones(3), fs.Identity(3))
