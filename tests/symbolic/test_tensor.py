"""The normal form: what is equal is found equal, what differs is kept apart, in reasonable work."""

import functools
import operator

import numpy as np
import pytest
import sympy as sp

from flowsim._errors import InputError
from flowsim.problems import functions as fn
from flowsim.symbolic.indexed import SymbolicArray, Tensor, as_array
from flowsim.symbolic.indexed import tensor as tensor_module
from flowsim.symbolic.indexed.tensor import exact, matched, unified


def symbolic(f, shapes):
    return as_array(f(*(SymbolicArray(Tensor.variable(n, s)) for n, s in shapes.items()))).tensor


def chain(*factors):
    return functools.reduce(operator.matmul, factors)


MATRICES = {"A": (3, 3), "B": (3, 3)}
VECTORS = {"u": (3,), "v": (3,)}

EQUAL = {
    "trace is cyclic": (
        MATRICES,
        lambda A, B: fn.trace(A @ B @ A @ B),
        lambda A, B: fn.trace(B @ A @ B @ A),
    ),
    "trace of a long product transposed": (
        MATRICES,
        lambda A, B: fn.trace(A @ A @ B @ A @ B @ B),
        lambda A, B: fn.trace(B.T @ B.T @ A.T @ B.T @ A.T @ A.T),
    ),
    "trace as a sum": (
        MATRICES,
        lambda A, B: fn.trace(A @ B),
        lambda A, B: fn.sum(A * B.T),
    ),
    "transpose of a product": (MATRICES, lambda A, B: (A @ B).T, lambda A, B: B.T @ A.T),
    "square of a norm": (
        MATRICES,
        lambda A, B: fn.norm(A) ** 2,
        lambda A, B: fn.trace(A @ A.T),
    ),
    "norm to the fourth": (
        MATRICES,
        lambda A, B: fn.norm(A) ** 4,
        lambda A, B: fn.trace(A.T @ A) ** 2,
    ),
    "square over cubed norm": (
        VECTORS,
        lambda u, v: (v @ v) * fn.norm(v) ** -3,
        lambda u, v: 1 / fn.norm(v),
    ),
    "norms that cancel": (
        MATRICES,
        lambda A, B: fn.trace(A @ A.T) ** 2 * fn.norm(A) ** -4 * B,
        lambda A, B: B,
    ),
    "norm of a multiple": (MATRICES, lambda A, B: fn.norm(-2 * A), lambda A, B: 2 * fn.norm(A)),
    "norm of a root multiple": (
        VECTORS,
        lambda u, v: fn.sqrt(2 * (u @ u)),
        lambda u, v: as_array(sp.sqrt(2)) * fn.norm(u),
    ),
    "square of the norm of a sum": (
        MATRICES,
        lambda A, B: fn.norm(A + B) ** 2,
        lambda A, B: fn.norm(A) ** 2 + 2 * fn.trace(A.T @ B) + fn.norm(B) ** 2,
    ),
    "kron of products": (
        MATRICES,
        lambda A, B: fn.kron(A, B) @ fn.kron(A, B),
        lambda A, B: fn.kron(A @ A, B @ B),
    ),
    "trace of a kron": (
        MATRICES,
        lambda A, B: fn.trace(fn.kron(A, B)),
        lambda A, B: fn.trace(A) * fn.trace(B),
    ),
    "transpose of a kron": (
        MATRICES,
        lambda A, B: fn.kron(A, B).T,
        lambda A, B: fn.kron(A.T, B.T),
    ),
    "a whole axis and a divided one": (
        {"A": (2, 3), "v": (6,)},
        lambda A, v: fn.norm(fn.ravel(A) + v) ** 2 - fn.norm(A) ** 2 - 2 * fn.ravel(A) @ v,
        lambda A, v: v @ v,
    ),
    "diagonal times vector": (VECTORS, lambda u, v: fn.diag(u) @ v, lambda u, v: u * v),
    "diagonal of a diagonal": (VECTORS, lambda u, v: fn.diag(fn.diag(u)), lambda u, v: u),
    "product of diagonals": (
        VECTORS,
        lambda u, v: fn.diag(u) @ fn.diag(v),
        lambda u, v: fn.diag(u) * v,
    ),
    "the same delta four times": (
        VECTORS,
        lambda u, v: fn.diag(u) * fn.diag(u) * fn.diag(v) * fn.diag(v),
        lambda u, v: fn.diag((u * v) ** 2),
    ),
    "diagonal and outer product": (
        VECTORS,
        lambda u, v: fn.diag(u) * fn.outer(v, v),
        lambda u, v: fn.diag(u * v**2),
    ),
    "three equal indices": (
        VECTORS,
        lambda u, v: fn.einsum("ij,jk,k->ijk", fn.diag(u), fn.diag(v), u),
        lambda u, v: fn.einsum("ik,ij,i->ijk", fn.diag(u), fn.diag(v), u),
    ),
    "outer transposed": (VECTORS, lambda u, v: fn.outer(u, v).T, lambda u, v: fn.outer(v, u)),
    "binomial": (VECTORS, lambda u, v: (u + v) ** 2, lambda u, v: u * u + 2 * u * v + v**2),
    "ninth power": (
        VECTORS,
        lambda u, v: (u + v) ** 9,
        lambda u, v: (u + v) ** 4 * (v + u) ** 5,
    ),
    "even negative power": (
        VECTORS,
        lambda u, v: (u - v) ** -2,
        lambda u, v: (v - u) ** -2,
    ),
    "odd negative power": (VECTORS, lambda u, v: 1 / (u - v), lambda u, v: -1 / (v - u)),
    "multiple in a denominator": (
        VECTORS,
        lambda u, v: 1 / (2 * u + 4 * v),
        lambda u, v: 0.5 / (2 * v + u),
    ),
    "root squared": (VECTORS, lambda u, v: fn.sqrt(u**2) ** 2, lambda u, v: u * u),
    "quotient of itself": (VECTORS, lambda u, v: u / u, lambda u, v: v**0),
    "power zero of a sum": (VECTORS, lambda u, v: (u + v) ** 0, lambda u, v: u**0),
    "power zero of an inner product": (VECTORS, lambda u, v: (u @ v) ** 0, lambda u, v: 1),
    "short decimals": (VECTORS, lambda u, v: 0.1 * u + 0.2 * u, lambda u, v: 0.3 * u),
    "long decimals": (
        VECTORS,
        lambda u, v: 0.123456789 * (0.987654321 * u) * 1.1111111,
        lambda u, v: 1.1111111 * (0.123456789 * u) * 0.987654321,
    ),
    "sum of a sum": (VECTORS, lambda u, v: fn.sum(u + 1), lambda u, v: fn.sum(u) + 3),
    "ravel of an outer product": (
        VECTORS,
        lambda u, v: fn.ravel(fn.outer(u, v)),
        lambda u, v: fn.kron(u, v),
    ),
    "an array of ones": (VECTORS, lambda u, v: np.ones(3) * u, lambda u, v: u),
    "an array that is an identity": (
        MATRICES,
        lambda A, B: 2 * np.eye(3) @ A,
        lambda A, B: A + A,
    ),
    "arguments in another order": (
        VECTORS,
        lambda u, v: fn.tanh(u + v),
        lambda u, v: fn.tanh(v + u),
    ),
}

