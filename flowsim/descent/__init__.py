"""Discrete descent on the field that a flow integrates."""

from flowsim.descent.descend import descend

__all__ = ["descend"]
