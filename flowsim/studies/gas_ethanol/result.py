"""The result of the study: every run, and what follows from them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from flowsim.comparison import Comparison
from flowsim.problems.datasets import Dataset
from flowsim.studies.gas_ethanol.edge import Edge
from flowsim.studies.gas_ethanol.published import Published
from flowsim.studies.gas_ethanol.runs import Run
from flowsim.studies.gas_ethanol.settings import Settings
from flowsim.symbolic import EndToEnd

if TYPE_CHECKING:
    import xarray as xr

    from flowsim.reporting import Table


@dataclasses.dataclass(frozen=True, eq=False)
class GasEthanol:
    """What was computed.

    Attributes
    ----------
    settings, laws, dataset, published
        What it set out from.
    runs
        Flows, descents and optimizers that are there, whole or in part.
    comparisons
        Descents beside their flows, by name, at step sizes where the gap can be predicted.
    edge
        The run at the edge of stability, or None.
    failures
        Jobs that raised, by title, with what they said.
    interrupted
        Whether Ctrl-C ended it.
    seconds
        Wall-clock time of the computation.
    """

    settings: Settings
    laws: dict[int, EndToEnd]
    runs: tuple[Run, ...]
    comparisons: dict[str, Comparison]
    edge: Edge | None
    published: Published
    dataset: Dataset
    failures: dict[str, str]
    interrupted: bool
    seconds: float

    def find(self, p: int, depth: int, kind: str) -> Run | None:
        """The run of a kind, ``"flow"``, ``"descent"``, ``"adam"``, ..., or None."""
        key = f"p{p}-depth{depth}-{kind}"
        return next((run for run in self.runs if run.key == key), None)

    @property
    def unfinished(self) -> dict[str, str]:
        """Runs that ended before their time, by title, with the reason; probes are meant to."""
        early = {
            run.title: str(run.trajectory.result)
            for run in self.runs
            if not run.trajectory.result.success and not run.probe
        }
        compared = dict(self.comparisons)
        if self.edge is not None:
            compared["edge of stability"] = self.edge.comparison
        for name, comparison in compared.items():
            for run in (comparison.flow, comparison.descent):
                if not run.result.success:
                    early[name] = str(run.result)
        return early

    def tables(self) -> tuple[Table, ...]:
        """What the terminal shows at the end: each depth, and each claim of the paper."""
        from flowsim.studies.gas_ethanol.agreement import agreement_table
        from flowsim.studies.gas_ethanol.findings import findings_table

        shown = agreement_table(self), findings_table(self)
        return tuple(table for table in shown if table.rows)

    def to_xarray(self) -> xr.Dataset:
        """All runs and comparisons as one Dataset."""
        from flowsim.studies.gas_ethanol.dataset import to_xarray

        return to_xarray(self)

    def report(self, path: Path) -> Path:
        """Write the HTML report and return its path."""
        from flowsim.studies.gas_ethanol.report import report_gas_ethanol

        return report_gas_ethanol(self, path)
