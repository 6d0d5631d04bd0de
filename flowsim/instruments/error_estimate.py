"""What conservation laws say of the error of a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from flowsim._checks import check_array
from flowsim._errors import InputError
from flowsim._types import FloatArray
from flowsim.instruments.levels import LevelSet
from flowsim.symbolic.conservation import ConservationLaw, ConservationLaws

__all__ = ["error_from_laws"]


def error_from_laws(
    laws: ConservationLaws | Sequence[ConservationLaw],
    ts: Any,
    states: Any,
    *,
    level: LevelSet | None = None,
) -> FloatArray:
    r"""A lower estimate of the error of numerical states, from what the exact flow conserves.

    The exact state is on the level set :math:`M_t = \{y : C(y) = c(t)\}` of the start. So the error
    of a numerical state y is at least its distance to :math:`M_t`, of which this is the value to
    first order:

    .. math:: |J^+ (C(y) - c(t))|, \qquad J = dC/dy.

    It is the component of the error across the level set. What a method loses along it, such as an
    error of time, no law can see; so this is no upper bound, and it is 0 up to rounding for a run
    that was projected.

    Parameters
    ----------
    laws
        What :func:`flowsim.symbolic.conservation.conservation_laws` found for the parametrization
        whose factors flow, or some of the laws.
    ts
        Times of the records, shape (T,).
    states
        The factors, each with a leading axis of length T.
    level
        The level set of the run's start. None takes that of the first record, whose own error is
        then not seen.

    Returns
    -------
    numpy.ndarray
        In the units of the states, Euclidean, shape (T,).

    Raises
    ------
    InputError
        If there are no laws or no records, or the states are not factors of those laws.

    Examples
    --------
    >>> import numpy as np, flowsim as fs
    >>> t = np.array([0.0, 1.0])
    >>> states = np.exp(t)[:, None], np.exp(-t)[:, None] + [[0.0], [1e-6]]     # u v = 1
    >>> error_from_laws(fs.conservation_laws(fs.Diagonal(1)), t, states).round(9)
    array([0.00e+00, 9.91e-07])
    """
    times = check_array("ts", ts, ndim=1).astype(np.float64)
    if not times.size:
        raise InputError("ts is empty; an error estimate needs at least one record.")
    for leaf in jax.tree.leaves(states):
        if np.shape(leaf)[:1] != times.shape:
            raise InputError(
                f"states hold an array of shape {np.shape(leaf)} where ts has {times.shape}; give "
                "every factor a leading axis of that length."
            )
    if level is None:
        first = jax.tree.map(lambda leaf: np.asarray(leaf)[0], states)
        level = LevelSet.of(tuple(laws), first, float(times[0]))
    return level.distances(times, states)
