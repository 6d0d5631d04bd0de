"""How stiff a field is at a state, and what that asks of a solver."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

_ITERATIONS = 12


@eqx.filter_jit
def estimate_spectral_radius(field: Any, t: Any, y: Any, args: Any = None) -> Any:
    """Estimate the largest modulus of the Jacobian's eigenvalues at y, by power iteration.

    For a gradient flow the Jacobian is minus the Hessian and this is its sharpness, approached from
    below. The iteration starts from the velocity, which gradient flow tends to align with the
    stiff directions, plus a fixed pseudo-random part, and costs twelve Jacobian products.
    """
    flat, unravel = ravel_pytree(y)

    def velocity(v: Any) -> Any:
        return ravel_pytree(field(t, unravel(v), args))[0]

    _, product = jax.linearize(velocity, flat)
    start = velocity(flat)
    noise = jax.random.normal(jax.random.key(0), flat.shape, flat.dtype)
    start = _unit(_unit(start) + _unit(noise))

    def iterate(_: Any, carry: tuple[Any, Any]) -> tuple[Any, Any]:
        v, _ = carry
        image = product(v)
        return _unit(image), jnp.linalg.norm(image)

    zero = jnp.zeros((), flat.dtype)
    return jax.lax.fori_loop(0, _ITERATIONS, iterate, (start, zero))[1]


def _unit(v: Any) -> Any:
    size = jnp.linalg.norm(v)
    return jnp.where(size > 0, v / jnp.where(size > 0, size, 1.0), v)
