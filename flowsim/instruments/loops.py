r"""The integral of a field around a closed curve, by quadrature and in closed form.

A gradient field gathers nothing around a closed curve; the end-to-end field of a balanced network
does, and how much measures how far depth is from being a regularizer.

On the sign: the closed forms are of the field :math:`F = \|w\|^{2-2/N}(g + (N-1)\mathrm{Pr}_w g)`,
as the literature writes it.  The flow is :math:`\dot w = -F`, and a lowered law is the field of the
flow: its integrals are the closed forms with the sign turned.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from scipy.integrate import quad_vec

from flowsim._checks import check_array, check_real, known_keywords
from flowsim._errors import FlowsimError, InputError
from flowsim._precision import in_float64
from flowsim._types import ArrayLike, FloatArray
from flowsim.instruments.curves import check_radii, direction
from flowsim.instruments.fields import array_function, call
from flowsim.instruments.legs import Leg, smooth_legs
from flowsim.problems import LpLoss
from flowsim.theory.no_regularizer import sector_loop as record

__all__ = [
    "LoopIntegral",
    "QuadratureError",
    "loop_integral",
    "paper_loop_integral",
    "sector_loop_integral",
]

_SMALLEST_RTOL = 1e-13
_MOST_INTERVALS = 400  # on one smooth stretch


class QuadratureError(FlowsimError):
    """A loop integral was not found to its tolerance.

    Attributes
    ----------
    integral : LoopIntegral
        What was found, with its error estimate.
    """

    def __init__(self, message: str, integral: LoopIntegral) -> None:
        super().__init__(message)
        self.integral = integral


class LoopIntegral(float):
    r"""The integral of a field around a closed curve: a number that knows its error.

    Attributes
    ----------
    value : float
        :math:`\oint F \cdot dw`, as a plain number.
    error : float
        An estimate of its error.
    scale : float
        :math:`\oint \|F\| \|dw\|`, roughly: what the tolerance is relative to.
    evaluations : int
        How often the field was evaluated.
    """

    error: float
    scale: float
    evaluations: int

    def __new__(cls, value: float, error: float, scale: float, evaluations: int) -> LoopIntegral:
        """Make the number and note what is known of it."""
        number = super().__new__(cls, value)
        number.error, number.scale, number.evaluations = error, scale, evaluations
        return number

    @property
    def value(self) -> float:
        """The number alone."""
        return float(self)

    def __repr__(self) -> str:
        return (
            f"LoopIntegral({float(self):.12g}, error {self.error:.1g}, "
            f"{self.evaluations} evaluations)"
        )


@known_keywords
@in_float64
def loop_integral(
    field: Any,
    curve: Callable[[float], Any],
    *,
    rtol: float = 1e-10,
    breaks: ArrayLike | None = None,
    throw: bool = True,
) -> LoopIntegral:
    r"""Integrate a field around a closed curve, :math:`\oint F(w) \cdot dw`.

    Adaptive Gauss-Kronrod quadrature on each smooth piece. The derivative of the curve is its own
    where it has one (:class:`Loop`, :func:`sector_loop`, or any function with a ``derivative``);
    otherwise the curve is interpolated at Chebyshev points to 13 digits, piece by piece, and its
    corners are found on the way. (A complex step would be silent about curves that take absolute
    values or norms.)

    Parameters
    ----------
    field
        A vector field ``(t, y, args)``, such as a lowered law, or a function ``w -> F(w)``: told
        apart by how many arguments it needs. It is used as it is: a law's field is that of the
        *flow*, minus what :func:`sector_loop_integral` gives.
    curve
        A function of s in [0, 1], or a :class:`Loop`; points have shape (d,) or (k, d), and the
        last is the first.
    rtol
        Tolerance, relative to :math:`\oint \|F\| \|dw\|`; the integral itself may be 0.
    breaks
        Corners of the curve within (0, 1), where they are known. A Loop knows its own.
    throw
        Whether to raise where the tolerance is not met, or to return what was found.

    Returns
    -------
    LoopIntegral
        With ``value`` and ``error``; ``float(...)`` gives the value.

    Raises
    ------
    InputError
        If the curve does not close, jumps, or cannot be followed, or the field is not finite on it.
    QuadratureError
        If the tolerance is not met, with what was found in ``integral``.

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, 2018, arXiv:1802.06509, proof of Theorem 2.

    Examples
    --------
    >>> import numpy as np
    >>> def circle(s):
    ...     return np.array([np.cos(2 * np.pi * s), np.sin(2 * np.pi * s)])
    >>> float(loop_integral(lambda w: np.array([-w[1], w[0]]), circle)) / (2 * np.pi)
    1.0000000000
    """
    rtol = check_real("rtol", rtol, above=0.0, below=1.0)
    if rtol < _SMALLEST_RTOL:
        raise InputError(f"rtol is {rtol:g}; pass at least {_SMALLEST_RTOL:g}.")
    function = array_function(field)
    if not callable(curve):
        raise InputError(f"curve is {type(curve).__name__}; pass a function of s in [0, 1].")
    legs = smooth_legs(curve, breaks)
    count = 0

    def integrand(leg: Leg, s: float) -> float:
        nonlocal count
        count += 1
        return float(np.sum(call(function, leg.curve(s)) * leg.derivative(s)))

    scale = 0.0
    for leg in legs:
        for s in np.linspace(leg.a, leg.b, 11)[1::2]:  # inside: at the ends pieces meet
            count += 1
            speed = float(np.linalg.norm(leg.derivative(s)))
            size = float(np.linalg.norm(call(function, leg.curve(s))))
            scale += speed * size * (leg.b - leg.a) / 5
    allowed = rtol * scale
    values, errors = [], [float(np.finfo(float).eps) * scale]
    for leg in legs:
        value, error = quad_vec(
            lambda s, leg=leg: integrand(leg, s),
            leg.a,
            leg.b,
            epsabs=allowed / len(legs),
            epsrel=0.0,
            quadrature="gk21",
            limit=_MOST_INTERVALS,
        )
        values.append(float(value))
        errors.append(float(error))
    found = LoopIntegral(math.fsum(values), math.fsum(errors), scale, count)
    if throw and found.error > max(allowed, 100 * np.finfo(float).eps * scale):
        raise QuadratureError(
            f"the loop integral {found.value:.6g} was found to {found.error:.2g} only, where rtol "
            f"= {rtol:g} asks for {allowed:.2g}. The field may have a kink on the curve: give its "
            "place in breaks.",
            found,
        )
    return found


# -- closed forms ----------------------------------------------------------------------------------


@known_keywords
@in_float64
def sector_loop_integral(
    loss: Any, depth: float, e0: ArrayLike, ephi: ArrayLike, r: float, R: float
) -> float:
    r"""The integral of the balanced single-output field around a sector, in closed form.

    For a loss that is positively homogeneous of degree m, with
    :math:`h = L` on the unit sphere,

    .. math:: \oint F \cdot dw = \frac{(N-1)(m - \frac2N)}{m + 2 - \frac2N}
        \bigl(h(e_0) - h(e_\phi)\bigr) \bigl(R^{m + 2 - 2/N} - r^{m + 2 - 2/N}\bigr) ,

    and sums of such losses add. The curve is :func:`sector_loop`; how its arcs run does not matter.

    Parameters
    ----------
    loss
        A pair (A, b) for :math:`\frac12 w^\top A w - b^\top w`; a mapping from degrees m >= 0 to
        functions that are homogeneous of that degree; or an LpLoss of one output with even p.
    depth : float
        N, any real number of at least 1.
    e0, ephi : array, shape (d,)
        The two directions, scaled to length 1.
    r, R : float
        The radii, 0 < r < R.

    Returns
    -------
    float

    Raises
    ------
    InputError
        If an argument is none of those.

    References
    ----------
    Generalises S. Arora, N. Cohen, E. Hazan, 2018, arXiv:1802.06509, proof of Theorem 2.

    Examples
    --------
    >>> import numpy as np
    >>> b = np.array([1.0, 0.0])
    >>> sector_loop_integral((np.zeros((2, 2)), b), 2, [1, 0], [0, 1], 0.5, 1.0)
    0.0
    >>> round(sector_loop_integral((np.zeros((2, 2)), b), 3, [1, 0], [0, 1], 0.5, 1.0), 12)
    -0.229021391001
    """
    depth = check_real("depth", depth, at_least=1.0)
    r, R = check_radii(r, R)
    e, f = direction("e0", e0), direction("ephi", ephi)
    if e.shape != f.shape or e.ndim != 1:
        raise InputError(
            f"e0 has shape {e.shape} and ephi {f.shape}; vectors of one length needed."
        )
    total = []
    for degree, part in _homogeneous_parts(loss, e.size).items():
        heights = (_height(part, e), _height(part, f))
        total.append(record.statement(depth, degree=degree, heights=heights, radii=(r, R)))
    return math.fsum(total) + 0.0  # never minus zero


@known_keywords
@in_float64
def paper_loop_integral(U: ArrayLike, depth: float, r: float, R: float) -> float:
    r"""The integral of a constant gradient's field around :func:`paper_loop`, in closed form.

    .. math:: 2 \|U\| \frac{(N-1)(N-2)}{3N-2} \bigl(R^{3 - 2/N} - r^{3 - 2/N}\bigr) ,

    positive for N > 2, which proves the theorem; 0 for N = 2, and negative below.

    Parameters
    ----------
    U : array, shape (d,)
        The gradient at the origin, :math:`\nabla L(0)`, not 0; d > 1.
    depth : float
        N, any real number of at least 1.
    r, R : float
        The radii, 0 < r < R.

    Returns
    -------
    float

    Examples
    --------
    >>> round(paper_loop_integral([3.0, 4.0], 3, 0.2, 1.1), 9)
    3.501905137
    """
    U = check_array("U", U, ndim=1)
    if not np.any(U):
        raise InputError("U is 0, which has no direction.")
    return sector_loop_integral({1: lambda w: float(U @ w)}, depth, U, -U, r, R)


def _height(part: Callable[[FloatArray], Any], e: FloatArray) -> float:
    value = np.asarray(part(e), np.float64)
    if value.shape != () or not np.isfinite(value):
        raise InputError(f"loss gives {value.tolist()} at {e.tolist()}; a finite number is needed.")
    return float(value)


def _homogeneous_parts(loss: Any, d: int) -> dict[float, Callable[[FloatArray], Any]]:
    """Take a loss apart by degree."""
    if isinstance(loss, Mapping):
        for part in loss.values():
            if not callable(part):
                raise InputError(f"loss holds {part!r}; it maps degrees to functions.")
        return {check_real("a degree of loss", m, at_least=0.0): h for m, h in loss.items()}
    if isinstance(loss, LpLoss):
        return _power_parts(loss, d)
    if isinstance(loss, tuple) and len(loss) == 2:
        A, b = check_array("A", loss[0], ndim=2), check_array("b", loss[1], ndim=1)
        if A.shape != (d, d) or b.shape != (d,):
            raise InputError(
                f"A has shape {A.shape} and b {b.shape}; the directions are of length {d}."
            )
        if not np.allclose(A, A.T, rtol=1e-12, atol=1e-12 * np.max(np.abs(A), initial=0.0)):
            raise InputError("A is not symmetric; pass (A + A.T) / 2, which gives the same loss.")
        return {2.0: lambda w: w @ A @ w / 2, 1.0: lambda w: -b @ w}
    raise InputError(
        f"loss is {type(loss).__name__}; pass (A, b), a mapping from degrees to functions, or an "
        "LpLoss with even p. For others integrate: loop_integral(field, sector_loop(...))."
    )


def _power_parts(loss: LpLoss, d: int) -> dict[float, Callable[[FloatArray], Any]]:
    r"""Expand :math:`\frac sm \sum_i (x_i \cdot w - y_i)^p` by the binomial theorem."""
    p = int(loss.p)
    if p != loss.p or p % 2 or loss.shape != (d,):
        raise InputError(
            f"loss is an LpLoss with p = {loss.p:g} on shape {loss.shape}; it is a polynomial for "
            f"even p only, and ({d},) is needed here."
        )
    data = loss.to_numpy()
    if data.moments is not None:
        A, b = (2 * data.scale * np.asarray(part) for part in data.moments)
        return {2.0: lambda w: w @ A @ w / 2, 1.0: lambda w: -b @ w}
    X, y, scale = data.inputs, data.labels, data.scale / data.examples

    def part(k: int) -> Callable[[FloatArray], Any]:
        return lambda w: scale * math.comb(p, k) * np.sum((X @ w) ** k * (-y) ** (p - k))

    return {float(k): part(k) for k in range(p + 1)}
