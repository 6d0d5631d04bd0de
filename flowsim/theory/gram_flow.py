r"""The Gram matrix of a two-layer network in time, at any time, in float64.

This evaluates the closed form of :mod:`flowsim.theory.riccati` without forming the inverse in it,
whose condition number grows as :math:`e^{2 t f_{\max}}`.
"""

from __future__ import annotations

import math

import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.theory.linear_networks import ROUND_OFF

__all__ = ["imbalance", "latest", "spectrum", "stacked", "two_layer_gram"]


def two_layer_gram(t: ArrayLike, *, W1: ArrayLike, W2: ArrayLike, target: ArrayLike) -> np.ndarray:
    r"""Return :math:`P = Q Q^\top`, :math:`Q = (W_1^\top; W_2)`, of a two-layer network in time.

    The loss is :math:`\frac12\|W_2 W_1 - S\|_F^2`. The blocks of P are :math:`W_1^\top W_1` and
    :math:`W^\top` above, :math:`W` and :math:`W_2 W_2^\top` below.

    Parameters
    ----------
    t
        Times, not negative, of shape (T,).
    W1, W2
        The factors at time 0, shapes (h, d) and (k, h), with
        :math:`W_2^\top W_2 - W_1 W_1^\top = \lambda I` for some λ of either sign.
    target
        S, shape (k, d).

    Returns
    -------
    numpy.ndarray
        Shape (T, d + k, d + k).

    Raises
    ------
    InputError
        If shapes do not fit, or the factors are not balanced up to a multiple of the identity.

    Notes
    -----
    The inverse in the boxed formula has a condition number of :math:`e^{2 t f_{\max}}`, f the
    eigenvalues of F, and is not formed. With :math:`\varphi = (e^{2ft} - 1)/(2f)` and C the
    coordinates of :math:`Q_0` in the eigenvectors,

    .. math:: P = G\, H H^\top G, \qquad
        \begin{pmatrix} \varphi^{1/2} C \\ I \end{pmatrix} = \begin{pmatrix} H \\ * \end{pmatrix} R,
        \qquad G = \varphi^{-1/2} e^{ft},

    where G stays below :math:`\sqrt{2f} + 1/\sqrt t`, and a QR decomposition with sorted rows and
    pivoted columns keeps every row of H to round-off however unlike the rows are in size.

    References
    ----------
    Dominé et al. 2024, arXiv:2409.14623, theorem on exact learning dynamics; Braun et al. 2022.

    Examples
    --------
    >>> P = two_layer_gram([0.0, 50.0], W1=[[0.1]], W2=[[0.1]], target=[[2.0]])
    >>> P.round(12).tolist()
    [[[0.01, 0.01], [0.01, 0.01]], [[2.0, 2.0], [2.0, 2.0]]]
    """
    times = check_array("t", t, ndim=1).astype(np.float64)
    if (times < 0).any():
        raise InputError(f"t holds {times.min():g}; pass times from 0 on.")
    W1, W2 = (check_array(n, W, ndim=2).astype(float) for n, W in (("W1", W1), ("W2", W2)))
    S = check_array("target", target, ndim=2).astype(np.float64)
    if W1.shape[0] != W2.shape[1] or S.shape != (W2.shape[0], W1.shape[1]):
        raise InputError(
            f"W1, W2 and target have shapes {W1.shape}, {W2.shape} and {S.shape}, where (h, d), "
            "(k, h) and (k, d) are needed."
        )
    off, level = imbalance(W1, W2)
    if off is not None:
        raise InputError(f"W1 and W2 do not fit: {off}")
    f, V, C = spectrum(W1, W2, S, level)
    if times.size and times.max() > latest(f):
        raise InputError(f"t holds {times.max():g}; exp(F t) overflows after {latest(f):g}.")
    Z = V @ stacked(times, f, C)
    return Z @ np.swapaxes(Z, 1, 2)


