"""Curvature of the loss: along a trajectory, and where it comes to rest."""

from flowsim.curvature.extremes import extreme_eigenvalues
from flowsim.curvature.stationary import Stationary, classify_stationary

__all__ = ["Stationary", "classify_stationary", "extreme_eigenvalues"]
