"""Arrays of symbols with NumPy's semantics: what a parametrization's function is called with.

``@`` multiplies matrices, all else goes entry by entry with broadcasting. What cannot be written as
a sum of products of indexed factors is refused with its name.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from string import ascii_letters
from typing import Any

import numpy as np
from sympy import Expr, Rational, S

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim.symbolic.indexed.tensor import (
    Apply,
    Body,
    Constant,
    Delta,
    Factor,
    Index,
    Slot,
    Tensor,
    Term,
    exact,
    fresh,
    moved_slot,
    product,
    size_of,
    term_key,
    unified,
)

__all__ = ["SymbolicArray", "as_array", "constants_named_beside", "raised"]


class SymbolicArray:
    """A tensor with NumPy's operators.

    Parameters
    ----------
    tensor
        The expression, with one axis for each dimension.
    """

    __array_ufunc__ = None  # NumPy's arrays and numbers leave mixed operations to us.
    __slots__ = ("tensor",)

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    @property
    def shape(self) -> tuple[Any, ...]:
        """Sizes of the dimensions, numbers or symbols."""
        return self.tensor.shape

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.tensor.axes)

    @property
    def T(self) -> SymbolicArray:
        """The array with its axes reversed."""
        return SymbolicArray(self.tensor.transposed(tuple(reversed(range(self.ndim)))))

    def __neg__(self) -> SymbolicArray:
        return SymbolicArray(-self.tensor)

    def __pos__(self) -> SymbolicArray:
        return self

    def __add__(self, other: Any) -> SymbolicArray:
        first, second = broadcast(self, as_array(other))
        try:
            return SymbolicArray(first + second)
        except ValueError as error:
            raise InputError(f"a sum of arrays that do not fit: {error}.") from None

    def __radd__(self, other: Any) -> SymbolicArray:
        return as_array(other) + self

    def __sub__(self, other: Any) -> SymbolicArray:
        return self + (-as_array(other))

    def __rsub__(self, other: Any) -> SymbolicArray:
        return as_array(other) - self

    def __mul__(self, other: Any) -> SymbolicArray:
        return SymbolicArray(multiplied(*broadcast(self, as_array(other))))

    def __rmul__(self, other: Any) -> SymbolicArray:
        return as_array(other) * self

    def __truediv__(self, other: Any) -> SymbolicArray:
        return self * as_array(other) ** -1

    def __rtruediv__(self, other: Any) -> SymbolicArray:
        return as_array(other) * self**-1

    def __pow__(self, exponent: Any) -> SymbolicArray:
        if isinstance(exponent, SymbolicArray) or np.ndim(exponent):
            raise InputError("an exponent is an array; powers with a fixed exponent are known.")
        return SymbolicArray(raised(self.tensor, exact(exponent)))

    def __rpow__(self, base: Any) -> SymbolicArray:
        raise InputError(f"{base!r} to the power of a factor: write exp(x * log({base!r})).")

    def __matmul__(self, other: Any) -> SymbolicArray:
        other = as_array(other)
        if not 1 <= self.ndim <= 2 or not 1 <= other.ndim <= 2:
            raise InputError(
                f"@ of arrays with {self.ndim} and {other.ndim} dimensions; it multiplies "
                "matrices and vectors. Write fn.einsum for tensors."
            )
        return contracted([self, other], [("i", "k")[2 - self.ndim :], ("k", "j")[: other.ndim]])

    def __rmatmul__(self, other: Any) -> SymbolicArray:
        return as_array(other) @ self

    def __getitem__(self, key: Any) -> SymbolicArray:
        raise InputError(
            "a factor is indexed, but parametrizations keep their factors whole. Make each part a "
            "factor of its own."
        )

    def __iter__(self) -> Any:
        raise InputError("a factor is gone through entry by entry; keep it whole.")

    def __bool__(self) -> bool:
        raise InputError("a decision depends on the value of a factor: the map is not one formula.")

    def __eq__(self, other: object) -> bool:
        # By identity, as Python would have it, the answer would be no and nobody would know.
        return bool(self)

    def sum(self) -> SymbolicArray:
        """The sum of all entries."""
        axes, terms = self.tensor.opened()
        gone = frozenset(i for axis in axes for i in axis)
        return SymbolicArray(Tensor((), [(c, Term(t.factors, t.sums | gone)) for c, t in terms]))

    def __flowsim_function__(self, name: str, *operands: Any, **settings: Any) -> SymbolicArray:
        """Answer a call of a function in :mod:`flowsim.problems.functions`."""
        arrays = [as_array(operand) for operand in operands]
        if name in _FUNCTIONS:
            return _FUNCTIONS[name](*arrays, **settings)
        if name in ("exp", "log", "tanh", "sin", "cos"):
            return SymbolicArray(applied(name, arrays[0].tensor))
        raise InputError(f"{name} has no symbolic reading; write the map without it.")


def as_array(value: Any) -> SymbolicArray:
    """A symbolic array from one, from a number, or from an array of numbers."""
    if isinstance(value, SymbolicArray):
        return value
    if isinstance(value, Expr):
        return SymbolicArray(Tensor.number(value))
    if np.ndim(value) == 0:
        return SymbolicArray(Tensor.number(exact(np.asarray(value).item())))
    array = check_array("an array in the formula", value).astype(float)
    indices = tuple((fresh(n),) for n in array.shape)
    number, factors = S.One, ()
    if np.all(array == array.flat[0]):
        number = exact(array.flat[0])
    elif np.array_equal(array, np.eye(len(array)) * array.flat[0]):
        number, factors = exact(array.flat[0]), (Factor(Delta(), indices),)
    else:
        factors = (Factor(Constant(_NAME.get()(array), array), indices),)
    return SymbolicArray(Tensor(indices, [(number, Term(factors, frozenset()))]))


_NAME: ContextVar[Callable[[np.ndarray], str]] = ContextVar("name", default=lambda _: "C")


@contextmanager
def constants_named_beside(names: Iterable[str]) -> Iterator[None]:
    """Name the arrays of numbers in a formula C1, C2, ..., as no factor is named."""
    taken = set(names)
    free = (f"C{n}" for n in itertools.count(1) if f"C{n}" not in taken)
    known: dict[tuple, str] = {}

    def name(array: np.ndarray) -> str:
        key = Constant("", array).key
        return known[key] if key in known else known.setdefault(key, next(free))

    token = _NAME.set(name)
    try:
        yield
    finally:
        _NAME.reset(token)


def broadcast(a: SymbolicArray, b: SymbolicArray) -> tuple[Tensor, Tensor]:
    """Two tensors of one shape, by NumPy's rules."""
    ndim = max(a.ndim, b.ndim)
    shapes = [(1,) * (ndim - x.ndim) + tuple(x.shape) for x in (a, b)]
    target = []
    for m, n in zip(*shapes, strict=True):
        if m != n and 1 not in (m, n):
            raise InputError(f"shapes {tuple(a.shape)} and {tuple(b.shape)} do not fit together.")
        target.append(n if m == 1 else m)
    return _stretched(a.tensor, target), _stretched(b.tensor, target)


