"""Where a formula has a derivative: nowhere is refused, and the exceptions are listed.

Two means. The signs that an expression can take settle where a root, a logarithm or a quotient may
fail, and so give the list. Trial evaluations at random factors of many sizes and signs find an
expression that is real and differentiable at none of them; such a formula has no gradient flow.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from flowsim.problems.functions import FUNCTIONS
from flowsim.problems.text.excerpts import complaint, shortened
from flowsim.problems.text.nodes import Binary, Call, Name, Node, Power, apply, operands_of
from flowsim.problems.text.signs import signs_of
from flowsim.problems.text.sizes import Reading, Shape

_MOST_POINTS = 600
# Beyond this many numbers the trial is left to whoever evaluates the map.
_LARGEST_TRIAL = 10**6
_LARGEST_WORK = 3 * 10**7
_MOST_EVALUATIONS = 10**5


def kinks_of(
    nodes: Sequence[Node], texts: Sequence[str], readings: Sequence[Reading]
) -> tuple[str, ...]:
    """A sentence for each place where the formula may have no derivative or not be real."""
    signs = signs_of(nodes, readings)
    sentences = []
    for place, node in enumerate(nodes):
        if readings[place].constant is not None:
            continue
        said = shortened(texts[place])
        match node:
            case Binary(op="/", right=right) if 0 in signs[right]:
                sentence = f"{said} is not defined at {shortened(texts[right])} = 0"
            case Power(base=base, exponent=p):
                sentence = _of_power(said, shortened(texts[base]), p, signs[base])
            case Call(function=name, arguments=(first, *_)) if FUNCTIONS[name].kink:
                sentence = _of_call(said, shortened(texts[first]), name, signs[first])
            case _:
                sentence = ""
        if sentence:
            sentences.append(f"{sentence} (character {node.span[0] + 1})")
    return tuple(sentences)


def _of_power(said: str, base: str, p: int | Fraction, signs: frozenset[int]) -> str:
    if isinstance(p, Fraction) and -1 in signs:
        bound = ">=" if p > 1 else ">"
        return f"{said} is real and has a derivative only for {base} {bound} 0"
    if p < 0 and 0 in signs:
        return f"{said} is not defined at {base} = 0"
    if 0 < p < 1 and 0 in signs:
        return f"{said} has no derivative at {base} = 0"
    return ""


def _of_call(said: str, argument: str, name: str, signs: frozenset[int]) -> str:
    kink = FUNCTIONS[name].kink
    if kink != "at 0":
        return f"{said} has no derivative {kink}"
    if -1 in signs and not _is_real_below_zero(name):
        return f"{said} is real and has a derivative only for {argument} > 0"
    return f"{said} has no derivative at {argument} = 0" if 0 in signs else ""


def _is_real_below_zero(name: str) -> bool:
    """Whether a function of one number takes the value at -1 to be real."""
    if FUNCTIONS[name].arity != 1:
        return True
    with np.errstate(all="ignore"):
        return bool(np.isfinite(FUNCTIONS[name].call(np.array([-1.0]))).all())


def check_somewhere_smooth(
    text: str,
    nodes: Sequence[Node],
    texts: Sequence[str],
    readings: Sequence[Reading],
    shapes: dict[str, Shape],
) -> None:
    """Refuse a formula that is real and differentiable at none of many random factors.

    Every entry of every node has to be finite at one point at least, and an argument of a function
    or root with a kink at 0 has to be other than 0 there. Formulas of more than a million numbers
    are not tried.

    Raises
    ------
    InputError
        With the position of the first expression that fails.
    """
    total = sum(math.prod(reading.shape) for reading in readings)
    if total > _LARGEST_TRIAL:
        return
    count = max(3, min(_MOST_POINTS, _LARGEST_WORK // total, _MOST_EVALUATIONS // len(nodes)))
    finite = [np.zeros(reading.shape, bool) for reading in readings]
    smooth = [np.zeros(reading.shape, bool) for reading in readings]
    for factors in _points(shapes, count):
        _try(text, nodes, texts, factors, finite, smooth)
        if all(seen.all() for seen in smooth):
            return
    place = next(i for i, seen in enumerate(smooth) if not seen.all())
    node, said = nodes[place], shortened(texts[place])
    some = "some entry of " if smooth[place].ndim else ""
    if finite[place].all():
        argument = shortened(texts[operands_of(node)[0]])
        what = (
            f"{some}{said} has a derivative nowhere: {argument} is 0 there at all of the {count} "
            "factors tried."
        )
    else:
        what = f"{some}{said} is a finite real number at none of the {count} factors tried."
    raise complaint(text, node.span, f"{what} {_remedy(node)}")


def _try(
    text: str,
    nodes: Sequence[Node],
    texts: Sequence[str],
    factors: dict[str, np.ndarray],
    finite: list[np.ndarray],
    smooth: list[np.ndarray],
) -> None:
    """Evaluate at one point, and mark the entries that are finite and smooth there."""
    values: list[Any] = []
    for place, node in enumerate(nodes):
        operands = [values[i] for i in operands_of(node)]
        try:
            with np.errstate(all="ignore"):
                value = factors[node.name] if isinstance(node, Name) else apply(node, operands)
                good = np.isfinite(np.asarray(value, np.float64))
        except (ArithmeticError, ValueError, TypeError, IndexError) as error:
            raise complaint(
                text,
                node.span,
                f"{shortened(texts[place])} cannot be computed in NumPy. Change the shapes.",
            ) from error
        values.append(value)
        finite[place] |= good
        smooth[place] |= good & _off_the_kink(node, operands, value)


def _off_the_kink(node: Node, operands: Sequence[Any], value: Any) -> Any:
    """Where the argument is not at the kink 0: entry by entry, or as a whole for a norm."""
    match node:
        case Power(exponent=exponent) if 0 < exponent < 1:
            return np.asarray(operands[0], np.float64) != 0
        case Call(function=name) if FUNCTIONS[name].kink == "at 0":
            off = np.asarray(operands[0], np.float64) != 0
            return off if np.shape(value) == off.shape else off.any()
    return True


def _remedy(node: Node) -> str:
    if isinstance(node, Power) or (isinstance(node, Binary) and node.op == "/"):
        return "** and / work entry by entry: see that the entries below are not always 0."
    if isinstance(node, Call):
        return f"See that the argument of {node.function} is positive somewhere, in every entry."
    return "See that its parts are real for the same factors, and do not overflow."


def _points(shapes: dict[str, Shape], count: int) -> Iterator[dict[str, np.ndarray]]:
    """Random factors: Gaussian, positive, negative, then of every size and sign."""
    rng = np.random.default_rng(0)
    signs = (None, 1.0, -1.0)
    for number in range(count):
        factors = {}
        for name, shape in shapes.items():
            sign = signs[number] if number < 3 else signs[rng.integers(3)]
            scale = 1.0 if number < 3 else 10.0 ** rng.uniform(-4, 4)
            entries = scale * rng.normal(size=shape)
            factors[name] = np.asarray(entries if sign is None else sign * np.abs(entries))
        yield factors
