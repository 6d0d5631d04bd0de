"""What is learned and what is minimised: losses, parametrizations, starts, data sets."""

from flowsim.problems.families import (
    CP,
    Diagonal,
    DiagonalProduct,
    HierarchicalTucker,
    ReLUPaths,
    ScaledVector,
    SymmetricFactorization,
    TwoLayer,
    WeightNormalized,
)
from flowsim.problems.losses import FunctionLoss, Loss, LpLoss, as_loss
from flowsim.problems.parametrizations import (
    DeepLinear,
    FunctionParametrization,
    Identity,
    Parametrization,
)
from flowsim.problems.problem import FunctionProblem, Problem, presents_vector

__all__ = [
    "CP",
    "DeepLinear",
    "Diagonal",
    "DiagonalProduct",
    "FunctionLoss",
    "FunctionParametrization",
    "FunctionProblem",
    "HierarchicalTucker",
    "Identity",
    "Loss",
    "LpLoss",
    "Parametrization",
    "Problem",
    "ReLUPaths",
    "ScaledVector",
    "SymmetricFactorization",
    "TwoLayer",
    "WeightNormalized",
    "as_loss",
    "presents_vector",
]
