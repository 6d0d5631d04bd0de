"""Lowering: what is refused, what the printer knows, and how hypotheses bite."""

import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

import flowsim as fs
from flowsim._errors import BalanceWarning, HypothesisError, InputError, LoweringError
from flowsim.lowering import as_field, lower_problem
from flowsim.lowering.printer import compile_law, generate_source
from flowsim.symbolic import Layer, PSDPower, end_to_end, gradient

RNG = np.random.default_rng(41)
NET = fs.DeepLinear((3, 2, 2))
LOSS = fs.LpLoss(RNG.normal(size=(5, 3)), RNG.normal(size=(5, 2)), p=4.0)
LAW = fs.derive(NET)
W0 = RNG.normal(size=(2, 3))


# --- arguments ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"backend": "JAX"}, r"backend is 'JAX'.*Did you mean 'jax'"),
        ({"backend": "numpi"}, r"backend is 'numpi'.*Did you mean 'numpy'"),
        ({"backend": None}, r"backend is None, which is none of 'jax', 'numpy'"),
        ({"strategy": "spectrum"}, r"strategy is 'spectrum'.*Did you mean 'spectral'"),
        ({"strategy": "factor"}, r"strategy is 'factor'.*Did you mean 'factors'"),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(options, match):
    with pytest.raises(InputError, match=match):
        LAW.lower(LOSS, **options)


def test_a_loss_of_another_shape_is_refused():
    loss = fs.LpLoss(np.eye(3), np.ones(3), p=2)
    with pytest.raises(InputError, match=r"loss is on .* shape \(3,\).*gives \(2, 3\)"):
        LAW.lower(loss)


@pytest.mark.parametrize("backend", ["jax", "numpy"])
@pytest.mark.parametrize("strategy", ["factors", "spectral"])
@pytest.mark.parametrize(
    ("y0", "match"),
    [
        (np.ones((3, 2)), r"y0 has shape \(3, 2\); the end-to-end value has shape \(2, 3\)"),
        (np.ones(3), r"y0 has shape \(3,\)"),
        (np.ones((4, 3, 2)), r"y0 has shape \(4, 3, 2\)"),
        (np.full((2, 3), np.nan), r"y0 holds nan at index \(0, 0\)"),
        (np.ones((2, 3)) * 1j, r"y0 has dtype complex128"),
    ],
)
def test_bad_end_to_end_starts_are_refused(y0, match, strategy, backend):
    field = LAW.lower(LOSS, backend=backend, strategy=strategy)
    with pytest.raises(InputError, match=match):
        fs.integrate(field, y0, 1.0)


def test_a_function_problem_has_no_numpy_field():
    prob = fs.Problem.from_function(lambda p: jnp.sum(p**2), np.ones(2))
    with pytest.raises(InputError, match=r"backend is 'numpy'.*Use backend='jax'"):
        lower_problem(prob, backend="numpy")
    with pytest.raises(InputError, match="field_or_problem is str"):
        as_field("flow")


def test_what_was_chosen_is_said():
    auto = LAW.lower(LOSS)
    assert auto.strategy == "factors"
    assert auto.about.reason.startswith("auto: ")
    assert "def law(factors, W, G)" in auto.about.source
    assert LAW.lower(LOSS, strategy="spectral").about.reason == "as asked for"
    assert "one factor" in fs.derive(fs.DeepLinear((3, 2))).lower(LOSS).about.reason


def test_precision_is_guarded():
    field = LAW.lower(LOSS, strategy="spectral")
    with pytest.raises(fs.PrecisionError, match=r"float64 data.*with flowsim\.float64"):
        field(0.0, jnp.asarray(W0, jnp.float32))
    assert not jax.config.jax_enable_x64


# --- printer --------------------------------------------------------------------------------------

N = sp.Integer(2)
W, G = end_to_end(N), gradient(N)


