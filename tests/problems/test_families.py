"""Families of parametrizations against loops written out by hand, and all that they refuse."""

import itertools

import numpy as np
import pytest

import flowsim as fs
from flowsim._errors import InputError
from flowsim.problems import functions as fn
from flowsim.problems.functions import FUNCTIONS

RNG = np.random.default_rng(23)


def factors_of(par, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=shape) for shape in par.shapes]


def assert_value(par, wanted, theta):
    value = par(theta)
    assert np.shape(value) == tuple(par.end_to_end_shape) == np.shape(wanted)
    np.testing.assert_allclose(value, wanted, rtol=1e-13, atol=1e-15)
    assert par.size == sum(np.size(x) for x in theta)
    assert len(par.names) == len(par.shapes) == len(theta)


# --- values ---------------------------------------------------------------------------------------


def test_scaled_vector():
    par = fs.ScaledVector(3)
    w1, w2 = theta = factors_of(par)
    assert par.names == ("w1", "w2")
    assert_value(par, [w1[i] * w2 for i in range(3)], theta)


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_diagonal(depth):
    par = fs.Diagonal(3, depth)
    u, v = theta = factors_of(par)
    wanted = [np.prod([u[i]] * depth) - np.prod([v[i]] * depth) for i in range(3)]
    assert_value(par, wanted, theta)
    assert fs.Diagonal(3) == fs.Diagonal(3, depth=2)


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_diagonal_product(depth):
    par = fs.DiagonalProduct(3, depth)
    theta = factors_of(par)
    assert par.names == tuple(f"w{j + 1}" for j in range(depth))
    assert_value(par, [np.prod([w[i] for w in theta]) for i in range(3)], theta)


def test_weight_normalized():
    par = fs.WeightNormalized(4)
    g, v = theta = factors_of(par)
    length = sum(x * x for x in v) ** 0.5
    assert_value(par, [g * x / length for x in v], theta)
    assert np.linalg.norm(par(theta)) == pytest.approx(abs(g))
    assert par.kinks == ("norm(v) has no derivative at v = 0",)
    assert fs.ScaledVector(3).kinks == ()


def test_symmetric_factorization():
    par = fs.SymmetricFactorization(3, 2)
    (U,) = theta = factors_of(par)
    wanted = [[sum(U[i, r] * U[j, r] for r in range(2)) for j in range(3)] for i in range(3)]
    assert_value(par, wanted, theta)


def test_two_layer():
    par = fs.TwoLayer((3, 2, 4))
    W1, W2 = theta = factors_of(par)
    wanted = [[sum(W2[i, r] * W1[r, j] for r in range(2)) for j in range(3)] for i in range(4)]
    assert_value(par, wanted, theta)
    np.testing.assert_array_equal(par(theta), fs.DeepLinear((3, 2, 4))(theta))


@pytest.mark.parametrize("dims", [(2, 3), (3, 4, 2), (2, 2, 3, 2), (1, 3, 1)])
def test_cp(dims):
    par = fs.CP(dims, rank=3)
    theta = factors_of(par)
    wanted = np.zeros(dims)
    for entry in np.ndindex(*dims):
        for r in range(3):
            wanted[entry] += np.prod([A[i, r] for A, i in zip(theta, entry, strict=True)])
    assert_value(par, wanted, theta)
    assert par.names == tuple(f"A{n + 1}" for n in range(len(dims)))


def tree_tensors(tree, leaves, inner, rank):
    """The tensors that a node stands for, by its definition; consumes factors in their order."""
    if isinstance(tree, int):
        U = next(leaves)
        return [U[:, r] for r in range(U.shape[1])]
    children = [tree_tensors(child, leaves, inner, rank) for child in tree]
    B = next(inner)
    tensors = []
    for r in range(B.shape[1]):
        total = 0.0
        for s in range(rank):
            product = np.array(1.0)
            for child in children:
                product = np.multiply.outer(product, child[s])
            total = total + B[s, r] * product
        tensors.append(total)
    return tensors


