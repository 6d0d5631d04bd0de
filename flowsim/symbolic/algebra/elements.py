"""Elements of the ring, with the arithmetic and the functions that NumPy asks of objects."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportCallIssue=false
# pyright: reportIndexIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportOptionalMemberAccess=false
# pyright: reportReturnType=false
from __future__ import annotations

import math
import numbers
from collections.abc import Callable
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import sympy
from sympy.polys.rings import PolyElement

from flowsim._errors import InputError
from flowsim.symbolic.algebra import functions

if TYPE_CHECKING:
    from flowsim.symbolic.algebra.tower import Tower

__all__ = ["Element", "exact"]

# Exponents and constants arrive as floats; 1/3 is meant by 0.3333333333333333.
LARGEST_DENOMINATOR = 64


def exact(number: Any) -> Fraction | None:
    """A number as a fraction; a float as the simple fraction or short decimal it stands for.

    Examples
    --------
    >>> print(exact(1 / 3), exact(0.35), exact(np.int64(2)), exact(sympy.Float("0.1", 40)))
    1/3 7/20 2 1/10
    >>> exact(float("nan")) is None
    True
    """
    if isinstance(number, (sympy.Integer, sympy.Rational)):
        return Fraction(int(number.p), int(number.q))
    if isinstance(number, (numbers.Rational, np.integer)):
        return Fraction(int(number.numerator), int(number.denominator))
    if isinstance(number, sympy.Float) and float(number) != number:  # it has more digits
        return Fraction(str(number))
    if isinstance(number, numbers.Real) and math.isfinite(number):
        near = Fraction(float(number)).limit_denominator(LARGEST_DENOMINATOR)
        return near if float(near) == float(number) else Fraction(repr(float(number)))
    return None


class Element:
    """An element of the ring, with the arithmetic and the functions that NumPy asks of objects.

    Attributes
    ----------
    tower : Tower
        The ring that it belongs to.
    poly : PolyElement
        Its polynomial.
    """

    __slots__ = ("poly", "tower")

    def __init__(self, tower: Tower, poly: PolyElement) -> None:
        self.tower = tower
        self.poly = poly

    def __add__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: a + b)

    def __radd__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: b + a)

    def __sub__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: a - b)

    def __rsub__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: b - a)

    def __mul__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: a * b)

    def __rmul__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: b * a)

    def __truediv__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: functions.quotient(self.tower, a, b))

    def __rtruediv__(self, other: Any) -> Element:
        return self._with(other, lambda a, b: functions.quotient(self.tower, b, a))

    def __pow__(self, exponent: Any) -> Element:
        power = exact(exponent)
        if power is None:
            raise InputError(f"an exponent is {exponent!r}; pass an integer or a fraction.")
        return Element(self.tower, functions.power(self.tower, self.poly, power))

    def __neg__(self) -> Element:
        return Element(self.tower, -self.poly)

    def __pos__(self) -> Element:
        return self

    def __abs__(self) -> Element:
        return Element(self.tower, functions.absolute(self.tower, self.poly))

    def conjugate(self) -> Element:
        """The element itself: everything is real."""
        return self

    def sqrt(self) -> Element:
        """The square root."""
        return self ** Fraction(1, 2)

    def exp(self) -> Element:
        """The exponential."""
        return Element(self.tower, functions.exp(self.tower, self.poly))

    def log(self) -> Element:
        """The natural logarithm."""
        return Element(self.tower, functions.log(self.tower, self.poly))

    def tanh(self) -> Element:
        """The hyperbolic tangent."""
        return Element(self.tower, functions.odd(self.tower, self.poly, "tanh"))

    def sin(self) -> Element:
        """The sine."""
        return Element(self.tower, functions.odd(self.tower, self.poly, "sin"))

    def cos(self) -> Element:
        """The cosine."""
        return Element(self.tower, functions.cos(self.tower, self.poly))

    def __repr__(self) -> str:
        return f"Element({self.poly})"

    def _with(self, other: Any, operation: Callable[[Any, Any], PolyElement]) -> Element:
        tower = self.tower
        if isinstance(other, np.ndarray) or (other := tower.element(other)) is NotImplemented:
            return NotImplemented
        result = operation(tower.lift(self.poly), tower.lift(other.poly))
        return Element(tower, tower.reduce(tower.lift(result)))
