"""The ring of entries agrees with numbers, with SymPy, and with its own relations."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
import sympy

from flowsim._errors import InputError
from flowsim.problems import functions as fn
from flowsim.problems.families import (
    CP,
    Diagonal,
    HierarchicalTucker,
    ReLUPaths,
    ScaledVector,
    SymmetricFactorization,
    WeightNormalized,
)
from flowsim.problems.parametrizations import DeepLinear, Parametrization
from flowsim.symbolic.algebra import PRIME, Element, entry_map
from flowsim.symbolic.algebra.elements import exact
from flowsim.symbolic.algebra.lie import generation_ranks
from flowsim.symbolic.algebra.modular import Echelon, kernel, modular, rank, rational, root
from flowsim.symbolic.closure import closure
from flowsim.symbolic.identities import exact as exact_in_expressions

of = Parametrization.from_function

MAPS = {
    "scaled vector": ScaledVector(3),
    "diagonal": Diagonal(2, 3),
    "weight norm": WeightNormalized(3),
    "symmetric": SymmetricFactorization(2, 3),
    "CP": CP((2, 3, 2), 2),
    "tree": HierarchicalTucker(((2, 2), (2, 2)), 2),
    "paths": ReLUPaths((2, 2, 2, 1), bias=True),
    "deep": DeepLinear((2, 3, 2)),
    "fractions": of(lambda u, v: u ** (1 / 3) * v**-2 + u**0.5, {"u": 2, "v": 2}),
    "functions": of(
        lambda u, v: fn.exp(u - v / 2) * fn.tanh(u * v) + fn.log(u * u * v) + fn.sin(u) * fn.cos(v),
        {"u": 2, "v": 2},
    ),
    "norms": of(lambda u, v: u * fn.norm(v) / fn.norm(u) ** 3, {"u": 2, "v": 2}),
    "one-entry norm": of(lambda g, v: g * v / fn.norm(v), {"g": (), "v": 1}),
    "rational": of(lambda u, v: 1 / (1 + fn.exp(-u * v)) + u / (u + v), {"u": 2, "v": 2}),
    "spectral": of(lambda U, s, V: U @ fn.diag(s) @ V.T, {"U": (2, 2), "s": 2, "V": (2, 2)}),
    "kron": of(lambda A, B: fn.kron(A, B), {"A": (2, 2), "B": (2, 1)}),
    "constants": of(lambda u, v: np.float64(0.1) * u * fn.sqrt(2 * v) + 3, {"u": 2, "v": 2}),
}


def positive(par, seed=0):
    rng = np.random.default_rng(seed)
    return [np.abs(rng.normal(size=shape)) + 0.4 for shape in par.shapes]


@pytest.mark.parametrize("par", MAPS.values(), ids=MAPS)
def test_values_and_derivatives_are_those_of_the_map(par):
    em, theta = entry_map(par), positive(par)
    values = np.array([em.numeric(value)(theta) for value in em.values])
    np.testing.assert_allclose(values, np.ravel(par(theta)), rtol=1e-13, atol=1e-13)
    flat, sizes = np.concatenate([np.ravel(x) for x in theta]), [np.size(x) for x in theta]

    def at(point):
        parts = np.split(point, np.cumsum(sizes)[:-1])
        return np.ravel(par([p.reshape(s) for p, s in zip(parts, par.shapes, strict=True)]))

    jacobian = np.array([[em.numeric(d)(theta) for d in row] for row in em.jacobian])
    for i in range(em.size):
        step = np.zeros(em.size)
        step[i] = 1e-5
        slope = (at(flat + step) - at(flat - step)) / 2e-5
        np.testing.assert_allclose(jacobian[:, i], slope, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("name", ["weight norm", "functions", "fractions", "rational"])
def test_derivatives_are_sympys(name):
    par = MAPS[name]
    em, theta = entry_map(par), positive(par, 3)
    point = dict(
        zip(em.entry_symbols, np.concatenate([np.ravel(x) for x in theta]).tolist(), strict=True)
    )
    value = em.to_sympy(em.values[0])
    for i, x in enumerate(em.entry_symbols):
        expected = float(sympy.diff(value, x).subs(point))
        assert float(em.numeric(em.jacobian[0][i])(theta)) == pytest.approx(expected, abs=1e-12)


def test_leading_axes_are_carried():
    em = entry_map(WeightNormalized(2))
    g, v = np.linspace(1, 2, 5), np.arange(1.0, 11.0).reshape(5, 2)
    batch = em.numeric(em.values[0])((g, v))
    single = [em.numeric(em.values[0])((g[k], v[k])) for k in range(5)]
    np.testing.assert_array_equal(batch, single)
    with pytest.raises(InputError, match="v has shape"):
        em.numeric(em.values[0])((g, v.T))
    with pytest.raises(InputError, match="leading axes"):
        em.numeric(em.values[0])((g[:3], v))


IDENTITIES = {
    "roots": lambda x, y: (x * y) ** Fraction(1, 2) * (x * y) ** Fraction(1, 2) - x * y,
    "roots of roots": lambda x, y: (x**0.5) ** 0.5 - x**0.25,
    "cube roots": lambda x, y: (x * y) ** (1 / 3) - x ** (1 / 3) * y ** (1 / 3),
    "quotients": lambda x, y: 1 / x + 1 / y - (x + y) / (x * y),
    "partial fractions": lambda x, y: 1 / (x + y) * (x**2 - y**2) - (x - y),
    "norms": lambda x, y: x / (x * x + y * y) ** 0.5 * (x * x + y * y) - x * (x * x + y * y) ** 0.5,
    "exponentials": lambda x, y: np.exp(x + y / 2) - np.exp(x) * np.exp(y / 4) ** 2,
    "inverse exponentials": lambda x, y: np.exp(x * y) * np.exp(-x * y) - 1,
    "logarithms": lambda x, y: np.log(x**2 / y) - 2 * np.log(x) + np.log(y),
    "exp of log": lambda x, y: np.exp(np.log(x) * 3) - x**3,
    "log of exp": lambda x, y: np.log(np.exp(x * y)) - x * y,
    "circle": lambda x, y: np.sin(x * y) ** 2 + np.cos(x * y) ** 2 - 1,
    "sine of a sum": lambda x, y: np.sin(x + y) - np.sin(x) * np.cos(y) - np.cos(x) * np.sin(y),
    "tanh by exp": lambda x, y: np.tanh(x) * (np.exp(2 * x) + 1) - np.exp(2 * x) + 1,
    "tanh is odd": lambda x, y: np.tanh(x - y) + np.tanh(y - x),
    "absolute values": lambda x, y: (x * x) ** 0.5 * (x * x) ** 0.5 - x * x,
}


@pytest.mark.parametrize("identity", IDENTITIES.values(), ids=IDENTITIES)
def test_identities_vanish_and_their_neighbours_do_not(identity):
    em = entry_map(ScaledVector(1))
    x, y = (Element(em.tower, poly) for poly in em.entries)
    difference = identity(x, y)
    assert em.is_zero(difference.poly)
    assert not em.is_zero((difference + x * Fraction(1, 10**9)).poly)


@pytest.mark.parametrize("par", MAPS.values(), ids=MAPS)
def test_random_points_satisfy_the_relations(par):
    em = entry_map(par)
    point = em.random_point(np.random.default_rng(5))
    for index, g in enumerate(em.tower.generators):
        if g.kind == "root":
            assert pow(point[index], g.order, PRIME) == em.evaluate(g.base, point)
        if g.kind == "inverse":
            assert point[index] * em.evaluate(g.base, point) % PRIME == 1
    # Reducing changes how an element is written, not what it is.
    product = em.values[0] * em.tower.lift(em.values[-1])
    assert em.evaluate(product, point) == em.evaluate(em.reduce(product), point)


def test_brackets():
    em = entry_map(MAPS["norms"])
    X, Y = em.jacobian
    Z = tuple(x * y for x, y in zip(X, em.entries, strict=True))
    for a, b in zip(em.bracket(X, Y), em.bracket(Y, X), strict=True):
        assert em.is_zero(a + b)
    cycles = [em.bracket(A, em.bracket(B, C)) for A, B, C in ((X, Y, Z), (Y, Z, X), (Z, X, Y))]
    for parts in zip(*cycles, strict=True):
        assert em.is_zero(sum(parts, em.ring.zero))
    # [X, Y] = DY X - DX Y: for linear fields A x and B x it is (B A - A B) x.
    em = entry_map(Diagonal(1))
    u, v = em.entries
    assert em.bracket((v, em.ring.zero), (em.ring.zero, u)) == (-u, v)


def test_generation_ranks_do_not_depend_on_the_point():
    em = entry_map(DeepLinear((2, 2, 2)))
    assert {generation_ranks(em, em.jacobian, seed) for seed in range(5)} == {(4, 5)}


def test_restriction():
    em = entry_map(MAPS["norms"])
    part = entry_map(WeightNormalized(2)).restricted([0, 1, 2], [1])
    assert part.names == ("g", "v[0]", "v[1]")
    theta = positive(WeightNormalized(2))
    whole = WeightNormalized(2)(theta)
    assert part.numeric(part.values[0])(theta) == pytest.approx(whole[1])
    assert em.depends(em.values[0]) == {0, 1, 2, 3}


def test_names_follow_the_factors():
    em = entry_map(of(lambda U, s: U * s, {"U": (2, 2), "s": ()}))
    assert em.names == ("U[0,0]", "U[0,1]", "U[1,0]", "U[1,1]", "s")
    assert str(em.to_sympy(em.values[1])) == "s*U[0, 1]"


def test_refusals():
    with pytest.raises(InputError, match="D = 81 parameters; at most 64"):
        entry_map(DeepLinear((9, 9)))
    em = entry_map(ScaledVector(1))
    x = Element(em.tower, em.entries[0])
    with pytest.raises(InputError, match="divides by 0"):
        1 / (x - x)
    with pytest.raises(InputError, match="not real"):
        (x - x - 2) ** 0.5
    with pytest.raises(InputError, match="logarithm of 0"):
        np.log(x - x)
    with pytest.raises(InputError, match="exponent"):
        x**x


def test_unknown_functions_are_named():
    par = of(lambda u: np.arctan(u) if u.dtype == object else u, {"u": 2})
    with pytest.raises(InputError, match=r"cannot be written out.*arctan"):
        entry_map(par)
    with pytest.raises(InputError, match="pass a Parametrization"):
        entry_map("u*v")


def test_arithmetic_modulo_the_prime():
    for x in (Fraction(3, 7), Fraction(-22, 5), Fraction(0), Fraction(10**8, 3**15)):
        assert rational(modular(x)) == x
    assert pow(root(pow(12345, 6, PRIME), 2), 2, PRIME) == pow(12345, 6, PRIME)
    assert root(PRIME - 1, 2) is None
    rows = [[1, 2, 3], [2, 4, 6], [0, 1, 1]]
    assert rank(rows) == 2
    (vector,) = kernel([dict(enumerate(row)) for row in rows], 3)
    for row in rows:
        assert sum(row[c] * v for c, v in vector.items()) % PRIME == 0
    echelon = Echelon()
    kept = [echelon.add({0: a, 1: b}) for a, b in itertools.product((1, 2), (1, 2))]
    assert kept == [True, True, False, False]


def test_a_float_is_one_fraction_everywhere():
    x = sympy.Symbol("x")
    for number, fraction in ((1 / 3, sympy.Rational(1, 3)), (0.35, sympy.Rational(7, 20))):
        assert (
            sympy.Rational(exact(number)) == sympy.Rational(exact(np.float64(number))) == fraction
        )
        assert exact_in_expressions(sympy.Float(number) * x) == fraction * x
        result = closure(ScaledVector(1), values={"c_1": number})
        assert list(result.special.values()) == [fraction]
    long = sympy.Float("0.12345678901234567890123", 23)
    assert exact(long) == Fraction("0.12345678901234567890123")
    assert exact(float("inf")) is exact("1") is None