@pytest.mark.parametrize(
    "tree",
    [
        (2, 3),
        ((2, 3), (2, 2)),
        (((2, 3), (2, 2)), ((3, 2), (2, 2))),
        (2, (3, (2, 2))),
        ((2, 2, 2), 3),
        (((2, 3), 2), 2, 3),
        [[2, 3], 2],
    ],
)
def test_hierarchical_tucker(tree):
    rank = 2
    par = fs.HierarchicalTucker(tree, rank)
    theta = factors_of(par)
    leaves = [x for name, x in zip(par.names, theta, strict=True) if name.startswith("U")]
    inner = [x for name, x in zip(par.names, theta, strict=True) if name.startswith("B")]
    (wanted,) = tree_tensors(tree, iter(leaves), iter(inner), rank)
    assert_value(par, wanted, theta)
    assert inner[-1].shape == (rank, 1)
    assert all(B.shape == (rank, rank) for B in inner[:-1])
    assert len(leaves) == wanted.ndim


def test_many_factors_are_contracted_two_at_a_time(monkeypatch):
    sizes = []
    right = np.einsum

    def counted(spec, *operands, **options):
        sizes.append(options.get("optimize", len(operands)))
        return right(spec, *operands, **options)

    monkeypatch.setattr(np, "einsum", counted)
    # All indices at once would be 4^8 3^7 products of 15 numbers.
    par = fs.HierarchicalTucker((((4, 4), (4, 4)), ((4, 4), (4, 4))), 3)
    assert par(factors_of(par)).shape == (4,) * 8
    exact = np.array([[1, 2], [3, 4]], dtype=object)
    assert fs.CP((2, 2, 2), 2)([exact] * 3)[0, 1, 1] == 1 * 3 * 3 + 2 * 4 * 4
    assert sizes == ["greedy", 3]


def test_a_tree_of_one_level_is_a_cp_with_weights():
    par = fs.HierarchicalTucker((2, 3, 2), 4)
    *U, B = factors_of(par)
    np.testing.assert_allclose(par([*U, B]), fs.CP((2, 3, 2), 4)([U[0] * B[:, 0], *U[1:]]))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("widths", [(2, 3), (2, 3, 1), (3, 2, 4, 2), (2, 2, 3, 2, 1)])
def test_relu_output_is_the_sum_over_active_paths(widths, bias):
    par = fs.ReLUPaths(widths, bias=bias)
    depth = len(widths) - 1
    theta = factors_of(par, seed=5)
    weights, biases = theta[:depth], theta[depth:]
    assert len(biases) == (depth - 1 if bias else 0)
    products = par(theta)
    assert products.shape == tuple(par.end_to_end_shape)
    for x in np.random.default_rng(6).normal(size=(5, widths[0])):
        # Forward pass, which keeps the pattern of active units.
        h, active = x, []
        for j, W in enumerate(weights):
            z = W @ h + (biases[j] if bias and j < depth - 1 else 0.0)
            active.append(z > 0 if j < depth - 1 else np.ones(widths[-1], bool))
            h = np.where(active[-1], z, 0.0)
        # Sum over paths: from the inputs first, then from each layer's biases, last index fastest.
        total, place = np.zeros(widths[-1]), 0
        for start in range(depth if bias else 1):
            for path in itertools.product(*(range(n) for n in widths[start:])):
                on = all(active[start + k - 1][unit] for k, unit in enumerate(path) if k + start)
                total[path[-1]] += products[place] * on * (x[path[0]] if start == 0 else 1.0)
                place += 1
        assert place == len(products)
        np.testing.assert_allclose(total, h, rtol=1e-12, atol=1e-13)


# --- lambda-balanced starts -----------------------------------------------------------------------


