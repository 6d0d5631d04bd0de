"""(f) Logistic regression on separable data, to t = e^50.

40 points in five dimensions. On flow time every step is followed by one a little longer than
itself; the peers are therefore given the right-hand side on log(1 + t), rewritten by hand, and
flowsim the flow as it stands, with and without its logarithmic clock.
"""

from __future__ import annotations

from benchmarks.ours import OURS
from benchmarks.peers import peers
from benchmarks.problems import logistic
from benchmarks.references import Reference, pair
from benchmarks.section import Section

TITLE = "Logistic regression on separable data"
_PEERS = (
    "SciPy RK45", "SciPy DOP853", "SciPy LSODA", "SciPy Radau", "SciPy BDF", "diffrax Tsit5",
    "diffrax Dopri8", "diffrax Kvaerno5", "torchdiffeq dopri5", "torchdiffeq dopri8",
    "CVODE BDF dense",
)  # fmt: skip


def measure(everything: bool = False) -> Section:
    """Work and precision at the final time."""
    section, task = Section(), logistic()
    section.compete(
        task, [*OURS, *peers(*_PEERS)], rtols=(1e-2, 1e-4, 1e-6, 1e-8, 1e-9), seconds=3.0
    )
    for error in (1e-4, 1e-7):
        section.bar_best("(f)", task.name, error)
    return section


def references() -> dict:
    """The task and how its reference is made."""

    def make(task) -> Reference:
        return pair(task, ("SciPy DOP853", 1e-13), ("diffrax Dopri8", 1e-13))

    return {logistic(): make}
