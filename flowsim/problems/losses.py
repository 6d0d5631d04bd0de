"""Losses on the end-to-end parameter.

A loss is a scalar function of the end-to-end parameter w, shape (d,) for one output and (k, d)
for several. It is an Equinox module whose arrays are leaves, so that a compiled program is reused
when only the numbers change, and the same code reads NumPy arrays and JAX arrays alike.
"""

from __future__ import annotations

import abc
import math
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_array, check_real, known_keywords
from flowsim._errors import InputError
from flowsim._precision import float64, require_float64
from flowsim._types import ArrayLike, ScalarFunction


class Loss(eqx.Module):
    """A scalar function L of the end-to-end parameter, with its gradient."""

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...] | None:
        """Shape of the end-to-end parameter, or None where the loss takes any."""

    @abc.abstractmethod
    def __call__(self, w: ArrayLike) -> Any:
        """The value L(w), a scalar."""

    @abc.abstractmethod
    def gradient(self, w: ArrayLike) -> Any:
        """The gradient of L at w, of the shape of w."""

    @abc.abstractmethod
    def to_numpy(self) -> Loss:
        """The same loss, reading and returning NumPy arrays."""

    @property
    @abc.abstractmethod
    def dtype(self) -> np.dtype | None:
        """Precision of the data, or None where the loss holds none."""


