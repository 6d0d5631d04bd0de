"""Instruments: what is measured on a field or on a run, beside the run itself."""

from flowsim.instruments.antisymmetry import AntisymmetricPart, antisymmetric_part
from flowsim.instruments.curves import Loop, Segment, paper_loop, sector_loop
from flowsim.instruments.limits import LimitPoint, mirror_limit
from flowsim.instruments.loops import (
    LoopIntegral,
    QuadratureError,
    loop_integral,
    paper_loop_integral,
    sector_loop_integral,
)
from flowsim.instruments.memory import MemoryCoefficients, memory_coefficients
from flowsim.instruments.monitors import Drift, Monitor, drift
from flowsim.instruments.path_dependence import PathDependence, path_dependence

__all__ = [
    "AntisymmetricPart",
    "Drift",
    "LimitPoint",
    "Loop",
    "LoopIntegral",
    "MemoryCoefficients",
    "Monitor",
    "PathDependence",
    "QuadratureError",
    "Segment",
    "antisymmetric_part",
    "drift",
    "loop_integral",
    "memory_coefficients",
    "mirror_limit",
    "paper_loop",
    "paper_loop_integral",
    "path_dependence",
    "sector_loop",
    "sector_loop_integral",
]
