"""The page ``docs/benchmarks.md``, from the kept results."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from benchmarks import figures
from benchmarks.measure import cheapest
from benchmarks.ours import AUTO, OURS
from benchmarks.peers import MISSING, PEERS
from benchmarks.references import FOLDER
from benchmarks.section import Bar, Section

DOCS = Path(__file__).parents[1] / "docs"
_PACKAGES = (
    "flowsim", "jax", "diffrax", "numpy", "scipy", "torch", "torchdiffeq", "scikit-sundae",
    "heyoka",
)  # fmt: skip
_INTRODUCTION = """\
Written by `python benchmarks`; do not edit by hand. Compare ratios, which were measured in one run,
with rivals timed in turn; seconds depend on the machine and on its other work.

How to read it. Every rival starts from the same state, runs to the same time with the same absolute
tolerance (its relative one times the scale of the start), and is judged by its true error: the
relative distance in the Euclidean norm from a reference that two unlike solvers agree on at
tolerances 10^4 finer than the finest measured here, or that a closed form in extended precision
gives. A gradient is an evaluation of the field; a Hessian product counts for two, a dense Jacobian
for two for each number of the state. Seconds are wall time after compilation, the median of three
runs where a run is short, else one. Costs at an error are read off the work-precision curves,
log-log between two runs; a curve that is everywhere more accurate is read at its cheapest run."""


def stamp(seconds: float) -> dict[str, Any]:
    """When and where a part was measured."""
    return {
        "date": f"{datetime.now(UTC):%Y-%m-%d}",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, {_processor()}",
        "python": platform.python_version(),
        "versions": {name: v for name in _PACKAGES if (v := _version(name))},
        "seconds": round(seconds),
    }


def write(parts: dict[str, ModuleType]) -> Path:
    """Draw the diagrams and write the page from what is kept of each part."""
    sections = {name: s for name in parts if (s := Section.load(name)) is not None}
    lines = ["# Benchmarks", _INTRODUCTION, _conditions(sections), "## Which solver when"]
    lines += [_which(sections), "## Bars", _bars(sections)]
    for name, section in sections.items():
        lines += _section(name, parts[name], section)
    lines += ["## How the rivals were set up", _tuning(), "## References", _references(parts)]
    page = DOCS / "benchmarks.md"
    page.write_text("\n\n".join(line for line in lines if line) + "\n", encoding="utf-8")
    return page


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(_shown(row[name]) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e3 <= abs(value) < 1e7 else f"{value:.3g}"
    return str(value).replace("|", "\\|")


def _conditions(sections: dict[str, Section]) -> str:
    stamps = [s.stamp for s in sections.values() if s.stamp]
    common = {repr({k: v for k, v in st.items() if k != "seconds"}): st for st in stamps}
    lines = []
    for key, st in common.items():
        names = [
            n for n, s in sections.items()
            if repr({k: v for k, v in s.stamp.items() if k != "seconds"}) == key
        ]  # fmt: skip
        versions = ", ".join(f"{name} {version}" for name, version in st["versions"].items())
        which = "" if len(common) == 1 else f" ({', '.join(names)})"
        lines.append(
            f"{st['date']}, {st['machine']}, Python {st['python']}, {versions}{which}; "
            f"{sum(sections[n].stamp['seconds'] for n in names) / 60:.0f} minutes in all."
        )
    missing = [f"{name} is not installed here and was left out." for name in MISSING]
    return "\n".join([*lines, *missing])


def _which(sections: dict[str, Section]) -> str:
    """Ours and the best peer on every task, at a coarse and at a fine error."""
    rows = []
    for section in sections.values():
        for task, title in section.titles.items():
            for error in (1e-3, 1e-6):
                ours = section.rivals(task, ours=True)
                fixed = [label for label in ours if label != AUTO]
                peers = section.rivals(task, ours=False)
                row: dict[str, Any] = {"problem": f"{task}: {title}", "error": f"{error:g}"}
                for name, group in (("auto", [AUTO]), ("ours, fixed", fixed), ("peer", peers)):
                    best = cheapest(section.points, task, group, error, "seconds")
                    label = "" if name == "auto" or best is None else f"{best[0]}: "
                    row[name] = f"{label}{best[1]:.3g} s" if best else "none reaches it"
                rows.append(row)
    return table(rows) if rows else ""


def _bars(sections: dict[str, Section]) -> str:
    rows = [_bar_row(bar) for section in sections.values() for bar in section.bars]
    return table(rows) if rows else ""


def _bar_row(bar: Bar) -> dict[str, Any]:
    said = {True: "yes", False: "**no**", None: "not measured"}[bar.holds]
    return {
        "problem": bar.problem,
        "ratio": bar.what,
        "asked": f"{'≥' if bar.at_least else '≤'} {bar.asked:g}",
        "measured": bar.measured,
        "holds": said,
        "": bar.note,
    }


def _section(name: str, part: ModuleType, section: Section) -> list[str]:
    _, *explained = (part.__doc__ or "").strip().split("\n\n")
    lead = (part.__doc__ or "").strip().split("\n\n")[0]
    lines = [f"## {part.TITLE}", lead, *explained]
    if section.points:
        file = DOCS / "figures" / f"{name}.png"
        figures.draw(section.points, section.titles, file)
        lines.append(f"![Work-precision diagrams: {part.TITLE}](figures/{file.name})")
    for caption, rows in section.tables:
        lines += [f"{caption}:" if caption else "", table(rows)]
    lines += section.notes
    failed = {}
    for p in section.points:
        if p.error is None:
            failed.setdefault((p.task, p.rival), (p.rtol, p.note))
    if failed:
        rows = [
            {"task": task, "rival": rival, "rtol": f"{rtol:g}", "no result": note[:160]}
            for (task, rival), (rtol, note) in failed.items()
        ]
        lines += ["Without a result:", table(rows)]
    if section.left_out:
        left = "; ".join(f"{label}: {why}" for label, why in section.left_out.items())
        lines.append(f"Left out: {left}.")
    return lines


def _tuning() -> str:
    return table([{"rival": rival.label, "set up as": rival.tuning} for rival in (*OURS, *PEERS)])


def _references(parts: dict[str, ModuleType]) -> str:

    rows = []
    for file in sorted(FOLDER.glob("*.npz")):
        with np.load(file) as kept:
            rows.append(
                {
                    "task": file.stem,
                    "made": str(kept["made"]),
                    "relative distance": float(kept["agreement"]),
                }
            )
    return table(rows) if rows else ""


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
