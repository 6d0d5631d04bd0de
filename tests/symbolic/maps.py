"""Maps of many kinds, each one function that NumPy, JAX and symbols can read, with shapes."""

import numpy as np

from flowsim.problems import functions as fn

C23 = np.arange(6.0).reshape(2, 3) / 7 - 0.3
C3 = np.array([1.0, -2.0, 0.5])

#: name -> (function of the factors, shapes of the factors)
MAPS = {
    "a number times a vector": (lambda g, v: g * v, {"g": (), "v": (3,)}),
    "two numbers": (lambda g, h: g * h**2, {"g": (), "h": ()}),
    "inner product": (lambda u, v: u @ v, {"u": (3,), "v": (3,)}),
    "powers": (lambda u, v: u**3 - v**3, {"u": (3,), "v": (3,)}),
    "weight normalization": (lambda g, v: g * v / fn.norm(v), {"g": (), "v": (3,)}),
    "three factors": (
        lambda U, s, V: U @ fn.diag(s) @ V.T,
        {"U": (3, 2), "s": (2,), "V": (4, 2)},
    ),
    "square": (lambda U: U @ U.T, {"U": (3, 2)}),
    "square of a square": (lambda U: (U @ U.T) @ (U @ U.T), {"U": (3, 2)}),
    "of norm one": (lambda U: U @ U.T / fn.norm(U @ U.T), {"U": (3, 2)}),
    "norms in front": (
        lambda U, V: fn.norm(U) * V - fn.trace(V @ V.T) * U,
        {"U": (3, 2), "V": (3, 2)},
    ),
    "numbers inside": (lambda A, u: (C23 @ A) * u + C3 @ A, {"A": (3, 2), "u": (2,)}),
    "two arrays of numbers": (lambda u: np.arange(3.0) * u + C3 * u**2, {"u": (3,)}),
    "kron of matrices": (lambda A, B: fn.kron(A, B), {"A": (2, 3), "B": (2, 2)}),
    "kron of vectors": (lambda u, v: fn.kron(u, v), {"u": (2,), "v": (3,)}),
    "kron times a vector": (
        lambda A, B, v: (fn.kron(A, B) @ v + v) * (v @ v),
        {"A": (2, 2), "B": (3, 3), "v": (6,)},
    ),
    "kron with sizes 1": (
        lambda A, B, C: fn.kron(fn.kron(A, B), C),
        {"A": (2, 1), "B": (1, 2), "C": (2, 2)},
    ),
    "kron with a size 1, and a sum": (lambda u, v: fn.kron(u, v) + v, {"u": (1,), "v": (3,)}),
    "trace of a kron": (
        lambda A, B: fn.trace(fn.kron(A, B)) * fn.diag(fn.kron(A, B)),
        {"A": (2, 2), "B": (2, 2)},
    ),
    "ravel": (lambda U, V: fn.ravel(U @ V), {"U": (2, 2), "V": (2, 3)}),
    "ravel against a vector": (
        lambda W, v: fn.ravel(W) @ v * W + fn.sum(v) * W,
        {"W": (2, 2), "v": (4,)},
    ),
    "canonical polyadic": (
        lambda A, B, C: fn.einsum("ir,jr,kr->ijk", A, B, C),
        {"A": (2, 2), "B": (3, 2), "C": (2, 2)},
    ),
    "one matrix for all modes": (
        lambda A: fn.einsum("ir,jr,kr->ijk", A, A, A),
        {"A": (2, 2)},
    ),
    "exponentials": (lambda u, v: fn.exp(u) - fn.exp(-v), {"u": (3,), "v": (3,)}),
    "softmax": (lambda u: fn.exp(u) / fn.sum(fn.exp(u)), {"u": (3,)}),
    "tanh network": (
        lambda W, a: a @ fn.tanh(W @ C23.T + 1),
        {"W": (2, 3), "a": (2,)},
    ),
    "logarithm": (lambda u, v: fn.log(u**2 + 1) * v, {"u": (3,), "v": (3,)}),
    "polar": (lambda r, t: r * fn.cos(t) + fn.sin(t * r) / 2, {"r": (3,), "t": ()}),
    "root of a sum": (lambda u, v: fn.sqrt(u * u + v * v), {"u": (3,), "v": (3,)}),
    "broken powers": (lambda u, v: u**1.5 - v ** (1 / 3), {"u": (3,), "v": (3,)}),
    "power of a sum": (
        lambda u, v: (u**2 + v**2 + 1) ** -1.5 * u,
        {"u": (3,), "v": (3,)},
    ),
    "decimals": (
        lambda u, v: 0.123456789 * u * (0.987654321 * v + 0.3333 * u) - 1.7182818 * v,
        {"u": (3,), "v": (3,)},
    ),
    "decimal power": (lambda u: (u * u + 1) ** 0.7123456789, {"u": (3,)}),
    "column plus row": (lambda a, b: a + b, {"a": (3, 1), "b": (1, 2)}),
    "column times vector": (lambda a, b: a * b, {"a": (3, 1), "b": (2,)}),
    "column times matrix": (lambda a, W: a * W + a.T @ W, {"a": (3, 1), "W": (3, 2)}),
    "one by one": (lambda a, b: a @ b, {"a": (1, 1), "b": (1, 3)}),
    "size 1 against 3": (lambda a, b: a * b + a**2, {"a": (1,), "b": (3,)}),
    "diagonal of size 1": (lambda v: fn.diag(v) * fn.outer(v, v), {"v": (1,)}),
    "hidden widths 1": (lambda A, B, C: C @ B @ A, {"A": (1, 3), "B": (1, 1), "C": (1, 1)}),
    "a factor without effect": (lambda u, v: u**2, {"u": (3,), "v": (3,)}),
    "trace in front": (lambda A: fn.trace(A @ A) * A, {"A": (3, 3)}),
    "diagonal of a matrix": (lambda A, u: fn.diag(A) * u, {"A": (3, 3), "u": (3,)}),
    "diagonal of a diagonal": (
        lambda A, u: fn.diag(fn.diag(A) * u) @ A,
        {"A": (3, 3), "u": (3,)},
    ),
    "repeated letters": (
        lambda A: fn.einsum("ii->i", A) + fn.einsum("ii->", A),
        {"A": (3, 3)},
    ),
    "a diagonal of a cube": (lambda T, u: fn.einsum("iij,j->i", T, u), {"T": (2, 2, 3), "u": (3,)}),
    "entry by entry, then @": (lambda A, B: (A * B) @ A.T, {"A": (2, 3), "B": (2, 3)}),
    "sums of rows": (lambda A: A @ np.ones(3) * 2 + fn.sum(A), {"A": (2, 3)}),
    "a triangle": (
        lambda A, B, C: fn.einsum("ij,jk,ik->ik", A, B, C),
        {"A": (2, 3), "B": (3, 2), "C": (2, 2)},
    ),
    "a ring": (
        lambda A, B, C: fn.einsum("ij,jk,ki->", A, B, C),
        {"A": (2, 3), "B": (3, 2), "C": (2, 2)},
    ),
    "residual network": (
        lambda W, V: (np.eye(3) + W) @ (np.eye(3) + V),
        {"W": (3, 3), "V": (3, 3)},
    ),
    "quotient": (lambda u, v: u / (u * u + v * v), {"u": (3,), "v": (3,)}),
    "matrix over a square": (lambda A, u: (A @ u) / (u @ u), {"A": (2, 3), "u": (3,)}),
    "norms that cancel": (
        lambda A: A / fn.sum(A * A) ** 2 * fn.norm(A) ** 3,
        {"A": (2, 3)},
    ),
    "negative powers": (lambda u: 1 / u - u**-2, {"u": (3,)}),
    "columns of norm one": (lambda V: V / fn.sqrt(C3**2 @ (V * V)), {"V": (3, 2)}),
    "outer products": (
        lambda a, b, g: g * fn.outer(a, b) + fn.outer(a, a) @ np.ones((3, 2)),
        {"a": (3,), "b": (2,), "g": ()},
    ),
    "norms of sums": (
        lambda u, v: fn.norm(u + v) * u - fn.norm(u - 2 * v) ** 3 * v,
        {"u": (3,), "v": (3,)},
    ),
    "functions of functions": (
        lambda u, v: fn.tanh(fn.sin(u) * fn.norm(v) + fn.exp(u * v)),
        {"u": (3,), "v": (3,)},
    ),
    "sum of a function": (lambda W: fn.sum(fn.tanh(W @ W.T)), {"W": (2, 3)}),
    "transposes": (
        lambda W: fn.transpose(W) @ W - W.T.T.T @ W * 2,
        {"W": (2, 3)},
    ),
    "long names": (
        lambda alpha, w_1, W2: alpha * w_1 @ W2,
        {"alpha": (), "w_1": (3,), "W2": (3, 2)},
    ),
}


def point(shapes, seed=3):
    """Positive factors: every map above is smooth there."""
    rng = np.random.default_rng(seed)
    return [np.abs(rng.normal(size=shape)) + 0.3 for shape in shapes.values()]
