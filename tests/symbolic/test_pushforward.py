"""The law of any parametrization: against JAX, in degenerate cases, in large ones, and refused."""

import functools
import operator

import jax
import numpy as np
import pytest
import sympy as sp

import flowsim as fs
from flowsim._errors import InputError
from flowsim.lowering.contraction import compile_tensors
from flowsim.problems import functions as fn
from flowsim.symbolic import pushforward
from flowsim.symbolic.certify import CertificationError
from flowsim.symbolic.indexed import SymbolicArray, Tensor, beside, calculus, differential, gradient
from flowsim.symbolic.indexed.arrays import applied
from tests.symbolic.maps import MAPS, point

DECAY, RATE = 0.123456789, 0.7654321


def parametrization(f, shapes):
    return fs.Parametrization.from_function(f, shapes)


def numbers(tensors, names, theta, G):
    return compile_tensors(list(tensors), names).function(theta, G)


@pytest.mark.parametrize("name", MAPS)
def test_laws_agree_with_jax(name):
    f, shapes = MAPS[name]
    par, theta = parametrization(f, shapes), point(shapes)
    first, *others = par.names
    law = fs.derive(par, weight_decay=DECAY, rates={first: RATE})
    G = np.random.default_rng(7).normal(size=par.end_to_end_shape)
    with jax.enable_x64(True):
        value, pull = jax.vjp(f, *theta)
        gradients = pull(jax.numpy.asarray(G))
        speeds = [RATE] + [1.0] * len(others)
        velocity = [-k * (g + DECAY * x) for k, g, x in zip(speeds, gradients, theta, strict=True)]
        _, pushed = jax.jvp(f, tuple(theta), tuple(map(jax.numpy.asarray, velocity)))
        # P is J K J^T: applied to G it gives the pushforward of the pull-back.
        scaled = [k * g for k, g in zip(speeds, gradients, strict=True)]
        _, preconditioned = jax.jvp(f, tuple(theta), tuple(map(jax.numpy.asarray, scaled)))
    wanted = [value, *gradients, *velocity, pushed]
    tensors = [law.map, *law.gradients.values(), *law.factor_flow.values(), law.rhs]
    for found, exact in zip(numbers(tensors, par.names, theta, G), wanted, strict=True):
        assert np.shape(found) == np.shape(exact)
        np.testing.assert_allclose(found, exact, rtol=1e-10, atol=1e-11)
    (P,) = numbers([law.preconditioner], par.names, theta, G)
    assert P.shape == par.end_to_end_shape * 2
    np.testing.assert_allclose(np.tensordot(P, G, G.ndim), preconditioned, rtol=1e-10, atol=1e-11)


def test_the_differential_is_held_against_the_map_where_that_is_polynomial():
    checks = {
        name: fs.derive(parametrization(*MAPS[name])).steps[1].check
        for name in ("three factors", "square of a square", "weight normalization", "softmax")
    }
    assert (
        checks["three factors"] == "the map with its factors moved, one at a time, to first order"
    )
    assert checks["square of a square"] == checks["three factors"]
    assert checks["weight normalization"] == "central differences at a random point"
    assert checks["softmax"] == checks["weight normalization"]


# --- a false rule is found out --------------------------------------------------------------------


def test_a_product_rule_that_forgets_a_factor_is_found_out(monkeypatch):
    def forgetful(tensor, changes):
        return calculus.differential(tensor, dict(list(changes.items())[:1]))

    monkeypatch.setattr(pushforward, "differential", forgetful)
    with pytest.raises(CertificationError, match="differential: the statement does not follow"):
        fs.derive(fs.TwoLayer((2, 3, 2)))


def test_a_gradient_that_is_not_transposed_is_found_out(monkeypatch):
    def wrong(phi, G, variable):
        right = gradient(phi, G, variable)
        return right if variable.axes[0][0].size != 3 else right.transposed((1, 0))

    monkeypatch.setattr(pushforward, "gradient", wrong)
    with pytest.raises(CertificationError, match="chain rule: the statement does not follow"):
        fs.derive(parametrization(lambda A, B: B @ A, {"A": (3, 3), "B": (2, 3)}))


