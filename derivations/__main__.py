"""Print the state of the proof book: every theorem, its source, its proof, and the verdict."""

from __future__ import annotations

import importlib
import sys
import time
from pathlib import PurePosixPath

from flowsim._errors import FlowsimError
from flowsim.theory import THEOREMS, Theorem


def verdict(theorem: Theorem) -> str | None:
    """Run the proof of a theorem; return None if it holds, else what went wrong."""
    module = importlib.import_module(f"derivations.{PurePosixPath(theorem.proof).stem}")
    try:
        module.prove(theorem)
    except FlowsimError as error:
        return str(error)
    return None


def main() -> int:
    """Print the table; return 1 if a theorem is not proved."""
    failures = 0
    for theorem in THEOREMS:
        start = time.perf_counter()
        trouble = verdict(theorem)
        seconds = time.perf_counter() - start
        failures += trouble is not None
        print(f"{theorem.name}: {'proved' if trouble is None else 'NOT PROVED'} ({seconds:.2f} s)")
        print(f"    {theorem.title}")
        print(f"    {theorem.citation}; proof: {theorem.proof}")
        if trouble is not None:
            print(f"    {trouble}")
    print(f"{len(THEOREMS) - failures} of {len(THEOREMS)} theorems proved")
    return int(failures > 0)


if __name__ == "__main__":
    sys.exit(main())
