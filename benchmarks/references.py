"""References: states at the end of each problem, certified, and kept in ``references/*.npz``.

``python benchmarks --references`` makes those that are missing. A file holds the value that is
compared, or its projection onto 64 random directions and its norm where it is large; how it was
made; and the certificate: the relative distance of two unlike solvers at tolerances at least 10^4
times finer than the finest that is measured, or of a solver from a closed form in extended
precision.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.ours import OURS
from benchmarks.peers import PEERS
from benchmarks.problems import Task

FOLDER = Path(__file__).parent / "references"
_DIRECTIONS = 64
_KEPT_WHOLE = 5000  # numbers in a value that is kept as it is


@dataclasses.dataclass(frozen=True)
class Reference:
    """A certified value, or its projection.

    Attributes
    ----------
    value
        The value, or its products with 64 Gaussian directions over 8, which keep a norm in mean.
    norm
        The Euclidean norm of the whole value.
    size
        Numbers in the whole value.
    agreement
        The certificate: a relative distance.
    made
        How value and certificate came about.
    """

    value: np.ndarray
    norm: float
    size: int
    agreement: float
    made: str

    def error(self, value: np.ndarray) -> float:
        """The relative error of a value, estimated to about 10 % where the value is projected."""
        if not np.isfinite(value).all():
            return float("inf")
        return float(np.linalg.norm(projected(value) - self.value) / self.norm)


def projected(value: np.ndarray) -> np.ndarray:
    """A value as it is kept."""
    if value.size <= _KEPT_WHOLE:
        return value
    rng = np.random.default_rng(0)
    directions = (rng.standard_normal(value.size) for _ in range(_DIRECTIONS))
    return np.array([direction @ value for direction in directions]) / np.sqrt(_DIRECTIONS)


def certified(value: np.ndarray, other: np.ndarray, made: str) -> Reference:
    """A reference from a value and an independent one."""
    norm = float(np.linalg.norm(value))
    agreement = float(np.linalg.norm(value - other) / norm)
    return Reference(projected(value), norm, value.size, agreement, made)


def load(task: Task) -> Reference:
    """The reference of a task, or FileNotFoundError saying how to make it."""
    file = FOLDER / f"{task.name}.npz"
    if not file.exists():
        raise FileNotFoundError(f"{file} is missing; make it by: python benchmarks --references")
    with np.load(file) as kept:
        return Reference(
            kept["value"],
            float(kept["norm"]),
            int(kept["size"]),
            float(kept["agreement"]),
            str(kept["made"]),
        )


def save(task: Task, reference: Reference) -> None:
    """Keep a reference."""
    FOLDER.mkdir(exist_ok=True)
    np.savez(FOLDER / f"{task.name}.npz", **dataclasses.asdict(reference))


def make(task: Task, maker: Callable[[Task], Reference]) -> Reference:
    """The kept reference, or a new one."""
    if not (FOLDER / f"{task.name}.npz").exists():
        save(task, maker(task))
    return load(task)


def pair(task: Task, first: tuple[str, float], second: tuple[str, float]) -> Reference:
    """A reference from two unlike rivals, each a label and a relative tolerance."""
    rivals = {rival.label: rival for rival in (*OURS, *PEERS)}
    values = []
    for label, rtol in (first, second):
        answer = rivals[label].prepare(task, rtol, 1e5)(task.end)
        if answer.value is None:
            raise ValueError(f"{label} at {rtol:g} has no result on {task.name}: {answer.note}")
        values.append(answer.value)
    (one, rtol), (other, finer) = first, second
    return certified(*values, f"{one} at rtol {rtol:g}, against {other} at {finer:g}")
