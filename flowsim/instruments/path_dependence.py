"""Whether it matters in which order two losses are trained on: the test of a mirror flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from flowsim._checks import check_count, check_real
from flowsim._errors import InputError
from flowsim.problems.parametrizations import Parametrization
from flowsim.symbolic.mirror.flows import compiled, flattened, moved_numerically

__all__ = ["PathDependence", "path_dependence"]


@dataclass(frozen=True)
class PathDependence:
    """Two losses in both orders, and where that leads.

    Attributes
    ----------
    forward, swapped : numpy.ndarray
        The end-to-end value after the first order and after the other.
    forward_factors, swapped_factors : tuple of numpy.ndarray
        The factors.
    distance : float
        Between the factors, the largest entry.
    """

    forward: np.ndarray
    swapped: np.ndarray
    forward_factors: tuple[np.ndarray, ...] = field(repr=False)
    swapped_factors: tuple[np.ndarray, ...] = field(repr=False)
    distance: float

    def __str__(self) -> str:
        verdict = "the order makes no difference" if self.distance < 1e-12 else "the order counts"
        return (
            f"i, then j: w = {np.array2string(self.forward, precision=12)}\n"
            f"j, then i: w = {np.array2string(self.swapped, precision=12)}\n"
            f"    the factors differ by {self.distance:.3g}: {verdict}"
        )


def path_dependence(
    par: Parametrization, start: Any, i: int, j: int, a: float, b: float
) -> PathDependence:
    r"""Follow the loss :math:`w_i` for a time a, then :math:`w_j` for b; and in the other order.

    Both integrate the same gradient, :math:`\mu = -a e_i - b e_j`, so that a mirror flow ends at
    the same point. The two ends are equal for all a and b exactly where the gradient fields of
    the entries i and j commute.

    Parameters
    ----------
    par : Parametrization
        The map.
    start
        The factors at time 0.
    i, j : int
        Entries of the end-to-end value, counted row by row from 0.
    a, b : float
        The times, of either sign.

    Raises
    ------
    InputError
        If the entries or times do not fit, or a flow blows up before its time.

    References
    ----------
    Li, Wang, Lee, Arora 2022, arXiv:2207.04036.

    Examples
    --------
    >>> from flowsim.problems import DiagonalProduct, ScaledVector
    >>> apart = path_dependence(ScaledVector(2), ([0.3, -0.2], 0.8), 0, 1, 0.7, 0.4)
    >>> apart.forward.round(6), apart.swapped.round(6)
    (array([-0.212275, -0.493266]), array([-0.32853 , -0.523612]))
    >>> path_dependence(DiagonalProduct(2), ([1.0, 2.0], [0.5, 1.0]), 0, 1, 0.7, 0.4).distance
    0.0
    """
    flat = flattened(par, start)
    size = int(np.prod(par.end_to_end_shape))
    entries = []
    for name, value, time in (("i", i, ("a", a)), ("j", j, ("b", b))):
        index = check_count(name, value, at_least=0)
        if index >= size:
            raise InputError(f"{name} is {index}; the end-to-end value has {size} entries, from 0.")
        entries.append((index, check_real(*time)))
    value, _, flow = compiled(par)

    def followed(order: Sequence[tuple[int, float]]) -> np.ndarray:
        state = flat
        for index, time in order:
            change = np.zeros(size)
            change[index] = -time
            moved = moved_numerically(flow, state, change)
            if moved is None:
                raise InputError(
                    f"The flow of the loss w_{index} does not reach the time {time:g}: it grows "
                    "beyond all bounds before. Take a shorter time, or another sign."
                )
            state = moved
        return state

    ends = [followed(entries), followed(entries[::-1])]
    values = [value(end).reshape(par.end_to_end_shape) for end in ends]
    return PathDependence(
        forward=values[0],
        swapped=values[1],
        forward_factors=par.unflattened(ends[0]),
        swapped_factors=par.unflattened(ends[1]),
        distance=float(np.abs(ends[0] - ends[1]).max()),
    )
