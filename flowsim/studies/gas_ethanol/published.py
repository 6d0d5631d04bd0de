"""The published curves, as read off the figures of Arora, Cohen and Hazan (2018)."""

from __future__ import annotations

import csv
import dataclasses
import os
from pathlib import Path

import numpy as np

from flowsim._errors import DatasetError
from flowsim._types import FloatArray
from flowsim.problems.datasets import DATA_VARIABLE, read_verified

_FILE = "acc2018_fig_digitised.csv"
_SHA256 = "690434733fa672406237514879d4d821386810370f7ffdbc4c19f177b5d253f2"


@dataclasses.dataclass(frozen=True, eq=False)
class Published:
    """Points of the published curves, to about ±1 to 3 %.

    Attributes
    ----------
    curves
        (iterations, loss − optimum) by panel and curve.
    """

    curves: dict[tuple[str, str], tuple[FloatArray, FloatArray]]

    def curve(self, panel: str, name: str) -> tuple[FloatArray, FloatArray]:
        """The points of a curve; empty where there are none."""
        return self.curves.get((panel, name), (np.empty(0), np.empty(0)))

    def at(self, panel: str, name: str, iteration: float) -> float:
        """The value read at an iteration; NaN where none was read."""
        x, y = self.curve(panel, name)
        found = np.flatnonzero(x == iteration)
        return float(y[found[0]]) if found.size else float("nan")

    def between(self, panel: str, name: str, iteration: float) -> float:
        """The value at an iteration, along straight lines in the logarithms; NaN outside."""
        x, y = self.curve(panel, name)
        if not x.size or not x[0] <= iteration <= x[-1]:
            return float("nan")
        return float(np.exp(np.interp(np.log(iteration), np.log(x), np.log(y))))


def load_published() -> Published:
    """Read the file beside the gas-sensor data: in the checkout, or in ``FLOWSIM_DATA``.

    Raises
    ------
    DatasetError
        If the file is missing, saying where to put it, or is not the one expected.
    """
    folder = os.environ.get(DATA_VARIABLE)
    checkout = Path(__file__).parents[3] / "data" / "acc2018"
    candidates = ([Path(folder) / _FILE] if folder else []) + [checkout / _FILE]
    file = next((path for path in candidates if path.is_file()), None)
    if file is None:
        raise DatasetError(
            f"{candidates[0]} does not exist. The published curves are not part of the installed "
            f"package: work from a checkout of the repository, which has data/acc2018/{_FILE}, or "
            f"put that file in the folder named by the environment variable {DATA_VARIABLE}."
        )
    content = read_verified(file, _SHA256)
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    lines = [line for line in content.decode().splitlines() if not line.startswith("#")]
    for row in csv.DictReader(lines):
        points.setdefault((row["panel"], row["curve"]), []).append(
            (float(row["x"]), float(row["y"]))
        )
    return Published({key: (np.array(xy)[:, 0], np.array(xy)[:, 1]) for key, xy in points.items()})
