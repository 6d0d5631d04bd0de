"""Do the shapes fit? Every node's shape, and the value of every constant, before anything runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from flowsim._errors import InputError
from flowsim.problems.functions import FUNCTIONS
from flowsim.problems.text.excerpts import complaint, shortened
from flowsim.problems.text.grammar import LARGEST_EXPONENT
from flowsim.problems.text.nodes import (
    Binary,
    Call,
    Name,
    Negate,
    Node,
    Power,
    Transposed,
    apply,
    operands_of,
)

Shape = tuple[int, ...]

LARGEST_SIZE = 10**8
_MOST_BITS = 1024


@dataclass(frozen=True)
class Reading:
    """What is known of a node before it is evaluated.

    Attributes
    ----------
    shape
        The shape of its value.
    constant
        Its value if no factor is in it and it is a single number, else None.
    degree
        The largest product of nested exponents above a factor in it.
    """

    shape: Shape
    constant: int | Fraction | float | None = None
    degree: int | Fraction = 1


def readings_of(
    text: str, nodes: Sequence[Node], texts: Sequence[str], shapes: dict[str, Shape]
) -> list[Reading]:
    """Shape, constant value and degree of every node.

    Parameters
    ----------
    text
        The formula's text.
    nodes
        Its nodes in order of evaluation.
    texts
        The canonical text of each.
    shapes
        Shape of each factor.

    Raises
    ------
    InputError
        With the position, where shapes do not fit, a constant is not finite, an array would be
        huge, or powers are nested beyond the largest exponent.
    """
    found: list[Reading] = []
    known: dict[Any, Shape] = {}
    for node in nodes:
        places = operands_of(node)
        operands = [found[i] for i in places]
        degree = max((x.degree for x in operands), default=1)
        if isinstance(node, Power):
            degree *= max(1, abs(node.exponent))
            if degree > LARGEST_EXPONENT:
                raise complaint(
                    text,
                    node.span,
                    f"the nested powers come to an exponent of {float(degree):g}. Keep their "
                    f"product at or below {LARGEST_EXPONENT}.",
                )
        _check_transposed(text, node, operands)
        if isinstance(node, Binary) and node.op == "/" and operands[1].constant == 0:
            raise complaint(
                text, nodes[node.right].span, "this divides by zero. Write another number."
            )
        if not isinstance(node, Name) and all(x.constant is not None for x in operands):
            shape, constant = _constant(text, node, [x.constant for x in operands])
            found.append(Reading(shape, constant, degree))
            continue
        if isinstance(node, Name):
            shape = shapes[node.name]
        else:
            said = [(texts[i], found[i].shape) for i in places]
            shape = _shape(text, node, said, known)
        _check_size(text, node, shape)
        found.append(Reading(shape, None, degree))
    return found


def _constant(text: str, node: Node, operands: Sequence[Any]) -> tuple[Shape, Any]:
    """A constant's shape, and its value where it is one number."""
    try:
        with np.errstate(all="ignore"):
            value = apply(node, operands)
    except (ArithmeticError, ValueError, TypeError, IndexError):
        raise complaint(
            text, node.span, "this constant cannot be computed. Write its value."
        ) from None
    if isinstance(value, (int, Fraction)):
        if max(abs(value.numerator), value.denominator).bit_length() > _MOST_BITS:
            raise complaint(text, node.span, "this constant is huge. Rescale the factors.")
        return (), value
    array = np.asarray(value)
    if array.dtype.kind != "f" or not np.isfinite(array).all():
        raise complaint(text, node.span, "this constant is no finite real number. Write its value.")
    return array.shape, value if array.ndim == 0 else None


def _shape(
    text: str, node: Node, operands: Sequence[tuple[str, Shape]], known: dict[Any, Shape]
) -> Shape:
    """The shape of a node that is no factor, from the texts and shapes of its operands."""
    shapes = tuple(shape for _, shape in operands)
    match node:
        case Negate() | Power():
            return shapes[0]
        case Transposed():
            return shapes[0][::-1]
        case Binary(op="@"):
            if (product := matrix_product(*shapes)) is None:
                raise complaint(text, node.span, _unfit_product(operands))
            return product
        case Binary():
            try:
                return np.broadcast_shapes(*shapes)
            except ValueError:
                raise complaint(text, node.span, _unfit_entries(node.op, operands)) from None
        case Call(function=name):
            if (name, shapes) not in known:
                known[name, shapes] = _call_shape(text, node, operands)
            return known[name, shapes]
    raise InputError(f"{node} has no shape; this is a bug of flowsim.")


