"""Panels to inline SVG, through matplotlib's object interface: no pyplot, no screen."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any

import matplotlib
import numpy as np
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from flowsim.reporting.panels import COLOURS, Curve, Line, Panel, Points

_INK, _GRID = "#1F2933", "#E3E7EC"
_DASHES: dict[str, Any] = {"solid": "-", "dashed": (0, (5, 2.2)), "dotted": (0, (1.2, 1.8))}
# Text as outlines looks the same on every machine; a fixed salt makes the file reproducible.
_SETTINGS: Any = {"svg.fonttype": "path", "svg.hashsalt": "flowsim", "path.simplify_threshold": 0.2}


def draw_svg(panels: Sequence[Panel], *, name: str, description: str) -> str:
    """Draw panels in rows of at most two and return them as an ``<svg>`` element.

    Parameters
    ----------
    panels
        What to draw.
    name
        Prefix of the element's identifiers, so that several figures can share a page.
    description
        Read out in place of the picture.
    """
    columns = min(2, len(panels))
    rows = -(-len(panels) // columns)
    with matplotlib.rc_context(_SETTINGS):
        figure = Figure(figsize=(5.4 * columns, 3.9 * rows))
        FigureCanvasSVG(figure)
        figure.set_layout_engine("constrained", w_pad=0.12, h_pad=0.10)
        grid = figure.subplots(rows, columns, squeeze=False)
        for axes, panel in zip(grid.flat, panels, strict=False):
            _draw(axes, panel)
        for axes in list(grid.flat)[len(panels) :]:
            axes.set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _inline(buffer.getvalue(), name, description)


def _draw(axes: Any, panel: Panel) -> None:
    axes.set_xscale(panel.xscale)
    axes.set_yscale(panel.yscale)
    for item in panel.items:
        if isinstance(item, Curve):
            x, y = _shown(item.x, panel.xscale), _shown(item.y, panel.yscale)
            axes.plot(
                x, y, color=COLOURS[item.colour], linestyle=_DASHES[item.dash],
                linewidth=item.width, label=item.label or None, zorder=3,
                solid_capstyle="round",
            )  # fmt: skip
        elif isinstance(item, Points):
            axes.plot(
                item.x, item.y, linestyle="none", marker=item.marker, markersize=6.5,
                markerfacecolor=COLOURS[item.colour] + "44", markeredgecolor=COLOURS[item.colour],
                markeredgewidth=0.9, label=item.label or None, zorder=2,
            )  # fmt: skip
    if panel.xlim:
        axes.set_xlim(*panel.xlim)
    if panel.ylim:
        axes.set_ylim(*panel.ylim)
    for item in panel.items:
        if isinstance(item, Line):
            _draw_line(axes, item)
    _dress(axes, panel)


def _draw_line(axes: Any, line: Line) -> None:
    style = {"color": COLOURS[line.colour], "linewidth": 1.0, "linestyle": (0, (4, 3)), "zorder": 1}
    words = {"fontsize": 8.5, "color": COLOURS[line.colour]}
    if line.y is not None:
        axes.axhline(line.y, **style)
        axes.annotate(
            line.label, (0.012, line.y), xycoords=axes.get_yaxis_transform(), va="bottom",
            xytext=(0, 2), textcoords="offset points", **words,
        )  # fmt: skip
    if line.x is not None:
        low, _ = axes.get_xlim()
        x = line.x if axes.get_xscale() == "linear" else max(line.x, low)  # a log axis has no 0
        axes.axvline(x, **style)
        axes.annotate(
            line.label, (x, 0.03), xycoords=axes.get_xaxis_transform(), rotation=90,
            va="bottom", ha="right", xytext=(-2, 0), textcoords="offset points", **words,
        )  # fmt: skip


def _dress(axes: Any, panel: Panel) -> None:
    """Apply the house style."""
    axes.set_title(panel.title, loc="left", fontsize=10.5, fontweight="bold", color=_INK, pad=8)
    axes.set_xlabel(panel.xlabel, fontsize=9.5, color=_INK)
    axes.set_ylabel(panel.ylabel, fontsize=9.5, color=_INK)
    axes.tick_params(labelsize=8.5, colors=_INK, which="both", length=3)
    axes.grid(True, which="major", color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for scale, axis in ((panel.xscale, axes.xaxis), (panel.yscale, axes.yaxis)):
        if scale == "log":
            low, high = sorted(axis.get_view_interval())
            if high / low > 30:
                axis.set_major_locator(LogLocator(numticks=8))
                axis.set_minor_formatter(NullFormatter())
        elif max(map(abs, axis.get_view_interval())) >= 10_000:
            axis.set_major_formatter(FuncFormatter(_thousands))
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#9AA5B1")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8.5, frameon=True, framealpha=0.9, edgecolor="none", loc="best",
                    labelcolor=_INK, handlelength=2.2, borderpad=0.3)  # fmt: skip


def _thousands(value: float, _: int) -> str:
    return "1 million" if value == 1e6 else f"{value:,.0f}"


def _shown(values: np.ndarray, scale: str) -> np.ndarray:
    """Values with gaps where the axis cannot show them."""
    values = np.asarray(values, dtype=float)
    keep = np.isfinite(values) & ((values > 0) | (scale != "log"))
    return np.where(keep, values, np.nan)


def _inline(svg: str, name: str, description: str) -> str:
    """An SVG file as an element of a page: no prologue, identifiers of its own, a description."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\bid="', f'id="{name}-', svg)
    svg = svg.replace("url(#", f"url(#{name}-").replace('href="#', f'href="#{name}-')
    svg = re.sub(r'<svg [^>]*?viewBox="([^"]*)"[^>]*>', _opening(name, description), svg, count=1)
    return svg.strip()


def _opening(name: str, description: str) -> str:
    text = escape(description).replace("\\", r"\\")
    return (
        rf'<svg viewBox="\1" role="img" aria-labelledby="{name}-title" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">'
        f'<title id="{name}-title">{text}</title>'
    )
