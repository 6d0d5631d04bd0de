"""Curvature of the loss along a trajectory."""

from flowsim.curvature.extremes import extreme_eigenvalues

__all__ = ["extreme_eigenvalues"]
