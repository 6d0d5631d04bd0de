r"""The leading-order gap between gradient descent and its flow.

For gradient descent with step size η against the flow at :math:`t = k\eta`,

.. math:: \theta_k = \theta(t) + \eta e_1(t) + O(\eta^2), \qquad
          \dot e_1 = -H e_1 - \tfrac12 H \nabla\ell, \quad e_1(0) = 0,

with H and ∇ℓ at the flow's point. Written with the field F = -∇ℓ and its Jacobian J = -H this is
:math:`\dot e_1 = J(e_1 - \tfrac12 F)`: one field value and one Jacobian product, and it holds for
any autonomous field, gradient or not. It is the first coefficient of the asymptotic
expansion of Euler's global error (E. Hairer, S. P. Norsett and G. Wanner, Solving Ordinary
Differential Equations I, section II.8).
"""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import numpy as np

from flowsim._types import FloatArray, PyTree
from flowsim.lowering import VectorField


class FlowWithGap(eqx.Module):
    """The flow of (y, e₁) together."""

    field: VectorField

    def __call__(self, t: Any, state: tuple[PyTree, PyTree], args: Any = None) -> Any:
        """The velocities (F, J(e₁ - F/2))."""
        y, e = state
        velocity = self.field(t, y, args)
        direction = jax.tree.map(lambda a, f: a - 0.5 * f, e, velocity)
        _, change = jax.jvp(lambda z: self.field(t, z, args), (y,), (direction,))
        return velocity, change


def norms(states: PyTree) -> FloatArray:
    """The Euclidean norm of each of a stack of states, shape (T,)."""
    leaves = [np.reshape(leaf, (len(leaf), -1)) for leaf in jax.tree.leaves(states)]
    return np.linalg.norm(np.concatenate(leaves, axis=1), axis=1)


def difference(a: PyTree, b: PyTree) -> PyTree:
    """Return a - b, leaf by leaf."""
    return jax.tree.map(np.subtract, a, b)


@eqx.filter_jit
def end_to_end_change(field: VectorField, states: PyTree, changes: PyTree) -> Any:
    """The first-order change of the end-to-end parameter, Dφ(y) e, for stacked states."""

    def one(pair: tuple[PyTree, PyTree]) -> Any:
        return jax.jvp(field.read, (pair[0],), (pair[1],))[1]

    return jax.lax.map(one, (states, changes), batch_size=64)
