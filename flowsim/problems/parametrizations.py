"""Parametrizations w = φ(θ) of the end-to-end parameter.

A parametrization is one function of its factors, written with ``@ * / ** + -`` and the functions of
:mod:`flowsim.problems.functions`: on symbols it gives the symbolic map, on arrays the numeric one.
"""

# What is a property of the base is a constant, or a field, of some families.
# pyright: reportIncompatibleMethodOverride=false
# pyright: reportAssignmentType=false
from __future__ import annotations

import abc
import dataclasses
import functools
import operator
from collections.abc import Callable, Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from flowsim._checks import check_array, check_count
from flowsim._errors import InputError
from flowsim._types import ArrayLike
from flowsim.problems import functions
from flowsim.problems.initialization import balanced_factors, near_zero_factors

Shape = tuple[int, ...]


class Parametrization(abc.ABC):
    """A map w = φ(θ) from factors to what is learned.

    Made from a function (:meth:`from_function`), from text (:meth:`from_text`), or one of the
    families built in.

    Attributes
    ----------
    names
        Names of the factors, in the order in which the map takes them.
    shapes
        Their shapes; ``()`` for a scalar.
    end_to_end_shape
        Shape of the value φ(θ).
    """

    @property
    @abc.abstractmethod
    def names(self) -> tuple[str, ...]:
        """Names of the factors."""

    @property
    @abc.abstractmethod
    def shapes(self) -> tuple[Shape, ...]:
        """Shapes of the factors."""

    @property
    @abc.abstractmethod
    def end_to_end_shape(self) -> Shape:
        """Shape of the end-to-end value."""

    @abc.abstractmethod
    def __call__(self, factors: Sequence[Any]) -> Any:
        """The end-to-end value of the factors, numbers or symbols."""

    @property
    def size(self) -> int:
        """The number of parameters in all factors together."""
        return sum(int(np.prod(shape)) for shape in self.shapes)

    @property
    def kinks(self) -> tuple[str, ...]:
        """Where the map has no derivative, a sentence each; empty where it is smooth."""
        return ()

    def check_factors(self, theta: Any, name: str = "theta") -> Any:
        """Return factors as a tuple of arrays of the parametrization's shapes, or raise InputError.

        A mapping from the names to arrays will do as well; with one factor, so will the array.
        """
        if isinstance(theta, Mapping):
            if set(theta) != set(self.names):
                raise InputError(
                    f"{name} has the factors {', '.join(map(str, theta))}; {', '.join(self.names)} "
                    "are needed."
                )
            theta = tuple(theta[factor] for factor in self.names)
        if len(self.shapes) == 1 and hasattr(theta, "shape"):
            theta = (theta,)
        if not isinstance(theta, Sequence) or len(theta) != len(self.shapes):
            count = len(theta) if isinstance(theta, Sequence) else type(theta).__name__
            raise InputError(
                f"{name} holds {count} factors; {len(self.shapes)} are needed, "
                f"{', '.join(self.names)} of shapes {self.shapes}."
            )
        factors = tuple(check_array(f"{name}[{j}]", W) for j, W in enumerate(theta))
        for j, (W, shape) in enumerate(zip(factors, self.shapes, strict=True)):
            if W.shape != shape:
                raise InputError(
                    f"{name}[{j}] has shape {W.shape}; {self.names[j]} has shape {shape}."
                )
        return factors

    def flattened(self, factors: Sequence[Any]) -> Any:
        """All entries of the factors in a row, factor after factor, row after row.

        Parameters
        ----------
        factors
            Arrays of :attr:`shapes`, NumPy's or JAX's; with one factor, the array will do.

        Returns
        -------
        array
            Shape (size,), in float64 from NumPy arrays.

        Raises
        ------
        InputError
            If the factors have other shapes.

        Examples
        --------
        >>> import flowsim as fs
        >>> fs.DeepLinear((2, 1, 1)).flattened(([[1.0, 2.0]], [[3.0]])).tolist()
        [1.0, 2.0, 3.0]
        """
        if len(self.shapes) == 1 and hasattr(factors, "shape"):
            factors = (factors,)
        given = tuple(np.shape(x) for x in factors)
        if given != self.shapes:
            raise InputError(f"factors have the shapes {given}; {self.shapes} are needed.")
        flat = functions.concatenate(*(functions.ravel(x) for x in factors))
        return flat.astype(np.float64) if isinstance(flat, np.ndarray) else flat

    def unflattened(self, flat: Any) -> tuple[Any, ...]:
        """The factors from all their entries in a row: what :meth:`flattened` undoes.

        Parameters
        ----------
        flat
            Shape (size,), NumPy's array or JAX's.

        Returns
        -------
        tuple of array
            One of each of :attr:`shapes`, by the arithmetic of ``flat``.

        Raises
        ------
        InputError
            If there are more entries, or fewer.

        Examples
        --------
        >>> import numpy as np, flowsim as fs
        >>> W1, W2 = fs.DeepLinear((2, 1, 1)).unflattened(np.array([1.0, 2.0, 3.0]))
        >>> W1.tolist(), W2.tolist()
        ([[1.0, 2.0]], [[3.0]])
        """
        if np.shape(flat) != (self.size,):
            raise InputError(f"flat has shape {np.shape(flat)}; ({self.size},) is needed.")
        parts, begin = [], 0
        for shape in self.shapes:
            end = begin + int(np.prod(shape))
            parts.append(flat[begin:end].reshape(shape))
            begin = end
        return tuple(parts)

    @staticmethod
    def from_function(
        f: Callable[..., Any], shapes: Mapping[str, Shape | int]
    ) -> FunctionParametrization:
        """The parametrization that a Python function of the factors computes.

        Parameters
        ----------
        f
            Takes the factors as positional arguments and returns the end-to-end value, written
            with ``@ * / ** + -``, ``.T`` and the functions of ``flowsim.functions``, so that it
            reads numbers and symbols alike.
        shapes
            Shape of each factor by name, in the order in which ``f`` takes them; ``()`` for a
            scalar, ``(d,)`` or ``d`` for a vector.

        Raises
        ------
        InputError
            If ``f`` cannot be evaluated on factors of these shapes, or is not differentiable
            anywhere that was tried.

        Examples
        --------
        >>> import flowsim as fs
        >>> par = fs.Parametrization.from_function(lambda u, v: u**2 * v, {"u": 3, "v": 3})
        >>> par.end_to_end_shape
        (3,)
        """
        return FunctionParametrization(f, *_named_shapes(shapes))

    @staticmethod
    def from_text(text: str, shapes: Mapping[str, Shape | int]) -> FunctionParametrization:
        """The parametrization that a formula in text states; the text is parsed, never evaluated.

        Parameters
        ----------
        text
            A formula in the factors, such as ``"U @ diag(s) @ V.T"``.
        shapes
            Shape of each factor by name.

        Raises
        ------
        InputError
            If the text is not a formula in the factors, with the position and what would do.

        Examples
        --------
        >>> import flowsim as fs
        >>> fs.Parametrization.from_text("u**2 - v**2", {"u": 2, "v": 2}).end_to_end_shape
        (2,)
        """
        from flowsim.problems.text import parse

        names, sizes = _named_shapes(shapes)
        formula = parse(text, dict(zip(names, sizes, strict=True)))
        return FunctionParametrization(formula, names, sizes)


