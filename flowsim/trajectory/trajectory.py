"""The record of a run, from an integrator or an optimizer alike."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError, IntegrationError
from flowsim._result import Result
from flowsim._types import FloatArray, PyTree


@dataclasses.dataclass(frozen=True, eq=False)
class Trajectory:
    """Times, states, what was recorded, what it cost, and why it ended.

    Attributes
    ----------
    ts
        Recorded times, shape (T,). For descent, t_k = Σ η_j over the first k steps.
    states
        The states at those times: a pytree of NumPy arrays with a leading axis of length T.
    loss
        The loss at those times, shape (T,); NaN where the field has no loss.
    end_to_end
        The end-to-end parameter, shape (T, d) or (T, k, d); None where there is none.
    stats
        What the run cost: ``gradients``, ``jacobians``, ``steps``, ``rejected``, ``seconds``; for
        descent also ``iterations``, shape (T,).
    result
        Why the run ended, a :class:`flowsim.Result`.
    settings
        How it was made: solver, backend, strategy and its reason, tolerances, optimizer.
    drift
        How far each monitored conserved quantity is from what it should be, by its name, (T,);
        None where none was monitored.
    parent
        The problem or law that it belongs to; None after loading from a file.
    """

    ts: FloatArray
    states: PyTree
    loss: FloatArray
    end_to_end: FloatArray | None
    stats: dict[str, Any]
    result: Result
    settings: dict[str, Any]
    parent: Any = None
    drift: dict[str, FloatArray] | None = None
    _continue: Callable[[float, PyTree, FloatArray], Trajectory] | None = dataclasses.field(
        default=None, repr=False
    )

    def __len__(self) -> int:
        return len(self.ts)

    def __getitem__(self, records: slice) -> Trajectory:
        """The same run with a part of its records, such as ``trajectory[:10]``."""
        if not isinstance(records, slice):
            raise InputError(f"records is {records!r}; pass a slice, such as trajectory[:10].")
        iterations = self.stats.get("iterations")
        kept = {} if iterations is None else {"iterations": iterations[records]}
        return dataclasses.replace(
            self,
            ts=self.ts[records],
            states=jax.tree.map(lambda leaf: leaf[records], self.states),
            loss=self.loss[records],
            end_to_end=None if self.end_to_end is None else self.end_to_end[records],
            stats={**self.stats, **kept},
            drift=None if self.drift is None else {n: d[records] for n, d in self.drift.items()},
        )

    def __repr__(self) -> str:
        span = f"t = {self.ts[0]:.6g} to {self.ts[-1]:.6g}" if len(self) else "nothing recorded"
        return f"Trajectory({span}, {len(self)} records, {self.result.name})"

    @property
    def final(self) -> PyTree:
        """The last recorded state."""
        return jax.tree.map(lambda leaf: leaf[-1], self.states)

    def evaluate(self, t: float | FloatArray) -> FloatArray | PyTree:
        """The run's value at any time within its span.

        The end-to-end parameter where there is one, the state elsewhere. Values between records
        are not interpolated: a flow is integrated again from the record before, with the same
        solver and tolerance, in steps that end at the times asked for. Descent has values at its
        iterations only.

        Parameters
        ----------
        t
            A time, or an increasing array of times.

        Raises
        ------
        InputError
            If a time lies outside the span, or between records of a run that cannot be continued.
        """
        times = np.atleast_1d(check_array("t", t, ndim=(0, 1)).astype(np.float64))
        if not times.size or not len(self):
            raise InputError(
                f"t holds {times.size} times, and the run {len(self)} records; both need at least "
                "one."
            )
        if times.min() < self.ts[0] or times.max() > self.ts[-1]:
            raise InputError(
                f"t runs from {times.min():g} to {times.max():g}, outside the run's span "
                f"[{self.ts[0]:g}, {self.ts[-1]:g}]."
            )
        record = self.states if self.end_to_end is None else self.end_to_end
        before = np.searchsorted(self.ts, times, side="right") - 1
        values = jax.tree.map(lambda leaf: np.array(leaf[before]), record)
        for i in np.unique(before):
            inside = np.flatnonzero((before == i) & (times > self.ts[i]))
            if not inside.size:
                continue
            if self._continue is None:
                raise InputError(
                    f"t = {times[inside[0]]:g} lies between records, where this run has no value: "
                    "descent is defined at its iterations, and a loaded run cannot be continued. "
                    "Record at that time."
                )
            wanted, order = np.unique(times[inside], return_inverse=True)
            state = jax.tree.map(lambda leaf, i=i: leaf[i], self.states)
            piece = self._continue(float(self.ts[i]), state, wanted)
            if len(piece) < len(wanted):
                raise IntegrationError(str(piece.result), piece)
            found = piece.states if piece.end_to_end is None else piece.end_to_end
            jax.tree.map(
                lambda into, leaf, at=inside, order=order: into.__setitem__(at, leaf[order]),
                values,
                found,
            )
        return jax.tree.map(lambda leaf: leaf[0], values) if np.ndim(t) == 0 else values

    def to_xarray(self) -> Any:
        """The record as an xarray Dataset on the dimension ``t``, stamped with its settings."""
        from flowsim.trajectory.storage import to_xarray

        return to_xarray(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the record to a netCDF file, atomically and with a checksum; see :func:`load`."""
        from flowsim.trajectory.storage import save

        save(self, path)
