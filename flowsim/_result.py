"""Why a run ended: an enumeration whose values are the sentences that the user reads."""

from __future__ import annotations

import dataclasses
import enum


class Reason(enum.Enum):
    """Reasons for which a run ends. Each value is a sentence with its remedy in it."""

    completed = "The run reached its final time."
    blow_up = (
        "The solution grows without bound in finite time; nothing can be integrated past that "
        "time. Stop earlier, or look for a sign error in the loss: a loss that is bounded below "
        "cannot do this."
    )
    overflow = (
        "The solution grows beyond the range of floating-point numbers. Stop earlier, or look for "
        "a sign error in the loss."
    )
    diverged = (
        "Descent left the range of floating-point numbers. Lower learning_rate; gradient descent "
        "is stable only while learning_rate times the sharpness stays below 2."
    )
    nonfinite_field = (
        "The vector field is not finite at a state that is itself finite. Check the data and the "
        "loss for divisions by zero, logarithms or roots of negative numbers near that state."
    )
    nonfinite_loss = (
        "The loss is not a number at some recorded states, though the field is finite there. Check "
        "the loss for logarithms or roots of negative numbers; the states are kept."
    )
    stagnation = (
        "The integrator takes steps too small to advance time. The field is probably "
        "discontinuous or not Lipschitz here, or rtol asks for more than float64 can give."
    )
    budget = (
        "The budget of steps is used up. Raise max_steps, loosen rtol, or choose a solver for "
        "stiff problems."
    )
    wall_clock = "The allowance of wall-clock time is used up. Raise max_seconds or loosen rtol."
    interrupted = "The run was interrupted from the keyboard; what was computed so far is kept."
    stopped = "The condition given as stop was met."
    minimum = "The flow has come to rest at a minimum, confirmed by the curvature of the loss."
    flat_valley = (
        "The flow has come to rest in a flat valley: a minimum along which the loss is constant, "
        "as symmetries and more parameters than data make them."
    )
    saddle_plateau = (
        "The flow rests on a saddle, where its velocity is zero to rounding, and will not leave "
        "it. Start beside it: from a start that is not symmetric, or not zero."
    )
    solver_failed = (
        "The solver reported a failure of its own. Loosen rtol, or choose another solver."
    )


@dataclasses.dataclass(frozen=True)
class Result:
    """Why a run ended, and what is known of it.

    Attributes
    ----------
    reason
        One of :class:`Reason`.
    detail
        What was measured at the end: the time reached, an estimate of the blow-up time.
    blow_up_time
        The estimated time t* at which the solution leaves every bound, when
        ``reason`` is ``Reason.blow_up``; otherwise None.
    """

    reason: Reason
    detail: str = ""
    blow_up_time: float | None = None

    @property
    def name(self) -> str:
        """The reason's short name, such as ``"completed"`` or ``"blow_up"``."""
        return self.reason.name

    @property
    def success(self) -> bool:
        """Whether the run did what was asked of it."""
        return self.reason in (
            Reason.completed,
            Reason.stopped,
            Reason.minimum,
            Reason.flat_valley,
        )

    def __str__(self) -> str:
        detail = f" {self.detail}" if self.detail else ""
        return f"{self.name}: {self.reason.value}{detail}"
