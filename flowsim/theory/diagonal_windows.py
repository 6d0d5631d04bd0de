r"""When diagonal networks learn a coordinate: hitting times, and the window of early stopping.

For the loss :math:`\frac12 (\beta - s)^2` of one coordinate and the start :math:`u_0 = v_0 =
\alpha`, :math:`\dot u = N u^{N-1} (s - u^N + v(u)^N)` with v a function of u by the conserved
quantity. The time from :math:`\beta = 0` to a level is one integral,

.. math:: T = \int_\alpha^{u_f} \frac{du}{N u^{N-1} (s - \beta(u))} ,

and to leading order, as :math:`\alpha \to 0`, it is :math:`\alpha^{2-N} / (N(N-2)s)` for N >= 3:
the time does not depend on the level, only on the target. Large targets (signal) are therefore
reached long before small ones (noise); between lies the window in which to stop.

The integral is taken in :math:`\zeta = -\ln(y_s - y)`, :math:`y = \ln(u/\alpha)`, where
:math:`\beta(y_s) = s`: there the integrand is smooth, for levels as close to the target as may be.

References
----------
J. Li, T. Nguyen, C. Hegde, R. Wong, NeurIPS 2021, arXiv:2108.05574.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from sympy import Expr, Float, Integer, Symbol, log

from flowsim._checks import check_count, check_real
from flowsim._errors import InputError
from flowsim.theory.conditions import PLAIN
from flowsim.theory.mirror_potentials import log_growth, log_shrinkage
from flowsim.theory.records import Theorem

__all__ = [
    "ALPHA",
    "LEVEL",
    "TARGET",
    "THEOREMS",
    "Window",
    "diagonal_hitting_time",
    "hitting_time",
    "leading_hitting_time",
    "window",
]

#: The start, the target s > 0 and the level 0 < b < s of one coordinate.
ALPHA, TARGET = Symbol("alpha", positive=True), Symbol("s", positive=True)
LEVEL = Symbol("b", positive=True)

#: Relative error allowed of a quadrature.
_RELATIVE = 1e-12


def _leading(
    N: Expr | int, *, alpha: Expr = ALPHA, target: Expr = TARGET, level: Expr = LEVEL
) -> Expr:
    """State the hitting time to leading order as alpha -> 0 (for N = 2 up to o(1))."""
    if N == 2:
        return log(level * target / (alpha**2 * (target - level))) / (4 * target)
    return alpha ** (2 - N) / (N * (N - 2) * target)


diagonal_hitting_time = Theorem(
    name="diagonal hitting time",
    title="A coordinate of a diagonal network of depth N >= 3 is learned after alpha^(2-N) / "
    "(N(N-2)s), of depth 2 after log(b s / (alpha^2 (s-b))) / (4s), as alpha -> 0.",
    statement=_leading,
    hypotheses=(
        "The loss of the coordinate is (beta - s)^2 / 2 with s > 0, the level 0 < b < s.",
        "The start is u_0 = v_0 = alpha, and alpha tends to 0.",
        PLAIN,
    ),
    citation="Li, Nguyen, Hegde, Wong 2021, arXiv:2108.05574, theorem 1 (order of the window); "
    "constants: derivations/diagonal_hitting_time.py",
    proof="derivations/diagonal_hitting_time.py",
)

THEOREMS = (diagonal_hitting_time,)


@dataclass(frozen=True)
class Window:
    """The times between which signal is learned and noise is not.

    Attributes
    ----------
    opens : float
        When the signal has reached its level.
    closes : float
        When the noise has reached its own.
    """

    opens: float
    closes: float

    @property
    def width(self) -> float:
        """How long the window is open; negative where noise is learned first."""
        return self.closes - self.opens

    @property
    def ratio(self) -> float:
        """Closing time over opening time; tends to the ratio of the targets for N >= 3."""
        return self.closes / self.opens


def hitting_time(target: float, level: float, /, *, depth: int, alpha: float) -> float:
    r"""Return the time at which :math:`\beta = u^N - v^N` first reaches a level.

    .. math:: T = \int_0^{y_f} \frac{(\alpha e^y)^{2-N}\, dy}{N (s - \beta(y))} , \qquad
        \beta = \alpha^N \bigl( e^{Ny} - (2 - e^{-(N-2)y})^{-\frac N{N-2}} \bigr)

    for the flow of :math:`\frac12 (\beta - s)^2` from :math:`u_0 = v_0 = \alpha`.

    Parameters
    ----------
    target
        s, not 0.
    level
        Between 0 and the target, the target excluded: it is reached at no finite time.
    depth
        N >= 2.
    alpha
        Start of u and v, positive.

    Returns
    -------
    float
        The time, in units of the flow, with a relative error below 1e-11.

    Raises
    ------
    InputError
        If the level is not between 0 and the target, or the time is beyond the range of float64.

    References
    ----------
    Li, Nguyen, Hegde, Wong 2021, arXiv:2108.05574.

    Examples
    --------
    >>> round(hitting_time(1.0, 0.9, depth=3, alpha=0.1), 9)
    3.319519104
    """
    N, alpha = check_count("depth", depth, at_least=2), check_real("alpha", alpha, above=0.0)
    s, b = check_real("target", target), check_real("level", level)
    if s == 0 or not 0 <= b / s < 1:
        raise InputError(
            f"level is {b:g} and target {s:g}; pass a level between 0 and the target, the target "
            "excluded, which is reached at no finite time."
        )
    if b == 0:
        return 0.0
    # beta -> -beta exchanges u and v.
    s, b = abs(s), abs(b)
    log_alpha = math.log(alpha)
    top, half = (float(log_growth(beta, alpha, N)) for beta in (s, min(b, s / 2)))
    rest = _Rest(N, top, log_alpha)

    def early(y: float) -> float:
        """Return the integrand in y, in units of alpha^(2-N)."""
        return math.exp(-(N - 2) * y) / (N * (s - rest.beta(y)))

    def late(zeta: float) -> float:
        """Return the integrand in zeta = -ln(y_s - y), in units of alpha^(2-N)."""
        distance = math.exp(-zeta)
        return math.exp(-(N - 2) * (top - distance)) * distance / (N * rest(distance))

    value = _quadrature(early, 0.0, half)
    if b > s / 2:
        # The rest at the level, solved for the distance of y from y_s.
        goal = math.log(s - b)
        begin = -math.log(top - half)
        # The rest is at most 3 N u^N times the distance, where that is below 1/N.
        furthest = math.log(4 * N * math.exp(N * (log_alpha + top))) - min(goal, math.log(s) - 2)
        end = brentq(lambda zeta: math.log(rest(math.exp(-zeta))) - goal, begin - 1e-6,
                     max(furthest, math.log(2 * N)), xtol=1e-300, rtol=1e-15)  # fmt: skip
        value += _quadrature(late, begin, float(end))
    exponent = (2 - N) * log_alpha
    if exponent + math.log(value) > math.log(np.finfo(float).max):
        raise InputError(
            f"alpha is {alpha:g}: at depth {N} the time is e^{exponent + math.log(value):.4g}, "
            "beyond the range of float64. Pass a larger alpha."
        )
    return math.exp(exponent) * value


def leading_hitting_time(target: float, level: float, /, *, depth: int, alpha: float) -> float:
    r"""Return the leading order of :func:`hitting_time` as :math:`\alpha \to 0`.

    .. math:: \frac{\alpha^{2-N}}{N(N-2)\,s} \quad (N \ge 3), \qquad
        \frac1{4s} \ln \frac{b\,s}{\alpha^2 (s - b)} \quad (N = 2).

    For N = 2 the error tends to 0; for N >= 3 the ratio tends to 1.

    Parameters
    ----------
    target, level, depth, alpha
        As for :func:`hitting_time`; for N >= 3 the level does not matter.

    Examples
    --------
    >>> round(leading_hitting_time(1.0, 0.9, depth=3, alpha=1e-3), 6)
    333.333333
    >>> round(hitting_time(1.0, 0.9, depth=3, alpha=1e-3), 6)
    333.322429
    """
    N, alpha = check_count("depth", depth, at_least=2), check_real("alpha", alpha, above=0.0)
    s, b = check_real("target", target), check_real("level", level)
    if s == 0 or not 0 < b / s < 1:
        raise InputError(
            f"level is {b:g} and target {s:g}; pass a level between 0 and the target, both "
            "excluded."
        )
    stated = _leading(Integer(N), alpha=Float(alpha), target=Float(abs(s)), level=Float(abs(b)))
    return float(stated)


def window(
    *,
    depth: int,
    alpha: float,
    signal: tuple[float, float] = (1.0, 0.9),
    noise: tuple[float, float] = (0.05, 0.01),
) -> Window:
    """Return the window between learning a signal and fitting noise.

    Parameters
    ----------
    depth
        N >= 2.
    alpha
        Start of u and v, positive.
    signal, noise
        Target of a coordinate, and the level at which it counts as learned.

    Returns
    -------
    Window
        With ``opens``, ``closes``, ``width`` and ``ratio``.

    Examples
    --------
    >>> [round(window(depth=N, alpha=0.1).width, 6) for N in (2, 3, 4)]
    [0.983397, 35.029056, 217.085826]
    """
    return Window(*(hitting_time(*goal, depth=depth, alpha=alpha) for goal in (signal, noise)))


# -- inside ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rest:
    """The rest s - beta at a distance of y below y_s, where beta(y_s) = s."""

    N: int
    top: float
    log_alpha: float

    def __call__(self, distance: float) -> float:
        N, top = self.N, self.top
        u_power = math.exp(N * (self.log_alpha + top))
        v_power = math.exp(N * (self.log_alpha - self._shrinkage(top)))
        # ln v(y_s - distance) - ln v(y_s), without a difference of what is nearly equal.
        if N == 2:
            grown = distance
        else:
            q = math.exp(-(N - 2) * top)
            grown = -math.log1p(-q * math.expm1((N - 2) * distance) / (2 - q)) / (N - 2)
        return -u_power * math.expm1(-N * distance) + v_power * math.expm1(N * grown)

    def beta(self, y: float) -> float:
        """Return u^N - v^N at y."""
        N = self.N
        u, v = N * (self.log_alpha + y), N * (self.log_alpha - self._shrinkage(y))
        return -math.exp(u) * math.expm1(v - u)

    def _shrinkage(self, y: float) -> float:
        return float(log_shrinkage(np.asarray(y), self.N))


def _quadrature(f: Callable[[float], float], start: float, end: float) -> float:
    value, error, *trouble = quad(
        f, start, end, epsabs=0.0, epsrel=_RELATIVE, limit=400, full_output=1
    )
    if len(trouble) > 1 and not error <= 1e-11 * value:
        raise InputError(
            f"the quadrature of the hitting time ends with a relative error of "
            f"{error / value:.1g}; move the level away from the target."
        )
    return float(value)
