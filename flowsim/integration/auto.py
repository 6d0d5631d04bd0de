"""Choosing a solver, at the start of a run and again while it goes on."""

from __future__ import annotations

from typing import Any

import diffrax
import numpy as np

from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.loop import Walk
from flowsim.integration.run import Run
from flowsim.integration.solvers import REAL_STABILITY
from flowsim.integration.stabilized import estimate_spectral_radius

_LARGEST_IMPLICIT = 1000  # state size up to which an exact Jacobian is formed
_HIGH_ACCURACY = 1e-5  # relative tolerance from which the eighth-order pair is the cheaper one


class Chooser:
    """The choice of a solver for one run, made from size, stiffness, tolerance and length."""

    def __init__(self, run: Run, size: int, t1: float) -> None:
        self.run, self.size = run, size
        self.t1 = t1 if run.horizon is None else run.horizon

    def first(self, t: float, y: Any) -> tuple[Any, str]:
        """The solver to begin with, and why."""
        explicit = "dopri8" if self.run.rtol <= _HIGH_ACCURACY else "tsit5"
        radius = self._radius(t, y)
        steps = radius * (self.t1 - t) / REAL_STABILITY[explicit]
        if self.size <= _LARGEST_IMPLICIT and steps > 10 * self._worth_a_jacobian():
            return LinearlyImplicitExtrapolation(), (
                f"extrapolation from t = {t:g}: with spectral radius {radius:.3g} at the "
                f"start, stability would cost {explicit} about {steps:.0f} steps"
            )
        return diffrax.Dopri8() if explicit == "dopri8" else diffrax.Tsit5(), (
            f"{explicit} from t = {t:g}: with spectral radius {radius:.3g} at the start the "
            "flow is not stiff there"
        )

    def again(self, solver: Any, walk: Walk) -> tuple[Any, str] | None:
        """Another solver to go on with and why, or None to go on as before."""
        if isinstance(solver, LinearlyImplicitExtrapolation) or self.size > _LARGEST_IMPLICIT:
            return None
        name = "dopri8" if isinstance(solver, diffrax.Dopri8) else "tsit5"
        t = float(walk.t)
        radius = self._radius(t, walk.y)
        steps = radius * (self.t1 - t) / REAL_STABILITY[name]
        held = float(walk.step) * radius > 0.4 * REAL_STABILITY[name]
        if not (held and steps > self._worth_a_jacobian()):
            return None
        return LinearlyImplicitExtrapolation(), (
            f"extrapolation from t = {t:.4g}: with spectral radius {radius:.3g}, stability would "
            f"cost {name} about {steps:.0f} more steps"
        )

    def _worth_a_jacobian(self) -> float:
        """Explicit steps that cost about as much as an implicit run with exact Jacobians."""
        return 300 + 5 * self.size

    def _radius(self, t: float, y: Any) -> float:
        return float(estimate_spectral_radius(self.run.field, np.float64(t), y))
