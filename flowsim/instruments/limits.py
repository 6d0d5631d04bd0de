r"""Limit points of gradient flow, from the stationarity conditions instead of from integration.

Where gradient flow is a mirror flow, in time or after a change of time,
:math:`\nabla R(w(t)) - \nabla R(w(0)) = -\int_0^t s\, \nabla L`. If L is a function of :math:`Xw`,
the right-hand side is in the row space of X for ever, so that a limit with :math:`X w = y` is the
one point with

.. math:: X w = y, \qquad \nabla R(w) - \nabla R(w_0) = X^\top \lambda :

the point of the solutions that is nearest to the start in the Bregman divergence of R. It does not
depend on the loss, as long as the flow converges to :math:`Xw = y`.

With :math:`w = \nabla R^*(\nu_0 + X^\top \lambda)` what remains is the maximum of the concave
function :math:`\langle y, \lambda\rangle - R^*(\nu_0 + X^\top\lambda)` of :math:`\lambda \in
\mathbb R^n`, found by Newton's method with the exact Hessian :math:`X P X^\top` and steps that
never overshoot by much (:mod:`flowsim.instruments.dual_newton`); where the mirror variable is
parallel to w, one equation in one unknown (:mod:`flowsim.instruments.scalar_limits`).

References
----------
S. Gunasekar, J. Lee, D. Soudry, N. Srebro, Characterizing implicit bias in terms of optimization
geometry, ICML 2018, arXiv:1802.08246; B. Woodworth et al., COLT 2020, arXiv:2002.09277;
Z. Li, T. Wang, J. Lee, S. Arora, NeurIPS 2022, arXiv:2207.04036.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.instruments.dual_newton import dual_maximum
from flowsim.instruments.limit_point import BOUNDED, PROVIDED, LimitError, LimitPoint
from flowsim.instruments.orbits import DiagonalOrbit, EntrywiseOrbit, Orbit, ProductOrbit
from flowsim.instruments.scalar_limits import linear_limit, scaled_limit, weight_normalized_limit
from flowsim.problems.families import (
    Diagonal,
    DiagonalProduct,
    ScaledVector,
    TwoLayer,
    WeightNormalized,
)
from flowsim.problems.parametrizations import DeepLinear, Identity, Parametrization

__all__ = ["LimitError", "LimitPoint", "mirror_limit"]


def mirror_limit(
    parametrization: Parametrization, X: ArrayLike, y: ArrayLike, start: Any
) -> LimitPoint:
    r"""Find where gradient flow of a loss of :math:`Xw - y` ends, without integrating it.

    .. math:: X w = y, \qquad \nabla R(w) - \nabla R(w_0) \in \operatorname{row}(X) .

    Parameters
    ----------
    parametrization : Parametrization
        ``Diagonal`` and ``DiagonalProduct`` of any depth; any other map whose gradient fields
        commute, as :func:`flowsim.symbolic.mirror.mirror` decides; ``DeepLinear`` with one output
        from a balanced start (any depth), or with one hidden unit; ``ScaledVector`` from any start;
        ``WeightNormalized``, by its own invariant; ``Identity``.
    X : array, shape (n, d)
        Acts on the end-to-end parameter, row by row where that is a matrix.
    y : array, shape (n,)
        What :math:`Xw` is to be.
    start
        The factors at time 0; for ``DeepLinear`` with one output the end-to-end vector, shape
        (d,), will do.

    Returns
    -------
    LimitPoint
        With the point, the multipliers and the certificate.

    Raises
    ------
    InputError
        If :math:`Xw = y` has no solution, the map is no mirror flow, or the start does not fit.
    LimitError
        If no point of the image of the map satisfies the conditions.

    Notes
    -----
    The limit is that of the flow of least squares, and of any loss :math:`\ell(Xw)` with finite
    minimiser y and no other stationary point: its gradient is in row(X) as well. Losses without a
    finite minimiser (logistic, exponential) have no such limit.

    References
    ----------
    Woodworth et al. 2020, arXiv:2002.09277, theorem 1; Azulay et al. 2021, arXiv:2102.09769
    (change of time); Li et al. 2022, arXiv:2207.04036.

    Examples
    --------
    >>> import numpy as np
    >>> from flowsim.problems import Diagonal
    >>> X, y = np.array([[1.0, 2.0, -1.0]]), np.array([2.0])
    >>> alpha = np.full(3, 1e-3)
    >>> sparse = mirror_limit(Diagonal(3), X, y, (alpha, alpha))
    >>> sparse.w.round(3)
    array([ 0.001,  0.999, -0.001])
    >>> dense = mirror_limit(Diagonal(3), X, y, (alpha * 1e4, alpha * 1e4))
    >>> dense.w.round(3)
    array([ 0.333, 0.667, -0.333])
    """
    if not isinstance(parametrization, Parametrization):
        raise InputError(
            f"parametrization is {type(parametrization).__name__}; pass a Parametrization."
        )
    size = int(np.prod(parametrization.end_to_end_shape))
    X = check_array("X", X, ndim=2).astype(np.float64)
    y = check_array("y", y, ndim=1).astype(np.float64)
    if X.shape[1] != size or X.shape[0] != len(y) or not len(y):
        raise InputError(
            f"X has shape {X.shape} and y {y.shape}; (n, {size}) and (n,) are needed, with n >= 1."
        )
    rows, reduced, back = _independent(X, y)
    if isinstance(parametrization, Identity | DeepLinear | TwoLayer):
        return linear_limit(parametrization, X, y, rows, back, start)
    if isinstance(parametrization, ScaledVector):
        return scaled_limit(parametrization, X, y, rows, back, start)
    if isinstance(parametrization, WeightNormalized):
        return weight_normalized_limit(parametrization, X, y, rows, back, start)
    orbit, converges = _orbit(parametrization, start)
    state, multipliers, iterations = dual_maximum(orbit, rows, reduced)
    w = orbit.value(state)
    multipliers = back @ multipliers
    factors = zip(orbit.factors(state), parametrization.shapes, strict=True)
    return LimitPoint(
        w=w,
        multipliers=multipliers,
        factors=tuple(np.reshape(x, shape) for x, shape in factors),
        residual=float(np.abs(X @ w - y).max()),
        stationarity=orbit.stationarity(state, X.T @ multipliers),
        iterations=iterations,
        law=orbit.law,
        converges=converges,
    )


def _orbit(par: Parametrization, start: Any) -> tuple[Orbit, str]:
    """The orbit of a start, and why its flow converges."""
    theta = tuple(x.astype(np.float64) for x in par.check_factors(start, "start"))
    if isinstance(par, Diagonal) and par.depth >= 2:
        u, v = theta
        return DiagonalOrbit(u, v, par.depth), BOUNDED
    if isinstance(par, DiagonalProduct) and par.depth == 2:
        u, v = theta
        return ProductOrbit(u, v), BOUNDED if (np.abs(u) != np.abs(v)).all() else PROVIDED
    if not isinstance(par, Diagonal | DiagonalProduct):
        from flowsim.symbolic.mirror import mirror

        verdict = mirror(par)
        if not verdict.commuting:
            raise InputError(
                "parametrization: the limit is known from its mirror flow, and there is none that "
                f"is known. {verdict.because}"
            )
    return EntrywiseOrbit(par, theta), PROVIDED


# -- the rows --------------------------------------------------------------------------------------


def _independent(X: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Independent equations with the same solutions, and the map of their multipliers to all."""
    U, s, _ = np.linalg.svd(X, full_matrices=False)
    rank = int(np.count_nonzero(s > s[0] * max(X.shape) * 4 * np.finfo(float).eps))
    if rank == 0:
        raise InputError("X is 0; it says nothing about w.")
    U = U[:, :rank]
    missed = float(np.abs(y - U @ (U.T @ y)).max())
    if rank < len(y) and missed > 1e-10 * np.abs(y).max():
        raise InputError(
            f"X w = y has no solution: X has {len(y)} rows of rank {rank}, and y is {missed:.3g} "
            "from its range. Drop or correct the rows that contradict each other, or pass the "
            "least-squares values X @ np.linalg.lstsq(X, y)[0] for y, which gradient flow of "
            "least squares tends to."
        )
    if rank == len(y):
        return X, y, np.eye(len(y))
    return U.T @ X, U.T @ y, U
