"""From symbols to numbers: array code, kernels, and the vector fields made of them."""

from flowsim.lowering.fields import VectorField
from flowsim.lowering.lower import as_field, derived_law, lower_law, lower_problem
from flowsim.lowering.reading import check_velocity, judge_loss, read_states, start_of

__all__ = [
    "VectorField",
    "as_field",
    "check_velocity",
    "derived_law",
    "judge_loss",
    "lower_law",
    "lower_problem",
    "read_states",
    "start_of",
]
