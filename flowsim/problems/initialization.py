"""Starts: balanced factors from a product, and factors near zero."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._types import ArrayLike


def balanced_factors(widths: tuple[int, ...], w0: ArrayLike) -> tuple[np.ndarray, ...]:
    """Factors (W_1, ..., W_N) with product ``w0`` and W_{j+1}ᵀW_{j+1} = W_jW_jᵀ.

    See :meth:`flowsim.problems.parametrizations.DeepLinear.balanced`.
    """
    d, k, N = widths[0], widths[-1], len(widths) - 1
    w0 = check_array("w0", w0, ndim=(1, 2))
    if w0.shape != (k, d) and not (k == 1 and w0.shape == (d,)):
        wanted = f"({k}, {d})" + (f" or ({d},)" if k == 1 else "")
        raise InputError(
            f"w0 has shape {w0.shape}; this network maps {d} inputs to {k} outputs, "
            f"so its end-to-end value has shape {wanted}."
        )
    U, s, Vt = np.linalg.svd(w0.reshape(k, d), full_matrices=False)
    # Singular values below the rounding of the largest one are zeros of the matrix as given.
    tiny = np.finfo(s.dtype).eps * max(k, d) * s[0]
    rank = int(np.sum(s > tiny))
    narrowest = min(widths)
    if narrowest < rank:
        raise InputError(
            f"w0 has rank {rank}, but the network's narrowest layer has width {narrowest}, so no "
            f"factors have this product. Widen the hidden layers to at least {rank}, or pass a "
            "w0 of lower rank."
        )
    root = s[:rank] ** (1.0 / N)
    factors = []
    for j in range(1, N + 1):
        left = U[:, :rank] if j == N else np.eye(widths[j], rank, dtype=s.dtype)
        right = Vt[:rank] if j == 1 else np.eye(rank, widths[j - 1], dtype=s.dtype)
        factors.append((left * root) @ right)
    return tuple(factors)


@in_float64
def near_zero_factors(
    shapes: tuple[tuple[int, ...], ...], key: Any, scale: float
) -> tuple[np.ndarray, ...]:
    """Independent Gaussian factors of standard deviation ``scale``, in float64."""
    scale = check_real("scale", scale, above=0.0)
    try:
        keys = jax.random.split(key, len(shapes))
    except (TypeError, ValueError):
        raise InputError(
            f"key is {key!r}; pass a JAX random key, such as jax.random.key(0)."
        ) from None
    return tuple(
        scale * np.asarray(jax.random.normal(k, shape, "float64"))
        for k, shape in zip(keys, shapes, strict=True)
    )
