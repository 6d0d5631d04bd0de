"""(a) A tanh network, 64-32-10, squared loss on 500 digits.

2,410 parameters with biases; pixels divided by 16, mean over examples of half the squared distance
from the one-hot label, Gaussian weights of variance 1/inputs, biases 0. The flow is mildly stiff:
explicit pairs are held by stability, so that their cost does not depend on the tolerance, and at
t = 1e4 diffrax's Tsit5 is measured at one tolerance only. Peers that gave up at t = 100 or 1000 are
not asked to go further. The error is that of the parameters at the final time.
"""

from __future__ import annotations

from benchmarks.ours import AUTO, OURS
from benchmarks.peers import PEERS, peers
from benchmarks.problems import network
from benchmarks.references import Reference, pair
from benchmarks.section import Section

TITLE = "A tanh network on digits"
_TSIT5 = "diffrax Tsit5"


def measure(everything: bool = False) -> Section:
    """Work and precision to t = 100, 1,000 and 10,000."""
    section = Section()
    section.compete(network(1e2), [*OURS, *PEERS], rtols=(1e-2, 1e-4, 1e-6, 1e-8), seconds=3.0)
    some = peers(_TSIT5, "SciPy RK45", "SciPy BDF", "CVODE BDF dense", "CVODE BDF Krylov")
    section.compete(network(1e3), [*OURS, *some], rtols=(1e-2, 1e-3, 1e-4, 1e-6), seconds=6.0)
    rtols = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)
    last = network(1e4)
    section.compete(last, [*OURS, *peers("CVODE BDF Krylov")], rtols=rtols, seconds=15.0)
    section.compete(last, peers(_TSIT5), rtols=(1e-3,), seconds=300.0)
    for error, asked in ((2e-3, 30.0), (1e-5, 10.0)):
        section.bar_fewer("(a) t = 1e4", last.name, _TSIT5, error, asked, "gradients")
        section.bar_fewer("(a) t = 1e4", last.name, _TSIT5, error, asked / 2, "seconds")
    for task in ("network-1e+03", "network-1e+04"):
        section.bar_best(f"(a) {task[8:]}", task, 1e-4)
    section.notes.append(f"The bars compare {AUTO} with {_TSIT5}.")
    return section


def references() -> dict:
    """The tasks and how their references are made."""

    def make(task) -> Reference:
        return pair(task, ("SciPy DOP853", 1e-12), ("diffrax Dopri8", 1e-12))

    return {network(t1): make for t1 in (1e2, 1e3, 1e4)}
