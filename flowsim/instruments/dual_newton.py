"""Newton's method on the concave dual that a limit point maximises.

The iterate is a state of an orbit and not its multipliers: steps of the mirror variable are carried
out one after the other, so that solutions that are sparse to 1e-30, of which the mirror variable is
large, lose no digits.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from flowsim.instruments.limit_point import LimitError
from flowsim.instruments.orbits import Orbit

__all__ = ["dual_maximum"]

#: The residual that a limit point must reach, relative to the size of the terms of X w.
_TOLERANCE = 1e-12
_LARGEST_ITERATIONS = 500
#: By how much the start shrinks from one problem to the next where the solution is followed.
_SHRINKAGE, _SMALLEST_SHRINKAGE = 4.0, 1.05


def dual_maximum(orbit: Orbit, X: np.ndarray, y: np.ndarray) -> tuple[Any, np.ndarray, int]:
    """The state at which X w = y, reached by changes of the mirror variable within row(X).

    Where Newton's method from the start fails and the orbit knows how to scale its start, the
    solution is followed from a start of the size of the solution down to the one that is asked for.

    Returns
    -------
    tuple
        The state, the multipliers, and the number of Newton steps.

    Raises
    ------
    LimitError
        If no such state is found.
    """
    try:
        return _from(orbit, X, y, orbit.start, np.zeros(len(y)))
    except LimitError:
        if not hasattr(orbit, "scaled"):
            raise
    scalable: Any = orbit
    size = float(np.abs(np.linalg.lstsq(X, y)[0]).max()) ** (1 / scalable.depth)
    scale = max(size / float(np.abs(scalable.start[0]).max()), 1.0)
    larger, shrinkage = scalable.scaled(scale), _SHRINKAGE
    state, multipliers, steps = _from(larger, X, y, larger.start, np.zeros(len(y)))
    while scale > 1:
        smaller = max(scale / shrinkage, 1.0)
        guess = larger.rescaled(state, multipliers, smaller / scale)
        try:
            found = _from(scalable.scaled(smaller), X, y, *guess)
        except LimitError:
            shrinkage = shrinkage**0.5
            if shrinkage < _SMALLEST_SHRINKAGE:
                raise
            continue
        state, multipliers = found[:2]
        steps += found[2]
        larger, scale = scalable.scaled(smaller), smaller
    return state, multipliers, steps


def _from(
    orbit: Orbit, X: np.ndarray, y: np.ndarray, state: Any, multipliers: np.ndarray
) -> tuple[Any, np.ndarray, int]:
    """Newton's method from a state."""
    best: tuple[float, Any, np.ndarray] = (np.inf, state, multipliers)
    stalled = 0
    for iteration in range(_LARGEST_ITERATIONS):
        w = orbit.value(state)
        residual = y - X @ w
        size = float(np.abs(residual).max())
        scale = float((np.abs(X) @ np.abs(w)).max() + np.abs(y).max())
        if size < best[0]:
            best, stalled = (size, state, multipliers), 0
        else:
            stalled += 1
        if size <= 4e-16 * scale or (stalled >= 2 and best[0] <= _TOLERANCE * scale):
            return best[1], best[2], iteration
        noise = np.finfo(float).eps * (np.abs(X) @ np.abs(w) + np.abs(y))
        step = _newton(orbit.root(state), X, residual, noise)
        found = (
            None
            if not np.isfinite(step).all()
            else _searched(orbit, X, y, state, step, float(residual @ step))
        )
        if found is None:
            if best[0] <= _TOLERANCE * scale:
                return best[1], best[2], iteration
            break
        state, length = found
        multipliers = multipliers + length * step
    raise LimitError(
        f"The residual of X w = y does not fall below {best[0]:.3g}: the multipliers have grown to "
        f"{np.abs(multipliers).max():.3g}. Either no w that this parametrization can reach from "
        "this start solves X w = y (a coordinate whose sign is fixed, an eigenvalue that stays "
        "positive), or y is at the boundary of what it can reach, or the start is so small that "
        "the choice between equally sparse solutions takes more digits than float64 has."
    )


def _newton(root: np.ndarray, X: np.ndarray, residual: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Solve (X P X^T) step = residual through the QR factors of B^T X^T, P = B B^T.

    Rows of very different sizes, as the coordinates of sparse solutions are, ask for rows sorted by
    size and pivoted columns; the product X P X^T would lose what is small.
    """
    from scipy.linalg import qr, solve_triangular

    tall = (X * root).T if root.ndim == 1 else root.T @ X.T
    largest = np.abs(tall).max()
    if not 0 < largest < np.inf:
        raise LimitError(
            "The flow stands still: dw/dt = -P grad L with P = 0 on the rows of X at this point."
        )
    tall = tall / largest
    order = np.argsort(-np.abs(tall).max(axis=1), kind="stable")
    factored: Any = qr(tall[order], mode="r", pivoting=True)
    R, pivots = factored[0][: len(residual)], factored[1]
    small = np.abs(np.diag(R)) == 0
    if small.any() or len(R) < len(residual):
        raise LimitError(
            "X P X^T is singular: at this start no velocity of the parametrization moves X w in "
            f"{max(int(small.sum()), 1)} of {len(residual)} directions."
        )
    half = _forward(R, residual[pivots] / largest, noise[pivots] / largest)
    step = np.empty_like(residual)
    with np.errstate(over="ignore", invalid="ignore"):
        step[pivots] = solve_triangular(R, half, check_finite=False) / largest
    return step


def _forward(R: np.ndarray, right: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Solve R^T t = right, with 0 for what is left of the right-hand side where that is rounding.

    In a sparse solution most diagonal entries of R are tiny; divided by them, rounding would become
    a step.
    """
    t = np.zeros_like(right)
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(len(right)):
            terms = R[:i, i] * t[:i]
            rest = right[i] - terms.sum()
            size = noise[i] + 4 * np.finfo(float).eps * np.abs(terms).sum()
            t[i] = rest / R[i, i] if abs(rest) > size else 0.0
    return t


def _searched(
    orbit: Orbit, X: np.ndarray, y: np.ndarray, state: Any, step: np.ndarray, slope: float
) -> tuple[Any, float] | None:
    """A step up to Newton's that is not far beyond the maximum of the dual along the step.

    The slope <y - X w, step> falls along the step, the dual being concave; it is computed without
    cancellation, which the dual itself is not.
    """
    change = X.T @ step
    length = min(1.0, orbit.reach(state, change))
    for _ in range(80):
        moved = orbit.move(state, length * change)
        rest = -np.inf
        if moved is not None:
            w = orbit.value(moved)
            rest = float((y - X @ w) @ step) if np.isfinite(w).all() else -np.inf
        if rest >= -0.5 * slope:
            # Short of the maximum or little beyond it. No step is longer than Newton's.
            return moved, length
        length /= 2
    return None
