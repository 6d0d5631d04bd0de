"""From options to the jobs of the study, and from their values to its result."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from flowsim.problems import DeepLinear, LpLoss
from flowsim.problems.datasets import Dataset, gas_ethanol
from flowsim.studies.gas_ethanol import runs
from flowsim.studies.gas_ethanol.edge import Edge
from flowsim.studies.gas_ethanol.published import Published, load_published
from flowsim.studies.gas_ethanol.result import GasEthanol
from flowsim.studies.gas_ethanol.runs import Run, Task
from flowsim.studies.gas_ethanol.settings import (
    DESCENT_RATE,
    EDGE_DEPTH,
    EDGE_RATE,
    PUBLISHED_RATE,
    Settings,
    check_settings,
)
from flowsim.studies.jobs import Job, Progress, Silence, run_jobs
from flowsim.symbolic import EndToEnd, derive

#: Expected seconds, on two cores: of a gradient step, of a flow, by exponent.
_STEP_COST = {2: 8e-6, 4: 2.5e-4}
_FLOW_COST = {2: 5.0, 4: 8.0}
_COMPARE_COST = {2: 15.0, 4: 25.0}


def plan(
    *, p: str | None = None, depth: str | None = None, steps: int | None = None
) -> GasEthanolPlan:
    """Check the options, load the data and derive the laws.

    Parameters
    ----------
    p
        Exponents, parted by commas: ``"2"``, ``"4"`` or ``"2,4"``; None for both.
    depth
        Depths, parted by commas; None for 1, 2 and 3.
    steps
        Steps of every descent; None for 10⁶ with p = 2 and 20,000 with p = 4.

    Raises
    ------
    InputError
        If an option is wrong.
    DatasetError
        If a data file is missing or damaged.
    """
    settings = check_settings(p=p, depth=depth, steps=steps)
    laws = {
        N: derive(DeepLinear((128, *[1] * N)))
        for N in settings.depths
    }  # fmt: skip
    return GasEthanolPlan(settings, gas_ethanol(), load_published(), laws)


@dataclasses.dataclass(frozen=True, eq=False)
class GasEthanolPlan:
    """The study, ready to run.

    Attributes
    ----------
    settings
        The options.
    dataset, published
        The data and the published curves.
    laws
        The derived laws, by depth.
    """

    settings: Settings
    dataset: Dataset
    published: Published
    laws: dict[int, EndToEnd]

    def pages(self) -> Iterator[str]:
        """The laws derived, as plain text."""
        for law in self.laws.values():
            yield str(law)

    def jobs(self) -> list[Job]:
        """All that is to be computed, each on its own."""
        settings = self.settings
        tasks = {p: self._task(p) for p in settings.exponents}
        jobs = []
        for p, task in tasks.items():
            steps = settings.descent_steps(p)
            for N in settings.depths:
                jobs += self._depth_jobs(task, p, N, steps)
            jobs.append(self._comparison(task, p))
        if settings.edge:
            jobs += self._edge_jobs(tasks[2], settings.descent_steps(2))
        for baseline in settings.baselines:
            steps = settings.descent_steps(4)
            jobs.append(
                Job(
                    f"p4-depth{baseline.depth}-{baseline.name.lower()}",
                    f"p = 4, depth {baseline.depth}: {baseline.name}",
                    runs.optimizer_work(tasks[4], baseline, steps),
                    steps * _STEP_COST[4],
                )
            )
        return jobs

    def run(self, progress: Progress | None = None, *, workers: int = 2) -> GasEthanol:
        """Compute everything; what fails or is interrupted is noted, and the rest kept."""
        began = time.perf_counter()
        jobs = self.jobs()
        finished = run_jobs(jobs, progress or Silence(), workers=workers)
        titles = {job.key: job.title for job in jobs}
        values = dict(finished.values)
        edge = self._edge(values)
        return GasEthanol(
            settings=self.settings,
            laws=self.laws,
            runs=tuple(value for value in values.values() if isinstance(value, Run)),
            comparisons={
                key: value for key, value in values.items() if key.endswith("-comparison")
            },
            edge=edge,
            published=self.published,
            dataset=self.dataset,
            failures={titles[key]: text for key, text in finished.failures.items()},
            interrupted=finished.interrupted,
            seconds=time.perf_counter() - began,
        )

    def _task(self, p: int) -> Task:
        X, y = self.dataset.X, self.dataset.y
        loss = LpLoss(X, y, p=p, scale=1.0)
        return Task(p, loss, self.settings.start(X.shape[1]), self.laws, self.settings.rtol)

    def _depth_jobs(self, task: Task, p: int, N: int, steps: int) -> list[Job]:
        published, rate = PUBLISHED_RATE[p, N], DESCENT_RATE[p, N]
        also = steps * rate / published
        jobs = [
            Job(f"p{p}-depth{N}-flow", f"p = {p}, depth {N}: flow",
                runs.flow_work(task, N, published, also), _FLOW_COST[p]),
            Job(f"p{p}-depth{N}-descent", f"p = {p}, depth {N}: descent",
                runs.descent_work(task, N, rate, steps), steps * _STEP_COST[p]),
        ]  # fmt: skip
        if rate != published and N == 1:
            # It leaves the range of numbers within a few steps; that is what it is run to show.
            title = f"p = {p}, depth {N}: descent at the published step"
            work = runs.descent_work(task, N, published, min(steps, 2000), probe=True)
            jobs.append(Job(f"p{p}-depth{N}-probe", title, work, 1.0))
        return jobs

    def _comparison(self, task: Task, p: int) -> Job:
        N = 2 if 2 in self.settings.depths else max(self.settings.depths)
        title = f"p = {p}, depth {N}: gap against its prediction"
        work = runs.comparison_work(task, N, self.settings.steps)
        return Job(f"p{p}-depth{N}-comparison", title, work, _COMPARE_COST[p])

    def _edge_jobs(self, task: Task, steps: int) -> list[Job]:
        cost = steps * _STEP_COST[2]
        head = f"p = 2, depth {EDGE_DEPTH}, edge of stability"
        return [
            Job("edge-layerwise", f"{head}: layers",
                runs.edge_work(task, EDGE_DEPTH, EDGE_RATE, steps), cost + 30.0),
            Job("edge-emulated", f"{head}: rule on the product",
                runs.emulated_work(task, EDGE_DEPTH, EDGE_RATE, steps), cost),
        ]  # fmt: skip

    def _edge(self, values: dict[str, Any]) -> Edge | None:
        """The edge of stability, where both of its runs are there."""
        layerwise, emulated = values.pop("edge-layerwise", None), values.get("edge-emulated")
        if layerwise is None or emulated is None:
            return None
        X = self.dataset.X
        curvature = float(np.linalg.eigvalsh(2 * X.T @ X / len(X))[-1])
        return Edge(layerwise, emulated.trajectory, EDGE_RATE, curvature, EDGE_DEPTH)