def test_a_preconditioner_of_another_rate_is_found_out(monkeypatch):
    right = pushforward._preconditioner
    monkeypatch.setattr(
        pushforward,
        "_preconditioner",
        lambda J, speed, k: right(J, {n: 2 * s for n, s in speed.items()}, k),
    )
    with pytest.raises(CertificationError, match="pushforward: the statement does not follow"):
        fs.derive(fs.SymmetricFactorization(3, 2))


def test_a_power_rule_without_its_exponent_is_found_out(monkeypatch):
    right = calculus.differential

    def wrong(tensor, changes):
        return right(tensor, changes).scaled(sp.Rational(1, 2))

    monkeypatch.setattr(pushforward, "differential", wrong)
    with pytest.raises(CertificationError):
        fs.derive(fs.Diagonal(3))


# --- degenerate maps ------------------------------------------------------------------------------


def test_a_factor_without_effect_stands_still_but_for_its_decay():
    par = parametrization(lambda u, v: u**2, {"u": 3, "v": 2})
    law = fs.derive(par)
    assert law.gradients["v"].is_zero
    assert law.text("factor_flow") == "du/dt = -2 * u * G\ndv/dt = 0"
    decayed = fs.derive(par, weight_decay=sp.Symbol("lambda"))
    assert decayed.text("factor_flow").endswith("dv/dt = -lambda * v")
    assert "v" not in decayed.rhs.variables()


def test_a_map_without_factors_is_refused():
    par = parametrization(lambda u: 0 * u + np.arange(3.0), {"u": 3})
    with pytest.raises(InputError, match="the map does not depend on its factors"):
        fs.derive(par)
    with pytest.raises(InputError, match="the map does not depend on its factors"):
        fs.derive(parametrization(lambda u: np.arange(3.0), {"u": 3}))


def test_a_scalar_end_to_end_value():
    law = fs.derive(parametrization(lambda u, v: u @ v, {"u": 3, "v": 3}))
    assert law.map.axes == ()
    assert law.text() == "dw/dt = -G * norm(v)**2 - G * norm(u)**2"
    assert law.text("preconditioner") == "P = norm(v)**2 + norm(u)**2"


# --- what is asked of derive ----------------------------------------------------------------------


def test_symbols_stay_in_the_law():
    lam, kappa = sp.symbols("lambda kappa", positive=True)
    law = fs.derive(fs.ScaledVector(3), weight_decay=lam, rates={"w2": kappa})
    assert law.text("factor_flow") == (
        "dw1/dt = -w2 * G - lambda * w1\ndw2/dt = -kappa * (w1 @ G) - kappa*lambda * w2"
    )
    assert law.rates == {"w1": 1, "w2": kappa}
    assert law.weight_decay == lam
    with_numbers = fs.derive(fs.ScaledVector(3), weight_decay=0.1, rates={"w2": 2})
    assert with_numbers.weight_decay == sp.Rational(1, 10)


def test_forms_and_their_names():
    law = fs.derive(fs.SymmetricFactorization(3, 2))
    assert law.text("map") == "w = U @ U.T"
    assert law.latex("map") == r"w = U \, U^{\top}"
    assert str(law).startswith("Law of w = U @ U.T, with G = grad L(w)")
    assert len(law.steps) == 5
    with pytest.raises(InputError, match="form must be one of rhs, map, factor_flow, precond"):
        law.text("velocity")
    with pytest.raises(InputError, match="form must be one of"):
        law.latex("Rhs")
    assert "norm(v) has no derivative at v = 0" in str(fs.derive(fs.WeightNormalized(3)))


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"rates": {"w3": 1}}, "rates names 'w3'; the factors are w1, w2"),
        ({"rates": {"w1": 0}}, r"rates\['w1'\] is 0; rates are positive"),
        ({"rates": {"w1": -1}}, r"rates\['w1'\]: expected a finite number >= 0"),
        ({"weight_decay": -0.5}, "weight_decay: expected a finite number >= 0"),
        ({"weight_decay": float("nan")}, "weight_decay: expected a finite number >= 0"),
        ({"weight_decay": "0.1"}, "weight_decay: expected a finite number >= 0"),
    ],
)
def test_bad_rates_and_decays_are_refused(options, match):
    with pytest.raises(InputError, match=match):
        fs.derive(fs.ScaledVector(3), **options)


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (lambda u: u[::-1] * u, "a factor is indexed"),
        (lambda u: jax.numpy.tanh(u), "cannot be written with symbols.*functions of flowsim"),
        (lambda u: jax.numpy.where(u > 0, u, 0.1 * u), "cannot be written with symbols.*'>'"),
        (lambda u: u.reshape(1, 3), "cannot be written with symbols.*reshape"),
        (lambda u: abs(u), "cannot be written with symbols.*abs"),
        (lambda u: u * u.mean(), "cannot be written with symbols.*mean"),
        (lambda u: fn.concatenate(u, u), "concatenate has no symbolic reading"),
    ],
)
def test_maps_that_only_jax_can_read_are_refused_when_a_law_is_asked_for(f, match):
    par = parametrization(f, {"u": 3})
    with pytest.raises(InputError, match=match):
        fs.derive(par)
    assert par([np.ones(3)]).size  # numbers it reads


