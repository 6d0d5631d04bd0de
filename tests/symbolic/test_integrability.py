"""Gradient or not: over whole columns, on losses that are written out, and any preconditioner."""

import numpy as np
import pytest
from sympy import (
    Abs,
    EmptySet,
    FiniteSet,
    I,
    Integer,
    Interval,
    Matrix,
    MatrixSymbol,
    Max,
    Piecewise,
    Rational,
    Symbol,
    cos,
    diag,
    exp,
    eye,
    log,
    oo,
    sin,
    sqrt,
    symbols,
)

from flowsim._errors import InputError
from flowsim.problems import DeepLinear
from flowsim.symbolic import certify, derive
from flowsim.symbolic.columns import Calculus, Inner, contract
from flowsim.symbolic.identities import UndecidedError, vanishes
from flowsim.symbolic.integrability import (
    CALCULUS,
    G,
    H,
    W,
    antisymmetric_part_of,
    balanced_field,
    column_field,
    regularity_gradient,
)
from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.preconditioned import antisymmetric_part, regularizer_exists
from flowsim.symbolic.regularizers import is_gradient_field
from flowsim.symbolic.words import MatrixPolynomial

x, y, z = symbols("x y z", real=True)
N = Symbol("N", positive=True)
NORM2, NORM3 = sqrt(x**2 + y**2), sqrt(x**2 + y**2 + z**2)
of = MatrixPolynomial.of


# -- whole columns ---------------------------------------------------------------------------------


@pytest.mark.parametrize("depth", [2, 3, 8, "N"])
def test_the_field_of_a_derived_law_is_the_field(depth):
    law = derive(DeepLinear.of_depth(depth))
    certify(column_field(law), balanced_field(law.depth))


@pytest.mark.parametrize("depth", [N, Integer(2), Integer(3), Rational(5, 2), Rational(9, 8)])
def test_the_antisymmetric_part_at_every_real_depth(depth):
    q, w = regularity_gradient(depth), of(W)
    stated = (q @ w.T - w @ q.T) * (-(depth - 1) * FrobeniusNorm(W) ** (-2 / depth))
    certify(CALCULUS.normal(stated), antisymmetric_part_of(balanced_field(depth)))
    certify(q, of(H) @ w + of(G) * ((depth - 2) / depth))


def test_depth_one_is_a_gradient():
    assert antisymmetric_part_of(balanced_field(1)).is_zero


def test_the_calculus_of_columns_against_differences():
    rng = np.random.default_rng(5)
    A, w, b = rng.normal(size=(3, 3)), rng.normal(size=3), rng.normal(size=3)
    A = A + A.T

    def at(polynomial, w):
        letters = {W: w[:, None], G: (A @ w - b)[:, None], H: A}
        total = np.zeros([3 if n.is_Symbol else int(n) for n in polynomial.shape])
        for (word, _), c in polynomial.terms.items():
            c = c.subs({FrobeniusNorm(W): np.linalg.norm(w), Inner(W, G): w @ (A @ w - b)})
            product = np.eye(3)
            for letter in word:
                product = product @ (letters[letter.node].T if letter.transposed else
                                     letters[letter.node])  # fmt: skip
            total = total + float(c) * product
        return total

    F = balanced_field(3)
    J = at(CALCULUS.jacobian(F), w)
    h = 1e-5
    for j in range(3):
        step = h * np.eye(3)[j]
        assert J[:, j] == pytest.approx((at(F, w + step) - at(F, w - step))[:, 0] / (2 * h), 1e-8)


def test_a_column_without_a_jacobian_is_refused():
    v = MatrixSymbol("v", *W.shape)
    with pytest.raises(ValueError, match="no Jacobian is known"):
        CALCULUS.jacobian(of(v))
    with pytest.raises(ValueError, match="no sum of scalars times letters"):
        contract(W, of(H) @ of(W))
    assert Calculus({}).gradient(Integer(2), W.shape[0]).is_zero


