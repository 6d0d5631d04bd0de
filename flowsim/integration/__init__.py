"""Integrating a flow: the verb, its engines, and solvers for stiff gradient flows."""

from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.integrate import integrate
from flowsim.integration.projection import Projected, Projector
from flowsim.integration.stabilized import RKC2, ROCK4
from flowsim.integration.stops import Minimum

__all__ = [
    "RKC2",
    "ROCK4",
    "LinearlyImplicitExtrapolation",
    "Minimum",
    "Projected",
    "Projector",
    "integrate",
]