@dataclasses.dataclass(frozen=True)
class FunctionParametrization(Parametrization):
    """A parametrization made from a function or from text; see :class:`Parametrization`."""

    # The defaults stand in for the abstract properties; _named_shapes always gives the values.
    f: Callable[..., Any]
    names: tuple[str, ...] = ()
    shapes: tuple[Shape, ...] = ()
    end_to_end_shape: Shape = dataclasses.field(init=False, default=())

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise InputError(f"f is {type(self.f).__name__}; pass a function of the factors.")
        object.__setattr__(self, "end_to_end_shape", probed_shape(self.f, self.names, self.shapes))

    def __call__(self, factors: Sequence[Any]) -> Any:
        """The end-to-end value of the factors, numbers or symbols."""
        return self.f(*factors)

    @property
    def kinks(self) -> tuple[str, ...]:
        """Where the map has no derivative, as far as its text says."""
        return tuple(getattr(self.f, "kinks", ()))


def _named_shapes(shapes: Mapping[str, Shape | int]) -> tuple[tuple[str, ...], tuple[Shape, ...]]:
    """Names and shapes, validated."""
    if not isinstance(shapes, Mapping) or not shapes:
        raise InputError(
            f"shapes is {shapes!r}; pass the shape of each factor by name, such as "
            "{'U': (3, 2), 's': (2,), 'g': ()}."
        )
    checked = []
    for name, shape in shapes.items():
        if not isinstance(name, str) or not name.isidentifier() or name.startswith("_"):
            raise InputError(f"shapes names a factor {name!r}; names are letters and digits.")
        if name == "G":
            raise InputError("shapes names a factor 'G', as laws call the gradient of the loss.")
        sizes = (shape,) if isinstance(shape, Integral) else shape
        if not isinstance(sizes, Sequence) or isinstance(sizes, str):
            raise InputError(f"shapes[{name!r}] is {shape!r}; pass a tuple such as (3, 2) or ().")
        checked.append(tuple(check_count(f"shapes[{name!r}][{i}]", n) for i, n in enumerate(sizes)))
    return tuple(shapes), tuple(checked)


