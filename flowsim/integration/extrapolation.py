r"""Linearly implicit Euler with extrapolation: a high-order solver for stiff gradient flows.

A gradient flow's Jacobian is minus a Hessian: its spectrum is real, a few eigenvalues are huge,
and for moderate sizes it can be formed exactly. One step of length H uses it once. For
n = 1, 2, ..., K the step is divided into n substeps of the linearly implicit Euler method

.. math:: (I - hJ)(y_{i+1} - y_i) = h f(t_{i+1}, y_i), \qquad h = H/n,

and the K results, whose error is a power series in h, are extrapolated to h = 0 by the
Aitken-Neville scheme. That gives order K with no nonlinear equations to solve, no coefficients but
the integers, and strong damping of the stiff directions.

References
----------
P. Deuflhard, E. Hairer and J. Zugck, "One-step and extrapolation methods for differential-algebraic
systems", Numerische Mathematik 51 (1987). E. Hairer and G. Wanner, Solving Ordinary Differential
Equations II, section IV.9 (where the method is called SEULEX).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from flowsim.integration.work import Work


class KnownJacobian(eqx.Module):
    """The Jacobian at a step's start, where a rejected step has already formed it."""

    known: Any
    matrix: Any


class LinearlyImplicitExtrapolation(diffrax.AbstractAdaptiveSolver):
    """Extrapolated linearly implicit Euler, of any order, for diffrax.

    Stages: K(K+1)/2 evaluations of the field, K factorisations, and one exact Jacobian, which the
    field's automatic derivative gives; so it suits states of up to about a thousand numbers. Error
    estimate: the difference to the extrapolation of one order less. Dense output: cubic Hermite.
    It can be differentiated in forward mode. Not to be confused with the explicit extrapolation
    methods, nor with Rosenbrock methods, which have tuned coefficients instead of a sequence of
    step sizes.

    Parameters
    ----------
    columns
        The order K, at least 2.

    Examples
    --------
    >>> import diffrax, flowsim as fs
    >>> from flowsim.integration import LinearlyImplicitExtrapolation
    >>> with fs.float64():
    ...     solution = diffrax.diffeqsolve(
    ...         diffrax.ODETerm(lambda t, y, args: -1e6 * (y - 1.0)),
    ...         LinearlyImplicitExtrapolation(),
    ...         t0=0.0, t1=1.0, dt0=None, y0=0.0,
    ...         stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
    ...     )
    >>> abs(float(solution.ys[0]) - 1.0) < 1e-8
    True
    """

    columns: int = eqx.field(static=True, default=8)

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k

    def order(self, terms: Any) -> int:
        """The order of the extrapolated value that is carried on."""
        return self.columns

    def error_order(self, terms: Any) -> float:
        """The order in H of the error estimate."""
        return float(self.columns)

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> KnownJacobian:
        """No Jacobian is known before the first step."""
        y = ravel_pytree(y0)[0]
        return KnownJacobian(jnp.asarray(False), jnp.zeros((y.size, y.size), y.dtype))

    def cost(self, before: KnownJacobian, after: KnownJacobian) -> Work:
        """The work of one trial step."""
        gradients = self.columns * (self.columns + 1) // 2 + 2
        return Work.of(gradients=gradients, jacobians=~before.known)

    def learned(self, before: KnownJacobian, after: KnownJacobian) -> KnownJacobian:
        """After a rejection the Jacobian at the step's start is known."""
        return KnownJacobian(jnp.asarray(True), after.matrix)

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The field."""
        return terms.vf(t0, y0, args)

    def step(
        self,
        terms: Any,
        t0: Any,
        t1: Any,
        y0: Any,
        args: Any,
        solver_state: KnownJacobian,
        made_jump: Any,
    ) -> tuple[Any, Any, dict[str, Any], KnownJacobian, Any]:
        """One step from t0 to t1; see :meth:`diffrax.AbstractSolver.step`."""
        del made_jump  # a Jacobian is known only after a rejection, at the same state
        y, unravel = ravel_pytree(y0)
        H = terms.contr(t0, t1)

        def field(t: Any, v: Any) -> Any:
            return ravel_pytree(terms.vf(t, unravel(v), args))[0]

        J = jax.lax.cond(  # (size, size)
            solver_state.known,
            lambda: solver_state.matrix,
            lambda: jax.jacfwd(lambda v: field(t0, v))(y),
        )
        eye = jnp.eye(y.size, dtype=y.dtype)

        def euler(n: Any) -> Any:
            h = H / n
            factors = jax.scipy.linalg.lu_factor(eye - h * J)

            def substep(i: Any, v: Any) -> Any:
                return v + jax.scipy.linalg.lu_solve(factors, h * field(t0 + (i + 1) * h, v))

            return jax.lax.fori_loop(0, n, substep, y)

        # A mapped loop rather than an unrolled one: the field is compiled once, not K times.
        results = jax.lax.map(euler, jnp.arange(1, self.columns + 1))  # (K, size)
        row: list[Any] = []  # row[m]: extrapolation of order m + 1 from the finest n so far
        for n in range(1, self.columns + 1):
            above, row = row, [results[n - 1]]
            for m in range(1, n):
                row.append(row[-1] + (row[-1] - above[m - 1]) * ((n - m) / m))
        y1, error = row[-1], row[-1] - row[-2]
        k = jnp.stack([H * field(t0, y), H * field(t1, y1)])
        dense = {"y0": y0, "y1": unravel(y1), "k": jax.vmap(unravel)(k)}
        after = KnownJacobian(jnp.asarray(False), J)
        return unravel(y1), unravel(error), dense, after, diffrax.RESULTS.successful