UNEQUAL = {
    "order of a product": (MATRICES, lambda A, B: A @ B, lambda A, B: B @ A),
    "a matrix and its transpose": (MATRICES, lambda A, B: A, lambda A, B: A.T),
    "traces of different words": (
        MATRICES,
        lambda A, B: fn.trace(A @ A @ B @ B),
        lambda A, B: fn.trace(A @ B @ A @ B),
    ),
    "order of a kron": (MATRICES, lambda A, B: fn.kron(A, B), lambda A, B: fn.kron(B, A)),
    "order of an outer product": (
        VECTORS,
        lambda u, v: fn.outer(u, v),
        lambda u, v: fn.outer(v, u),
    ),
    "root of a square": (VECTORS, lambda u, v: fn.sqrt(u**2), lambda u, v: u),
    "power 1/2 of a square": (VECTORS, lambda u, v: (u**2) ** 0.5, lambda u, v: u),
    "root of a product": (
        VECTORS,
        lambda u, v: fn.sqrt(u * v),
        lambda u, v: fn.sqrt(u) * fn.sqrt(v),
    ),
    "functions of others": (VECTORS, lambda u, v: fn.exp(u), lambda u, v: fn.exp(v)),
    "a diagonal and an outer product": (
        VECTORS,
        lambda u, v: fn.diag(u * v),
        lambda u, v: fn.outer(u, v),
    ),
    "decimals that nearly agree": (
        VECTORS,
        lambda u, v: 0.123456789 * u,
        lambda u, v: 0.12345679 * u,
    ),
    "arrays of numbers": (VECTORS, lambda u, v: np.arange(3) * u, lambda u, v: np.arange(1, 4) * u),
    "a triangle and a chain": (
        MATRICES,
        lambda A, B: fn.einsum("ij,jk,ik->", A, A, A),
        lambda A, B: fn.einsum("ij,jk,kl->", A, A, A),
    ),
}


