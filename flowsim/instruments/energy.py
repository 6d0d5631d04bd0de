r"""The energy identity of gradient flow, as a check of its integration.

Along :math:`\dot y = -\nabla f(y)` the loss pays for the way,

.. math:: f(y(0)) - f(y(t)) = \int_0^t |\nabla f|^2\, ds,

and with a rate :math:`r_i` for each part of the state :math:`\sum_i |\dot y_i|^2 / r_i` is
integrated. For a law on the end-to-end parameter it is
:math:`\langle\nabla L(W), P\,\nabla L(W)\rangle = -\langle\nabla L(W), \dot W\rangle`. The integral
is carried along as one number more of the state, so that any solver, on JAX or SciPy, integrates it
by its own method on its own steps.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._types import FloatArray, PyTree
from flowsim.lowering.closed import ClosedField, ImplicitField
from flowsim.lowering.fields import (
    About,
    EndToEndField,
    FactorField,
    FunctionField,
    VectorField,
    matrix_gradient,
)
from flowsim.lowering.maps import MapField

if TYPE_CHECKING:
    from flowsim.trajectory import Trajectory

__all__ = ["EnergyField", "Moving", "energy_drift", "has_energy", "with_energy"]

#: The unit of the dissipated energy within the state. In it the number is so small that neither an
#: error norm nor a Jacobian's symmetry nor its spectrum feels it; being a power of two it costs no
#: rounding.
UNIT = 2.0**-200

ON_W = (EndToEndField, ClosedField, ImplicitField)


class EnergyField(VectorField):
    r"""A field with the energy that it has dissipated; the state is ``(y, e)``.

    .. math:: \dot e = -\langle\nabla f(y), \dot y\rangle

    e is in units of 2^-200. Where a solver takes a Jacobian to be symmetric, or its steps to be as
    long as an error norm of the state permits, it goes on as it would without e.

    Parameters
    ----------
    field
        The gradient flow of a problem or of a function, or an end-to-end law with its loss.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> from flowsim.lowering import as_field
    >>> loss = fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2)
    >>> field = EnergyField(as_field(fs.Problem(loss, fs.Identity(2)), backend="numpy"))
    >>> float(field(0.0, field.start(np.zeros(2)))[1] * 2.0**200)       # |(1, 2) / 2|^2
    1.25
    """

    field: VectorField
    backend: str = eqx.field(static=True)
    about: About = eqx.field(static=True)

    def __init__(self, field: VectorField) -> None:
        if not has_energy(field):
            raise InputError(
                f"the energy of {type(field).__name__} is not known: it needs a gradient flow and "
                "its loss. Pass a problem, or a lowered law; a function (t, y, args) -> dy/dt has "
                "no loss."
            )
        self.field, self.backend, self.about = field, field.backend, field.about

    def __call__(self, t: Any, y: tuple[PyTree, Any], args: Any = None) -> tuple[PyTree, Any]:
        """The field's velocity, and the rate at which it dissipates energy."""
        velocity = self.field(t, y[0], args)
        return velocity, UNIT * dissipation(self.field, y[0], velocity)

    def start(self, y0: Any) -> tuple[PyTree, np.ndarray]:
        """The field's start, with no energy dissipated."""
        return self.field.start(y0), np.zeros(())

    def plain(self, t: Any, y: tuple[PyTree, Any]) -> tuple[Any, PyTree]:
        """Time and the field's own state."""
        return t, y[0]

    def read(self, y: tuple[PyTree, Any]) -> Any:
        """The end-to-end parameter of the field's state."""
        return self.field.read(y[0])

    def value(self, y: tuple[PyTree, Any]) -> Any:
        """The loss of the field's state."""
        return self.field.value(y[0])


class Moving(eqx.Module):
    """A map ``(t, y) -> y``, such as a projector, as one of ``(y, e)`` that leaves e alone."""

    move: Any

    def __call__(self, t: Any, y: tuple[PyTree, Any]) -> tuple[PyTree, Any]:
        """The moved state with its energy."""
        return self.move(t, y[0]), y[1]


def has_energy(field: Any) -> bool:
    """Whether the energy identity of a field is known."""
    return isinstance(field, (FactorField, MapField, FunctionField, *ON_W))


