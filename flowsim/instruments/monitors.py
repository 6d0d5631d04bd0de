"""Conserved quantities along a run: their values, and how far they drift.

What gradient flow conserves exactly a numerical solution conserves up to its error; so the drift is
an estimate of the error of an integration that costs nothing, and a measure of how far a descent is
from its flow.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._types import FloatArray
from flowsim.instruments.levels import LevelSet
from flowsim.symbolic.conservation import ConservationLaw, ConservationLaws

if TYPE_CHECKING:
    from flowsim.trajectory import Trajectory

__all__ = ["Drift", "Monitor", "drift"]


@dataclass(frozen=True, eq=False)
class Drift:
    r"""The values of conservation laws along a run.

    Attributes
    ----------
    ts
        Times of the records, shape (T,).
    values
        From a law's name to its values, shape (T,).
    deviations
        From a law's name to :math:`h(t) - h(t_0)\,e^{\mathrm{rate}\,(t - t_0)}`, shape (T,): what
        is not as the law says.
    scales
        From a law's name to its natural scale, the sum of the absolute values of its terms at the
        start. A law may be 0 there; its rounding errors are not.
    """

    ts: FloatArray
    values: dict[str, FloatArray]
    deviations: dict[str, FloatArray] = field(repr=False)
    scales: dict[str, float] = field(repr=False)

    @property
    def absolute(self) -> dict[str, float]:
        """From a law's name to its largest deviation."""
        return {name: float(np.abs(d).max()) for name, d in self.deviations.items()}

    @property
    def relative(self) -> dict[str, float]:
        """From a law's name to its largest deviation, relative to its scale."""
        return {name: value / self.scales[name] for name, value in self.absolute.items()}

    @property
    def drift(self) -> float:
        """The largest relative deviation of any law at any time."""
        return max(self.relative.values())

    def to_xarray(self) -> Any:
        """Values and deviations as an xarray Dataset on the dimensions ``law`` and ``t``."""
        import xarray as xr

        names = list(self.values)
        return xr.Dataset(
            {
                "value": (("law", "t"), np.stack([self.values[n] for n in names])),
                "deviation": (("law", "t"), np.stack([self.deviations[n] for n in names])),
                "scale": ("law", np.array([self.scales[n] for n in names])),
            },
            coords={"law": names, "t": self.ts},
        )

    def __str__(self) -> str:
        worst = max(self.relative, key=lambda name: self.relative[name])
        return (
            f"{len(self.values)} laws at {len(self.ts)} times: relative drift {self.drift:.2g}, "
            f"the largest in {worst}"
        )


@dataclass(frozen=True)
class Monitor:
    """Laws to be watched; call it with times and the states recorded at them.

    Attributes
    ----------
    laws
        Those of :func:`flowsim.symbolic.conservation.conservation_laws`, or some of them.
    level
        The level set of the run's start, from which deviations are counted; None counts from the
        first record.
    """

    laws: tuple[ConservationLaw, ...]
    level: LevelSet | None = field(default=None, repr=False, compare=False)

    def __call__(self, ts: Any, states: Any) -> Drift:
        """Evaluate the laws.

        Parameters
        ----------
        ts
            Times, shape (T,).
        states
            The factors in order, each with a leading axis of length T.

        Raises
        ------
        InputError
            If there is nothing to watch or nothing recorded, the shapes do not fit, or a law is not
            finite at one of the states.
        """
        times = check_array("ts", ts, ndim=1).astype(np.float64)
        if not times.size:
            raise InputError("ts is empty; a drift needs at least one record.")
        values, deviations, scales = {}, {}, {}
        for i, law in enumerate(self.laws):
            value = law.value(states)
            if value.shape != times.shape:
                raise InputError(
                    f"states hold {value.shape} records where ts has {times.shape}; give every "
                    "factor a leading axis of that length."
                )
            values[law.name] = value
            begin, t0 = value[0], times[0]
            if self.level is not None:
                begin, t0 = self.level.initial[i], self.level.t0
            deviations[law.name] = value - begin * np.exp(law.rate * (times - t0))
            scales[law.name] = float(law.scale(states)[0]) or 1.0
        return Drift(times, values, deviations, scales)


