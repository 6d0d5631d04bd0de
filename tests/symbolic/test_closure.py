"""Whether motions close: decisions, closed forms, witnesses, for built-in and unseen maps.

What is compared with is computed here without the engine: J by central differences of the map, and
formulas as they are published.
"""

import numpy as np
import pytest
import sympy as sp

from flowsim._errors import InputError
from flowsim.problems import DeepLinear
from flowsim.problems.families import (
    CP,
    Diagonal,
    DiagonalProduct,
    ScaledVector,
    SymmetricFactorization,
    TwoLayer,
    WeightNormalized,
)
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic.closure import closure
from flowsim.symbolic.closure.tape import Tape


def text(formula, **shapes):
    return Parametrization.from_text(formula, shapes)


def scalars(formula, names):
    return text(formula, **{name: () for name in names})


def split(par, x):
    sizes = [int(np.prod(shape)) for shape in par.shapes]
    parts = np.split(x, np.cumsum(sizes)[:-1])
    return tuple(part.reshape(s) for part, s in zip(parts, par.shapes, strict=True))


def value(par, x):
    return np.ravel(np.asarray(par(split(par, x)), dtype=float))


def jacobian(par, x, e=2e-3):
    """Central differences of order six."""
    weights = {1: 3 / 4, 2: -3 / 20, 3: 1 / 60}
    columns = []
    for i in range(len(x)):
        d = np.zeros(len(x))
        d[i] = e
        slope = sum(c * (value(par, x + k * d) - value(par, x - k * d)) for k, c in weights.items())
        columns.append(slope / e)
    return np.array(columns).T


def constants_at(result, par, x):
    symbols = list(result.constants)
    entries = {s: v for s, v in zip(result.entries, x, strict=True)}
    found = []
    for s in symbols:
        number = float(result.constants[s].subs(entries))
        found.append(np.sign(number) if str(s).startswith("sigma") else number)
    return symbols, found


def closed_preconditioner(result, par, x):
    w = value(par, x)
    symbols, c = constants_at(result, par, x)
    tape = Tape.of(list(result.preconditioner), [*result.w, *symbols])
    return np.array(tape(np, [*w, *c]), dtype=float).reshape(len(w), len(w))


def agrees(result, par, x, tolerance=1e-10):
    J = jacobian(par, x)
    P = J @ J.T
    np.testing.assert_allclose(
        closed_preconditioner(result, par, x), P, rtol=0, atol=tolerance * np.abs(P).max()
    )


GENERIC = {
    "u^2 - v^2": (Diagonal(2), "radical"),
    "scaled vector, d = 1": (ScaledVector(1), "radical"),
    "scaled vector, d = 2": (ScaledVector(2), "radical"),
    "scaled vector, d = 3": (ScaledVector(3), "radical"),
    "weight normalized": (WeightNormalized(3), "radical"),
    "chain of two": (DeepLinear((1, 1, 1)), "radical"),
    "one hidden unit": (DeepLinear((3, 1, 1)), "radical"),
    "rank-one matrix": (TwoLayer((2, 1, 2)), "radical"),
    "wide scalar product": (TwoLayer((1, 2, 1)), "radical"),
    "U U^T": (SymmetricFactorization(2, 2), "radical"),
    "Kronecker product": (text("kron(A, B)", A=(2, 1), B=(1, 2)), "radical"),
    "(a + b) c": (scalars("(a + b)*c", "abc"), "radical"),
    "u^2 v^2": (scalars("u**2*v**2", "uv"), "radical"),
    "u/v": (scalars("u/v", "uv"), "radical"),
    "g v/|v|^2": (text("g*v/norm(v)**2", g=(), v=2), "radical"),
    "e^u - e^v": (scalars("exp(u) - exp(v)", "uv"), "radical"),
    "u (a + b)": (text("u*(a + b)", u=2, a=(), b=()), "radical"),
    "u^2 + v^2 + s^2": (scalars("u**2 + v**2 + s**2", "uvs"), "radical"),
    "tanh(u) v": (scalars("tanh(u)*v", "uv"), "radical"),
    "linear": (scalars("2*u - v", "uv"), "constant"),
    "a norm": (scalars("sqrt(u*u + v*v)", "uv"), "constant"),
}


@pytest.mark.parametrize("name", GENERIC)
def test_explicit_forms_are_the_pushforward(name):
    par, form = GENERIC[name]
    result = closure(par)
    assert result.closes
    assert result.form == form
    rng = np.random.default_rng(5)
    for _ in range(10):
        agrees(result, par, rng.uniform(0.4, 1.4, par.size) * rng.choice([-1, 1], par.size))


