"""From symbols to numbers: array code, kernels, and the vector fields made of them."""

from flowsim.lowering.fields import VectorField
from flowsim.lowering.lower import as_field, derived_law, lower_law, lower_problem

__all__ = ["VectorField", "as_field", "derived_law", "lower_law", "lower_problem"]
