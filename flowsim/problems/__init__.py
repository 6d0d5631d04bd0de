"""What is learned and what is minimised: losses, parametrizations, starts, data sets."""

from flowsim.problems.losses import FunctionLoss, Loss, LpLoss, as_loss
from flowsim.problems.parametrizations import DeepLinear, Identity, Parametrization
from flowsim.problems.problem import FunctionProblem, Problem, presents_vector

__all__ = [
    "DeepLinear",
    "FunctionLoss",
    "FunctionProblem",
    "Identity",
    "Loss",
    "LpLoss",
    "Parametrization",
    "Problem",
    "as_loss",
    "presents_vector",
]