def dissipation(field: VectorField, y: PyTree, velocity: PyTree) -> Any:
    """The rate at which the objective falls, given the velocity."""
    if isinstance(field, ON_W):
        return -(_gradient_on_w(field, y) * velocity).sum()
    return sum((v * v).sum() / rate for v, rate in zip(*_parts(field, velocity), strict=True))


def gradient(field: VectorField, y: PyTree) -> PyTree:
    """The gradient of the objective with respect to the state."""
    if isinstance(field, ON_W):
        return _gradient_on_w(field, y)
    velocity = field(np.float64(0.0), y, None)
    parts, rates = _parts(field, velocity)
    scaled = [-v / rate for v, rate in zip(parts, rates, strict=True)]
    return jax.tree.unflatten(jax.tree.structure(velocity), scaled)


def objective(field: VectorField, y: PyTree, decay: Any) -> Any:
    r"""What factors descend with weight decay λ, :math:`f(y) = L(y) + \frac\lambda2|y|^2`.

    On the end-to-end parameter it is the loss alone, which obeys its identity whatever moves it.
    """
    if isinstance(field, ON_W):
        return field.value(y)
    return field.value(y) + 0.5 * decay * sum((x * x).sum() for x in jax.tree.leaves(y))


def weight_decay(field: VectorField) -> np.ndarray:
    """The weight decay λ that a field was lowered with.

    An array, to be passed on as one: fields that differ in their origin alone share programs.
    """
    return np.asarray(float(getattr(field.about.parent, "weight_decay", 0.0)))


def energy_drift(field: EnergyField, start: tuple[PyTree, Any], states: PyTree) -> FloatArray:
    r"""How far the records of a run are from the energy identity.

    .. math:: f(y(t)) + \int_0^t |\nabla f|^2\, ds - f(y(0))

    Parameters
    ----------
    field
        The field that was integrated.
    start
        Its start, at which no energy was dissipated.
    states
        Its recorded states ``(y, e)``, with a leading axis of length T.

    Returns
    -------
    numpy.ndarray
        In units of the loss, shape (T,).
    """
    first = objectives(field.field, jax.tree.map(lambda leaf: np.asarray(leaf)[None], start[0]))
    spent = (np.asarray(states[1]) - np.asarray(start[1])) / UNIT
    return objectives(field.field, states[0]) + spent - first


def with_energy(
    trajectory: Trajectory, field: EnergyField, start: tuple[PyTree, Any]
) -> Trajectory:
    """A run of an energy field as one of the field itself, with ``"energy"`` in its ``drift``.

    Parameters
    ----------
    trajectory
        The run, with states ``(y, e)``.
    field
        The field that was integrated.
    start
        Its start.
    """
    drift = {**(trajectory.drift or {})}
    if len(trajectory):
        drift["energy"] = energy_drift(field, start, trajectory.states)
    go_on: Any = trajectory._continue

    def continued(t: float, state: PyTree, times: FloatArray) -> Trajectory:
        whole = (state, np.zeros(()))
        return with_energy(go_on(t, whole, times), field, whole)

    return dataclasses.replace(
        trajectory,
        states=trajectory.states[0],
        drift=drift,
        _continue=None if go_on is None else continued,
    )


@in_float64
def objectives(field: VectorField, states: PyTree) -> FloatArray:
    """The objective of recorded states, with a leading axis, shape (T,)."""
    count = len(jax.tree.leaves(states)[0])
    decay = weight_decay(field)
    if field.backend == "jax" and count:
        return np.asarray(_objectives(field, states, decay))
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], states) for i in range(count)]
    return np.array([float(objective(field, y, decay)) for y in each])


@eqx.filter_jit
def _objectives(field: VectorField, states: PyTree, decay: Any) -> Any:
    return jax.lax.map(lambda y: jnp.asarray(objective(field, y, decay)), states, batch_size=64)


def _gradient_on_w(field: Any, y: Any) -> Any:
    if isinstance(field, EndToEndField) and field.vector:
        return matrix_gradient(field.loss, y[None, :], vector=True)[0]
    return field.loss.gradient(y)


def _parts(field: VectorField, velocity: PyTree) -> tuple[list[Any], list[Any]]:
    """The parts of a velocity, and the rate of each."""
    parts = jax.tree.leaves(velocity)
    if isinstance(field, MapField):
        return parts, [field.rates[i] for i in range(len(parts))]
    return parts, [1.0] * len(parts)
