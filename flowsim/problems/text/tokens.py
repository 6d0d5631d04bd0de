"""From characters to tokens: numbers, names and signs, each with its place in the text."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from flowsim._errors import InputError
from flowsim.problems.text.excerpts import Span, complaint, shortened
from flowsim.problems.text.lookalikes import unreadable

LONGEST_TEXT = 10_000
LARGEST_NUMBER = 10**15
_MOST_DIGITS = 17
_LARGEST_EXPONENT = 30

_SPACE = re.compile(r"[ \t\r\n]+")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# "2." is a number, and "2.T" is a number followed by a dotted name.
_NUMBER = re.compile(r"(?:[0-9]+(?:\.[0-9]+|\.(?![A-Za-z_.]))?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_SIGN = re.compile(r"\*\*|[-+*/@(),.]")

_REMEDIES = {
    "//": "'//' rounds down, which has no derivative. Write / for a quotient.",
    "^": "'^' is not read as a power. Write **.",
    "[": "there is no indexing. Make the part a factor of its own, or use whole factors.",
    "]": "there is no indexing. Make the part a factor of its own, or use whole factors.",
    "{": "braces are not read. Use round brackets.",
    "}": "braces are not read. Use round brackets.",
    '"': "there is no text in quotes in a formula. Write the factors' names without quotes.",
    "'": "quotes are not read. Write .T for a transpose, and names without quotes.",
    "=": "there is no assignment or comparison. Give only the value, what stands right of '='.",
    "<": "there is no comparison. Give one formula for the value.",
    ">": "there is no comparison. Give one formula for the value.",
    "!": "'!' is not read. Give one formula for the value.",
    ";": "';' is not read. Give one formula for the value.",
    ":": "':' is not read in a formula. Shapes are stated apart from it.",
    "#": "there are no comments in a formula. Delete what follows '#'.",
    "%": "'%' has no derivative where it jumps. Delete it.",
    "|": "'|' is not read. Write norm(...) for a norm, sqrt(x**2) for an absolute value.",
    "\\": "the backslash is not read. Line breaks need none; TeX is not understood.",
}


@dataclass(frozen=True)
class Token:
    """A piece of the text and its place.

    Its kind is "number", "name", the sign itself, "end", or "bad" for what no formula has; the text
    of a bad token is what is wrong with it.
    """

    kind: str
    text: str
    span: Span


def tokens(text: str) -> list[Token]:
    """The tokens of a formula, up to the first of kind "end" or "bad"."""
    check_text(text, "text", "Write a formula of the factors, such as u**2 - v**2.")
    found: list[Token] = []
    at = 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
        elif name := _NAME.match(text, at):
            found.append(Token("name", name.group(), name.span()))
            at = name.end()
        elif number := _NUMBER.match(text, at):
            found.append(Token("number", number.group(), number.span()))
            at = number.end()
            if bad := _glued(text, number.group(), at):
                return [*found, bad]
        elif text[at : at + 2] != "//" and (sign := _SIGN.match(text, at)):
            found.append(Token(sign.group(), sign.group(), sign.span()))
            at = sign.end()
        else:
            return [*found, _refused(text, at)]
    found.append(Token("end", "", (len(text), len(text))))
    return found


def number_value(text: str, token: Token) -> int | Fraction:
    """The exact value of a number: an int where it is whole, else a Fraction."""
    mantissa, _, exponent = token.text.lower().partition("e")
    digits = mantissa.replace(".", "").lstrip("0")
    if len(digits.rstrip("0")) > _MOST_DIGITS or len(mantissa) > 2 * _LARGEST_EXPONENT:
        raise complaint(
            text,
            token.span,
            f"the number has more than {_MOST_DIGITS} digits, which float64 cannot hold. Round it.",
        )
    if len(mantissa) > 1 and mantissa[0] == "0" and mantissa.isdigit() and not exponent:
        raise complaint(text, token.span, f"the number begins with 0. Write {int(mantissa)}.")
    if len(exponent.lstrip("+-0")) > 3 or abs(int(exponent or 0)) > _LARGEST_EXPONENT:
        size = "small" if exponent.startswith("-") else "large"
        raise complaint(
            text,
            token.span,
            f"the number is too {size}. Write one between 1e-{_LARGEST_EXPONENT} and "
            f"{LARGEST_NUMBER:.0e}, and rescale the factors.",
        )
    value = Fraction(mantissa.rstrip(".")) * Fraction(10) ** int(exponent or 0)
    if value > LARGEST_NUMBER:
        raise complaint(
            text,
            token.span,
            f"the number is larger than {LARGEST_NUMBER:.0e}. Rescale the factors.",
        )
    return value.numerator if value.denominator == 1 else value


def check_text(text: object, argument: str, remedy: str) -> None:
    """Refuse what is no text, is empty, or is too long."""
    if not isinstance(text, str):
        raise InputError(f"{argument} is {type(text).__name__}; pass a str. {remedy}")
    if len(text) > LONGEST_TEXT:
        raise InputError(
            f"{argument} has {len(text)} characters; at most {LONGEST_TEXT} are read. State a "
            "parametrization of this length by Parametrization.from_function."
        )
    if not text.strip(" \t\r\n"):
        raise InputError(f"{argument} is empty. {remedy}")


def _glued(text: str, number: str, at: int) -> Token | None:
    """Letters that a number runs into: Python's other ways to write one, or 2u."""
    if not (glued := _NAME.match(text, at)):
        return None
    letters = glued.group()
    if letters[0] in "jJ" and len(letters) == 1:
        what = f"{number}{letters} is a complex number. Only real ones are read."
    elif letters[0] == "_":
        what = "'_' does not part digits. Write the number without it."
    elif number == "0" and re.fullmatch(r"[xXoObB][0-9A-Fa-f_]*", letters):
        what = f"{number}{letters} is not decimal. Write the number in decimal digits."
    else:
        shown = f"{shortened(number)}*{shortened(letters)}"
        what = f"a product is written with its sign. Write {shown}."
    return Token("bad", what, (at, glued.end()))


def _refused(text: str, at: int) -> Token:
    """The bad token for the character at a position that begins no other."""
    character = text[at]
    if not (character.isascii() and character.isprintable()):
        return Token("bad", unreadable(character), (at, at + 1))
    sign = "//" if text[at : at + 2] == "//" else character
    remedy = _REMEDIES.get(
        sign,
        f"{sign!r} is not read. A formula has names, numbers, + - * / @ **, .T and brackets.",
    )
    return Token("bad", remedy, (at, at + len(sign)))
