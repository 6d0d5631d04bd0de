"""Fields of any parametrization: both backends, finite differences, rates, starts, storage."""

import functools
import operator

import numpy as np
import pytest
import sympy as sp

import flowsim as fs
from flowsim._errors import InputError, LoweringError
from flowsim.lowering import MapField, lower_problem, maps
from flowsim.lowering.contraction import compile_tensors
from flowsim.lowering.maps import pushforward_of, verify_pushforward
from flowsim.problems import functions as fn
from flowsim.symbolic.indexed import SymbolicArray, Tensor
from tests.problems.handwritten import differences
from tests.symbolic.maps import MAPS, point

RNG = np.random.default_rng(17)
X, Y = RNG.normal(size=(6, 3)), RNG.normal(size=6)
LOSS = fs.LpLoss(X, Y, p=2)

INTEGRATED = {
    "powers",
    "weight normalization",
    "functions of functions",
    "norms of sums",
}


def squared(target):
    return lambda w: ((w - target) ** 2).sum() / 2


def problem(name, **options):
    f, shapes = MAPS[name]
    par = fs.Parametrization.from_function(f, shapes)
    if par.end_to_end_shape == (3,):
        return fs.Problem(LOSS, par, **options)
    target = np.random.default_rng(2).normal(size=par.end_to_end_shape)
    return fs.Problem(squared(target), par, **options)


def evaluated(field, theta):
    with fs.float64():
        return [np.asarray(v) for v in field(0.0, field.start(theta))]