def test_gradients_are_of_variables_alone():
    G, u = Tensor.variable("~G", (3,)), Tensor.variable("u", (3,))
    with pytest.raises(InputError, match="the gradient is taken with respect to a variable"):
        gradient(u, G, fn.exp(SymbolicArray(u)).tensor)
    with pytest.raises(InputError, match="v does not stand in the expression"):
        beside(u, "v")
    with pytest.raises(InputError, match="the derivative of erf is not known"):
        differential(applied("erf", u), {"u": u})


# --- large ones -----------------------------------------------------------------------------------


def test_a_deep_network_from_a_function():
    depth, n = 8, 3
    par = parametrization(
        lambda *W: functools.reduce(lambda a, b: b @ a, W),
        {f"W{j}": (n, n) for j in range(1, depth + 1)},
    )
    law = fs.derive(par)
    assert len(law.rhs.terms) == depth
    rng = np.random.default_rng(0)
    theta = [rng.normal(size=(n, n)) for _ in range(depth)]
    G = rng.normal(size=(n, n))
    (rhs,) = numbers([law.rhs], par.names, theta, G)
    wanted = np.zeros((n, n))
    for j in range(depth):
        after = functools.reduce(operator.matmul, [np.eye(n), *theta[:j:-1]])
        before = functools.reduce(operator.matmul, [np.eye(n), *theta[:j][::-1]])
        wanted -= after @ after.T @ G @ before.T @ before
    np.testing.assert_allclose(rhs, wanted, rtol=1e-11)


def test_six_modes_and_eight_leaves():
    assert len(fs.derive(fs.CP((2,) * 6, 3)).rhs.terms) == 6
    tree = (((2, 2), (2, 2)), ((2, 2), (2, 2)))
    law = fs.derive(fs.HierarchicalTucker(tree, 2))
    assert len(law.rhs.terms) == 15
    assert law.steps[1].check.startswith("the map with its factors moved")


def test_a_wrong_derivative_of_a_function_is_found_out(monkeypatch):
    monkeypatch.setattr(calculus, "_derivative", lambda atom: calculus.applied("exp", atom.inner))
    tanh = fs.Parametrization.from_function(lambda u: fs.functions.tanh(u), {"u": 2})
    with pytest.raises(CertificationError, match="differential"):
        fs.derive(tanh)


def test_a_function_that_is_not_one_formula_is_refused():
    def two_faced(u):
        return 2 * u if isinstance(u, np.ndarray) else 3 * u

    with pytest.raises(fs.InputError, match="not one formula"):
        fs.derive(fs.Parametrization.from_function(two_faced, {"u": 3}))


def test_closure_and_mirror_are_refused_for_other_rates_and_decay():
    product = fs.Parametrization.from_text("u * v", {"u": 2, "v": 2})
    for law in (fs.derive(product, rates={"u": 2}), fs.derive(product, weight_decay=0.1)):
        for question in ("closure", "mirror"):
            with pytest.raises(fs.InputError, match=f"{question} is decided"):
                getattr(law, question)
    (first, _) = fs.derive(product, rates={"u": 2}).conserved
    assert first.text() == "u[0]^2 - 2*v[0]^2"


def test_conserved_quantities_of_a_symbolic_decay_say_where_to_look():
    law = fs.derive(fs.Diagonal(1), weight_decay=sp.Symbol("lambda", nonnegative=True))
    with pytest.raises(fs.InputError, match="know their degree"):
        _ = law.conserved
