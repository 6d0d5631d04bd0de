"""The study's result as labelled data, for a netCDF file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from flowsim._types import FloatArray
from flowsim.studies.gas_ethanol.edge import end_to_end
from flowsim.trajectory.storage import provenance

if TYPE_CHECKING:
    from flowsim.studies.gas_ethanol.result import GasEthanol


def to_xarray(result: GasEthanol) -> xr.Dataset:
    """Stack the runs on a dimension ``run``; comparisons keep dimensions of their own.

    Runs have records of different number, ``records``; beyond it their rows hold NaN.
    """
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    if result.runs:
        variables, coordinates = _stacked(result)
    compared = dict(result.comparisons)
    if result.edge is not None:
        edge = result.edge
        compared["edge-layerwise"] = edge.comparison
        name = "edge-layerwise_record"
        variables["edge_layerwise_sharpness"] = (name, edge.layerwise_sharpness)
        variables["edge_imbalance"] = (name, edge.imbalance)
        variables["edge_emulated_sharpness"] = ("edge-emulated_record", edge.emulated_sharpness)
    for key, comparison in compared.items():
        data = comparison.to_xarray()
        for name, values in data.variables.items():
            variables[f"{key}_{name}"] = (f"{key}_record", values.values)
    settings = result.settings
    attributes = {
        "format": "flowsim study gas-ethanol 1",
        "exponents": ", ".join(map(str, settings.exponents)),
        "depths": ", ".join(map(str, settings.depths)),
        "steps": json.dumps({p: settings.descent_steps(p) for p in settings.exponents}),
        "seed": settings.seed,
        "rtol": settings.rtol,
        "data_sha256": result.dataset.checksum,
        "interrupted": int(result.interrupted),
        "failures": json.dumps(result.failures),
        "seconds": result.seconds,
        **provenance(),
    }
    return xr.Dataset(variables, coords=coordinates, attrs=attributes)


def _stacked(result: GasEthanol) -> tuple[dict[str, Any], dict[str, Any]]:
    runs = result.runs
    longest = max(len(run.trajectory) for run in runs)
    rows = ("run", "record")

    def padded(values: list[FloatArray]) -> FloatArray:
        out = np.full((len(values), longest, *values[0].shape[1:]), np.nan)
        for row, value in zip(out, values, strict=True):
            row[: len(value)] = value
        return out

    ends = [end_to_end(run.trajectory) for run in runs]
    variables = {
        "t": (rows, padded([run.trajectory.ts for run in runs])),
        "iteration": (rows, padded([run.iterations for run in runs])),
        "loss": (rows, padded([run.trajectory.loss for run in runs])),
        "loss_minus_optimum": (rows, padded([run.excess for run in runs])),
        "end_to_end": ((*rows, "input"), padded(ends)),
        "records": ("run", [len(run.trajectory) for run in runs]),
    }
    coordinates = {
        "run": ("run", [run.key for run in runs]),
        "rule": ("run", [run.rule for run in runs]),
        "p": ("run", [run.p for run in runs]),
        "depth": ("run", [run.depth for run in runs]),
        "learning_rate": ("run", [run.learning_rate for run in runs]),
        "ended": ("run", [str(run.trajectory.result) for run in runs]),
        "seconds": ("run", [float(run.trajectory.stats["seconds"]) for run in runs]),
    }
    return variables, coordinates