@pytest.mark.parametrize(
    ("expression", "match"),
    [
        (sp.Inverse(PSDPower(W * W.T, sp.Rational(1, 2)) + sp.Identity(W.rows)), "Inverse"),
        (sp.HadamardProduct(W, G), "HadamardProduct"),
        (sp.sin(sp.Trace(W * W.T)), "sin"),
        (sp.Trace(W * W.T), "Trace"),
        (sp.pi * W, "Pi"),
        (sp.I * W, "ImaginaryUnit"),
        (sp.Symbol("lambda") * W, r"the symbol lambda, which has no value.*weight_decay=0\.1"),
        (sp.MatrixSymbol("Q", W.rows, W.cols) + W, r"the matrix Q; only W and G"),
        (Layer(sp.Symbol("j", integer=True, positive=True)), r"symbolic index j.*law\.at\(3\)"),
        (sp.oo * sp.Symbol("x"), r"constant oo|the symbol x"),
    ],
)
def test_a_node_without_a_reading_names_itself(expression, match):
    with pytest.raises(LoweringError, match=match):
        compile_law((expression,), (3, 2, 2), "numpy")


def test_a_symbolic_depth_or_decay_is_refused():
    with pytest.raises(LoweringError, match=r"depth"):
        fs.derive(fs.DeepLinear.of_depth("N")).lower(LOSS)
    decay = fs.derive(NET, weight_decay=sp.Symbol("lambda", nonnegative=True))
    with pytest.raises(LoweringError, match=r"the symbol lambda, which has no value"):
        decay.lower(LOSS)


def test_no_name_from_an_expression_reaches_the_source():
    hostile = sp.Symbol("__import__('os').system('true')")
    with pytest.raises(LoweringError):
        generate_source((hostile * W,), (3, 2, 2))
    source = generate_source((LAW.balanced,), (3, 2, 2))
    compile(source, "law", "exec")
    words = set(source.replace("\n", " ").replace("(", " ").replace(")", " ").split())
    assert "import" not in words
    assert "__" not in source


def test_exact_numbers_stay_exact():
    (value,) = compile_law((sp.Rational(1, 3) * W,), (3, 2, 2), "numpy").function(None, W0, None)
    np.testing.assert_array_equal(value, (1 / 3) * W0)


# --- hypotheses -----------------------------------------------------------------------------------


def broken(by):
    """Balanced factors, the first scaled so that the relative defect is about ``by``."""
    W1, W2 = NET.balanced(W0)
    return W1 * np.sqrt(1 + by), W2


def defect_by_hand(factors):
    W1, W2 = factors
    largest = max(np.linalg.norm(W1), np.linalg.norm(W2))
    return np.linalg.norm(W2.T @ W2 - W1 @ W1.T) / largest**2


def test_a_balanced_start_passes_in_silence():
    field = LAW.lower(LOSS, backend="numpy")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        start = field.start(NET.balanced(W0))
    assert np.linalg.norm(start[1] @ start[0] - W0) <= 1e-14 * np.linalg.norm(W0)


@pytest.mark.parametrize("strategy", ["factors", "spectral"])
def test_balance_broken_by_a_thousandth_warns_with_the_defect(strategy):
    field = LAW.lower(LOSS, backend="numpy", strategy=strategy)
    factors = broken(1e-3)
    measured = defect_by_hand(factors)
    assert 5e-4 < measured < 2e-3
    with pytest.warns(BalanceWarning, match=rf"relative defect {measured:.3g}.*fs\.integrate"):
        field.start(factors)


@pytest.mark.parametrize("strategy", ["factors", "spectral"])
def test_an_independent_start_is_refused_and_offered_the_factor_flow(strategy):
    field = LAW.lower(LOSS, strategy=strategy)
    factors = NET.near_zero(jax.random.key(0), 1.0)
    measured = defect_by_hand(factors)
    with pytest.raises(
        HypothesisError,
        match=rf"balanced.*defect is {measured:.3g}.*"
        r"fs\.integrate\(fs\.Problem\(loss, net\), theta, t1\)",
    ):
        fs.integrate(field, factors, 1.0)


@pytest.mark.parametrize("scale", [1e-200, 1.0, 1e150])
def test_the_defect_does_not_depend_on_the_scale(scale):
    (balanced,) = (h for h in LAW.hypotheses if h.name == "balanced")
    factors = tuple(W * scale for W in broken(1e-3))
    found = balanced.check(factors)
    assert not found
    assert abs(found.defect / defect_by_hand(broken(1e-3)) - 1) <= 1e-9
    assert balanced.check(tuple(0 * W for W in factors))
