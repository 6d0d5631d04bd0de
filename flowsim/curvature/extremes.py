"""Extreme eigenvalues of the Hessian: the sharpness λ_max and the most negative curvature λ_min."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import ArpackNoConvergence, LinearOperator, eigsh

from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._threads import one_blas_thread
from flowsim._types import FloatArray, PyTree
from flowsim.lowering import VectorField, as_field, flat_velocity, jacobian_product_at
from flowsim.problems import FunctionProblem, Problem

#: Number of parameters up to which the whole Hessian is formed and diagonalised.
LARGEST_DENSE = 512
_TOLERANCE = 1e-9


@in_float64
def extreme_eigenvalues(
    problem: Problem | FunctionProblem | VectorField, states: PyTree
) -> tuple[FloatArray, FloatArray]:
    """λ_min and λ_max of the Hessian of the loss at each of a stack of states.

    The Hessian is minus the Jacobian of the gradient flow's field. Up to 512 parameters it is
    formed and diagonalised; above, ARPACK's Lanczos iteration finds both ends from Hessian
    products, started at each state from where the one before ended, to 1e-9 of the larger modulus;
    NaN where it does not converge. With weight decay λ its multiple of the identity is included.

    Parameters
    ----------
    problem
        A problem, or the field of its own parameters.
    states
        A pytree of arrays with a leading axis of length T, such as ``trajectory.states``.

    Returns
    -------
    tuple of arrays
        ``lambda_min`` and ``lambda_max``, both of shape (T,).

    Raises
    ------
    InputError
        For a field on the end-to-end parameter, whose Jacobian is not a Hessian.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> from flowsim.curvature import extreme_eigenvalues
    >>> saddle = fs.Problem.from_function(lambda w: w[0] ** 2 - w[1] ** 2, np.zeros(2))
    >>> [values.tolist() for values in extreme_eigenvalues(saddle, np.zeros((1, 2)))]
    [[-2.0], [2.0]]
    """
    if isinstance(problem, VectorField) and not isinstance(
        problem.about.parent, (Problem, FunctionProblem)
    ):
        raise InputError(
            "problem is the field of a law or a function, whose Jacobian is not a Hessian. Pass "
            "the Problem."
        )
    field = as_field(problem)
    one = jax.tree.map(lambda leaf: leaf[0], states)
    flat, unravel = ravel_pytree(one)
    stack = np.asarray(jax.vmap(lambda y: ravel_pytree(y)[0])(states))
    if flat.size <= LARGEST_DENSE:
        with one_blas_thread():
            ends = np.asarray(_dense_extremes(field, unravel, stack))
        return ends[:, 0], ends[:, 1]
    return _lanczos_extremes(field, unravel, stack)


@eqx.filter_jit
def _dense_extremes(field: VectorField, unravel: Callable, stack: Any) -> Any:
    def one(v: Any) -> Any:
        H = -jax.jacfwd(lambda u: flat_velocity(field, unravel, 0.0, u))(v)
        values = jax.numpy.linalg.eigvalsh((H + H.T) / 2)
        return values[jax.numpy.array([0, -1])]

    return jax.lax.map(one, stack)


def _lanczos_extremes(
    field: VectorField, unravel: Callable, stack: FloatArray
) -> tuple[FloatArray, FloatArray]:
    start = np.random.default_rng(0).normal(size=stack.shape[1])
    ends = []
    for at in stack:

        def hessian(v: Any, at: FloatArray = at) -> FloatArray:
            v = np.asarray(v, stack.dtype).reshape(at.shape)
            return -np.asarray(jacobian_product_at(field, unravel, np.float64(0), at, v))

        pair, start = _both_ends(hessian, start)
        ends.append(pair)
    low, high = np.array(ends).T
    return low, high


def _both_ends(
    hessian: Callable[[Any], FloatArray], start: FloatArray
) -> tuple[tuple[float, float], FloatArray]:
    """λ_min and λ_max, and a vector to begin the next search from; NaN where ARPACK gives up.

    The end of larger modulus m first; the other is then the far end of ±(m - H), whose spectrum
    begins at zero. Asked for directly, an end inside a cluster near zero never meets a tolerance
    that is relative to itself.
    """
    if not np.any(hessian(start)):
        return (0.0, 0.0), start
    try:
        m, along = _largest(hessian, start)
        sign = 1.0 if m > 0 else -1.0
        span, across = _largest(lambda v: sign * (m * v.reshape(-1) - hessian(v)), start)
    except ArpackNoConvergence:
        return (np.nan, np.nan), start
    other = m - sign * abs(span)
    return (min(m, other), max(m, other)), along + across


def _largest(product: Callable[[Any], FloatArray], start: FloatArray) -> tuple[float, FloatArray]:
    """The eigenvalue of largest modulus of a symmetric operator, and its vector."""
    make_operator: Any = LinearOperator  # whose stub describes the constructor of its subclasses
    tolerance: Any = _TOLERANCE
    operator = make_operator((start.size, start.size), matvec=product, dtype=start.dtype)
    values, vectors = eigsh(operator, k=1, which="LM", v0=start, tol=tolerance)
    return float(values[0]), vectors[:, 0]
