r"""Modes of deep linear networks: what Saxe, McClelland and Ganguli found.

The loss is :math:`\frac12\|W - S\|_F^2`, which is squared error with whitened inputs. From factors
that are balanced and diagonal in the singular bases of S, each singular value of
:math:`W = W_N \cdots W_1` moves by itself.

References
----------
A. Saxe, J. McClelland, S. Ganguli, Exact solutions to the nonlinear dynamics of learning in deep
linear neural networks, ICLR 2014, arXiv:1312.6120.
K. Fukumizu, Effect of batch learning in multilayer neural networks, ICONIP 1998.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportCallIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from typing import Any

import numpy as np
from sympy import Expr, Rational, Symbol, atan, exp, hyper, log, oo, sqrt

from flowsim.problems import Problem
from flowsim.symbolic.nodes import as_expr
from flowsim.theory.conditions import PLAIN
from flowsim.theory.decoupling import Modes, decouple
from flowsim.theory.linear_networks import (
    IS_LINEAR,
    IS_QUADRATIC,
    factors_of,
    present,
    quadratic,
)
from flowsim.theory.mode_solutions import unbalanced_mode
from flowsim.theory.records import ClosedForm, Condition, Solution, Theorem

__all__ = [
    "CLOSED_FORMS",
    "CURVATURE",
    "IMBALANCE",
    "RATE",
    "STRENGTH",
    "TARGET",
    "THEOREMS",
    "TIME",
    "Y_START",
    "mode_times",
    "saxe_modes",
    "two_weights",
]

#: The strength of a mode, u; where it is learned to, s; the second moment of its input, ell.
STRENGTH, TARGET = Symbol("u", positive=True), Symbol("s", positive=True)
CURVATURE = Symbol("ell", positive=True)
#: Time; and for two scalar weights a and b: c = a^2 - b^2, gamma = sqrt(4 s^2 + c^2), and the
#: value of (a + b)^2 / c at time 0.
TIME, IMBALANCE = Symbol("t", real=True), Symbol("c", real=True, nonzero=True)
RATE, Y_START = Symbol("gamma", positive=True), Symbol("y_0", real=True)


def _saxe_modes(N: Expr | int) -> Expr:
    r"""State :math:`\dot u = \ell N u^{2 - 2/N} (s - u)`."""
    N = as_expr(N)
    return CURVATURE * N * STRENGTH ** (2 - 2 / N) * (TARGET - STRENGTH)


def _mode_times(N: Expr | int) -> Expr:
    r"""State the time at which a mode has the strength u, up to a constant, for 0 < u < s.

    In units of 1/ell. For N = oo the rate is 1/N.
    """
    N, u, s = as_expr(N), STRENGTH, TARGET
    if N == 1:
        return -log(s - u)
    if N == 2:
        return log(u / (s - u)) / (2 * s)
    if N == 3:
        z, c = u ** Rational(1, 3), s ** Rational(1, 3)
        logarithms = -log(c - z) / 3 + log(z**2 + c * z + c**2) / 6
        return (-1 / z + (logarithms - atan((2 * z + c) / (sqrt(3) * c)) / sqrt(3)) / c) / s
    if N == 4:
        # artanh x = ln((1 + x) / (1 - x)) / 2
        x = sqrt(u / s)
        return (-1 / sqrt(u) / 2 + log((1 + x) / (1 - x)) / 4 / sqrt(s)) / s
    if N is oo:
        return log(u / (s - u)) / s**2 - 1 / (s * u)
    b = 2 / N - 1
    return u**b / (b * s * N) * hyper([1, b], [1 + b], u / s)


def _two_weights(N: Expr | int = 2) -> Expr:
    r"""State u(t) for two weights: u = (c/4)(y - 1/y), y a fractional linear function of e^-γt."""
    c, s, gamma = IMBALANCE, TARGET, RATE
    above, below = (2 * s + gamma) / c, (2 * s - gamma) / c
    kappa = (Y_START - above) / (Y_START - below)
    decay = exp(-gamma * TIME)
    y = (above - kappa * below * decay) / (1 - kappa * decay)
    return c / 4 * (y - 1 / y)


# -- where they apply ------------------------------------------------------------------------------


def _one_factor(problem: Problem, start: Any) -> str | None:
    depth = len(factors_of(problem, start))
    return None if depth == 1 else f"The network has {depth} factors, not one."


def _several_factors(problem: Problem, start: Any) -> str | None:
    return "The network has one factor." if len(factors_of(problem, start)) == 1 else None


def _decoupled(problem: Problem, start: Any) -> str | None:
    found = decouple(factors_of(problem, start), quadratic(problem))
    return found if isinstance(found, str) else None


def _two_scalars(problem: Problem, start: Any) -> str | None:
    shapes = [W.shape for W in factors_of(problem, start)]
    return None if shapes == [(1, 1)] * 2 else f"The factors have shapes {shapes}, not two scalars."


IS_DECOUPLED = Condition(
    "The factors are balanced, and diagonal in singular bases that they share with the target and "
    "with the second moment of the inputs.",
    _decoupled,
)
IS_ONE_FACTOR = Condition("N = 1.", _one_factor)
IS_DEEP = Condition("N >= 2.", _several_factors)
IS_TWO_SCALARS = Condition("N = 2, and both factors are scalars.", _two_scalars)

saxe_modes = Theorem(
    name="Saxe modes",
    title="From a balanced start in the singular bases of the target, each singular value moves by "
    "itself, u' = ell N u^(2 - 2/N) (s - u).",
    statement=_saxe_modes,
    hypotheses=(IS_LINEAR, PLAIN, IS_QUADRATIC, IS_DECOUPLED),
    citation="Saxe, McClelland, Ganguli 2014, arXiv:1312.6120, sections on the time course of "
    "learning and on deeper networks",
    proof="derivations/saxe_modes.py",
)

mode_times = Theorem(
    name="mode times",
    title="The time at which a mode has a given strength, in closed form at every depth; at "
    "infinite depth the strength is a Lambert function of time.",
    statement=_mode_times,
    hypotheses=(*saxe_modes.hypotheses, "0 < u < s on the way."),
    citation="Saxe, McClelland, Ganguli 2014, arXiv:1312.6120, sections on the time course of "
    "learning and on deeper networks",
    proof="derivations/mode_times.py",
)

two_weights = Theorem(
    name="unbalanced mode",
    title="Two scalar weights from any start: the strength of the mode is a rational function of "
    "exp(-gamma t).",
    statement=_two_weights,
    hypotheses=(
        IS_LINEAR,
        PLAIN,
        IS_QUADRATIC,
        IS_TWO_SCALARS,
        "gamma^2 = 4 s^2 + c^2, c = a^2 - b^2 is not 0, and y_0 = (a + b)^2 / c at time 0.",
    ),
    citation="Saxe, McClelland, Ganguli 2014, arXiv:1312.6120, appendix on hyperbolic dynamics",
    proof="derivations/unbalanced_mode.py",
)


# -- their solutions -------------------------------------------------------------------------------


def _solve_one_factor(problem: Problem, start: Any) -> Solution:
    """Return W(t) = Φ + (W(0) - Φ) e^{-Σt}: the mode equation at N = 1 is linear."""
    (W,) = factors_of(problem, start)
    phi, sigma = quadratic(problem)
    rates, V = np.linalg.eigh(sigma)
    rates = np.maximum(rates, 0.0)
    now, goal = W @ V, phi @ V

    def evaluate(t: np.ndarray) -> np.ndarray:
        clock = rates * t[:, None, None]
        return (now * np.exp(-clock) - goal * np.expm1(-clock)) @ V.T

    return Solution(saxe_modes, evaluate, present(problem, start))


def _solve_modes(problem: Problem, start: Any) -> Solution:
    factors = factors_of(problem, start)
    found = decouple(factors, quadratic(problem))
    assert isinstance(found, Modes), "our bug: that the start decouples is checked before this"

    def evaluate(t: np.ndarray) -> np.ndarray:
        return np.einsum("ki,it,di->tkd", found.left, found.values(t), found.right)

    return Solution(
        mode_times,
        evaluate,
        present(problem, start),
        found.valid_until(quadratic(problem)),
        "From there on round-off in the start decides: it holds a mode too weak to be measured, or "
        "passes a saddle that it leaves by round-off alone.",
    )


def _solve_two_weights(problem: Problem, start: Any) -> Solution:
    W1, W2 = factors_of(problem, start)
    phi, sigma = quadratic(problem)
    b, a, s, ell = (float(x[0, 0]) for x in (W1, W2, phi, sigma))

    def evaluate(t: np.ndarray) -> np.ndarray:
        return unbalanced_mode(t, a0=a, b0=b, s=s, curvature=ell)

    return Solution(two_weights, evaluate, present(problem, start))


CLOSED_FORMS: tuple[ClosedForm, ...] = (
    ClosedForm(saxe_modes, (IS_LINEAR, PLAIN, IS_QUADRATIC, IS_ONE_FACTOR), _solve_one_factor),
    ClosedForm(mode_times, (IS_LINEAR, PLAIN, IS_QUADRATIC, IS_DEEP, IS_DECOUPLED), _solve_modes),
    ClosedForm(two_weights, (IS_LINEAR, PLAIN, IS_QUADRATIC, IS_TWO_SCALARS), _solve_two_weights),
)

THEOREMS: tuple[Theorem, ...] = (saxe_modes, mode_times, two_weights)
