"""Conservation laws: as many as the theory counts, each orthogonal to every gradient."""

import math

import numpy as np
import pytest
import sympy

from flowsim._errors import InputError
from flowsim.problems import functions as fn
from flowsim.problems.families import (
    CP,
    Diagonal,
    DiagonalProduct,
    HierarchicalTucker,
    ReLUPaths,
    ScaledVector,
    SymmetricFactorization,
    TwoLayer,
    WeightNormalized,
)
from flowsim.problems.parametrizations import DeepLinear, Parametrization
from flowsim.symbolic.algebra import entry_map, lie
from flowsim.symbolic.conservation import conservation_laws
from flowsim.symbolic.conservation.kernels import combinations, monomials

of, text = Parametrization.from_function, Parametrization.from_text


def two_layer(n, m, r):
    return of(lambda U, V: U @ V.T, {"U": (n, r), "V": (m, r)})


def positive(par, rng):
    return tuple(np.abs(rng.normal(size=shape)) + 0.4 for shape in par.shapes)


def numeric_jacobian(par, theta, step=1e-5):
    """Rows: entries of the value; columns: parameters. By central differences of the map."""
    flat = np.concatenate([np.ravel(x) for x in theta])
    cuts = np.cumsum([np.size(x) for x in theta])[:-1]

    def at(point):
        parts = np.split(point, cuts)
        return np.ravel(par([p.reshape(s) for p, s in zip(parts, par.shapes, strict=True)]))

    steps = step * np.eye(len(flat))
    return np.stack([(at(flat + h) - at(flat - h)) / (2 * step) for h in steps], axis=1)


def flat_gradient(law, theta):
    return np.concatenate([np.ravel(g) for g in law.gradient(theta)])


def check_numerically(par, laws, seed=0):
    """Every law is orthogonal to the map's own gradients, and they are independent."""
    rng = np.random.default_rng(seed)
    theta = positive(par, rng)
    J = numeric_jacobian(par, theta)
    gradients = np.array([flat_gradient(law, theta) for law in laws])
    for law, gradient in zip(laws, gradients, strict=True):
        size = np.linalg.norm(gradient) * np.linalg.norm(J)
        assert np.abs(J @ gradient).max() <= 1e-8 * size, law
    unit = gradients / np.linalg.norm(gradients, axis=1, keepdims=True)
    assert np.linalg.svd(unit, compute_uv=False)[-1] > 1e-7
    assert len(J.T) - len(laws) - laws.missing >= np.linalg.matrix_rank(J, tol=1e-6)


# The counts are those of an independent exact-integer implementation.
TABLE = {
    "UV^T 1,1,1": (two_layer(1, 1, 1), 1, (1,)),
    "UV^T 2,2,1": (two_layer(2, 2, 1), 1, (3,)),
    "UV^T 3,3,1": (two_layer(3, 3, 1), 1, (5,)),
    "UV^T 2,2,2": (two_layer(2, 2, 2), 3, (4, 5)),
    "UV^T 3,2,2": (two_layer(3, 2, 2), 3, (6, 7)),
    "UV^T 3,3,2": (two_layer(3, 3, 2), 3, (8, 9)),
    "UV^T 2,2,3": (two_layer(2, 2, 3), 6, (4, 6)),
    "UV^T 3,2,3": (two_layer(3, 2, 3), 6, (6, 9)),
    "UV^T 2,2,4": (two_layer(2, 2, 4), 10, (4, 6)),
    "UV^T 2,2,5": (two_layer(2, 2, 5), 14, (4, 6)),
    "UV^T 1,1,2": (two_layer(1, 1, 2), 3, (1,)),
    "UV^T 1,1,3": (two_layer(1, 1, 3), 5, (1,)),
    "UV^T 2,1,4": (two_layer(2, 1, 4), 9, (2, 3)),
    "chain 2": (DeepLinear((1, 1, 1)), 1, (1,)),
    "chain 3": (DeepLinear((1, 1, 1, 1)), 2, (1,)),
    "chain 5": (DeepLinear((1, 1, 1, 1, 1, 1)), 4, (1,)),
    "deep 2-2-2-2": (DeepLinear((2, 2, 2, 2)), 6, (4, 6)),
    "deep 2-1-1-2": (DeepLinear((2, 1, 1, 2)), 2, (3,)),
    "deep 1-2-2-2": (DeepLinear((1, 2, 2, 2)), 6, (2, 3, 4)),
    "deep 3-2-2-2": (DeepLinear((3, 2, 2, 2)), 6, (6, 8)),
    "ReLU width 3": (ReLUPaths((2, 3, 2)), 3, (9,)),
    "ReLU width 3, biases": (ReLUPaths((2, 3, 2), bias=True), 3, (12,)),
    "ReLU 2-2-2-2": (ReLUPaths((2, 2, 2, 2)), 4, (8,)),
    "ReLU 2-3-2-1": (ReLUPaths((2, 3, 2, 1)), 5, (9,)),
    "ReLU 2-3-2-1, biases": (ReLUPaths((2, 3, 2, 1), bias=True), 5, (14,)),
    "u^2 - v^2": (Diagonal(3, 2), 3, (3,)),
    "u^3 - v^3": (Diagonal(3, 3), 3, (3,)),
    "u^4 - v^4": (Diagonal(3, 4), 3, (3,)),
    "u^5 - v^5": (Diagonal(3, 5), 3, (3,)),
    "u^8 - v^8": (Diagonal(3, 8), 3, (3,)),
    "weight norm": (WeightNormalized(4), 1, (4,)),
    "UU^T 2,1": (SymmetricFactorization(2, 1), 0, (2,)),
    "UU^T 2,2": (SymmetricFactorization(2, 2), 0, (3, 4)),
    "UU^T 1,3": (SymmetricFactorization(1, 3), 2, (1,)),
    "UU^T 2,3": (SymmetricFactorization(2, 3), 2, (3, 4)),
    "UU^T 2,4": (SymmetricFactorization(2, 4), 4, (3, 4)),
    "UU^T 3,5": (SymmetricFactorization(3, 5), 6, (6, 9)),
}


