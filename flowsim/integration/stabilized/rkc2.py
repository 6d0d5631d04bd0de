r"""RKC2: the second-order Runge-Kutta-Chebyshev method.

With s stages, :math:`w_0 = 1 + \epsilon/s^2` and :math:`w_1 = T_s'(w_0)/T_s''(w_0)`, the j-th stage
follows a Chebyshev polynomial that is shifted and damped,

.. math:: P_j(z) = a_j + b_j T_j(w_0 + w_1 z), \qquad
          b_j = T_j''(w_0) / T_j'(w_0)^2, \quad a_j = 1 - b_j T_j(w_0),

and the three-term recurrence of :math:`T_j` becomes one of the stages. The real stability interval
is about :math:`\tfrac23(s^2 - 1)(1 - \tfrac{2}{15}\epsilon)` long, and within it
:math:`|R| \le 1 - \epsilon/3` away from zero.

References
----------
B. P. Sommeijer, L. F. Shampine and J. G. Verwer, "RKC: an explicit solver for parabolic PDEs",
Journal of Computational and Applied Mathematics 88 (1998).
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim.integration.stabilized.base import AbstractStabilized, combination
from flowsim.integration.stabilized.radius import Estimate

_DAMPING = 2 / 13


class RKC2(AbstractStabilized):
    r"""The Runge-Kutta-Chebyshev method of order two, for diffrax.

    Stages: 2 to ``most_stages``, chosen in each step; as many evaluations. Dense output: cubic
    Hermite. Error estimate: with the local error :math:`e = \tfrac45 (y_0 - y_1) + \tfrac25
    h (f_0 + f_1) = O(h^3)`, entry by entry

    .. math:: \tfrac14 \sqrt{|e| \cdot \tfrac h2 (|f_0| + |f_1|)} = O(h^2).

    Controlling e alone would let the error at the end of a run fall with the 2/3rd power of the
    tolerance; as it is, the two are proportional, and close where the solution decays.

    Parameters
    ----------
    radius, most_stages, safety, scan_kind, known
        See :class:`AbstractStabilized`.

    Examples
    --------
    >>> import diffrax, flowsim as fs
    >>> from flowsim.integration.stabilized import RKC2
    >>> with fs.float64():
    ...     solution = diffrax.diffeqsolve(
    ...         diffrax.ODETerm(lambda t, y, args: -1e4 * (y - 1.0)),
    ...         RKC2(),
    ...         t0=0.0, t1=10.0, dt0=None, y0=0.0,
    ...         stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
    ...     )
    >>> abs(float(solution.ys[0]) - 1.0) < 1e-5
    True
    """

    radius: Any = None
    most_stages: int = eqx.field(static=True, default=500)
    safety: Any = 1.05
    scan_kind: Literal["lax", "checkpointed", "bounded"] | None = eqx.field(
        static=True, default=None
    )
    known: Estimate | None = None

    def order(self, terms: Any) -> int:
        """The order of the method."""
        return 2

    def error_order(self, terms: Any) -> float:
        """The order in h of the error estimate."""
        return 2.0

    def _intervals(self) -> tuple[np.ndarray, np.ndarray]:
        stages, _, lengths = _chebyshev(self.most_stages)
        return stages, lengths

    def _stages(
        self, field: Callable, t0: Any, h: Any, y0: Any, velocity: Any, index: Any
    ) -> tuple[Any, Any, Any, Any]:
        stages, scales, _ = _chebyshev(self.most_stages)
        s = jnp.asarray(stages)[index]
        w1 = jnp.asarray(scales)[index]
        w0 = 1 + _DAMPING / s**2
        zero, one = jnp.zeros_like(w1), jnp.ones_like(w1)

        # T_j, T_j' and T_j'' at w0 for j = 0 and 1, and b_0 = b_1 = b_2.
        last, this = (one, zero, zero), (w0, one, zero)
        b2 = 4 / (4 * w0) ** 2
        c1 = w1 / (4 * w0**2)
        first = combination([1, b2 * w1 * h], [y0, velocity])

        def stage(j: Any, carry: tuple) -> tuple:
            before, old, (last, this, b_last, b_this, c_this) = carry
            new = _next(w0, this, last)
            b = new[2] / new[1] ** 2
            mu, nu = 2 * b * w0 / b_this, -b / b_last
            mu_f = 2 * b * w1 / b_this
            gamma = -(1 - b_this * this[0]) * mu_f
            slope = field(t0 + c_this * h, old)
            y = combination(
                [1 - mu - nu, mu, nu, mu_f * h, gamma * h], [y0, old, before, slope, velocity]
            )
            return old, y, (this, new, b_this, b, w1 * new[2] / new[1])

        _, y1, _ = self._repeat(stage, 2, s + 1, (y0, first, (last, this, b2, b2, c1)))
        velocity1 = field(t0 + h, y1)
        error = combination([0.8, -0.8, 0.4 * h, 0.4 * h], [y0, y1, velocity, velocity1])
        error = jax.tree.map(functools.partial(_mean, h), error, velocity, velocity1)
        return y1, velocity1, error, s


def _mean(h: Any, error: Any, velocity: Any, velocity1: Any) -> Any:
    """A quarter of the geometric mean of the local error and the path of the step."""
    # A square root has no derivative at zero, and the error takes no part in derivatives.
    error, velocity, velocity1 = jax.lax.stop_gradient((error, velocity, velocity1))
    path = jnp.asarray(h / 2, error.dtype) * (jnp.abs(velocity) + jnp.abs(velocity1))
    return jnp.sqrt(jnp.abs(error * path)) / 4


def _next(x: Any, this: tuple, last: tuple) -> tuple:
    """The Chebyshev polynomial of the next degree at x, with its two derivatives."""
    return (
        2 * x * this[0] - last[0],
        2 * this[0] + 2 * x * this[1] - last[1],
        4 * this[1] + 2 * x * this[2] - last[2],
    )


@functools.cache
def _chebyshev(most: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers of stages s = 2, ..., most, their w_1, and the lengths that they damp."""
    stages = np.arange(2, most + 1)
    w0 = 1 + _DAMPING / stages**2
    last, this = (np.ones_like(w0), 0 * w0, 0 * w0), (w0, np.ones_like(w0), 0 * w0)
    w1 = np.empty_like(w0)
    for s in stages:
        last, this = this, _next(w0, this, last)
        w1[s - 2] = (this[1] / this[2])[s - 2]
    return stages, w1, (1 + w0) / w1
