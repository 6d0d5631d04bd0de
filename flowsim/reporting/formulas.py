"""LaTeX to MathML, which browsers typeset without a script or a font from the network."""

from __future__ import annotations

import re
from html import escape

from latex2mathml.converter import convert

from flowsim._errors import InputError


def mathml(latex: str, *, display: bool = True) -> str:
    r"""Return LaTeX as a ``<math>`` element.

    Raises
    ------
    InputError
        If the LaTeX cannot be read.

    Examples
    --------
    >>> mathml(r"\dot{w} = -w", display=False)[:5]
    '<math'
    """
    try:
        element = convert(_accepted(latex), display="block" if display else "inline")
    except Exception as error:  # the converter raises many kinds
        raise InputError(f"latex is {latex!r}, which cannot be typeset: {error}") from None
    element = _mended(element)
    return element.replace("<math ", f'<math aria-label="{escape(latex, quote=True)}" ', 1)


def _accepted(latex: str) -> str:
    r"""Spell what the converter would get wrong in the way that it gets right."""
    # A fence that stretches in TeX already fits a norm's single letter; stretched, browsers
    # without a mathematical font draw it too tall.
    latex = latex.replace(r"\left\lVert", r"\|").replace(r"\right\rVert", r"\|")
    # A number in an exponent reads better on one line.
    return re.sub(r"\^\{\\frac\{(\d+)\}\{(\d+)\}\}", r"^{\1/\2}", latex)


def _mended(element: str) -> str:
    """Mark the dot of a derivative as the accent that it is."""
    return re.sub(
        r"<mover>(<mrow>.*?</mrow>)<mo>&#x002D9;</mo></mover>",
        r'<mover accent="true">\1<mo stretchy="false">&#x002D9;</mo></mover>',
        element,
    )