IMPLICIT = {
    "u^3 - v^3": Diagonal(1, 3),
    "chain of three": DeepLinear((1, 1, 1, 1)),
    "three factors, vector": DeepLinear((2, 1, 1, 1)),
    "u^2 v": scalars("u**2*v", "uv"),
    "u^4 - v^2": scalars("u**4 - v**2", "uv"),
    "u^2 - v": scalars("u**2 - v", "uv"),
    "sin(u) v": scalars("sin(u)*v", "uv"),
    "u^2 - 3 v^2": scalars("u**2 - 3*v**2", "uv"),
    "CP, rank 2": CP((2, 2, 2), 2),
    "symmetric outer product": text("outer(a, b) + outer(b, a)", a=2, b=2),
}


@pytest.mark.parametrize("name", IMPLICIT)
def test_motions_that_close_without_roots(name):
    result = closure(IMPLICIT[name])
    assert result.closes
    assert result.form == "implicit"
    assert result.preconditioner is None
    assert result.missing == 0
    assert "at the theta that solves" in str(result)


@pytest.mark.slow
@pytest.mark.parametrize(
    "par", [CP((2, 2, 2), 1), text("kron(kron(A, B), C)", A=(2, 1), B=(1, 2), C=(2, 1))], ids=str
)
def test_three_factors_of_rank_one(par):
    assert closure(par).form == "implicit"
    balanced = closure(par, values="zero")
    assert balanced.form == "radical"
    rng = np.random.default_rng(1)
    for _ in range(3):
        x = rng.normal(size=par.size).reshape(3, 2)
        agrees(balanced, par, (x / np.linalg.norm(x, axis=1)[:, None]).ravel())


OPEN = {
    "two layers": (TwoLayer((2, 2, 2)), 5, 4, 1),
    "two layers, wide": (TwoLayer((2, 3, 2)), 6, 4, 2),
    "two layers, one output": (TwoLayer((2, 2, 1)), 3, 2, 1),
    "U diag(s) V^T": (text("U @ diag(s) @ V.T", U=(2, 2), s=2, V=(2, 2)), 6, 4, 2),
    "A x": (text("A @ x", A=(2, 2), x=2), 3, 2, 1),
    "U U^T x": (text("U @ U.T @ x", U=(2, 2), x=2), 5, 2, 2),
}


@pytest.mark.parametrize("name", OPEN)
def test_motions_that_do_not_close(name):
    par, leaf, image, moving = OPEN[name]
    result = closure(par)
    assert not result.closes
    assert result.form is None
    (part,) = result.parts
    assert (part.verdict.leaf, part.verdict.image, part.verdict.moving) == (leaf, image, moving)
    # The witness, verified without the engine: w, the laws, and velocities by differences.
    witness = result.witness
    first, second = (
        np.concatenate([np.ravel(f) for f in s]) for s in (witness.first, witness.second)
    )
    scale = np.abs(first).max() ** 2
    np.testing.assert_allclose(value(par, first), value(par, second), rtol=0, atol=1e-12 * scale)
    _, c = constants_at(result, par, first)
    _, d = constants_at(result, par, second)
    np.testing.assert_allclose(c, d, rtol=0, atol=1e-12 * scale)
    g = witness.gradient
    J, K = jacobian(par, first), jacobian(par, second)
    slow, fast = -J @ J.T @ g, -K @ K.T @ g
    np.testing.assert_allclose(witness.velocities, [slow, fast], atol=1e-8 * np.abs(fast).max())
    assert np.linalg.norm(slow - fast) > 0.04 * np.linalg.norm(fast)
    assert witness.difference > 0.04
    assert "does not close" in str(result)
    assert "does not close" not in result.latex()


def test_a_witness_of_a_matrix_product_by_hand():
    """W_2^T W_2 - W_1 W_1^T and W_2 W_1 agree, and the Gram matrices that move W do not."""
    witness = closure(TwoLayer((2, 2, 2))).witness
    (A1, A2), (B1, B2) = witness.first, witness.second
    np.testing.assert_allclose(A2 @ A1, B2 @ B1, atol=1e-12)
    np.testing.assert_allclose(A2.T @ A2 - A1 @ A1.T, B2.T @ B2 - B1 @ B1.T, atol=1e-12)
    assert np.abs(A2 @ A2.T - B2 @ B2.T).max() > 0.1


# -- published formulas ----------------------------------------------------------------------------


