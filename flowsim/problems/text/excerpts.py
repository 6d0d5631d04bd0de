"""Complaints that show the text with a caret under the place."""

from __future__ import annotations

import unicodedata

from flowsim._errors import InputError

#: A stretch of the text: the first character and the one after the last, counted from 0.
Span = tuple[int, int]

_WINDOW = 72
_UNSEEN = "\N{REPLACEMENT CHARACTER}"


def complaint(text: str, span: Span, what: str, argument: str = "text") -> InputError:
    """An InputError that names the argument and the position, and shows the place.

    Parameters
    ----------
    text
        The whole text.
    span
        The characters complained of; the position after the last one stands for the end.
    what
        What is wrong there, and what would do.
    argument
        The argument that the text was passed as.
    """
    start, stop = span
    first = max(0, min(start - _WINDOW // 2, len(text) - _WINDOW))
    last = min(len(text), first + _WINDOW)
    before, marked = text[first:start], text[start : min(stop, last)]
    head = "..." if first > 0 else ""
    tail = "..." if last < len(text) else ""
    shown = head + shown_line(text[first:last]) + tail
    indent = " " * (len(head) + _columns(before))
    carets = "^" * max(1, _columns(marked))
    return InputError(
        f"{argument}, character {start + 1}: {what}\n    {shown}\n    {indent}{carets}"
    )


def shown_line(text: str) -> str:
    """The text in one line, in which nothing moves the cursor or the reading direction."""
    return "".join(_shown(character) for character in text)


def shortened(text: str, limit: int = 40) -> str:
    """The text in one line, with its middle left out where it is longer than ``limit``."""
    half = (limit - 3) // 2
    return shown_line(text if len(text) <= limit else f"{text[:half]}...{text[-half:]}")


def described(character: str) -> str:
    """A character by its code point and its name in the Unicode standard."""
    return f"U+{ord(character):04X} {unicodedata.name(character, '(a character without a name)')}"


def _shown(character: str) -> str:
    if character in " \t\n\r":
        return " "
    # Controls, reversals of direction, lone surrogates and combining marks start with C or M.
    return _UNSEEN if unicodedata.category(character)[0] in "CMZ" else character


def _columns(text: str) -> int:
    """How many columns of a terminal the text takes."""
    wide = sum(unicodedata.east_asian_width(_shown(character)) in "WF" for character in text)
    return len(text) + wide
