r"""Choosing a solver, at the start of a run and again while it goes on.

Three kinds compete. An explicit pair costs least where accuracy decides on the steps. Where
stability does, with ρ the spectral radius of the Jacobian and T the time to go, the pair needs
about ρT steps; a stabilized method with an interval of c s² for s stages about
:math:`\sqrt{n ρT/c}` gradients in n steps; and linearly implicit extrapolation a Jacobian and a few
dozen gradients for each of its fewer steps. These forecasts, in gradients, decide. Their constants
were measured on networks, matrix completion and regression; they need to be right within a factor
only.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import numpy as np

from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.loop import Walk
from flowsim.integration.run import Run
from flowsim.integration.solvers import REAL_STABILITY
from flowsim.integration.stabilized import RKC2, ROCK4, AbstractStabilized
from flowsim.integration.stabilized.radius import cold_estimate, warm_estimate

_LARGEST_IMPLICIT = 1000  # state size up to which an exact Jacobian is formed
_EIGHTH_ORDER = 1e-6  # relative tolerance from which the eighth-order pair is the cheaper one
_HELD = 0.4  # of the stability interval: a step so long is held down by stability
_FREE = 0.1  # of it: a step so short is not
_CLEARLY = 2.0  # times cheaper: what a forecast from the start alone must be to be believed
_WORTH_CHANGING = 1.5  # times cheaper: what pays for beginning anew


class Choice(NamedTuple):
    """A solver, and why."""

    solver: Any
    why: str


class Chooser:
    """The choice of a solver for one run, from size, stiffness, tolerance and length."""

    def __init__(self, run: Run, size: int, t1: float) -> None:
        self.run, self.size = run, size
        self.t1 = t1 if run.horizon is None else run.horizon
        self.explicit = "dopri8" if run.rtol <= _EIGHTH_ORDER else "tsit5"
        self.estimate: Any = None
        self.products = 0

    def first(self, t: float, y: Any) -> Choice:
        """The solver to begin with."""
        radius = self._radius(t, y)
        costs = self._forecasts(radius, self.t1 - t)
        best = min(costs, key=lambda name: costs[name])
        here = f"from t = {t:.4g}: with spectral radius {radius:.3g} at the start"
        if best != self.explicit and _CLEARLY * costs[best] < costs[self.explicit]:
            return Choice(self._make(best), f"{best} {here}, {self._told(costs)}")
        return Choice(
            self._make(self.explicit), f"{self.explicit} {here} the flow is not stiff there"
        )

    def again(self, solver: Any, walk: Walk) -> Choice | None:
        """Another solver to go on with, or None to go on as before."""
        if isinstance(solver, LinearlyImplicitExtrapolation):
            return None
        t = float(walk.t)
        if isinstance(solver, AbstractStabilized):
            state: Any = walk.solver_state
            self.estimate, radius = state.estimate, float(state.radius)
        else:
            radius = self._radius(t, walk.y)
        span = self.t1 - t
        steps = float(walk.step) * radius / REAL_STABILITY[self.explicit]
        costs = self._forecasts(radius, span)
        here = f"from t = {t:.4g}: with spectral radius {radius:.3g}"
        if isinstance(solver, AbstractStabilized):
            if steps < _FREE and span > 100 * float(walk.step):
                return Choice(
                    self._make(self.explicit), f"{self.explicit} {here} it is stiff no more"
                )
            return None
        best = min(costs, key=lambda name: costs[name])
        if steps > _HELD and _WORTH_CHANGING * costs[best] < costs[self.explicit]:
            return Choice(self._make(best), f"{best} {here}, {self._told(costs)}")
        return None

    def patience(self, solver: Any, steps: int) -> int | None:
        """Steps after which to look again: an explicit pair is looked at early, then ever rarer."""
        explicit = isinstance(solver, diffrax.AbstractERK)
        return max(32, steps // 2) if explicit else None

    def _forecasts(self, radius: float, span: float) -> dict[str, float]:
        """Gradients that a stretch of time costs, by the name of the solver."""
        stiffness = radius * span
        finer = math.log10(1.0 / self.run.rtol)  # digits asked for
        stages = {"tsit5": 6, "dopri8": 13}[self.explicit]
        # Half a digit is what RKC2 delivers less than ROCK4 at the same tolerance. ROCK4 has few
        # stages only, and with them short steps; its order falls where the flow is stiff for long.
        rkc2 = math.sqrt(10 ** (0.7 + 0.45 * finer) * stiffness / 0.65)
        rock4 = math.sqrt(10 ** (0.25 * finer) * stiffness**1.45 / 0.45)
        costs = {
            self.explicit: stages * stiffness / REAL_STABILITY[self.explicit],
            "rkc2": rkc2,
            "rock4": max(rock4, stiffness / (0.33 * ROCK4().most_stages)),
        }
        if self.size <= _LARGEST_IMPLICIT:
            # A Jacobian's products are made together, at a quarter of the price of single ones.
            costs["extrapolation"] = 10 * finer * (40 + self.size / 2)
        return costs

    def _told(self, costs: dict[str, float]) -> str:
        ranked = sorted(costs.items(), key=lambda item: item[1])
        return "it is to cost " + ", ".join(f"{cost:.3g} ({name})" for name, cost in ranked)

    def _make(self, name: str) -> Any:
        if name == "extrapolation":
            return LinearlyImplicitExtrapolation()
        if name in ("tsit5", "dopri8"):
            return diffrax.Dopri8() if name == "dopri8" else diffrax.Tsit5()
        return (RKC2 if name == "rkc2" else ROCK4)(known=self.estimate)

    def _radius(self, t: float, y: Any) -> float:
        """The spectral radius, from the last estimate where there is one."""
        before = 0 if self.estimate is None else int(self.estimate.products)
        self.estimate = _estimate(self.run.field, np.float64(t), y, self.estimate)
        self.products += int(self.estimate.products) - before
        return float(self.estimate.radius)


@eqx.filter_jit
def _estimate(field: Any, t: Any, y: Any, last: Any) -> Any:
    return (
        cold_estimate(field, t, y, None) if last is None else warm_estimate(field, t, y, None, last)
    )
