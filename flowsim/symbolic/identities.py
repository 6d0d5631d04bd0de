r"""Decide whether an expression that is written out vanishes identically.

The expression is brought over one denominator and its numerator to a polynomial.  Roots are
generators of their own with their relation, :math:`s^m = B` for the powers :math:`B^{k/m}`; powers
with a symbolic exponent and other functions are generators without one.  A numerator that reduces
to 0 vanishes.  One that does not is held against exact points: where it is not 0 there, that point
is the witness.  What neither shows to vanish nor to be different from 0 (it takes a relation
between functions that is not known here) is said to be undecided, never guessed.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import lcm

from sympy import (
    Add,
    Dummy,
    E,
    Expr,
    Float,
    Function,
    Integer,
    Mul,
    Poly,
    Pow,
    Rational,
    Symbol,
    exp,
    expand,
    log,
    prime,
    together,
)

from flowsim._errors import FlowsimError
from flowsim.symbolic import printing
from flowsim.symbolic.algebra.elements import exact as exact_number

__all__ = ["UndecidedError", "exact", "numerators", "vanishes", "witness"]

#: Nonzero values are told from rounding at this size, in evaluations of 40 digits.
_NONZERO = Float("1e-25", 40)
#: Roots above this one are polynomials of too high a degree.
_LARGEST_ROOT = 1000


class UndecidedError(FlowsimError):
    """An expression could neither be shown to vanish nor shown not to."""


def exact(expr: Expr) -> Expr:
    """Return the expression with each floating-point number as the fraction that it stands for.

    Examples
    --------
    >>> from sympy.abc import x
    >>> exact(0.1 * x)
    x/10
    """
    return expr.xreplace({x: Rational(exact_number(x)) for x in expr.atoms(Float)})


def vanishes(expr: Expr) -> bool:
    """Decide whether an expression is 0 for all values of its symbols.

    Raises
    ------
    UndecidedError
        If that takes a relation between functions that is not known here.

    Examples
    --------
    >>> from sympy.abc import x, y
    >>> from sympy import sqrt
    >>> vanishes(x / sqrt(x**2 + y) - x * sqrt(x**2 + y) / (x**2 + y))
    True
    """
    (numerator,) = numerators([expr])
    if numerator == 0:
        return True
    if witness([expr], expr.free_symbols) is not None:
        return False
    raise UndecidedError(
        f"it is not decided whether {printing.text(expr)} vanishes identically: it does at every "
        "point that was tried, and no relation that is known here shows it."
    )


def witness(exprs: Iterable[Expr], symbols: Iterable[Symbol]) -> dict[Symbol, Rational] | None:
    """Return an exact point at which one of the expressions is not 0, or None if none is found."""
    exprs = list(exprs)
    for point in _points(sorted(symbols, key=lambda s: s.name)):
        for expr in exprs:
            value = expr.xreplace(point).evalf(40)
            if value.is_number and value.is_finite and abs(value) > _NONZERO:
                return point
    return None


def _points(symbols: Sequence[Symbol]) -> Iterator[dict[Symbol, Rational]]:
    """A few points in general position: first all positive, then with signs."""
    for round_ in range(6):
        yield {
            s: Rational(prime(i + 2 + round_), prime(i + 5 + 2 * round_))
            * (-1 if round_ >= 2 and s.is_positive is None and (i + round_) % 2 else 1)
            for i, s in enumerate(symbols)
        }


@dataclass
class _Generators:
    """Symbols that stand for roots, powers and functions, the same for the same."""

    known: dict[Expr, Symbol] = field(default_factory=dict)
    denominators: dict[Expr, int] = field(default_factory=dict)
    roots: dict[Symbol, tuple[Expr, int]] = field(default_factory=dict)

    def named(self, expr: Expr) -> Symbol:
        return self.known.setdefault(expr, Dummy("s", commutative=True))


def numerators(exprs: Sequence[Expr]) -> list[Expr]:
    """Return the numerator of each expression as a reduced polynomial in common generators."""
    made = _Generators()
    exprs = [exact(expr) for expr in exprs]
    for expr in exprs:
        _collect(expr, made)
    written = [_written(expr, made) for expr in exprs]
    return [_reduced(together(expr).as_numer_denom()[0], made) for expr in written]


def _power(expr: Expr) -> tuple[Expr, list[tuple[Rational, Expr]]] | None:
    """A power that is no integer one, as its base and the (coefficient, symbol) of its exponent."""
    if isinstance(expr, exp):
        base, exponent = E, expr.args[0]
    elif isinstance(expr, Pow) and not isinstance(expr.exp, Integer):
        base, exponent = expr.base, expr.exp
    else:
        return None
    parts = [term.as_coeff_Mul() for term in Add.make_args(expand(exponent))]
    if any(not isinstance(c, Rational) for c, _ in parts):
        return None
    return base, parts


def _collect(expr: Expr, made: _Generators) -> None:
    """Note the common denominators of the exponents of each base."""
    power = _power(expr)
    if power is not None:
        base, parts = power
        for c, term in parts:
            key = Pow(base, term, evaluate=False)
            made.denominators[key] = lcm(made.denominators.get(key, 1), int(c.q))
            if made.denominators[key] > _LARGEST_ROOT:
                raise UndecidedError(
                    f"the exponents of {printing.text(base)} have the common denominator "
                    f"{made.denominators[key]}; beyond {_LARGEST_ROOT} nothing is decided. Write "
                    "exponents, and the depth, as simple fractions."
                )
    for arg in expr.args:
        _collect(arg, made)


def _written(expr: Expr, made: _Generators) -> Expr:
    """Write an expression as a rational function of the generators."""
    if expr.is_Atom:
        return expr
    power = _power(expr)
    if power is not None:
        base, parts = power
        factors = []
        inner = _written(base, made)
        for c, term in parts:
            m = made.denominators[Pow(base, term, evaluate=False)]
            if m == 1 and term == 1:
                factors.append(inner ** int(c))
                continue
            s = made.named(Pow(base, term / m, evaluate=False))
            if term == 1:
                made.roots[s] = (inner, m)
            factors.append(s ** int(c * m))
        return Mul(*factors)
    if isinstance(expr, Add | Mul) or (isinstance(expr, Pow) and isinstance(expr.exp, Integer)):
        return expr.func(*(_written(arg, made) for arg in expr.args))
    if isinstance(expr, log):
        power = _power(expr.args[0])
        if power is not None and len(power[1]) == 1 and power[1][0][1] == 1:
            # log B^c = c log B for -1 < c <= 1, whatever the sign of B.
            base, ((c, _),) = power
            if -1 < c <= 1:
                return c * _written(log(base, evaluate=False), made)
    # A function of its own: the same where its arguments are written the same.
    if isinstance(expr, Function):
        arguments = [together(_written(arg, made)) for arg in expr.args]
        return made.named(expr.func(*(expand(a) for a in arguments), evaluate=False))
    return made.named(expr)


def _reduced(numerator: Expr, made: _Generators) -> Expr:
    """Replace s**m by what s is a root of, until no such power is left."""
    while True:
        numerator = expand(numerator)
        for s, (base, m) in made.roots.items():
            if numerator.has(s) and Poly(numerator, s).degree() >= m:
                terms = Poly(numerator, s).terms()
                new = Add(*(c * s ** (k % m) * base ** (k // m) for (k,), c in terms))
                numerator = together(new).as_numer_denom()[0]
                break
        else:
            return numerator
