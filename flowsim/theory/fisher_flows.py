r"""Natural gradient and K-FAC flows of linear networks under squared error, in closed form.

References
----------
J. Martens, R. Grosse, Optimizing neural networks with Kronecker-factored approximate curvature,
ICML 2015, arXiv:1503.05671.
A. Bernacchia, M. Lengyel, G. Hennequin, Exact natural gradient in deep linear networks and its
application to the nonlinear case, NeurIPS 2018.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowsim._checks import check_array, check_count, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.linear_networks import product

__all__ = [
    "check_elapsed",
    "kfac_chain",
    "kfac_flow",
    "kfac_velocity",
    "natural_gradient_flow",
]


def natural_gradient_flow(t: ArrayLike, *, W0: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return :math:`W(t) = W^* + e^{-t} (W_0 - W^*)`.

    Parameters
    ----------
    t
        Times, not negative, of shape (T,).
    W0, target
        Start and optimum, shape (k, d).

    Returns
    -------
    numpy.ndarray
        Shape (T, k, d).

    Notes
    -----
    The loss is :math:`\frac12\mathbb E\|y - Wx\|^2` and the Fisher matrix that of outputs with unit
    variance, targets sampled from the model. Without the 1/2 in the loss the rate doubles; the
    empirical Fisher matrix, or damping, give no closed form.

    Examples
    --------
    >>> natural_gradient_flow([0.0, 1.0], W0=[[1.0]], target=[[2.0]]).round(6).ravel().tolist()
    [1.0, 1.632121]
    """
    return kfac_flow(t, W0=W0, target=target, N=1)


def kfac_flow(t: ArrayLike, *, W0: ArrayLike, target: ArrayLike, N: int) -> np.ndarray:
    r"""Return :math:`W(t) = W^* + e^{-Nt} (W_0 - W^*)`, for N layers.

    Parameters
    ----------
    t
        Times, not negative, of shape (T,).
    W0, target
        Start and optimum, shape (k, d).
    N
        The number of layers.

    Returns
    -------
    numpy.ndarray
        Shape (T, k, d).

    Notes
    -----
    All :math:`W_{N:i+1}` must be onto and all :math:`W_{i-1:1}` injective, which generic factors of
    widths of at least max(k, d) are; :func:`kfac_velocity` holds without that.

    Examples
    --------
    >>> kfac_flow([1.0], W0=[[1.0]], target=[[2.0]], N=3).round(6).ravel().tolist()
    [1.950213]
    """
    W0, target = (
        check_array(n, W, ndim=2).astype(float) for n, W in (("W0", W0), ("target", target))
    )
    if W0.shape != target.shape:
        raise InputError(f"W0 has shape {W0.shape} and target {target.shape}; one shape is needed.")
    decay = -check_count("N", N) * check_elapsed(t, ndim=1)[:, None, None]
    return W0 * np.exp(decay) - target * np.expm1(decay)


def kfac_chain(t: ArrayLike, *, w0: ArrayLike, target: float) -> np.ndarray:
    r"""Return the weights of a chain of scalars along K-FAC flow.

    Their ratios are conserved (gradient flow conserves differences of squares), so that
    :math:`w_i(t) = w_i(0)\,(w(t)/w(0))^{1/N}` with the product w of rate N.

    Parameters
    ----------
    t
        Times, not negative, of shape (T,).
    w0
        Weights at time 0, shape (N,), none of them 0.
    target
        What the product is learned to, of the sign of the product at the start.

    Returns
    -------
    numpy.ndarray
        Shape (T, N).

    Raises
    ------
    InputError
        If a weight is 0, or the product would have to pass through 0, where there is no flow.

    Examples
    --------
    >>> kfac_chain([0.5], w0=[0.5, 0.8, 1.5], target=2.0).round(12).tolist()
    [[0.705793440725, 1.129269505160, 2.117380322176]]
    """
    w0, target = check_array("w0", w0, ndim=1).astype(np.float64), check_real("target", target)
    start = float(np.prod(w0))
    if start == 0 or target * start <= 0:
        raise InputError(
            f"w0 has the product {start:g} and target is {target:g}; they must be of one sign, and "
            "not 0."
        )
    decay = -len(w0) * check_elapsed(t, ndim=1)
    ratio = np.exp(decay) - target / start * np.expm1(decay)
    return w0 * (ratio ** (1.0 / len(w0)))[:, None]


def kfac_velocity(
    factors: tuple[ArrayLike, ...], *, target: ArrayLike, curvature: ArrayLike
) -> np.ndarray:
    r"""Return the velocity of W under K-FAC flow, for factors of any ranks.

    .. math::

        \dot W = -\sum_i \Pi^L_i (W - W^*) \Pi^R_i, \quad \Pi^L_i = W_{N:i+1} W_{N:i+1}^+, \quad
        \Pi^R_i = \Sigma W_{i-1:1}^\top (W_{i-1:1}\Sigma W_{i-1:1}^\top)^+ W_{i-1:1}

    Parameters
    ----------
    factors
        W_1, ..., W_N.
    target
        The optimum, shape (k, d).
    curvature
        Second moment of the inputs, Σ, shape (d, d), positive definite.

    Returns
    -------
    numpy.ndarray
        Shape (k, d).

    Examples
    --------
    >>> kfac_velocity(([[1.0]], [[1.0]]), target=[[3.0]], curvature=[[2.0]]).tolist()
    [[4.0]]
    """
    Ws = [check_array(f"factors[{j}]", W, ndim=2).astype(float) for j, W in enumerate(factors)]
    sigma = check_array("curvature", curvature, ndim=2).astype(np.float64)
    gap = product(tuple(Ws)) - check_array("target", target, ndim=2)
    total = np.zeros_like(gap)
    for i in range(len(Ws)):
        above = product((np.eye(len(Ws[i])), *Ws[i + 1 :]))
        below = product((np.eye(Ws[0].shape[1]), *Ws[:i]))
        left = above @ np.linalg.pinv(above)
        gram = below @ sigma @ below.T
        right = sigma @ below.T @ np.linalg.pinv(gram, hermitian=True) @ below
        total -= left @ gap @ right
    return total


def check_elapsed(t: Any, ndim: int | None = None) -> np.ndarray:
    """Return times as a float64 array, none of them negative."""
    times = check_array("t", t, ndim=ndim).astype(np.float64)
    if (times < 0).any():
        raise InputError(f"t holds {times.min():g}; pass times from 0 on.")
    return times
