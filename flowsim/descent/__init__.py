"""Discrete descent on the field that a flow integrates."""

from flowsim.descent.descend import descend, recorded_iterations

__all__ = ["descend", "recorded_iterations"]