@pytest.mark.parametrize(("par", "count", "ranks"), TABLE.values(), ids=TABLE)
def test_the_table_of_counts(par, count, ranks):
    laws = conservation_laws(par)
    assert (laws.count, laws.generation_ranks) == (count, ranks)
    assert laws.complete
    assert len(laws) == count
    if count:
        check_numerically(par, laws)


def test_deep_linear_1_2_2_1_has_a_seventh_law():
    laws = conservation_laws(DeepLinear((1, 2, 2, 1)))
    assert (laws.count, laws.generation_ranks, laws.missing) == (7, (1,), 1)
    assert [law.kind for law in laws] == ["polynomial"] * 6
    assert not laws.complete
    assert "none is a polynomial of degree 4 or less" in laws.explain()
    check_numerically(DeepLinear((1, 2, 2, 1)), laws)


TRIPLES = [
    *[(1, 1, 1), (2, 2, 1), (3, 3, 1), (2, 2, 2), (3, 2, 2), (3, 3, 2), (2, 2, 3), (3, 2, 3)],
    *[(2, 2, 4), (2, 2, 5), (1, 1, 2), (1, 1, 3), (2, 1, 4), (3, 1, 2), (4, 2, 3), (1, 2, 3)],
    *[(2, 1, 2), (3, 3, 3)],
]


@pytest.mark.parametrize(("n", "m", "r"), TRIPLES)
def test_two_layers_by_the_formula(n, m, r):
    p = n + m
    formula = r * (r + 1) // 2 if r <= p else p * r - p * (p - 1) // 2
    laws = conservation_laws(two_layer(n, m, r))
    assert laws.count == len(laws) == formula
    assert all(law.name.startswith("(U^T U - V^T V)") or r == 1 for law in laws)


DIMENSIONS = {
    "UV^T 2,2,2": (two_layer(2, 2, 2), [0, 3, 0, 6]),
    "UV^T 1,1,2": (two_layer(1, 1, 2), [0, 4, 0, 9]),
    "chain": (DeepLinear((1, 1, 1, 1)), [0, 2, 0, 3, 0, 4]),
    "ReLU 1,2,2": (ReLUPaths((1, 2, 2)), [0, 2, 0, 3]),
    "u^2 - v^2": (Diagonal(1, 2), [0, 1, 0, 1, 0, 1]),
    "1-2-2-1": (DeepLinear((1, 2, 2, 1)), [0, 6, 0, 21]),
    "u^3 - v^3": (Diagonal(1, 3), [0] * 8),
    "UU^T": (SymmetricFactorization(2, 3), [0] * 4),
}


@pytest.mark.parametrize(("par", "dimensions"), DIMENSIONS.values(), ids=DIMENSIONS)
def test_kernel_dimensions_by_degree(par, dimensions):
    """How many homogeneous polynomials of each degree are conserved, products of laws too."""
    em = entry_map(par)
    fields = [row for row in em.jacobian if any(row)]
    degrees = range(1, len(dimensions) + 1)
    assert [len(combinations(em, monomials(em, k), fields)) for k in degrees] == dimensions


