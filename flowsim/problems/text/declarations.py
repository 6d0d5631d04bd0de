"""Shapes of factors, declared in text: ``u:3, U:3x2, g:()``."""

from __future__ import annotations

import math
import re

from flowsim._errors import InputError
from flowsim.problems.text.excerpts import Span, complaint, described, shortened
from flowsim.problems.text.lookalikes import unreadable
from flowsim.problems.text.reader import MOST_DIMENSIONS
from flowsim.problems.text.sizes import LARGEST_SIZE, Shape
from flowsim.problems.text.tokens import check_text
from flowsim.problems.text.vocabulary import factor_name_trouble

_EXAMPLE = "Write name:shape, parted by commas, such as u:3, U:3x2, g:()."
# A run of what may stand in a name; what in it may not is found later, and named.
_RUN = re.compile(r"[^\s,:;=()]+")
_SPACE = re.compile(r"[ \t\r\n]*")
_SIZES = re.compile(r"[0-9]+(?:[ \t]*x[ \t]*[0-9]+)*")
_TUPLE = re.compile(r"\([ \t]*(?:[0-9]+[ \t]*(?:,[ \t]*[0-9]+[ \t]*)*,?[ \t]*)?\)")
_LONGEST_SIZE = 9


def parse_declarations(text: str) -> dict[str, Shape]:
    """Read the shapes of factors from text.

    A vector of three entries is ``u:3``, a matrix of three rows and two columns ``U:3x2`` (or
    ``U:(3,2)``), a scalar ``g:()``.

    Parameters
    ----------
    text
        Declarations parted by commas.

    Returns
    -------
    dict
        Shape of each factor by name, in the order of the text.

    Raises
    ------
    InputError
        With the position and what would do.

    Examples
    --------
    >>> parse_declarations("u:3, U:3x2, g:()")
    {'u': (3,), 'U': (3, 2), 'g': ()}
    """
    check_text(text, "shape", _EXAMPLE)
    shapes: dict[str, Shape] = {}
    at = _past_space(text, 0)
    while True:
        name, at = _read_name(text, at)
        if name in shapes:
            raise _complain(
                text, (at - len(name), at), f"{name} is declared twice. Keep one of the two."
            )
        at = _past_space(text, at)
        if text[at : at + 1] != ":":
            raise _complain(
                text,
                (at, at + 1),
                f"':' is missing after {name}. Write {name}:() for a scalar, {name}:3 for a vector "
                f"of 3 entries, {name}:3x2 for a matrix.",
            )
        shapes[name], at = _read_shape(text, _past_space(text, at + 1), name)
        at = _past_space(text, at)
        if at == len(text):
            return shapes
        if text[at] != ",":
            raise _complain(text, (at, at + 1), _between(text[at]))
        at = _past_space(text, at + 1)


def _read_name(text: str, at: int) -> tuple[str, int]:
    run = _RUN.match(text, at)
    if run is None:
        found = f"{text[at]!r} stands" if at < len(text) else "the text ends"
        raise _complain(text, (at, at + 1), f"{found} where a name is to stand. {_EXAMPLE}")
    if trouble := factor_name_trouble(run.group()):
        bad = next((i for i, c in enumerate(run.group()) if not _is_plain(c)), None)
        span = run.span() if bad is None else (at + bad, at + bad + 1)
        raise _complain(text, span, trouble)
    return run.group(), run.end()


def _read_shape(text: str, at: int, name: str) -> tuple[Shape, int]:
    found = _SIZES.match(text, at) or _TUPLE.match(text, at)
    if found is None and not text[at : at + 1].isascii():
        raise _complain(text, (at, at + 1), unreadable(text[at]))
    if found is None:
        raise _complain(
            text,
            (at, at + 1),
            f"this is no shape. Write {name}:() for a scalar, {name}:3 for a vector of 3 entries, "
            f"{name}:3x2 for a matrix.",
        )
    numbers = list(re.finditer(r"[0-9]+", found.group()))
    shape = []
    for number in numbers:
        span = (at + number.start(), at + number.end())
        if len(number.group()) > _LONGEST_SIZE or int(number.group()) < 1:
            size = "too large" if number.group().strip("0") else "0"
            raise _complain(
                text, span, f"the size is {size}. Use a whole number of at least 1, up to 1e8."
            )
        shape.append(int(number.group()))
    if len(shape) > MOST_DIMENSIONS or math.prod(shape) > LARGEST_SIZE:
        raise _complain(
            text,
            found.span(),
            f"the shape is too large. Use at most {MOST_DIMENSIONS} sizes and {LARGEST_SIZE:.0e} "
            "numbers in all.",
        )
    return tuple(shape), found.end()


def _is_plain(character: str) -> bool:
    return character.isascii() and character.isprintable()


def _between(character: str) -> str:
    """What is wrong with a character where a comma or more sizes were to follow."""
    if character in "*×·хХX":  # the last two but one are Cyrillic
        return f"{described(character)} does not part sizes. Write a small x, as in 3x2."
    if character == "x":
        return "a size is missing after x. Write sizes as in 3x2."
    if not _is_plain(character):
        return unreadable(character)
    if character == ";":
        return "';' does not part declarations. Write a comma."
    if character in ".eE_":
        return "sizes are whole numbers in plain digits. Write 3 or 3x2."
    return f"a comma or the end is to stand here. {_EXAMPLE}"


def _past_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return found.end() if found else at


def _complain(text: str, span: Span, what: str) -> InputError:
    return complaint(text, span, shortened(what, 400), "shape")
