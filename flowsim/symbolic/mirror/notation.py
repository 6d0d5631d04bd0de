"""Names for the left-hand sides of steps, in plain text and in LaTeX."""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sympy import Add, Expr
from sympy.core.expr import AtomicExpr
from sympy.printing.printer import Printer

from flowsim.symbolic import printing

__all__ = ["Named", "combination", "entry_latex"]


class Named(AtomicExpr):
    """A scalar, or a basis vector, that is known by its name alone."""

    is_commutative = True

    def __new__(cls, text: str, latex: str) -> Named:
        """Make the name; it is its own plain text."""
        name = super().__new__(cls)
        name.shown = (text, latex)
        return name

    __slots__ = ("shown",)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return self.shown

    def _hashable_content(self) -> tuple[Any, ...]:
        return self.shown

    def sort_key(self, order: Any = None) -> Any:
        """Sorted by the text, after all that is not a name."""
        return (99, 0, "Named"), (1, (self.shown[0],)), 1, 1

    def _sympystr(self, printer: Printer) -> str:
        return self.shown[0]

    def _latex(self, printer: Printer) -> str:
        return self.shown[1]


def combination(components: Sequence[Expr], basis: Sequence[Expr]) -> Expr:
    """The sum of components times basis vectors."""
    return Add(*(c * e for c, e in zip(components, basis, strict=True) if c != 0))


def entry_latex(name: str) -> str:
    """``u[0]`` as u_{0}: entries count from 0, as in code."""
    head, _, index = name.partition("[")
    return printing.entry(head, index.rstrip("]").replace(" ", ""))