@pytest.mark.parametrize("name", EQUAL)
def test_equal_expressions_are_equal(name):
    shapes, f, g = EQUAL[name]
    first, second = symbolic(f, shapes), symbolic(g, shapes)
    assert (first - second).is_zero
    assert first == second
    assert hash(first) == hash(second)


@pytest.mark.parametrize("name", UNEQUAL)
def test_unequal_expressions_are_not_equal(name):
    shapes, f, g = UNEQUAL[name]
    first, second = symbolic(f, shapes), symbolic(g, shapes)
    assert first != second
    assert not (first - second).is_zero


# --- random expressions ---------------------------------------------------------------------------

# A tree is a name or (operation, operands...); kinds: m matrix, v vector, s scalar.
OPERATIONS = {
    "m": {
        "@": ("mm", lambda a, b: a @ b),
        "+": ("mm", lambda a, b: a + b),
        "*": ("mm", lambda a, b: a * b),
        "-": ("mm", lambda a, b: a - 2 * b),
        "T": ("m", lambda a: a.T),
        "diag": ("v", fn.diag),
        "outer": ("vv", fn.outer),
        "scaled": ("sm", lambda s, a: s * a),
        "rows": ("mv", lambda a, u: a * u),
    },
    "v": {
        "@": ("mv", lambda a, u: a @ u),
        "*": ("vv", lambda u, v: u * v),
        "+": ("vv", lambda u, v: u + v),
        "square": ("v", lambda u: u**2),
        "diag": ("m", fn.diag),
        "left": ("vm", lambda u, a: u @ a),
    },
    "s": {
        "trace": ("m", fn.trace),
        "@": ("vv", lambda u, v: u @ v),
        "sum": ("m", fn.sum),
        "*": ("ss", lambda s, t: s * t),
        "power": ("s", lambda s: s**2),
    },
}
LEAVES = {"m": ("A", "B"), "v": ("u", "v"), "s": ("g",)}
NAMES = ("A", "B", "u", "v", "g")


def grown(rng, kind, depth):
    if depth == 0 or rng.random() < 0.15:
        return str(rng.choice(LEAVES[kind]))
    op = str(rng.choice(list(OPERATIONS[kind])))
    operands, _ = OPERATIONS[kind][op]
    return (kind + op, *(grown(rng, k, depth - 1) for k in operands))


def rewritten(rng, tree):
    """An equal tree, written differently."""
    if isinstance(tree, str):
        return tree
    op, *parts = tree
    parts = [rewritten(rng, part) for part in parts]
    if rng.random() < 0.3:
        return (op, *parts)
    match op:
        case "m@":
            return ("mT", ("m@", ("mT", parts[1]), ("mT", parts[0])))
        case "m+" | "m*" | "v+" | "v*" | "s*" | "s@":
            return (op, parts[1], parts[0])
        case "mdiag":
            return ("mT", ("mdiag", parts[0]))
        case "mouter":
            return ("mT", ("mouter", parts[1], parts[0]))
        case "mrows":
            return ("m@", parts[0], ("mdiag", parts[1]))
        case "v@":
            return ("vleft", parts[1], ("mT", parts[0]))
        case "vleft":
            return ("v@", ("mT", parts[1]), parts[0])
        case "vsquare":
            return ("vdiag", ("mouter", parts[0], parts[0]))
        case "strace":
            return ("strace", ("mT", parts[0]))
        case "spower":
            return ("s*", parts[0], parts[0])
    return (op, *parts)


def computed(tree, values):
    if isinstance(tree, str):
        return values[tree]
    op, *parts = tree
    _, f = OPERATIONS[op[0]][op[1:]]
    return f(*(computed(part, values) for part in parts))


