r"""The memory of overparameterization: how past gradients act on a vector times a number.

For :math:`w = w_1 w_2` gradient flow moves w by the current gradient, by all earlier ones, and by
where it began:

.. math:: \dot w(t) = -\rho(t)\,\nabla(t) - \int_0^t \mu(t, \tau)\,\nabla(\tau)\,d\tau
          + \text{what is left of the start},

with :math:`\nabla(t) = \nabla L(w(t))`, :math:`\rho = w_2^2` and
:math:`\mu(t, \tau) = \dot w_2(t)\, w_2(\tau)`: momentum where :math:`|w_2|` grows, damping where it
shrinks.  Here the coefficients are read off a run, with the identity that they satisfy.

S. Arora, N. Cohen, E. Hazan, On the optimization of deep networks: implicit acceleration by
overparameterization, ICML 2018, arXiv:1802.06509, section 3.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicHermiteSpline, make_interp_spline

from flowsim._checks import check_choice, known_keywords
from flowsim._errors import FlowsimError, InputError
from flowsim._precision import in_float64
from flowsim._types import FloatArray
from flowsim.problems import DeepLinear, Problem, ScaledVector
from flowsim.trajectory import Trajectory

__all__ = ["MemoryCoefficients", "memory_coefficients"]

_FORMS = ("exact", "exponential", "paper")
_MOST_RECORDS = 5_000
_IDENTITY = 1e-12  # relative: what descent must meet
_SPLINE_DEGREE = 7


@dataclass(frozen=True, eq=False)
class MemoryCoefficients:
    r"""The coefficients along a run, and how well they reproduce its motion.

    Attributes
    ----------
    form : str
        ``"exact"``, ``"exponential"`` or ``"paper"``.
    ts : array, shape (T,)
        The recorded times; the first is the origin of the memory.
    rho : array, shape (T,)
        What multiplies minus the current gradient.
    mu : array, shape (T, T)
        ``mu[t, tau]`` multiplies minus the gradient at an earlier time; 0 where tau > t, and for
        descent where tau = t as well.
    w0_coefficient : array, shape (T,)
        What multiplies the start, ``origin``.
    origin : array, shape (d,)
        :math:`w_1(0)` in the exact form, :math:`w(0)` in the others.
    gradients : array, shape (T, d)
        :math:`\nabla L(w)` at the recorded times.
    motion : array, shape (T, d)
        What is reproduced: :math:`\dot w(t)` of a flow, :math:`w^{t+1} - w^t` of descent.
    dropped : array, shape (T, d), or None
        In the paper's form, the part of the motion that it leaves out.
    residuals : array, shape (T,)
        The norm of motion minus what the coefficients give (with ``dropped`` where there is one),
        over the largest norm of the motion. For descent rounding, and checked; for a flow the error
        of the integral over the recorded times, which is as good as these are dense.
    """

    form: str
    ts: FloatArray
    rho: FloatArray
    mu: FloatArray
    w0_coefficient: FloatArray
    origin: FloatArray
    gradients: FloatArray
    motion: FloatArray
    dropped: FloatArray | None
    residuals: FloatArray

    @property
    def residual(self) -> float:
        """The largest of the residuals."""
        return float(np.max(self.residuals))

    def __repr__(self) -> str:
        return (
            f"MemoryCoefficients({self.form}, {len(self.ts)} records, residual {self.residual:.2g})"
        )


@known_keywords
@in_float64
def memory_coefficients(trajectory: Trajectory, *, form: str = "exact") -> MemoryCoefficients:
    r"""Read the learning rate and the memory of past gradients off a run of :math:`w = w_1 w_2`.

    .. math:: \dot w(t) = -\rho(t)\,\nabla(t) - \int_0^t \mu(t, \tau)\,\nabla(\tau)\,d\tau
              + \text{a part of the start},
        \qquad \nabla(t) = \nabla L(w(t)) ,

    and the same with sums for descent; ``residual`` is the defect of this identity on the record.

    Of a flow, with :math:`\gamma = -\dot w_2 / w_2`:

    ``"exact"``
        :math:`\rho = w_2^2`, :math:`\mu(t, \tau) = \dot w_2(t) w_2(\tau)`, and
        :math:`\dot w_2(t)\, w_1(0)` from the start. Always valid.
    ``"exponential"``
        :math:`\mu(t, \tau) = -\gamma(t) \rho(\tau) e^{-\int_\tau^t \gamma}`, and
        :math:`-\gamma(t) e^{-\int_0^t \gamma}\, w(0)`. The same where :math:`w_2` has no zero, and
        meaningless where it has one.

    Of gradient descent with step η, with
    :math:`\gamma^t = \eta \langle w_1^t, \nabla^t\rangle / w_2^t`:

    ``"exact"``
        :math:`\tilde\rho^t = \eta w_2^t w_2^{t+1}`,
        :math:`\tilde\mu^{t,\tau} = \eta (w_2^{t+1} - w_2^t) w_2^\tau`, and
        :math:`(w_2^{t+1} - w_2^t)\, w_1^0` from the start.
    ``"paper"``
        :math:`\rho^t = \eta (w_2^t)^2`,
        :math:`\mu^{t,\tau} = -\gamma^t \rho^\tau \prod_{s=\tau+1}^{t-1} (1 - \gamma^s)`, and
        :math:`-\gamma^t \prod_{s<t} (1 - \gamma^s)\, w^0`. It drops
        :math:`\delta^t = \gamma^t \rho^t \nabla^t` at each step, and so in all
        :math:`\delta^t - \gamma^t \sum_{\tau<t} \prod_{s=\tau+1}^{t-1} (1 - \gamma^s)\,
        \delta^\tau`, which is returned as ``dropped``.

    Parameters
    ----------
    trajectory
        From :func:`flowsim.integrate` or :func:`flowsim.descend`, of a
        ``Problem(loss, ScaledVector(d))`` or ``Problem(loss, DeepLinear((d, 1, 1)))`` without
        weight decay. Descent with a constant step, every iteration recorded:
        ``descend(..., record=numpy.arange(steps + 1))``. The memory begins at the first record.
    form
        One of those above.

    Returns
    -------
    MemoryCoefficients

    Raises
    ------
    InputError
        If the run is of another kind, or has no such form: the exponential one and the paper's
        where :math:`w_2` has a zero, whose time is named.
    FlowsimError
        If a descent does not satisfy the identity to rounding: its record was changed.

    Notes
    -----
    The pair is not unique: any part of :math:`(\dot w_2 / w_2)\, w` may be written through the
    memory, or not. ρ is common to all.

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, 2018, arXiv:1802.06509, section 3, which asserts that μ exists
    and takes the start to be negligible.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> problem = fs.Problem(fs.LpLoss(np.eye(2), np.array([1.0, 2.0]), p=2), fs.ScaledVector(2))
    >>> start = (np.array([0.1, 0.2]), 0.5)
    >>> run = fs.descend(problem, start, learning_rate=0.1, steps=20, record=np.arange(21))
    >>> memory = memory_coefficients(run)
    >>> memory.residual < 1e-14, bool((memory.mu[-1, :-1] > 0).all())   # w2 grows: momentum
    (True, True)
    """
    form = check_choice("form", form, _FORMS)
    if not isinstance(trajectory, Trajectory):
        raise InputError(f"trajectory is {type(trajectory).__name__}; pass a Trajectory.")
    problem = _scaled_problem(trajectory)
    w1, w2 = _factors(problem, trajectory)
    if len(w2) > _MOST_RECORDS:
        raise InputError(
            f"trajectory has {len(w2)} records, and mu a number for each pair of them; pass "
            f"trajectory[:n] with n up to {_MOST_RECORDS}."
        )
    gradients = _gradients(problem, w1 * w2[:, None])
    if "iterations" in trajectory.stats:
        return _of_descent(trajectory, form, w1, w2, gradients)
    return _of_flow(trajectory, form, w1, w2, gradients)


def _of_flow(
    trajectory: Trajectory, form: str, w1: FloatArray, w2: FloatArray, gradients: FloatArray
) -> MemoryCoefficients:
    if form == "paper":
        raise InputError(
            "form is 'paper', which is of descent; a flow has the forms 'exact' and 'exponential'."
        )
    ts = np.asarray(trajectory.ts, np.float64)
    rate = -np.sum(w1 * gradients, axis=1)  # of w2
    # d(w1 w2)/dt, straight from the factors.
    motion = -(w2**2)[:, None] * gradients + rate[:, None] * w1
    rho = w2**2
    if form == "exact":
        mu, kept, origin = np.outer(rate, w2), rate, w1[0]
    else:
        _refuse_zeros(ts, w2, "form 'exponential'", rate)
        gamma = -rate / w2
        # exp of minus the integral of gamma from tau to t; gamma is minus the slope of log |w2|.
        logs = np.log(np.abs(w2))
        decay = np.exp(np.subtract.outer(logs, logs))
        mu = -gamma[:, None] * rho[None, :] * decay
        kept, origin = -gamma * decay[:, 0], w1[0] * w2[0]
    # The weights of the integral to t reach beyond t, where mu(t, .) goes on smoothly.
    memory = (mu * _running_weights(ts)) @ gradients
    found = -rho[:, None] * gradients - memory + kept[:, None] * origin
    residuals = _relative(motion - found, motion)
    mu = np.tril(mu)
    return MemoryCoefficients(form, ts, rho, mu, kept, origin, gradients, motion, None, residuals)


def _of_descent(
    trajectory: Trajectory, form: str, w1: FloatArray, w2: FloatArray, gradients: FloatArray
) -> MemoryCoefficients:
    if form == "exponential":
        raise InputError(
            "form is 'exponential', which is of a flow; descent has the forms 'exact' and 'paper'."
        )
    eta = _step(trajectory)
    ts = np.asarray(trajectory.ts, np.float64)
    change = -eta * np.sum(w1 * gradients, axis=1)  # w2 of the next iteration, minus w2
    after = w2 + change
    ahead = (w1 - eta * w2[:, None] * gradients) * after[:, None]
    # Where the next iteration is on record, that is what must come out.
    ahead[:-1] = w1[1:] * w2[1:, None]
    w = w1 * w2[:, None]
    motion = ahead - w
    dropped = None
    if form == "exact":
        rho, mu = eta * w2 * after, eta * np.outer(change, w2)
        kept, origin = change, w1[0]
    else:
        _refuse_zeros(ts, w2, "form 'paper'")
        gamma = -change / w2
        rho = eta * w2**2
        survival = _survival(1 - gamma)
        mu = -gamma[:, None] * rho[None, :] * survival
        kept, origin = -gamma * np.concatenate([[1.0], np.cumprod(1 - gamma)[:-1]]), w[0]
        delta = (gamma * rho)[:, None] * gradients
        dropped = delta - gamma[:, None] * (np.tril(survival, -1) @ delta)
    mu = np.tril(mu, -1)
    found = -rho[:, None] * gradients - mu @ gradients + kept[:, None] * origin
    if dropped is not None:
        found = found + dropped
    # Against the size of w itself: its own rounding is in the motion.
    size = max(float(np.max(np.linalg.norm(w, axis=1))), np.finfo(float).tiny)
    worst = float(np.max(np.linalg.norm(motion - found, axis=1))) / size
    allowed = max(_IDENTITY, 64 * float(np.finfo(_precision(trajectory)).eps) * len(w2))
    if not worst <= allowed:
        raise FlowsimError(
            f"the memory of this run does not reproduce it: the identity fails by {worst:.2g} of "
            f"the size of w, where rounding explains {allowed:.2g}. Its record, or the problem in "
            "its `parent`, is not the one that was run."
        )
    residuals = _relative(motion - found, motion)
    return MemoryCoefficients(
        form, ts, rho, mu, kept, origin, gradients, motion, dropped, residuals
    )


# -- reading the run -------------------------------------------------------------------------------


def _scaled_problem(trajectory: Trajectory) -> Problem:
    problem = trajectory.parent
    wanted = "Problem(loss, ScaledVector(d)) or Problem(loss, DeepLinear((d, 1, 1)))"
    if problem is None:
        raise InputError(
            "trajectory has no parent, as one that was loaded from a file. Set it: "
            "dataclasses.replace(trajectory, parent=problem)."
        )
    par = getattr(problem, "parametrization", None)
    scaled = isinstance(par, ScaledVector) or (
        isinstance(par, DeepLinear)
        and par.depth == 2
        and par.shapes == ((1, par.shapes[0][1]), (1, 1))
    )
    if not isinstance(problem, Problem) or not scaled:
        shown = type(problem).__name__ if par is None else f"a problem of {par}"
        raise InputError(f"trajectory belongs to {shown}; memory is known of {wanted}.")
    if problem.weight_decay or problem.rates:
        raise InputError(
            f"trajectory has weight decay {problem.weight_decay:g} and rates {problem.rates}; the "
            "memory forms hold without weight decay and at one rate."
        )
    if not len(trajectory):
        raise InputError("trajectory has no records.")
    return problem


def _factors(problem: Problem, trajectory: Trajectory) -> tuple[FloatArray, FloatArray]:
    """w1 of shape (T, d) and w2 of shape (T,)."""
    first, second = (np.asarray(part, np.float64) for part in trajectory.states)
    return first.reshape(len(first), -1), second.reshape(len(second))


def _gradients(problem: Problem, w: FloatArray) -> FloatArray:
    """The gradient at each record, of shape (T, d)."""
    points = jnp.asarray(w if problem.vector else w[:, None])
    return np.asarray(jax.vmap(problem.loss.gradient)(points), np.float64).reshape(w.shape)


def _step(trajectory: Trajectory) -> float:
    """The constant step size, of a plain descent of which every iteration is on record."""
    optimizer, eta = (trajectory.settings.get(k) for k in ("optimizer", "learning_rate"))
    if optimizer != "GradientDescent" or not isinstance(eta, float):
        raise InputError(
            f"trajectory is of {optimizer} with the learning rate {eta!r}; memory is known of "
            "gradient descent with a constant step."
        )
    iterations = np.asarray(trajectory.stats["iterations"])
    gaps = np.flatnonzero(np.diff(iterations) != 1)
    if gaps.size:
        i = int(gaps[0])
        raise InputError(
            f"trajectory records iteration {iterations[i]} and then {iterations[i + 1]}; every "
            "gradient counts. Run descend(..., record=numpy.arange(steps + 1))."
        )
    return eta


def _precision(trajectory: Trajectory) -> np.dtype:
    return np.result_type(*(np.asarray(part).dtype for part in trajectory.states))


def _refuse_zeros(
    ts: FloatArray, w2: FloatArray, what: str, rate: FloatArray | None = None
) -> None:
    """Refuse a run in which w2 is 0 at a record or, in a flow, where its rate is known, between."""
    zero = np.flatnonzero(w2 == 0)
    at = float(ts[zero[0]]) if zero.size else None
    crossed = np.flatnonzero(np.sign(w2[1:]) * np.sign(w2[:-1]) < 0)
    if rate is not None and crossed.size and (at is None or ts[crossed[0]] < at):
        i = int(crossed[0])
        two = slice(i, i + 2)
        roots = CubicHermiteSpline(ts[two], w2[two], rate[two]).roots(extrapolate=False)
        at = float(roots[0])
    if at is not None:
        raise InputError(
            f"{what} divides by w2, which is 0 at t = {at:.6g}; the exact form holds through zeros."
        )


# -- arithmetic ------------------------------------------------------------------------------------


def _survival(factors: FloatArray) -> FloatArray:
    """The products of factors[tau + 1 .. t - 1], at [t, tau] for tau < t; 0 elsewhere."""
    T = len(factors)
    products = np.zeros((T, T))
    for t in range(1, T):
        products[t, t - 1] = 1.0
        products[t, : t - 1] = products[t - 1, : t - 1] * factors[t - 1]
    return products


def _running_weights(ts: FloatArray) -> FloatArray:
    """The integral from the first time to each, as weights of the values: shape (T, T).

    Of the spline through the values, of order 8 where there are records enough.
    """
    T = len(ts)
    if T < 2:
        return np.zeros((T, T))
    degree = min(_SPLINE_DEGREE, T - 1)
    degree -= 1 - degree % 2  # odd: the knots are then at the times
    primitive = make_interp_spline(ts, np.eye(T), k=degree).antiderivative()
    return primitive(ts) - primitive(ts[0])


def _relative(difference: FloatArray, motion: FloatArray) -> FloatArray:
    size = float(np.max(np.linalg.norm(motion, axis=1)))
    return np.linalg.norm(difference, axis=1) / max(size, np.finfo(float).tiny)
