"""Closure of the end-to-end motion: whether it can be written in w alone, how, or why not."""

from flowsim.symbolic.closure.result import Closure, Part
from flowsim.symbolic.closure.solve import closure
from flowsim.symbolic.closure.witness import Witness

__all__ = ["Closure", "Part", "Witness", "closure"]
