"""A parsed formula: evaluated on arrays of any kind, and written out again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from flowsim._errors import InputError
from flowsim.problems.text.nodes import (
    Binary,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Power,
    Transposed,
    apply,
    operands_of,
)

_SUM, _PRODUCT, _SIGN, _POWER, _ATOM = range(5)
_STRENGTH = {"+": _SUM, "-": _SUM, "*": _PRODUCT, "/": _PRODUCT, "@": _PRODUCT}


@dataclass(frozen=True)
class Formula:
    """A map of named factors that was read from text by :func:`flowsim.problems.text.parse`.

    Two formulas are equal if they have the same nodes, names and shapes, however they were spaced
    and bracketed. ``str`` gives the canonical text, which parses back to an equal formula
    (if it is not too long for the parser).

    Attributes
    ----------
    nodes
        The tree in order of evaluation; operands are referred to by their places here.
    names
        Names of the factors, in the order in which a call takes them.
    shapes
        Shapes of the factors.
    shape
        Shape of the value.
    kinks
        Where the map has no derivative or is not real, a sentence each, with the position.
    text
        The text as it was given.
    """

    nodes: tuple[Node, ...]
    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]
    shape: tuple[int, ...]
    kinks: tuple[str, ...] = field(compare=False)
    text: str = field(compare=False, repr=False)

    def __call__(self, *factors: Any) -> Any:
        """The value at the factors, in the order of ``names``."""
        if len(factors) != len(self.names):
            raise InputError(
                f"{len(factors)} factors were passed to the formula {self.text!r}; it takes "
                f"{len(self.names)}, {', '.join(self.names)}."
            )
        return self.evaluate(dict(zip(self.names, factors, strict=True)))

    def evaluate(self, factors: Mapping[str, Any]) -> Any:
        """The value at the factors given by name.

        Parameters
        ----------
        factors
            Numbers, NumPy or JAX arrays, symbolic arrays, or arrays of ring elements.

        Raises
        ------
        InputError
            If the names are not the formula's.
        """
        if set(factors) != set(self.names):
            raise InputError(
                f"factors has the names {', '.join(map(str, factors)) or '(none)'}; the formula "
                f"takes {', '.join(self.names)}."
            )
        waiting: list[Any] = []
        for node in self.nodes:
            if isinstance(node, Name):
                waiting.append(factors[node.name])
                continue
            count = len(operands_of(node))
            operands = waiting[len(waiting) - count :]
            del waiting[len(waiting) - count :]
            waiting.append(apply(node, operands))
        return waiting[0]

    def __str__(self) -> str:
        return written(self.nodes)[-1]


def written(nodes: tuple[Node, ...]) -> list[str]:
    """The canonical text of every node, with the brackets that it needs and no others."""
    texts: list[str] = []
    strengths: list[int] = []

    def bracketed(place: int, at_least: int) -> str:
        return texts[place] if strengths[place] >= at_least else f"({texts[place]})"

    for node in nodes:
        strength = _ATOM
        match node:
            case Number(value=value):
                text = decimal(value)
            case Name(name=text):
                pass
            case Negate(operand=operand):
                text, strength = f"-{bracketed(operand, _SIGN)}", _SIGN
            case Binary(op=op, left=left, right=right):
                strength = _STRENGTH[op]
                joint = op if op in "*/" else f" {op} "
                text = f"{bracketed(left, strength)}{joint}{bracketed(right, strength + 1)}"
            case Power(base=base, exponent=exponent):
                shown = f"({exponent})" if isinstance(exponent, Fraction) else f"{exponent}"
                text, strength = f"{bracketed(base, _ATOM)}**{shown}", _POWER
            case Call(function=name, arguments=arguments):
                text = f"{name}({', '.join(texts[place] for place in arguments)})"
            case Transposed(operand=operand):
                text = f"{bracketed(operand, _ATOM)}.T"
        texts.append(text)
        strengths.append(strength)
    return texts


def decimal(value: int | Fraction) -> str:
    """A number with a finite decimal expansion, in full."""
    if isinstance(value, int):
        return str(value)
    places = 1
    while 10**places % value.denominator:
        places += 1
    digits = str(value.numerator * (10**places // value.denominator)).zfill(places + 1)
    return f"{digits[:-places]}.{digits[-places:]}"
