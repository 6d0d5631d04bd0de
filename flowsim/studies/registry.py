"""The studies that come with flowsim. Reading this list loads none of them."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import xarray as xr

    from flowsim.reporting import Table
    from flowsim.studies.jobs import Progress


class Outcome(Protocol):
    """What a study gives: tables for the terminal, data for a file, a report."""

    @property
    def interrupted(self) -> bool:
        """Whether the study was interrupted from the keyboard before it was done."""
        ...

    @property
    def failures(self) -> dict[str, str]:
        """Parts that raised, by title, with what they said."""
        ...

    @property
    def unfinished(self) -> dict[str, str]:
        """Runs that ended before their time though kept, by title, with the reason."""
        ...

    def tables(self) -> tuple[Table, ...]:
        """What is shown in the terminal at the end."""
        ...

    def to_xarray(self) -> xr.Dataset:
        """Everything computed, as labelled data."""
        ...

    def report(self, path: Path) -> Path:
        """Write the HTML report."""
        ...


class Plan(Protocol):
    """A study whose options have been checked."""

    def pages(self) -> Iterator[str]:
        """What is shown before the work starts, such as the laws derived."""
        ...

    def run(self, progress: Progress) -> Outcome:
        """Do the work."""
        ...


@dataclasses.dataclass(frozen=True)
class Study:
    """A study by name.

    Attributes
    ----------
    name
        What it is called.
    description
        What it does, in a line.
    paper
        What it reproduces.
    module
        The module with its function ``plan(**options) -> Plan``.
    options
        The options that ``plan`` takes.
    """

    name: str
    description: str
    paper: str
    module: str
    options: tuple[str, ...]

    def plan(self, **options: Any) -> Plan:
        """Check the options and return what is to be done.

        Raises
        ------
        InputError
            If an option is wrong; before any work starts.
        """
        return importlib.import_module(self.module).plan(**options)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            name="gas-ethanol",
            description="does depth speed up l_p regression on gas-sensor data? (p = 2 and 4, "
            "depth 1 to 3)",
            paper="Arora, Cohen and Hazan, ICML 2018, arXiv:1802.06509",
            module="flowsim.studies.gas_ethanol",
            options=("p", "depth", "steps"),
        ),
    )
}

#: The families that `flowsim derive` knows by name.
LAWS: dict[str, str] = {
    "deep-linear": "W = W_N ... W_1, the product of N matrices; --depth N",
    "two-layer": "W = W2 W1; widths=2,2,2",
    "scaled-vector": "w = w1 w2, a vector times a number; d=2",
    "diagonal": "w = u^N - v^N, entry by entry; d=1, depth=2",
    "diagonal-product": "w = w1 ... wN, entry by entry; d=1, depth=2",
    "weight-normalized": "w = g v/||v||; d=3",
    "symmetric": "W = U U^T; n=2, r=2",
    "cp": "a tensor, the sum of outer products; dims=2,2,2, rank=2",
    "hierarchical-tucker": "a tensor along a binary tree; dims=2,2,2,2, rank=1",
    "relu-paths": "the path products of a ReLU network; widths=2,2,1",
}

#: The functions that a formula may call.
FUNCTIONS = (
    "cos", "diag", "exp", "kron", "log", "norm", "outer", "sin", "sqrt", "sum", "tanh", "trace",
    "transpose",
)  # fmt: skip
