"""Parametrizations and starts: balance, products, and every input that is refused."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import InputError
from flowsim.problems import as_loss


def rank_r(k, d, r, seed=3):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(k, r)) @ rng.normal(size=(r, d))


# --- balanced starts ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "rank"),
    [
        ((3, 3, 3), 3),
        ((4, 2, 2), 2),
        ((2, 2, 4), 2),
        ((4, 7, 3), 3),
        ((4, 2, 5, 3), 2),
        ((5, 1, 1), 1),
        ((5, 4, 3, 1), 1),
        ((3,) + (3,) * 7 + (2,), 2),
        ((4, 3), 3),
        ((4, 3, 3), 0),
    ],
)
def test_balanced_factors_are_balanced_and_have_the_product(widths, rank):
    net, w0 = fs.DeepLinear(widths), rank_r(widths[-1], widths[0], rank)
    factors = net.balanced(w0)
    assert tuple(W.shape for W in factors) == net.shapes
    assert np.linalg.norm(net(factors) - w0) <= 1e-14 * np.linalg.norm(w0)
    size = max(np.linalg.norm(W) for W in factors) ** 2
    for below, above in pairwise(factors):
        defect = above.T @ above - below @ below.T
        assert np.linalg.norm(defect) <= 1e-14 * size


@pytest.mark.parametrize("scale", [1e-12, 1e-100, 1e-290, 1e100])
def test_balanced_factors_of_extreme_scales(scale):
    net, w0 = fs.DeepLinear((3, 2, 2)), rank_r(2, 3, 2) * scale
    assert np.linalg.norm(net(net.balanced(w0)) / scale - w0 / scale) <= 1e-13


def test_a_vector_serves_for_one_output():
    net, w0 = fs.DeepLinear((4, 2, 1)), rank_r(1, 4, 1)
    for whole, from_vector in zip(net.balanced(w0), net.balanced(w0[0]), strict=True):
        np.testing.assert_array_equal(whole, from_vector)


def test_integers_and_float32_starts():
    net = fs.DeepLinear((2, 2, 2))
    assert net.balanced(np.array([[2, 0], [0, 1]]))[0].dtype == np.float64
    assert net.balanced(np.eye(2, dtype=np.float32))[0].dtype == np.float32


def test_a_bottleneck_below_the_rank_is_refused():
    with pytest.raises(InputError, match=r"w0 has rank 3.*width 2.*[Ww]iden.*at least 3.*lower"):
        fs.DeepLinear((3, 2, 3)).balanced(rank_r(3, 3, 3))


@pytest.mark.parametrize(
    ("w0", "match"),
    [
        (np.ones((2, 3)), r"w0 has shape \(2, 3\).*3 inputs to 1 outputs.*\(1, 3\) or \(3,\)"),
        (np.ones(2), r"w0 has shape \(2,\).*\(1, 3\) or \(3,\)"),
        (np.ones((3, 1)), r"w0 has shape \(3, 1\)"),
        (1.0, r"w0 has shape \(\).*1 or 2 would do"),
        ([1.0, np.nan, 0.0], r"w0 holds nan at index \(1,\)"),
        (["a", "b", "c"], r"w0 has dtype <U1"),
        (np.ones(3) * 1j, r"w0 has dtype complex128"),
        (np.ma.masked_equal([1.0, 2.0, 9.0], 9), r"w0 is a masked array"),
    ],
)
def test_bad_end_to_end_values_are_refused(w0, match):
    with pytest.raises(InputError, match=match):
        fs.DeepLinear((3, 2, 1)).balanced(w0)


# --- starts near zero -----------------------------------------------------------------------------


def test_near_zero_has_the_scale_and_the_key_asked_for():
    net = fs.DeepLinear((60, 50, 40))
    key = jax.random.key(0)
    factors = net.near_zero(key, 1e-3)
    assert tuple(W.shape for W in factors) == net.shapes
    for W in factors:
        assert W.dtype == np.float64
        assert abs(W.std() / 1e-3 - 1) < 0.05
        assert abs(W.mean()) < 4e-3 / np.sqrt(W.size)
    # float32 draws, cast, would repeat in 3000 numbers of 24 bits; these are float64.
    assert not np.array_equal(factors[0] / 1e-3, (factors[0] / 1e-3).astype(np.float32))
    np.testing.assert_array_equal(factors[1], net.near_zero(key, 1e-3)[1])
    assert not np.allclose(factors[1], net.near_zero(jax.random.key(1), 1e-3)[1])
    assert abs(np.corrcoef(factors[0].ravel()[:2000], factors[1].ravel())[0, 1]) < 0.1
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, "x"])
def test_near_zero_refuses_a_scale_that_is_none(scale):
    with pytest.raises(InputError, match=r"scale is .*above 0"):
        fs.DeepLinear((2, 2)).near_zero(jax.random.key(0), scale)


@pytest.mark.parametrize("key", [0, None, "seed", np.random.default_rng(0), np.ones(3)])
def test_near_zero_refuses_a_key_that_is_none(key):
    with pytest.raises(InputError, match=r"key is .*jax\.random\.key\(0\)"):
        fs.DeepLinear((2, 2)).near_zero(key, 1.0)


# --- widths ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("widths", "match"),
    [
        ((3,), r"widths is \(3,\).*at least an input and an output"),
        ((), r"widths is \(\).*at least an input"),
        (3, r"widths is 3; pass the sizes of the layers"),
        ((3, 0), r"widths\[1\] is 0.*at least 1"),
        ((3, -2, 1), r"widths\[1\] is -2"),
        ((3, 2.5, 1), r"widths\[1\] is 2\.5.*whole number"),
        ((3, True), r"widths\[1\] is True"),
        ((3, "2"), r"widths\[1\] is '2'"),
        ((np.nan, 2), r"widths\[0\] is nan"),
        ((np.inf, 2), r"widths\[0\] is inf"),
    ],
)
def test_bad_widths_are_refused(widths, match):
    with pytest.raises(InputError, match=match):
        fs.DeepLinear(widths)


def test_numpy_integers_and_lists_are_widths():
    net = fs.DeepLinear([np.int64(3), 2.0, np.int8(1)])
    assert net == fs.DeepLinear((3, 2, 1))
    assert hash(net) == hash(fs.DeepLinear((3, 2, 1)))
    assert all(type(n) is int for n in net.widths)


@pytest.mark.parametrize(
    ("shape", "match"),
    [
        ((), r"shape is \(\); pass \(d,\) or \(k, d\)"),
        ((1, 2, 3), r"shape is \(1, 2, 3\)"),
        ((2, -1), r"shape\[1\] is -1"),
        ("ab", r"shape\[0\] is 'a'"),
        (None, r"shape is None"),
        (2.5, r"shape is 2\.5"),
    ],
)
def test_bad_shapes_are_refused(shape, match):
    with pytest.raises(InputError, match=match):
        fs.Identity(shape)


def test_identity_of_a_number_is_a_vector():
    assert fs.Identity(3) == fs.Identity((3,)) == fs.Identity(np.int64(3))


@pytest.mark.parametrize("depth", [0, -1, 2.5, "not a name", "", None])
def test_bad_depths_are_refused(depth):
    with pytest.raises(InputError, match="depth is"):
        fs.DeepLinear.of_depth(depth)


def test_a_network_of_unknown_widths_says_how_to_get_numbers():
    net = fs.DeepLinear.of_depth(3)
    for use in (lambda: net.shapes, lambda: net.balanced(np.eye(2)), lambda: net.end_to_end_shape):
        with pytest.raises(InputError, match=r"known by its depth \(3\).*DeepLinear\(\(d, "):
            use()


# --- factors of the user's own --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("theta", "match"),
    [
        ((np.ones((2, 3)),), r"theta holds 1 factors; this network has 2.*net\.balanced"),
        (np.ones((2, 3)), r"theta holds ndarray factors; this network has 2"),
        (None, r"theta holds NoneType factors"),
        ((np.ones((3, 2)), np.ones((1, 2))), r"theta\[0\] has shape \(3, 2\); W_1 .*\(2, 3\)"),
        ((np.ones((2, 3)), np.ones(2)), r"theta\[1\] has shape \(2,\); W_2 .*\(1, 2\)"),
        ((np.ones((2, 3)), np.array([[1.0, np.inf]])), r"theta\[1\] holds inf at index \(0, 1\)"),
        ((np.ones((2, 3)), np.ones((1, 2)) * 1j), r"theta\[1\] has dtype complex128"),
    ],
)
def test_bad_factors_are_refused(theta, match):
    with pytest.raises(InputError, match=match):
        fs.DeepLinear((3, 2, 1)).check_factors(theta)


def test_one_factor_may_come_without_a_tuple():
    net, W = fs.DeepLinear((3, 2)), np.ones((2, 3))
    for theta in (W, (W,), [W]):
        (factor,) = net.check_factors(theta)
        np.testing.assert_array_equal(factor, W)


@pytest.mark.parametrize("jit", [False, True], ids=["numpy", "jax"])
def test_factors_in_a_row_and_back(jit):
    par = fs.Parametrization.from_function(
        lambda U, s, V: s * U @ V, shapes={"U": (2, 3), "s": (), "V": (3, 2)}
    )
    rng = np.random.default_rng(0)
    U, s, V = factors = tuple(rng.normal(size=shape) for shape in par.shapes)
    flat = np.array([*U[0], *U[1], s, *V[0], *V[1], *V[2]])
    flattened, unflattened = par.flattened, par.unflattened
    if jit:
        flattened, unflattened = jax.jit(flattened), jax.jit(unflattened)
        flat = flat.astype(np.float32)
    np.testing.assert_array_equal(flattened(factors), flat)
    for found, factor in zip(unflattened(flat), factors, strict=True):
        assert found.shape == factor.shape
        np.testing.assert_array_equal(found, factor.astype(flat.dtype))


def test_entries_in_a_row_are_float64_and_one_factor_may_come_alone():
    net, W = fs.DeepLinear((3, 2)), np.arange(6).reshape(2, 3)
    for factors in (W, (W,), (W.astype(np.float32),)):
        flat = net.flattened(factors)
        assert flat.dtype == np.float64
        assert flat.tolist() == [0, 1, 2, 3, 4, 5]


def test_wrong_sizes_in_a_row_are_refused():
    net = fs.DeepLinear((3, 2, 1))
    with pytest.raises(InputError, match=r"factors have the shapes .*\(2, 3\), \(1, 2\).* needed"):
        net.flattened((np.ones((3, 2)), np.ones((1, 2))))
    for size in (7, 9):
        with pytest.raises(InputError, match=rf"flat has shape \({size},\); \(8,\) is needed"):
            net.unflattened(np.ones(size))


# --- problems -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("y", "widths", "match"),
    [
        (np.ones(4), (3, 1), r"shape \(2,\).*\(3,\) or \(1, 3\).*input width 2"),
        (np.ones(4), (2, 5, 3), r"shape \(2,\).*\(3, 2\).*output width 1"),
        (np.ones((4, 3)), (2, 1), r"shape \(3, 2\).*output width 3"),
    ],
)
def test_widths_that_do_not_fit_the_data_are_refused(y, widths, match):
    with pytest.raises(InputError, match=match):
        fs.Problem(fs.LpLoss(np.ones((4, 2)), y, p=2), fs.DeepLinear(widths))


def test_a_loss_that_returns_no_scalar_is_refused():
    with pytest.raises(InputError, match=r"loss cannot be evaluated on shape \(2,\).*not a scalar"):
        fs.Problem(lambda w: w**2, fs.DeepLinear((2, 1)))


def test_a_loss_that_fails_is_quoted():
    def loss(w):
        raise RuntimeError("no such luck")

    with pytest.raises(InputError, match=r"on shape \(3, 2\): RuntimeError: no such luck"):
        fs.Problem(loss, fs.DeepLinear((2, 3)))


def test_a_plain_function_gets_a_vector_or_the_matrix_that_it_takes():
    assert fs.Problem(lambda w: w @ w, fs.DeepLinear((4, 2, 1))).vector
    assert not fs.Problem(lambda W: W[0] @ W[0], fs.DeepLinear((4, 2, 1))).vector
    assert not fs.Problem(lambda W: (W**2).sum(), fs.DeepLinear((4, 2, 2))).vector


@pytest.mark.parametrize("decay", [-0.1, np.nan, "0.1", None])
def test_weight_decay_must_not_be_negative(decay):
    with pytest.raises(InputError, match=r"weight_decay is .*at least 0"):
        fs.Problem(lambda w: w @ w, fs.DeepLinear((4, 1)), weight_decay=decay)


def test_a_parametrization_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"parametrization is tuple; pass DeepLinear\(widths\)"):
        fs.Problem(lambda w: w @ w, (4, 1))


def test_values_are_float64_for_a_plain_function():
    prob = fs.Problem(lambda w: jnp.sum((w - 1 / 3) ** 2), fs.DeepLinear((3, 2, 1)))
    theta = prob.parametrization.balanced([0.1, 0.2, 0.3])
    expected = np.sum((np.array([0.1, 0.2, 0.3]) - 1 / 3) ** 2)
    assert abs(prob.value(theta) / expected - 1) <= 1e-14
    assert prob.end_to_end(theta).shape == (3,)


# --- problems of a function -----------------------------------------------------------------------


def quartic(params):
    return jnp.sum(params["a"] ** 4) + jnp.sum(params["b"][0] ** 2) / 3


PARAMS = {"a": np.array([0.1, 0.7]), "b": (np.full((2, 2), 0.3),)}


def test_the_value_of_a_function_is_float64():
    prob = fs.Problem.from_function(quartic, PARAMS)
    expected = 0.1**4 + 0.7**4 + 4 * 0.3**2 / 3
    assert abs(float(prob.value(PARAMS)) / expected - 1) <= 1e-15
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize(
    ("theta", "match"),
    [
        ({"a": PARAMS["a"]}, r"theta has structure .* is needed"),
        ({"a": PARAMS["a"], "b": [PARAMS["b"][0]]}, r"theta has structure .* is needed"),
        ({**PARAMS, "a": np.ones(3)}, r"theta\['a'\] has shape \(3,\); \(2,\) is needed"),
        ({**PARAMS, "a": np.array([1.0, np.nan])}, r"theta\['a'\] holds nan at index \(1,\)"),
        ({**PARAMS, "b": (np.ones((2, 2)) * 1j,)}, r"theta\['b'\]\[0\] has dtype complex128"),
    ],
)
def test_bad_starts_name_the_leaf(theta, match):
    with pytest.raises(InputError, match=match):
        fs.Problem.from_function(quartic, PARAMS).check_start(theta)


def test_a_function_must_return_one_scalar():
    with pytest.raises(InputError, match=r"f returns .* at params; it must return one real scalar"):
        fs.Problem.from_function(lambda p: p["a"], PARAMS)
    with pytest.raises(InputError, match=r"f returns .*; it must return one real scalar"):
        fs.Problem.from_function(lambda p: (p["a"].sum(), 1.0), PARAMS)


def test_a_function_that_is_none_is_refused():
    with pytest.raises(InputError, match=r"f is int; pass a JAX scalar function"):
        fs.Problem.from_function(3, PARAMS)


def test_bad_params_name_the_leaf():
    with pytest.raises(InputError, match=r"params\['a'\] has dtype <U1"):
        fs.Problem.from_function(quartic, {**PARAMS, "a": np.array(["x", "y"])})


def test_a_loss_is_left_alone():
    loss = fs.LpLoss(np.eye(2), np.ones(2), p=2)
    assert as_loss(loss) is loss
