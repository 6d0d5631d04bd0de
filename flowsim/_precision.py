"""Float64 without touching JAX's global configuration.

JAX computes in float32 unless told otherwise, and then the end-to-end law breaks: the zero
eigenvalues of a rank-one ``W Wᵀ`` come out near -1e-6 and their cube roots are NaN. Every public
function of flowsim therefore runs inside :func:`float64`, which is local to the thread and leaves
the user's configuration as it was. Results are NumPy arrays, which carry their precision with
them wherever they go.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import ParamSpec, TypeVar

import jax
import numpy as np

from flowsim._errors import PrecisionError

_P = ParamSpec("_P")
_R = TypeVar("_R")


def float64() -> AbstractContextManager[None]:
    """A context in which JAX keeps float64 arrays as they are."""
    return jax.enable_x64(True)


def in_float64(function: Callable[_P, _R]) -> Callable[_P, _R]:
    """Run the decorated function inside :func:`float64`."""

    @functools.wraps(function)
    def inside(*args: _P.args, **kwargs: _P.kwargs) -> _R:
        with float64():
            return function(*args, **kwargs)

    return inside


def require_float64(what: str, data_dtype: np.dtype) -> None:
    """Refuse to compute with float64 data where JAX would truncate it to float32.

    Raises
    ------
    PrecisionError
        If ``data_dtype`` is float64 while JAX's 64-bit mode is off in this thread.
    """
    if data_dtype == np.float64 and not jax.config.read("jax_enable_x64"):
        raise PrecisionError(
            f"{what} holds float64 data, but JAX is in 32-bit mode here and would truncate it "
            "to float32. Call it inside `with flowsim.float64():`, or start your program with "
            "`jax.config.update('jax_enable_x64', True)`."
        )