def probed_shape(f: Callable[..., Any], names: tuple[str, ...], shapes: tuple[Shape, ...]) -> Shape:
    """Shape of f's value, from trying it with its derivative on random factors.

    Raises
    ------
    InputError
        If f fails, returns no real array, or has no finite derivative at any of the points tried:
        Gaussian factors, and positive ones.
    """
    import jax

    from flowsim._precision import float64

    rng = np.random.default_rng(0)
    gaussian = tuple(rng.normal(size=shape) for shape in shapes)
    positive = tuple(np.abs(x) + 0.5 for x in gaussian)
    with float64():
        try:
            abstract = jax.eval_shape(f, *gaussian)
        except InputError:
            raise
        except Exception as error:  # whatever the user's function raises is the complaint shown
            # The first line: what follows in JAX's messages is advice to who writes JAX.
            complaint = str(error).partition("\n")[0].rstrip(".")
            raise InputError(
                f"f cannot be evaluated on factors {', '.join(names)} of shapes {shapes}: "
                f"{type(error).__name__}: {complaint}. Write it with @ * / ** + -, .T and the "
                "functions of flowsim.functions (not those of numpy or math), without branches on "
                "values, of as many arguments as there are shapes."
            ) from error
        if not hasattr(abstract, "shape") or abstract.dtype.kind != "f":
            raise InputError(f"f returns {abstract}; it must return one array of real numbers.")
        for point in (gaussian, positive):
            value, pull = jax.vjp(f, *point)
            gradients = pull(np.ones(abstract.shape))
            if all(np.isfinite(x).all() for x in (value, *gradients)):
                return tuple(abstract.shape)
    raise InputError(
        "f or its derivative is not finite at the random factors tried, Gaussian and positive; a "
        "gradient flow needs a map that is differentiable at almost every point of an open set."
    )


@dataclasses.dataclass(frozen=True)
class DeepLinear(Parametrization):
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
    def names(self) -> tuple[str, ...]:
        """Names of the factors, W1 the one next to the input."""
        return tuple(f"W{j}" for j in range(1, len(self.known_widths())))

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
class Identity(Parametrization):
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
    names = ("w",)

    @property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of the one factor."""
        return (self.shape,)

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
