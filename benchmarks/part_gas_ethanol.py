"""(b) The gas-ethanol regression, p = 4, depths 2 and 3, to the time of 10^6 iterations.

One output, 128 inputs, balanced start of norm 0.01; gradient descent takes a gradient an iteration.
The error is that of the end-to-end vector at the final time. The implicit solvers have exact
Jacobians.
"""

from __future__ import annotations

from benchmarks.measure import cost_at, of
from benchmarks.ours import AUTO, OURS
from benchmarks.peers import peers
from benchmarks.problems import gas_ethanol
from benchmarks.references import Reference, pair
from benchmarks.section import Bar, Section

TITLE = "Gas-ethanol regression"
_RTOLS = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
_STIFF = (
    "SciPy LSODA", "SciPy Radau", "SciPy BDF", "diffrax Kvaerno5", "CVODE BDF dense",
    "CVODE BDF Krylov",
)  # fmt: skip
_EXPLICIT = ("SciPy RK45", "SciPy DOP853", "diffrax Tsit5", "diffrax Dopri8", "torchdiffeq dopri5")


def measure(everything: bool = False) -> Section:
    """Work and precision at depths 2 and 3."""
    section = Section()
    for depth in (2, 3):
        task = gas_ethanol(depth)
        section.compete(task, [*OURS, *peers(*_STIFF)], rtols=_RTOLS, seconds=5.0)
        if everything or depth == 3:
            section.compete(task, peers(*_EXPLICIT), rtols=(1e-4,), seconds=5.0)
        auto = cost_at(of(section.points, task.name, AUTO), 1e-4, "gradients")
        section.bars.append(
            Bar(
                f"(b) depth {depth}",
                "10^6 descent steps over auto's gradients at error 1e-4",
                50.0,
                True,
                None if auto is None else 1e6 / auto,
            )
        )
        section.bar_best(f"(b) depth {depth}", task.name, 1e-6)
    return section


def references() -> dict:
    """The tasks and how their references are made."""

    def make(task) -> Reference:
        return pair(task, ("SciPy Radau", 1e-12), ("flowsim extrapolation", 1e-12))

    return {gas_ethanol(depth): make for depth in (2, 3)}
