"""The step-size controller that every diffrax run of flowsim goes through.

It wraps diffrax's PID controller and adds what an honest run needs: steps that end exactly at the
times asked for, so that values there come from the method and not from an interpolant; a rejected
step where a trial value is not finite; and an end to the loop when the allowance of steps is used
up or when steps have become too small to advance time.
"""

# Equinox lets a property stand for an abstract field; the type checker does not know.
# pyright: reportAssignmentType=false, reportIncompatibleMethodOverride=false
# pyright: reportIncompatibleVariableOverride=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp

#: A step below this fraction of the time no longer advances it by more than rounding.
SMALLEST_STEP = 1e-14
#: Near t = 0, where no fraction is too small, a step below this is no number any more.
SMALLEST_NUMBER = 1e-300


class WatchedState(eqx.Module):
    """What the controller carries: the PID controller's state, the step it would take, counts."""

    inner: Any
    step: Any
    used: Any


class WatchedController(diffrax.AbstractAdaptiveStepSizeController):
    """PID control with exact save times, finite values and bounded work.

    Parameters
    ----------
    pid
        The controller that decides how large a step is.
    targets
        Increasing times at which a step has to end, shape (T,); the last is the end of the run.
    allowance
        The number of trial steps after which the loop ends.
    """

    pid: diffrax.PIDController
    targets: Any
    allowance: Any

    @property
    def rtol(self) -> Any:
        """Relative tolerance, which implicit solvers ask for."""
        return self.pid.rtol

    @property
    def atol(self) -> Any:
        """Absolute tolerance, which implicit solvers ask for."""
        return self.pid.atol

    @property
    def norm(self) -> Any:
        """Norm of the scaled error."""
        return self.pid.norm

    def wrap(self, direction: Any) -> WatchedController:
        """Tell the inner controller the direction of time."""
        return WatchedController(self.pid.wrap(direction), self.targets, self.allowance)

    def init(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        dt0: Any,
        args: Any,
        func: Any,
        error_order: Any,
    ) -> tuple[Any, WatchedState]:
        """The end of the first step, and the state; see diffrax's AbstractStepSizeController."""
        proposed, inner = self.pid.init(terms, t0, t1, y0, dt0, args, func, error_order)
        step = proposed - t0
        return self._end(t0, step), WatchedState(inner, step, jnp.zeros((), jnp.int32))

    def adapt_step_size(
        self,
        t0: Any,
        t1: Any,
        y0: Any,
        y1_candidate: Any,
        args: Any,
        y_error: Any,
        error_order: Any,
        controller_state: WatchedState,
    ) -> tuple[Any, Any, Any, Any, WatchedState, Any]:
        """Accept or reject the step from t0 to t1, and choose the next."""
        finite = _all_finite(y1_candidate) & _all_finite(y_error)
        # A trial value that is not finite is a rejection, with the step cut by ten; the inner
        # controller is shown the old value, so that no NaN enters its memory.
        shown = jax.tree.map(lambda new, old: jnp.where(finite, new, old), y1_candidate, y0)
        error = jax.tree.map(lambda e: jnp.where(finite, e, jnp.zeros_like(e)), y_error)
        keep, next_t0, next_t1, made_jump, inner, result = self.pid.adapt_step_size(
            t0, t1, y0, shown, args, error, error_order, controller_state.inner
        )
        keep = keep & finite
        next_t0 = jnp.where(finite, next_t0, t0)
        proposed = jnp.where(finite, next_t1 - next_t0, 0.1 * (t1 - t0))
        # A step cut short to end at a target says nothing against the longer one planned before.
        shortened = t1 - t0 < 0.99 * controller_state.step
        planned = jnp.where(keep & shortened, controller_state.step, 0.0)
        step = jnp.maximum(proposed, planned)
        used = controller_state.used + 1
        result = diffrax.RESULTS.where(
            used >= self.allowance, diffrax.RESULTS.max_steps_reached, result
        )
        too_small = step <= jnp.maximum(SMALLEST_STEP * jnp.abs(next_t0), SMALLEST_NUMBER)
        result = diffrax.RESULTS.where(too_small & ~keep, diffrax.RESULTS.dt_min_reached, result)
        state = WatchedState(inner, step, used)
        return keep, next_t0, self._end(next_t0, step), made_jump, state, result

    def _end(self, t: Any, step: Any) -> Any:
        """The end of a step from t: at the next target if the step reaches it, else on the way."""
        index = jnp.minimum(jnp.searchsorted(self.targets, t, side="right"), self.targets.size - 1)
        target = self.targets[index]
        left = target - t
        # Two equal steps instead of a long one and a sliver.
        return jnp.where(
            step >= left * (1 - 1e-12), target, t + jnp.where(2 * step > left, left / 2, step)
        )


def _all_finite(tree: Any) -> Any:
    leaves = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(leaves))
