"""Mirror flows: whether a parametrization has one, and its potential."""

from flowsim.symbolic.mirror.hessian import HessianMetric, hessian_metric
from flowsim.symbolic.mirror.potentials import DualPotential, primal_potential
from flowsim.symbolic.mirror.verdict import MirrorVerdict, Witness, mirror

__all__ = [
    "DualPotential",
    "HessianMetric",
    "MirrorVerdict",
    "Witness",
    "hessian_metric",
    "mirror",
    "primal_potential",
]
