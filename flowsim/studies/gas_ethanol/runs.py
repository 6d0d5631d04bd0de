"""What one job computes: a flow, a descent, an optimizer, a comparison."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from flowsim._types import FloatArray
from flowsim.comparison import Comparison, compare
from flowsim.descent import descend
from flowsim.integration import integrate
from flowsim.problems import DeepLinear, LpLoss, Problem
from flowsim.studies.gas_ethanol.settings import (
    OPTIMUM,
    Baseline,
    flow_iterations,
    recorded_iterations,
)
from flowsim.studies.jobs import Report
from flowsim.symbolic import EndToEnd
from flowsim.trajectory import Trajectory

#: Step sizes and steps of the runs that test the prediction of the gap:
#: small enough that η λ_max stays below 0.1, long enough that the curvature changes on the way.
COMPARED = {2: (5e-4, 60_000), 4: (5e-5, 20_000)}
#: Records of the comparisons, even in the logarithm and even; each makes the integrators halt.
_COMPARED_RECORDS = (16, 10)
_EDGE_RECORDS = (14, 31)


@dataclasses.dataclass(frozen=True, eq=False)
class Task:
    """One exponent: the loss, the start, the laws."""

    p: int
    loss: LpLoss
    start: FloatArray
    laws: dict[int, EndToEnd]
    rtol: float

    def net(self, depth: int) -> DeepLinear:
        """The network of one hidden unit a layer."""
        return DeepLinear((self.start.size, *[1] * depth))


@dataclasses.dataclass(frozen=True, eq=False)
class Run:
    """A run of the study.

    Attributes
    ----------
    key
        Its name in files, such as ``"p4-depth2-flow"``.
    rule
        ``"gradient flow"``, ``"gradient descent"``, ``"rule on the product"`` or an optimizer.
    p, depth
        The exponent and the depth.
    learning_rate
        The step size; for a flow the one that turns time into iterations.
    trajectory
        What was recorded.
    probe
        Whether it is run to show that it leaves the range of numbers.
    """

    key: str
    rule: str
    p: int
    depth: int
    learning_rate: float
    trajectory: Trajectory
    probe: bool = False

    @property
    def title(self) -> str:
        """What it is, for the reader."""
        return f"p = {self.p}, depth {self.depth}: {self.rule}, η = {self.learning_rate:g}"

    @property
    def iterations(self) -> FloatArray:
        """Iterations recorded; of a flow t/η, shape (T,)."""
        counted = self.trajectory.stats.get("iterations")
        return self.trajectory.ts / self.learning_rate if counted is None else counted.astype(float)

    @property
    def excess(self) -> FloatArray:
        """Loss − optimum, shape (T,)."""
        return self.trajectory.loss - OPTIMUM[self.p]

    def at(self, iteration: float) -> float:
        """Loss − optimum at a recorded iteration; NaN where none was recorded."""
        found = np.flatnonzero(np.isclose(self.iterations, iteration, rtol=1e-9, atol=1e-6))
        return float(self.excess[found[0]]) if found.size else float("nan")


def flow_work(task: Task, depth: int, rate: float, also: float) -> Callable[[Report], Run]:
    """The flow of the derived law to the time of the published curves."""
    iterations = flow_iterations(also)

    def work(report: Report) -> Run:
        ts = rate * iterations
        t1 = float(ts[-1])
        trajectory = integrate(
            task.laws[depth].lower(task.loss),
            task.start,
            t1,
            ts=ts,
            rtol=task.rtol,
            throw=False,
            # Steps grow with time: the logarithm is nearer to the work done than the time is.
            progress=lambda t: report(float(np.log1p(1e4 * t / t1) / np.log1p(1e4))),
        )
        return Run(f"p{task.p}-depth{depth}-flow", "gradient flow", task.p, depth, rate, trajectory)

    return work


def descent_work(
    task: Task, depth: int, rate: float, steps: int, *, probe: bool = False
) -> Callable[[Report], Run]:
    """Gradient descent on the factors."""

    def work(report: Report) -> Run:
        net = task.net(depth)
        trajectory = descend(
            Problem(task.loss, net),
            net.balanced(task.start),
            learning_rate=rate,
            steps=steps,
            record=recorded_iterations(steps),
            throw=False,
            progress=lambda k: report(k / steps),
        )
        kind = "probe" if probe else "descent"
        key = f"p{task.p}-depth{depth}-{kind}"
        return Run(key, "gradient descent", task.p, depth, rate, trajectory, probe)

    return work


def optimizer_work(task: Task, baseline: Baseline, steps: int) -> Callable[[Report], Run]:
    """An adaptive optimizer on the factors."""

    def work(report: Report) -> Run:
        import optax

        make = {"AdaGrad": optax.adagrad, "AdaDelta": optax.adadelta, "Adam": optax.adam}
        net = task.net(baseline.depth)
        trajectory = descend(
            Problem(task.loss, net),
            net.balanced(task.start),
            steps=steps,
            optimizer=make[baseline.name](**baseline.parameters),
            record=recorded_iterations(steps),
            throw=False,
            progress=lambda k: report(k / steps),
        )
        key = f"p{task.p}-depth{baseline.depth}-{baseline.name.lower()}"
        rate = baseline.parameters["learning_rate"]
        return Run(key, baseline.name, task.p, baseline.depth, rate, trajectory)

    return work


def emulated_work(task: Task, depth: int, rate: float, steps: int) -> Callable[[Report], Run]:
    """Descent on the end-to-end law itself, the product in place of the layers."""

    def work(report: Report) -> Run:
        trajectory = descend(
            task.laws[depth].lower(task.loss, strategy="spectral"),
            task.start,
            learning_rate=rate,
            steps=steps,
            record=recorded_iterations(steps),
            throw=False,
            progress=lambda k: report(k / steps),
        )
        return Run("edge-emulated", "rule on the product", task.p, depth, rate, trajectory)

    return work


def comparison_work(task: Task, depth: int, steps: int | None) -> Callable[[Report], Comparison]:
    """Descent beside its flow at a step size small enough for the prediction to mean something."""
    rate, most = COMPARED[task.p]
    return _compared(task, depth, rate, most if steps is None else min(steps, most),
                     _COMPARED_RECORDS)  # fmt: skip


def edge_work(task: Task, depth: int, rate: float, steps: int) -> Callable[[Report], Comparison]:
    """Descent beside its flow at a step size at which it leaves the flow."""
    return _compared(task, depth, rate, steps, _EDGE_RECORDS)


def _compared(
    task: Task, depth: int, rate: float, steps: int, records: tuple[int, int]
) -> Callable[[Report], Comparison]:
    spaced = np.geomspace(1, steps, records[0]), np.linspace(0, steps, records[1])
    record = np.unique(np.concatenate(spaced).round().astype(np.int64))

    def work(report: Report) -> Comparison:
        net = task.net(depth)
        stages = iter(np.linspace(0.05, 0.85, 5))
        return compare(
            Problem(task.loss, net),
            net.balanced(task.start),
            learning_rate=rate,
            steps=steps,
            record=record,
            rtol=task.rtol,
            progress=lambda _: report(float(next(stages, 0.9))),
        )

    return work
