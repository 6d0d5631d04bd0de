"""Symbolic arrays compute what NumPy computes, and refuse by name what they cannot write."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import sympy as sp

from flowsim._errors import InputError
from flowsim.lowering.contraction import compile_tensors
from flowsim.problems import functions as fn
from flowsim.symbolic.indexed import SymbolicArray, Tensor, as_array
from tests.symbolic.maps import MAPS, point

SHAPES = ((), (1,), (3,), (1, 1), (4, 1), (1, 3), (4, 3), (2, 4, 3), (2, 1, 1), (1, 4, 1))
U = SymbolicArray(Tensor.variable("u", (3,)))
W = SymbolicArray(Tensor.variable("W", (2, 3)))
S = SymbolicArray(Tensor.variable("s", ()))


def symbolic(f, shapes):
    return as_array(f(*(SymbolicArray(Tensor.variable(n, s)) for n, s in shapes.items()))).tensor


def assert_as_numpy(f, shapes, values):
    """The symbolic reading has NumPy's shape and NumPy's numbers."""
    tensor, wanted = symbolic(f, shapes), f(*values)
    (found,) = compile_tensors([tensor], tuple(shapes)).function(values, None)
    assert tensor.shape == np.shape(wanted)
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", MAPS)
def test_maps_have_the_value_that_numpy_gives(name):
    f, shapes = MAPS[name]
    assert_as_numpy(f, shapes, point(shapes))


@pytest.mark.parametrize(
    ("a", "b"), list(itertools.product(SHAPES, SHAPES)), ids=lambda shape: str(shape)
)
def test_shapes_are_broadcast_as_numpy_does(a, b):
    shapes = {"a": a, "b": b}
    rng = np.random.default_rng(0)
    values = [rng.normal(size=a), rng.normal(size=b)]
    try:
        np.broadcast_shapes(a, b)
    except ValueError:
        with pytest.raises(InputError, match="do not fit together"):
            symbolic(lambda x, y: x + y, shapes)
        return
    for f in (lambda x, y: x + y, lambda x, y: x * y - 2 * y, lambda x, y: x / y + x**2):
        assert_as_numpy(f, shapes, values)
        # The same with an array of numbers on the left, on the right.
        assert_as_numpy(functools.partial(f, values[1]), {"a": a}, values[:1])
        assert_as_numpy(lambda x, f=f: f(x, values[1]), {"a": a}, values[:1])


@pytest.mark.parametrize("a", [(3,), (2, 3), (1, 3), (4, 3)])
@pytest.mark.parametrize("b", [(3,), (3, 2), (3, 1)])
def test_matmul_takes_vectors_and_matrices_on_either_side(a, b):
    rng = np.random.default_rng(1)
    values = [rng.normal(size=a), rng.normal(size=b)]
    assert_as_numpy(lambda x, y: x @ y, {"a": a, "b": b}, values)
    assert_as_numpy(lambda y: values[0] @ y, {"b": b}, values[1:])
    assert_as_numpy(lambda x: x @ values[1], {"a": a}, values[:1])


def test_numbers_and_arrays_may_stand_on_the_left():
    rng = np.random.default_rng(2)
    values = [rng.normal(size=3)]
    C = np.arange(3.0)
    for f in (
        lambda u: 2 * u + 1,
        lambda u: 2 - u,
        lambda u: 2 / u,
        lambda u: np.float64(0.1) * u - np.float32(0.5),
        lambda u: np.int64(3) - u,
        lambda u: C + u,
        lambda u: C - u,
        lambda u: C * u,
        lambda u: C / u,
        lambda u: +u - (-u),
        lambda u: u * [1.0, 2.0, 4.0],
        lambda u: True * u,
        lambda u: 0 * u + C,
    ):
        assert_as_numpy(f, {"u": (3,)}, values)


def test_arrays_of_jax_may_stand_on_the_left():
    with jax.enable_x64(True):
        C = jnp.arange(6.0).reshape(2, 3)
        assert_as_numpy(lambda u: C @ u + C[0] @ u, {"u": (3,)}, [np.array([1.0, -2.0, 0.5])])


@pytest.mark.parametrize(
    "exponent", [0, 1, 2, 3, -1, -2, 2.0, 9, 12, 0.5, 1 / 3, -0.5, 1.5, 0.7123]
)
@pytest.mark.parametrize(
    "base",
    [
        lambda u, v: u,
        lambda u, v: 3 * u,
        lambda u, v: u * v,
        lambda u, v: u + v,
        lambda u, v: 2 * u + 4 * v,
        lambda u, v: u / v,
        lambda u, v: u**2,
        lambda u, v: u @ v,
        lambda u, v: fn.outer(u, v),
        lambda u, v: fn.norm(u),
        lambda u, v: fn.exp(u) + 1,
    ],
)
def test_powers(base, exponent):
    values = point({"u": (3,), "v": (3,)})
    assert_as_numpy(lambda u, v: base(u, v) ** exponent, {"u": (3,), "v": (3,)}, values)


def test_powers_where_factors_are_negative():
    values = [np.array([-1.5, 0.5, -0.25]), np.array([2.0, -1.0, -3.0])]
    for f in (
        lambda u, v: fn.sqrt(u**2),
        lambda u, v: (u**2) ** 0.5 * v,
        lambda u, v: ((u * u) ** 0.5) ** 3,
        lambda u, v: ((u**3) ** 2) ** 0.5,
        lambda u, v: (u**-2) ** 0.5,
        lambda u, v: fn.sqrt(u**2 * v**2),
        lambda u, v: (4 * u**2) ** 1.5,
        lambda u, v: (u - v) ** -3,
        lambda u, v: (-2 * u) ** 3 / (-u) ** 2,
        lambda u, v: (u - u) ** 0 + (u - u) ** 2,
        lambda u, v: fn.power(u, 3) + fn.power(v, 2),
        lambda u, v: fn.diag(u) ** 2 + fn.diag(v) ** 3,
        lambda u, v: fn.diag(u) ** 0,
        lambda u, v: fn.norm(u - v) / fn.norm(-v),
    ):
        assert_as_numpy(f, {"u": (3,), "v": (3,)}, values)


@pytest.mark.parametrize(
    ("spec", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 2)]),
        ("ij,jk->ki", [(2, 3), (3, 2)]),
        ("ii->i", [(3, 3)]),
        ("ii->", [(3, 3)]),
        ("iij->ji", [(2, 2, 3)]),
        ("iii->i", [(2, 2, 2)]),
        ("i,i,i->i", [(3,), (3,), (3,)]),
        ("i,j->", [(3,), (2,)]),
        ("ij->ji", [(3, 2)]),
        ("ij, jk, kl -> li", [(2, 3), (3, 2), (2, 2)]),
        (",i->i", [(), (3,)]),
        ("Az,Bz->AB", [(2, 3), (2, 3)]),
    ],
)
def test_einsum(spec, shapes):
    rng = np.random.default_rng(4)
    named = {f"x{n}": shape for n, shape in enumerate(shapes)}
    values = [rng.normal(size=shape) for shape in shapes]
    assert_as_numpy(lambda *xs: fn.einsum(spec, *xs), named, values)


def test_axes_that_are_joined():
    rng = np.random.default_rng(5)
    shapes = {"A": (2, 3), "B": (2, 2), "v": (6,), "u": (2,), "g": ()}
    values = [rng.normal(size=shape) for shape in shapes.values()]
    C = np.arange(6.0) - 2
    for f in (
        lambda A, B, v, u, g: fn.kron(A, B),
        lambda A, B, v, u, g: fn.kron(A, B) @ v,
        lambda A, B, v, u, g: fn.kron(A, B) @ C + C[:4],
        lambda A, B, v, u, g: fn.kron(u, v) * np.arange(12.0),
        lambda A, B, v, u, g: fn.kron(B, A) @ fn.kron(u, C[:3]),
        lambda A, B, v, u, g: fn.kron(fn.kron(u, u), u),
        lambda A, B, v, u, g: fn.diag(fn.kron(u, u)) @ C[:4],
        lambda A, B, v, u, g: fn.diag(fn.diag(fn.kron(B, B))),
        lambda A, B, v, u, g: fn.trace(fn.kron(B, B)) + v @ fn.ravel(A),
        lambda A, B, v, u, g: fn.ravel(A) + v,
        lambda A, B, v, u, g: v - fn.ravel(A.T),
        lambda A, B, v, u, g: fn.ravel(fn.einsum("ij,kl,m->ikmlj", A, B, u)),
        lambda A, B, v, u, g: fn.ravel(g) * fn.ravel(g * np.ones((1, 1))),
        lambda A, B, v, u, g: fn.outer(v, fn.ravel(B)),
        lambda A, B, v, u, g: fn.tanh(fn.kron(A, B)) @ v,
        lambda A, B, v, u, g: (fn.kron(u, np.ones(3)) + v) ** -1,
        lambda A, B, v, u, g: fn.sum(fn.kron(A, B)) * u,
        lambda A, B, v, u, g: fn.norm(fn.kron(A, B)) * u,
        lambda A, B, v, u, g: fn.ravel(2 * g**0),
    ):
        assert_as_numpy(f, shapes, values)


def test_named_functions():
    shapes = {"u": (3,), "A": (3, 3)}
    values = point(shapes)
    for f in (
        lambda u, A: fn.exp(u) * fn.log(u) - fn.sin(u) / fn.cos(u),
        lambda u, A: fn.tanh(A - A.T) @ u,
        lambda u, A: fn.tanh(u + u @ u),
        lambda u, A: fn.sqrt(A) @ fn.sqrt(u),
        lambda u, A: fn.transpose(A) - A.T + fn.diag(u),
        lambda u, A: u.sum() * fn.sum(A),
        lambda u, A: fn.exp(fn.diag(u)),
    ):
        assert_as_numpy(f, shapes, values)


def test_a_captured_array_is_kept_as_it_was():
    C = np.arange(1.0, 4.0)
    tensor = (U * C).tensor
    C[:] = 0
    (found,) = compile_tensors([tensor], ("u",)).function([np.ones(3)], None)
    np.testing.assert_array_equal(found, [1.0, 2.0, 3.0])


# --- what is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "match"),
    [
        (lambda: U[0], "a factor is indexed, but parametrizations keep their factors whole"),
        (lambda: W[:, 1], "a factor is indexed"),
        (lambda: list(U), "a factor is gone through entry by entry"),
        (lambda: U if U else -U, "a decision depends on the value of a factor"),
        (lambda: bool(S), "a decision depends on the value of a factor"),
        (lambda: U == 0, "a decision depends on the value of a factor"),
        (lambda: S != 1.0, "a decision depends on the value of a factor"),
        (lambda: U**U, "an exponent is an array"),
        (lambda: U ** np.arange(3), "an exponent is an array"),
        (lambda: U**S, "an exponent is an array"),
        (lambda: 2**U, r"2 to the power of a factor: write exp\(x \* log\(2\)\)"),
        (lambda: U ** "2", "'2' stands in a formula; finite real numbers can"),
        (lambda: U ** float("inf"), "inf stands in a formula"),
        (lambda: U * 1j, "1j stands in a formula"),
        (lambda: U + float("nan"), "nan stands in a formula"),
        (lambda: U * None, "None stands in a formula"),
        (lambda: U * np.array([1.0, np.nan, 0.0]), "an array in the formula holds nan"),
        (lambda: U * np.array([1, 1j, 0]), "an array in the formula has dtype complex128"),
        (lambda: U * np.array([1, "a", 0], dtype=object), "an array in the formula has dtype obj"),
        (lambda: U + W.T, r"shapes \(3,\) and \(3, 2\) do not fit together"),
        (lambda: W @ W, r"sizes 3 and 2 meet in a product; the shapes are \[\(2, 3\), \(2, 3\)\]"),
        (lambda: U @ 2, "@ of arrays with 1 and 0 dimensions; it multiplies matrices and vectors"),
        (lambda: S @ U, "@ of arrays with 0 and 1 dimensions"),
        (lambda: np.ones((2, 2, 3)) @ U, "@ of arrays with 3 and 1 dimensions"),
        (lambda: fn.einsum("ij,jk", W, W.T), r"einsum\('ij,jk', ...\): write it as 'ij,jk->ik'"),
        (lambda: fn.einsum("ij->i", W, W), "one part an operand"),
        (lambda: fn.einsum("...i->i", W), "write it as"),
        (lambda: fn.einsum("i1->i", W), "write it as"),
        (lambda: fn.einsum("ij->k", W), "'k' must name letters of 'ij', each once"),
        (lambda: fn.einsum("i->ii", U), "'ii' must name letters of 'i', each once"),
        (lambda: fn.einsum("ij->i,j", W), "'i,j' must name letters"),
        (lambda: fn.einsum("ijk->i", W), "'ijk' names 3 axes of an array that has 2"),
        (lambda: fn.einsum("ij,ij->i", W, W.T), "sizes 2 and 3 meet|sizes 3 and 2 meet"),
        (lambda: fn.einsum("ii->i", W), "sizes 2 and 3 meet"),
        (lambda: fn.trace(W), r"trace of an array of shape \(2, 3\); it takes square matrices"),
        (lambda: fn.trace(U), "it takes square matrices"),
        (lambda: fn.diag(W), r"diag of an array of shape \(2, 3\); it takes vectors and squares"),
        (lambda: fn.diag(S), "it takes vectors and squares"),
        (lambda: fn.kron(W, U), "kron of arrays with 2 and 1 dimensions; both 1 or both 2"),
        (lambda: fn.outer(W, U), "outer of arrays with 2 and 1 dimensions; it takes vectors"),
        (lambda: fn.concatenate(U, U), "concatenate has no symbolic reading"),
        (lambda: 1 / (U - U), "the power -1 of an expression that is zero"),
        (
            lambda: fn.kron(U, W @ U) + fn.kron(W @ U, U),
            r"a sum of arrays that do not fit: an axis of size 6 is divided as \[3, 2\] and as",
        ),
        (
            lambda: fn.kron(U, W @ U) * fn.kron(W @ U, U),
            "a product of arrays that do not fit: an axis of size 6 is divided",
        ),
        (
            lambda: fn.kron(U, W @ U) @ fn.kron(W @ U, U),
            "a product of arrays that do not fit: an axis",
        ),
    ],
)
def test_what_has_no_formula_is_refused_by_name(f, match):
    with pytest.raises(InputError, match=match):
        f()


def test_a_symbol_may_be_an_exponent():
    N = sp.Symbol("N", positive=True)
    assert (U**N * U).tensor == (U ** (N + 1)).tensor
    assert (U**N / U**N).tensor == (U**0).tensor