class LpLoss(Loss):
    r"""Mean :math:`\ell_p` regression loss of a linear predictor.

    .. math:: L(w) = \frac{s}{m} \sum_{i=1}^{m} \sum_{o=1}^{k} |x_i \cdot w_o - y_{io}|^p

    with residual = prediction - label and s = ``scale``. Arora, Cohen and Hazan (2018,
    arXiv:1802.06509, section 3) write it with s = 1/p, the default.

    For p = 2 with no more inputs than examples the data are replaced by their second moments:
    a triangular factor R with ``RᵀR = XᵀX/m``, which gives the same values without squaring the
    condition number of X, and the moments themselves for the gradient.

    Parameters
    ----------
    X
        Examples, shape (m, d), one a row.
    y
        Labels, shape (m,) for one output, (m, k) with k > 1 for several.
    p
        The exponent, a real number at least 1.
    scale
        The factor s; None means 1/p.

    Raises
    ------
    InputError
        If shapes disagree, y has shape (m, 1), values are not finite, p < 1 or scale <= 0.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> loss = fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=4)
    >>> float(loss(np.zeros(2)))                           # (1/4)(1 + 16)/2
    2.125
    >>> loss.gradient(np.zeros(2)).tolist()                # -(1, 8)/2
    [-0.5, -4.0]
    """

    inputs: Any  # (m, d), or R (d, d) for p = 2
    labels: Any  # (m,) or (m, k), or R's image of the labels (d,) or (d, k)
    moments: tuple[Any, Any] | None  # XᵀX/m (d, d) and Xᵀy/m (d,) or (d, k), for p = 2
    floor: Any  # least value of the mean of squares, for p = 2
    p: float = eqx.field(static=True)
    scale: float = eqx.field(static=True)
    examples: int = eqx.field(static=True)
    outputs: int | None = eqx.field(static=True)  # k, or None where y is a vector

    @known_keywords
    def __init__(self, X: ArrayLike, y: ArrayLike, *, p: float, scale: float | None = None) -> None:
        X, y = check_array("X", X, ndim=2), check_array("y", y, ndim=(1, 2))
        m, d = X.shape
        if m == 0 or d == 0:
            raise InputError(f"X has shape {X.shape}; at least one example and one input needed.")
        if y.shape[0] != m:
            raise InputError(
                f"y has {y.shape[0]} rows and X has {m}: pass one label (or row of labels) for "
                "each row of X."
            )
        if y.ndim == 2 and y.shape[1] == 1:
            raise InputError(
                f"y has shape {y.shape}, which broadcasts against predictions of shape ({m},). "
                "Pass y[:, 0] for a single output."
            )
        if y.ndim == 2 and y.shape[1] == 0:
            raise InputError(f"y has shape {y.shape}, which is no output at all.")
        self.p = check_real("p", p, at_least=1.0)
        self.scale = 1.0 / self.p if scale is None else check_real("scale", scale, above=0.0)
        self.examples = m
        self.outputs = None if y.ndim == 1 else y.shape[1]
        dtype = np.result_type(X, y)
        X, y = X.astype(dtype), y.astype(dtype)
        moments, floor = None, np.zeros((), dtype)
        if self.p == 2.0 and d <= m:
            moments = (X.T @ X / m, X.T @ y / m)
            root = math.sqrt(m)  # a Python number, which leaves float32 data float32
            Q, R = np.linalg.qr(X / root)
            z = Q.T @ (y / root)
            floor = np.asarray(np.sum((y / root - Q @ z) ** 2), dtype)
            X, y = R, z
        with float64():
            self.inputs, self.labels = jnp.asarray(X), jnp.asarray(y)
            self.moments = jax.tree.map(jnp.asarray, moments)
            self.floor = jnp.asarray(floor)

    @property
    def shape(self) -> tuple[int, ...]:
        """(d,) for one output, (k, d) for several."""
        d = self.inputs.shape[-1]
        return (d,) if self.outputs is None else (self.outputs, d)

    @property
    def dtype(self) -> np.dtype:
        """Precision of the data: float64, or float32 where both X and y were."""
        return np.dtype(self.inputs.dtype)

    def __call__(self, w: ArrayLike) -> Any:
        """The value L(w) for w of shape (d,) or (k, d)."""
        if self._wants_numpy(w):
            return self.to_numpy()(check_array("w", w))
        self._check_shape(w)
        xp = _namespace(self.inputs)
        residual = self.inputs @ w.T - self.labels
        if self.moments is not None:
            return self.scale * (xp.sum(residual * residual) + self.floor)
        return self.scale / self.examples * xp.sum(_abs_power(residual, self.p))

    def gradient(self, w: ArrayLike) -> Any:
        """The gradient of L at w: (s p / m) Σ_i |r_i|^{p-1} sign(r_i) x_i, of the shape of w."""
        if self._wants_numpy(w):
            return self.to_numpy().gradient(check_array("w", w))
        self._check_shape(w)
        if self.moments is not None:
            covariance, correlation = self.moments
            return 2.0 * self.scale * (w @ covariance - correlation.T)
        slope = _signed_power(self.inputs @ w.T - self.labels, self.p - 1.0)
        return self.scale * self.p / self.examples * (slope.T @ self.inputs)

    def to_numpy(self) -> LpLoss:
        """The same loss with NumPy arrays inside."""
        return jax.tree.map(np.asarray, self)

    def _wants_numpy(self, w: ArrayLike) -> bool:
        """Whether a direct call came with an array of NumPy's while the data are JAX's."""
        if isinstance(w, jax.Array):
            if isinstance(self.inputs, jax.Array):
                require_float64("LpLoss", self.dtype)
            return False
        return isinstance(self.inputs, jax.Array)

    def _check_shape(self, w: ArrayLike) -> None:
        """Refuse a parameter that would broadcast; shapes are known while JAX traces, too."""
        if w.shape != self.shape:
            raise InputError(f"w has shape {w.shape}; this loss is on shape {self.shape}.")


