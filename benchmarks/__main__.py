"""Run every benchmark and write docs/benchmarks.md: ``python benchmarks`` from the checkout.

Figures are ratios within one run; seconds are given for orientation only.
"""

from __future__ import annotations

import importlib.metadata
import os
import platform
from datetime import UTC, datetime
from pathlib import Path

import descent
import fields
import overhead
import stiff

_TITLES = {
    fields: "A factor field against a spectral one",
    overhead: "integrate against a hand-written diffeqsolve",
    stiff: "Solvers on the gas-ethanol flow",
    descent: "descend against a NumPy loop",
}


def table(rows: list[dict[str, object]]) -> str:
    """Rows as a Markdown table."""
    names = list(rows[0])
    lines = [" | ".join(names), " | ".join("---" for _ in names)]
    lines += [" | ".join(_shown(row[name]) for name in names) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _shown(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def main() -> None:
    """Measure and write the page."""
    packages = ("flowsim", "jax", "diffrax", "numpy", "scipy")
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    parts = [
        "# Benchmarks",
        "Written by `python benchmarks`; do not edit by hand. Compare ratios, which were measured "
        "in one run; seconds depend on the machine and on its other work.",
        f"{datetime.now(UTC):%Y-%m-%d}, {os.cpu_count()} cores, {platform.machine()}, Python "
        f"{platform.python_version()}, {versions}.",
    ]
    for module, title in _TITLES.items():
        print(f"== {title}", flush=True)
        rows = module.measure()
        print(table(rows), flush=True)
        _, *explained = (module.__doc__ or "").strip().split("\n\n")  # the title says the first
        parts += [f"## {title}", *explained, table(rows)]
    page = Path(__file__).parents[1] / "docs" / "benchmarks.md"
    page.parent.mkdir(exist_ok=True)
    page.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    print(f"written to {page}")


if __name__ == "__main__":
    main()
