r"""The antisymmetric part of a numeric field's Jacobian: what keeps it from being a gradient."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from flowsim._checks import check_array, check_choice, known_keywords
from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._types import ArrayLike, FloatArray
from flowsim.instruments.fields import array_function, call, traceable

__all__ = ["AntisymmetricPart", "antisymmetric_part"]

_LEVELS = 7  # of Richardson's extrapolation


@dataclass(frozen=True, eq=False)
class AntisymmetricPart:
    r""":math:`J_F - J_F^\top` at a point.

    Attributes
    ----------
    matrix : array, shape (n, n)
        Of the field on flattened points (row after row): n = d, or n = k d.
    error : float
        An estimate of the largest error of an entry.
    method : str
        ``"jax"`` or ``"differences"``.
    """

    matrix: FloatArray
    error: float
    method: str

    @property
    def norm(self) -> float:
        """The Frobenius norm."""
        return float(np.linalg.norm(self.matrix))

    def __repr__(self) -> str:
        return f"AntisymmetricPart(norm {self.norm:.6g}, error {self.error:.1g}, {self.method})"


@known_keywords
@in_float64
def antisymmetric_part(field: Any, w: ArrayLike, *, method: str = "auto") -> AntisymmetricPart:
    r"""Return :math:`J_F - J_F^\top` of a field at a point; it is 0 everywhere for a gradient.

    With one output a balanced network can be conservative at depth 2. With several outputs it is
    in general not, even on a linear loss: the example has
    :math:`F = (W W^\top)^{1/2} G + G (W^\top W)^{1/2}` with a constant G.

    Parameters
    ----------
    field
        A vector field ``(t, y, args)``, or a function ``w -> F(w)``: told apart by how many
        arguments it needs. Used as it is: the field of a *flow* is -F, and so is its antisymmetric
        part.
    w : array, shape (d,) or (k, d)
        The point. A matrix is flattened row after row.
    method : str
        ``"jax"`` differentiates the field, ``"differences"`` takes central differences,
        extrapolated to order 14. ``"auto"`` differentiates whatever JAX can trace.

    Returns
    -------
    AntisymmetricPart

    Raises
    ------
    InputError
        If the field is not finite at w, or its derivative is not (as the derivative of a singular
        value decomposition is where singular values repeat): then ``"differences"`` will do.

    Examples
    --------
    >>> import numpy as np
    >>> W = np.array([[0.9, 0.2, -0.4], [0.3, -0.7, 0.5]])
    >>> G = np.array([[1.0, -0.5, 0.3], [0.4, 0.9, -0.6]])
    >>> def depth_two(W):
    ...     u, s, v = np.linalg.svd(W, full_matrices=False)
    ...     return u @ np.diag(s) @ u.T @ G + G @ v.T @ np.diag(s) @ v
    >>> round(antisymmetric_part(depth_two, W).norm, 9)
    0.384080140
    """
    method = check_choice("method", method, ("auto", "jax", "differences"))
    w = check_array("w", w, ndim=(1, 2)).astype(np.float64)
    function = array_function(field)
    call(function, w)
    if method == "auto":
        method = "jax" if traceable(function, w) else "differences"
    if method == "differences":
        J, error = _differences(function, w)
    else:
        J = np.asarray(
            jax.jacfwd(lambda x: jax.numpy.ravel(function(x.reshape(w.shape))))(w.ravel())
        )
        error = 8 * np.finfo(float).eps * float(np.max(np.abs(J)))
        if not np.isfinite(J).all():
            raise InputError(
                "field has no finite derivative here as JAX differentiates it; pass "
                "method='differences'."
            )
    return AntisymmetricPart(J - J.T, 2 * error, method)


def _differences(function: Callable[[Any], Any], w: FloatArray) -> tuple[FloatArray, float]:
    """The Jacobian by central differences, each column from its best extrapolation."""
    n = w.size
    J = np.empty((n, n))
    worst = 0.0
    width = 0.05 * (float(np.max(np.abs(w))) or 1.0)
    for j in range(n):
        step = np.zeros(n)
        step[j] = 1.0
        step = step.reshape(w.shape)
        best, best_error = np.zeros(n), np.inf
        row: list[FloatArray] = []
        for level in range(_LEVELS):
            h = width / 2**level
            ahead, behind = call(function, w + h * step), call(function, w - h * step)
            new = [(ahead - behind).ravel() / (2 * h)]
            for k, before in enumerate(row, start=1):
                new.append(new[-1] + (new[-1] - before) / (4.0**k - 1))
                error = max(
                    float(np.max(np.abs(new[-1] - new[-2]))),
                    float(np.max(np.abs(new[-1] - before))),
                )
                if error < best_error:
                    best, best_error = new[-1], error
            row = new
        J[:, j] = best
        worst = max(worst, best_error)
    return J, worst