class FunctionLoss(Loss):
    """Any scalar function of the end-to-end parameter that JAX can differentiate.

    Called directly with a NumPy array it answers with one, in float64.
    """

    function: ScalarFunction = eqx.field(static=True)

    @property
    def shape(self) -> None:
        """None: the function takes what it takes."""
        return None

    @property
    def dtype(self) -> None:
        """None: what the function closes over is not known."""
        return None

    def __call__(self, w: ArrayLike) -> Any:
        """The value of the function at w."""
        if isinstance(w, np.ndarray):
            return self.to_numpy()(w)
        return self.function(w)

    def gradient(self, w: ArrayLike) -> Any:
        """The gradient of the function at w, by automatic differentiation."""
        if isinstance(w, np.ndarray):
            return self.to_numpy().gradient(w)
        return jax.grad(self.function)(w)

    def to_numpy(self) -> NumpyFunctionLoss:
        """The same function, called with NumPy arrays and compiled by JAX."""
        return NumpyFunctionLoss(self.function)


class NumpyFunctionLoss(Loss):
    """A JAX function that takes and returns NumPy arrays, in float64."""

    function: ScalarFunction = eqx.field(static=True)

    @property
    def shape(self) -> None:
        """None: the function takes what it takes."""
        return None

    @property
    def dtype(self) -> None:
        """None: what the function closes over is not known."""
        return None

    def __call__(self, w: ArrayLike) -> np.ndarray:
        """The value of the function at w."""
        with float64():
            return np.asarray(_value(self.function, w))

    def gradient(self, w: ArrayLike) -> np.ndarray:
        """The gradient of the function at w."""
        with float64():
            return np.asarray(_gradient(self.function, w))

    def to_numpy(self) -> NumpyFunctionLoss:
        """Itself."""
        return self


def as_loss(loss: Loss | ScalarFunction) -> Loss:
    """Return ``loss`` as a :class:`Loss`; any callable is read as a JAX scalar function."""
    if isinstance(loss, Loss):
        return loss
    if callable(loss):
        return FunctionLoss(loss)
    raise InputError(
        f"loss is {type(loss).__name__}, which is neither a flowsim loss nor a function. Pass "
        "LpLoss(X, y, p=...), or a JAX scalar function of the end-to-end parameter."
    )


@jax.jit(static_argnums=0)
def _value(function: ScalarFunction, w: ArrayLike) -> Any:
    return function(w)


@jax.jit(static_argnums=0)
def _gradient(function: ScalarFunction, w: ArrayLike) -> Any:
    return jax.grad(function)(w)


def _namespace(array: Any) -> Any:
    return np if isinstance(array, np.ndarray) else jnp


# |r|^q and sign(r)|r|^q are each other's derivative up to the factor q. Written so, every
# derivative that exists is finite at r = 0, where differentiating abs(r)**q gives 0 * inf.


def _abs_power(r: Any, q: float) -> Any:
    if q == int(q) and int(q) % 2 == 0:
        return r ** int(q)
    return np.abs(r) ** q if isinstance(r, np.ndarray) else _abs_power_jax(r, q)


def _signed_power(r: Any, q: float) -> Any:
    if q == int(q) and int(q) % 2 == 1:
        return r ** int(q)
    return np.sign(r) * np.abs(r) ** q if isinstance(r, np.ndarray) else _signed_power_jax(r, q)


@jax.custom_jvp
def _abs_power_jax(r: Any, q: float) -> Any:
    return jnp.abs(r) ** q


@jax.custom_jvp
def _signed_power_jax(r: Any, q: float) -> Any:
    return jnp.sign(r) * jnp.abs(r) ** q


@_abs_power_jax.defjvp
def _abs_power_jvp(primals: tuple, tangents: tuple) -> tuple:
    (r, q), (dr, _) = primals, tangents
    return _abs_power_jax(r, q), q * _signed_power_jax(r, q - 1.0) * dr


@_signed_power_jax.defjvp
def _signed_power_jvp(primals: tuple, tangents: tuple) -> tuple:
    (r, q), (dr, _) = primals, tangents
    slope = jnp.where(r == 0, 0.0, jnp.abs(jnp.where(r == 0, 1.0, r)) ** (q - 1.0))
    return _signed_power_jax(r, q), q * slope * dr
