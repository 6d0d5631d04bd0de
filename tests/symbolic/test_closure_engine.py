"""The parts of the closure engine: residues, gradings, relations, signs, tapes."""

from fractions import Fraction

import numpy as np
import pytest
import sympy as sp

from flowsim._errors import LoweringError
from flowsim.problems import DeepLinear
from flowsim.problems.families import Diagonal, ScaledVector, TwoLayer, WeightNormalized
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic.algebra.modular import PRIME
from flowsim.symbolic.algebra.ring import entry_map
from flowsim.symbolic.closure.gradings import degrees
from flowsim.symbolic.closure.leaf import decide
from flowsim.symbolic.closure.level import Level
from flowsim.symbolic.closure.relations import Eliminator
from flowsim.symbolic.closure.residues import dependencies, product, roots
from flowsim.symbolic.closure.signs import manifest_sign
from flowsim.symbolic.closure.states import states_of, whole_states
from flowsim.symbolic.closure.tape import Tape
from flowsim.symbolic.conservation import conservation_laws


def test_products_of_residues():
    rng = np.random.default_rng(0)
    a, b = (rng.integers(0, PRIME, 500, dtype=np.uint64) for _ in range(2))
    a[:3], b[:3] = PRIME - 1, [PRIME - 1, 1, 0]
    expected = [int(x) * int(y) % PRIME for x, y in zip(a, b, strict=True)]
    assert product(a, b).tolist() == expected


def test_dependent_columns():
    rng = np.random.default_rng(1)
    A = rng.integers(0, PRIME, (6, 3), dtype=np.uint64)
    combined = [(3 * int(x) + 5 * int(y)) % PRIME for x, y in A[:, :2]]
    A = np.column_stack([A[:, :2], np.array(combined, dtype=np.uint64), A[:, 2]])
    assert list(dependencies(A)) == [(2, {0: 3, 1: 5})]


def test_roots_modulo_the_prime():
    # (x - 2)(x - 5)(x^2 + 1): -1 is no square modulo 2^61 - 1.
    assert roots([1, -7, 11, -7, 10]) == [2, 5]
    assert roots([2, -6]) == [3]
    assert roots([0, 0, 4]) == []


def test_degrees_of_a_scaled_vector():
    em = entry_map(ScaledVector(2))
    a, b, s = em.entries
    law = s**2 - a**2 - b**2
    weights, parities = degrees(em, [*em.values, law])
    assert weights[0] == weights[1] == weights[2]
    # Each entry of w changes sign with one flip of signs, and the law with none.
    assert parities[2] == (0,) * len(parities[2])
    assert parities[0] != parities[1]


def test_degrees_of_roots_and_quotients():
    em = entry_map(WeightNormalized(2))
    weights, _ = degrees(em, list(em.values))
    assert len(weights[0]) == 2  # g and v scale on their own
    assert weights[0] == weights[1]


def test_a_value_that_is_not_zero_ends_the_scaling():
    em = entry_map(ScaledVector(1))
    a, s = em.entries
    weights, _ = degrees(em, list(em.values), [s**2 - a**2])
    assert set(weights[0]) <= {0}


def test_relations_are_found_and_verified():
    em = entry_map(Diagonal(1))
    u, v = em.entries
    level = Level(em, (u * v,), (None,))
    w, c, q = sp.symbols("w c q")
    found = Eliminator(level).relation([*em.values, u * v, u**2], [w, c, q], highest=4)
    assert found.exact
    assert sp.expand(found.expression() - (q**2 - q * w - c**2)) == 0


def test_no_relation_between_independent_functions():
    em = entry_map(Diagonal(1))
    u, _ = em.entries
    w, q = sp.symbols("w q")
    level = Level(em, (), ())
    assert Eliminator(level, budget=10**5).relation([*em.values, u], [w, q], highest=3) is None


@pytest.mark.parametrize(
    ("par", "laws"),
    [
        (DeepLinear((1, 1, 1, 1)), lambda x: (x[0] ** 2 - x[1] ** 2, x[1] ** 2 - x[2] ** 2)),
        (
            TwoLayer((1, 2, 1)),
            lambda x: (
                x[2] ** 2 - x[0] ** 2,
                x[2] * x[3] - x[0] * x[1],
                x[3] ** 2 - x[1] ** 2,
            ),
        ),
    ],
    ids=["chain", "two-layer"],
)
def test_points_on_level_sets(par, laws):
    em = entry_map(par)
    found = laws(em.entries)
    point = Level(em, found, (Fraction(0),) * len(found)).point(np.random.default_rng(0))
    assert [em.evaluate(law, point) for law in found] == [0] * len(found)
    assert any(point)


