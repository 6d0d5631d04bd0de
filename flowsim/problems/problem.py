"""A problem: what is minimised, and over what."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError
from flowsim._precision import float64, in_float64
from flowsim._types import PyTree, ScalarFunction
from flowsim.problems.losses import Loss, as_loss
from flowsim.problems.parametrizations import Identity, Parametrization


@dataclasses.dataclass(frozen=True, eq=False)
class Problem:
    r"""A loss composed with a parametrization, :math:`\ell(\theta) = L(\phi(\theta))`.

    Parameters
    ----------
    loss
        A flowsim loss, or any JAX scalar function of the end-to-end parameter.
    parametrization
        ``DeepLinear(widths)``, ``Identity(shape)``, another family, or one of your own from
        ``Parametrization.from_function`` or ``from_text``.
    weight_decay
        The coefficient λ of :math:`\frac{\lambda}{2}\sum_j \|W_j\|_F^2`, not negative.
    rates
        Positive rates by the names of factors, such as ``{"v": 2.0}``: a factor of rate κ moves by
        κ times its negative gradient, weight decay included. The others have rate 1.

    Attributes
    ----------
    vector
        Whether the end-to-end parameter is handed to the loss as a vector of shape (d,) rather
        than as a matrix of shape (k, d).

    Raises
    ------
    InputError
        If the loss and the parametrization are of different shapes, or λ is negative.
    """

    loss: Loss
    parametrization: Parametrization
    weight_decay: float = 0.0
    rates: Mapping[str, float] = dataclasses.field(default_factory=dict)
    vector: bool = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        loss = as_loss(self.loss)
        if not isinstance(self.parametrization, Parametrization):
            raise InputError(
                f"parametrization is {type(self.parametrization).__name__}; pass DeepLinear(widths)"
                ", Parametrization.from_function(f, shapes), or another family; or use "
                "Problem.from_function(f, params)."
            )
        object.__setattr__(self, "loss", loss)
        decay = check_real("weight_decay", self.weight_decay, at_least=0.0)
        object.__setattr__(self, "weight_decay", decay)
        object.__setattr__(self, "rates", check_rates(self.parametrization, self.rates))
        object.__setattr__(self, "vector", presents_vector(loss, self.parametrization))

    @staticmethod
    def from_function(f: ScalarFunction, params: PyTree) -> FunctionProblem:
        """A problem of which only a JAX scalar function of a pytree is known.

        Everything but ``derive`` works on it.

        Parameters
        ----------
        f
            A scalar function that JAX can differentiate.
        params
            A pytree of arrays like the one that ``f`` takes; it serves as the pattern for starts.
        """
        return FunctionProblem(f, params)

    def check_start(self, theta: Any) -> PyTree:
        """Return a start as validated arrays, or raise InputError."""
        return self.parametrization.check_factors(theta)

    def end_to_end(self, theta: Any) -> Any:
        """The end-to-end parameter φ(θ) as the loss takes it, shape (d,) or (k, d)."""
        w = theta if isinstance(self.parametrization, Identity) else self.parametrization(theta)
        return w[0] if self.vector and w.ndim == 2 else w

    def value(self, theta: Any) -> Any:
        r"""The loss :math:`L(\phi(\theta))`, without the weight-decay term."""
        return self.loss(self.end_to_end(theta))


@dataclasses.dataclass(frozen=True, eq=False)
class FunctionProblem:
    """A JAX scalar function of a pytree; made by :meth:`Problem.from_function`."""

    f: ScalarFunction
    params: PyTree

    def __post_init__(self) -> None:
        if not callable(self.f):
            raise InputError(f"f is {type(self.f).__name__}; pass a JAX scalar function.")
        params = _checked_leaves("params", self.params)
        with float64():
            shape = jax.eval_shape(self.f, params)
        scalar = jax.tree.structure(shape) == jax.tree.structure(0) and shape.shape == ()
        if not scalar or shape.dtype.kind != "f":
            raise InputError(f"f returns {shape} at params; it must return one real scalar.")
        object.__setattr__(self, "params", params)

    loss = None
    parametrization = None

    def check_start(self, theta: Any) -> PyTree:
        """Return a start as validated arrays of the pattern's structure, or raise InputError."""
        wanted, given = jax.tree.structure(self.params), jax.tree.structure(theta)
        if wanted != given:
            raise InputError(f"theta has structure {given}, where {wanted} is needed.")
        theta = _checked_leaves("theta", theta)
        for (path, leaf), pattern in zip(
            jax.tree_util.tree_leaves_with_path(theta), jax.tree.leaves(self.params), strict=True
        ):
            if leaf.shape != pattern.shape:
                name = "theta" + jax.tree_util.keystr(path)
                raise InputError(f"{name} has shape {leaf.shape}; {pattern.shape} is needed.")
        return theta

    def end_to_end(self, theta: Any) -> None:
        """None: nothing is known of an end-to-end parameter."""
        return None

    def value(self, theta: Any) -> Any:
        """The value f(θ), in float64 where θ is NumPy's."""
        if any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(theta)):
            return self.f(theta)
        with float64():
            return np.asarray(self.f(theta))


def _checked_leaves(name: str, tree: PyTree) -> PyTree:
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: check_array(name + jax.tree_util.keystr(path), leaf), tree
    )


def check_rates(parametrization: Parametrization, rates: Mapping[str, float]) -> dict[str, float]:
    """Return the rates that differ from 1, by factor, or raise InputError."""
    if not isinstance(rates, Mapping):
        raise InputError(f"rates is {rates!r}; pass rates by factor, such as {{'v': 2.0}}.")
    if not rates:
        return {}
    names = parametrization.names
    for name in rates:
        if name not in names:
            raise InputError(f"rates names {name!r}; the factors are {', '.join(names)}.")
    checked = {name: check_real(f"rates[{name!r}]", r, above=0.0) for name, r in rates.items()}
    return {name: rate for name, rate in checked.items() if rate != 1.0}


@in_float64
def presents_vector(loss: Loss, parametrization: Parametrization) -> bool:
    """Decide whether ``loss`` takes the end-to-end parameter as a vector (d,).

    A loss that knows its shape is believed, and must fit the parametrization. A plain function is
    tried on the vector first, as papers write single-output losses, then on the (1, d) matrix.
    """
    if isinstance(parametrization, Identity):
        fits = [parametrization.shape]
    else:
        shape = parametrization.end_to_end_shape
        fits = [shape[1:], shape] if len(shape) == 2 and shape[0] == 1 else [shape]
    if loss.shape is not None:
        if loss.shape not in fits:
            raise InputError(
                f"loss is on an end-to-end parameter of shape {loss.shape}; the parametrization "
                f"gives {' or '.join(map(str, fits))}. Make its input width {loss.shape[-1]} and "
                f"its output width {loss.shape[0] if len(loss.shape) == 2 else 1}."
            )
        return len(loss.shape) == 1
    complaints = []
    for shape in fits:
        try:
            value = jax.eval_shape(loss, jax.ShapeDtypeStruct(shape, np.float64))
        except Exception as error:  # whatever the user's function raises is the complaint shown
            complaints.append(f"on shape {shape}: {type(error).__name__}: {error}")
            continue
        if getattr(value, "shape", None) == ():
            return len(shape) == 1
        complaints.append(f"on shape {shape}: returns {value}, not a scalar")
    raise InputError("loss cannot be evaluated " + "; ".join(complaints))
