"""Keeping a run on the level set of the conservation laws that its flow has."""

# Equinox lets a property stand for an abstract field; the type checker does not know.
# pyright: reportAssignmentType=false, reportIncompatibleMethodOverride=false
# pyright: reportIncompatibleVariableOverride=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._errors import InputError
from flowsim._precision import in_float64
from flowsim._types import PyTree
from flowsim.instruments.levels import LevelSet
from flowsim.symbolic.conservation import ConservationLaw

__all__ = ["Projected", "Projector"]

#: Relative rate of change of a law along a field, up to which the field conserves it.
CONSERVED_BELOW = 1e-8


class Projector(eqx.Module):
    """Puts a state back onto the level set that a start gives its flow, by Gauss-Newton steps.

    Parameters
    ----------
    level
        The level set.
    """

    level: LevelSet

    @classmethod
    def of(
        cls,
        laws: Sequence[ConservationLaw],
        start: PyTree,
        t0: float = 0.0,
        *,
        field: Any = None,
    ) -> Projector:
        """The projector of a start.

        Parameters
        ----------
        laws
            Conservation laws of the parametrization whose factors flow.
        start
            The factors at t0.
        t0
            The time of the start.
        field
            The vector field; where it is given, it is asked at the start whether it conserves the
            laws. A projection onto the laws of another flow would be a wrong result.

        Raises
        ------
        InputError
            If there are no laws, or they are laws of other factors, or the field does not conserve
            one of them.

        Examples
        --------
        >>> import numpy as np, flowsim as fs
        >>> projector = Projector.of(fs.conservation_laws(fs.Diagonal(1)), (np.ones(1), np.ones(1)))
        >>> with fs.float64():
        ...     u, v = projector(0.0, (np.array([1.001]), np.array([1.0])))
        >>> float(u[0] * v[0])
        1.0
        """
        laws = tuple(laws)
        projector = cls(LevelSet.of(laws, start, t0))
        if field is not None:
            projector._check_field(laws, field, t0, start)
        return projector

    def __call__(self, t: Any, y: PyTree) -> PyTree:
        """The state on the level set next to y, of y's structure; traceable by JAX."""
        return self.level.correct(t, y)[0]

    def correct(self, t: Any, y: PyTree) -> tuple[PyTree, Any]:
        """The same state, and the Euclidean length of the correction."""
        return self.level.correct(t, y)

    @in_float64
    def _check_field(
        self, laws: tuple[ConservationLaw, ...], field: Any, t0: float, start: PyTree
    ) -> None:
        velocity = field(np.float64(t0), jax.tree.map(jnp.asarray, start), None)
        parts = [np.asarray(part, np.float64) for part in self.level.parts(velocity)]
        for law, value, rate in zip(laws, self.level.initial, self.level.rates, strict=True):
            terms = [np.ravel(g * v) for g, v in zip(law.gradient(start), parts, strict=True)] + [
                np.ravel(-rate * value)
            ]
            terms = np.concatenate(terms)
            scale = np.abs(terms).sum()
            if not np.abs(terms.sum()) <= CONSERVED_BELOW * scale:
                raise InputError(
                    f"laws holds {law.name}, which the field does not conserve: at the start it "
                    f"changes at the rate {terms.sum():.3g}, where terms of size {scale:.3g} "
                    "should cancel. Take the laws of the problem's own parametrization, found with "
                    "its weight_decay and rates."
                )


class _Moved(diffrax.AbstractLocalInterpolation):
    """An interpolant that ends at the corrected value: the correction comes in linearly."""

    t0: Any
    t1: Any
    inner: Any
    correction: Any

    def evaluate(self, t0: Any, t1: Any | None = None, left: bool = True) -> Any:
        if t1 is not None:
            return jax.tree.map(jnp.subtract, self.evaluate(t1), self.evaluate(t0))
        length = self.t1 - self.t0
        part = (t0 - self.t0) / jnp.where(length == 0, 1.0, length)
        value = self.inner.evaluate(t0, left=left)
        return jax.tree.map(lambda v, c: v + part * c, value, self.correction)


class Projected(diffrax.AbstractAdaptiveSolver, diffrax.AbstractWrappedSolver):
    """A solver whose every step ends on a level set, for a plain ``diffrax.diffeqsolve``.

    The order is the solver's. A method that hands its last evaluation of the field on to the next
    step evaluates it again, since the projection moved the state: one evaluation a step more.

    Parameters
    ----------
    solver
        An adaptive diffrax solver.
    projector
        A :class:`Projector`.

    References
    ----------
    E. Hairer, C. Lubich and G. Wanner, Geometric Numerical Integration, section IV.4: standard
    projection methods keep the order.

    Examples
    --------
    >>> import diffrax, numpy as np, flowsim as fs
    >>> start = np.array([1.0]), np.array([2.0])
    >>> laws = fs.conservation_laws(fs.Diagonal(1))
    >>> with fs.float64():
    ...     solution = diffrax.diffeqsolve(
    ...         diffrax.ODETerm(lambda t, y, args: (y[0], -y[1])),
    ...         Projected(diffrax.Tsit5(), Projector.of(laws, start)),
    ...         t0=0.0, t1=1.0, dt0=None, y0=start,
    ...         stepsize_controller=diffrax.PIDController(rtol=1e-4, atol=1e-4),
    ...     )
    >>> u, v = (np.asarray(part) for part in solution.ys)
    >>> bool(abs(u[0, 0] * v[0, 0] - 2.0) < 1e-15)
    True
    """

    solver: diffrax.AbstractAdaptiveSolver
    projector: Projector

    @property
    def term_structure(self) -> Any:
        """The wrapped solver's."""
        return self.solver.term_structure

    @property
    def term_compatible_contr_kwargs(self) -> Any:
        """The wrapped solver's."""
        return self.solver.term_compatible_contr_kwargs

    @property
    def scan_kind(self) -> Any:
        """The wrapped solver's, which diffrax sets for forward-mode derivatives."""
        solver: Any = self.solver  # only Runge-Kutta methods have it, and are asked for it
        return solver.scan_kind

    @property
    def interpolation_cls(self) -> Any:
        """The wrapped solver's interpolant, moved to end at the projected value."""

        def build(t0: Any, t1: Any, inner: Any, correction: Any) -> _Moved:
            made = self.solver.interpolation_cls(t0=t0, t1=t1, **inner)
            return _Moved(t0, t1, made, correction)

        return build

    def order(self, terms: Any) -> Any:
        """The wrapped solver's."""
        return self.solver.order(terms)

    def error_order(self, terms: Any) -> Any:
        """The wrapped solver's."""
        return self.solver.error_order(terms)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> Any:
        """The wrapped solver's state."""
        return self.solver.init(terms, t0, t1, y0, args)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The field."""
        return self.solver.func(terms, t0, y0, args)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: Any, made_jump: Any
    ) -> tuple[Any, Any, dict[str, Any], Any, Any]:
        """One step of the wrapped solver, then the projection."""
        del made_jump  # the state is never the one that the solver's last step ended with
        y1, error, dense, state, result = self.solver.step(
            terms, t0, t1, y0, args, solver_state, jnp.asarray(True)
        )
        moved = self.projector(t1, y1)
        correction = jax.tree.map(jnp.subtract, moved, y1)
        return moved, error, {"inner": dense, "correction": correction}, state, result
