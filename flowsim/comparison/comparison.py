"""What is known of a descent and its flow, on one clock."""

from __future__ import annotations

import dataclasses
import os
from typing import Any

import numpy as np
import xarray as xr

from flowsim._types import FloatArray
from flowsim.symbolic import EndToEnd, PushforwardLaw
from flowsim.trajectory import Trajectory
from flowsim.trajectory.storage import provenance


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    r"""Gradient descent beside its flow, at the times :math:`t_k = k\eta`.

    Arrays have shape (T,), the number of recorded iterations.

    Attributes
    ----------
    ts, iterations
        The common times and the iterations that they belong to.
    flow, descent
        The two trajectories, recorded at those times.
    learning_rate
        The step size η.
    gap
        :math:`\|\theta_k - \theta(t_k)\|` in the parameters.
    end_to_end_gap
        The same for the end-to-end parameter; None where there is none.
    predicted_gap, predicted_end_to_end_gap
        To leading order in η: :math:`\eta \|e_1(t)\|` and :math:`\eta \|D\phi\, e_1\|`. To be
        trusted where η λ_max is small; NaN from the time at which its integration ended.
    bound
        A proved bound on the gap; None, because none is proved for this run.
    lambda_min, sharpness
        Extreme eigenvalues λ_min and λ_max of the Hessian along the flow, weight decay included.
    descent_sharpness
        λ_max along descent.
    reference_error
        The flow's own error: its distance to the same run at twice its tolerance, doubled, plus
        the rounding of its values. A gap below it has not been measured.
    regime_exit
        The first time with η λ_max > 2 along the flow, between records by linear interpolation:
        from there on the flow is no model of descent. None if it does not happen.
    drift
        How far conserved quantities have moved, ``"flow"`` and ``"descent"``; None where nothing
        is conserved.
    law
        The derived law of the parametrization, or None.
    balance_defect
        The relative balance defect of the start, or None; the end-to-end law presumes 0.
    """

    ts: FloatArray
    iterations: FloatArray
    flow: Trajectory
    descent: Trajectory
    learning_rate: float
    gap: FloatArray
    end_to_end_gap: FloatArray | None
    predicted_gap: FloatArray
    predicted_end_to_end_gap: FloatArray | None
    bound: FloatArray | None
    lambda_min: FloatArray
    sharpness: FloatArray
    descent_sharpness: FloatArray
    reference_error: FloatArray
    regime_exit: float | None
    drift: dict[str, FloatArray] | None
    law: EndToEnd | PushforwardLaw | None
    balance_defect: float | None

    def __repr__(self) -> str:
        end = (
            f", flow models descent until t = {self.regime_exit:.6g}"
            if self.regime_exit is not None
            else ""
        )
        return (
            f"Comparison({self.iterations[-1]} steps of {self.learning_rate:g}: final gap "
            f"{self.gap[-1]:.4g}, predicted {self.predicted_gap[-1]:.4g}, "
            f"reference error {self.reference_error[-1]:.2g}{end})"
        )

    def from_record(self, first: int) -> Comparison:
        """The same comparison without the records before ``first``."""

        def cut(value: Any) -> Any:
            if isinstance(value, dict):
                return {name: cut(part) for name, part in value.items()}
            return value[first:] if isinstance(value, (np.ndarray, Trajectory)) else value

        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return dataclasses.replace(self, **{name: cut(value) for name, value in fields.items()})

    def to_xarray(self) -> xr.Dataset:
        """The comparison as an xarray Dataset on the dimension ``t``."""
        variables: dict[str, Any] = {
            "iteration": ("t", self.iterations),
            "flow_loss": ("t", self.flow.loss),
            "descent_loss": ("t", self.descent.loss),
            "gap": ("t", self.gap),
            "predicted_gap": ("t", self.predicted_gap),
            "lambda_min": ("t", self.lambda_min),
            "sharpness": ("t", self.sharpness),
            "descent_sharpness": ("t", self.descent_sharpness),
            "reference_error": ("t", self.reference_error),
        }
        for name in ("end_to_end_gap", "predicted_end_to_end_gap"):
            if getattr(self, name) is not None:
                variables[name] = ("t", getattr(self, name))
        for name, values in (self.drift or {}).items():
            variables[f"{name}_drift"] = ("t", values)
        attributes = {
            "format": "flowsim comparison 1",
            "learning_rate": self.learning_rate,
            "regime_exit": np.nan if self.regime_exit is None else self.regime_exit,
            "rtol": self.flow.settings["rtol"],
            **provenance(),
        }
        return xr.Dataset(variables, coords={"t": self.ts}, attrs=attributes)

    def report(self, path: str | os.PathLike[str]) -> None:
        """Write the comparison as one self-contained HTML file."""
        from flowsim.reporting import report_comparison

        report_comparison(self, path)
