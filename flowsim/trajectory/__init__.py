"""The record of a run, and its way to disk and back."""

from flowsim.trajectory.storage import load
from flowsim.trajectory.trajectory import Trajectory

__all__ = ["Trajectory", "load"]
