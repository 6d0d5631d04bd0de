"""What a figure shows, as data: panels of curves, points and reference lines.

Nothing here draws; :mod:`flowsim.reporting.drawing` does.
"""

from __future__ import annotations

import dataclasses

import numpy as np

#: The palette: Okabe and Ito's colours, told apart under every common colour blindness.
COLOURS = {
    "blue": "#0072B2",
    "vermilion": "#D55E00",
    "green": "#007A5A",
    "purple": "#A0508A",
    "orange": "#C98500",
    "sky": "#3A9BD9",
    "grey": "#6B7280",
    "black": "#1F2933",
}


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
    """A line through values.

    Attributes
    ----------
    x, y
        Values of one length; those that are not finite leave a gap.
    label
        What it is, for the legend; empty for none.
    colour
        A name in ``COLOURS``.
    dash
        ``"solid"``, ``"dashed"`` or ``"dotted"``.
    width
        In points.
    """

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    colour: str = "blue"
    dash: str = "solid"
    width: float = 1.8


@dataclasses.dataclass(frozen=True, eq=False)
class Points:
    """Markers drawn beneath the curves, such as published values."""

    x: np.ndarray
    y: np.ndarray
    label: str = ""
    colour: str = "grey"
    marker: str = "o"


@dataclasses.dataclass(frozen=True)
class Line:
    """A reference line across the panel, horizontal at ``y`` or vertical at ``x``."""

    label: str
    x: float | None = None
    y: float | None = None
    colour: str = "black"


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes.

    Attributes
    ----------
    title, xlabel, ylabel
        What it shows, with units.
    items
        Curves, points and lines.
    xscale, yscale
        ``"linear"`` or ``"log"``.
    ylim, xlim
        Limits, or None for the data's.
    """

    title: str
    xlabel: str
    ylabel: str
    items: tuple[Curve | Points | Line, ...]
    xscale: str = "log"
    yscale: str = "log"
    xlim: tuple[float, float] | None = None
    ylim: tuple[float, float] | None = None
