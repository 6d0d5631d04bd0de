"""What a rival is: a solver that can be asked for the state at one time, at a tolerance.

Gradients are counted in one currency. An evaluation of the field is one gradient; a product of the
Jacobian with a vector costs two; a dense Jacobian costs two for each number of the state.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.problems import Task

PRODUCT = 2  # gradients that a Hessian product counts for


@dataclasses.dataclass(frozen=True)
class Answer:
    """What a run gave: the value that is compared, None where it has none; its gradients; a note.

    ``gradients`` is None where the rival does not count them.
    """

    value: np.ndarray | None
    gradients: float | None
    note: str = ""


#: A run to the time that it is given.
Run = Callable[[float], Answer]


@dataclasses.dataclass(frozen=True)
class Rival:
    """A solver as it takes part in a benchmark.

    Attributes
    ----------
    name, family
        ``family`` is the package; flowsim's are drawn solid.
    prepare
        ``prepare(task, rtol, seconds)`` returns a run, which gives up after about so many seconds.
    unsuited
        Why the rival takes no part in a task, or "".
    tuning
        How it was set up, for the page.
    rtols
        The coarsest and finest relative tolerance that it is asked for.
    compiles
        Whether a run to a short time is worth it, so that compilation is not timed.
    """

    name: str
    family: str
    prepare: Callable[[Task, float, float], Run]
    tuning: str
    unsuited: Callable[[Task], str] = lambda task: ""
    rtols: tuple[float, float] = (1e-2, 1e-10)
    compiles: bool = True

    @property
    def label(self) -> str:
        """The name in diagrams and tables."""
        return f"{self.family} {self.name}"


class Overtime(Exception):
    """Raised inside a right-hand side to leave a solver that has used up its seconds."""


class Counted:
    """A function that counts its calls and gives up when time is over."""

    def __init__(self, function: Callable, seconds: float) -> None:
        self.function, self.calls = function, 0
        self.deadline = time.perf_counter() + seconds
        self.reached = 0.0

    def __call__(self, t: float, *rest: Any) -> Any:
        self.calls += 1
        self.reached = max(self.reached, float(t))
        if time.perf_counter() > self.deadline:
            raise Overtime
        return self.function(t, *rest)


def overtime(seconds: float, reached: float, end: float) -> str:
    """The note of a run that was given up."""
    return f"given up after {seconds:.3g} s at t = {reached:.3g} of {end:.3g}"