# -- formulas --------------------------------------------------------------------------------------

log, exp, sqrt = sympy.log, sympy.exp, sympy.sqrt
FORMULAS = {
    "u**3 - v**3": lambda u, v: 1 / u + 1 / v,
    "u**4 - v**4": lambda u, v: u**-2 + v**-2,
    "u**5 - v**5": lambda u, v: u**-3 + v**-3,
    "u**8 - v**8": lambda u, v: u**-6 + v**-6,
    "u**4 - v**2": lambda u, v: 4 * log(v) - 1 / u**2,
    "u**2 * v": lambda u, v: u**2 - 2 * v**2,
    "u / v": lambda u, v: u**2 + v**2,
    "u**(1/2) - v**(3/2)": lambda u, v: u * sqrt(u) + sqrt(v),
    "exp(u) - exp(v)": lambda u, v: exp(-u) + exp(-v),
    "exp(u) * v": lambda u, v: 2 * u - v**2,
    "sin(u) * v": lambda u, v: v**2 + 2 * log(sympy.cos(u)),
    "log(u) * v": lambda u, v: 2 * u**2 * log(u) - u**2 - 2 * v**2,
    "u**2*v - v**3": lambda u, v: u**5 - 5 * u**3 * v**2,
    "u**2 + v**2": lambda u, v: v / u,
    "u*v + u + v": lambda u, v: u**2 + 2 * u - v**2 - 2 * v,
}


@pytest.mark.parametrize(("formula", "expected"), FORMULAS.items(), ids=FORMULAS)
def test_formulas_of_two_parameters(formula, expected):
    par = text(formula, {"u": 1, "v": 1})
    laws = conservation_laws(par)
    assert laws.complete
    (law,) = laws
    assert sympy.expand(law.expression - expected(*law.em.entry_symbols)) == 0
    check_numerically(par, laws)


UNSEEN = {
    "(a + b) * c": text("(a + b) * c", {"a": 2, "b": 2, "c": 2}),
    "U @ diag(s) @ V.T": text("U @ diag(s) @ V.T", {"U": (2, 2), "s": 2, "V": (2, 2)}),
    "kron of three": of(
        lambda A, B, C: fn.kron(fn.kron(A, B), C), {"A": (2, 2), "B": (2, 2), "C": (2, 2)}
    ),
    "outer over norm": text("outer(u, v) / norm(u)", {"u": 2, "v": 3}),
    "u * norm(v)": text("u * norm(v)", {"u": 2, "v": 2}),
    "tanh layer": text("W2 @ tanh(W1)", {"W1": (2, 2), "W2": (2, 2)}),
    "tanh(u) - v": text("tanh(u) - v", {"u": 2, "v": 2}),
    "u*v - w*z": text("u*v - w*z", {"u": 2, "v": 2, "w": 2, "z": 2}),
    "matrix times vector": text("U @ v", {"U": (2, 2), "v": 2}),
    "U U^T V": text("U @ U.T @ V", {"U": (2, 2), "V": (2, 2)}),
    "congruence": text("A @ diag(s) @ A.T", {"A": (2, 2), "s": 2}),
    "shared scale": text("a*u*v", {"a": (), "u": 2, "v": 2}),
    "sum of squares": text("sum(u*u) * v", {"u": 3, "v": 2}),
    "three powers": text("u**3 + v**4 + w**5", {"u": 1, "v": 1, "w": 1}),
    "normalised inner layer": of(
        lambda g, V, W: W @ (g * V / fn.norm(V)), {"g": (), "V": (2, 2), "W": (2, 2)}
    ),
    "Gaussian": text("exp(-u*u) * v", {"u": 1, "v": 1}),
    "u / (1 + v^2)": text("u / (1 + v*v)", {"u": 1, "v": 1}),
    "log of a sum": text("log(exp(u) + exp(v))", {"u": 1, "v": 1}),
    "softmax": of(lambda a: fn.exp(a) / fn.sum(fn.exp(a)), {"a": 3}),
    "residual layers": of(
        lambda A, B: (np.eye(2) + B) @ (np.eye(2) + A), {"A": (2, 2), "B": (2, 2)}
    ),
    "sum of two products": of(
        lambda A, B, C, D: B @ A + D @ C, {"A": (2, 2), "B": (2, 2), "C": (2, 2), "D": (2, 2)}
    ),
    "matrix over its norm": of(lambda A, v: A @ v / fn.norm(A), {"A": (2, 2), "v": 2}),
    "idle parameter": text("u * u + 0 * v", {"u": 2, "v": 2}),
    "CP": CP((2, 3, 2), 2),
    "tree": HierarchicalTucker(((2, 2), (2, 2)), 2),
    "product": DiagonalProduct(2, 3),
    "scaled vector": ScaledVector(3),
}