def _stretched(tensor: Tensor, target: list[Any]) -> Tensor:
    """The tensor with axes added in front, and axes of size 1 stretched."""
    axes, terms = tensor.opened()
    missing = len(target) - len(axes)
    new: list[Slot] = [(fresh(n),) for n in target[:missing]]
    gone: frozenset[Index] = frozenset()
    for axis, n in zip(axes, target[missing:], strict=True):
        if size_of(axis) == 1 and n != 1:
            gone |= frozenset(axis)
            new.append((fresh(n),))
        else:
            new.append(axis)
    return Tensor(new, [(c, Term(t.factors, t.sums | gone)) for c, t in terms])


def multiplied(a: Tensor, b: Tensor) -> Tensor:
    """The product entry by entry of tensors of one shape."""
    axes, terms = a.opened()
    others_axes, others = b.opened()
    try:
        here, there = unified(axes, others_axes)
    except ValueError as error:
        raise InputError(f"a product of arrays that do not fit: {error}.") from None
    left = [(c, t.moved(here)) for c, t in terms]
    right = [(c, t.moved(there)) for c, t in others]
    return Tensor(tuple(moved_slot(axis, here) for axis in axes), product(left, right))


def raised(tensor: Tensor, exponent: Expr) -> Tensor:
    """A power, entry by entry."""
    if exponent == 1:
        return tensor
    if exponent == 0:
        return Tensor(tensor.axes, [(S.One, Term((), frozenset()))])
    if tensor.is_zero:
        if exponent.is_positive:
            return tensor
        raise InputError(f"the power {exponent} of an expression that is zero.")
    whole = bool(exponent.is_integer)
    content = _content(tensor, signed=whole)
    if content != 1:
        return raised(tensor.scaled(1 / content), exponent).scaled(content**exponent)
    if len(tensor.terms) == 1:
        ((term, c),) = tensor.terms.items()
        if not term.sums and (whole or (len(term.factors) <= 1 and c == 1)):
            factors = tuple(
                f
                if isinstance(f.atom, Delta) and exponent.is_positive
                else f._replace(power=f.power * exponent)
                for f in term.factors
            )
            # sqrt(u^2) is |u| and not u: below a root only odd or broken powers are multiplied.
            simple = whole or all(not f.power.is_even for f in term.factors)
            deltas = any(isinstance(f.atom, Delta) for f in term.factors)
            if simple and not (deltas and not exponent.is_positive):
                return Tensor(tensor.axes, [(c**exponent, Term(factors, term.sums))])
    axes = tuple(tuple(fresh(i.size) for i in axis) for axis in tensor.axes)
    factor = Factor(Body(tensor), axes, exponent)
    return Tensor(axes, [(S.One, Term((factor,), frozenset()))])


