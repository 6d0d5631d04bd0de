"""Conservation laws of gradient flow: how many there are, and formulas for them."""

from flowsim.symbolic.conservation.laws import ConservationLaw, ConservationLaws
from flowsim.symbolic.conservation.search import conservation_laws

__all__ = ["ConservationLaw", "ConservationLaws", "conservation_laws"]