@pytest.mark.parametrize("par", UNSEEN.values(), ids=UNSEEN)
def test_maps_of_all_kinds(par):
    laws = conservation_laws(par)
    assert laws.complete
    assert laws.count > 0
    check_numerically(par, laws)


def test_an_inner_rotation_that_no_polynomial_sees():
    laws = conservation_laws(text("log(1 + exp(u)) * v", {"u": 1, "v": 1}))
    assert (laws.count, laws.missing) == (1, 1)  # the law holds a dilogarithm
    assert "without a formula: 1" in str(laws)


def test_laws_are_constant_by_sympys_derivatives():
    for par in (TwoLayer((2, 2, 1)), Diagonal(1, 4), SymmetricFactorization(1, 2)):
        em = entry_map(par)
        values = [em.to_sympy(value) for value in em.values]
        for law in conservation_laws(par):
            for value in values:
                pairing = sum(
                    sympy.diff(law.expression, x) * sympy.diff(value, x) for x in em.entry_symbols
                )
                assert sympy.cancel(pairing) == 0


def test_names_and_texts():
    laws = conservation_laws(TwoLayer((2, 2, 2)))
    assert [law.name for law in laws] == [
        f"(W2^T W2 - W1 W1^T)[{index}]" for index in ("0,0", "0,1", "1,1")
    ]
    assert laws[0].entries == ("W1[0,0]", "W1[0,1]", "W2[0,0]", "W2[1,0]")
    assert laws[0].degree == 2
    assert conservation_laws(ScaledVector(2))[0].name == "w2^2 - |w1|^2"
    (law,) = conservation_laws(Diagonal(1))
    assert str(law) == law.text() == "u[0]*v[0]"
    assert law.latex() == "u_{0} v_{0}"
    assert law._repr_latex_().startswith("$")
    assert "det U[:,[0, 2]] / det U[:,[0, 1]]" in str(
        conservation_laws(SymmetricFactorization(2, 3))
    )
    kinds = {
        "u*v": "polynomial",
        "u**3 - v**3": "rational",
        "u**4 - v**2": "logarithmic",
        "u**(1/2) - v**(3/2)": "algebraic",
        "exp(u) - exp(v)": "transcendental",
    }
    for formula, kind in kinds.items():
        assert conservation_laws(text(formula, {"u": 1, "v": 1}))[0].kind == kind


def test_explanation_counts():
    shown = conservation_laws(TwoLayer((2, 2, 2))).explain()
    assert "generation by generation, 4 -> 5." in shown
    assert "8 - 5 = 3." in shown
    assert "in 3 parts that share none" in conservation_laws(Diagonal(3)).explain()


def test_values_are_batched():
    laws = conservation_laws(Diagonal(2, 3))
    rng = np.random.default_rng(1)
    u, v = rng.uniform(1, 2, (7, 2)), rng.uniform(1, 2, (7, 2))
    values = laws.values({"u": u, "v": v})
    for i, law in enumerate(laws):
        np.testing.assert_allclose(values[law.name], 1 / u[:, i] + 1 / v[:, i], rtol=1e-15)
        np.testing.assert_allclose(law.scale((u, v)), 1 / u[:, i] + 1 / v[:, i], rtol=1e-15)
        du, dv = law.gradient((u, v))
        np.testing.assert_allclose(du[:, i], -1 / u[:, i] ** 2, rtol=1e-14)
        assert dv.shape == (7, 2)
    with pytest.raises(InputError, match="not finite"):
        laws[0].value((np.zeros(2), np.ones(2)))
    with pytest.raises(InputError, match="u has shape"):
        laws[0].value((np.zeros(3), np.ones(2)))


# -- weight decay and rates ------------------------------------------------------------------------


def moved(par, law, decay, kappa, seed=2):
    """The rate of change of a law along the flow of a random loss gradient, and its value."""
    rng = np.random.default_rng(seed)
    theta = positive(par, rng)
    J = numeric_jacobian(par, theta)
    flat = np.concatenate([np.ravel(x) for x in theta])
    scale = np.concatenate([np.full(np.size(x), k) for x, k in zip(theta, kappa, strict=True)])
    velocity = -scale * (J.T @ rng.normal(size=len(J)) + decay * flat)
    return flat_gradient(law, theta) @ velocity, law.value(theta)


