"""Named functions for parametrizations: one name, three readings.

A parametrization is one function of its factors, written with ``@ * / ** + -``, ``.T`` and the
functions here. On NumPy or JAX arrays they compute; on NumPy arrays of ring elements they compute
exactly; on symbolic arrays (anything with a method ``__flowsim_function__``) they build the
symbolic map. Semantics are NumPy's: ``*`` and ``**`` go entry by entry, ``@`` multiplies matrices.

>>> import numpy as np
>>> from flowsim.problems import functions as fn
>>> float(fn.norm(np.array([3.0, 4.0])))
5.0
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

__all__ = [
    "FUNCTIONS",
    "concatenate",
    "cos",
    "diag",
    "einsum",
    "exp",
    "kron",
    "log",
    "norm",
    "outer",
    "power",
    "ravel",
    "sin",
    "sqrt",
    "sum",
    "tanh",
    "trace",
    "transpose",
]


OBJECT = np.dtype(object)


@dataclass(frozen=True)
class Function:
    """A named function as the text language knows it.

    Attributes
    ----------
    call
        The function.
    arity
        How many arrays it takes.
    what
        What it does, in a few words.
    kink
        Where it has no derivative, or an empty string.
    """

    call: Callable[..., Any]
    arity: int
    what: str
    kink: str = ""


def sum(x: Any) -> Any:
    """The sum of all entries."""
    return _read("sum", lambda np, x: np.sum(x), x)


def norm(x: Any) -> Any:
    """The Euclidean (Frobenius) norm of all entries; no derivative at 0."""
    return _read("norm", lambda np, x: np.sqrt(np.sum(x * x)), x)


def trace(A: Any) -> Any:
    """The trace of a square matrix."""
    return _read("trace", lambda np, A: np.trace(A), A)


def diag(x: Any) -> Any:
    """The diagonal matrix of a vector, or the diagonal of a square matrix."""
    return _read("diag", lambda np, x: np.diag(x), x)


def transpose(A: Any) -> Any:
    """The transpose, as ``A.T``."""
    return A.T


def kron(A: Any, B: Any) -> Any:
    """The Kronecker product of two matrices, or of two vectors."""
    return _read("kron", lambda np, A, B: np.kron(A, B), A, B)


def outer(a: Any, b: Any) -> Any:
    """The outer product of two vectors."""
    return _read("outer", lambda np, a, b: np.outer(a, b), a, b)


def einsum(subscripts: str, *operands: Any) -> Any:
    """A sum of products, in Einstein's notation: ``einsum("ir,jr,kr->ijk", A, B, C)``."""

    def numeric(np: Any, *xs: Any) -> Any:
        # Two at a time: NumPy would loop over all indices at once otherwise.
        pairwise = len(xs) > 2 and not any(getattr(x, "dtype", None) == OBJECT for x in xs)
        return np.einsum(subscripts, *xs, **({"optimize": "greedy"} if pairwise else {}))

    return _read("einsum", numeric, *operands, spec=subscripts)


def ravel(x: Any) -> Any:
    """All entries as one vector, the last index running fastest."""
    return _read("ravel", lambda np, x: np.ravel(x), x)


def concatenate(*vectors: Any) -> Any:
    """Vectors, one after the other."""
    return _read("concatenate", lambda np, *xs: np.concatenate(xs), *vectors)


def exp(x: Any) -> Any:
    """The exponential, entry by entry."""
    return _read("exp", lambda np, x: np.exp(x), x)


def log(x: Any) -> Any:
    """The natural logarithm, entry by entry; for positive entries."""
    return _read("log", lambda np, x: np.log(x), x)


def sqrt(x: Any) -> Any:
    """The square root, entry by entry; no derivative at 0."""
    return _read("sqrt", lambda np, x: np.sqrt(x), x)


def tanh(x: Any) -> Any:
    """The hyperbolic tangent, entry by entry."""
    return _read("tanh", lambda np, x: np.tanh(x), x)


def sin(x: Any) -> Any:
    """The sine, entry by entry."""
    return _read("sin", lambda np, x: np.sin(x), x)


def cos(x: Any) -> Any:
    """The cosine, entry by entry."""
    return _read("cos", lambda np, x: np.cos(x), x)


def power(x: Any, p: int | Fraction) -> Any:
    """The power ``x ** p``, entry by entry, with an exact exponent.

    Numbers take a fraction as a float; symbols and ring elements take it as it is.
    """
    if isinstance(p, Fraction) and p.denominator == 1:
        p = int(p)
    exact = hasattr(x, "__flowsim_function__") or getattr(x, "dtype", None) is OBJECT
    number: bool = isinstance(x, (int, float)) or hasattr(x, "dtype")
    base: Any = x
    return base ** (float(p) if isinstance(p, Fraction) and number and not exact else p)


def _read(name: str, numeric: Callable[..., Any], *operands: Any, **settings: Any) -> Any:
    """Hand a call to the symbolic array among the operands, or compute it."""
    for operand in operands:
        if hasattr(operand, "__flowsim_function__"):
            return operand.__flowsim_function__(name, *operands, **settings)
    return numeric(_namespace(operands), *operands)


def _namespace(operands: tuple[Any, ...]) -> Any:
    """NumPy, or JAX's NumPy where an operand is JAX's."""
    if any(type(x).__module__.partition(".")[0] in ("jax", "jaxlib") for x in operands):
        import jax.numpy

        return jax.numpy
    return np


#: What text may call, by name.
FUNCTIONS: dict[str, Function] = {
    "sum": Function(sum, 1, "sum of all entries"),
    "norm": Function(norm, 1, "Euclidean norm", "at 0"),
    "trace": Function(trace, 1, "trace of a square matrix"),
    "diag": Function(diag, 1, "diagonal matrix of a vector, or diagonal of a matrix"),
    "transpose": Function(transpose, 1, "transpose"),
    "kron": Function(kron, 2, "Kronecker product"),
    "outer": Function(outer, 2, "outer product of vectors"),
    "exp": Function(exp, 1, "exponential"),
    "log": Function(log, 1, "logarithm", "at 0"),
    "sqrt": Function(sqrt, 1, "square root", "at 0"),
    "tanh": Function(tanh, 1, "hyperbolic tangent"),
    "sin": Function(sin, 1, "sine"),
    "cos": Function(cos, 1, "cosine"),
}