def drift(
    laws: ConservationLaws | Sequence[ConservationLaw] | ConservationLaw, trajectory: Trajectory
) -> Drift:
    """How far the conservation laws of a parametrization drift along a run.

    Parameters
    ----------
    laws
        What :func:`flowsim.symbolic.conservation.conservation_laws` found, some of the laws, or
        one.
    trajectory
        A run whose states are the factors of that parametrization.

    Returns
    -------
    Drift

    Raises
    ------
    InputError
        If there are no laws, or the states are not such factors.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> from flowsim.symbolic.conservation import conservation_laws
    >>> monitor = Monitor(conservation_laws(fs.Diagonal(1)).laws)
    >>> t = np.linspace(0.0, 1.0, 5)
    >>> record = monitor(t, (np.exp(t)[:, None], np.exp(-t)[:, None]))
    >>> list(record.values), record.drift < 1e-15
    (['u[0]*v[0]'], True)
    """
    monitor = Monitor(chosen_laws("laws", laws))
    if not hasattr(trajectory, "states"):
        raise InputError(f"trajectory is {type(trajectory).__name__}; pass a Trajectory.")
    return monitor(trajectory.ts, _as_factors(trajectory.states))


def split_energy(monitor: Any) -> tuple[Any, bool]:
    """The conservation laws that a run was asked to watch, or None, and whether energy is too."""
    if isinstance(monitor, str) and monitor == "energy":
        return None, True
    if isinstance(monitor, (list, tuple)):
        laws = [law for law in monitor if not (isinstance(law, str) and law == "energy")]
        if len(laws) < len(monitor):
            return (laws or None), True
    return monitor, False


def monitor_of(laws: Any, start: Any, t0: float | None = None) -> Monitor | None:
    """The monitor that a run was asked for, tried on its start; None where it was asked for none.

    With the time of the start, deviations are counted from there and the error is estimated.

    Raises
    ------
    InputError
        If there are no laws, or the start does not hold their factors.
    """
    if laws is None:
        return None
    chosen = chosen_laws("monitor", laws)
    factors = _as_factors(start)
    Monitor(chosen)([0.0], jax.tree.map(lambda factor: np.asarray(factor)[None], factors))
    return Monitor(chosen, None if t0 is None else LevelSet.of(chosen, factors, t0))


def with_drift(trajectory: Trajectory, monitor: Monitor | None) -> Trajectory:
    """A run with the deviation of every monitored law in its ``drift``.

    Where the monitor knows the start, its ``stats["error_from_laws"]`` is the largest distance of a
    record from the level set, a lower estimate of the error; see
    :func:`flowsim.instruments.error_from_laws`.
    """
    if monitor is None or not len(trajectory):
        return trajectory
    states = _as_factors(trajectory.states)
    stats = trajectory.stats
    if monitor.level is not None:
        distances = monitor.level.distances(trajectory.ts, states)
        stats = {**stats, "error_from_laws": float(distances.max())}
    deviations = monitor(trajectory.ts, states).deviations
    drift = {**deviations, **(trajectory.drift or {})}
    return dataclasses.replace(trajectory, drift=drift, stats=stats)


def chosen_laws(name: str, laws: Any) -> tuple[ConservationLaw, ...]:
    """The conservation laws that an argument holds."""
    iterable = isinstance(laws, Iterable) and not isinstance(laws, (str, bytes))
    chosen: tuple[Any, ...] = ()
    if isinstance(laws, ConservationLaw):
        chosen = (laws,)
    elif iterable:
        chosen = tuple(laws)
    if not chosen or not all(isinstance(law, ConservationLaw) for law in chosen):
        raise InputError(
            f"{name} holds no conservation law; pass what conservation_laws(parametrization) "
            "returns, where it found any."
        )
    return chosen


def _as_factors(states: Any) -> Any:
    return states if isinstance(states, (tuple, list, dict)) else (states,)
