"""One trial step of many lanes, each with its own time and step length.

States are arrays of shape (size, lanes): the lane axis is last, so that every operation is a loop
over neighbouring numbers.
"""

# NumPy's stubs are narrower than what is done here.
# pyright: reportArgumentType=false, reportCallIssue=false, reportPossiblyUnboundVariable=false
# pyright: reportIndexIssue=false

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim.integration.batch.lanes_last import lanes_last
from flowsim.integration.solvers import cost_of_step, with_tolerances


class LaneField(eqx.Module):
    """The fields of all lanes, on flat states.

    Attributes
    ----------
    rest
        What the lanes' fields have in common.
    own
        The arrays in which they differ, with the lane axis last, or None at each place where
        they agree.
    structure, shapes
        How a flat state is laid out as a pytree.
    """

    rest: Any
    own: Any
    structure: Any = eqx.field(static=True)
    shapes: tuple[tuple[int, ...], ...] = eqx.field(static=True)

    @property
    def size(self) -> int:
        """The number of entries of a state."""
        return sum(math.prod(shape) for shape in self.shapes)

    def of(self, own: Any) -> LaneField:
        """The same with other arrays of the lanes' own."""
        return LaneField(self.rest, own, self.structure, self.shapes)

    def unravel(self, flat: Any) -> Any:
        """The pytree of a flat state of one lane."""
        parts, begin = [], 0
        for shape in self.shapes:
            end = begin + math.prod(shape)
            parts.append(flat[begin:end].reshape(shape))
            begin = end
        return jax.tree.unflatten(self.structure, parts)

    def term(self, own: Any) -> diffrax.ODETerm:
        """The field of one lane, for diffrax."""
        field = eqx.combine(self.rest, own)
        return diffrax.ODETerm(lambda t, y, args: _ravel(field(t, self.unravel(y), None)))

    def __call__(self, t: Any, y: Any) -> Any:
        """Velocities (size, lanes) at times (lanes,) and states (size, lanes)."""
        velocity = self.read(lambda field, t, y: _ravel(field(t, y, None)), t, y)
        return jax.lax.optimization_barrier(velocity)

    def read(self, function: Callable[..., Any], t: Any, y: Any) -> Any:
        """``function(field, t, y)`` of every lane, its outputs with the lane axis last."""
        shared, static = eqx.partition(self.rest, eqx.is_array)

        def one(shared: Any, own: Any, t: Any, flat: Any) -> Any:
            return function(eqx.combine(shared, static, own), t, self.unravel(flat))

        lane = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[:-1], x.dtype), (self.own, t, y))
        mapped = lanes_last(one, shared, *lane)
        return mapped((False, True, True, True), shared, self.own, t, y)


def _ravel(tree: Any) -> Any:
    return jnp.concatenate([jnp.ravel(leaf) for leaf in jax.tree.leaves(tree)])


class Trial(NamedTuple):
    """The outcome of one trial step of every lane.

    Attributes
    ----------
    y, error
        The states after it and their estimated errors, (size, lanes).
    accepted, rejected
        What the stepper remembers if the step is accepted, and if it is rejected.
    stiffness
        The step length times an estimate of the spectral radius, (lanes,); 0 where unknown.
    work
        Evaluations, Jacobians and Hessian products, (3, lanes).
    longest
        The longest next step that the method allows, (lanes,).
    """

    y: Any
    error: Any
    accepted: Any
    rejected: Any
    stiffness: Any
    work: Any
    longest: Any


