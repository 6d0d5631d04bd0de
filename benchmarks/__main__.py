"""Run the benchmarks and write docs/benchmarks.md: ``python benchmarks [PART ...]``.

Without names every part is measured, each in a process of its own, in at most twenty minutes on two
cores; with names only those are measured anew and the page keeps the rest. ``--all`` adds the
problems that do not fit into that time, ``--page`` only writes the page, ``--references`` makes
the reference states that are missing, which can take hours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # the package is beside this file's folder

import flowsim as fs
from benchmarks import (
    page,
    part_batches,
    part_completion,
    part_deep_linear,
    part_descent,
    part_fields,
    part_gas_ethanol,
    part_large,
    part_logistic,
    part_network,
    part_overhead,
)
from benchmarks.references import make

PARTS = {
    "network": part_network,
    "gas-ethanol": part_gas_ethanol,
    "deep-linear": part_deep_linear,
    "completion": part_completion,
    "batches": part_batches,
    "logistic": part_logistic,
    "large": part_large,
    "overhead": part_overhead,
    "fields": part_fields,
    "descent": part_descent,
}


def main() -> None:
    """Measure what was asked for and write the page."""
    parser = argparse.ArgumentParser(prog="python benchmarks", description=__doc__)
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--all", action="store_true", help="also what takes longer")
    parser.add_argument("--page", action="store_true", help="write the page, measure nothing")
    parser.add_argument("--references", action="store_true", help="make missing references")
    parser.add_argument("--memory", metavar="RIVAL", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if unknown := set(asked.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; there are {list(PARTS)}")
    if asked.memory:
        part_large.report_memory(asked.memory)
        return
    names = asked.parts or list(PARTS)
    if asked.references:
        references(names)
        return
    if not asked.page:
        for name in names:
            if len(names) == 1:
                measure(name, everything=asked.all)
            else:
                command = [sys.executable, str(Path(__file__).parent), name]
                subprocess.run([*command, *(["--all"] if asked.all else [])], check=True)
    print(f"written to {page.write(PARTS)}")


def measure(name: str, *, everything: bool) -> None:
    """Measure one part and keep its results."""
    print(f"== {PARTS[name].TITLE}", flush=True)
    began = time.perf_counter()
    with fs.float64():
        section = PARTS[name].measure(everything)
    section.stamp = page.stamp(time.perf_counter() - began)
    section.save(name)


def references(names: list[str]) -> None:
    """Make the references that are missing and say how well each is certified."""
    with fs.float64():
        for name in names:
            if hasattr(PARTS[name], "references"):
                for task, maker in PARTS[name].references().items():
                    reference = make(task, maker)
                    print(f"{task.name}: {reference.agreement:.1e}  {reference.made}", flush=True)


if __name__ == "__main__":
    main()
