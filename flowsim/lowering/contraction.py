"""From indexed expressions to NumPy code.

Each term is contracted two factors at a time, in the order that ``numpy.einsum_path`` finds for the
sizes at hand; a pair is a product entry by entry, a matrix product, or an einsum, whichever it is.
What several terms share is computed once. The source is kept with the compiled function.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sympy import Expr, Rational

from flowsim._errors import LoweringError
from flowsim.lowering.printer import CompiledLaw
from flowsim.symbolic.indexed import GRADIENT, Tensor
from flowsim.symbolic.indexed.tensor import (
    Apply,
    Body,
    Constant,
    Delta,
    Factor,
    Index,
    Term,
    Variable,
    size_of,
)

__all__ = ["compile_tensors"]

_FUNCTIONS = {"exp": "np.exp", "log": "np.log", "tanh": "np.tanh", "sin": "np.sin", "cos": "np.cos"}


def compile_tensors(tensors: Sequence[Tensor], names: Sequence[str]) -> CompiledLaw:
    """Compile expressions in the factors and the loss's gradient.

    Parameters
    ----------
    tensors
        The expressions, of sizes that are numbers.
    names
        Names of the factors, in the order in which the function is to take them.

    Returns
    -------
    CompiledLaw
        Its function takes the tuple of factors and the gradient, and returns a tuple of arrays.

    Raises
    ------
    LoweringError
        If a size or a coefficient is a symbol without a value.
    """
    writer = _Writer({name: f"x{i}" for i, name in enumerate(names)} | {GRADIENT: "G"})
    results = [writer.tensor(tensor) for tensor in tensors]
    unpacked = ", ".join(f"x{i}" for i in range(len(names))) + (" " if len(names) > 1 else ", ")
    body = [f"    {unpacked}= factors", *(f"    {line}" for line in writer.lines)]
    body.append(f"    return ({', '.join(results)},)")
    source = "def law(factors, G):\n" + "\n".join(body) + "\n"
    scope: dict[str, Any] = {"np": np, **writer.constants}
    exec(compile(source, "<flowsim law>", "exec"), scope)  # source of our own making
    function: Callable[..., Any] = scope["law"]
    return CompiledLaw(function, source)


@dataclass(frozen=True)
class _Operand:
    """An array in the code, and the letters of its axes."""

    code: str
    letters: str


class _Writer:
    """Writes assignments, each value once."""

    def __init__(self, names: Mapping[str, str]) -> None:
        self.names = names
        self.lines: list[str] = []
        self.known: dict[str, str] = {}
        self.constants: dict[str, np.ndarray] = {}

    def assign(self, code: str) -> str:
        """The name of a value, computed where it was not before."""
        if code.isidentifier():
            return code
        if code not in self.known:
            name = f"t{len(self.known)}"
            self.known[code] = name
            self.lines.append(f"{name} = {code}")
        return self.known[code]

    def tensor(self, tensor: Tensor) -> str:
        """The name of the array that an expression is."""
        shape = tuple(_whole(size_of(axis)) for axis in tensor.axes)
        free = [i for axis in tensor.axes for i in axis]
        if not tensor.terms:
            return self.assign(f"np.zeros({shape})")
        parts = [self.term(term, number, free) for term, number in tensor.terms.items()]
        total = " + ".join(parts).replace("+ -", "- ")
        if any(len(axis) != 1 for axis in tensor.axes):
            total = f"np.reshape({total}, {shape})"
        return self.assign(total)

    def term(self, term: Term, number: Expr, free: list[Index]) -> str:
        """The code of a term."""
        letters = dict(zip([*free, *sorted(term.sums)], string.ascii_letters, strict=False))
        if len(free) + len(term.sums) > len(string.ascii_letters):
            raise LoweringError("a term has more than 52 indices, which NumPy has no letters for.")
        sizes = {letters[i]: _whole(i.size) for i in letters}
        operands = [self.factor(factor, letters) for factor in term.factors]
        output = "".join(letters[i] for i in free)
        used = set("".join(o.letters for o in operands))
        for letter in output:
            if letter not in used:
                operands.append(_Operand(f"np.ones({sizes[letter]})", letter))
        scale = _number(number)
        if not operands:
            return scale
        code = self.contracted(operands, output, sizes)
        return code if number == 1 else f"-{code}" if number == -1 else f"{scale} * {code}"

    def factor(self, factor: Factor, letters: Mapping[Index, str]) -> _Operand:
        """The code of a factor."""
        atom = factor.atom
        subscript = "".join(letters[i] for slot in factor.slots for i in slot)
        if isinstance(atom, Delta):
            n = _whole(size_of(factor.slots[0]))
            code = f"np.eye({n})"
        elif isinstance(atom, Variable):
            code = self.names[atom.name]
        elif isinstance(atom, Constant):
            name = f"c{len(self.constants)}"
            found = [k for k, v in self.constants.items() if np.array_equal(v, atom.value)]
            code = found[0] if found else name
            self.constants.setdefault(code, atom.value)
        elif isinstance(atom, Body):
            code = self.tensor(atom.inner)
        elif isinstance(atom, Apply):
            code = self.assign(f"{_FUNCTIONS[atom.name]}({self.tensor(atom.inner)})")
        else:
            raise LoweringError(f"{type(atom).__name__} has no NumPy code.")
        if any(len(slot) != 1 for slot in factor.slots):
            shape = tuple(_whole(i.size) for slot in factor.slots for i in slot)
            code = self.assign(f"{code}.reshape({shape})")
        if factor.power != 1 and not isinstance(atom, Delta):
            code = self.assign(_power(code, factor.power))
        if len(set(subscript)) < len(subscript):
            once = "".join(dict.fromkeys(subscript))
            code = self.assign(f"np.einsum({f'{subscript}->{once}'!r}, {code})")
            subscript = once
        return _Operand(code, subscript)

    def contracted(self, operands: list[_Operand], output: str, sizes: dict[str, int]) -> str:
        """Contract operands two at a time."""
        operands = [o for o in operands if not o.letters] + [o for o in operands if o.letters]
        scalars = [o.code for o in operands if not o.letters]
        arrays = [o for o in operands if o.letters]
        front = " * ".join(scalars)
        if not arrays:
            return front
        path: list[tuple[int, ...]] = [(0,)]
        if len(arrays) > 1:
            subscripts = ",".join(o.letters for o in arrays) + "->" + output
            empty = [np.broadcast_to(0.0, [sizes[x] for x in o.letters]) for o in arrays]
            path = np.einsum_path(subscripts, *empty, optimize="greedy")[0][1:]
        for step in path:
            chosen = [arrays[i] for i in step]
            arrays = [o for i, o in enumerate(arrays) if i not in step]
            kept = set(output) | set("".join(o.letters for o in arrays))
            while len(chosen) > 1:
                a, b = chosen[:2]
                beyond = kept | set("".join(o.letters for o in chosen[2:]))
                chosen = [self.pair(a, b, beyond), *chosen[2:]]
            arrays.append(self.alone(chosen[0], kept))
        (last,) = arrays
        code = last.code
        if len(output) == 2 and last.letters == output[::-1]:
            code = self.assign(f"{code}.T")
        elif last.letters != output:
            code = self.assign(f"np.einsum({f'{last.letters}->{output}'!r}, {code})")
        return f"{front} * {code}" if front else code

    def alone(self, a: _Operand, kept: set[str]) -> _Operand:
        """Sum one operand over what nobody else has."""
        out = "".join(x for x in a.letters if x in kept)
        if out == a.letters:
            return a
        return _Operand(self.assign(f"np.einsum({f'{a.letters}->{out}'!r}, {a.code})"), out)

    def pair(self, a: _Operand, b: _Operand, kept: set[str]) -> _Operand:
        """Contract two operands."""
        if a.letters == b.letters and set(a.letters) <= kept:
            return _Operand(self.assign(f"{a.code} * {b.code}"), a.letters)
        shared = [x for x in a.letters if x in b.letters]
        if len(shared) == 1 and shared[0] not in kept:
            (s,) = shared
            outer = set(a.letters + b.letters) - {s}
            if outer <= kept and len(a.letters) <= 2 and len(b.letters) <= 2:
                left = a.code if a.letters.endswith(s) else f"{a.code}.T"
                right = b.code if b.letters.startswith(s) else f"{b.code}.T"
                out = a.letters.replace(s, "") + b.letters.replace(s, "")
                return _Operand(self.assign(f"{left} @ {right}"), out)
        out = "".join(x for x in dict.fromkeys(a.letters + b.letters) if x in kept)
        spec = f"{a.letters},{b.letters}->{out}"
        return _Operand(self.assign(f"np.einsum({spec!r}, {a.code}, {b.code}, optimize=True)"), out)


def _power(code: str, power: Expr) -> str:
    if power == Rational(1, 2):
        return f"np.sqrt({code})"
    if power == -1:
        return f"1.0 / {code}"
    return f"{code} ** {_number(power)}"


def _number(value: Expr) -> str:
    """A coefficient or an exponent as code."""
    if not value.is_number or value.is_extended_real is False:
        raise LoweringError(
            f"the law holds the symbol {value}, which has no value; derive it with numbers."
        )
    return f"{int(value)}" if value.is_Integer else repr(float(value))


def _whole(size: Any) -> int:
    if not isinstance(size, (int, np.integer)) and not getattr(size, "is_Integer", False):
        raise LoweringError(f"the size {size} is a symbol; derive the law at sizes that are known.")
    return int(size)