def test_ranks_of_the_decision():
    em = entry_map(TwoLayer((2, 2, 2)))
    verdict = decide(em, em.random_point(np.random.default_rng(0)))
    assert (verdict.parameters, verdict.leaf, verdict.image, verdict.fibre) == (8, 5, 4, 1)
    assert verdict.conserved == 3
    assert not verdict.closes


def test_signs_that_can_be_read_off():
    em = entry_map(Parametrization.from_text("a*b*c", {"a": (), "b": (), "c": ()}))
    a, b, c = em.entries
    assert manifest_sign(em, a**2 + 2 * a * b + b**2 + c**2) == 1
    assert manifest_sign(em, -(a**2) - c**4) == -1
    assert manifest_sign(em, a**2 + 3 * a * b + b**2) == 0
    assert manifest_sign(em, a**2 - b**2) == 0
    assert manifest_sign(em, a * b) == 0
    assert manifest_sign(em, em.ring.zero) == 0


def test_signs_of_norms():
    em = entry_map(Parametrization.from_text("norm(v)", {"v": 2}))
    assert manifest_sign(em, em.values[0]) == 1


def test_tapes_evaluate():
    x, y = sp.symbols("x y", real=True)
    expressions = [
        sp.sqrt(x**2 + 4 * y**2) / x**3,
        sp.Abs(y) ** sp.Rational(4, 3) + sp.sign(y) * sp.exp(-x),
        sp.log(x) + sp.tanh(y) - sp.Rational(2, 7),
    ]
    tape = Tape.of(expressions, [x, y])
    numbers = np.array([0.3, 1.7]), np.array([-0.4, 2.2])
    for found, e in zip(tape(np, numbers), expressions, strict=True):
        for k in range(2):
            exact = e.subs({x: sp.Float(numbers[0][k], 30), y: sp.Float(numbers[1][k], 30)})
            assert abs(found[k] - float(exact)) < 1e-14 * max(1, abs(float(exact)))


def test_tapes_share_what_occurs_twice():
    x = sp.Symbol("x", real=True)
    tape = Tape.of([sp.sqrt(x + 1), 2 * sp.sqrt(x + 1)], [x])
    assert sum(kind == "sqrt" for kind, *_ in tape.steps) == 1


def test_tapes_refuse_what_they_do_not_know():
    x, y = sp.symbols("x y", real=True)
    with pytest.raises(LoweringError, match="symbol y"):
        Tape.of([x + y], [x])
    with pytest.raises(LoweringError, match="gamma"):
        Tape.of([sp.gamma(x)], [x])
    with pytest.raises(LoweringError, match="not a real number"):
        Tape.of([x + sp.oo], [x])


def test_a_map_keeps_its_domain_and_laws_are_read_beyond_it():
    par = Parametrization.from_text("v * log(u)", {"u": (), "v": ()})
    (known,) = conservation_laws(par).laws
    em = known.em
    u, v = em.entry_symbols
    law = 2 * u**2 * sp.log(u) - u**2 - 2 * v**2
    assert sp.expand(known.expression - law) == 0
    for states in (states_of(em, [known.poly]), whole_states([v * sp.log(u)], [law], [u, v])):
        phi, J, h, dh = states(np, np.array([2.0, 3.0]))
        np.testing.assert_allclose(phi, [3 * np.log(2)], rtol=1e-15)
        np.testing.assert_allclose(J, [[1.5, np.log(2)]], rtol=1e-15)
        np.testing.assert_allclose(h, [8 * np.log(2) - 22], rtol=1e-15)
        np.testing.assert_allclose(dh, [[8 * np.log(2), -12]], rtol=1e-15)
        with np.errstate(all="ignore"):
            phi, J, h, dh = states(np, np.array([-2.0, 3.0]))
        assert np.isnan(phi).all()
        np.testing.assert_allclose(h, [8 * np.log(2) - 22], rtol=1e-15)
        np.testing.assert_allclose(dh, [[-8 * np.log(2), -12]], rtol=1e-15)
        assert states.defined(np.array([-2.0, 3.0])).tolist() == [2.5, 3.5]


def test_newtons_method_and_slopes_of_the_preconditioner():
    em = entry_map(ScaledVector(1))
    w1, w2 = em.entries
    states = states_of(em, [w1**2 - w2**2])
    x = states.solved(np.array([1.0, 1.0]), w=np.array([2.0]), c=np.array([3.0]))
    np.testing.assert_allclose(x, [2.0, 1.0], rtol=1e-14)
    assert states.solved(np.array([1.0, 1.0]), w=np.array([np.nan])) is None
    # P = w1^2 + w2^2, and its derivative along (a, b) is 2 (a w1 + b w2).
    found = states.changes(x, np.array([[1.0, 0.0], [0.0, 1.0]]))
    np.testing.assert_allclose(found, [[4.0, 2.0]], rtol=1e-9)