class ExplicitStepper(eqx.Module):
    """An explicit Runge-Kutta pair of diffrax, its tableau evaluated on all lanes at once.

    The stages are a loop, so that the field is compiled once; a linear combination of stages is
    one product of a row of the tableau with all of them. The spectral radius is read off the last
    two stages where both stand at the end of the step, g and g':
    |f(g') - f(g)| / |g' - g| (Hairer and Wanner, Solving Ordinary Differential Equations II, IV.2).
    """

    solver: diffrax.AbstractERK

    @property
    def order(self) -> float:
        """The power of the step length that the error estimate follows."""
        return float(self.solver.error_order(diffrax.ODETerm(lambda t, y, args: y)))

    @property
    def _tableau(self) -> Any:
        return self.solver.tableau

    def init(self, field: LaneField, t: Any, h: Any, y: Any, velocity: Any) -> Any:
        """The first stage of the first step, where the last one of each step serves the next."""
        del field, t, h, y
        return velocity if self._tableau.fsal else None

    def step(self, field: LaneField, t: Any, h: Any, y: Any, memory: Any, tolerances: Any) -> Trial:
        """A step of length h, (lanes,), from t."""
        del tolerances
        tableau, s, first = self._tableau, self._tableau.num_stages, int(self._tableau.fsal)
        a = np.zeros((s, s))
        for i, row in enumerate(tableau.a_lower):
            a[i + 1, : i + 1] = row
        nodes = jnp.asarray(np.concatenate([[0.0], tableau.c]))
        lower = jnp.asarray(a)
        k = jnp.zeros((s, *y.shape), y.dtype)
        if first:
            k = k.at[0].set(memory)

        def stage(i: Any, k: Any) -> Any:
            # Without the barrier the combination would be computed anew for each of its uses.
            g = jax.lax.optimization_barrier(y + h * jnp.tensordot(lower[i], k, 1))
            return jax.lax.dynamic_update_index_in_dim(k, field(t + nodes[i] * h, g), i, 0)

        k = jax.lax.fori_loop(first, s, stage, k)
        pair = s > 2 and tableau.c[-1] == tableau.c[-2] == 1.0
        rows = np.stack([tableau.b_sol, tableau.b_error, a[-1] - a[-2]])
        change, error, apart = h * jnp.tensordot(jnp.asarray(rows), k, 1)
        stiffness = jnp.zeros_like(t)
        if pair:
            gap = jnp.sqrt(jnp.sum(apart**2, 0))
            rise = h * jnp.sqrt(jnp.sum((k[-1] - k[-2]) ** 2, 0))
            # A gap near the rounding of the state says nothing.
            sure = gap > 1e-13 * jnp.sqrt(jnp.sum(y**2, 0))
            stiffness = jnp.where(sure, rise / jnp.where(sure, gap, 1.0), 0.0)
        work = jnp.zeros((3, *t.shape), jnp.int64).at[0].set(s - first)
        last = k[-1] if first else None
        return Trial(y + change, error, last, memory, stiffness, work, jnp.full_like(t, jnp.inf))


class SolverStepper(eqx.Module):
    """Any adaptive solver of diffrax's kind, mapped over the lanes."""

    solver: Any

    @property
    def order(self) -> float:
        """The power of the step length that the error estimate follows."""
        return float(self.solver.error_order(diffrax.ODETerm(lambda t, y, args: y)))

    def init(self, field: LaneField, t: Any, h: Any, y: Any, velocity: Any) -> Any:
        """The solver's state in each lane."""
        del velocity

        def one(own: Any, t: Any, h: Any, y: Any) -> Any:
            return self.solver.init(field.term(own), t, t + h, y, None)

        return jax.vmap(one, in_axes=-1, out_axes=-1)(field.own, t, h, y)

    def step(self, field: LaneField, t: Any, h: Any, y: Any, memory: Any, tolerances: Any) -> Trial:
        """A step of length h, (lanes,), from t."""

        def one(own: Any, t: Any, h: Any, y: Any, before: Any, atol: Any) -> Any:
            controller = diffrax.PIDController(rtol=tolerances[0], atol=atol)
            solver = with_tolerances(self.solver, controller)
            y1, error, _, after, outcome = solver.step(
                field.term(own), t, t + h, y, None, before, jnp.asarray(False)
            )
            # What the solver calls a failure is rejected, like a value that is not finite.
            error = jnp.where(outcome == diffrax.RESULTS.successful, error, jnp.nan)
            learned = solver.learned(before, after) if hasattr(solver, "learned") else before
            work = cost_of_step(solver, before, after)
            counts = jnp.stack([work.gradients, work.jacobians, work.hessian_products])
            longest = jnp.asarray(jnp.inf)
            if hasattr(solver, "longest_step"):
                # Whether the step is accepted is not known here: the shorter of both will do.
                both = (solver.longest_step(state) for state in (after, learned))
                longest = jnp.minimum(*(jnp.asarray(length, float) for length in both))
            return Trial(y1, error, after, learned, jnp.zeros(()), counts, longest)

        return jax.vmap(one, in_axes=-1, out_axes=-1)(field.own, t, h, y, memory, tolerances[1])


def stepper_of(solver: Any) -> ExplicitStepper | SolverStepper:
    """The stepper that runs a solver on many lanes."""
    if isinstance(solver, diffrax.AbstractERK):
        return ExplicitStepper(solver)
    return SolverStepper(solver)
