"""Maps of any kind in index notation: derivatives, laws, and how they are written."""

from flowsim.symbolic.indexed.arrays import SymbolicArray, as_array, constants_named_beside
from flowsim.symbolic.indexed.calculus import beside, differential, gradient, inner_product
from flowsim.symbolic.indexed.evaluate import evaluate
from flowsim.symbolic.indexed.notation import latex, subscripts, text
from flowsim.symbolic.indexed.tensor import CHANGE, GRADIENT, Tensor

__all__ = [
    "CHANGE",
    "GRADIENT",
    "SymbolicArray",
    "Tensor",
    "as_array",
    "beside",
    "constants_named_beside",
    "differential",
    "evaluate",
    "gradient",
    "inner_product",
    "latex",
    "subscripts",
    "text",
]
