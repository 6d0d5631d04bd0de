"""From symbols to numbers: array code, kernels, and the vector fields made of them."""

from flowsim.lowering.calls import (
    flat_velocity,
    flat_velocity_at,
    jacobian_at,
    jacobian_product_at,
    velocity_at,
)
from flowsim.lowering.fields import VectorField
from flowsim.lowering.lower import as_field, derived_law, lower_law, lower_problem
from flowsim.lowering.maps import MapField, lower_pushforward
from flowsim.lowering.reading import check_velocity, judge_loss, read_states, start_of

__all__ = [
    "MapField",
    "VectorField",
    "as_field",
    "check_velocity",
    "derived_law",
    "flat_velocity",
    "flat_velocity_at",
    "jacobian_at",
    "jacobian_product_at",
    "judge_loss",
    "lower_law",
    "lower_problem",
    "lower_pushforward",
    "read_states",
    "start_of",
    "velocity_at",
]
