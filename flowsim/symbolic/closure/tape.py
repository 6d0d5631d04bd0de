"""Scalar expressions as a list of array operations: a total, explicit map from SymPy's nodes.

The same tape runs on NumPy and on JAX. A node that is not in the table raises and names itself.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import sympy

from flowsim._errors import LoweringError

__all__ = ["Tape"]

Operation = Callable[..., Any]

_FUNCTIONS: dict[type, str] = {
    sympy.exp: "exp",
    sympy.log: "log",
    sympy.sin: "sin",
    sympy.cos: "cos",
    sympy.tan: "tan",
    sympy.sinh: "sinh",
    sympy.cosh: "cosh",
    sympy.tanh: "tanh",
    sympy.asinh: "arcsinh",
    sympy.atan: "arctan",
    sympy.Abs: "abs",
    sympy.sign: "sign",
}


@dataclass(frozen=True)
class Tape:
    """Expressions compiled for evaluation.

    Attributes
    ----------
    inputs : int
        How many values the tape is run on.
    steps : tuple
        One operation each: a node's name, its parameter, and the places of its operands. Places
        are counted from the inputs on.
    outputs : tuple of int
        The places of the expressions' values.
    """

    inputs: int
    steps: tuple[tuple[str, Any, tuple[int, ...]], ...]
    outputs: tuple[int, ...]

    @classmethod
    def of(cls, expressions: Sequence[sympy.Expr], symbols: Sequence[sympy.Expr]) -> Tape:
        """Compile expressions in these symbols.

        Parameters
        ----------
        expressions : sequence of sympy.Expr
            Real scalars.
        symbols : sequence of sympy.Expr
            Symbols and indexed symbols, in the order in which values will be given.

        Raises
        ------
        LoweringError
            If an expression holds a symbol without a value, or a node without a numeric reading.
        """
        places: dict[sympy.Expr, int] = {s: i for i, s in enumerate(symbols)}
        steps: list[tuple[str, Any, tuple[int, ...]]] = []

        def place(e: sympy.Expr) -> int:
            if e not in places:
                step = _step(e, place)
                places[e] = len(symbols) + len(steps)
                steps.append(step)
            return places[e]

        outputs = tuple(place(sympy.S(0) + e) for e in expressions)
        return cls(len(symbols), tuple(steps), outputs)

    def __call__(self, xp: Any, values: Sequence[Any]) -> list[Any]:
        """The values of the expressions, by the operations of ``xp``: NumPy or JAX's NumPy."""
        known = list(values)
        for kind, parameter, operands in self.steps:
            known.append(_OPERATIONS[kind](xp, parameter, [known[i] for i in operands]))
        return [known[i] for i in self.outputs]


def _step(e: sympy.Expr, place: Callable[[sympy.Expr], int]) -> tuple[str, Any, tuple[int, ...]]:
    if e.is_Number or e in (sympy.pi, sympy.E):
        if not (e.is_real and e.is_finite):
            raise LoweringError(f"the expression holds the constant {e}, not a real number.")
        return "number", float(e), ()
    if isinstance(e, sympy.Add | sympy.Mul):
        kind = "add" if isinstance(e, sympy.Add) else "multiply"
        return kind, None, tuple(place(a) for a in e.args)
    if isinstance(e, sympy.Pow):
        exponent = e.exp
        if exponent.is_Integer:
            return "integer power", int(exponent), (place(e.base),)
        if exponent == sympy.Rational(1, 2):
            return "sqrt", None, (place(e.base),)
        if exponent.is_Rational:
            return "power", float(exponent), (place(e.base),)
    for node, name in _FUNCTIONS.items():
        if isinstance(e, node):
            return "function", name, (place(e.args[0]),)
    if e.is_Symbol or isinstance(e, sympy.Indexed):
        raise LoweringError(f"the expression holds the symbol {e}, which has no value.")
    known = ", ".join(["Add", "Mul", "Pow", *(node.__name__ for node in _FUNCTIONS)])
    raise LoweringError(
        f"no array code is known for {type(e).__name__}, in {e}. Nodes that can be evaluated are "
        f"{known}."
    )


def _integer_power(xp: Any, n: int, x: Any) -> Any:
    if n < 0:
        return 1.0 / _integer_power(xp, -n, x)
    result, square = None, x
    while n:
        if n & 1:
            result = square if result is None else result * square
        n >>= 1
        if n:
            square = square * square
    return 1.0 if result is None else result


_OPERATIONS: dict[str, Operation] = {
    "number": lambda xp, c, _: c,
    "add": lambda xp, _, args: functools.reduce(operator.add, args),
    "multiply": lambda xp, _, args: functools.reduce(operator.mul, args),
    "integer power": lambda xp, n, args: _integer_power(xp, n, args[0]),
    "sqrt": lambda xp, _, args: xp.sqrt(args[0]),
    "power": lambda xp, p, args: args[0] ** p,
    "function": lambda xp, name, args: getattr(xp, name)(args[0]),
}