@pytest.mark.parametrize("lam", [0.0, 1e-6, 0.7, 30.0, -0.7, -30.0])
@pytest.mark.parametrize(
    ("widths", "rank"),
    [
        ((3, 3, 3), 3),
        ((4, 3, 3), 2),
        ((3, 3, 4), 3),
        ((4, 2, 4), 2),
        ((4, 3, 4), 0),
        ((2, 1, 1), 1),
    ],
)
def test_lambda_balanced_starts(widths, rank, lam):
    d, h, k = widths
    par = fs.TwoLayer(widths)
    w0 = RNG.normal(size=(k, rank)) @ RNG.normal(size=(rank, d))
    W1, W2 = par.lambda_balanced(w0, lam)
    assert W1.shape == (h, d)
    assert W2.shape == (k, h)
    size = max(np.linalg.norm(w0), abs(lam), 1e-300)
    assert np.linalg.norm(W2 @ W1 - w0) <= 1e-13 * size
    assert np.linalg.norm(W2.T @ W2 - W1 @ W1.T - lam * np.eye(h)) <= 1e-13 * size


def test_lambda_balanced_starts_keep_small_singular_values():
    par, w0 = fs.TwoLayer((2, 2, 2)), np.diag([1e-9, 1e-12])
    for lam in (100.0, -100.0):
        W1, W2 = par.lambda_balanced(w0, lam)
        np.testing.assert_allclose(W2 @ W1, w0, rtol=1e-12, atol=1e-24)


def test_more_hidden_units_than_either_side_are_balanced_at_zero_alone():
    par = fs.TwoLayer((2, 5, 3))
    w0 = RNG.normal(size=(3, 2))
    W1, W2 = par.lambda_balanced(w0, 0.0)
    assert np.linalg.norm(W2.T @ W2 - W1 @ W1.T) <= 1e-13
    np.testing.assert_allclose(W2 @ W1, w0, rtol=1e-12)


@pytest.mark.parametrize(
    ("widths", "w0", "lam", "match"),
    [
        (
            (3, 1, 3),
            np.eye(3),
            0.0,
            "w0 has rank 3, but there are 1 hidden units: h must be at least 3",
        ),
        (
            (3, 3, 2),
            np.ones((2, 3)),
            1.0,
            "there are 3 hidden units: .* for .* this sign, at most 2",
        ),
        ((2, 3, 3), np.ones((3, 2)), -1.0, "imbalance is -1 and w0 has rank 1.*at most 2"),
        ((3, 2, 2), np.ones((3, 2)), 0.0, r"w0 has shape \(3, 2\), where \(2, 3\) is needed"),
        ((3, 2, 2), np.ones(3), 0.0, "w0"),
        ((3, 2, 2), np.full((2, 3), np.nan), 0.0, r"w0 holds nan at index \(0, 0\)"),
        ((3, 2, 2), np.ones((2, 3)), float("nan"), "imbalance"),
        ((3, 2, 2), np.ones((2, 3)), "1", "imbalance"),
    ],
)
def test_lambda_balanced_refusals(widths, w0, lam, match):
    with pytest.raises(InputError, match=match):
        fs.TwoLayer(widths).lambda_balanced(w0, lam)


# --- sizes ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: fs.ScaledVector(0), "d is 0"),
        (lambda: fs.ScaledVector(2.5), "d is 2.5"),
        (lambda: fs.Diagonal(3, 0), "depth is 0"),
        (lambda: fs.Diagonal(True), "d is True"),
        (lambda: fs.DiagonalProduct(3, "2"), "depth is '2'"),
        (lambda: fs.WeightNormalized(-1), "d is -1"),
        (lambda: fs.SymmetricFactorization(3, 0), "r is 0"),
        (lambda: fs.SymmetricFactorization(None, 1), "n is None"),
        (lambda: fs.TwoLayer((3, 2)), r"widths is \(3, 2\); pass \(inputs, hidden, outputs\)"),
        (lambda: fs.TwoLayer(3), "widths is 3; pass"),
        (lambda: fs.TwoLayer((3, 0, 2)), r"widths\[1\] is 0"),
        (lambda: fs.CP((3,), 2), r"dims is \(3,\); pass at least two sizes"),
        (lambda: fs.CP(3, 2), "dims is 3; pass at least two sizes"),
        (lambda: fs.CP((3, 0), 2), r"dims\[1\] is 0"),
        (lambda: fs.CP((3, 2), 0), "rank is 0"),
        (lambda: fs.CP((2,) * 21, 1), "dims has 21 modes; at most 20"),
        (lambda: fs.HierarchicalTucker(3, 2), "tree is 3; pass nested tuples"),
        (lambda: fs.HierarchicalTucker((3,), 2), r"tree is \(3,\); pass nested tuples"),
        (lambda: fs.HierarchicalTucker("ab", 2), "tree|leaf"),
        (lambda: fs.HierarchicalTucker((2, (3,)), 2), "a leaf of tree is"),
        (lambda: fs.HierarchicalTucker((2, 0), 2), "a leaf of tree is 0"),
        (lambda: fs.HierarchicalTucker((2, 3), 0), "rank is 0"),
        (lambda: fs.HierarchicalTucker((2,) * 52, 2), "tree has more than 52 nodes"),
        (lambda: fs.ReLUPaths((3,)), r"widths is \(3,\); pass sizes of layers"),
        (lambda: fs.ReLUPaths(3), "widths is 3; pass sizes of layers"),
        (lambda: fs.ReLUPaths((3, 0, 1)), r"widths\[1\] is 0"),
    ],
)
def test_sizes_that_are_none_are_refused(make, match):
    with pytest.raises(InputError, match=match):
        make()


