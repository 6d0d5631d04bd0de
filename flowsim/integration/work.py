"""What integration costs, counted in evaluations of the field and of its derivatives."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax.numpy as jnp


class Work(eqx.Module):
    """Numbers of field evaluations, of Jacobians and of Jacobian-vector products.

    For a gradient flow these are gradients, Hessians and Hessian products.
    """

    gradients: Any
    jacobians: Any
    hessian_products: Any

    @classmethod
    def of(cls, gradients: Any = 0, jacobians: Any = 0, hessian_products: Any = 0) -> Work:
        """Counts as arrays of int64, or of int32 where JAX's 64-bit mode is off."""
        counts = (gradients, jacobians, hessian_products)
        return cls(*(jnp.asarray(count, jnp.result_type(int)) for count in counts))

    def __add__(self, other: Work) -> Work:
        return Work(
            self.gradients + other.gradients,
            self.jacobians + other.jacobians,
            self.hessian_products + other.hessian_products,
        )
