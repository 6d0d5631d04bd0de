r"""Closed forms of diagonal networks and of a vector times a scalar, as entries of the table.

Where the gradient of the loss does not depend on :math:`\beta`, the integrated gradient is
:math:`\mathcal G = b t`, and the networks that are functions of it are functions of time. Where the
loss is a sum of squares of single coordinates, each is a Riccati equation (N = 2).
"""

from __future__ import annotations

import math
from typing import Any

import jax
import numpy as np

from flowsim._errors import InputError
from flowsim._precision import float64
from flowsim.problems import Diagonal, FunctionLoss, Problem, ScaledVector
from flowsim.theory.conditions import PLAIN
from flowsim.theory.diagonal import (
    DEPTH_TWO,
    POSITIVE_START,
    diagonal_end_to_end,
    diagonal_network,
    diagonal_pole,
)
from flowsim.theory.diagonal_riccati import diagonal_quadratic, diagonal_quadratic_factors
from flowsim.theory.quadratic import quadratic_of
from flowsim.theory.records import ClosedForm, Condition, Solution
from flowsim.theory.scaled_vector import scaled_vector_line, scaled_vector_on_a_line

__all__ = ["CLOSED_FORMS", "linear_slope"]

#: Relative size of off-diagonal curvature that is taken for round-off.
_ROUND_OFF = 1e-12
#: Natural logarithm of the largest number kept, and the share of time kept away from a pole.
_LARGEST, _MARGIN = 700.0, 1e-6


def linear_slope(problem: Problem) -> np.ndarray | None:
    r"""Return b where the loss is :math:`\langle b, \beta \rangle` plus a constant, else None.

    JAX decides from the operations of the function, without sampling: those that are not linear
    have no transpose.

    Examples
    --------
    >>> import flowsim as fs
    >>> linear_slope(fs.Problem(lambda w: 2 * w[0] - w[1], ScaledVector(2))).tolist()
    [2.0, -1.0]
    >>> linear_slope(fs.Problem(lambda w: w[0] ** 2, ScaledVector(2))) is None
    True
    """
    if not isinstance(problem.loss, FunctionLoss):
        return None
    shape = problem.parametrization.end_to_end_shape
    with float64():
        zero = jax.numpy.zeros(shape)
        try:
            (b,) = jax.linear_transpose(problem.loss.function, zero)(jax.numpy.ones(()))
        except (NotImplementedError, TypeError, ValueError, AttributeError, AssertionError):
            # The answers of JAX's transposition to operations that are not linear.
            return None
        return np.asarray(b, dtype=np.float64)


# -- conditions ------------------------------------------------------------------------------------


def _diagonal(problem: Problem, start: Any) -> str | None:
    if isinstance(problem.parametrization, Diagonal):
        return None
    return f"The parametrization is {type(problem.parametrization).__name__}, not Diagonal."


def _scaled(problem: Problem, start: Any) -> str | None:
    if isinstance(problem.parametrization, ScaledVector):
        return None
    return f"The parametrization is {type(problem.parametrization).__name__}, not ScaledVector."


def _linear_loss(problem: Problem, start: Any) -> str | None:
    return "The loss is not <b, beta> plus a constant." if linear_slope(problem) is None else None


def _separable(problem: Problem, start: Any) -> str | None:
    form = quadratic_of(problem)
    if form is None:
        return "The loss is not quadratic."
    off = np.abs(form.curvature - np.diag(np.diag(form.curvature))).max()
    if off <= _ROUND_OFF * np.abs(form.curvature).max():
        return None
    return f"The loss couples the coordinates: its Hessian has {off:.2g} off the diagonal."


_IS_DIAGONAL = Condition("The parametrization is Diagonal, beta = u^N - v^N.", _diagonal)
_IS_SCALED = Condition("The parametrization is ScaledVector, w = w_1 w_2.", _scaled)
_IS_LINEAR_LOSS = Condition("The loss is <b, beta> plus a constant.", _linear_loss)
_IS_SEPARABLE = Condition("The loss is a sum of (l_i/2)(beta_i - s_i)^2.", _separable)


# -- solutions -------------------------------------------------------------------------------------


def _slope(problem: Problem) -> np.ndarray:
    b = linear_slope(problem)
    assert b is not None, "our bug: the condition on the loss is checked before this"
    return b


def _solve_network(problem: Problem, start: Any) -> Solution:
    u0, v0 = (np.asarray(part, dtype=np.float64) for part in start)
    b, depth = _slope(problem), problem.parametrization.depth  # type: ignore[attr-defined]
    moving = np.abs(b) > 0
    if depth == 2:
        # The factor that grows does so as exp(2 |b| t).
        room = (_LARGEST / 2 - np.log(np.where(b < 0, u0, v0)))[moving] / (2 * np.abs(b[moving]))
        lost = "The value grows exponentially, out of the range of float64."
    else:
        lower, upper = diagonal_pole(u0, v0, depth=depth)
        room = (1 - _MARGIN) * (np.where(b < 0, lower, upper)[moving] / b[moving])
        lost = "The network becomes infinite a millionth part later, where rounding is magnified."
    until = float(room.min(initial=math.inf))
    if not until > 0:
        raise InputError("start: the factors are too large for float64.")
    return Solution(
        diagonal_network,
        lambda t: diagonal_end_to_end(u0, v0, t[:, None] * b, depth=depth),
        b.shape,
        until,
        lost if math.isfinite(until) else "",
    )


def _solve_quadratic(problem: Problem, start: Any) -> Solution:
    u0, v0 = (np.asarray(part, dtype=np.float64) for part in start)
    form = quadratic_of(problem)
    assert form is not None, "our bug: the condition on the loss is checked before this"
    target, curvature = form.target[0], np.diag(form.curvature)

    def evaluate(t: np.ndarray) -> np.ndarray:
        u, v = diagonal_quadratic_factors(u0, v0, target, t[:, None], curvature=curvature)
        return (u - v) * (u + v)

    return Solution(diagonal_quadratic, evaluate, target.shape)


def _solve_line(problem: Problem, start: Any) -> Solution:
    w1, w2 = np.asarray(start[0], dtype=np.float64), float(np.asarray(start[1]).reshape(()))
    b = _slope(problem)
    speed = float(np.linalg.norm(b))

    def evaluate(t: np.ndarray) -> np.ndarray:
        if speed == 0:
            return np.broadcast_to(w1 * w2, (len(t), len(w1)))
        first, second = scaled_vector_on_a_line(w1, w2, b, speed * t)
        return first * second[:, None]

    size = max(float(np.linalg.norm(w1)), abs(w2), 1.0)
    until = math.inf if speed == 0 else (_LARGEST / 2 - math.log(size)) / speed
    lost = "" if speed == 0 else "The value grows exponentially, out of the range of float64."
    return Solution(scaled_vector_line, evaluate, w1.shape, until, lost)


CLOSED_FORMS: tuple[ClosedForm, ...] = (
    ClosedForm(
        diagonal_network, (_IS_DIAGONAL, PLAIN, POSITIVE_START, _IS_LINEAR_LOSS), _solve_network
    ),
    ClosedForm(
        diagonal_quadratic,
        (_IS_DIAGONAL, DEPTH_TWO, PLAIN, POSITIVE_START, _IS_SEPARABLE),
        _solve_quadratic,
    ),
    ClosedForm(scaled_vector_line, (_IS_SCALED, PLAIN, _IS_LINEAR_LOSS), _solve_line),
)