# --- parametrizations of one's own ----------------------------------------------------------------


def test_shapes_of_ones_own_may_be_numbers_or_tuples():
    par = fs.Parametrization.from_function(
        lambda g, u, W: g * (W @ u), {"g": (), "u": 3, "W": [2, 3]}
    )
    assert par.names == ("g", "u", "W")
    assert par.shapes == ((), (3,), (2, 3))
    assert par.end_to_end_shape == (2,)
    assert par.size == 10
    g, u, W = theta = factors_of(par)
    assert_value(par, g * W @ u, theta)


@pytest.mark.parametrize(
    ("f", "shapes", "match"),
    [
        (lambda u: u, {}, "shapes is {}; pass the shape of each factor by name"),
        (lambda u: u, [("u", 3)], "shapes is .*; pass the shape of each factor by name"),
        (lambda u: u, {3: 3}, "shapes names a factor 3; names are letters and digits"),
        (lambda u: u, {"a b": 3}, "shapes names a factor 'a b'"),
        (lambda G: G, {"G": 3}, "shapes names a factor 'G', as laws call the gradient"),
        (lambda u: u, {"_u": 3}, "shapes names a factor '_u'"),
        (lambda u: u, {"u": "3"}, r"shapes\['u'\] is '3'; pass a tuple"),
        (lambda u: u, {"u": 2.5}, r"shapes\['u'\] is 2.5; pass a tuple"),
        (lambda u: u, {"u": (2, 0)}, r"shapes\['u'\]\[1\] is 0"),
        ("u**2", {"u": 3}, "f is str; pass a function of the factors"),
        (lambda u: u, {"u": 3, "v": 3}, "f cannot be evaluated on factors u, v of shapes"),
        (lambda u, v: u @ v, {"u": 3, "v": 4}, "f cannot be evaluated on factors u, v"),
        (lambda u: [u, u], {"u": 3}, "f returns .*; it must return one array of real numbers"),
        (lambda u: None, {"u": 3}, "f returns None; it must return one array"),
        (lambda u: u > 0, {"u": 3}, "f returns .*; it must return one array of real numbers"),
        (lambda u: u * 1j, {"u": 3}, "f returns .*; it must return one array of real numbers"),
        (lambda u: u if u[0] > 0 else -u, {"u": 3}, "f cannot be evaluated.*Boolean|Tracer"),
        (lambda u: fn.sqrt(-(u**2)), {"u": 3}, "f or its derivative is not finite at the random"),
        (lambda u: fn.norm(0 * u) * u, {"u": 3}, "f or its derivative is not finite"),
    ],
)
def test_maps_that_are_none_are_refused(f, shapes, match):
    with pytest.raises(InputError, match=match):
        fs.Parametrization.from_function(f, shapes)


def test_a_map_of_positive_factors_alone_is_accepted():
    par = fs.Parametrization.from_function(lambda u: fn.log(u) + u**1.5, {"u": 3})
    assert par.end_to_end_shape == (3,)


