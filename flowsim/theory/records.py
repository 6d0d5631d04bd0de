"""The records of the book: a condition, a theorem, a closed form, and its solution.

A :class:`Theorem` states; a :class:`ClosedForm` solves, where the conditions that it names hold for
a problem and a start; a :class:`Solution` is what comes of that, a function of time that knows up
to when its digits are worth anything.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from flowsim._checks import check_array
from flowsim._errors import FlowsimError, InputError

if TYPE_CHECKING:
    from flowsim._types import ArrayLike
    from flowsim.problems import Problem

__all__ = ["ClosedForm", "Condition", "DigitsLostError", "Solution", "Theorem"]


class DigitsLostError(FlowsimError):
    """A closed form was asked for a time at which float64 no longer holds its digits."""


@dataclass(frozen=True)
class Condition:
    """A hypothesis in words and, where it can be checked, the check.

    Parameters
    ----------
    text : str
        The hypothesis, one sentence.
    check : callable or None
        ``check(problem, start)`` returns None where the condition holds, else a sentence that says
        what fails. None where nothing finite decides it.

    Examples
    --------
    >>> free = Condition("There is no weight decay.",
    ...                  lambda problem, start: "It decays." if problem.weight_decay else None)
    >>> str(free)
    'There is no weight decay.'
    """

    text: str
    check: Callable[[Problem, Any], str | None] | None = field(default=None, repr=False)

    def failure(self, problem: Problem, start: Any) -> str | None:
        """What fails of the condition, None where it holds or where nothing can be checked."""
        return None if self.check is None else self.check(problem, start)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Theorem:
    """A published closed form: stated here, proved in the proof book.

    Attributes
    ----------
    name : str
        A short name.
    title : str
        The theorem in one sentence.
    statement : callable
        From the depth N, an integer or a symbol, to the expression that the theorem states; what
        else a theorem depends on is a keyword of its statement.
    hypotheses : tuple of Condition or str
        What is presumed, a sentence each, with its check where there is one.
    citation : str
        Paper, arXiv number, theorem or equation.
    proof : str
        Path of the proof from the root of the repository.
    """

    name: str
    title: str
    statement: Callable[..., Any]
    hypotheses: tuple[Condition | str, ...]
    citation: str
    proof: str

    @property
    def conditions(self) -> tuple[Condition, ...]:
        """The hypotheses as conditions; those stated in words alone have no check."""
        return tuple(h if isinstance(h, Condition) else Condition(h) for h in self.hypotheses)


@dataclass(frozen=True)
class Solution:
    """The solution of one problem from one start, as a function of time.

    Call it with a time, or with an array of times in any order: a scalar gives the end-to-end
    value, an array of shape (T,) gives values of shape (T, *shape).

    Parameters
    ----------
    theorem : Theorem
        The record that it is an instance of.
    evaluate : callable
        From times of shape (T,), float64 and not negative, to values of shape (T, *shape).
    shape : tuple of int
        Shape of the end-to-end value.
    valid_until : float
        The time up to which float64 holds the digits of the value; infinite where none is lost.
        Later times raise :class:`DigitsLostError`.
    lost : str
        Why digits are lost after that time, one sentence; empty where none is.

    Raises
    ------
    InputError
        When called with a negative time, or with what is not a number or a vector of numbers.
    DigitsLostError
        When called with a time after ``valid_until``, or where the value would not be finite.
    """

    theorem: Theorem
    evaluate: Callable[[np.ndarray], np.ndarray] = field(repr=False)
    shape: tuple[int, ...]
    valid_until: float = math.inf
    lost: str = ""

    @property
    def citation(self) -> str:
        """Where the closed form was published."""
        return self.theorem.citation

    def __call__(self, t: ArrayLike | float, /) -> np.ndarray:
        """The end-to-end value at a time, or at each of a vector of times."""
        times = check_array("t", t, ndim=(0, 1)).astype(np.float64)
        if (times < 0).any():
            raise InputError(f"t holds {times.min():g}; pass times from 0, the start, on.")
        if times.size and times.max() > self.valid_until:
            raise DigitsLostError(
                f"{self.theorem.name}: t = {times.max():g} is after {self.valid_until:g}, up to "
                f"which float64 holds the digits of this closed form. {self.lost}".rstrip()
            )
        values = np.asarray(self.evaluate(np.atleast_1d(times)), dtype=np.float64)
        values = values.reshape(np.atleast_1d(times).shape + self.shape)
        finite = np.isfinite(values).all(axis=tuple(range(1, values.ndim)))
        if not finite.all():
            raise DigitsLostError(
                f"{self.theorem.name}: the value is not finite at t = "
                f"{np.atleast_1d(times)[~finite][0]:g}."
            )
        return values if times.ndim else values[0]

    def __repr__(self) -> str:
        return (
            f"Solution({self.theorem.name}; shape {self.shape}; {self.citation}; "
            f"valid until t = {self.valid_until:g})"
        )


@dataclass(frozen=True)
class ClosedForm:
    """A theorem that solves the flow, with what it asks of a problem and a start.

    Attributes
    ----------
    theorem : Theorem
        The record.
    conditions : tuple of Condition
        All must hold on (problem, start). They are tried in order, and the first that fails is the
        reason given; a later check may rely on the earlier ones.
    solve : callable
        ``solve(problem, start)``, called where all conditions hold, gives a :class:`Solution`.
    """

    theorem: Theorem
    conditions: tuple[Condition, ...]
    solve: Callable[[Problem, Any], Solution]

    def reason(self, problem: Problem, start: Any) -> str:
        """Why the closed form does not apply; an empty string where it does."""
        for condition in self.conditions:
            failure = condition.failure(problem, start)
            if failure is not None:
                return failure
        return ""