def _content(tensor: Tensor, *, signed: bool) -> Expr:
    """The number that leaves coprime whole coefficients, of the sign of the first if wanted."""
    numbers = [tensor.terms[term] for term in sorted(tensor.terms, key=term_key)]
    if not all(number.is_Rational for number in numbers):
        return S.One
    content = Rational(math.gcd(*(n.p for n in numbers)), math.lcm(*(n.q for n in numbers)))
    return -content if signed and numbers[0].is_negative else content


def applied(name: str, tensor: Tensor) -> Tensor:
    """A function of one variable, entry by entry."""
    axes = tuple(tuple(fresh(i.size) for i in axis) for axis in tensor.axes)
    return Tensor(axes, [(S.One, Term((Factor(Apply(name, tensor), axes),), frozenset()))])


def contracted(
    arrays: list[SymbolicArray], subscripts: list[Any], output: Any = None
) -> SymbolicArray:
    """Einstein's sum of products."""
    letters = [letter for s in subscripts for letter in s]
    if output is None:
        output = [x for x in dict.fromkeys(letters) if letters.count(x) == 1]
    names: dict[Any, Slot] = {}
    pairs: list[tuple[Expr, Term]] = [(S.One, Term((), frozenset()))]
    # Axes made of several indices divide their letter first, so that plain ones follow.
    for array, subscript in zip(arrays, subscripts, strict=True):
        for axis, letter in zip(array.tensor.axes, subscript, strict=True):
            known = names.get(letter)
            if known is None or (len(known) == 1 and len(axis) > 1):
                names[letter] = tuple(fresh(i.size) for i in axis)
            if known is not None and size_of(known) != size_of(axis):
                raise InputError(
                    f"sizes {size_of(known)} and {size_of(axis)} meet in a product; the shapes are "
                    f"{[tuple(a.shape) for a in arrays]}."
                )
    for array, subscript in zip(arrays, subscripts, strict=True):
        try:
            placed = array.tensor.placed(tuple(names[letter] for letter in subscript))
        except ValueError as error:
            raise InputError(f"a product of arrays that do not fit: {error}.") from None
        pairs = product(pairs, placed)
    summed = frozenset(i for x, slot in names.items() if x not in output for i in slot)
    axes = tuple(names[x] for x in output)
    return SymbolicArray(Tensor(axes, [(c, Term(t.factors, t.sums | summed)) for c, t in pairs]))


