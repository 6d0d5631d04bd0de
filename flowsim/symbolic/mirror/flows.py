r"""Following the gradient fields of a parametrization by numbers.

A change :math:`\delta` of :math:`\mu = -\int \nabla L` moves the factors along
:math:`\sum_i \delta_i \nabla G_i = J^\top \delta` for the time 1.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from flowsim.problems.parametrizations import Parametrization

__all__ = ["compiled", "flattened", "moved_numerically"]

#: Evaluations of the field in one move; a flow that needs more has met a pole.
LARGEST_EFFORT = 20_000


def flattened(par: Parametrization, theta: Any, name: str = "start") -> np.ndarray:
    """All entries of the factors in a row, after a check of their shapes."""
    return par.flattened(par.check_factors(theta, name))


def compiled(par: Parametrization) -> tuple[Callable[..., np.ndarray], ...]:
    """Value, Jacobian and the field Jᵀδ of a parametrization, of all entries in a row."""
    import jax
    import jax.numpy as jnp

    from flowsim._precision import in_float64

    def value(flat: Any) -> Any:
        return jnp.ravel(par(par.unflattened(flat)))

    def field(flat: Any, change: Any) -> Any:
        return jax.vjp(value, flat)[1](change)[0]

    def plain(function: Callable[..., Any]) -> Callable[..., np.ndarray]:
        return in_float64(lambda *args: np.asarray(function(*args)))

    return tuple(plain(jax.jit(f)) for f in (value, jax.jacrev(value), field))


class _EffortError(Exception):
    pass


def moved_numerically(
    field: Callable[[np.ndarray, np.ndarray], np.ndarray], state: np.ndarray, change: np.ndarray
) -> np.ndarray | None:
    """The state after following ``field(state, change)`` for the time 1; None where it blows up."""
    from scipy.integrate import solve_ivp

    effort = 0

    def rhs(_: float, x: np.ndarray) -> np.ndarray:
        nonlocal effort
        effort += 1
        if effort > LARGEST_EFFORT or not np.isfinite(x).all():
            raise _EffortError
        return field(x, change)

    try:
        with np.errstate(over="ignore", invalid="ignore"):
            scale = float(np.abs(state).max()) or 1.0
            run = solve_ivp(rhs, (0, 1), state, "DOP853", rtol=3e-14, atol=1e-16 * scale)
    except _EffortError:
        return None
    end = run.y[:, -1]
    return end if run.success and np.isfinite(end).all() else None
