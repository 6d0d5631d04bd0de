r"""ROCK4: a stabilized explicit method of order four.

With s stages its stability polynomial is near the best of order 4 and degree s: damped,
:math:`|R| \le 0.95`, on an interval of the negative real axis of length about
:math:`0.352\,s^2`. All stages but four follow a three-term recurrence,

.. math:: d_j = \mu_j h f(g_{j-1}) - \kappa_j d_{j-1}, \qquad g_j = g_{j-1} + d_j, \qquad g_0 = y_0,

and the last four, an explicit method started at :math:`g_{s-4}`, raise the order to 4. How the
coefficients come about is told, and done, in :mod:`flowsim.integration.stabilized.coefficients`.

The last four stages are where the method is weak. What happens before them, rounding errors and
the errors of stages that are accurate to first order only, they amplify by up to :math:`|w(-z)|`,
about :math:`z^4 / 100`. So rounding alone costs 1e-9 with 20 stages, 1e-6 with 40, 1e-4 with 60
(the error estimate sees it); and where a slow drift forces stiff directions, as in the training of
networks, the order falls, the more the more stages there are. The method is at its best at small
tolerances, with few stages.

References
----------
A. Abdulle, "Fourth order Chebyshev methods with recurrence relation", SIAM J. Sci. Comput. 23
(2002) 2041-2054.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from flowsim.integration.stabilized.base import AbstractStabilized, combination
from flowsim.integration.stabilized.coefficients import FILE
from flowsim.integration.stabilized.radius import Estimate


class _Table(NamedTuple):
    """Coefficients by number of stages, padded with zeros, and the nodes of all stages."""

    stages: np.ndarray  # (n,)
    lengths: np.ndarray  # (n,)
    mu: np.ndarray  # (n, m)
    kappa: np.ndarray  # (n, m)
    nodes: np.ndarray  # (n, m) of the stages g_0, g_1, ...
    last_nodes: np.ndarray  # (n, 4)
    a: np.ndarray  # (n, 4, 4)
    b: np.ndarray  # (n, 4)
    e: np.ndarray  # (n, 5)


class ROCK4(AbstractStabilized):
    """An orthogonal Runge-Kutta-Chebyshev method of order four, for diffrax.

    Stages: 5 to ``most_stages`` (every number to 40, beyond in steps of at most 5 %), chosen in
    each step; as many evaluations. Error estimate: an embedded method of order three, without an
    evaluation of its own. Dense output: cubic Hermite, globally of order four.

    Parameters
    ----------
    radius, most_stages, safety, scan_kind, known
        See :class:`AbstractStabilized`. There are coefficients for up to 145 stages; the default of
        40 keeps amplified rounding errors below about 1e-6.

    Examples
    --------
    >>> import diffrax, flowsim as fs
    >>> from flowsim.integration.stabilized.rock4 import ROCK4
    >>> with fs.float64():
    ...     solution = diffrax.diffeqsolve(
    ...         diffrax.ODETerm(lambda t, y, args: -1e4 * (y - 1.0)),
    ...         ROCK4(),
    ...         t0=0.0, t1=10.0, dt0=None, y0=0.0,
    ...         stepsize_controller=diffrax.PIDController(rtol=1e-6, atol=1e-6),
    ...     )
    >>> abs(float(solution.ys[0]) - 1.0) < 1e-5
    True
    """

    radius: Any = None
    most_stages: int = eqx.field(static=True, default=40)
    safety: Any = 1.05
    scan_kind: Literal["lax", "checkpointed", "bounded"] | None = eqx.field(
        static=True, default=None
    )
    known: Estimate | None = None

    fewest_stages: ClassVar[int] = 5

    def order(self, terms: Any) -> int:
        """The order of the method."""
        return 4

    def _intervals(self) -> tuple[np.ndarray, np.ndarray]:
        table = _table(self.most_stages)
        return table.stages, table.lengths

    def _stages(
        self, field: Callable, t0: Any, h: Any, y0: Any, velocity: Any, index: Any
    ) -> tuple[Any, Any, Any, Any]:
        table = _table(self.most_stages)
        mu, kappa, nodes, last_nodes, a, b, e = (jnp.asarray(x)[index] for x in table[2:])
        s = jnp.asarray(table.stages)[index]

        def stage(j: Any, carry: tuple) -> tuple:
            g, d = carry
            d = combination([mu[j] * h, -kappa[j]], [field(t0 + nodes[j] * h, g), d])
            return jax.tree.map(jnp.add, g, d), d

        d = combination([mu[0] * h], [velocity])
        g, _ = self._repeat(stage, 1, s - 4, (jax.tree.map(jnp.add, y0, d), d))

        # One loop for the last four stages and the end of the step: the field is compiled once.
        def finish(carry: tuple, row: tuple) -> tuple[tuple, None]:
            slopes, _, _ = carry
            weights, node, place = row
            y = combination([1, *(h * weights)], [g, *slopes])
            slope = field(t0 + node * h, y)
            slopes = tuple(
                jax.tree.map(functools.partial(jnp.where, place == i), slope, old)
                for i, old in enumerate(slopes)
            )
            return (slopes, y, slope), None

        blank = jax.tree.map(jnp.zeros_like, velocity)
        rows = (jnp.concatenate([a, b[None]]), jnp.append(last_nodes, 1), jnp.arange(5))
        (slopes, y1, velocity1), _ = jax.lax.scan(finish, ((blank,) * 4, g, blank), rows)
        bridged = jax.tree.map(jnp.subtract, g, y0)
        error = combination(jnp.append(e[0], h * e[1:]), [bridged, *slopes])
        return y1, velocity1, error, s


@functools.cache
def _table(most: int) -> _Table:
    """The coefficients of the methods of up to ``most`` stages, read from their file."""
    with np.load(FILE) as file:
        count = np.searchsorted(file["stages"], most, side="right")
        stages, lengths, mu, kappa, a, b, e = (
            file[name][:count] for name in ("stages", "beta", "mu", "kappa", "a", "b", "e")
        )
    width = stages[-1] - 4
    mu, kappa = mu[:, :width], kappa[:, :width]
    nodes = np.zeros((count, width + 1))
    d = np.zeros(count)
    for j in range(width):
        d = mu[:, j] - kappa[:, j] * d
        nodes[:, j + 1] = nodes[:, j] + d
    # Beyond its own stages, where mu and kappa are padded, the nodes of a method mean nothing.
    start = nodes[np.arange(count), stages - 4]
    return _Table(stages, lengths, mu, kappa, nodes, start[:, None] + a.sum(axis=2), a, b, e)