# -- the named functions --------------------------------------------------------------------------


def _einsum(*arrays: SymbolicArray, spec: str) -> SymbolicArray:
    left, arrow, right = spec.replace(" ", "").partition("->")
    subscripts = left.split(",")
    if not arrow or len(subscripts) != len(arrays) or not set(left) <= {*ascii_letters, ","}:
        raise InputError(f"einsum({spec!r}, ...): write it as 'ij,jk->ik', one part an operand.")
    if not set(right) <= set(left) - {","} or len(set(right)) < len(right):
        raise InputError(
            f"einsum({spec!r}, ...): {right!r} must name letters of {left!r}, each once."
        )
    for array, subscript in zip(arrays, subscripts, strict=True):
        if array.ndim != len(subscript):
            raise InputError(
                f"einsum({spec!r}, ...): {subscript!r} names {len(subscript)} axes of an array "
                f"that has {array.ndim}."
            )
    return contracted(list(arrays), [tuple(s) for s in subscripts], tuple(right))


def _diag(x: SymbolicArray) -> SymbolicArray:
    if x.ndim == 1:
        (axis,), terms = x.tensor.opened()
        copy = tuple(fresh(i.size) for i in axis)
        deltas = tuple(Factor(Delta(), ((i,), (j,))) for i, j in zip(axis, copy, strict=True))
        with_delta = [(c, Term(t.factors + deltas, t.sums)) for c, t in terms]
        return SymbolicArray(Tensor((axis, copy), with_delta))
    if x.ndim == 2 and x.shape[0] == x.shape[1]:
        return contracted([x], [("i", "i")], ("i",))
    raise InputError(f"diag of an array of shape {tuple(x.shape)}; it takes vectors and squares.")


def _trace(A: SymbolicArray) -> SymbolicArray:
    if A.ndim != 2 or A.shape[0] != A.shape[1]:
        raise InputError(f"trace of an array of shape {tuple(A.shape)}; it takes square matrices.")
    return contracted([A], [("i", "i")], ())


def _kron(A: SymbolicArray, B: SymbolicArray) -> SymbolicArray:
    if A.ndim != B.ndim or A.ndim not in (1, 2):
        raise InputError(f"kron of arrays with {A.ndim} and {B.ndim} dimensions; both 1 or both 2.")
    first, terms = A.tensor.opened()
    second, others = B.tensor.opened()
    return _joined([a + b for a, b in zip(first, second, strict=True)], product(terms, others))


def _outer(a: SymbolicArray, b: SymbolicArray) -> SymbolicArray:
    if a.ndim != 1 or b.ndim != 1:
        raise InputError(
            f"outer of arrays with {a.ndim} and {b.ndim} dimensions; it takes vectors."
        )
    return contracted([a, b], [("i",), ("j",)], ("i", "j"))


def _ravel(x: SymbolicArray) -> SymbolicArray:
    axes, terms = x.tensor.opened()
    return _joined([tuple(i for axis in axes for i in axis)], terms)


def _joined(axes: list[Slot], terms: list[tuple[Expr, Term]]) -> SymbolicArray:
    """An array with axes made of several indices each, of which those of size 1 are dropped."""
    kept = [tuple(i for i in axis if i.size != 1) or axis[:1] or (fresh(1),) for axis in axes]
    gone = {i for axis in axes for i in axis} - {i for axis in kept for i in axis}
    return SymbolicArray(Tensor(kept, [(c, Term(t.factors, t.sums | gone)) for c, t in terms]))


def _norm(x: SymbolicArray) -> SymbolicArray:
    return SymbolicArray(raised((x * x).sum().tensor, Rational(1, 2)))


def _sqrt(x: SymbolicArray) -> SymbolicArray:
    return SymbolicArray(raised(x.tensor, Rational(1, 2)))


_FUNCTIONS = {
    "sum": SymbolicArray.sum,
    "norm": _norm,
    "sqrt": _sqrt,
    "trace": _trace,
    "diag": _diag,
    "kron": _kron,
    "outer": _outer,
    "ravel": _ravel,
    "einsum": _einsum,
}
