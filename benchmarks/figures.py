"""Work-precision diagrams: cost against true error, more accurate to the right.

flowsim's solvers are drawn solid, the peers dashed; a package has a colour of a palette that the
colour-blind can tell apart, a solver a marker.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("agg")
import matplotlib.pyplot as plt

from benchmarks.measure import Point, of

#: The palette of Okabe and Ito.
_COLOURS = {
    "flowsim": ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#7F3C00", "#004060"),
    "SciPy": ("#E69F00",),
    "diffrax": ("#56B4E9",),
    "torchdiffeq": ("#009E73",),
    "CVODE": ("#CC79A7",),
    "heyoka": ("#999999",),
}
_MARKERS = "os^vD<>PX*hp"
_COLUMNS = 4
_LABELS = {"gradients": "gradients", "seconds": "seconds"}


def styles(labels: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Line styles, the same for a rival in every diagram that shows the same rivals."""
    seen: dict[str, int] = {}
    found = {}
    for label in labels:
        family = label.split(" ")[0]
        i = seen.setdefault(family, 0)
        seen[family] += 1
        colours = _COLOURS[family]
        ours = family == "flowsim"
        found[label] = {
            "color": colours[i % len(colours)],
            "marker": _MARKERS[i % len(_MARKERS)],
            "linestyle": "-" if ours else "--",
            "linewidth": 1.8 if ours else 1.0,
            "markersize": 4.5,
            "alpha": 1.0 if ours else 0.9,
            "zorder": 3 if ours else 2,
        }
    return found


def draw(points: Sequence[Point], titles: dict[str, str], file: Path) -> None:
    """One column a task; a row for gradients, where they were counted, and one for seconds."""
    shown = [p for p in points if p.error is not None]
    labels = sorted(
        dict.fromkeys(p.rival for p in shown), key=lambda label: not label.startswith("flowsim")
    )
    style = styles(labels)
    costs = [c for c in ("gradients", "seconds") if any(getattr(p, c) for p in shown)]
    columns = min(_COLUMNS, len(titles))
    blocks = math.ceil(len(titles) / columns)
    rows = blocks * len(costs)
    figure, axes = plt.subplots(
        rows, columns, figsize=(3.1 * columns + 0.3, 2.5 * rows + 1.3), squeeze=False
    )
    for ax in axes.flat:
        ax.set_visible(False)
    for index, (task, title) in enumerate(titles.items()):
        for row, cost in enumerate(costs):
            ax = axes[(index // columns) * len(costs) + row, index % columns]
            ax.set_visible(True)
            _panel(ax, shown, task, cost, style)
            if row == 0:
                ax.set_title(title, fontsize=9)
            if row == len(costs) - 1:
                ax.set_xlabel("relative error", fontsize=8)
            if index % columns == 0:
                ax.set_ylabel(_LABELS[cost], fontsize=8)
    handles = [plt.Line2D([], [], label=label, **style[label]) for label in labels]
    figure.legend(handles=handles, loc="lower center", ncols=4, fontsize=7.5, frameon=False)
    legend_rows = math.ceil(len(labels) / 4)
    figure.tight_layout(rect=(0, (0.17 * legend_rows + 0.1) / figure.get_figheight(), 1, 1))
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=100)
    plt.close(figure)


def _panel(ax: Any, points: Sequence[Point], task: str, cost: str, style: dict) -> None:
    for label, how in style.items():
        own = [p for p in of(points, task, label) if getattr(p, cost)]
        if own:
            own = sorted(own, key=lambda p: -p.rtol)
            ax.plot([max(p.error, 1e-16) for p in own], [getattr(p, cost) for p in own], **how)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.invert_xaxis()
    ax.tick_params(labelsize=7)
    ax.grid(True, which="major", linewidth=0.3, alpha=0.6)