# -- losses that are written out -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("loss", "depths"),
    [
        (3 * x - y, FiniteSet(2)),
        (NORM2**2 / 2 - 3 * x + y, FiniteSet(2)),
        (x**2 + 3 * y**2, EmptySet),
        (x**2 + 3 * y**2 - x, EmptySet),
        (7 * NORM2 + NORM2**4, Interval.open(1, oo)),
        (exp(-(NORM2**2)), Interval.open(1, oo)),
        (x * y / NORM2 ** Rational(4, 3) + log(NORM2), FiniteSet(3)),
        (x * sqrt(NORM3) + exp(NORM3), FiniteSet(Rational(4, 3))),
        ((x + NORM2) ** 2 / NORM2 + NORM2**6, FiniteSet(2)),
        (x**2 / NORM2**2, EmptySet),
        ((x - 1) ** 4 + (y - 2) ** 4, EmptySet),
        (log(1 + exp(x - y)), EmptySet),
        (sin(x) + y, EmptySet),
    ],
    ids=str,
)
def test_the_depths_at_which_a_loss_leaves_a_regularizer(loss, depths):
    assert is_gradient_field(loss, N).depths == depths
    for depth in (Rational(4, 3), 2, 2.5, 3, 8):
        verdict = is_gradient_field(loss, depth)
        assert bool(verdict) == (depths.contains(Rational(depth)) == True)  # noqa: E712
        if verdict:
            assert verdict.witness is None
            assert vanishes(loss - verdict.radial - verdict.homogeneous)
        else:
            # The witness is where the antisymmetric part is not 0, and proves it.
            values = verdict.antisymmetric.subs(verdict.witness).evalf(30)
            assert max(abs(v) for v in values) > 1e-12
            assert verdict.potential is None


def gradient_matches(potential, loss, ws, depth):
    norm2 = sum(w**2 for w in ws)
    euler = sum(w * loss.diff(w) for w in ws)
    point = dict(zip(ws, (Rational(3, 7), -Rational(2, 5), Rational(11, 9)), strict=False))
    for w in ws:
        field = norm2 ** (1 - 1 / Rational(depth)) * (
            loss.diff(w) + (depth - 1) * w * euler / norm2
        )
        slope = potential.diff(w)
        assert slope.subs(point).evalf(25) == pytest.approx(field.subs(point).evalf(25), rel=1e-20)


def test_potentials_have_the_field_as_their_gradient():
    for loss, ws, depth in [
        (3 * x - y, (x, y), 2),
        (NORM2**2 / 2 - 3 * x + y, (x, y), 2),
        (x * y / NORM2 ** Rational(4, 3) + log(NORM2), (x, y), 3),
        (x * sqrt(NORM3) + NORM3**5, (x, y, z), Rational(4, 3)),
        (NORM3**6, (x, y, z), 5),
    ]:
        verdict = is_gradient_field(loss, depth, ws)
        assert verdict
        gradient_matches(verdict.potential, loss, ws, depth)


def test_the_potential_of_a_linear_loss_at_depth_two_is_the_norm_times_it():
    u = symbols("u1:4", real=True)
    linear = u[0] * x + u[1] * y + u[2] * z
    verdict = is_gradient_field(linear, 2, [x, y, z])
    assert verdict.potential == NORM3 * linear
    assert not is_gradient_field(linear, 3, [x, y, z])


def test_a_radial_loss_has_its_potential_at_a_symbolic_depth():
    verdict = is_gradient_field(NORM2**4, N)
    assert verdict
    gradient_matches(verdict.potential.subs(N, 3), NORM2**4, (x, y), 3)


def test_one_variable_is_always_a_gradient():
    for loss in (3 * x, x**2 - 5 * x, sin(x)):
        verdict = is_gradient_field(loss, 3, [x])
        assert verdict
        assert vanishes(verdict.potential.diff(x) - 3 * (x**2) ** Rational(2, 3) * loss.diff(x))


def test_parameters_may_stand_in_the_degree():
    p = Symbol("p", positive=True)
    verdict = is_gradient_field(x * NORM2**p, N, [x, y])
    assert verdict.depths == FiniteSet(2 / (p + 1))
    assert not verdict


def test_floating_point_numbers_are_decimals():
    assert is_gradient_field(NORM2 ** Rational(20, 21) * x / NORM2 + 0.1 * NORM2**2, 2.1)
    assert is_gradient_field(NORM2**4, 2.1).potential is not None
    with pytest.raises(UndecidedError, match="simple fractions"):
        is_gradient_field(NORM2**4, 2.123456789)


def test_it_says_so_where_it_does_not_know():
    with pytest.raises(UndecidedError, match="it is not decided whether"):
        vanishes(sin(x) ** 2 + cos(x) ** 2 - 1)
    with pytest.raises(UndecidedError, match="no relation that is known here"):
        is_gradient_field((sin(x) ** 2 + cos(x) ** 2) * x + sin(2 * y) - 2 * sin(y) * cos(y), 2)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("x", 2), "loss is str"),
        ((x, 0.5), "depth is 0.5"),
        ((x, "3"), "depth is '3'"),
        ((x, True), "depth is True"),
        ((x, float("nan")), "depth is nan"),
        ((x, x), "also one of the variables"),
        ((Integer(3), 2), "list of different SymPy symbols"),
        ((x, 2, [x, x]), "list of different SymPy symbols"),
    ],
)
def test_wrong_input_is_named(arguments, complaint):
    with pytest.raises(InputError, match=complaint):
        is_gradient_field(*arguments)


# -- identities ------------------------------------------------------------------------------------


