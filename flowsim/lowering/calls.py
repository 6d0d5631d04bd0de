"""Fields as compiled functions: on their states, and on flat vectors for linear algebra.

Functions are compiled once for each kind of field and size; its numbers are arguments. Times must
be NumPy's or JAX's numbers: Python's would be compiled in as constants.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
from jax.flatten_util import ravel_pytree

from flowsim._types import PyTree


def flat_velocity(field: Any, unravel: Callable, t: Any, v: Any) -> Any:
    """The field on flat vectors: dv/dt, shape (size,)."""
    return ravel_pytree(field(t, unravel(v), None))[0]


@eqx.filter_jit
def velocity_at(field: Any, t: Any, y: PyTree) -> PyTree:
    """The velocity at a state, compiled."""
    return field(t, y, None)


@eqx.filter_jit
def flat_velocity_at(field: Any, unravel: Callable, t: Any, v: Any) -> Any:
    """The velocity at a flat vector, compiled."""
    return flat_velocity(field, unravel, t, v)


@eqx.filter_jit
def jacobian_at(field: Any, unravel: Callable, t: Any, v: Any) -> Any:
    """The Jacobian of the velocity at a flat vector, shape (size, size), compiled."""
    return jax.jacfwd(lambda u: flat_velocity(field, unravel, t, u))(v)


@eqx.filter_jit
def jacobian_product_at(field: Any, unravel: Callable, t: Any, v: Any, along: Any) -> Any:
    """The Jacobian at a flat vector times another, compiled."""
    return jax.jvp(lambda u: flat_velocity(field, unravel, t, u), (v,), (along,))[1]
