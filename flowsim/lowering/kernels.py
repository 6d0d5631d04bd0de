r"""Numeric kernels of the nodes that neither NumPy nor JAX has, one class a backend.

The fractional powers of the balanced law are evaluated from one singular value decomposition of W,
never from an eigendecomposition of a Gram matrix: an error δ in an eigenvalue of :math:`WW^\top`
becomes :math:`\delta^{1/N}` in its N-th root. With the thin decomposition :math:`W = USV^\top`

.. math:: (WW^\top)^a = U S^{2a} U^\top \ (a > 0), \qquad (WW^\top)^0 = I,

so the null directions of a rectangular W are exact zeros that nothing has to pad, and singular
values below 1e-13 of the largest are set to zero: they are rounding, which the power would blow up.

The derivative rule is that of Daleckii and Krein, with divided differences of :math:`x^a`
evaluated without cancellation. It is finite everywhere: at repeated singular values it is the
derivative; at zero ones, where :math:`x^a` has none, it is the derivative along matrices of the
same rank, which is where the flow stays.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

#: Singular values below this fraction of the largest are zeros.
RANK_TOLERANCE = 1e-13

#: Terms (coefficient, left exponent, right exponent) of a sum of sandwiches.
Terms = tuple[tuple[float, float, float], ...]


def _truncated_svd(xp: Any, W: Any) -> tuple[Any, Any, Any]:
    U, s, Vt = xp.linalg.svd(W, full_matrices=False)
    return U, xp.where(s > RANK_TOLERANCE * s[0], s, 0.0), Vt


def _power(xp: Any, s: Any, exponent: float) -> Any:
    """s**exponent with zeros kept zero, also for negative exponents."""
    return xp.where(s > 0, xp.where(s > 0, s, 1.0) ** exponent, 0.0)


def _sandwich(xp: Any, svd: tuple[Any, Any, Any], G: Any, terms: Terms) -> Any:
    """Σ c (WWᵀ)^a G (WᵀW)^b from the decomposition of W."""
    U, s, Vt = svd
    total = xp.zeros_like(G)
    UG, GV = U.T @ G, G @ Vt.T  # (r, d), (k, r)
    middle = UG @ Vt.T  # (r, r)
    multiplier = xp.zeros_like(middle)
    inner = False
    for c, a, b in terms:
        if a and b:
            multiplier = multiplier + c * _power(xp, s, 2 * a)[:, None] * _power(xp, s, 2 * b)
            inner = True
        elif a:
            total = total + U @ (c * _power(xp, s, 2 * a)[:, None] * UG)
        elif b:
            total = total + (c * GV * _power(xp, s, 2 * b)) @ Vt
        else:
            total = total + c * G
    return total + U @ (multiplier * middle) @ Vt if inner else total


class NumpyKernels:
    """The nodes on NumPy arrays."""

    xp = np

    @staticmethod
    def sandwich(W: np.ndarray, G: np.ndarray, terms: Terms) -> np.ndarray:
        """Return Σ c (WWᵀ)^a G (WᵀW)^b over the terms (c, a, b)."""
        return _sandwich(np, _truncated_svd(np, W), G, terms)

    @staticmethod
    def norm(A: np.ndarray) -> Any:
        """Return the Frobenius norm, without underflow."""
        largest = np.max(np.abs(A))
        return largest * np.sqrt(np.sum((A / largest) ** 2)) if largest > 0 else largest

    @staticmethod
    def project(w: np.ndarray, g: np.ndarray) -> np.ndarray:
        """Return the projection of g on the direction of w, zero at w = 0."""
        size = NumpyKernels.norm(w)
        return (w / size) * np.sum((w / size) * g) if size > 0 else np.zeros_like(g)


@functools.partial(jax.custom_jvp, nondiff_argnums=(2,))
def _sandwich_jax(W: Any, G: Any, terms: Terms) -> Any:
    return _sandwich(jnp, _truncated_svd(jnp, W), G, terms)


@_sandwich_jax.defjvp
def _sandwich_jvp(terms: Terms, primals: tuple, tangents: tuple) -> tuple[Any, Any]:
    (W, G), (dW, dG) = primals, tangents
    svd = _truncated_svd(jnp, W)
    U, s, Vt = svd
    dvs = (Vt.T, s, U.T)  # of Wᵀ
    tangent = _sandwich(jnp, svd, dG, terms)
    for c, a, b in terms:
        if a:
            tangent = tangent + c * _gram_power_jvp(svd, dW, a) @ _apply_right(svd, G, b)
        if b:
            tangent = tangent + c * _apply_left(svd, G, a) @ _gram_power_jvp(dvs, dW.T, b)
    return _sandwich(jnp, svd, G, terms), tangent


def _apply_left(svd: tuple[Any, Any, Any], G: Any, a: float) -> Any:
    return _sandwich(jnp, svd, G, ((1.0, a, 0.0),))


def _apply_right(svd: tuple[Any, Any, Any], G: Any, b: float) -> Any:
    return _sandwich(jnp, svd, G, ((1.0, 0.0, b),))


def _gram_power_jvp(svd: tuple[Any, Any, Any], dW: Any, a: float) -> Any:
    """Derivative of (WWᵀ)^a in the direction dW."""
    U, s, Vt = svd
    left = dW @ Vt.T  # (k, r)
    core = U.T @ left  # (r, r)
    change = core * s + (core * s).T  # Uᵀ d(WWᵀ) U
    inside = U @ (_divided_difference(s, a) * change) @ U.T
    # Directions outside the range of W: the divided difference with a zero is s^{2a-2}.
    outside = (left - U @ core) * _power(jnp, s, 2 * a - 1) @ U.T
    return inside + outside + outside.T


def _divided_difference(s: Any, a: float) -> Any:
    """(s_r^{2a} - s_q^{2a}) / (s_r^2 - s_q^2), without cancellation; zero where both are zero.

    With δ = ln(larger/smaller) it is larger^{2a-2} expm1(-2aδ)/expm1(-2δ).
    """
    large = jnp.maximum(s[:, None], s[None, :])
    small = jnp.minimum(s[:, None], s[None, :])
    both = small > 0
    safe_small = jnp.where(both, small, 1.0)
    delta = jnp.where(both, jnp.log1p((large - small) / safe_small), jnp.inf)
    tiny = delta < 1e-8
    safe = jnp.where(tiny, 1.0, delta)
    ratio = jnp.where(
        tiny, a * (1 + (1 - a) * delta), jnp.expm1(-2 * a * safe) / jnp.expm1(-2 * safe)
    )
    return _power(jnp, large, 2 * a - 2) * ratio


class JaxKernels:
    """The nodes on JAX arrays, with derivative rules that are finite everywhere."""

    xp = jnp

    @staticmethod
    def sandwich(W: Any, G: Any, terms: Terms) -> Any:
        """Return Σ c (WWᵀ)^a G (WᵀW)^b over the terms (c, a, b)."""
        return _sandwich_jax(W, G, terms)

    @staticmethod
    def norm(A: Any) -> Any:
        """Return the Frobenius norm, without underflow; its derivative at zero is zero."""
        largest = jax.lax.stop_gradient(jnp.max(jnp.abs(A)))
        scale = jnp.where(largest > 0, largest, 1.0)
        square = jnp.sum((A / scale) ** 2)
        return jnp.where(largest > 0, scale * jnp.sqrt(jnp.where(largest > 0, square, 1.0)), 0.0)

    @staticmethod
    def project(w: Any, g: Any) -> Any:
        """Return the projection of g on the direction of w, zero at w = 0."""
        size = JaxKernels.norm(w)
        direction = jnp.where(size > 0, w / jnp.where(size > 0, size, 1.0), 0.0)
        return direction * jnp.sum(direction * g)


KERNELS: dict[str, Any] = {"numpy": NumpyKernels, "jax": JaxKernels}