def imbalance(W1: np.ndarray, W2: np.ndarray) -> tuple[str | None, float]:
    """Return what keeps the imbalance from being a multiple of I (None), and the multiple.

    The largest entry that is off is held against the squared norms of both factors together.
    """
    defect = W2.T @ W2 - W1 @ W1.T
    level = float(np.trace(defect)) / len(defect)
    off = np.abs(defect - level * np.eye(len(defect))).max()
    size = np.linalg.norm(W1) ** 2 + np.linalg.norm(W2) ** 2
    if off <= ROUND_OFF * size:
        return None, level
    return (
        f"W_2^T W_2 - W_1 W_1^T differs from the nearest multiple of the identity, {level:.2g} I, "
        f"by {off:.2g}; TwoLayer.lambda_balanced makes a start.",
        level,
    )


def spectrum(
    W1: np.ndarray, W2: np.ndarray, S: np.ndarray, level: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return eigenvalues and eigenvectors of F, and the coordinates C of Q at time 0."""
    k, d = S.shape
    F = np.block([[-level / 2 * np.eye(d), S.T], [S, level / 2 * np.eye(k)]])
    f, V = np.linalg.eigh(F)
    return f, V, V.T @ np.vstack([W1.T, W2])


def latest(f: np.ndarray) -> float:
    """Time up to which exp(F t) does not overflow in the widest floating-point format there is."""
    room = 0.9 * np.finfo(np.longdouble).maxexp * math.log(2.0)
    return float(room / f.max()) if f.max() > 0 else math.inf


def stacked(t: np.ndarray, f: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Return Z(t), shape (T, d + k, h), with P = V Z Z^T V^T."""
    return np.array([_stacked_at(np.longdouble(x), f, C) for x in t]).reshape(len(t), *C.shape)


def _stacked_at(t: np.longdouble, f: np.ndarray, C: np.ndarray) -> np.ndarray:
    f, C = f.astype(np.longdouble), C.astype(np.longdouble)
    size = np.where(f == 0, 1.0, np.abs(f))
    # phi^(1/2) and its reciprocal times exp(f t), with the large exponential in one of them only.
    root = np.sqrt(np.where(f == 0, t, -np.expm1(-2 * size * t) / (2 * size)))
    growth = np.exp(f * t)
    X = (root * np.where(f > 0, growth, 1.0))[:, None] * C
    if np.abs(X).max() <= 2:
        # Early, where 1/sqrt(phi) would lose digits and the inverse is harmless.
        M = np.eye(C.shape[1]) + (X.T @ X).astype(np.float64)
        R = np.linalg.cholesky(M).T
        return np.linalg.solve(R.T, (growth[:, None] * C).T.astype(np.float64)).T
    Q = _graded_columns(np.vstack([X, np.eye(C.shape[1], dtype=np.longdouble)]))[: len(f)]
    return ((np.where(f > 0, 1.0, growth) / root)[:, None] * Q).astype(np.float64)


def _graded_columns(A: np.ndarray) -> np.ndarray:
    """Orthonormalise the columns of a matrix whose rows may be of very different sizes.

    Householder's method with rows sorted by size and columns pivoted is stable row by row (Cox and
    Higham, Stability of Householder QR factorization for weighted least squares, 1998).
    """
    rows, columns = A.shape
    order = np.argsort(-np.abs(A).max(axis=1), kind="stable")
    R, reflectors = A[order].copy(), []
    for j in range(columns):
        sizes = np.abs(R[j:, j:]).max(axis=0)
        scale = sizes.max()
        # Norms by way of the largest entry: squares of what is near the end of the range overflow.
        best = j + int(np.argmax(np.sum((R[j:, j:] / scale) ** 2, axis=0)))
        R[:, [j, best]] = R[:, [best, j]]
        v = R[j:, j] / scale
        v[0] += np.copysign(np.sqrt(np.sum(v * v)), v[0])
        beta = 2 / np.sum(v * v)
        R[j:, j:] -= np.outer(v, beta * (v @ R[j:, j:]))
        reflectors.append((v, beta))
    Q = np.eye(rows, columns, dtype=A.dtype)
    for j, (v, beta) in reversed(list(enumerate(reflectors))):
        Q[j:] -= np.outer(v, beta * (v @ Q[j:]))
    back = np.empty_like(Q)
    back[order] = Q
    return back
