"""(g) A network of 995,250 parameters, 64-980-940-10 tanh, on 100 digits, to t = 100.

Loss and start as in (a). Peak memory is the peak of the resident set of a process of its own while
it integrates, over what it held just before (data, state, compiled programs), in copies of the
state of 7.96 MB. A peer that has used up its seconds is given up, and its time is then a lower
bound.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import subprocess
import sys
from pathlib import Path

import flowsim as fs
from benchmarks.ours import AUTO, OURS
from benchmarks.peers import PEERS, peers
from benchmarks.problems import large_network
from benchmarks.references import Reference, pair
from benchmarks.section import Bar, Section

TITLE = "A network of a million parameters"
_PEERS = ("diffrax Tsit5", "CVODE BDF Krylov")
_MOST_COPIES = 30.0


def measure(everything: bool = False) -> Section:
    """Work and precision, and peak memory."""
    section, task = Section(), large_network()
    section.compete(task, OURS, rtols=(1e-2, 1e-4), seconds=40.0)
    section.compete(task, peers(*_PEERS), rtols=(1e-3,), seconds=40.0)
    for error in (1e-2, 1e-3):
        section.bar_best("(g)", task.name, error)
    rows = []
    for rival in [r for r in OURS if not r.unsuited(task)]:
        base, peak = peak_memory(rival.label)
        copies = (peak - base) / (8 * task.size)
        rows.append({"solver": rival.label, "held MB": base / 1e6, "peak in state copies": copies})
        if rival.label == AUTO:
            what = "state copies held at the peak of auto, beyond the data"
            section.bars.append(Bar("(g)", what, _MOST_COPIES, False, copies))
    section.tables.append(("Peak memory", rows))
    return section


def references() -> dict:
    """The task and how its reference is made."""

    def make(task) -> Reference:
        return pair(task, ("diffrax Dopri8", 1e-9), ("SciPy DOP853", 1e-9))

    return {large_network(): make}


def peak_memory(label: str) -> tuple[int, int]:
    """Bytes held before a run and at its peak, measured in a process of its own."""
    command = [sys.executable, str(Path(__file__).parent), "--memory", label]
    # Freed blocks of a state's size must go back to the system at once to be seen.
    done = subprocess.run(
        command, check=True, capture_output=True, text=True,
        env={**os.environ, "MALLOC_MMAP_THRESHOLD_": "1000000"},
    )  # fmt: skip
    return tuple(json.loads(done.stdout.splitlines()[-1]))


def report_memory(label: str) -> None:
    """What the process of :func:`peak_memory` does."""
    (rival,) = [rival for rival in (*OURS, *PEERS) if rival.label == label]
    task = large_network()
    with fs.float64():
        run = rival.prepare(task, 1e-3, 1e3)
        short = 0.02 * task.end
        run(short)  # compiles
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        base = _status("VmRSS")
        run(short)
        print(json.dumps([base, _status("VmHWM")]))


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise OSError(f"/proc/self/status has no {name}")
