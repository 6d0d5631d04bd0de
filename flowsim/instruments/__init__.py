"""Instruments: what is measured on a field or on a run, beside the run itself."""

from flowsim.instruments.antisymmetry import AntisymmetricPart, antisymmetric_part
from flowsim.instruments.curves import Loop, Segment, paper_loop, sector_loop
from flowsim.instruments.energy import EnergyField, energy_drift
from flowsim.instruments.error_estimate import error_from_laws
from flowsim.instruments.levels import LevelSet
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
from flowsim.instruments.monotony import check_monotony, largest_rise
from flowsim.instruments.path_dependence import PathDependence, path_dependence

__all__ = [
    "AntisymmetricPart",
    "Drift",
    "EnergyField",
    "LevelSet",
    "LimitPoint",
    "Loop",
    "LoopIntegral",
    "MemoryCoefficients",
    "Monitor",
    "PathDependence",
    "QuadratureError",
    "Segment",
    "antisymmetric_part",
    "check_monotony",
    "drift",
    "energy_drift",
    "error_from_laws",
    "largest_rise",
    "loop_integral",
    "memory_coefficients",
    "mirror_limit",
    "paper_loop",
    "paper_loop_integral",
    "path_dependence",
    "sector_loop",
    "sector_loop_integral",
]
