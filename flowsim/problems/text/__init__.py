"""Formulas in text: read by a small parser of our own, and never evaluated as code."""

from flowsim.problems.text.declarations import parse_declarations
from flowsim.problems.text.formula import Formula
from flowsim.problems.text.nodes import (
    Binary,
    Call,
    Name,
    Negate,
    Node,
    Number,
    Power,
    Transposed,
)
from flowsim.problems.text.reader import parse

__all__ = [
    "Binary",
    "Call",
    "Formula",
    "Name",
    "Negate",
    "Node",
    "Number",
    "Power",
    "Transposed",
    "parse",
    "parse_declarations",
]
