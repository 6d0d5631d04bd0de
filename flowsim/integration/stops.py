"""When a run is to stop before its end: at a condition, at a value of the loss, at a minimum.

A stop is asked twice. ``fires`` is cheap, traceable by JAX, and asked at every accepted step.
Where it says yes, ``confirm`` is asked on the host, once: it ends the run with a reason, or lets it
go on. A small velocity is no minimum: a flow that starts near a saddle is slow there for long, and
leaves. So ``"minimum"`` is confirmed by the curvature of the loss.
"""

from __future__ import annotations

import abc
import dataclasses
import functools
import numbers
import operator
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np

from flowsim._checks import check_choice, check_real
from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._result import Reason, Result
from flowsim._types import PyTree
from flowsim.curvature.landscape import Landscape
from flowsim.curvature.stationary import (
    FLAT_VALLEY,
    MINIMUM,
    SADDLE_PLATEAU,
    Stationary,
    classify_stationary,
    refuse_end_to_end,
)
from flowsim.lowering import VectorField

_LARGEST_ASYMMETRY = 1e-6  # of a Jacobian, relative, that differences and rounding explain
_PATIENCE = 2.0  # times 1/|λ_min|, after which a saddle plateau is looked at again
_FALL = 0.5  # of the gradient, after which it is looked at again at once
_GROWTH_TIMES = 10.0  # times 1/|λ_min|, in which a velocity on a saddle must not move the state


class Verdict(NamedTuple):
    """What a stop that fired comes to.

    Attributes
    ----------
    result
        The reason for which the run ends, or None: it goes on.
    stop
        The stop to go on with, which knows when to ask again.
    note
        What was found where the run goes on, for the record; empty otherwise.
    """

    result: Result | None
    stop: Stop
    note: str = ""


class Stop(eqx.Module):
    """A reason to end a run, asked at accepted steps only."""

    @abc.abstractmethod
    def fires(self, t: Any, y: PyTree, velocity: PyTree) -> Any:
        """Whether to ask for confirmation: a Boolean scalar, traceable by JAX."""

    @abc.abstractmethod
    def confirm(self, field: VectorField, t: float, y: PyTree) -> Verdict:
        """End the run, or let it go on; on the host."""


@dataclasses.dataclass(frozen=True)
class Minimum:
    r"""Stop at a minimum: where :math:`|\nabla\ell|` is small, and the curvature confirms it.

    Parameters
    ----------
    gradient
        The norm of the gradient at which the curvature is asked, absolute, in the units of the
        loss. None takes a thousandth of the gradient at the start, but between 1e-8 and 1e-6, and
        not below 1e-9 of the gradient at the start. So a start on a plateau is not at once a rest,
        and what a run at rtol = 1e-8 can resolve is asked of it; a loss in very small or very large
        units wants a number of its own. For a field with rates the norm is that of the velocity.

    Examples
    --------
    >>> Minimum(gradient=1e-5)
    Minimum(gradient=1e-05)
    """

    gradient: float | None = None

    def __post_init__(self) -> None:
        if self.gradient is not None:
            check_real("gradient", self.gradient, above=0.0)


@in_float64
def as_stop(stop: Any, field: VectorField, start: PyTree, t0: float = 0.0) -> Stop | None:
    """Read the ``stop`` argument of a run.

    Parameters
    ----------
    stop
        None; a condition ``(t, y) -> bool``; a number, at or below which the loss ends the run;
        ``"minimum"`` or ``Minimum(...)``; or a tuple of these, of which the first to fire ends it.
    field
        The field to be integrated.
    start
        Its start, a pytree of NumPy arrays.
    t0
        The initial time.

    Raises
    ------
    InputError
        If ``stop`` is none of these, if it asks for a loss where there is none or for one that the
        start has already reached, or for a minimum where the field is no gradient flow.
    """
    if stop is None:
        return None
    if isinstance(stop, tuple):
        stops = [as_stop(part, field, start, t0) for part in stop]
        known = tuple(part for part in stops if part is not None)
        if not known:
            raise InputError("stop is an empty tuple; pass None to stop at t1 only.")
        return Either(known)
    if isinstance(stop, (str, Minimum)):
        asked = stop if isinstance(stop, Minimum) else Minimum()
        if isinstance(stop, str):
            check_choice("stop", stop, ("minimum",))
        return _at_minimum(asked, field, start, t0)
    if isinstance(stop, numbers.Real) and not isinstance(stop, bool):
        return _at_loss(check_real("stop", stop), field, start)
    if callable(stop):
        return AtCondition(stop)
    raise InputError(
        f"stop is {stop!r}; pass a function (t, y) -> bool, a value of the loss, 'minimum', "
        "Minimum(...), a tuple of these, or None."
    )


class AtCondition(Stop):
    """Stop where a condition ``(t, y) -> bool`` holds."""

    condition: Callable[[Any, PyTree], Any]

    def fires(self, t: Any, y: PyTree, velocity: PyTree) -> Any:
        """Whether the condition holds."""
        del velocity
        return self.condition(t, y)

    def confirm(self, field: VectorField, t: float, y: PyTree) -> Verdict:
        """End the run."""
        del field, y
        return Verdict(Result(Reason.stopped, f"At t = {t:.10g}."), self)


