"""Numeric vector fields.

A field is a callable ``(t, y, args) -> dy/dt`` and an Equinox module, so that on JAX it drops into
a plain ``diffrax.ODETerm`` and can be jitted, vmapped and differentiated. Its arrays are leaves:
fields that differ in their numbers alone share one compiled program. It knows its state: how a
start becomes one, and how the end-to-end parameter and the loss are read off it.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._precision import require_float64
from flowsim._types import PyTree
from flowsim.lowering.hypotheses import check_start
from flowsim.problems import DeepLinear, FunctionProblem, Loss


@dataclasses.dataclass(frozen=True, eq=False)
class About:
    """What a field was lowered from and how; it takes no part in how the field is compiled.

    Attributes
    ----------
    parent
        The law, problem or function that the field was lowered from.
    strategy
        How the law is represented: ``"factors"``, ``"spectral"`` or ``"direct"``.
    reason
        Why that representation was chosen, in a sentence.
    source
        The array code that the field evaluates, where it was generated.
    """

    parent: Any
    strategy: str
    reason: str
    source: str = ""

    # All instances are equal, so that a compiled program is found again whatever they say.
    def __eq__(self, other: object) -> bool:
        return isinstance(other, About)

    def __hash__(self) -> int:
        return 0


class VectorField(eqx.Module):
    """A vector field ``(t, y, args) -> dy/dt`` that knows its state.

    Attributes
    ----------
    backend
        ``"jax"`` or ``"numpy"``: the arrays that it reads and returns.
    about
        What it was lowered from and how.
    """

    backend: eqx.AbstractVar[str]
    about: eqx.AbstractVar[About]

    @property
    def strategy(self) -> str:
        """How the law is represented: ``"factors"``, ``"spectral"`` or ``"direct"``."""
        return self.about.strategy

    @abc.abstractmethod
    def __call__(self, t: Any, y: PyTree, args: Any = None) -> PyTree:
        """The velocity dy/dt at state y; autonomous, so t and args are not used."""

    @abc.abstractmethod
    def start(self, y0: Any) -> PyTree:
        """The state that a user's start stands for, as NumPy arrays, validated."""

    @abc.abstractmethod
    def read(self, y: PyTree) -> Any:
        """The end-to-end parameter of a state, or None where there is none."""

    @abc.abstractmethod
    def value(self, y: PyTree) -> Any:
        """The loss at a state, or NaN where the field has none."""


class FactorField(VectorField):
    """The gradient flow of the factors (W_1, ..., W_N) of a deep linear network.

    The state is the tuple of factors. ``lifts`` says what a start is: an end-to-end value, lifted
    to balanced factors (the end-to-end law carried by its factors), or the factors themselves.
    """

    loss: Loss
    law: Callable = eqx.field(static=True)
    net: DeepLinear = eqx.field(static=True)
    vector: bool = eqx.field(static=True)
    lifts: bool = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: tuple, args: Any = None) -> tuple:
        """The velocities (Ẇ_1, ..., Ẇ_N)."""
        guard_precision(self, self.loss)
        W = self.net(y)
        return self.law(y, W, matrix_gradient(self.loss, W, self.vector))

    def start(self, y0: Any) -> tuple[np.ndarray, ...]:
        """Factors from an end-to-end value (lifted balanced) or from factors, by ``lifts``."""
        if not self.lifts:
            return self.net.check_factors(y0)
        return self.net.balanced(end_to_end_start(self.about.parent, self.net, y0))

    def read(self, y: tuple) -> Any:
        """The product of the factors, shape (k, d), or (d,) where the loss takes a vector."""
        W = self.net(y)
        return W[0] if self.vector else W

    def value(self, y: tuple) -> Any:
        """The loss of the product."""
        return self.loss(self.read(y))


class EndToEndField(VectorField):
    """A law evaluated on the end-to-end parameter itself, shape (d,) or (k, d)."""

    loss: Loss
    law: Callable = eqx.field(static=True)
    net: Any = eqx.field(static=True)
    vector: bool = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: Any, args: Any = None) -> Any:
        """The velocity of the end-to-end parameter."""
        guard_precision(self, self.loss)
        W = y[None, :] if self.vector else y
        (velocity,) = self.law((W,), W, matrix_gradient(self.loss, W, self.vector))
        return velocity[0] if self.vector else velocity

    def start(self, y0: Any) -> np.ndarray:
        """The end-to-end value of a start, shape (d,) or (k, d)."""
        w = end_to_end_start(self.about.parent, self.net, y0)
        k, d = self.net.end_to_end_shape
        return w.reshape((d,) if self.vector else (k, d))

    def read(self, y: Any) -> Any:
        """The state itself."""
        return y

    def value(self, y: Any) -> Any:
        """The loss of the state."""
        return self.loss(y)


class FunctionField(VectorField):
    """The gradient flow of a JAX scalar function of a pytree."""

    function: Callable = eqx.field(static=True)
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: PyTree, args: Any = None) -> PyTree:
        """Minus the gradient."""
        gradient = jax.grad(self.function)(y)
        return jax.tree.map(jnp.negative, gradient)

    def start(self, y0: Any) -> PyTree:
        """The start, checked against the problem's pattern."""
        problem: FunctionProblem = self.about.parent
        return problem.check_start(y0)

    def read(self, y: PyTree) -> None:
        """None: nothing is known of an end-to-end parameter."""
        return None

    def value(self, y: PyTree) -> Any:
        """The function's value."""
        return self.function(y)


class CallableField(VectorField):
    """Any function ``(t, y, args) -> dy/dt`` of the user's own."""

    function: Callable  # a plain function, or an Equinox module with arrays of its own
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __call__(self, t: Any, y: PyTree, args: Any = None) -> PyTree:
        """The function's value."""
        return self.function(t, y, args)

    def start(self, y0: Any) -> PyTree:
        """The start as float arrays."""
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: check_array("y0" + jax.tree_util.keystr(path), leaf), y0
        )

    def read(self, y: PyTree) -> None:
        """None: nothing is known of an end-to-end parameter."""
        return None

    def value(self, y: PyTree) -> float:
        """NaN: there is no loss."""
        return float("nan")


def end_to_end_start(law: Any, net: Any, y0: Any) -> np.ndarray:
    """The end-to-end value of a start that is given as one, or as factors to be checked.

    Factors are held against the law's hypotheses first: a start that violates them is refused, one
    that nearly satisfies them is warned of.
    """
    if isinstance(y0, Sequence) and any(np.ndim(part) == 2 for part in y0) and net.depth > 1:
        factors = law.parent.check_factors(y0, "y0")
        check_start(law, factors)
        return law.parent(factors)
    w = check_array("y0", y0, ndim=(1, 2))
    k, d = net.end_to_end_shape
    if w.shape != (k, d) and not (k == 1 and w.shape == (d,)):
        wanted = f"({k}, {d})" + (f" or ({d},)" if k == 1 else "")
        raise InputError(
            f"y0 has shape {w.shape}; the end-to-end value has shape {wanted}. To start from "
            "factors that need not be balanced, integrate the problem: integrate(prob, theta, t1)."
        )
    return w


def matrix_gradient(loss: Loss, W: Any, vector: bool) -> Any:
    """∇L as a matrix of the shape (k, d) of W."""
    return loss.gradient(W[0])[None, :] if vector else loss.gradient(W)


def guard_precision(field: VectorField, loss: Loss) -> None:
    """Refuse to evaluate a field on JAX in less than the precision of its loss's data."""
    if field.backend == "jax" and loss.dtype is not None:
        require_float64(type(field).__name__, loss.dtype)
