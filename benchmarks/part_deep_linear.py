"""(c) Deep linear networks from balanced starts, half the squared distance from a random target.

W(0) is Gaussian, cut to its rank and scaled to its spectral norm; the target is Gaussian of
spectral norm 2; the error is that of the end-to-end matrix at the final time. The diffrax rivals
are what one would write by hand for it: one tight `diffeqsolve` on the factors, or on the spectral
law with one singular value decomposition an evaluation. From a rank-deficient start the spectral
law grows a rank that the flow does not have, so that its error stays large at every tolerance.
"""

from __future__ import annotations

import dataclasses

import diffrax
import numpy as np

from benchmarks import right_hand_sides
from benchmarks.measure import cheapest, cost_at, of
from benchmarks.ours import AUTO, OURS
from benchmarks.peers import diffrax_rival, explicit_controller, peers
from benchmarks.problems import DEEP_LINEAR, MORE_DEEP_LINEAR, Task, deep_linear
from benchmarks.references import Reference, certified, pair
from benchmarks.rivals import Rival
from benchmarks.section import Bar, Section
from flowsim.theory.gram_flow import two_layer_gram

TITLE = "Deep linear networks"
_RTOLS = (1e-3, 1e-4, 1e-6, 1e-8)
_ERROR = 1e-6
_BY_HAND = ("diffrax Tsit5", "diffrax Dopri8")
_OTHERS = (
    "SciPy RK45", "SciPy DOP853", "SciPy LSODA", "SciPy BDF", "torchdiffeq dopri5",
    "torchdiffeq dopri8", "CVODE BDF Krylov", "heyoka Taylor",
)  # fmt: skip


def _spectral(name: str, solver: diffrax.AbstractSolver) -> Rival:
    """A hand-written solve of the spectral law."""
    base = diffrax_rival(f"{name} spectral", solver, explicit_controller, "the spectral law")

    def prepare(task: Task, rtol: float, seconds: float):
        law = dataclasses.replace(
            task,
            velocity=right_hand_sides.spectral(task.depth, task.width),
            y0=np.ravel(task.start),
            depth=None,
        )
        return base.prepare(law, rtol, seconds)

    return dataclasses.replace(base, prepare=prepare)


_SPECTRAL = [_spectral("Tsit5", diffrax.Tsit5()), _spectral("Dopri8", diffrax.Dopri8())]


def measure(everything: bool = False) -> Section:
    """Work and precision on a selection of sizes, depths, scales and ranks."""
    section = Section()
    rivals = [*OURS, *_SPECTRAL, *peers(*_BY_HAND, *_OTHERS)]
    for case in [*DEEP_LINEAR, *(MORE_DEEP_LINEAR if everything else [])]:
        d, depth, _, rank, _ = case
        task = deep_linear(*case)
        section.compete(task, rivals, rtols=_RTOLS, seconds=3.0)
        points, name = section.points, task.name
        hand = [*_BY_HAND, *(rival.label for rival in _SPECTRAL)]
        auto = cost_at(of(points, name, AUTO), _ERROR, "seconds")
        best = cheapest(points, name, hand, _ERROR, "seconds")
        section.bars.append(
            Bar(
                f"(c) {task.title}",
                f"seconds of auto over the best hand-written diffrax solve's at error {_ERROR:g}",
                1.1,
                False,
                None if auto is None or best is None else auto / best[1],
                f"best: {best[0]}" if best else "",
            )
        )
        if d >= 64 and depth <= 3 and rank == d:
            section.bar_fewer(f"(c) {task.title}", name, _SPECTRAL[0].label, _ERROR, 5.0, "seconds")
        if rank < d:
            errors = {
                label: min((p.error for p in of(points, name, label) if p.error), default=None)
                for label in (AUTO, *(rival.label for rival in _SPECTRAL))
            }
            section.bars.append(
                Bar(
                    f"(c) {task.title}",
                    "smallest error of auto from a rank-deficient start",
                    _ERROR,
                    False,
                    errors[AUTO],
                    "; ".join(f"{k}: {v:.1e}" for k, v in errors.items() if v and k != AUTO),
                )
            )
    section.notes.append(
        f"{len(DEEP_LINEAR)} of the {len(DEEP_LINEAR) + len(MORE_DEEP_LINEAR)} combinations; "
        "`--all` measures them all."
    )
    return section


def references() -> dict:
    """The tasks and how their references are made."""

    def make(task: Task) -> Reference:
        if task.depth == 2:
            return _closed_form(task)
        return pair(task, ("SciPy DOP853", 1e-13), ("diffrax Dopri8", 1e-13))

    return {deep_linear(*case): make for case in DEEP_LINEAR}


def _closed_form(task: Task) -> Reference:
    """Two layers: the matrix Riccati solution in 80-bit arithmetic, against a numerical one."""
    d = task.width
    W1, W2 = (task.y0[j * d * d : (j + 1) * d * d].reshape(d, d) for j in range(2))
    (gram,) = two_layer_gram([task.t1], W1=W1, W2=W2, target=task.data["target"])
    exact = np.ravel(gram[d:, :d])
    (other,) = peers("SciPy DOP853")
    value = other.prepare(task, 1e-13, 1e5)(task.end).value
    made = "closed form (matrix Riccati, 80-bit), against SciPy DOP853 at rtol 1e-13"
    return certified(exact, value, made)