@pytest.mark.parametrize(
    ("kind", "n", "seed"), [("m", 3, 0), ("v", 3, 1), ("s", 3, 2), ("s", 4, 3)]
)
def test_random_expressions_are_equal_just_where_their_values_are(kind, n, seed):
    rng = np.random.default_rng(seed)
    shapes = {"A": (n, n), "B": (n, n), "u": (n,), "v": (n,), "g": ()}
    symbols = {name: SymbolicArray(Tensor.variable(name, shape)) for name, shape in shapes.items()}
    numbers = {name: rng.normal(size=shape) for name, shape in shapes.items()}
    trees = [grown(rng, kind, depth) for depth in (1, 2, 2, 3) for _ in range(12)]
    trees += [rewritten(rng, tree) for tree in trees]
    tensors = [as_array(computed(tree, symbols)).tensor for tree in trees]
    values = [np.asarray(computed(tree, numbers)) for tree in trees]
    equal = 0
    for i, first in enumerate(tensors):
        for j in range(i):
            same = np.allclose(values[i], values[j], rtol=1e-9, atol=1e-9)
            assert (first == tensors[j]) == same, (trees[i], trees[j])
            equal += same
    assert equal >= len(trees) // 2  # each tree and its rewriting at least


# --- work -----------------------------------------------------------------------------------------

SYMMETRIC = {
    "trace of a sixth power": lambda A: fn.trace(chain(*[A] * 6)),
    "trace of a tenth power": lambda A: fn.trace(chain(*[A] * 10)),
    "trace of six squares": lambda A: fn.trace(chain(*[A @ A.T] * 6)),
    "eight equal inner products": lambda A: fn.sum(A * A) ** 8,
    "six equal traces": lambda A: fn.trace(A @ A @ A) ** 6,
    "a star": lambda A: fn.einsum(",".join(c + "z" for c in "abcdefgh") + "->", *[A] * 8),
    "a star with long arms": lambda A: fn.sum(
        fn.einsum(",".join(c + "z" for c in "abcdef") + "->z", *[A @ A @ A] * 6)
    ),
    "a complete graph": lambda A: fn.einsum("ab,ac,ad,ae,bc,bd,be,cd,ce,de->", *[A * A.T] * 10),
    "a cube": lambda A: fn.einsum("ab,bc,cd,da,ef,fg,gh,he,ae,bf,cg,dh->", *[A * A.T] * 12),
}


@pytest.mark.parametrize("name", SYMMETRIC)
def test_symmetric_terms_cost_no_more_than_a_polynomial(name, monkeypatch):
    calls = 0
    refined = tensor_module._refined

    def counted(*args):
        nonlocal calls
        calls += 1
        return refined(*args)

    monkeypatch.setattr(tensor_module, "_refined", counted)
    result = symbolic(SYMMETRIC[name], {"A": (3, 3)})
    assert len(result.terms) == 1
    # A search through all orders of n tied indices needs n! of them: 40320 for eight.
    assert calls <= 5000


def test_a_long_power_of_a_sum_is_gathered_as_it_grows():
    result = symbolic(lambda u, v: (u + v) ** 40, VECTORS)
    assert len(result.terms) == 41
    assert sum(result.terms.values()) == 2**40


# --- pieces ---------------------------------------------------------------------------------------


def test_sizes_may_be_symbols():
    n, m = sp.symbols("n m", integer=True, positive=True)
    A = SymbolicArray(Tensor.variable("A", (n, m)))
    assert (A @ A.T).shape == (n, n)
    assert fn.trace(A @ A.T).tensor == (fn.norm(A) ** 2).tensor
    ones = A**0
    assert fn.sum(ones).tensor == as_array(n * m).tensor


def test_a_float_is_the_short_fraction_that_rounds_to_it_or_the_one_that_it_is():
    assert exact(0.1) == sp.Rational(1, 10)
    assert exact(1 / 3) == sp.Rational(1, 3)
    assert exact(np.float64(2.0)) == 2
    number = exact(0.123456789)
    assert number.is_Rational
    assert float(number) == 0.123456789
    assert exact(sp.Float(0.25) * sp.Symbol("x")) == sp.Symbol("x") / 4


@pytest.mark.parametrize("value", [1j, float("inf"), float("nan"), "a", None])
def test_what_is_no_finite_real_number_is_refused(value):
    with pytest.raises(InputError, match="stands in a formula; finite real numbers can"):
        exact(value)


def test_axes_that_do_not_fit_are_refused():
    u, v = Tensor.variable("u", (2,)), Tensor.variable("v", (3,))
    with pytest.raises(ValueError, match="sizes 2 and 3 differ"):
        unified(u.axes, v.axes)
    kron = fn.kron(SymbolicArray(u), SymbolicArray(v)).tensor
    back = fn.kron(SymbolicArray(v), SymbolicArray(u)).tensor
    with pytest.raises(ValueError, match=r"divided as \[2, 3\] and as \[3, 2\]"):
        unified(kron.axes, back.axes)
    with pytest.raises(ValueError, match=r"are divided, and .* are not"):
        matched(kron.axes, Tensor.variable("w", (6,)).axes)