class AtLoss(Stop):
    """Stop where the loss has come down to a level."""

    field: VectorField
    level: Any

    def fires(self, t: Any, y: PyTree, velocity: PyTree) -> Any:
        """Whether the loss is at or below the level."""
        del t, velocity
        return self.field.value(y) <= self.level

    def confirm(self, field: VectorField, t: float, y: PyTree) -> Verdict:
        """End the run."""
        value = float(field.value(y))
        detail = f"At t = {t:.10g} the loss is {value:.6g}, at or below {float(self.level):.6g}."
        return Verdict(Result(Reason.stopped, detail), self)


class AtMinimum(Stop):
    """Stop where the velocity is small and the curvature says minimum.

    After an answer that is none, it asks again after the time ``again``, or as soon as the speed
    has come down to ``below``.
    """

    threshold: Any
    again: Any
    below: Any

    def fires(self, t: Any, y: PyTree, velocity: PyTree) -> Any:
        """Whether the speed is below the threshold and it is time to ask."""
        del y
        speed = sum((leaf * leaf).sum() for leaf in jax.tree.leaves(velocity)) ** 0.5
        return (speed <= self.threshold) & ((t >= self.again) | (speed <= self.below))

    @in_float64
    def confirm(self, field: VectorField, t: float, y: PyTree) -> Verdict:
        """Classify the state by its curvature; on a plateau say when to ask again."""
        found = classify_stationary(field, y, gradient=None, t=t)
        where = f"At t = {t:.10g}: {found.sentence}"
        if found.kind == MINIMUM:
            return Verdict(Result(Reason.minimum, where), self)
        if found.kind == FLAT_VALLEY:
            return Verdict(Result(Reason.flat_valley, where), self)
        if found.kind == SADDLE_PLATEAU and _rests(Landscape(field, y, t), found):
            return Verdict(Result(Reason.saddle_plateau, where), self)
        patience = _PATIENCE / found.escape_rate if found.escape_rate else abs(t)
        later = AtMinimum(
            self.threshold, np.float64(t + patience), np.float64(_FALL * found.gradient)
        )
        return Verdict(None, later, f"At t = {t:.6g}, {found.kind}: {found.sentence}")


class Either(Stop):
    """Stop at the first of several."""

    stops: tuple[Stop, ...]

    def fires(self, t: Any, y: PyTree, velocity: PyTree) -> Any:
        """Whether one of them fires."""
        return functools.reduce(
            operator.or_, [stop.fires(t, y, velocity) != 0 for stop in self.stops]
        )

    def confirm(self, field: VectorField, t: float, y: PyTree) -> Verdict:
        """The verdict of the first that fired and ends the run; else their notes."""
        velocity = field(t, y, None)
        stops, notes = [], []
        for stop in self.stops:
            if bool(stop.fires(t, y, velocity)):
                result, stop, note = stop.confirm(field, t, y)
                if result is not None:
                    return Verdict(result, self)
                notes.append(note)
            stops.append(stop)
        return Verdict(None, Either(tuple(stops)), " ".join(notes))


def _at_loss(level: float, field: VectorField, start: PyTree) -> AtLoss:
    value = float(field.value(start))
    if np.isnan(value):
        raise InputError(
            f"stop is {level:g}, a value of the loss, but this field has no loss. Pass a function "
            "(t, y) -> bool, or integrate a Problem."
        )
    if value <= level:
        raise InputError(
            f"stop is {level:g}, but the loss at the start is {value:.6g} already. Pass a lower "
            "value."
        )
    return AtLoss(field, np.float64(level))


def _at_minimum(asked: Minimum, field: VectorField, start: PyTree, t0: float) -> AtMinimum:
    refuse_end_to_end("stop='minimum'", field)
    land = Landscape(field, start, t0)
    if land.asymmetry() > _LARGEST_ASYMMETRY:
        raise InputError(
            "stop='minimum' needs a gradient flow, and the Jacobian of this field is not "
            "symmetric. Pass a function (t, y) -> bool."
        )
    threshold = asked.gradient
    if threshold is None:
        speed = float(np.linalg.norm(land.velocity(land.x)))
        threshold = max(1e-8, min(1e-6, 1e-3 * speed), 1e-9 * speed)
    return AtMinimum(np.float64(threshold), np.float64(-np.inf), np.float64(0.0))


def _rests(land: Landscape, found: Stationary) -> bool:
    """Whether the velocity is too small to change any digit of the state before it would grow.

    Entry by entry: an entry that is tiny is still followed as it grows, one that is zero is not.
    """
    velocity = np.abs(land.velocity(land.x))
    if not found.escape_rate:
        return not velocity.any()
    moved = velocity * _GROWTH_TIMES / found.escape_rate
    return bool(np.all(moved <= np.finfo(float).eps * np.abs(land.stretch * land.x)))
