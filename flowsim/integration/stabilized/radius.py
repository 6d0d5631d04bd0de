r"""The spectral radius of a field's Jacobian, by power iteration on Jacobian-vector products.

A gradient flow's Jacobian is minus the Hessian and its spectral radius is the sharpness. From a
unit vector v, one step of the iteration is

.. math:: v \leftarrow J v / |J v|.

For a symmetric J, :math:`|Jv|` approaches the radius from below, and slowly where the largest
eigenvalues are close. But there is an eigenvalue within :math:`|Jv - \theta v|` of the Rayleigh
quotient :math:`\theta = v^\top J v`, so that the estimate is

.. math:: \rho = |\theta| + |J v - \theta v|,

which is hardly ever too small and has a margin as long as the iteration has not settled. An
eigenvalue counts by its modulus: negative curvature as much as positive. The vector of one state is
an excellent start at the next, where one product is then enough; a little pseudo-random noise is
mixed in each time, without which a direction that the vector has lost could grow sharp unseen.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

#: A cold start iterates to a relative change below this, with at most so many products.
COLD_CHANGE, COLD_PRODUCTS = 0.002, 50
#: A warm start needs one product if that changes little, and has at most so many.
WARM_CHANGE, WARM_PRODUCTS = 0.05, 10
#: Share of pseudo-random noise in the unit vector of a warm start.
NOISE = 0.02


class Estimate(eqx.Module):
    """What is known of the spectral radius at a state.

    Attributes
    ----------
    radius
        The estimate, of shape ().
    least
        The norm of the Jacobian's last product with a unit vector: if the Jacobian is symmetric,
        the radius is not smaller.
    direction
        The last vector of the iteration, a pytree like the state, of norm one.
    products
        How many Jacobian-vector products the estimate has taken since the cold start.
    """

    radius: Any
    least: Any
    direction: Any
    products: Any


@eqx.filter_jit
def estimate_spectral_radius(field: Callable, t: Any, y: Any, args: Any = None) -> Any:
    """Estimate the largest modulus of the eigenvalues of the field's Jacobian at y.

    For a gradient flow this is the largest curvature by modulus. The iteration starts from the
    velocity, which gradient flow tends to align with the stiff directions, plus pseudo-random
    noise, and takes products until the estimate changes by less than a fifth of a percent, fifty
    at most.

    Parameters
    ----------
    field
        The field, ``(t, y, args) -> dy/dt``.
    t, y, args
        Where to linearize it; y is a pytree of arrays.

    Returns
    -------
    jax.Array
        The estimate, of shape (): 0 for a Jacobian that is zero.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> with fs.float64():
    ...     float(estimate_spectral_radius(lambda t, y, args: -y**3, 0.0, np.array([1.0, 2.0])))
    12.0
    """
    return cold_estimate(field, t, y, args).radius


def cold_estimate(field: Callable, t: Any, y: Any, args: Any) -> Estimate:
    """Estimate the radius at a first state, of which nothing is known."""
    velocity = field(t, y, args)
    start = _unit(_add(_unit(velocity), _unit(_noise(y, 0))))
    zero = jnp.zeros((), jnp.result_type(int))
    nothing = jnp.zeros((), _dtype(y))
    first = Estimate(nothing, nothing, start, zero)
    return _iterate(field, t, y, args, first, COLD_CHANGE, COLD_PRODUCTS)


def warm_estimate(field: Callable, t: Any, y: Any, args: Any, last: Estimate) -> Estimate:
    """Estimate the radius at a state from the estimate at one nearby."""
    noise = _scaled(NOISE, _unit(_noise(y, last.products)))
    start = eqx.tree_at(lambda e: e.direction, last, _unit(_add(last.direction, noise)))
    return _iterate(field, t, y, args, start, WARM_CHANGE, WARM_PRODUCTS)


def _iterate(
    field: Callable, t: Any, y: Any, args: Any, start: Estimate, change: float, most: int
) -> Estimate:
    # The estimate decides on stages and steps, which have no derivative; what the field closes
    # over has to be reached for that too.
    converted = eqx.filter_closure_convert(field, t, y, args)
    converted, t, y, args, start = _frozen((converted, t, y, args, start))
    _, product = jax.linearize(lambda v: converted(t, v, args), y)

    def unsettled(carry: tuple) -> Any:
        estimate, last = carry
        moved = jnp.abs(estimate.least - last) > change * estimate.least
        return moved & (estimate.products < start.products + most)

    def body(carry: tuple) -> tuple:
        estimate, _ = carry
        v = estimate.direction
        image = product(v)
        least = norm(image)
        quotient = sum(jax.tree.leaves(jax.tree.map(lambda a, b: jnp.sum(a * b), v, image)))
        residual = norm(_add(image, _scaled(-quotient, v)))
        # A zero image says nothing of where to go on: the vector stays.
        direction = _where(least > 0, _scaled(1 / jnp.where(least > 0, least, 1), image), v)
        new = Estimate(jnp.abs(quotient) + residual, least, direction, estimate.products + 1)
        return new, estimate.least

    # Compared with infinity at first: the loop is entered at least once.
    infinity = jnp.full_like(start.least, jnp.inf)
    return jax.lax.while_loop(unsettled, body, (start, infinity))[0]


def norm(tree: Any) -> Any:
    """The Euclidean norm of all entries of a pytree, in its own dtype."""
    leaves = jax.tree.leaves(tree)
    return jnp.sqrt(sum((jnp.sum(leaf * leaf) for leaf in leaves), jnp.zeros((), _dtype(tree))))


def _unit(tree: Any) -> Any:
    size = norm(tree)
    return _scaled(jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0), tree)


def _noise(y: Any, seed: Any) -> Any:
    leaves, structure = jax.tree.flatten(y)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), seed), len(leaves))
    drawn = [jax.random.normal(k, jnp.shape(x), x.dtype) for k, x in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, drawn)


def _frozen(tree: Any) -> Any:
    arrays, others = eqx.partition(tree, eqx.is_inexact_array)
    return eqx.combine(jax.lax.stop_gradient(arrays), others)


def _add(a: Any, b: Any) -> Any:
    return jax.tree.map(jnp.add, a, b)


def _scaled(factor: Any, tree: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def _where(condition: Any, a: Any, b: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def _dtype(tree: Any) -> Any:
    return jnp.result_type(*jax.tree.leaves(tree))
