"""What the integration engines share: the run as asked for, and the record of what happened."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from flowsim._result import Reason, Result
from flowsim._types import FloatArray, PyTree

#: Records kept of a run whose save times were left to the integrator: above it, every second goes.
MOST_STEP_RECORDS = 2000


@dataclasses.dataclass(frozen=True)
class Run:
    """An integration as it was asked for, validated.

    Attributes
    ----------
    field
        The vector field.
    y0
        The start, a pytree of NumPy arrays.
    t0, t1
        The span; ``ts`` are the save times, increasing, or None for every step.
    solver
        A solver object, a method name, or "auto".
    rtol, atol
        Tolerances.
    max_steps, max_seconds
        Budget of trial steps, and of wall-clock time.
    stop
        What ends the run at an accepted step, or None.
    progress
        Called with the time reached, or None.
    fence, project
        See :class:`flowsim.integration.loop.Rules`.
    first_step
        The length of the first step; None leaves it to the solver.
    clock
        How flow time is read, where t is the variable of a clock.
    horizon
        Where the run is expected to end, where t1 does not say.
    """

    field: Any
    y0: PyTree
    t0: float
    t1: float
    ts: FloatArray | None
    solver: Any
    rtol: float
    atol: float
    max_steps: int
    max_seconds: float | None
    stop: Any
    progress: Callable[[float], None] | None
    fence: tuple[Callable, Any] | None = None
    project: Any = None
    first_step: float | None = None
    clock: Any = None
    horizon: float | None = None
    began: float = dataclasses.field(default_factory=time.monotonic)

    def plain(self, t: float, y: PyTree) -> tuple[float, PyTree]:
        """Flow time and state, where the run is on a clock."""
        return (t, y) if self.clock is None else self.clock.plain(t, y)

    def in_flow_time(self, history: FloatArray) -> FloatArray:
        """Rows of times, sizes and speeds, brought to flow time; no rows where that is unknown."""
        return history if self.clock is None else self.clock.in_flow_time(history)

    @property
    def flow(self) -> Any:
        """The field in flow time."""
        return self.field if self.clock is None else self.clock.on_clock.field

    def reached(self, t: float, y: PyTree) -> str:
        """A sentence that says how far the run had come."""
        goal = self.t1 if self.clock is None else self.clock.goal
        return f"It had reached t = {self.plain(t, y)[0]:.6g} of {goal:.6g}."

    def out_of_time(self) -> bool:
        """Whether the allowance of wall-clock time is used up."""
        return self.max_seconds is not None and time.monotonic() - self.began > self.max_seconds


@dataclasses.dataclass
class Record:
    """Times and flat states as they come in, thinned when the integrator chooses the times."""

    ts: list[float]
    states: list[FloatArray]
    thin: bool
    stride: int = 1
    seen: int = 0

    def add(self, t: float, y: FloatArray) -> None:
        """Keep a record, or pass over it where only every stride-th is kept."""
        self.seen += 1
        if self.thin and self.seen % self.stride:
            return
        self.ts.append(t)
        self.states.append(y)
        if self.thin and len(self.ts) > MOST_STEP_RECORDS:
            self.ts, self.states = self.ts[::2], self.states[::2]
            self.stride *= 2

    def add_final(self, t: float, y: FloatArray) -> None:
        """Keep the last state, whatever the stride."""
        if not self.ts or t > self.ts[-1]:
            self.ts.append(t)
            self.states.append(y)


#: How a run ends that pauses before its fence.
FENCE = Result(Reason.stopped, "It paused before a time asked for.")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What an engine returns: the record (flat states, shape (T, size)), costs, and the reason.

    ``chosen`` says which solvers, when and why, ``solver`` is the one that the run ended with, and
    ``notes`` are what was found along the way.
    """

    ts: FloatArray
    states: FloatArray
    stats: dict[str, Any]
    result: Result
    chosen: list[str]
    solver: Any = None
    notes: list[str] = dataclasses.field(default_factory=list)

    @classmethod
    def of(
        cls,
        record: Record,
        size: int,
        stats: dict[str, Any],
        result: Result,
        chosen: list[str],
        solver: Any,
        notes: list[str],
    ) -> Outcome:
        """Stack a record."""
        states = np.array(record.states) if record.states else np.empty((0, size))
        return cls(np.array(record.ts), states, stats, result, chosen, solver, notes)
