"""Which signs a node's entries can take, from the formula alone."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from flowsim.problems.text.nodes import (
    Binary,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Power,
    Transposed,
    operands_of,
)
from flowsim.problems.text.sizes import Reading

#: A set of signs out of -1, 0 and 1.
Signs = frozenset[int]

ANY: Signs = frozenset({-1, 0, 1})
_SQUARE: Signs = frozenset({0, 1})
_POSITIVE: Signs = frozenset({1})
# Functions that are not listed may take any sign, which is never wrong, only less sharp.
_OF_FUNCTION = {"exp": _POSITIVE, "norm": _SQUARE, "sqrt": _SQUARE}


def signs_of(nodes: Sequence[Node], readings: Sequence[Reading]) -> list[Signs]:
    """The signs that the entries of each node can take for real factors; never too few."""
    found: list[Signs] = []
    classes = _classes(nodes)
    for place, node in enumerate(nodes):
        operands = [found[i] for i in operands_of(node)]
        constant = readings[place].constant
        if constant is not None:
            found.append(frozenset({(constant > 0) - (constant < 0)}))
            continue
        match node:
            case Name():
                signs = ANY
            case Negate():
                signs = frozenset(-s for s in operands[0])
            case Transposed():
                signs = operands[0]
            case Power(exponent=exponent):
                signs = _of_power(operands[0], exponent)
            case Binary(op=op, left=left, right=right):
                vectors = len(readings[left].shape) == len(readings[right].shape) == 1
                if classes[left] == classes[right] and (op == "*" or (op == "@" and vectors)):
                    signs = frozenset(s * s for s in operands[0])
                else:
                    signs = _of_binary(op, *operands)
            case Call(function="sqrt"):
                # The square root of a positive number is positive.
                signs = _POSITIVE if operands[0] == _POSITIVE else _SQUARE
            case Call(function="norm"):
                signs = _SQUARE if 0 in operands[0] else _POSITIVE
            case Call(function="sum"):
                signs = _of_sum(operands[0], operands[0])
            case Call(function=name):
                signs = _OF_FUNCTION.get(name, ANY)
            case Number():
                signs = ANY
        found.append(signs)
    return found


def _of_binary(op: str, a: Signs, b: Signs) -> Signs:
    if op == "+":
        return _of_sum(a, b)
    if op == "-":
        return _of_sum(a, frozenset(-s for s in b))
    if op == "/":
        b = b - {0}
    products = frozenset(s * t for s in a for t in b)
    return _of_sum(products, products) if op == "@" else products


def _of_sum(a: Signs, b: Signs) -> Signs:
    mixed = any(s * t < 0 for s in a for t in b)
    return ANY if mixed else frozenset(s or t for s in a for t in b)


def _of_power(base: Signs, exponent: object) -> Signs:
    if exponent == 0:
        return _POSITIVE
    if not isinstance(exponent, int):
        return base & _SQUARE or _SQUARE
    signs = frozenset(s * s if exponent % 2 == 0 else s for s in base)
    return signs - {0} if exponent < 0 else signs


def _classes(nodes: Sequence[Node]) -> list[int]:
    """A number for each node, the same for nodes that are the same expression."""
    numbers: dict[Hashable, int] = {}
    found: list[int] = []
    for node in nodes:
        operands = tuple(found[i] for i in operands_of(node))
        match node:
            case Number(value=value):
                own: object = value
            case Name(name=own) | Call(function=own) | Binary(op=own):
                pass
            case Power(exponent=own):
                pass
            case _:
                own = None
        found.append(numbers.setdefault((type(node).__name__, own, operands), len(numbers)))
    return found
