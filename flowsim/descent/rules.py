"""Update rules: how one step of descent uses the velocity -∇ℓ of the flow."""

from __future__ import annotations

import abc
from typing import Any

import equinox as eqx
import jax
import optax

from flowsim._types import PyTree


class Rule(eqx.Module):
    """One step of descent."""

    @abc.abstractmethod
    def init(self, y: PyTree) -> PyTree:
        """The rule's memory before the first step."""

    @abc.abstractmethod
    def update(self, y: PyTree, velocity: PyTree, memory: PyTree, k: Any) -> tuple[PyTree, PyTree]:
        """The next state and memory, from step k."""

    @abc.abstractmethod
    def duration(self, k: Any) -> Any:
        """Flow time that step k takes."""

    @property
    @abc.abstractmethod
    def constant_duration(self) -> float | None:
        """Flow time of every step, or None where steps differ."""


class GradientDescent(Rule):
    r"""Gradient descent, which is Euler's method on the flow: :math:`y + \eta F(y)`."""

    learning_rate: Any  # a number, or a function of the iteration

    def init(self, y: PyTree) -> tuple[()]:
        """Nothing is remembered."""
        return ()

    def update(self, y: PyTree, velocity: PyTree, memory: PyTree, k: Any) -> tuple[PyTree, PyTree]:
        """The next state."""
        eta = self.duration(k)
        return jax.tree.map(lambda p, v: p + eta * v, y, velocity), memory

    def duration(self, k: Any) -> Any:
        """The step size."""
        return self.learning_rate(k) if callable(self.learning_rate) else self.learning_rate

    @property
    def constant_duration(self) -> float | None:
        """The step size, unless it is a schedule."""
        return None if callable(self.learning_rate) else float(self.learning_rate)


class OptaxRule(Rule):
    """Any optax transformation, complete with its own step size."""

    transformation: optax.GradientTransformation = eqx.field(static=True)
    clock: Any

    def init(self, y: PyTree) -> PyTree:
        """The transformation's state."""
        return self.transformation.init(y)

    def update(self, y: PyTree, velocity: PyTree, memory: PyTree, k: Any) -> tuple[PyTree, PyTree]:
        """The next state and the transformation's."""
        gradient = jax.tree.map(lambda v: -v, velocity)
        updates, memory = self.transformation.update(gradient, memory, y)
        return optax.apply_updates(y, updates), memory

    def duration(self, k: Any) -> Any:
        """The flow time that a step is counted as."""
        return self.clock

    @property
    def constant_duration(self) -> float:
        """The flow time that a step is counted as."""
        return float(self.clock)