@pytest.mark.parametrize("name", MAPS)
def test_both_backends_agree_with_finite_differences(name):
    first = next(iter(MAPS[name][1]))
    prob = problem(name, weight_decay=0.3, rates={first: 2.5})
    theta = point(MAPS[name][1], seed=5)
    jax_field = lower_problem(prob, backend="jax")
    velocities = evaluated(jax_field, theta)
    sizes = [np.size(x) for x in theta]

    def objective(flat):
        parts = np.split(np.asarray(flat, float), np.cumsum(sizes)[:-1])
        factors = [p.reshape(np.shape(x)) for p, x in zip(parts, theta, strict=True)]
        decay = sum(float(np.sum(x * x)) for x in factors)
        with fs.float64():
            return float(prob.value(factors)) + 0.3 / 2 * decay

    flat = differences(objective, np.concatenate([np.ravel(x) for x in theta]), h=1e-3)
    speeds = [2.5] + [1.0] * (len(theta) - 1)
    parts = np.split(flat, np.cumsum(sizes)[:-1])
    for v, part, speed in zip(velocities, parts, speeds, strict=True):
        np.testing.assert_allclose(np.ravel(v), -speed * part, rtol=2e-6, atol=2e-6)
    if prob.loss.shape is not None:  # a loss of flowsim's own has a NumPy reading
        numpy_field = lower_problem(prob, backend="numpy")
        for a, b in zip(velocities, evaluated(numpy_field, theta), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("name", sorted(INTEGRATED))
def test_both_backends_integrate_to_the_same_flow(name):
    prob = problem(name, weight_decay=0.1, rates={next(iter(MAPS[name][1])): 0.5})
    theta = point(MAPS[name][1], seed=6)
    ends = [
        fs.integrate(lower_problem(prob, backend=backend), theta, 0.5, ts=[0.5], rtol=1e-11)
        for backend in ("jax", "numpy")
    ]
    assert np.linalg.norm(ends[0].end_to_end[-1] - ends[1].end_to_end[-1]) <= 1e-8
    for a, b in zip(ends[0].final, ends[1].final, strict=True):
        assert np.linalg.norm(a - b) <= 1e-8


def test_descent_is_eulers_method_on_the_field():
    prob = problem("weight normalization", weight_decay=0.1, rates={"v": 2.0})
    theta = point(MAPS["weight normalization"][1])
    field, y, eta = lower_problem(prob, backend="jax"), tuple(theta), 0.05
    for _ in range(20):
        y = tuple(x + eta * v for x, v in zip(y, evaluated(field, y), strict=True))
    run = fs.descend(prob, theta, learning_rate=eta, steps=20)
    for a, b in zip(run.final, y, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-13)


@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_a_derived_law_lowers_to_the_field_of_the_problem(backend):
    prob = problem("functions of functions", weight_decay=0.25, rates={"u": 3.0})
    law = fs.derive(prob.parametrization, weight_decay=0.25, rates={"u": 3})
    theta = point(MAPS["functions of functions"][1])
    field = law.lower(LOSS, backend=backend)
    assert isinstance(field, MapField)
    assert field.strategy == "factors"
    for a, b in zip(
        evaluated(field, theta), evaluated(lower_problem(prob, backend=backend), theta), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-13)
    with fs.float64():
        assert float(field.value(tuple(theta))) == pytest.approx(float(prob.value(theta)))
    assert ("def law(factors, G)" in field.about.source) == (backend == "numpy")


def test_a_flow_of_any_map_is_saved_and_loaded(tmp_path):
    prob = problem("three factors", weight_decay=0.1)
    flow = fs.integrate(prob, point(MAPS["three factors"][1]), 0.2, ts=[0.1, 0.2])
    flow.save(tmp_path / "flow.npz")
    loaded = fs.load(tmp_path / "flow.npz")
    for a, b in zip(flow.final, loaded.final, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(flow.end_to_end, loaded.end_to_end)
    np.testing.assert_array_equal(flow.loss, loaded.loss)


def test_new_numbers_do_not_compile_again():
    traced = 0

    def f(u, v):
        nonlocal traced
        traced += 1
        return u**2 - v**2

    par = fs.Parametrization.from_function(f, {"u": 3, "v": 3})

    def run(seed):
        rng = np.random.default_rng(seed)
        loss = fs.LpLoss(rng.normal(size=(6, 3)), rng.normal(size=6), p=2)
        prob = fs.Problem(loss, par, weight_decay=0.1 * (seed + 1), rates={"u": 2.0 + seed})
        start = [rng.normal(size=3), rng.normal(size=3)]
        before = traced
        flow = fs.integrate(prob, start, 0.1 + 0.1 * seed, solver="dopri8", ts=[0.05])
        assert np.isfinite(flow.loss).all()
        return traced - before

    first, second, third = run(0), run(1), run(2)
    assert first > 0
    # What is left are readings of the states outside of the compiled loop.
    assert second == third
    assert second <= 2


def test_equal_families_share_one_law():
    assert pushforward_of(fs.Diagonal(4, 3)) is pushforward_of(fs.Diagonal(4, 3))
    assert pushforward_of(fs.Diagonal(4, 3)) is not pushforward_of(fs.Diagonal(4, 2))


# --- starts ---------------------------------------------------------------------------------------


def test_a_start_may_be_given_by_names():
    prob = problem("weight normalization")
    v = np.array([1.0, 2.0, -1.0])
    by_name = fs.integrate(prob, {"v": v, "g": 0.5}, 0.1, ts=[0.1])
    in_order = fs.integrate(prob, (0.5, v), 0.1, ts=[0.1])
    np.testing.assert_array_equal(by_name.end_to_end, in_order.end_to_end)
    one = fs.Problem(squared(np.eye(3)), fs.SymmetricFactorization(3, 2))
    U = np.arange(6.0).reshape(3, 2)
    np.testing.assert_array_equal(
        fs.integrate(one, U, 0.01, ts=[0.01]).end_to_end,
        fs.integrate(one, {"U": U}, 0.01, ts=[0.01]).end_to_end,
    )


@pytest.mark.parametrize(
    ("start", "match"),
    [
        ({"g": 1.0}, "y0 has the factors g; g, v are needed"),
        ({"g": 1.0, "v": np.ones(3), "w": 1.0}, "y0 has the factors g, v, w; g, v are needed"),
        ((1.0,), r"y0 holds 1 factors; 2 are needed, g, v of shapes \(\(\), \(3,\)\)"),
        (np.ones(3), "y0 holds ndarray factors; 2 are needed"),
        (None, "y0 holds NoneType factors"),
        ((1.0, np.ones(4)), r"y0\[1\] has shape \(4,\); v has shape \(3,\)"),
        ((np.ones(1), np.ones(3)), r"y0\[0\] has shape \(1,\); g has shape \(\)"),
        ((1.0, np.array([1.0, np.nan, 0.0])), r"y0\[1\] holds nan at index \(1,\)"),
        ((1.0, np.ones(3) * 1j), r"y0\[1\] has dtype complex128"),
    ],
)
@pytest.mark.parametrize("backend", ["jax", "numpy"])
def test_bad_starts_are_refused_by_name(start, match, backend):
    field = lower_problem(problem("weight normalization"), backend=backend)
    with pytest.raises(InputError, match=match):
        fs.integrate(field, start, 1.0)


# --- what cannot be lowered -----------------------------------------------------------------------


def test_symbols_without_values_are_refused():
    law = fs.derive(fs.ScaledVector(3), weight_decay=sp.Symbol("lambda"))
    with pytest.raises(LoweringError, match="the law holds the symbol lambda, which has no value"):
        law.lower(LOSS)
    law = fs.derive(fs.ScaledVector(3), rates={"w1": sp.Symbol("kappa", positive=True)})
    with pytest.raises(LoweringError, match="the symbol kappa"):
        law.lower(LOSS)
    n = sp.Symbol("n", integer=True, positive=True)
    A = SymbolicArray(Tensor.variable("A", (n, 2)))
    with pytest.raises(LoweringError, match="the size n is a symbol"):
        compile_tensors([fn.diag(A @ A.T).tensor], ("A",))
    scaled = Tensor.variable("u", (2,)).scaled(sp.Symbol("c"))
    with pytest.raises(LoweringError, match="the law holds the symbol c"):
        compile_tensors([scaled], ("u",))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backend": "numpi"}, r"backend is 'numpi'.*Did you mean 'numpy'"),
        ({"strategy": "spectral"}, r"strategy is 'spectral', which is none of 'auto', 'factors'"),
    ],
)
def test_unknown_names_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        fs.derive(fs.ScaledVector(3)).lower(LOSS, **options)


