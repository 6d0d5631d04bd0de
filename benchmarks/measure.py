"""Measuring one thing against another in one run.

Absolute times mean nothing on shared machines, so rivals are timed in turn, several rounds of them,
and what is reported is the ratio of their medians.
"""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
import warnings
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from benchmarks.problems import Task
from benchmarks.references import Reference
from benchmarks.rivals import Answer, Rival

T = TypeVar("T")

_ROUNDS = 3
_NO_RESULT = 10.0  # a relative error that is no answer
_WORTH_REPEATING = 1.5  # seconds: what takes longer is timed once


@dataclasses.dataclass(frozen=True)
class Point:
    """One run: asked for a tolerance, its true error, seconds and gradients; None where it failed.

    ``note`` says why it failed, or what was chosen.
    """

    task: str
    rival: str
    rtol: float
    error: float | None
    seconds: float | None
    gradients: float | None
    note: str = ""


def ratio_of_medians(
    ours: Callable[[], object], theirs: Callable[[], object], *, rounds: int = 7
) -> tuple[float, float, float]:
    """Seconds of ours, seconds of theirs, and ours over theirs, after one round to warm up.

    Each call must finish its work before it returns.
    """
    ours(), theirs()
    mine, others = medians([ours, theirs], rounds)
    return mine, others, mine / others


def medians(runs: Sequence[Callable[[], object]], rounds: int = _ROUNDS) -> list[float]:
    """Median seconds of each run, taken in turn."""
    seconds: list[list[float]] = [[] for _ in runs]
    for _ in range(rounds):
        for kept, run in zip(seconds, runs, strict=True):
            kept.append(timed(run)[0])
    return [statistics.median(kept) for kept in seconds]


def timed(run: Callable[[], T]) -> tuple[float, T]:
    """Seconds that a run took, and what it returned."""
    began = time.perf_counter()
    answer = run()
    return time.perf_counter() - began, answer


def work_precision(
    task: Task,
    rivals: Sequence[Rival],
    reference: Reference,
    *,
    rtols: Sequence[float],
    seconds: float,
) -> tuple[list[Point], dict[str, str]]:
    """Each rival's cost and true error at each tolerance, and the rivals left out, with reasons.

    The tolerances go from coarse to fine; a rival that takes longer than ``seconds`` at one of them
    is asked for no finer one. Runs that are short enough are repeated, all rivals in turn.
    """
    left_out = {rival.label: why for rival in rivals if (why := rival.unsuited(task))}
    measured: list[tuple[Point, Callable[[], Answer]]] = []
    for rival in rivals:
        if rival.label in left_out:
            continue
        for rtol in rtols:
            coarsest, finest = rival.rtols
            if not finest <= rtol <= coarsest:
                continue
            point, run = _first(task, rival, rtol, seconds, reference)
            measured.append((point, run))
            print("  ", line(point), flush=True)
            too_long = point.seconds is not None and point.seconds > seconds
            if too_long or "given up" in point.note:
                break
    short = [
        i for i, (point, _) in enumerate(measured)
        if point.error is not None and (point.seconds or math.inf) < _WORTH_REPEATING
    ]  # fmt: skip
    points = [point for point, _ in measured]
    for i, median in zip(short, medians([measured[i][1] for i in short]), strict=True):
        points[i] = dataclasses.replace(points[i], seconds=median)
    return points, left_out


def _first(
    task: Task, rival: Rival, rtol: float, seconds: float, reference: Reference
) -> tuple[Point, Callable[[], Answer]]:
    run = rival.prepare(task, rtol, 1.5 * seconds)

    def whole() -> Answer:
        return run(task.end)

    took, answer = math.inf, Answer(None, None)
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # solvers narrate; what they deliver is measured
        try:
            if rival.compiles:
                run(1e-6 * task.end)
            took, answer = timed(whole)
            if rival.compiles and rival.family == "flowsim" and took < seconds:
                took, answer = timed(whole)  # what a change of solver compiled is not timed
        except Exception as error:  # a rival that raises has no result, and the page says why
            answer = Answer(None, None, f"{type(error).__name__}: {error}")
    error = None if answer.value is None else reference.error(answer.value)
    note = answer.note
    if error is not None and not error < _NO_RESULT:
        error, note = None, f"relative error {error:.1e}"
    gradients = answer.gradients() if callable(answer.gradients) else answer.gradients
    took = took if error is not None else None
    return Point(task.name, rival.label, rtol, error, took, gradients, note), whole


def line(point: Point) -> str:
    """A point in a line for the terminal."""
    if point.error is None:
        return f"{point.rival:24s} rtol {point.rtol:.0e}  no result: {point.note}"
    gradients = "-" if point.gradients is None else f"{point.gradients:,.0f}"
    return (
        f"{point.rival:24s} rtol {point.rtol:.0e}  error {point.error:.2e}  "
        f"{point.seconds:8.3g} s  {gradients} gradients"
    )


def cost_at(points: Sequence[Point], error: float, cost: str) -> float | None:
    """What an error costs, in ``"seconds"`` or ``"gradients"``: log-log between the points.

    Of the points only those count that nothing cheaper beats in accuracy. Where the coarsest of
    them is more accurate than asked, it is what the error costs; where the finest is less
    accurate, the answer is None.
    """
    found = [
        (p.error, getattr(p, cost))
        for p in points
        if p.error is not None and p.error > 0 and getattr(p, cost)
    ]
    front: list[tuple[float, float]] = []
    for err, value in sorted(found, key=lambda pair: (pair[1], pair[0])):
        if not front or err < front[-1][0]:
            front.append((err, value))
    if not front or front[-1][0] > error:
        return None
    if front[0][0] <= error:
        return front[0][1]
    errors, costs = np.log(front).T
    return float(np.exp(np.interp(-math.log(error), -errors, costs)))


def cheapest(
    points: Sequence[Point], task: str, rivals: Sequence[str], error: float, cost: str
) -> tuple[str, float] | None:
    """The rival to whom an error costs least, and that cost; None where none reaches it."""
    costs = {
        rival: value
        for rival in rivals
        if (value := cost_at(of(points, task, rival), error, cost)) is not None
    }
    if not costs:
        return None
    best = min(costs, key=lambda rival: costs[rival])
    return best, costs[best]


def of(points: Sequence[Point], task: str, rival: str) -> list[Point]:
    """One rival's points on one task."""
    return [p for p in points if p.task == task and p.rival == rival]