def matrix_product(left: Shape, right: Shape) -> Shape | None:
    """The shape of ``left @ right``, or None where it has none."""
    if not left or not right:
        return None
    row, column = len(left) == 1, len(right) == 1
    a = (1, *left) if row else left
    b = (*right, 1) if column else right
    if a[-1] != b[-2]:
        return None
    try:
        stack = np.broadcast_shapes(a[:-2], b[:-2])
    except ValueError:
        return None
    return (*stack, *(() if row else a[-2:-1]), *(() if column else b[-1:]))


def _call_shape(text: str, node: Call, operands: Sequence[tuple[str, Shape]]) -> Shape:
    """The shape of a function's value, by tracing it in float64 without computing."""
    import jax

    from flowsim._precision import float64

    function = FUNCTIONS[node.function]
    given = " and ".join(f"{shortened(name)} of shape {shape}" for name, shape in operands)
    structs = [jax.ShapeDtypeStruct(shape, np.float64) for _, shape in operands]
    try:
        with float64():
            value = jax.eval_shape(function.call, *structs)
    except Exception as error:  # whatever NumPy's function raises, the shapes are at fault
        raise complaint(
            text,
            node.span,
            f"{node.function} ({function.what}) cannot take {given}. Change the shapes, or what "
            f"{node.function} is applied to.",
        ) from error
    if not hasattr(value, "shape") or value.dtype != np.float64:
        raise complaint(
            text,
            node.span,
            f"{node.function} of {given} is not one array of real numbers. Use another function.",
        )
    return tuple(value.shape)


def _check_transposed(text: str, node: Node, operands: Sequence[Reading]) -> None:
    """Refuse ``.T`` where it does nothing, which is never what was meant."""
    if not isinstance(node, Transposed) or len(operands[0].shape) >= 2:
        return
    if operands[0].shape:
        what = (
            f"this is a vector of shape {operands[0].shape}, which .T leaves as it is. Write "
            "outer(a, b) for the matrix, a @ b for the inner product"
        )
    else:
        what = "this is a single number, which has no transpose. Delete .T"
    raise complaint(text, node.span, f"{what}.")


def _check_size(text: str, node: Node, shape: Shape) -> None:
    if math.prod(shape) > LARGEST_SIZE:
        raise complaint(
            text,
            node.span,
            f"this has shape {shape}, more than {LARGEST_SIZE:.0e} numbers. Use smaller factors.",
        )


def _unfit_product(operands: Sequence[tuple[str, Shape]]) -> str:
    (left, a), (right, b) = operands
    left, right = shortened(left), shortened(right)
    said = f"{left} has shape {a} and {right} has shape {b}, which @ cannot multiply."
    if not a or not b:
        return f"{said} Write * where one of them is a single number."
    rule = "The last size of the left must be the first of the right"
    # A transpose is only offered where .T would be read.
    if len(a) == len(b) == 2:
        for offer, x, y in (
            (f"{_closed(left)}.T @ {_closed(right)}", a[::-1], b),
            (f"{_closed(left)} @ {_closed(right)}.T", a, b[::-1]),
            (f"{_closed(right)} @ {_closed(left)}", b, a),
        ):
            if matrix_product(x, y) is not None:
                return f"{said} {rule}, as for {offer}."
    return f"{said} {rule}."


def _closed(said: str) -> str:
    """The text of an operand, in brackets if it is more than a name."""
    return said if said.isidentifier() else f"({said})"


def _unfit_entries(op: str, operands: Sequence[tuple[str, Shape]]) -> str:
    (left, a), (right, b) = operands
    said = (
        f"{shortened(left)} has shape {a} and {shortened(right)} has shape {b}, which {op} cannot "
        "combine entry by entry."
    )
    if op == "*" and matrix_product(a, b) is not None:
        return f"{said} Write @ for the matrix product."
    return f"{said} Sizes must be equal, or 1, counted from the last."