@pytest.mark.parametrize(
    ("par", "rate"),
    [
        (two_layer(2, 2, 2), -0.6),
        (Diagonal(1, 3), 0.3),
        (Diagonal(1, 8), 1.8),
        (SymmetricFactorization(2, 3), 0.0),
        (text("(u + v)**3", {"u": 1, "v": 1}), -0.3),
    ],
)
def test_homogeneous_laws_decay_at_their_degree(par, rate):
    laws = conservation_laws(par, weight_decay=0.3)
    assert laws.complete
    for law in laws:
        assert law.rate == pytest.approx(rate, abs=1e-15)
        change, value = moved(par, law, 0.3, [1.0] * len(par.shapes))
        assert change == pytest.approx(law.rate * value, abs=1e-7)


def test_other_laws_do_not_survive_decay():
    laws = conservation_laws(text("u**4 - v**2", {"u": 1, "v": 1}), weight_decay=0.1)
    assert laws.laws == ()
    assert len(laws.dropped) == laws.count == 1
    assert laws.complete
    assert "not kept by weight decay: 1" in str(laws)
    assert "4*log(v[0]) - 1/u[0]^2" in laws.explain()


def test_rates_of_the_factors():
    rates = {"U": 2.0, "V": 0.5}
    par = two_layer(2, 1, 1)
    (law,) = conservation_laws(par, rates=rates)
    assert law.text() == "U[0, 0]^2 + U[1, 0]^2 - 4*V[0, 0]^2"
    change, _ = moved(par, law, 0.0, [2.0, 0.5])
    assert abs(change) < 1e-8
    unequal = conservation_laws(par, rates=rates, weight_decay=0.1)
    assert len(unequal.dropped) == 1
    (law,) = conservation_laws(WeightNormalized(3), rates={"v": 0.5}, weight_decay=0.25)
    assert (law.degree, law.rate) == (2, -0.25)
    change, value = moved(WeightNormalized(3), law, 0.25, [1.0, 0.5])
    assert change == pytest.approx(-0.25 * value, rel=1e-7)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"degree": 0}, "degree is 0"),
        ({"weight_decay": -1}, "weight_decay is -1"),
        ({"rates": {"X": 1.0}}, "rates names 'X'; the factors are u, v"),
        ({"rates": {"u": 0.0}}, "above 0"),
        ({"seed": 1.5}, "seed is 1.5"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(InputError, match=message):
        conservation_laws(Diagonal(1), **arguments)


def test_too_large_maps_are_refused_with_a_remedy(monkeypatch):
    with pytest.raises(InputError, match=r"D = 200 parameters.*smaller widths"):
        conservation_laws(Diagonal(100))
    monkeypatch.setattr(lie, "LARGEST_FIELD", 3)
    with pytest.raises(InputError, match=r"D = 8 parameters.*bracket.*smaller widths"):
        conservation_laws(TwoLayer((2, 2, 2)))


@pytest.mark.parametrize("seed", range(3))
def test_nothing_depends_on_the_random_point(seed):
    par = DeepLinear((2, 2, 2, 2))
    assert str(conservation_laws(par, seed=seed)) == str(conservation_laws(par))


@pytest.mark.parametrize(
    ("rates", "law"),
    [
        # h = kappa_v u^2 - 2 kappa_u v^2, in coprime integers.
        ({"u": math.pi, "v": 1e-8}, "5000000*u^2 - 3141592653589793*v^2"),
        (
            {"u": 0.1234567890123, "v": 0.9876543210987},
            "3292181070329*u^2 - 823045260082*v^2",
        ),
    ],
)
def test_rates_of_many_digits_give_the_law_and_not_its_residue(rates, law):
    par = Parametrization.from_text("u**2 * v", {"u": (), "v": ()})
    laws = conservation_laws(par, rates=rates)
    assert [law.text() for law in laws] == [law]


def test_a_law_of_large_exponents_stays_finite():
    par = Parametrization.from_text("1.23456789*u**2 + 0.3333333332*v**2", {"u": (), "v": ()})
    (law,) = conservation_laws(par)
    theta = np.array(0.3), np.array(2.0)
    # u' = -2 a u g and v' = -2 b v g, so that log(u)/a - log(v)/b is constant.
    du, dv = (float(g) for g in law.gradient(theta))
    a, b = 1.23456789, 0.3333333332
    assert abs(du * a * theta[0] + dv * b * theta[1]) <= 1e-12 * abs(du * a * theta[0])
    assert np.isfinite(law.value(theta))


def test_a_normalized_vector_of_many_entries_is_answered_by_its_length():
    (law,) = conservation_laws(WeightNormalized(24))
    assert law.name == "|v|^2"
