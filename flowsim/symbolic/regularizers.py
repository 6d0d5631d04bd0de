r"""Verdicts on losses that are written out: whether there is a regularizer, and which potential.

The mathematics is in :mod:`flowsim.symbolic.integrability`; here it is asked of a loss of a few
variables, and decided exactly.  A verdict that there is no potential comes with the point at which
the Jacobian is not symmetric; one that there is, with the potential, whose gradient was checked.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportOptionalOperand=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from numbers import Integral
from numbers import Rational as NumbersRational

from sympy import (
    Abs,
    Add,
    Dummy,
    EmptySet,
    Expr,
    FiniteSet,
    Float,
    Heaviside,
    I,
    Integer,
    Interval,
    Matrix,
    Max,
    Min,
    Piecewise,
    Poly,
    Rational,
    S,
    Set,
    Symbol,
    cancel,
    diff,
    log,
    nan,
    oo,
    sign,
    sqrt,
    zoo,
)
from sympy import Integral as IntegralOf

from flowsim._errors import InputError
from flowsim.symbolic import printing, scalars
from flowsim.symbolic.algebra.elements import exact as exact_number
from flowsim.symbolic.certify import CertificationError
from flowsim.symbolic.identities import UndecidedError, exact, numerators, vanishes, witness

__all__ = ["GradientVerdict", "is_gradient_field"]


@dataclass(frozen=True)
class GradientVerdict:
    r"""Whether the balanced single-output field of a loss is a gradient field.

    True in a condition where it is one.

    Attributes
    ----------
    holds : bool
        Whether it is; for a symbolic depth, whether it is at every depth.
    depths : sympy.Set
        The real depths N > 1 at which it is (depth 1 is plain gradient flow, and always is).
    antisymmetric : sympy.Matrix
        :math:`J_F - J_F^\top`, of shape (d, d), as its closed form states it.
    potential : sympy.Expr or None
        A function whose gradient is F, where there is one and the depth is known.
    radial, homogeneous : sympy.Expr or None
        The two parts of the loss, :math:`L = R(\|w\|) + h`, where the field is a gradient.
    witness : dict or None
        Where it is not: an exact point at which the antisymmetric part is not 0.
    reason : str
        The verdict in a sentence.
    """

    holds: bool
    depths: Set
    antisymmetric: Matrix
    potential: Expr | None
    radial: Expr | None
    homogeneous: Expr | None
    witness: dict[Symbol, Expr] | None
    reason: str

    def __bool__(self) -> bool:
        return self.holds

    def __str__(self) -> str:
        return self.reason


def is_gradient_field(
    loss: Expr, depth: Expr | float, variables: Sequence[Symbol] | None = None
) -> GradientVerdict:
    r"""Decide whether a balanced network of one output descends some potential on a loss.

    The field is :math:`F = \|w\|^{2-2/N}(g + (N-1)\mathrm{Pr}_w g)`, the flow :math:`\dot w = -F`,
    away from the origin. For N > 1 and d > 1 it is a gradient exactly if
    :math:`L = R(\|w\|) + h` with h positively homogeneous of degree 2/N, and then of

    .. math:: \|w\|^{2 - \frac2N} h(w) + N \int^{\|w\|} \rho^{2 - \frac2N} R'(\rho)\, d\rho .

    Parameters
    ----------
    loss : sympy.Expr
        L of the variables, twice differentiable away from the origin. Other symbols are parameters
        in general position. Floating-point numbers count as the decimals that they are printed as.
    depth : int, Rational, float or sympy.Symbol
        N, any real number of at least 1, or a symbol: then ``depths`` of the answer is what counts.
    variables : sequence of sympy.Symbol, optional
        The entries of w; all symbols of the loss, in the order of their names, if not given.

    Returns
    -------
    GradientVerdict

    Raises
    ------
    InputError
        If an argument is none of those.
    flowsim.symbolic.identities.UndecidedError
        If the loss holds functions between which a relation would have to be known.

    References
    ----------
    S. Arora, N. Cohen, E. Hazan, 2018, arXiv:1802.06509, Theorem 2, which shows that there is no
    potential where N > 2 and the gradient at the origin is not 0. That N = 2 is a true exception,
    and for which losses, is not in the paper.

    Examples
    --------
    >>> from sympy.abc import x, y
    >>> linear = 3 * x - y
    >>> print(is_gradient_field(linear, 3))
    no gradient at N = 3: L is not radial plus homogeneous of degree 2/3; at N = 2 alone it is.
    >>> is_gradient_field(linear, 2).potential
    (3*x - y)*sqrt(x**2 + y**2)
    """
    loss, N, ws = _checked(loss, depth, variables)
    norm = sqrt(sum(w**2 for w in ws))
    g = [diff(loss, w) for w in ws]
    euler = sum(w * p for w, p in zip(ws, g, strict=True))
    q = [diff(euler, w) - 2 * p / N for w, p in zip(ws, g, strict=True)]
    antisymmetric = Matrix(
        len(ws),
        len(ws),
        lambda i, j: -(N - 1) * norm ** (-2 / N) * (q[i] * ws[j] - ws[i] * q[j]),
    )
    depths, radial = _conservative_depths(g, [diff(euler, w) for w in ws], ws)
    holds = N == 1 or radial or depths.contains(N) == S.true
    if not holds:
        return _refused(antisymmetric, depths, N, loss.free_symbols | set(ws))
    if N == 1:
        reason = "at N = 1 the flow is that of L itself."
        return GradientVerdict(True, depths, antisymmetric, loss, S.Zero, loss, None, reason)
    R, h, potential = _potential(loss, euler, ws, N, radial)
    _check_potential(potential, g, euler, ws, N)
    at = "every depth N" if N.is_Symbol else f"N = {printing.text(N)}"
    reason = f"a gradient at {at}: of {printing.text(potential)}"
    return GradientVerdict(True, depths, antisymmetric, potential, R, h, None, reason)


# -- the decision ----------------------------------------------------------------------------------


def _conservative_depths(g: list[Expr], s: list[Expr], ws: list[Symbol]) -> tuple[Set, bool]:
    r"""Return the depths N > 1 for which q = s - (2/N) g is parallel to w, and if L is radial.

    s is the gradient of <w, grad L>. The condition is linear in m = 2/N.
    """
    everywhere, nowhere = Interval.open(1, oo), EmptySet
    pairs = [(i, j) for i in range(len(ws)) for j in range(i)]
    if not pairs:
        return everywhere, True
    across = [g[i] * ws[j] - g[j] * ws[i] for i, j in pairs]
    if all(vanishes(b) for b in across):
        return everywhere, True
    m = Dummy("m")
    parameters = set().union(*(e.free_symbols for e in g)) - set(ws)
    candidates: set[Expr] | None = None
    for (i, j), b in zip(pairs, across, strict=True):
        (numerator,) = numerators([s[i] * ws[j] - s[j] * ws[i] - m * b])
        if numerator == 0:
            continue
        symbols = sorted(numerator.free_symbols - parameters - {m}, key=lambda x: x.sort_key())
        conditions = Poly(numerator, *symbols).coeffs() if symbols else [numerator]
        for condition in conditions:
            slope = condition.coeff(m, 1)
            roots = set() if slope == 0 else {cancel(-condition.coeff(m, 0) / slope)}
            candidates = roots if candidates is None else candidates & roots
        if not candidates:
            break
    if not candidates:
        return nowhere, False
    (degree,) = candidates
    if degree == 0 or (degree.is_number and not 0 < degree < 2):
        return nowhere, False
    return FiniteSet(2 / degree), False


def _potential(
    loss: Expr, euler: Expr, ws: list[Symbol], N: Expr, radial: bool
) -> tuple[Expr | None, Expr | None, Expr]:
    """Take the loss apart, and integrate its radial part."""
    rho = Symbol("rho", positive=True)
    norm = sqrt(sum(w**2 for w in ws))
    m = 2 / N
    if len(ws) == 1:
        # On a line every field is a gradient, and the two sides of 0 need not be alike.
        (w,) = ws
        # Real only where w is, so that powers of squares are written alike.
        s = Symbol("s", **{"real": True} if w.is_real else {})
        slope = N * (s**2) ** (1 - 1 / N) * diff(loss, w).subs(w, s)
        return None, None, IntegralOf(slope, (s, 0, w))
    # A point of the unit sphere with rational entries, none of them 0 where there are two.
    u = [Rational(3, 5), Rational(4, 5)] + [S.Zero] * (len(ws) - 2)
    ray = {w: rho * x for w, x in zip(ws, u, strict=True)}
    if radial:
        h, R = S.Zero, loss.subs(ray)
    elif (split := _by_terms(loss, ws, m)) is not None:
        h, R = split[0], split[1].subs(ray)
    else:
        # rho R' - m R = <w, grad L> - m L, which depends on rho alone.
        source = scalars.normal((euler - m * loss).subs(ray))
        R = scalars.normal(rho**m * _primitive(scalars.normal(source * rho ** (-m - 1)), rho))
        h = scalars.normal(loss - R.subs(rho, norm))
    around = N * _primitive(scalars.normal(rho ** (2 - m) * diff(R, rho)), rho)
    potential = norm ** (2 - m) * h + around.subs(rho, norm)
    return R.subs(rho, norm), h, potential


def _by_terms(loss: Expr, ws: list[Symbol], m: Expr) -> tuple[Expr, Expr] | None:
    """Sort the terms of a loss into homogeneous and radial ones, or None if one is neither."""
    h = radial = S.Zero
    for term in Add.make_args(loss):
        g = [diff(term, w) for w in ws]
        if vanishes(sum(w * p for w, p in zip(ws, g, strict=True)) - m * term):
            h += term
        elif all(vanishes(p * ws[0] - g[0] * w) for w, p in zip(ws[1:], g[1:], strict=True)):
            radial += term
        else:
            return None
    return h, radial


def _primitive(integrand: Expr, rho: Symbol) -> Expr:
    """Integrate powers; what is no power stays an integral, from 1."""
    total = S.Zero
    for term in Add.make_args(integrand):
        c, rest = term.as_independent(rho, as_Add=False)
        base, p = rest.as_base_exp()
        if rest == 1:
            total += c * rho
        elif base == rho and not p.has(rho):
            above = cancel(p + 1)
            total += c * (log(rho) if above == 0 else rho**above / above)
        else:
            # One name a level, so that equal integrals are the same and none shadows another.
            s = Symbol(f"s{len(rest.atoms(IntegralOf))}", positive=True)
            total += c * IntegralOf(rest.subs(rho, s), (s, 1, rho))
    return total


def _check_potential(
    potential: Expr, g: list[Expr], euler: Expr, ws: list[Symbol], N: Expr
) -> None:
    """Hold the gradient of the potential against the field."""
    square = sum(w**2 for w in ws)
    for w, p in zip(ws, g, strict=True):
        field = square ** (1 - 1 / N) * (p + (N - 1) * w * euler / square)
        slope = diff(potential, w)
        if not vanishes(slope - field):
            raise CertificationError("potential", field, slope, field - slope)


def _refused(antisymmetric: Matrix, depths: Set, N: Expr, symbols: set[Symbol]) -> GradientVerdict:
    """The verdict that there is no potential, with a point that proves it."""
    d = antisymmetric.rows
    entries = [antisymmetric[i, j] for i in range(d) for j in range(i)]
    tried = [Integer(3), Integer(2)] if N.is_Symbol else [N]
    for depth in tried:
        point = witness([entry.subs(N, depth) for entry in entries], symbols)
        if point is not None:
            break
    else:
        raise UndecidedError(
            "it is not decided whether the Jacobian is symmetric: it is at every point that was "
            "tried, and no relation that is known here shows it."
        )
    if N.is_Symbol:
        point = {N: depth, **point}
    degree = printing.text(cancel(2 / N))
    depth = "every depth" if N.is_Symbol else f"N = {printing.text(N)}"
    text = f"no gradient at {depth}: L is not radial plus homogeneous of degree {degree}"
    if isinstance(depths, FiniteSet):
        (only,) = depths
        text = f"{text}; at N = {printing.text(only)} alone it is."
    else:
        text = f"{text}, nor of the degree that any other depth above 1 asks for."
    return GradientVerdict(False, depths, antisymmetric, None, None, None, point, text)


def _check_smooth(loss: Expr) -> None:
    """Refuse what has no second derivative, or is not real."""
    kinked = [
        part
        for part in loss.atoms(Abs, Max, Min, Piecewise, Heaviside, sign)
        if not (isinstance(part, Abs) and part.args[0].is_real)
    ]
    if kinked:
        raise InputError(
            f"loss holds {printing.text(kinked[0])}, which has a kink; pass a loss that is twice "
            "differentiable away from the origin, such as one branch of it."
        )
    if loss.has(I, nan, oo, zoo, -oo):
        raise InputError(f"loss is {printing.text(loss)}; pass a real and finite expression.")


def _checked(
    loss: Expr, depth: Expr | float, variables: Sequence[Symbol] | None
) -> tuple[Expr, Expr, list[Symbol]]:
    if not isinstance(loss, Expr):
        raise InputError(
            f"loss is {type(loss).__name__}; pass a SymPy expression of the entries of w. For a "
            "numeric field use flowsim.instruments.antisymmetric_part."
        )
    loss = exact(loss)
    _check_smooth(loss)
    ws = sorted(loss.free_symbols, key=lambda s: s.sort_key()) if variables is None else variables
    ws = list(ws)
    if not ws or not all(isinstance(w, Symbol) for w in ws) or len(set(ws)) < len(ws):
        raise InputError(
            f"variables is {variables!r}, the loss {printing.text(loss)}; pass the entries of w as "
            "a list of different SymPy symbols."
        )
    if isinstance(depth, Symbol):
        if depth in ws:
            raise InputError(f"depth is {depth}, which is also one of the variables.")
        return loss, depth, ws
    if isinstance(depth, bool) or not isinstance(depth, Integral | NumbersRational | float | Expr):
        raise InputError(f"depth is {depth!r}, where a real number of at least 1 is needed.")
    if isinstance(depth, float) and not isfinite(depth):
        raise InputError(f"depth is {depth!r}, where a finite number of at least 1 is needed.")
    N = exact(depth) if isinstance(depth, Expr) else Rational(exact_number(depth))
    if isinstance(N, Float) or not (N.is_number and N.is_real and N >= 1):
        raise InputError(f"depth is {depth!r}, where a real number of at least 1 is needed.")
    return loss, Integer(N) if N.is_Integer else N, ws
