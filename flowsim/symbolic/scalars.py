"""Scalar coefficients in a normal form: sums of products of powers, each base once.

SymPy leaves ``x**a * x**b`` apart when the exponents are symbolic, and its ``simplify`` is slow and
may give up silently.  Here a coefficient is expanded, the powers of every base are gathered, and
their exponents are brought to one fraction by ``cancel``.
"""

from __future__ import annotations

from collections import defaultdict

from sympy import Add, Expr, Integer, Mul, Pow, S, cancel, expand

__all__ = ["is_zero", "normal"]


def normal(scalar: Expr) -> Expr:
    r"""Return the normal form of a scalar.

    Notes
    -----
    Gathering :math:`x^a x^{-a}` to 1 presumes x != 0.  The laws use it only where both sides
    extend continuously to x = 0.
    """
    if scalar.is_Atom:
        return scalar
    expanded = expand(scalar, power_exp=False, power_base=False)
    return Add(*(_gather(term) for term in Add.make_args(expanded)))


def is_zero(scalar: Expr) -> bool:
    """Decide whether a scalar vanishes identically, by its normal form over one denominator."""
    form = normal(scalar)
    if form == 0 or not form.has(Add):
        # A product of powers vanishes only where it is written as 0.
        return form == 0
    return normal(cancel(form)) == 0


def _gather(product: Expr) -> Expr:
    exponents: dict[Expr, Expr] = defaultdict(lambda: S.Zero)
    number: Expr = Integer(1)
    for factor in Mul.make_args(product):
        if factor.is_Number:
            number *= factor
        else:
            base, exponent = factor.as_base_exp()
            exponents[base] += exponent
    return Mul(number, *(Pow(base, cancel(e)) for base, e in exponents.items()))
