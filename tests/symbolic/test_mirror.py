"""Verdicts on mirror flows, against brackets and flows that are computed by numbers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy

import flowsim as fs
from flowsim._errors import InputError
from flowsim.problems import (
    DeepLinear,
    Diagonal,
    DiagonalProduct,
    Parametrization,
    ScaledVector,
    SymmetricFactorization,
    TwoLayer,
    WeightNormalized,
)
from flowsim.symbolic.algebra import entry_map
from flowsim.symbolic.mirror import hessian_metric, mirror, primal_potential
from flowsim.symbolic.mirror.columns import balanced_bracket
from flowsim.symbolic.mirror.flows import compiled, flattened

COMMUTING = np.array([[[2.0, 1.0], [1.0, 3.0]], [[1.0, 1.0], [1.0, 2.0]]])
OTHERS = np.array([[[2.0, 1.0], [1.0, 3.0]], [[1.0, 0.0], [0.0, 2.0]]])


def quadratic(forms):
    """The forms x^T A_i x as one parametrization, the matrices captured in the function."""
    return Parametrization.from_function(
        lambda x: fs.functions.einsum("kij,i,j->k", forms, x, x), {"x": forms.shape[1]}
    )


MIRROR = {
    "u^2 - v^2": Diagonal(2, 2),
    "u^3 - v^3": Diagonal(2, 3),
    "u v": DiagonalProduct(2, 2),
    "u v z": DiagonalProduct(2, 3),
    "commuting quadratics": quadratic(COMMUTING),
    "u^4 - v^2": Parametrization.from_text("u**4 - v**2", {"u": 2, "v": 2}),
    "one output, scaled": ScaledVector(1),
    "one output, deep": DeepLinear((1, 2, 1)),
    "one output, u^2 v": Parametrization.from_text("u**2*v", {"u": (), "v": ()}),
}
NO_MIRROR = {
    "scaled vector, d = 2": ScaledVector(2),
    "scaled vector, d = 3": ScaledVector(3),
    "U U^T, n = 2, r = 1": SymmetricFactorization(2, 1),
    "U U^T, n = 2, r = 2": SymmetricFactorization(2, 2),
    "U U^T, n = 3, r = 2": SymmetricFactorization(3, 2),
    "U V^T, r = 1": TwoLayer((2, 1, 2)),
    "U V^T, r = 2": TwoLayer((2, 2, 2)),
    "2-1-1-1": DeepLinear((2, 1, 1, 1)),
    "other quadratics": quadratic(OTHERS),
    "weight normalization": WeightNormalized(2),
}


@pytest.mark.parametrize("par", MIRROR.values(), ids=MIRROR)
def test_mirror_flows(par):
    verdict = mirror(par)
    assert verdict.is_mirror_flow is True
    assert verdict.commuting
    assert verdict.weak_condition
    assert verdict.witness is None


@pytest.mark.parametrize("par", NO_MIRROR.values(), ids=NO_MIRROR)
def test_no_mirror_flows(par):
    verdict = mirror(par)
    assert verdict.is_mirror_flow is False
    assert not verdict.commuting
    assert not verdict.weak_condition
    assert verdict.potential is None
    assert verdict.witness.pairing != 0


def numeric_bracket(par, flat, i, j):
    """[grad G_i, grad G_j] by two automatic derivatives."""
    value = compiled_value(par)

    def gradient(k):
        return jax.grad(lambda x: value(x)[k])

    with fs.float64():
        X, Y = gradient(i), gradient(j)
        return np.asarray(jax.jvp(Y, (flat,), (X(flat),))[1] - jax.jvp(X, (flat,), (Y(flat),))[1])


def compiled_value(par):
    sizes = np.cumsum([int(np.prod(shape)) for shape in par.shapes])[:-1]

    def value(flat):
        parts = jnp.split(flat, sizes)
        theta = tuple(p.reshape(s) for p, s in zip(parts, par.shapes, strict=True))
        return jnp.ravel(par(theta))

    return value


@pytest.mark.parametrize("par", NO_MIRROR.values(), ids=NO_MIRROR)
def test_witnesses_against_automatic_derivatives(par):
    rng = np.random.default_rng(3)
    flat = rng.normal(size=par.size)
    verdict, em = mirror(par), entry_map(par)
    at = dict(zip(em.entry_symbols, flat, strict=True))
    witness = verdict.witness
    stated = np.array([float(x.subs(at)) for x in witness.bracket])
    found = numeric_bracket(par, flat, witness.i, witness.j)
    assert np.abs(found).max() > 1e-3
    np.testing.assert_allclose(stated, found, rtol=1e-11, atol=1e-12)
    J = compiled(par)[1](flat)
    pairing = float(J[witness.k] @ found)
    assert float(witness.pairing.subs(at)) == pytest.approx(pairing, rel=1e-11)


def test_bracket_of_quadratic_forms_is_four_times_the_commutator():
    par = quadratic(OTHERS)
    A, B = (sympy.Matrix(form.astype(int)) for form in OTHERS)
    x = sympy.Matrix(entry_map(par).entry_symbols)
    stated = sympy.Matrix(mirror(par).witness.bracket)
    assert (stated - 4 * (B * A - A * B) * x).expand() == sympy.zeros(2, 1)


def test_witness_of_the_scaled_vector_is_readable():
    text = str(mirror(ScaledVector(3)).witness)
    assert text.startswith("[grad w[0], grad w[1]] = w1[0]*e(w1[1]) - w1[1]*e(w1[0])")


@pytest.mark.parametrize(
    ("text", "degree"),
    [
        ("u**2 - v**2", 2),
        ("u**3*v**2", 5),
        ("u**2 - v**3", None),
        ("sqrt(u)*v", sympy.Rational(3, 2)),
        ("u/v", 0),
        ("exp(u)*v", None),
    ],
)
def test_homogeneity_by_eulers_identity(text, degree):
    verdict = mirror(Parametrization.from_text(text, {"u": 2, "v": 2}))
    assert verdict.homogeneity == degree
    weighted = text == "u**2 - v**3"
    assert (verdict.potential is None) == (not (degree or weighted) or not verdict.commuting)


START = {
    "u^2 - v^2": ([0.5, 0.7], [0.4, 0.9]),
    "u^3 - v^3": ([0.5, 0.7], [0.4, 0.9]),
    "u v": ([0.5, -0.7], [0.4, 0.9]),
    "u v z": ([0.5, 0.7], [0.4, 0.9], [1.1, -0.6]),
    "commuting quadratics": ([0.5, -0.7],),
    "u^4 - v^2": ([0.5, -0.7], [0.4, 0.9]),
}


@pytest.mark.parametrize("name", START)
def test_potentials_have_the_gradient_w_and_the_metric_as_hessian(name):
    par, mu, h = MIRROR[name], np.array([0.11, -0.07]), 1e-4
    start = tuple(np.array(x) for x in START[name])
    potential = mirror(par).potential
    w = potential.gradient(mu, start)
    eye = np.eye(2) * h
    slope = [(potential(mu + e, start) - potential(mu - e, start)) / (2 * h) for e in eye]
    np.testing.assert_allclose(slope, w, rtol=2e-6, atol=1e-7)
    J = compiled(par)[1](flattened(par, potential.state(mu, start)))
    hessian = [
        (potential.gradient(mu + e, start) - potential.gradient(mu - e, start)) / (2 * h)
        for e in eye
    ]
    np.testing.assert_allclose(hessian, J @ J.T, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", [n for n in START if n != "u v z"])
def test_elementary_potentials_agree_with_followed_flows(name):
    par, mu = MIRROR[name], np.array([0.11, -0.07])
    start = tuple(np.array(x) for x in START[name])
    potential = mirror(par).potential
    symbols = entry_map(par).entry_symbols
    at = dict(zip(symbols, flattened(par, start), strict=True)) | dict(
        zip(potential.mu, mu, strict=True)
    )
    assert float(potential.expression.subs(at)) == pytest.approx(potential(mu, start), rel=1e-13)
    # And its symbolic gradient is the end-to-end value.
    slope = [float(potential.expression.diff(m).subs(at)) for m in potential.mu]
    np.testing.assert_allclose(slope, potential.gradient(mu, start), rtol=1e-12)


def test_uvz_flow():
    # Reference: independent Gragg-Bulirsch-Stoer integration of order 16 in extended precision.
    potential = mirror(DiagonalProduct(1, 3)).potential
    start = ([0.5], [0.7], [0.9])
    assert potential.gradient([0.6], start)[0] == pytest.approx(1.695873263143, abs=1e-12)
    assert potential([0.6], start) == pytest.approx(0.7201286182955, abs=1e-12)


def test_outside_of_the_domain():
    # u^3 from u = 1: u = 1/(1 - 3 mu) has its pole at mu = 1/3.
    potential = mirror(Diagonal(1, 3)).potential
    start = ([1.0], [1.0])
    assert np.isfinite(potential([0.33], start))
    with pytest.raises(InputError, match="outside the domain"):
        potential([0.34], start)


def test_decimals_of_many_digits_are_refused():
    turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    forms = np.array([turn @ np.diag(x) @ turn.T for x in ([1.0, 2.0], [3.0, 5.0])])
    with pytest.raises(InputError, match="short decimals"):
        mirror(quadratic(forms))


@pytest.mark.parametrize("par", [Diagonal(2), DiagonalProduct(2), Diagonal(1)])
def test_primal_potentials_are_those_of_the_metric(par):
    rng = np.random.default_rng(4)
    u, v = rng.uniform(0.3, 1.2, size=(2, par.d))
    verdict = mirror(par)
    J = compiled(par)[1](flattened(par, (u, v)))
    w = par((u, v))
    for i in range(par.d):
        P, R = verdict.primal[i]
        c = abs(u[i] * v[i]) if isinstance(par, Diagonal) else abs(u[i] ** 2 - v[i] ** 2)
        symbols = {s.name: s for s in P.free_symbols}
        at = {symbols["w"]: w[i], symbols["c"]: c}
        assert float(P.subs(at)) == pytest.approx((J @ J.T)[i, i], rel=1e-12)
        curvature = float(R.diff(symbols["w"], 2).subs(at))
        assert curvature == pytest.approx(1 / (J @ J.T)[i, i], rel=1e-12)


def test_monomials_have_power_potentials():
    verdict = mirror(Parametrization.from_text("u**3", {"u": 1}))
    P, R = verdict.primal[0]
    w = next(iter(P.free_symbols))
    assert sympy.expand(P - 9 * w ** sympy.Rational(4, 3)) == 0
    assert R.diff(w, 2).subs(w, 8) == sympy.Rational(1, 144)


def test_primal_potentials_of_other_metrics():
    w = sympy.Symbol("w", positive=True)
    for P in (w, w**2, w * (1 - w), sympy.sqrt(3 * w**2 + 5), sympy.exp(w)):
        R = primal_potential(P, w)
        assert float((R.diff(w, 2) * P).subs(w, sympy.Rational(1, 3))) == pytest.approx(1)


def test_primal_potential_without_an_integral():
    w = sympy.Symbol("w", positive=True)
    with pytest.raises(InputError, match="no integral"):
        primal_potential(sympy.Function("P", positive=True)(w), w)


# -- metrics on the image --------------------------------------------------------------------------

w1, w2 = sympy.symbols("w_1 w_2", positive=True)
r = sympy.sqrt(w1**2 + w2**2)


def balanced_preconditioner(N):
    w = sympy.Matrix([w1, w2])
    power = 2 - sympy.Rational(2, N)
    return r**power * (sympy.eye(2) + (N - 1) * w * w.T / r**2)


def hessian_inverse(potential):
    return sympy.hessian(potential, (w1, w2)).inv()


@pytest.mark.parametrize(
    "P",
    [
        sympy.diag(w1, w2),
        4 * sympy.diag(sympy.sqrt(w1**2 + 1), sympy.sqrt(w2**2 + 4)),
        hessian_inverse(w1**4 + w1**2 * w2**2 + w2**4),
        hessian_inverse(r**3),
        balanced_preconditioner(1),
    ],
    ids=["entropy", "hypentropy", "quartic", "radial", "depth 1"],
)
def test_hessian_metrics(P):
    verdict = hessian_metric(P, (w1, w2))
    assert verdict
    assert verdict.witness is None


@pytest.mark.parametrize("N", [2, 3, 4])
def test_balanced_metrics_are_no_hessians(N):
    verdict = hessian_metric(balanced_preconditioner(N), (w1, w2))
    assert not verdict
    i, j, bracket = verdict.witness
    assert (i, j) == (0, 1)
    expected = [-(N - 1) * w2, (N - 1) * w1]
    scale = r ** (2 - sympy.Rational(4, N))
    for stated, factor in zip(bracket, expected, strict=True):
        assert sympy.cancel(stated / (factor * scale)) == 1


def test_balanced_bracket_over_whole_vectors_is_that_of_the_entries():
    e = [
        sympy.MatrixSymbol(f"e_{k}", sympy.Symbol("d", integer=True, positive=True), 1)
        for k in "ij"
    ]
    N = sympy.Symbol("N", integer=True, positive=True)
    for depth in (2, 3):
        symbolic = balanced_bracket(N, *e).subs(N, depth)
        assert (symbolic - balanced_bracket(depth, *e)).is_zero


@pytest.mark.parametrize(
    ("P", "w", "match"),
    [
        (sympy.eye(3), (w1, w2), "shape"),
        (sympy.Matrix([[1, w1], [0, 1]]), (w1, w2), "symmetric"),
        (sympy.eye(2), (w1, w1), "different symbols"),
        ([[1, 0], [0, 1]], (w1, w2), "sympy.Matrix"),
    ],
)
def test_metrics_that_are_none(P, w, match):
    with pytest.raises(InputError, match=match):
        hessian_metric(P, w)


# -- shown -----------------------------------------------------------------------------------------


def test_verdicts_show_themselves():
    yes, no = mirror(Diagonal(2)), mirror(ScaledVector(2))
    assert str(yes).startswith("mirror flow: yes.")
    assert "asinh" in str(yes)
    assert str(no).startswith("mirror flow: no.")
    for verdict in (yes, no):
        assert verdict.steps
        latex = verdict._repr_latex_()
        assert latex.startswith("$")
        assert latex.count("{") == latex.count("}")
    assert r"[\nabla w_{0}, \nabla w_{1}]" in no.latex()
    assert "(40 terms)" in str(mirror(Diagonal(20, 3)))


def test_what_is_no_parametrization():
    with pytest.raises(InputError, match="Parametrization"):
        mirror(lambda u: u**2)
    with pytest.raises(InputError, match="at most"):
        mirror(Diagonal(100))
