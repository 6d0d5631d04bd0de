"""A vector field of whatever kind, as a function from arrays to arrays."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._errors import InputError
from flowsim._types import FloatArray
from flowsim.lowering import VectorField

__all__ = ["array_function", "call", "traceable"]


def array_function(field: Any) -> Callable[[Any], Any]:
    """Return w -> F(w) of a field, exactly as the field is given, without a change of sign.

    A :class:`flowsim.VectorField`, and a function that needs two or three arguments, is called as
    ``field(t, y, args)`` at t = 0; a function that needs one is called as ``field(w)``.

    Raises
    ------
    InputError
        If it is neither, or a field whose state is no single array.
    """
    if isinstance(field, VectorField):
        if field.about.strategy == "factors":
            raise InputError(
                "field moves the factors of a network, not the end-to-end parameter. Lower the law "
                "with strategy='spectral', or pass a function w -> F(w)."
            )
        if field.backend == "jax":
            compiled = eqx.filter_jit(lambda w: field(jnp.zeros(()), w, None))
            return lambda w: compiled(jnp.asarray(w))
        return lambda w: field(0.0, w, None)
    if not callable(field):
        raise InputError(
            f"field is {type(field).__name__}; pass a vector field (t, y, args), or a function "
            "w -> F(w)."
        )
    try:
        parameters = inspect.signature(field).parameters.values()
    except (TypeError, ValueError):  # built in: no signature is known
        return field
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    needed = [p for p in parameters if p.kind in kinds and p.default is p.empty]
    if len(needed) == 1:
        return field
    if len(needed) == 2:
        return lambda w: field(0.0, w)
    if len(needed) == 3:
        return lambda w: field(0.0, w, None)
    raise InputError(
        f"field takes {len(needed)} arguments; it is called as field(w), or as field(t, y, args)."
    )


def call(function: Callable[[Any], Any], w: FloatArray) -> FloatArray:
    """Evaluate a field and check what comes back.

    Raises
    ------
    InputError
        If it is not of the shape of w, or not finite.
    """
    value = np.asarray(function(w), np.float64)
    if value.shape != w.shape:
        raise InputError(
            f"field returns shape {value.shape} at a point of shape {w.shape}; a field has the "
            "shape of its point."
        )
    if not np.isfinite(value).all():
        raise InputError(f"field is not finite at w = {w.tolist()}: it returns {value.tolist()}.")
    return value


def traceable(function: Callable[[Any], Any], w: FloatArray) -> bool:
    """Whether JAX can trace a function at w."""
    try:
        jax.eval_shape(function, w)
    except Exception:  # whatever a function of NumPy's says to a tracer
        return False
    return True
