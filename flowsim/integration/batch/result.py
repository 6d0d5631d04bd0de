"""The results of a batch: a sequence of trajectories, and their stacks."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any, overload

import jax
import numpy as np

from flowsim._errors import InputError, IntegrationError
from flowsim._result import Result
from flowsim._types import FloatArray, PyTree
from flowsim.trajectory import Trajectory


@dataclasses.dataclass(frozen=True)
class Part:
    """The problems of a batch that are of one structure, and what became of them.

    Attributes
    ----------
    ts
        Times, (n, R); of each row the first ``counts`` hold.
    states
        States, a pytree of arrays (n, R, ...).
    end_to_end, loss
        What was read off the states, (n, R, ...) or None, and (n, R).
    counts, extra
        Numbers of records, (n,), and whether the last one is where a problem ended early.
    costs
        By name, a count for each problem, (n,).
    results
        Why each ended.
    settings
        How each was made.
    parents
        What each belongs to.
    go_on
        ``go_on(problem)`` gives what continues that problem's trajectory.
    """

    ts: FloatArray
    states: PyTree
    end_to_end: FloatArray | None
    loss: FloatArray
    counts: np.ndarray
    extra: np.ndarray
    costs: dict[str, np.ndarray]
    results: list[Result]
    settings: Callable[[int], dict[str, Any]]
    parents: Callable[[int], Any]
    go_on: Callable[[int], Callable[[float, PyTree, FloatArray], Trajectory]]

    def trajectory(self, i: int, seconds: float) -> Trajectory:
        """The trajectory of a problem: views of the arrays here, no copies."""
        kept = slice(0, int(self.counts[i]))
        return Trajectory(
            ts=self.ts[i, kept],
            states=jax.tree.map(lambda leaf: leaf[i, kept], self.states),
            loss=self.loss[i, kept],
            end_to_end=None if self.end_to_end is None else self.end_to_end[i, kept],
            stats={**{k: int(v[i]) for k, v in self.costs.items()}, "seconds": seconds},
            result=self.results[i],
            settings=self.settings(i),
            parent=self.parents(i),
            _continue=self.go_on(i),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Batch(Sequence[Trajectory]):
    """The trajectories of many problems, in the order in which the problems were given.

    ``batch[3]`` is a :class:`flowsim.Trajectory`, ``batch[2:5]`` a batch. The stacks ``ts``,
    ``loss``, ``end_to_end`` and ``final`` have a leading axis of problems. They are plain arrays
    where every problem has every record, and NumPy masked arrays, whose means and norms pass over
    what is masked, where some have not: a problem that failed, or whose own t1 lies before the last
    save time. Nothing is padded with NaN. A failed problem's last state is in its own trajectory.

    Attributes
    ----------
    parts
        The problems by structure.
    where
        For each problem its part and its row there, (n, 2).
    seconds
        Wall-clock time of the whole batch.
    """

    parts: tuple[Part, ...]
    where: np.ndarray
    seconds: float

    def __len__(self) -> int:
        return len(self.where)

    @overload
    def __getitem__(self, index: int) -> Trajectory: ...
    @overload
    def __getitem__(self, index: slice) -> Batch: ...
    def __getitem__(self, index: int | slice) -> Trajectory | Batch:
        if isinstance(index, slice):
            return Batch(self.parts, self.where[index], self.seconds)
        part, row = self.where[index]
        return self.parts[part].trajectory(int(row), self.seconds)

    def __iter__(self) -> Iterator[Trajectory]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        ended: dict[str, int] = {}
        for result in self.results:
            ended[result.name] = ended.get(result.name, 0) + 1
        told = ", ".join(f"{count} {name}" for name, count in ended.items())
        return f"Batch({len(self)} trajectories: {told or 'none'})"

    @property
    def results(self) -> list[Result]:
        """Why each problem ended."""
        return [self.parts[part].results[row] for part, row in self.where]

    @property
    def failed(self) -> np.ndarray:
        """The indices of the problems that did not do what was asked."""
        return np.flatnonzero([not result.success for result in self.results])

    @property
    def stats(self) -> dict[str, Any]:
        """Costs of all problems together, and the seconds that the batch took."""
        names = self.parts[0].costs if self.parts else {}
        rows = [(self.parts[p], self.where[self.where[:, 0] == p, 1]) for p in self._used()]
        totals = {name: int(sum(part.costs[name][at].sum() for part, at in rows)) for name in names}
        return {**totals, "seconds": self.seconds}

    @property
    def ts(self) -> FloatArray:
        """Recorded times, (n, R)."""
        return self._stack("ts", [part.ts for part in self.parts], self._missing())

    @property
    def loss(self) -> FloatArray:
        """The loss at the recorded times, (n, R); NaN where the field has no loss."""
        return self._stack("loss", [part.loss for part in self.parts], self._missing())

    @property
    def end_to_end(self) -> FloatArray | None:
        """The end-to-end parameters, (n, R, d) or (n, R, k, d); None where there are none."""
        if any(self.parts[p].end_to_end is None for p in self._used()):
            return None
        return self._stack("end_to_end", [p.end_to_end for p in self.parts], self._missing())

    @property
    def final(self) -> PyTree:
        """The states at the problems' final times, a pytree of arrays (n, ...)."""
        used = self._used()
        structures = {jax.tree.structure(self.parts[p].states) for p in used}
        if len(structures) > 1:
            raise InputError(_RAGGED.format(name="final"))
        last = [
            jax.tree.map(
                lambda leaf, part=part: leaf[np.arange(len(leaf)), np.maximum(part.counts - 1, 0)],
                part.states,
            )
            for part in self.parts
        ]
        missing = np.array([not result.success for result in self.results], bool)
        leaves = [jax.tree.leaves(part) for part in last]
        stacked = [
            self._stack(
                "final", [part[i] if p in used else None for p, part in enumerate(leaves)], missing
            )
            for i in range(len(leaves[used[0]]) if used else 0)
        ]
        return jax.tree.unflatten(structures.pop(), stacked) if used else ()

    def _used(self) -> list[int]:
        return [int(p) for p in np.unique(self.where[:, 0])]

    def _missing(self) -> np.ndarray:
        """Which records are missing, (n, R)."""
        held = np.array(
            [self.parts[p].counts[row] - self.parts[p].extra[row] for p, row in self.where], int
        )
        most = self.parts[0].ts.shape[1] if self.parts else 0
        return np.arange(most) >= held[:, None]

    def _stack(self, name: str, arrays: list[Any], missing: np.ndarray) -> Any:
        """The problems' arrays in order, masked where something is missing."""
        used = self._used()
        if len({arrays[p].shape[1:] for p in used}) > 1:
            raise InputError(_RAGGED.format(name=name))
        if not used:
            return np.empty((0,))
        first = arrays[used[0]]
        out = np.empty((len(self), *first.shape[1:]), first.dtype)
        for p in used:
            at = self.where[:, 0] == p
            out[at] = arrays[p][self.where[at, 1]]
        if not missing.any():
            return out
        wide = missing.reshape(missing.shape + (1,) * (out.ndim - missing.ndim))
        return np.ma.masked_array(out, np.broadcast_to(wide, out.shape))


_RAGGED = (
    "the problems of this batch differ in the shape of {name}, which has no stack. Take it from "
    "each trajectory, batch[i].{name}, or from a slice of problems of one shape."
)


class BatchError(IntegrationError):
    """Some problems of a batch did not reach their final times.

    Attributes
    ----------
    batch
        All trajectories, of those that failed and of those that did not.
    trajectory
        The first one that failed.
    """

    def __init__(self, batch: Batch) -> None:
        failed = batch.failed
        first = int(failed[0])
        super().__init__(
            f"{failed.size} of {len(batch)} problems ended early; the first is number {first}, "
            f"{batch.results[first]} The whole batch is in this exception's `batch`.",
            batch[first],
        )
        self.batch = batch
