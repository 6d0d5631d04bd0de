"""Exceptions and warnings of flowsim.

Two kinds of trouble are kept apart. Wrong input raises an :class:`InputError` before any work
starts. A run that ends early is described by its :class:`flowsim._result.Result`; it raises an
:class:`IntegrationError`, which carries the trajectory computed so far, unless ``throw=False``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flowsim.trajectory import Trajectory


class FlowsimError(Exception):
    """Base class of every exception that flowsim raises on purpose."""


class InputError(FlowsimError, ValueError):
    """An argument is wrong; the message names it, says what was given and what would do."""


class UnknownKeywordError(FlowsimError, TypeError):
    """A keyword argument is not one of the function's; the message names the nearest one."""


class HypothesisError(FlowsimError):
    """A law was asked to describe a start that does not satisfy the law's hypotheses."""


class LoweringError(FlowsimError):
    """A symbolic expression has no numeric reading; the message names the node."""


class DatasetError(FlowsimError):
    """A data file is missing or is not the file that it should be."""


class StorageError(FlowsimError):
    """A saved file cannot be read back: it is not a flowsim file, or it is damaged."""


class PrecisionError(FlowsimError):
    """A computation meant for float64 was about to run in float32."""


class IntegrationError(FlowsimError):
    """A run ended before its final time.

    Attributes
    ----------
    trajectory
        What was computed before the run ended, with the reason in ``trajectory.result``.
    """

    def __init__(self, message: str, trajectory: Trajectory) -> None:
        super().__init__(message)
        self.trajectory = trajectory


class FlowsimWarning(UserWarning):
    """Base class of flowsim's warnings."""


class BalanceWarning(FlowsimWarning):
    """A start is nearly, but not exactly, balanced: the balanced law is approximate there."""


class ToleranceWarning(FlowsimWarning):
    """A tolerance is too coarse for the start that it is used with."""


class MonotonyWarning(FlowsimWarning):
    """A loss rose along its own gradient flow by more than the tolerance explains."""
