"""What the closed forms of linear networks ask of a problem, as conditions that can be checked."""

from __future__ import annotations

from typing import Any

import numpy as np

from flowsim.problems import DeepLinear, Identity, Problem, TwoLayer
from flowsim.theory.quadratic import Quadratic, quadratic_of
from flowsim.theory.records import Condition

__all__ = [
    "IS_LINEAR",
    "IS_QUADRATIC",
    "IS_WHITENED",
    "ROUND_OFF",
    "factors_of",
    "present",
    "product",
    "quadratic",
]

#: Relative size of what is taken for round-off in a hypothesis.
ROUND_OFF = 1e-11


def factors_of(problem: Problem, start: Any) -> tuple[np.ndarray, ...]:
    """Return W_1, ..., W_N as float64 matrices; the identity has the one factor W."""
    given = (start,) if isinstance(start, np.ndarray) else tuple(start)
    if isinstance(problem.parametrization, Identity):
        given = (np.asarray(given[0]).reshape(-1, problem.parametrization.shape[-1]),)
    return tuple(np.asarray(W, dtype=np.float64) for W in given)


def product(factors: tuple[np.ndarray, ...]) -> np.ndarray:
    """Return W_N ... W_1."""
    W = factors[0]
    for factor in factors[1:]:
        W = factor @ W
    return W


def quadratic(problem: Problem) -> Quadratic:
    """Return Φ and Σ of a problem whose loss is known to be quadratic."""
    found = quadratic_of(problem)
    assert found is not None, "our bug: the condition on the loss is checked before this"
    return found


def present(problem: Problem, start: Any) -> tuple[int, ...]:
    """Return the shape in which the problem hands out its end-to-end value."""
    return np.shape(problem.end_to_end(start))


def _linear(problem: Problem, start: Any) -> str | None:
    known = isinstance(problem.parametrization, DeepLinear | Identity | TwoLayer)
    name = type(problem.parametrization).__name__
    return None if known else f"The parametrization is {name}, not a product of matrices."


def _quadratic(problem: Problem, start: Any) -> str | None:
    if quadratic_of(problem) is None:
        return "The loss is not 1/2 tr (W - Φ) Σ (W - Φ)^T plus a constant."
    return None


def _whitened(problem: Problem, start: Any) -> str | None:
    sigma = quadratic(problem).curvature
    level = np.trace(sigma) / len(sigma)
    off = np.abs(sigma - level * np.eye(len(sigma))).max()
    if level <= 0 or off > ROUND_OFF * level:
        return (
            "The inputs are not whitened: their second moment differs from a multiple of the "
            f"identity by {off:.2g}, the multiple being {level:.2g}."
        )
    return None


IS_LINEAR = Condition("The parametrization is a product of matrices, W_N ... W_1.", _linear)
IS_QUADRATIC = Condition("The loss is 1/2 tr (W - Φ) Σ (W - Φ)^T plus a constant.", _quadratic)
IS_WHITENED = Condition("The inputs are whitened: Σ is a multiple of the identity.", _whitened)
