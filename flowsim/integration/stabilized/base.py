r"""What stabilized explicit Runge-Kutta methods have in common.

An explicit method with s stages made of shifted Chebyshev polynomials is stable along the negative
real axis up to a length of about :math:`c\,s^2`, where s Euler steps would reach 2s. Gradient flow
has a real spectrum, so that a step of length h needs only about
:math:`s \approx \sqrt{h\rho/c}` evaluations, with :math:`\rho` the spectral radius of the Jacobian:
no linear algebra, and a few copies of the state.

Each step is planned: the radius at its start, enlarged by a safety factor, chooses the number of
stages. Three things can go wrong, and each is answered. The step asks for more stages than allowed,
or the radius at its end is beyond what the stages chosen can bear (progressive sharpening): its
error is then declared huge, so that the controller rejects and shortens it. A radius that the user
gave is smaller than the one measured: an error says so.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal

import diffrax
import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import numpy as np

from flowsim._checks import check_count, check_real
from flowsim._errors import InputError
from flowsim.integration.stabilized.radius import Estimate, cold_estimate, warm_estimate
from flowsim.integration.work import Work

# The error of a step that has to be rejected, whatever the tolerances.
_HUGE = 1e30
# What a rejected step may teach about the radius: its end can be far from any solution.
_MOST_RISE = 2.0
# A Jacobian product costs about two evaluations of the field. It is due after so many of them, so
# that the estimate takes no more than a fifth of the work where steps have few stages.
_EVALUATIONS_PER_PRODUCT = 10


class StabilizedState(eqx.Module):
    """What a stabilized method remembers from step to step.

    Attributes
    ----------
    velocity
        The field at the step's start, a pytree like y.
    estimate
        The estimate of the spectral radius at the step's start, or at a recent one's if steps are
        cheap.
    age
        How many evaluations of the field have been made since that estimate.
    radius
        The radius that the next step is planned on: given by the user, or estimated.
    stages
        The number of stages of the last trial step; 0 before the first.
    sharpened
        Whether the last trial step was refused because the radius at its end was too large.
    work
        What the last trial step cost.
    debt
        What ``init`` cost, as long as no step has been charged for it.
    """

    velocity: Any
    estimate: Estimate
    age: Any
    radius: Any
    stages: Any
    sharpened: Any
    work: Work
    debt: Work


class AbstractStabilized(diffrax.AbstractAdaptiveSolver):
    """Base class of the stabilized explicit methods, for diffrax and for flowsim's own loop.

    A method says which numbers of stages it has and how far along the negative real axis each is
    damped (:meth:`_intervals`), and carries out the stages (:meth:`_stages`). The number of stages
    is chosen anew in each step, within one compiled program. States are arbitrary pytrees and stay
    in their own dtype.

    Attributes
    ----------
    radius
        The spectral radius of the Jacobian: a number, a function ``(t, y, args)`` that returns one,
        or None to estimate it. A radius that is given is still compared with the estimate, which
        is kept up by about one Jacobian product a step, and an error is raised where it is too
        small.
    most_stages
        The largest number of stages of a step.
    safety
        The factor by which the radius is enlarged when stages are chosen.
    known
        An estimate of the radius at the start, where there is one already.
    scan_kind
        How the loop over stages is compiled, as for diffrax's Runge-Kutta methods: None allows
        reverse-mode derivatives, ``"lax"`` forward-mode ones, ``"bounded"`` both at some cost.
        With ``diffrax.ForwardMode`` pass ``"lax"``.
    """

    radius: eqx.AbstractVar[Any]
    most_stages: eqx.AbstractVar[int]
    safety: eqx.AbstractVar[Any]
    scan_kind: eqx.AbstractVar[Literal["lax", "checkpointed", "bounded"] | None]
    known: eqx.AbstractVar[Estimate | None]

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k
    #: The smallest number of stages that the method has.
    fewest_stages: ClassVar[int] = 2
    #: Proportional and integral coefficients of the step-size controller that suit the method.
    controller_coefficients: ClassVar[tuple[float, float]] = (0.2, 0.4)

    def __check_init__(self) -> None:
        """Refuse arguments that make no method."""
        check_count("most_stages", self.most_stages, at_least=self.fewest_stages)
        if isinstance(self.safety, (bool, int, float, str)) or self.safety is None:
            check_real("safety", self.safety, at_least=1)
        if isinstance(self.radius, (bool, int, float, str)):
            check_real("radius", self.radius, at_least=0)
        if self.scan_kind not in (None, "lax", "checkpointed", "bounded"):
            raise InputError(
                f"scan_kind is {self.scan_kind!r}, which is none of None, 'lax', 'checkpointed', "
                "'bounded'."
            )

    # --- what a method provides -------------------------------------------------------------------

    @abc.abstractmethod
    def _intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """The numbers of stages to choose from, and how far each is damped; both increasing.

        With stages[i], :math:`|R(-z)| < 1` for all z in (0, lengths[i]]. They run from
        ``fewest_stages`` to ``most_stages``.
        """

    @abc.abstractmethod
    def _stages(
        self, field: Callable, t0: Any, h: Any, y0: Any, velocity: Any, index: Any
    ) -> tuple[Any, Any, Any, Any]:
        """Carry out the stages of a step.

        Parameters
        ----------
        field
            The field, ``(t, y) -> dy/dt``.
        t0, h
            Start and length of the step.
        y0, velocity
            The state at its start and the field there, already evaluated.
        index
            Which entry of :meth:`_intervals` to use, a traced integer.

        Returns
        -------
        tuple
            The state at the end, the field there, the error estimate (pytrees like y0), and the
            number of evaluations of the field that it took.
        """

    # --- what diffrax asks for --------------------------------------------------------------------

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The field."""
        return terms.vf(t0, y0, args)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> StabilizedState:
        """Evaluate the field at the start and estimate the spectral radius there."""
        known = self.known
        estimate = cold_estimate(terms.vf, t0, y0, args) if known is None else known
        return StabilizedState(
            velocity=terms.vf(t0, y0, args),
            estimate=estimate,
            age=jnp.zeros((), jnp.result_type(int)),
            radius=self._radius(t0, y0, args, estimate),
            stages=jnp.zeros((), jnp.result_type(int)),
            sharpened=jnp.asarray(False),
            work=Work.of(),
            debt=Work.of(gradients=1, hessian_products=estimate.products if known is None else 0),
        )

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: StabilizedState,
        made_jump: Any,
    ) -> tuple[Any, Any, dict[str, Any], StabilizedState, Any]:
        """One step from t0 to t1; see :meth:`diffrax.AbstractSolver.step`."""
        before = solver_state
        made_jump = jnp.asarray(made_jump)
        velocity = jax.lax.cond(made_jump, lambda: terms.vf(t0, y0, args), lambda: before.velocity)
        radius = self._audited(t0, before)

        h = terms.contr(t0, t1)
        stages, lengths = self._intervals()
        wanted = jax.lax.stop_gradient(jnp.abs(h) * self.safety * radius)
        index = jnp.searchsorted(jnp.asarray(lengths, wanted.dtype), wanted)
        fits = index < lengths.size
        # A step that is too long is refused; meanwhile it costs as little as a step can, and goes
        # nowhere, so that nothing overflows.
        index = jnp.where(fits, index, 0)
        h = jnp.where(fits, h, 0)
        y1, velocity1, error, evaluations = self._stages(
            lambda t, y: terms.vf(t, y, args), t0, h, y0, velocity, index
        )

        age = before.age + evaluations
        due = age >= _EVALUATIONS_PER_PRODUCT
        estimate = jax.lax.cond(
            due,
            lambda: warm_estimate(terms.vf, t0 + h, y1, args, before.estimate),
            lambda: before.estimate,
        )
        radius1 = self._radius(t0 + h, y1, args, estimate)
        # What is certain counts here: an estimate with a margin would refuse good steps.
        certain = estimate.least if self.radius is None else radius1
        sharpened = jnp.abs(h) * certain > jnp.asarray(lengths)[index]
        refused = sharpened | ~fits
        error = jax.tree.map(
            lambda e: jnp.where(refused | ~jnp.isfinite(e), jnp.asarray(_HUGE, e.dtype), e), error
        )
        after = StabilizedState(
            velocity=velocity1,
            estimate=estimate,
            age=jnp.where(due, 0, age),
            radius=radius1,
            stages=jnp.asarray(stages)[index].astype(before.stages.dtype),
            sharpened=sharpened,
            work=Work.of(
                gradients=evaluations + made_jump,
                hessian_products=estimate.products - before.estimate.products,
            ),
            debt=Work.of(),
        )
        k = jax.tree.map(
            lambda a, b: jnp.stack([a, b]),
            combination([h], [velocity]),
            combination([h], [velocity1]),
        )
        dense = {"y0": y0, "y1": y1, "k": k}
        return y1, error, dense, after, diffrax.RESULTS.successful

    # --- what flowsim's loop asks for -------------------------------------------------------------

    def cost(self, before: StabilizedState, after: StabilizedState) -> Work:
        """The work of one trial step; the first is charged with what ``init`` cost."""
        return before.debt + after.work

    def learned(self, before: StabilizedState, after: StabilizedState) -> StabilizedState:
        """The state to go on with after a rejected step: the step's start, with what it taught.

        A step that was refused because the radius rose within it is tried again with stages for
        the larger radius (twice the old one at most).
        """
        risen = jnp.clip(after.radius, before.radius, _MOST_RISE * before.radius)
        radius = jnp.where(after.sharpened, risen, before.radius)
        return eqx.tree_at(
            lambda s: (s.radius, s.stages, s.sharpened, s.work, s.debt),
            before,
            (radius, after.stages, after.sharpened, after.work, after.debt),
        )

    def longest_step(self, state: StabilizedState) -> Any:
        """The longest step that ``most_stages`` allows from here; infinite where nothing is stiff.

        Longer steps are refused in :meth:`step`, at the price of an evaluation or two. A loop that
        clips its steps to this length does not pay even that.
        """
        radius = self.safety * state.radius
        longest = self._intervals()[1][-1]
        # A little less, so that rounding in the end of the step cannot ask for one stage more.
        return jnp.where(radius > 0, 0.999 * longest / jnp.where(radius > 0, radius, 1), jnp.inf)

    # --- parts ------------------------------------------------------------------------------------

    def _repeat(self, body: Callable, start: Any, stop: Any, carry: Any) -> Any:
        """``body(j, carry)`` for j = start, ..., stop - 1, where stop may be traced."""
        result = eqxi.while_loop(
            lambda c: c[0] < stop,
            lambda c: (c[0] + 1, body(c[0], c[1])),
            (jnp.asarray(start, jnp.result_type(stop)), carry),
            max_steps=int(self._intervals()[0][-1]) + 1,
            kind="checkpointed" if self.scan_kind is None else self.scan_kind,
        )
        return result[1]

    def _radius(self, t: Any, y: Any, args: Any, estimate: Estimate) -> Any:
        if self.radius is None:
            return estimate.radius
        radius = self.radius(t, y, args) if callable(self.radius) else self.radius
        return jax.lax.stop_gradient(jnp.asarray(radius, estimate.radius.dtype))

    def _audited(self, t: Any, state: StabilizedState) -> Any:
        """The radius to plan on; raises where a radius that was given is too small."""
        if self.radius is None:
            return state.radius
        numbers = jax.lax.stop_gradient((state.radius, state.estimate.least, t))
        given, measured, _ = numbers
        low = measured > given * jax.lax.stop_gradient(jnp.asarray(self.safety, given.dtype))
        # A callback, not eqx.error_if, whose message could not say the numbers. It decides nothing
        # on numbers of its own: its thread may be in 32-bit mode.
        passed = jax.pure_callback(
            _complain, jax.ShapeDtypeStruct((), bool), low, *numbers, vmap_method="broadcast_all"
        )
        return jnp.where(passed, given, jnp.nan)


def combination(coefficients: Any, trees: Any) -> Any:
    """The sum of coefficients times pytrees, each leaf in its own dtype.

    Examples
    --------
    >>> import numpy as np
    >>> combination([2.0, 0.5], [{"a": np.float32(1.0)}, {"a": np.float32(4.0)}])
    {'a': Array(4., dtype=float32)}
    """

    def of_leaves(*leaves: Any) -> Any:
        terms = [
            jnp.asarray(c, jnp.result_type(x)) * x
            for c, x in zip(coefficients, leaves, strict=True)
        ]
        return sum(terms[1:], terms[0])

    return jax.tree.map(of_leaves, *trees)


def _complain(low: Any, given: Any, measured: Any, t: Any) -> np.ndarray:
    low = np.asarray(low)
    if low.any():
        given, measured, t = (np.broadcast_to(x, low.shape)[low][0] for x in (given, measured, t))
        raise InputError(
            f"radius is {given:.6g} at t = {t:.6g}, where the spectral radius of the Jacobian is "
            f"measured to be at least {measured:.6g}. Steps planned on the smaller number would be "
            "unstable. Pass an upper bound, or radius=None to have it estimated."
        )
    return ~low
