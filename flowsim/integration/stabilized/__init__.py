"""Stabilized explicit methods: as stable as stiff gradient flow asks, without linear algebra."""

from flowsim.integration.stabilized.base import AbstractStabilized, StabilizedState
from flowsim.integration.stabilized.radius import estimate_spectral_radius
from flowsim.integration.stabilized.rkc2 import RKC2
from flowsim.integration.stabilized.rock4 import ROCK4

__all__ = ["RKC2", "ROCK4", "AbstractStabilized", "StabilizedState", "estimate_spectral_radius"]
