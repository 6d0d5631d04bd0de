"""Descent against flow: the gap, what predicts it, and the curvature that explains it."""

from flowsim.comparison.compare import compare
from flowsim.comparison.comparison import Comparison

__all__ = ["Comparison", "compare"]
