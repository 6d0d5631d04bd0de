"""Extreme eigenvalues of the Hessian: the sharpness λ_max and the most negative curvature λ_min."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jax.flatten_util import ravel_pytree
from scipy.sparse.linalg import LinearOperator, eigsh

from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._threads import one_blas_thread
from flowsim._types import FloatArray, PyTree
from flowsim.lowering import VectorField, as_field
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
    products, started at each state from where the one before ended.

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
        H = -jax.jacfwd(lambda u: _flat_field(field, unravel, u))(v)
        values = jax.numpy.linalg.eigvalsh((H + H.T) / 2)
        return values[jax.numpy.array([0, -1])]

    return jax.lax.map(one, stack)


@eqx.filter_jit
def _hessian_product(field: VectorField, unravel: Callable, at: Any, v: Any) -> Any:
    return -jax.jvp(lambda u: _flat_field(field, unravel, u), (at,), (v,))[1]


def _flat_field(field: VectorField, unravel: Callable, v: Any) -> Any:
    return ravel_pytree(field(0.0, unravel(v), None))[0]


def _lanczos_extremes(
    field: VectorField, unravel: Callable, stack: FloatArray
) -> tuple[FloatArray, FloatArray]:
    size = stack.shape[1]
    start = np.random.default_rng(0).normal(size=size)
    lowest, highest = [], []
    make_operator: Any = LinearOperator  # whose stub describes the constructor of its subclasses
    for at in stack:
        operator = make_operator(
            (size, size),
            matvec=lambda v, at=at: np.asarray(
                _hessian_product(field, unravel, at, np.asarray(v, stack.dtype).reshape(size))
            ),
            dtype=stack.dtype,
        )
        tolerance: Any = _TOLERANCE
        values, vectors = eigsh(operator, k=2, which="BE", v0=start, tol=tolerance)
        lowest.append(values[0])
        highest.append(values[-1])
        start = vectors.sum(axis=1)
    return np.array(lowest), np.array(highest)
