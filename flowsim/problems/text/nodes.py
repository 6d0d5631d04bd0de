"""The nodes of a formula, and what each computes.

A formula is kept as its nodes in order of evaluation, operands before what is made of them, and a
node refers to its operands by their places in that order. Where a node stands in the text, its
span, is no part of what it is. No function here or elsewhere in this
package calls itself, so that no text, however deep, exhausts Python's stack.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from flowsim.problems import functions
from flowsim.problems.text.excerpts import Span

_LARGEST_EXACT_FLOAT = 2**53
_OPERATORS = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "@": operator.matmul,
}


@dataclass(frozen=True)
class Number:
    """A literal: an int where it is whole, else an exact fraction; never negative."""

    value: int | Fraction
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Name:
    """A factor."""

    name: str
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Negate:
    """The negative of an operand."""

    operand: int
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Binary:
    """An operation of ``+ - * / @`` on two operands."""

    op: str
    left: int
    right: int
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Power:
    """An operand raised, entry by entry, to an exact exponent."""

    base: int
    exponent: int | Fraction
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Call:
    """A named function of operands."""

    function: str
    arguments: tuple[int, ...]
    span: Span = field(compare=False, repr=False)


@dataclass(frozen=True)
class Transposed:
    """An operand's transpose."""

    operand: int
    span: Span = field(compare=False, repr=False)


Node = Number | Name | Negate | Binary | Power | Call | Transposed


def operands_of(node: Node) -> tuple[int, ...]:
    """Places of a node's operands."""
    match node:
        case Negate(operand=operand) | Transposed(operand=operand):
            return (operand,)
        case Binary(left=left, right=right):
            return (left, right)
        case Power(base=base):
            return (base,)
        case Call(arguments=arguments):
            return arguments
    return ()


def apply(node: Node, operands: Sequence[Any]) -> Any:
    """The value of a node from the values of its operands.

    Integers and fractions stay exact among themselves and where they meet symbols or ring
    elements; where they meet arrays of floats they are rounded to float.
    """
    if isinstance(node, Number):
        return node.value
    if isinstance(node, Transposed):
        return operands[0].T
    if all(_is_exact(x) for x in operands):
        return _of_exact(node, operands)
    if all(isinstance(x, (int, float, Fraction)) for x in operands):
        return _as_scalar(_of_any(node, [np.float64(x) for x in operands]))
    if any(_is_numeric(x) for x in operands):
        operands = [_rounded(x) for x in operands]
    return _of_any(node, operands)


def _of_exact(node: Node, operands: Sequence[Any]) -> Any:
    """A node's value where every operand is an int or a Fraction."""
    if isinstance(node, Negate):
        return -operands[0]
    if isinstance(node, Binary) and node.op != "@":
        return _whole(_OPERATORS[node.op](*(Fraction(x) for x in operands)))
    if isinstance(node, Power) and isinstance(node.exponent, int):
        return _whole(Fraction(operands[0]) ** node.exponent)
    return _as_scalar(_of_any(node, [np.float64(x) for x in operands]))


def _of_any(node: Node, operands: Sequence[Any]) -> Any:
    match node:
        case Negate():
            return -operands[0]
        case Binary(op=op):
            return _OPERATORS[op](*operands)
        case Power(exponent=exponent):
            return functions.power(operands[0], exponent)
        case Call(function=name):
            return functions.FUNCTIONS[name].call(*operands)
    raise AssertionError(f"{node} has no value of its own; this is a bug of flowsim.")


def _is_exact(x: Any) -> bool:
    return isinstance(x, (int, Fraction))


def _is_numeric(x: Any) -> bool:
    """Whether x is an array of machine numbers, concrete or traced."""
    dtype = getattr(x, "dtype", None)
    return (
        dtype is not None and dtype != np.dtype(object) and not hasattr(x, "__flowsim_function__")
    )


def _rounded(x: Any) -> Any:
    # Beside a Fraction NumPy would make an array of objects; a large int overflows int64.
    if isinstance(x, Fraction) or (isinstance(x, int) and abs(x) > _LARGEST_EXACT_FLOAT):
        return float(x)
    return x


def _whole(x: Fraction) -> int | Fraction:
    return x.numerator if x.denominator == 1 else x


def _as_scalar(x: Any) -> Any:
    """A Python float for a number without dimensions, which symbols take; arrays as they are."""
    return float(x) if np.ndim(x) == 0 else x
