"""Type aliases, and the letters that shapes are written with.

Throughout the package ``m`` counts examples, ``d`` inputs, ``k`` outputs, ``N`` weight matrices,
``n_0 = d, n_1, ..., n_N = k`` widths, and ``T`` recorded times.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

#: A nested structure of arrays, as JAX understands it.
PyTree: TypeAlias = Any
#: A NumPy or JAX array, or whatever NumPy makes one of.
ArrayLike: TypeAlias = Any
#: A NumPy array of floating-point numbers.
FloatArray: TypeAlias = np.ndarray
#: A scalar function of a pytree, differentiable by JAX.
ScalarFunction: TypeAlias = Callable[[PyTree], Any]
