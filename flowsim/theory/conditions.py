"""What most theorems on gradient flow presume, as conditions that can be checked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flowsim.theory.records import Condition

if TYPE_CHECKING:
    from flowsim.problems import Problem

__all__ = ["NO_DECAY", "PLAIN", "SMOOTH"]


def _undecayed(problem: Problem, start: Any) -> str | None:
    decay = problem.weight_decay
    return f"Weight decay {decay:g} is not zero." if decay else None


def _plain(problem: Problem, start: Any) -> str | None:
    trouble = _undecayed(problem, start)
    if trouble is None and problem.rates:
        return f"The factors move at rates of their own, {dict(problem.rates)}."
    return trouble


#: Nothing finite decides it.
SMOOTH = Condition("L is continuously differentiable.")

#: For theorems in which the factors' rates are free.
NO_DECAY = Condition("There is no weight decay.", _undecayed)

#: For theorems on gradient flow as it stands.
PLAIN = Condition("There is no weight decay, and every factor moves at rate 1.", _plain)
