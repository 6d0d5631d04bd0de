"""Parametrizations w = φ(θ) of the end-to-end parameter.

A parametrization is one function of its factors, written with ``@``: on SymPy matrices it gives
the symbolic map, on arrays the numeric one.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np

from flowsim._checks import check_array, check_count
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.problems.initialization import balanced_factors, near_zero_factors


@dataclasses.dataclass(frozen=True)
class DeepLinear:
    r"""The linear network :math:`W = W_N W_{N-1} \cdots W_1`.

    N counts weight matrices, not layers of neurons. ``DeepLinear((d, 1, 1))`` has two matrices,
    of shapes (1, d) and (1, 1).

    Parameters
    ----------
    widths
        Sizes of the layers of neurons, input first: (n_0, n_1, ..., n_N) with n_0 = d inputs and
        n_N = k outputs. ``W_j`` has shape (n_j, n_{j-1}).

    Raises
    ------
    InputError
        If there are fewer than two widths, or one is not a positive whole number.

    Examples
    --------
    >>> import flowsim as fs
    >>> net = fs.DeepLinear((5, 3, 2))
    >>> net.depth, net.shapes
    (2, ((3, 5), (2, 3)))
    >>> [W.shape for W in net.balanced([[1.0, 0, 0, 0, 0], [0, 2.0, 0, 0, 0]])]
    [(3, 5), (2, 3)]
    """

    widths: tuple[int, ...] | None
    depth: int | str = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        if self.widths is None:
            raise InputError("widths is None; for a network of known depth alone use of_depth(N).")
        try:
            given = tuple(self.widths)
        except TypeError:
            raise InputError(
                f"widths is {self.widths!r}; pass the sizes of the layers, input first, such as "
                "(128, 1, 1)."
            ) from None
        if len(given) < 2:
            raise InputError(
                f"widths is {given}; a network needs at least an input and an output width, such "
                "as (128, 1)."
            )
        widths = tuple(check_count(f"widths[{i}]", n) for i, n in enumerate(given))
        object.__setattr__(self, "widths", widths)
        object.__setattr__(self, "depth", len(widths) - 1)

    @classmethod
    def of_depth(cls, depth: int | str) -> DeepLinear:
        """A network of which only the depth is known, for derivations.

        Parameters
        ----------
        depth
            The number of weight matrices: a whole number, or a name such as ``"N"`` for a depth
            that stays a symbol.
        """
        if isinstance(depth, str):
            if not depth.isidentifier():
                raise InputError(f"depth is {depth!r}; pass a whole number or a name such as 'N'.")
        else:
            depth = check_count("depth", depth)
        net = object.__new__(cls)
        object.__setattr__(net, "widths", None)
        object.__setattr__(net, "depth", depth)
        return net

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The product W_N ... W_1 of the factors (W_1, ..., W_N)."""
        return functools.reduce(lambda product, W: operator.matmul(W, product), factors)

    @property
    def shapes(self) -> tuple[tuple[int, int], ...]:
        """Shapes (n_j, n_{j-1}) of the factors W_1, ..., W_N."""
        n = self.known_widths()
        return tuple((n[j], n[j - 1]) for j in range(1, len(n)))

    @property
    def end_to_end_shape(self) -> tuple[int, int]:
        """Shape (k, d) of the end-to-end matrix."""
        n = self.known_widths()
        return n[-1], n[0]

    def check_factors(self, theta: Any, name: str = "theta") -> tuple[np.ndarray, ...]:
        """Return factors as a tuple of arrays of the network's shapes, or raise InputError."""
        if len(self.shapes) == 1 and np.ndim(theta) == 2 and hasattr(theta, "shape"):
            theta = (theta,)
        if not isinstance(theta, Sequence) or len(theta) != len(self.shapes):
            count = len(theta) if isinstance(theta, Sequence) else type(theta).__name__
            raise InputError(
                f"{name} holds {count} factors; this network has {len(self.shapes)}, of shapes "
                f"{self.shapes}. Take them from net.balanced(w0) or net.near_zero(key, scale)."
            )
        factors = tuple(check_array(f"{name}[{j}]", W) for j, W in enumerate(theta))
        for j, (W, shape) in enumerate(zip(factors, self.shapes, strict=True)):
            if W.shape != shape:
                raise InputError(f"{name}[{j}] has shape {W.shape}; W_{j + 1} has shape {shape}.")
        return factors

    def balanced(self, w0: ArrayLike) -> tuple[np.ndarray, ...]:
        r"""Balanced factors with product ``w0``.

        Balanced means :math:`W_{j+1}^\top W_{j+1} = W_j W_j^\top` for every j. With the singular
        value decomposition :math:`w_0 = U S V^\top`, the factors are :math:`S^{1/N} V^\top`,
        :math:`S^{1/N}, \ldots` and :math:`U S^{1/N}`, each padded by zeros to its widths.

        Parameters
        ----------
        w0
            The end-to-end value, shape (k, d), or (d,) when k = 1.

        Raises
        ------
        InputError
            If a hidden width is smaller than the rank of ``w0``: no factors have that product.
        """
        return balanced_factors(self.known_widths(), w0)

    def near_zero(self, key: Any, scale: float) -> tuple[np.ndarray, ...]:
        """Independent Gaussian factors of mean 0 and standard deviation ``scale`` an entry.

        Parameters
        ----------
        key
            A JAX random key, such as ``jax.random.key(0)``.
        scale
            Standard deviation of each entry, positive.
        """
        return near_zero_factors(self.shapes, key, scale)

    def known_widths(self) -> tuple[int, ...]:
        """The widths, or InputError where only the depth is known."""
        if self.widths is None:
            raise InputError(
                f"this network is known by its depth ({self.depth}) alone; build it from widths, "
                "DeepLinear((d, ..., k)), to use it with numbers."
            )
        return self.widths


@dataclasses.dataclass(frozen=True)
class Identity:
    """The end-to-end parameter itself: one factor, depth 1, w = θ.

    Parameters
    ----------
    shape
        (d,) for one output, (k, d) for several.
    """

    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        try:
            shape = (self.shape,) if isinstance(self.shape, Integral) else tuple(self.shape)
        except TypeError:
            shape = ()
        if len(shape) not in (1, 2):
            raise InputError(f"shape is {self.shape!r}; pass (d,) or (k, d).")
        shape = tuple(check_count(f"shape[{i}]", n) for i, n in enumerate(shape))
        object.__setattr__(self, "shape", shape)

    depth = 1

    @property
    def widths(self) -> tuple[int, int]:
        """Input and output width, (d, k)."""
        return self.shape[-1], (self.shape[0] if len(self.shape) == 2 else 1)

    @property
    def end_to_end_shape(self) -> tuple[int, int]:
        """Shape (k, d) of the parameter as a matrix."""
        return self.widths[1], self.widths[0]

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The one factor."""
        (W,) = factors
        return W

    def check_factors(self, theta: Any, name: str = "theta") -> np.ndarray:
        """Return the parameter as an array of this shape, or raise InputError."""
        theta = check_array(name, theta)
        if theta.shape != self.shape:
            raise InputError(f"{name} has shape {theta.shape}, where {self.shape} is needed.")
        return theta


#: What can stand as the parametrization of a problem.
Parametrization = DeepLinear | Identity
