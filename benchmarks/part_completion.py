"""(d) Completion of a 100 x 100 matrix of rank 5 from 2,000 entries, depth 3.

30,000 parameters, balanced start of spectral norm 1e-3; the loss is half the mean square of the
errors at the observed entries, and the error that of the product at the final time. The states are
too large for dense Jacobians.
"""

from __future__ import annotations

from benchmarks.ours import OURS
from benchmarks.peers import peers
from benchmarks.problems import completion
from benchmarks.references import Reference, pair
from benchmarks.section import Section

TITLE = "Matrix completion"
_PEERS = (
    "SciPy RK45", "SciPy DOP853", "diffrax Tsit5", "diffrax Dopri8", "torchdiffeq dopri5",
    "torchdiffeq dopri8", "CVODE BDF Krylov",
)  # fmt: skip


def measure(everything: bool = False) -> Section:
    """Work and precision at the final time."""
    section, task = Section(), completion()
    section.compete(
        task, [*OURS, *peers(*_PEERS)], rtols=(1e-2, 1e-3, 1e-4, 1e-6, 1e-8), seconds=6.0
    )
    for error in (1e-3, 1e-5):
        section.bar_best("(d)", task.name, error)
    return section


def references() -> dict:
    """The task and how its reference is made."""

    def make(task) -> Reference:
        return pair(task, ("SciPy DOP853", 1e-12), ("diffrax Dopri8", 1e-12))

    return {completion(): make}
