r"""Quadratic losses, recognised.

The closed forms of deep linear networks are about squared error,
:math:`L(W) = \frac12\operatorname{tr}(W - \Phi)\Sigma(W - \Phi)^\top + c`, that is about a target
:math:`\Phi` and the second moment :math:`\Sigma` of the inputs, shared by all outputs. Here a loss
is asked whether it is of that form, and for the two matrices.
"""

from __future__ import annotations

import weakref
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from flowsim._precision import in_float64
from flowsim.problems import LpLoss, Problem
from flowsim.problems.losses import Loss, as_loss

__all__ = ["Quadratic", "quadratic_form", "quadratic_of"]

#: Relative difference up to which two Hessians are the same.
_SAME = 1e-10
#: Relative size below which a direction of the inputs carries nothing.
_RANK = 1e-12


class Quadratic(NamedTuple):
    """Target and curvature of a quadratic loss.

    Attributes
    ----------
    target : numpy.ndarray
        A minimiser Φ of the loss, shape (k, d) or (d,); the one of least norm where there are many.
    curvature : numpy.ndarray
        The matrix Σ, shape (d, d), symmetric and positive semidefinite.
    """

    target: np.ndarray
    curvature: np.ndarray


def quadratic_form(loss: Loss, shape: tuple[int, ...]) -> Quadratic | None:
    r"""Return Φ and Σ with :math:`L(W) = \frac12\operatorname{tr}(W-\Phi)\Sigma(W-\Phi)^\top + c`.

    An :class:`flowsim.LpLoss` with p = 2 is read exactly, from its data. Any other loss is asked
    for its gradient and Hessian by JAX: it is quadratic if at a few random points, of sizes 0.1 to
    10, the Hessian is the same operator :math:`V \mapsto V \Sigma` to 1e-10, and the gradient is
    :math:`(W - \Phi)\Sigma`.

    Parameters
    ----------
    loss
        A flowsim loss, or a JAX scalar function of the end-to-end parameter.
    shape
        Shape of the end-to-end parameter as the loss takes it, (k, d) or (d,).

    Returns
    -------
    Quadratic or None
        None where the loss is not of that form, or is unbounded below.

    Notes
    -----
    Sampling decides: a function that is quadratic at every point tried, and not elsewhere, is not
    told from one that is quadratic.

    Examples
    --------
    >>> import jax.numpy as jnp
    >>> found = quadratic_form(lambda w: (w[0] - 1) ** 2 + 2 * (w[1] + w[0]) ** 2, (2,))
    >>> found.target.round(12).tolist(), found.curvature.tolist()
    ([1.0, -1.0], [[6.0, 4.0], [4.0, 4.0]])
    >>> quadratic_form(lambda w: jnp.sum(w**4), (2,)) is None
    True
    """
    loss = as_loss(loss)
    if len(shape) not in (1, 2):
        return None
    if isinstance(loss, LpLoss):
        return _from_data(loss) if loss.p == 2 else None
    return _from_hessian(loss, shape)


_KNOWN: weakref.WeakKeyDictionary[Problem, Quadratic | None] = weakref.WeakKeyDictionary()


def quadratic_of(problem: Problem) -> Quadratic | None:
    """Return Φ, of shape (k, d), and Σ for the loss of a problem, remembered for the problem."""
    if problem not in _KNOWN:
        shape = problem.parametrization.end_to_end_shape
        found = quadratic_form(problem.loss, shape[-1:] if problem.vector else shape)
        if found is not None:
            target = found.target.reshape(-1, found.target.shape[-1])
            found = Quadratic(target, found.curvature)
        _KNOWN[problem] = found
    return _KNOWN[problem]


def _from_data(loss: LpLoss) -> Quadratic:
    data = loss.to_numpy()
    # For moments, inputs and labels are the triangular factor and its image, both over sqrt(m).
    rows = 1 if data.moments is not None else data.examples
    X, y = np.asarray(data.inputs, np.float64), np.asarray(data.labels, np.float64)
    target = np.linalg.lstsq(X, y, rcond=_RANK)[0].T
    covariance = X.T @ X / rows if data.moments is None else data.moments[0]
    curvature = 2.0 * data.scale * np.asarray(covariance, np.float64)
    return Quadratic(target, 0.5 * (curvature + curvature.T))


@in_float64
def _from_hessian(loss: Loss, shape: tuple[int, ...]) -> Quadratic | None:
    d = shape[-1]
    slope = jax.grad(loss)
    zero = jnp.zeros(shape)

    def curved(at: jax.Array, along: jax.Array) -> jax.Array:
        return jax.jvp(slope, (at,), (along,))[1]

    units = jnp.eye(d) if len(shape) == 1 else jnp.zeros((d, *shape)).at[:, 0, :].set(jnp.eye(d))
    columns = np.asarray(jax.vmap(lambda e: curved(zero, e))(units))
    sigma = columns if len(shape) == 1 else columns[:, 0, :]
    size = np.abs(columns).max()
    if not np.isfinite(columns).all() or np.abs(sigma - sigma.T).max() > _SAME * size:
        return None
    sigma = 0.5 * (sigma + sigma.T)
    pull = -np.asarray(slope(zero))

    rng = np.random.default_rng(20)
    for scale in (0.1, 1.0, 10.0):
        W, V = scale * rng.standard_normal(shape), rng.standard_normal(shape)
        # One random direction tells two linear maps apart, save with probability 0.
        bend, expected = np.asarray(curved(jnp.asarray(W), jnp.asarray(V))), V @ sigma
        if not np.abs(bend - expected).max() <= _SAME * np.abs(V).max() * size:
            return None
        force = np.asarray(slope(jnp.asarray(W)))
        largest = np.abs(W).max() * size + np.abs(pull).max()
        if not np.abs(force - (W @ sigma - pull)).max() <= _SAME * d * largest:
            return None

    values, vectors = np.linalg.eigh(sigma)
    kept = values > _RANK * size
    if (values < -_RANK * size).any():
        return None
    inverse = (vectors[:, kept] / values[kept]) @ vectors[:, kept].T
    target = pull @ inverse
    # What pulls along a flat direction has no minimum.
    if np.abs(target @ sigma - pull).max() > _SAME * max(np.abs(pull).max(), size):
        return None
    return Quadratic(target, sigma)
