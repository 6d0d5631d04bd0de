r"""An exponential Rosenbrock method on Krylov subspaces, for fields of a few large rates.

Where the Jacobian's eigenvalues fall off fast (correlated data, few large directions and a long
tail), a Krylov subspace of some twenty Jacobian-vector products carries the exponential of a step
for which a stabilized method needs hundreds of stages. With J the Jacobian at y_0, f = F(y_0) and
a step of length h, the method of order three of Hochbruck, Ostermann and Schweitzer is

.. math::

    U = y_0 + h\varphi_1(hJ) f, \qquad
    y_1 = U + 2h\varphi_3(hJ) d, \qquad d = F(U) - f - J(U - y_0),

where φ_1(z) = (e^z - 1)/z and φ_{k+1}(z) = (φ_k(z) - 1/k!)/z. It is exact for linear fields. Both
functions are applied in one subspace, spanned by an orthonormal basis that Arnoldi's process
grows: first from f, until U is known to a tenth of the tolerance, then from what of d lies outside
it. The stiff directions that U needed are there when d comes, so d costs few products more.

References
----------
M. Hochbruck, A. Ostermann and J. Schweitzer, "Exponential Rosenbrock-type methods", SIAM Journal
on Numerical Analysis 47 (2009), scheme exprb32. M. Hochbruck and C. Lubich, "On Krylov subspace
approximations to the matrix exponential operator", SIAM Journal on Numerical Analysis 34 (1997).
A. Al-Mohy and N. Higham, "Computing the action of the matrix exponential", SIAM Journal on
Scientific Computing 33 (2011), theorem 2.1 (several φ-functions from one exponential).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from flowsim.integration.work import Work

#: The subspace is grown until its error is this fraction of the tolerance.
FRACTION = 0.1
#: Sizes that the small exponential is compiled for.
SIZES = (16, 32, 64, 128)


class _State(eqx.Module):
    """Jacobian products so far, and how many the two parts of the last step took, shape (2,)."""

    products: Any
    took: Any


class _Space(NamedTuple):
    """An orthonormal basis and the Jacobian on it.

    Attributes
    ----------
    Q
        The basis, one vector a row, zeros beyond ``count``, shape (m, n).
    S
        Column i holds the coordinates of J Q[i], for the vectors that were multiplied, (m, m).
    done
        Which vectors were multiplied, shape (m,).
    count
        The number of basis vectors.
    """

    Q: Any
    S: Any
    done: Any
    count: Any


class ExponentialRosenbrock(diffrax.AbstractAdaptiveSolver):
    """Order 3, for fields whose Jacobian has few large eigenvalues; any size, any step.

    Stages: two evaluations of the field and as many products with its Jacobian as the step needs,
    at most ``basis``. Error estimate: the last correction, of order two, and what the subspace
    leaves undone. Dense output: cubic Hermite. Where the spectrum has no such gap, a
    stabilized method is cheaper.

    Parameters
    ----------
    rtol, atol
        The tolerances of the step-size controller. The subspace is grown until it is ten times
        better; if they differ from the controller's, the result is as good, at another cost.
    basis
        The largest dimension of the subspace, from 4 to 128: so many copies of the state are held.
        A step that needs more is rejected for a shorter one.

    Examples
    --------
    >>> import diffrax, jax.numpy as jnp, flowsim as fs
    >>> from flowsim.integration.krylov import ExponentialRosenbrock
    >>> with fs.float64():
    ...     rates = jnp.array([1.0, 1e3, 1e6])
    ...     solution = diffrax.diffeqsolve(
    ...         diffrax.ODETerm(lambda t, y, args: -rates * y),
    ...         ExponentialRosenbrock(rtol=1e-8, atol=1e-8),
    ...         t0=0.0, t1=1.0, dt0=1.0, y0=jnp.ones(3),
    ...         stepsize_controller=diffrax.PIDController(rtol=1e-8, atol=1e-8),
    ...     )
    >>> int(solution.stats["num_steps"]), bool(abs(solution.ys[0, 0] - jnp.exp(-1.0)) < 1e-8)
    (1, True)
    """

    rtol: Any = 1e-6
    atol: Any = 1e-9
    basis: int = eqx.field(static=True, default=64)

    term_structure: ClassVar = diffrax.ODETerm
    interpolation_cls: ClassVar[Callable] = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k
    controller_coefficients: ClassVar[tuple[float, float]] = (0.0, 1.0)

    def order(self, terms: Any) -> int:
        """The order of the value that is carried on."""
        return 3

    def error_order(self, terms: Any) -> float:
        """The order in h of the error estimate."""
        return 3.0

    def init(self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any) -> _State:
        """No products yet."""
        zero = jnp.zeros((), jnp.result_type(int))
        return _State(zero, jnp.zeros((2,), zero.dtype))

    def func(self, terms: Any, t0: Any, y0: Any, args: Any) -> Any:
        """The field."""
        return terms.vf(t0, y0, args)

    def cost(self, before: _State, after: _State) -> Work:
        """Two field evaluations and the products of one trial step."""
        return Work.of(gradients=2, hessian_products=after.products - before.products)

    def step(
        self, terms: Any, t0: Any, t1: Any, y0: Any, args: Any, solver_state: _State, made_jump: Any
    ) -> tuple[Any, Any, dict[str, Any], _State, Any]:
        """One step from t0 to t1; see :meth:`diffrax.AbstractSolver.step`."""
        del made_jump
        y, unravel = ravel_pytree(y0)
        h = terms.contr(t0, t1)

        def field(t: Any, v: Any) -> Any:
            return ravel_pytree(terms.vf(t, unravel(v), args))[0]

        f, product = jax.linearize(lambda v: field(t0, v), y)
        rate = jax.jvp(lambda t: field(t, y), (t0,), (jnp.ones_like(t0),))[1]  # dF/dt
        scale = (self.atol + self.rtol * jnp.abs(y)) * FRACTION
        zero = jnp.zeros_like(y)
        capacity = min(self.basis, y.size)
        space = _Space(
            jnp.zeros((capacity, y.size), y.dtype),
            jnp.zeros((capacity, capacity), y.dtype),
            jnp.zeros((capacity,), bool),
            jnp.zeros((), jnp.int32),
        )
        grow = eqx.Partial(_grow, product, scale, h)
        took = solver_state.took
        # h φ_1(hJ) f + h^2 φ_2(hJ) dF/dt: the second term is nought for autonomous fields.
        space, u, missed, first = grow(space, (zero, h * rate, f), took[0])
        U = y + u @ space.Q
        d = field(t1, U) - f - (space.S @ u) @ space.Q - h * rate
        space, v, left, second = grow(space, (2 * d, zero, zero), took[1])
        correction = v @ space.Q
        y1 = U + correction
        error = jnp.abs(correction) + jnp.abs(missed) + jnp.abs(left)
        k = jnp.stack([h * f, h * field(t1, y1)])
        dense = {"y0": y0, "y1": unravel(y1), "k": jax.vmap(unravel)(k)}
        state = _State(solver_state.products + first + second, jnp.stack([first, second]))
        return unravel(y1), unravel(error), dense, state, diffrax.RESULTS.successful


def _grow(
    product: Callable, scale: Any, h: Any, space: _Space, b: tuple[Any, Any, Any], took: Any
) -> tuple[_Space, Any, Any, Any]:
    """Grow the basis until h(φ_3(hJ) b_1 + φ_2(hJ) b_2 + φ_1(hJ) b_3) is known on it.

    Returns
    -------
    tuple
        The space, the coordinates of the result, shape (m,), the estimated error, shape (n,), and
        the number of products.
    """
    coordinates, fresh = [], space.count
    for vector in b:
        space, c = _add(space, vector)
        coordinates.append(c)
    B = jnp.stack(coordinates, axis=1)  # (m, 3)
    weights = h * jnp.array([1 / 6, 1 / 2, 1.0])  # integrals of the three terms over the step
    index = jnp.arange(len(space.done))
    everything = len(space.done) == space.Q.shape[1]

    def weigh(space: _Space) -> tuple[Any, Any, Any]:
        """The result, and the residual's integral over the step, which the open vectors span."""
        is_open = (index < space.count) & ~space.done
        u, mean = h * _phi(h * space.S, space.done, space.count, B)  # (m,), (m,)
        residual = jnp.where(is_open, h * (space.S @ mean) + B @ weights, 0.0)
        return u, residual, jnp.abs(residual)

    def going(carry: Any) -> Any:
        space, _, _, urgency, wrong, _, _ = carry
        possible = jnp.any((index < space.count) & ~space.done & (urgency > 0))
        # Of a product that a full basis cannot hold, the rest would be lost.
        return (wrong > 1.0) & possible & (everything | (space.count < len(space.done)))

    def body(carry: Any) -> Any:
        space, u, residual, urgency, wrong, made, due = carry
        chosen = jnp.argmax(jnp.where((index < space.count) & ~space.done, urgency, -1.0))
        before = space.count
        space = space._replace(done=space.done.at[chosen].set(True))
        space, column = _add(space, product(space.Q[chosen]))
        space = space._replace(S=space.S.at[:, chosen].set(column))
        urgency = jnp.where((index >= before) & (index < space.count), jnp.inf, urgency)
        made = made + 1

        def look() -> Any:
            u, residual, urgency = weigh(space)
            wrong = _rms((residual @ space.Q) / scale)
            return u, residual, urgency, wrong, made + 1 + made // 8

        ended = (space.count == before) | (space.count == len(space.done))
        u, residual, urgency, wrong, due = jax.lax.cond(
            ended | (made >= due), look, lambda: (u, residual, urgency, wrong, due)
        )
        return space, u, residual, urgency, wrong, made, due

    # New vectors come first, then the one in which most of the residual lies.
    urgency = jnp.where(index >= fresh, jnp.inf, 0.0)
    u, residual, _ = jax.lax.cond(
        space.count == fresh, weigh, lambda _: (B[:, 0] * 0, B[:, 0] * 0, B[:, 0] * 0), space
    )
    # The last step's number, less an eighth, is where this step starts to look.
    start = (space, u, residual, urgency, jnp.inf, jnp.zeros_like(took), took - took // 8)
    space, u, residual, _, _, made, _ = jax.lax.while_loop(going, body, start)
    rest = weights @ (jnp.stack(b) - B.T @ space.Q)  # what a full basis had no room for
    return space, u, residual @ space.Q + rest, made


@jax.jit
def _phi(A: Any, done: Any, count: Any, B: Any) -> Any:
    """(φ_3 b_1 + φ_2 b_2 + φ_1 b_3, φ_4 b_1 + φ_3 b_2 + φ_2 b_3) at A on what is done, (2, m)."""
    size = len(done)
    A = jnp.where(done[:, None] & done[None, :], A, 0.0)
    B = jnp.where(done[:, None], B, 0.0)
    unit = jnp.max(jnp.abs(B))
    unit = jnp.where(unit > 0, unit, 1.0)

    def of_size(m: int) -> Callable:
        def apply() -> Any:
            whole = jnp.zeros((m + 4, m + 4), A.dtype)
            whole = whole.at[:m, :m].set(A[:m, :m]).at[:m, m : m + 3].set(B[:m] / unit)
            whole = whole.at[jnp.arange(m, m + 3), jnp.arange(m + 1, m + 4)].set(1.0)
            columns = jax.scipy.linalg.expm(whole, max_squarings=64)[:m, m + 2 :].T
            return jnp.pad(unit * columns, ((0, 0), (0, size - m)))

        return apply

    sizes = [*(m for m in SIZES if m < size), size]
    branch = jnp.searchsorted(jnp.array(sizes), count)
    return jax.lax.switch(branch, [of_size(m) for m in sizes])


def _rms(x: Any) -> Any:
    return jnp.sqrt(jnp.mean(jnp.square(x)))


def _add(space: _Space, vector: Any) -> tuple[_Space, Any]:
    """Add what of a vector lies outside the basis; return the vector's coordinates too."""
    c = space.Q @ vector
    rest = vector - c @ space.Q
    first = jnp.linalg.norm(rest)
    again = space.Q @ rest
    rest = rest - again @ space.Q
    norm = jnp.linalg.norm(rest)
    # A vector that the second pass shortens lay in the span, and its rest is rounding.
    new = (norm > 0.5 * first) & (space.count < len(space.done))
    c = (c + again).at[space.count].add(jnp.where(new, norm, 0.0), mode="drop")
    row = jnp.where(new, rest / jnp.where(norm > 0, norm, 1.0), 0.0)
    Q = space.Q.at[space.count].add(row, mode="drop")
    return space._replace(Q=Q, count=space.count + new), c
