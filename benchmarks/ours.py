"""flowsim's solvers as rivals. A new solver is one line in ``SOLVERS``."""

from __future__ import annotations

from typing import Any

import numpy as np

import flowsim as fs
from benchmarks.problems import Task
from benchmarks.rivals import PRODUCT, Answer, Rival, Run
from flowsim.integration.stabilized import RKC2
from flowsim.integration.stabilized.rock4 import ROCK4

_LARGEST_DENSE = 1000  # numbers in a state of which an exact Jacobian is formed

#: What ``integrate`` is given as its solver, and where it takes part: anywhere, where the Jacobian
#: is small enough to be formed, where the flow is stiff, or where it is not.
SOLVERS: dict[str, tuple[Any, str]] = {
    "auto": ("auto", "anywhere"),
    "RKC2": (RKC2(), "anywhere"),
    "ROCK4": (ROCK4(), "anywhere"),
    "extrapolation": ("extrapolation", "small"),
    "dopri8": ("dopri8", "not stiff"),
    "tsit5": ("tsit5", "not stiff"),
}


def _rival(name: str, solver: Any, where: str, clock: str = "time") -> Rival:
    def prepare(task: Task, rtol: float, seconds: float) -> Run:
        def run(end: float) -> Answer:
            t1 = float(np.expm1(end)) if task.log_time else end
            flow = fs.integrate(
                task.field,
                task.start,
                t1,
                ts=[t1],
                rtol=rtol,
                atol=rtol * task.scale,
                solver=solver,
                clock=clock,
                max_seconds=seconds,
                max_steps=100_000_000,
                throw=False,
            )
            stats = flow.stats
            gradients = None
            if stats["gradients"] is not None:
                products = stats["hessian_products"] + stats["jacobians"] * task.size
                gradients = stats["gradients"] + PRODUCT * products
            if not flow.result.success:
                return Answer(None, gradients, f"given up: {flow.result}")
            value = flow.states if flow.end_to_end is None else flow.end_to_end
            return Answer(np.ravel(value[-1]), gradients, str(flow.settings["solver"]))

        return run

    def unsuited(task: Task) -> str:
        if where == "small" and task.size > _LARGEST_DENSE:
            return f"forms dense Jacobians, and the state has {task.size:,} numbers"
        if where == "not stiff" and task.stiff:
            return "explicit, and stability holds it down; diffrax's stands for it"
        if where == "stiff" and not task.stiff:
            return "for stiff flows"
        if clock == "log" and not task.log_time:
            return "for tails that are slow in time"
        return ""

    label = name if clock == "time" else f"{name}, {clock} clock"
    asked = name if clock == "time" else f"{name}, clock={clock}"
    return Rival(label, "flowsim", prepare, f"`integrate` with solver {asked}", unsuited)


OURS = [_rival(name, *how) for name, how in SOLVERS.items()]
OURS.append(_rival("auto", "auto", "anywhere", clock="log"))
#: The one that a user gets without asking.
AUTO = OURS[0].label