def test_hyperbolic_law_of_the_diagonal_network():
    result = closure(Diagonal(2))
    w, c = result.w, list(result.constants)
    for i in range(2):
        expected = 4 * sp.sqrt(w[i] ** 2 + 4 * c[i] ** 2)
        assert sp.expand(result.preconditioner[i, i] - expected) == 0
        assert result.law[i] == -result.preconditioner[i, i] * result.G[i]
    assert result.preconditioner[0, 1] == 0
    u, v = result.entries[0], result.entries[2]
    assert result.constants[c[0]] == u * v


@pytest.mark.parametrize("depth", [2, 3, 4, 8])
def test_balanced_chains(depth):
    result = closure(DeepLinear((1,) * (depth + 1)), values="zero")
    (w,) = result.w
    expected = depth * sp.Abs(w) ** sp.Rational(2 * depth - 2, depth)
    assert sp.powdenest(result.preconditioner[0, 0] / expected) == 1


def test_unbalanced_chain_of_two():
    result = closure(DeepLinear((1, 1, 1)))
    (w,), (c,) = result.w, result.constants
    assert sp.expand(result.preconditioner[0, 0] - sp.sqrt(c**2 + 4 * w**2)) == 0


@pytest.mark.parametrize("par", [ScaledVector(2), ScaledVector(3), DeepLinear((3, 1, 1))], ids=str)
def test_memoryless_law_of_the_scaled_vector(par):
    """P = rho I + w w^T / rho with rho = (c + sqrt(c^2 + 4 |w|^2))/2."""
    result = closure(par)
    (c,) = result.constants
    w = sp.Matrix(result.w)
    rho = (c + sp.sqrt(c**2 + 4 * w.dot(w))) / 2
    numbers = dict(zip([*result.w, c], (*(0.3, -0.7, 0.4)[: len(w)], 0.9), strict=True))
    expected = (rho * sp.eye(len(w)) + w * w.T / rho).subs(numbers)
    found = result.preconditioner.subs(numbers)
    assert max(abs(float(x)) for x in found - expected) < 1e-14
    assert "dw/dt = " in str(result)
    assert "rho = c_1/2 + sqrt(c_1^2 + 4*|w|^2)/2" in str(result)
    assert any("rho" in sentence and "not 0" in sentence for sentence in result.domain)


def test_weight_normalization():
    """P = Pr_w + |w|^2/c (I - Pr_w) with c = |v|^2."""
    result = closure(WeightNormalized(3))
    (c,) = result.constants
    w = np.array([0.3, -0.7, 0.4])
    along = np.outer(w, w) / (w @ w)
    expected = along + (w @ w) / 1.7 * (np.eye(3) - along)
    numbers = dict(zip([*result.w, c], [*w, 1.7], strict=True))
    found = np.array(result.preconditioner.subs(numbers), dtype=float)
    np.testing.assert_allclose(found, expected, atol=1e-14)


def test_cubes_that_start_opposite():
    result = closure(Diagonal(1, 3), values="zero")
    (w,) = result.w
    expected = 18 * (sp.Abs(w) / 2) ** sp.Rational(4, 3)
    assert sp.powsimp(sp.powdenest(result.preconditioner[0, 0] / expected)) == 1


@pytest.mark.parametrize("par", [DeepLinear((3, 2, 2)), TwoLayer((3, 2, 2))], ids=str)
def test_balanced_matrices(par):
    result = closure(par, values="zero")
    assert result.form == "matrix"
    assert "(W*W^T)^(1/2)*G" in str(result)
    assert not closure(TwoLayer((2, 2, 2))).closes
    assert len(result.steps) > 3


# -- special values --------------------------------------------------------------------------------


def test_lambda_balanced_layers_close():
    par = TwoLayer((2, 2, 2))
    assert closure(par, values={0: 0.5, 1: 0, 2: 0.5}).closes
    assert not closure(par, values={0: 0.5, 1: 0.25, 2: 0.5}).closes


def test_balanced_layers_close_by_the_criterion_too():
    assert closure(TwoLayer((2, 2, 2)), values={0: 0, 1: 0, 2: 0}).closes


def test_copies_with_different_values():
    par = Diagonal(3)
    result = closure(par, values={"c_2": 0})
    w, c = result.w, list(result.constants)
    P = result.preconditioner
    assert P[1, 1] == 4 * sp.Abs(w[1])
    assert sp.expand(P[2, 2] - 4 * sp.sqrt(w[2] ** 2 + 4 * c[2] ** 2)) == 0
    assert result.special == {c[1]: 0}
    agrees(result, par, np.array([0.3, 0.0, 1.2, 0.7, -0.9, 0.4]))


