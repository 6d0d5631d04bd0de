"""Laws of motion in symbols: derived, certified, and ready to be lowered."""

from flowsim.symbolic.certify import CertificationError, Step, certify
from flowsim.symbolic.derive import derive
from flowsim.symbolic.law import ConservedQuantity, EndToEnd, Hypothesis
from flowsim.symbolic.nodes import (
    Chain,
    FrobeniusNorm,
    Layer,
    MatrixSum,
    Projection,
    PSDPower,
    end_to_end,
    gradient,
)
from flowsim.symbolic.preconditioner import Preconditioner
from flowsim.symbolic.pushforward import PushforwardLaw

__all__ = [
    "CertificationError",
    "Chain",
    "ConservedQuantity",
    "EndToEnd",
    "FrobeniusNorm",
    "Hypothesis",
    "Layer",
    "MatrixSum",
    "PSDPower",
    "Preconditioner",
    "Projection",
    "PushforwardLaw",
    "Step",
    "certify",
    "derive",
    "end_to_end",
    "gradient",
]