def test_factors_may_be_given_by_name_or_in_order():
    par = fs.ScaledVector(2)
    w1, w2 = par.check_factors({"w2": 2.0, "w1": [1.0, 3.0]})
    np.testing.assert_array_equal(w1, [1.0, 3.0])
    assert w2.shape == ()
    with pytest.raises(InputError, match="theta has the factors w1; w1, w2 are needed"):
        par.check_factors({"w1": [1.0, 3.0]})
    with pytest.raises(InputError, match=r"start\[0\] has shape \(3,\); w1 has shape \(2,\)"):
        par.check_factors(([1.0, 2.0, 3.0], 1.0), name="start")


@pytest.mark.parametrize(
    ("rates", "match"),
    [
        ({"w3": 1.0}, "rates names 'w3'; the factors are w1, w2"),
        ({"w1": 0.0}, r"rates\['w1'\]"),
        ({"w1": -1.0}, r"rates\['w1'\]"),
        ({"w1": float("inf")}, r"rates\['w1'\]"),
        ({"w1": "2"}, r"rates\['w1'\]"),
        ([2.0, 1.0], r"rates is \[2.0, 1.0\]; pass rates by factor"),
    ],
)
def test_rates_that_are_none_are_refused(rates, match):
    loss = fs.LpLoss(np.eye(3), np.ones(3), p=2)
    with pytest.raises(InputError, match=match):
        fs.Problem(loss, fs.ScaledVector(3), rates=rates)


def test_rates_of_one_are_not_kept():
    loss = fs.LpLoss(np.eye(3), np.ones(3), p=2)
    assert fs.Problem(loss, fs.ScaledVector(3), rates={"w1": 1, "w2": 2}).rates == {"w2": 2.0}
    with pytest.raises(InputError, match="parametrization is function; pass DeepLinear"):
        fs.Problem(loss, lambda u: u)


# --- the named functions --------------------------------------------------------------------------


def test_named_functions_compute_as_numpy_and_jax():
    import jax
    import jax.numpy as jnp

    rng = np.random.default_rng(3)
    u, v, A, B = np.abs(rng.normal(size=3)), rng.normal(size=3), rng.normal(size=(3, 3)), np.eye(3)
    calls = {
        "sum": ((A,), A.sum()),
        "norm": ((A,), np.linalg.norm(A)),
        "trace": ((A,), np.trace(A)),
        "diag": ((u,), np.diag(u)),
        "transpose": ((A,), A.T),
        "kron": ((A, B), np.kron(A, B)),
        "outer": ((u, v), np.outer(u, v)),
        "exp": ((u,), np.exp(u)),
        "log": ((u,), np.log(u)),
        "sqrt": ((u,), np.sqrt(u)),
        "tanh": ((v,), np.tanh(v)),
        "sin": ((v,), np.sin(v)),
        "cos": ((v,), np.cos(v)),
    }
    assert set(calls) == set(FUNCTIONS)
    for name, (operands, wanted) in calls.items():
        function = FUNCTIONS[name]
        assert function.arity == len(operands)
        np.testing.assert_allclose(function.call(*operands), wanted, rtol=1e-15)
        assert getattr(fs.functions, name) is function.call
        with jax.enable_x64(True):
            traced = function.call(*map(jnp.asarray, operands))
            assert isinstance(traced, jax.Array)
            np.testing.assert_allclose(traced, wanted, rtol=1e-14)
    np.testing.assert_array_equal(fn.concatenate(u, v), [*u, *v])
    np.testing.assert_array_equal(fn.ravel(A), A.reshape(-1))
    np.testing.assert_allclose(fn.einsum("ij,j->i", A, u), A @ u)


def test_powers_take_fractions_exactly_where_they_can():
    from fractions import Fraction

    import sympy as sp

    x = sp.Symbol("x", positive=True)
    entries = np.array([x, x**2], dtype=object)
    assert list(fn.power(entries, Fraction(3, 1))) == [x**3, x**6]
    assert fn.power(4.0, Fraction(1, 2)) == 2.0
    np.testing.assert_allclose(fn.power(np.array([4.0, 9.0]), Fraction(1, 2)), [2.0, 3.0])
    assert fn.power(3, 2) == 9
