"""Integrating a flow: the verb, its engines, and a solver for stiff gradient flows."""

from flowsim.integration.extrapolation import LinearlyImplicitExtrapolation
from flowsim.integration.integrate import integrate

__all__ = ["LinearlyImplicitExtrapolation", "integrate"]