def test_identities_between_roots_powers_and_exponentials():
    assert vanishes(sqrt(x**2 + 1) * (x**2 + 1) ** Rational(3, 2) - (x**2 + 1) ** 2)
    assert vanishes((x**2 + 1) ** (1 / N) * (x**2 + 1) ** (1 - 1 / N) - x**2 - 1)
    assert vanishes(exp(x + y) * exp(-y) - exp(x))
    assert vanishes(log(sqrt(x**2 + y**2)) - log(x**2 + y**2) / 2)
    assert not vanishes(sqrt(x**2 + 1) - x)
    assert not vanishes(exp(x) - exp(2 * x))
    assert not vanishes(0.1 * x - x / Integer(10) * (1 + y))


# -- any preconditioner ----------------------------------------------------------------------------


def test_only_multiples_of_the_identity_suit_every_loss():
    assert regularizer_exists(5 * eye(2), [x, y])
    assert regularizer_exists(Matrix([[x**2]]), [x])
    for P in (x * eye(2), diag(2, 3), diag(x**2, y**2), Matrix([[1, 1], [-1, 1]])):
        verdict = regularizer_exists(P, [x, y])
        assert not verdict
        assert not regularizer_exists(P, [x, y], verdict.counterexample)


def test_a_preconditioner_may_suit_one_loss():
    # Diagonal networks: a separable loss stays separable.
    assert regularizer_exists(diag(x**2, y**2), [x, y], x**3 + sin(y))
    verdict = regularizer_exists(diag(x**2, y**2), [x, y], x * y)
    assert not verdict
    assert verdict.antisymmetric.subs(verdict.witness)[0, 1] != 0


def test_the_preconditioner_of_the_network_agrees_with_its_classification():
    w = Matrix([x, y])
    norm2 = x**2 + y**2
    for loss in (3 * x - y, x**2 + 2 * y**2):
        for depth in (2, 3):
            P = norm2 ** (1 - Rational(1, depth)) * (eye(2) + (depth - 1) * w * w.T / norm2)
            verdict = is_gradient_field(loss, depth)
            assert bool(regularizer_exists(P, [x, y], loss)) == bool(verdict)
            g = Matrix([loss.diff(x), loss.diff(y)])
            difference = antisymmetric_part(P * g, [x, y]) - verdict.antisymmetric
            assert all(vanishes(entry) for entry in difference)


def test_two_outputs_at_depth_two_have_no_regularizer_even_for_a_linear_loss():
    # The roots of W W^T and W^T W of a 2 x 2 matrix of positive determinant, in closed form.
    a, b, c, d = symbols("a b c d", positive=True)
    Wm, Gm = Matrix([[a, b], [c, d]]), Matrix([[1, 0], [0, 2]])
    s = sqrt((a + d) ** 2 + (b - c) ** 2)
    nearest_rotation = Matrix([[a + d, b - c], [c - b, a + d]]) / s
    left, right = Wm * nearest_rotation.T, nearest_rotation.T * Wm
    for root, square in ((left, Wm * Wm.T), (right, Wm.T * Wm)):
        assert all(vanishes(entry) for entry in root - root.T)
        assert all(vanishes(entry) for entry in root * root - square)
    A = antisymmetric_part(list(left * Gm + Gm * right), [a, b, c, d])
    assert any(not vanishes(entry) for entry in A)


def test_sizes_are_compared():
    with pytest.raises(InputError, match="P has shape"):
        regularizer_exists(eye(3), [x, y])
    with pytest.raises(InputError, match="field has 1 entries on 2 variables"):
        antisymmetric_part([x], [x, y])


def test_a_loss_of_one_variable_is_decided_whether_or_not_it_is_declared_real():
    for w in (Symbol("x"), Symbol("x", real=True)):
        verdict = is_gradient_field(w**2, 3)
        # 3 * integral of s^(4/3) * 2 s from 0 to 2.
        value = verdict.potential.subs(w, 2).doit()
        assert verdict.holds
        assert abs(float(value) - 1.8 * 2 ** (10 / 3)) <= 1e-12


def test_a_radial_loss_is_a_gradient_at_every_depth_in_words():
    x, y = symbols("x y")
    assert "at every depth N" in is_gradient_field(x**2 + y**2, Symbol("N")).reason


@pytest.mark.parametrize(
    ("kinked", "message"),
    [
        (Abs(Symbol("x")) + Symbol("y"), r"loss holds Abs\(x\), which has a kink"),
        (Max(Symbol("x"), Symbol("y")), "which has a kink"),
        (Piecewise((Symbol("x"), Symbol("x") > 0), (Symbol("y"), True)), "which has a kink"),
        (I * Symbol("x"), "pass a real and finite expression"),
    ],
)
def test_losses_with_kinks_are_refused_by_name(kinked, message):
    with pytest.raises(InputError, match=message):
        is_gradient_field(kinked, 2)