def test_a_loss_of_another_shape_is_refused():
    with pytest.raises(InputError, match=r"loss is on .* shape \(3,\)"):
        fs.derive(fs.ScaledVector(4)).lower(LOSS)


def test_a_map_that_only_jax_can_read_is_refused_before_work():
    import jax.numpy as jnp

    par = fs.Parametrization.from_function(lambda u: jnp.tanh(u), {"u": 3})
    with pytest.raises(InputError, match="the map cannot be written with symbols"):
        fs.integrate(fs.Problem(LOSS, par), np.ones(3), 1.0)


def test_a_law_that_disagrees_with_its_map_is_found_out(monkeypatch):
    law = fs.derive(fs.Parametrization.from_function(lambda u, v: u * v * v, {"u": 3, "v": 3}))
    assert verify_pushforward(law) < 1e-8

    right = maps._compiled

    def wrong(plain):
        compiled = right(plain)

        def function(factors, G):
            u, v = compiled.function(factors, G)
            return u, v / 2

        return type(compiled)(function, compiled.source)

    monkeypatch.setattr(maps, "_compiled", wrong)
    with pytest.raises(LoweringError, match="disagrees with finite differences of the map"):
        verify_pushforward.__wrapped__(law)


@pytest.mark.parametrize("f", [lambda u: 1 / u, lambda u: u**-4, lambda u: fn.log(u)])
def test_maps_with_poles_or_half_a_domain_are_verified_away_from_them(f):
    par = fs.Parametrization.from_function(f, {"u": 50})
    assert verify_pushforward(pushforward_of(par)) <= 1e-8


def test_a_term_with_too_many_indices_is_refused():
    A = SymbolicArray(Tensor.variable("A", (2, 2)))
    product = functools.reduce(operator.matmul, [A] * 60)
    with pytest.raises(LoweringError, match="more than 52 indices"):
        compile_tensors([product.tensor], ("A",))


# --- the code -------------------------------------------------------------------------------------


def test_what_terms_share_is_computed_once():
    law = fs.derive(fs.DiagonalProduct(4, 3))
    source = compile_tensors(list(law.gradients.values()), law.parent.names).source
    lines = [line.split(" = ", 1)[1] for line in source.split("\n") if " = " in line]
    assert len(lines) == len(set(lines))


def test_matrix_products_are_matrix_products():
    law = fs.derive(fs.TwoLayer((3, 2, 4)))
    source = compile_tensors(list(law.gradients.values()), law.parent.names).source
    assert "einsum" not in source
    assert source.count(" @ ") == 2
