r"""Closed curves, piece by piece, with their exact derivatives.

A curve maps [0, 1] into the space of w, arrays of shape (d,) or (k, d).  A :class:`Loop` runs
through its pieces one after the other, each over an equal share of [0, 1]; a piece is any function
of [0, 1], and one that has a ``derivative`` is integrated along exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from flowsim._checks import check_array, check_real
from flowsim._errors import InputError
from flowsim._types import ArrayLike, FloatArray

__all__ = ["Arc", "Loop", "Segment", "paper_loop", "sector_loop"]

#: Ends that are meant to meet may be this far apart, relative to the size of the curve.
MEETING = 1e-9


@dataclass(frozen=True, eq=False)
class Segment:
    """A straight piece from one point to another.

    Parameters
    ----------
    start, stop : array
        The points, of one shape.
    """

    start: FloatArray
    stop: FloatArray

    def __call__(self, u: float) -> FloatArray:
        """The point at u in [0, 1]."""
        return self.start + u * (self.stop - self.start)

    def derivative(self, u: float) -> FloatArray:
        """The derivative with respect to u."""
        return self.stop - self.start


@dataclass(frozen=True, eq=False)
class Arc:
    r"""An arc :math:`\rho\,(\cos\alpha\; e + \sin\alpha\; f)` of a circle about the origin.

    Parameters
    ----------
    e, f : array
        Two orthonormal directions of the plane of the circle.
    radius : float
        The radius.
    start, stop : float
        The angles at its ends.
    """

    e: FloatArray
    f: FloatArray
    radius: float
    start: float
    stop: float

    def __call__(self, u: float) -> FloatArray:
        """The point at u in [0, 1]."""
        angle = self.start + u * (self.stop - self.start)
        return self.radius * (np.cos(angle) * self.e + np.sin(angle) * self.f)

    def derivative(self, u: float) -> FloatArray:
        """The derivative with respect to u."""
        angle = self.start + u * (self.stop - self.start)
        speed = self.radius * (self.stop - self.start)
        return speed * (np.cos(angle) * self.f - np.sin(angle) * self.e)


@dataclass(frozen=True, eq=False)
class Loop:
    """A closed curve of several pieces.

    Parameters
    ----------
    pieces : sequence of callables
        Each maps [0, 1] to points; each begins where the one before ends, and the first where the
        last ends. Where a piece has a ``derivative``, that is its derivative, exactly.

    Raises
    ------
    InputError
        If the pieces do not meet.

    Examples
    --------
    >>> square = Loop.polygon([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    >>> square(0.625).tolist()
    [0.5, 1.0]
    """

    pieces: tuple[Callable[[float], Any], ...]

    def __post_init__(self) -> None:
        if not isinstance(self.pieces, Sequence) or not self.pieces:
            raise InputError("pieces is empty or no sequence; pass a list of functions of [0, 1].")
        object.__setattr__(self, "pieces", tuple(self.pieces))
        for i, piece in enumerate(self.pieces):
            if not callable(piece):
                raise InputError(f"pieces[{i}] is {piece!r}; pass functions of [0, 1].")
        ends = [(np.asarray(p(0.0), float), np.asarray(p(1.0), float)) for p in self.pieces]
        size = max(float(np.max(np.abs(point))) for pair in ends for point in pair)
        for i, (_, end) in enumerate(ends):
            after = (i + 1) % len(ends)
            begin = ends[after][0]
            if end.shape != begin.shape:
                raise InputError(
                    f"pieces[{i}] has points of shape {end.shape}, pieces[{after}] of shape "
                    f"{begin.shape}; one shape is needed."
                )
            gap = float(np.max(np.abs(end - begin)))
            if gap > MEETING * size:
                raise InputError(
                    f"the curve does not close: pieces[{i}] ends at {end.tolist()}, "
                    f"pieces[{after}] begins at {begin.tolist()}, {gap:.3g} apart."
                )

    @classmethod
    def polygon(cls, vertices: ArrayLike) -> Loop:
        """The polygon through the vertices, an array of shape (n, d) or (n, k, d), and back."""
        points = check_array("vertices", vertices, ndim=(2, 3)).astype(np.float64)
        if len(points) < 2:
            raise InputError(f"vertices has {len(points)} points; pass at least two.")
        following = np.roll(points, -1, axis=0)
        return cls(tuple(Segment(a, b) for a, b in zip(points, following, strict=True)))

    @property
    def breaks(self) -> FloatArray:
        """Where one piece ends and the next begins, within (0, 1)."""
        n = len(self.pieces)
        return np.arange(1, n) / n

    def __call__(self, s: float) -> FloatArray:
        """The point at s in [0, 1]."""
        i, u = self._place(s)
        return np.asarray(self.pieces[i](u), np.float64)

    def derivative(self, s: float) -> FloatArray:
        """The derivative with respect to s, where every piece has one; from the right at a break.

        Raises
        ------
        InputError
            If the piece at s has no ``derivative``.
        """
        i, u = self._place(s)
        slope = getattr(self.pieces[i], "derivative", None)
        if slope is None:
            raise InputError(f"pieces[{i}] has no derivative.")
        return len(self.pieces) * np.asarray(slope(u), np.float64)

    def _place(self, s: float) -> tuple[int, float]:
        n = len(self.pieces)
        s = check_real("s", s, at_least=0.0)
        if s > 1.0:
            raise InputError(f"s is {s!r}, where a number in [0, 1] is needed.")
        i = min(int(s * n), n - 1)
        return i, s * n - i


def sector_loop(
    e0: ArrayLike, ephi: ArrayLike, r: float, R: float, *, through: ArrayLike | None = None
) -> Loop:
    r"""The boundary of a sector: out along a direction, on a sphere to another, in, and back.

    From :math:`r e_0` straight to :math:`R e_0`, on the sphere of radius R to :math:`R e_\phi`,
    straight to :math:`r e_\phi`, on the sphere of radius r to the start.

    Parameters
    ----------
    e0, ephi : array, shape (d,) or (k, d)
        Two directions, scaled to length 1 (Frobenius norm).
    r, R : float
        The radii, 0 < r < R.
    through : array, optional
        A third direction: the arcs run through the half plane that it is in. Needed by opposite
        directions, between which there is no shortest arc; for those None takes the coordinate
        axis that is most nearly across.

    Returns
    -------
    Loop

    Raises
    ------
    InputError
        If a direction is 0, the two are the same, or the radii are not 0 < r < R.
    """
    r, R = check_radii(r, R)
    e = direction("e0", e0)
    other = direction("ephi", ephi)
    if e.shape != other.shape:
        raise InputError(f"e0 has shape {e.shape} and ephi {other.shape}; one shape is needed.")
    f = _across(e, other, through)
    cosine, sine = float(np.sum(other * e)), float(np.sum(other * f))
    angle = float(np.arctan2(sine, cosine)) % (2 * np.pi)
    return Loop(
        (
            Segment(r * e, R * e),
            Arc(e, f, R, 0.0, angle),
            Segment(R * other, r * other),
            Arc(e, f, r, angle, 0.0),
        )
    )


def paper_loop(e: ArrayLike, r: float, R: float, *, through: ArrayLike | None = None) -> Loop:
    r"""The curve by which Arora, Cohen and Hazan show that depth is no regularizer.

    Straight from :math:`-R e` to :math:`-r e`, on a half circle of radius r to :math:`r e`,
    straight to :math:`R e`, and on a half circle of radius R back; e is the direction of
    :math:`\nabla L(0)`. It is the sector of two opposite directions.

    Parameters
    ----------
    e : array, shape (d,) or (k, d)
        The direction, scaled to length 1.
    r, R : float
        The radii, 0 < r < R.
    through : array, optional
        A direction in whose half plane the half circles lie; None takes the coordinate axis that
        is most nearly across e.

    Returns
    -------
    Loop

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, 2018, arXiv:1802.06509, proof of Theorem 2.
    """
    r, R = check_radii(r, R)
    e = direction("e", e)
    f = _across(e, -e, through)
    return Loop(
        (
            Segment(-R * e, -r * e),
            Arc(e, f, r, np.pi, 0.0),
            Segment(r * e, R * e),
            Arc(e, f, R, 0.0, np.pi),
        )
    )


def check_radii(r: float, R: float) -> tuple[float, float]:
    """Return two radii, 0 < r < R."""
    r = check_real("r", r, above=0.0)
    return r, check_real("R", R, above=r)


def direction(name: str, value: ArrayLike) -> FloatArray:
    """Return a direction, scaled to length 1."""
    array = check_array(name, value, ndim=(1, 2)).astype(np.float64)
    largest = float(np.max(np.abs(array), initial=0.0))
    if largest == 0.0:
        raise InputError(f"{name} is 0, which is no direction.")
    array = array / largest
    return array / np.linalg.norm(array)


def _across(e: FloatArray, other: FloatArray, through: ArrayLike | None) -> FloatArray:
    """A unit vector across e, in the plane and on the side of the arc from e to the other."""
    opposite = np.linalg.norm(e + other) < 1e-6
    if np.linalg.norm(e - other) < 1e-12:
        raise InputError("e0 and ephi are the same direction: the sector is empty.")
    if through is not None:
        f = direction("through", through)
        if f.shape != e.shape:
            raise InputError(f"through has shape {f.shape}, the directions {e.shape}.")
    elif not opposite:
        f = other
    else:
        f = np.zeros_like(e)
        f.flat[int(np.argmin(np.abs(e)))] = 1.0
    f = f - np.sum(f * e) * e
    f = f - np.sum(f * e) * e  # once more: the first time leaves rounding of what was taken away
    size = np.linalg.norm(f)
    if size < 1e-9:
        raise InputError(
            "there is no arc between the directions: pass through=, a direction across them."
        )
    f = f / size
    if np.linalg.norm(other - np.sum(other * e) * e - np.sum(other * f) * f) > 1e-9:
        raise InputError("through lies outside the plane of e0 and ephi.")
    return f