def test_a_value_that_is_not_zero():
    result = closure(DeepLinear((1, 1, 1)), values={0: 3})
    (w,) = result.w
    assert sp.expand(result.preconditioner[0, 0] - sp.sqrt(9 + 4 * w**2)) == 0


def test_even_products_restrict_w():
    result = closure(text("u**2*v**2", u=2, v=2), values="zero")
    x = np.array([0.7, 1.1, -0.7, 1.1])
    agrees(result, text("u**2*v**2", u=2, v=2), x)


def test_signs_are_constants_of_the_start():
    par = scalars("tanh(u)*v", "uv")
    result = closure(par)
    (sigma,) = [s for s in result.constants if str(s).startswith("sigma")]
    assert any(f"{sigma} is its sign" in sentence for sentence in result.domain)
    # The state (0.4, 2.5) is on the far side of a double root of the discriminant.
    for x in (np.array([0.2, 0.3]), np.array([0.4, 2.5]), np.array([-0.3, -3.0])):
        agrees(result, par, x)


def test_symbols_first_and_numbers_afterwards():
    """The root is drawn from a law with a norm, which is not solved modulo the prime."""
    par = scalars("sqrt(u**2 + v**2)*s", "uvs")
    result = closure(par, values="zero")
    known = closure(par)
    laws = [e for c, e in known.constants.items()]
    assert result.closes
    assert known.form == "radical"
    assert set(result.special.values()) == {sp.Integer(0)}
    assert len(laws) == len(result.special)


def test_a_level_set_of_several_parts():
    """u^2 - v^2 = 0 is u = v and u = -v, and uv + s^2 moves by a law of its own on either."""
    result = closure(scalars("u*v + s**2", "uvs"), values="zero")
    assert result.form == "implicit"
    assert any("laws of their own" in sentence for sentence in result.domain)


# -- showing ---------------------------------------------------------------------------------------


def test_identical_parts_are_solved_once():
    result = closure(Diagonal(5))
    assert len(result.parts) == 1
    assert len(result.parts[0].values) == 5
    assert "likewise for 4 other parts" in str(result)


def test_steps_are_checked_lines():
    result = closure(ScaledVector(2))
    shown = "\n".join(map(str, result.steps))
    assert "The chain rule: P = J J^T. [checked: normal form]" in shown
    assert "is conserved" in shown
    assert "The equation of rho" in shown
    assert "The root solves the equation. [checked: normal form]" in shown


@pytest.mark.parametrize("par", [ScaledVector(2), Diagonal(1, 3), TwoLayer((2, 2, 2))], ids=str)
def test_latex(par):
    result = closure(par)
    shown = result._repr_latex_()
    assert shown.startswith("$")
    assert shown.endswith("$")
    assert shown.count("{") == shown.count("}")
    assert "normw" not in shown


def test_same_seed_same_witness():
    first, second = (closure(TwoLayer((2, 2, 1)), seed=3).witness for _ in range(2))
    np.testing.assert_array_equal(first.second[0], second.second[0])


@pytest.mark.parametrize("seed", range(4))
def test_decisions_do_not_depend_on_the_seed(seed):
    assert closure(ScaledVector(2), seed=seed).form == "radical"
    assert not closure(TwoLayer((2, 2, 1)), seed=seed).closes


def test_a_law_without_a_formula():
    result = closure(scalars("u*v + v**2", "uv"))
    assert result.closes
    assert result.missing == 1
    assert "no formula" in str(result)


def test_a_product_that_only_special_products_of_vectors_make():
    result = closure(DiagonalProduct(2, 3), values="zero")
    w = result.w
    assert result.preconditioner[1, 1] == 3 * sp.Abs(w[1]) ** sp.Rational(4, 3)


# -- wrong input -----------------------------------------------------------------------------------


def test_wrong_input():
    with pytest.raises(InputError, match="par is int"):
        closure(3)
    with pytest.raises(InputError, match="values is 'none'"):
        closure(Diagonal(1), values="none")
    with pytest.raises(InputError, match="no law 7"):
        closure(Diagonal(1), values={7: 0})
    with pytest.raises(InputError, match="finite number"):
        closure(Diagonal(1), values={0: float("nan")})
    with pytest.raises(InputError, match="no state with these values"):
        closure(WeightNormalized(2), values="zero")
    with pytest.raises(InputError, match="D = "):
        closure(TwoLayer((9, 9, 9)))
