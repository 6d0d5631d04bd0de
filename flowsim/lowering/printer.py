"""From symbols to source: one total, explicit map from nodes to array code.

Every node that a law may hold has one method in :class:`ArrayPrinter`; a node without one raises
and names itself. The source is the same for NumPy and JAX, which differ only in the kernels that it
is given, and no name from an expression reaches it: arguments are ``factors``, ``W`` and ``G``.
Each distinct subexpression is computed once.
"""

# SymPy is untyped.
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportReturnType=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import sympy as sp

from flowsim._errors import LoweringError
from flowsim.lowering.kernels import KERNELS
from flowsim.symbolic import Chain, FrobeniusNorm, Layer, MatrixSum, Projection, PSDPower


class CompiledLaw(NamedTuple):
    """A lowered expression: ``function(factors, W, G)`` and the source that it was made from."""

    function: Callable[..., tuple[Any, ...]]
    source: str


@functools.cache
def compile_law(
    expressions: tuple[sp.Basic, ...], widths: tuple[int, ...], backend: str
) -> CompiledLaw:
    """Compile matrix expressions to a function of the factors, W and G that returns their values.

    Parameters
    ----------
    expressions
        Matrix or scalar expressions in Layer, Chain, W and G.
    widths
        The sizes n_0, ..., n_N.
    backend
        ``"numpy"`` or ``"jax"``.

    Raises
    ------
    LoweringError
        If an expression holds a node or a symbol that has no numeric reading; it is named.
    """
    source = generate_source(expressions, widths)
    kernels = KERNELS[backend]
    namespace: dict[str, Any] = {
        "xp": kernels.xp,
        "sandwich": kernels.sandwich,
        "norm": kernels.norm,
        "project": kernels.project,
        "__builtins__": {},
    }
    exec(compile(source, "<flowsim law>", "exec"), namespace)  # source of our own printer only
    return CompiledLaw(namespace["law"], source)


def generate_source(expressions: tuple[sp.Basic, ...], widths: tuple[int, ...]) -> str:
    """Return the source of ``law(factors, W, G)`` that computes the expressions."""
    printer = ArrayPrinter(widths)
    names = [printer.name(expression) for expression in expressions]
    body = "\n".join(f"    {line}" for line in printer.lines)
    returned = ", ".join(names)
    return f"def law(factors, W, G):\n{body}\n    return ({returned},)\n"


class ArrayPrinter:
    """Prints expressions as assignments, one for each distinct subexpression."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        self.widths = widths
        self.lines: list[str] = []
        self._names: dict[sp.Basic, str] = {}
        self._table: dict[type, Callable[[Any], str]] = {
            Layer: lambda e: f"factors[{self._integer(e.index, e) - 1}]",
            Chain: self._chain,
            sp.MatMul: self._matmul,
            sp.MatAdd: self._matadd,
            sp.Transpose: lambda e: (
                self.name(e.arg) if _is_identity(e) else f"{self.name(e.arg)}.T"
            ),
            sp.Identity: lambda e: f"xp.eye({self._size(e.rows, e)})",
            sp.ZeroMatrix: lambda e: (
                f"xp.zeros(({self._size(e.rows, e)}, {self._size(e.cols, e)}))"
            ),
            sp.MatrixSymbol: self._matrix_symbol,
            sp.Indexed: lambda e: str(self._size(e, e)),
            MatrixSum: self._matrix_sum,
            FrobeniusNorm: lambda e: f"norm({self.name(e.matrix)})",
            Projection: lambda e: f"project({self.name(e.args[0])}, {self.name(e.args[1])})",
            PSDPower: lambda e: self._matmul(sp.MatMul(e, evaluate=False)),
            sp.Add: lambda e: " + ".join(self.name(a) for a in e.args),
            sp.Mul: lambda e: " * ".join(self.name(a) for a in e.args),
            sp.Pow: lambda e: f"{self.name(e.base)} ** {self.name(e.exp)}",
        }

    def name(self, e: sp.Basic) -> str:
        """Return the name of a variable that holds ``e``, or its literal."""
        if e.is_Number:
            return self._number(e)
        if e not in self._names:
            code = self._print(e)
            if not (code.isidentifier() or code.isdigit()):
                variable = f"x{len(self._names)}"
                self.lines.append(f"{variable} = {code}")
                code = variable
            self._names[e] = code
        return self._names[e]

    def _print(self, e: sp.Basic) -> str:
        for kind in type(e).__mro__:
            if kind in self._table:
                return self._table[kind](e)
        if isinstance(e, sp.Symbol):
            raise LoweringError(
                f"the law holds the symbol {e}, which has no value. Give it a number: derive(net, "
                "weight_decay=0.1) for a decay, law.at(3) for a depth."
            )
        raise LoweringError(
            f"no array code is known for {type(e).__name__}, in {e}. Nodes that can be lowered "
            f"are {', '.join(sorted(kind.__name__ for kind in self._table))}."
        )

    @staticmethod
    def _number(e: sp.Basic) -> str:
        if not e.is_real or e.is_finite is False:
            raise LoweringError(f"the law holds the constant {e}, which is not a real number.")
        if isinstance(e, sp.Integer):
            return f"({int(e)})" if e < 0 else str(int(e))
        if isinstance(e, sp.Rational):
            return f"({int(e.p)}/{int(e.q)})"
        return f"({float(e)!r})"

    def _chain(self, e: Chain) -> str:
        # Peeled from one end, so that all layers share prefixes and suffixes of the product.
        first, last = self._integer(e.first, e), self._integer(e.last, e)
        if last == 1:
            return f"{self.name(Layer(first))} @ {self.name(Chain(first - 1, 1))}"
        return f"{self.name(Chain(first, last + 1))} @ {self.name(Layer(last))}"

    def _matrix_symbol(self, e: sp.MatrixSymbol) -> str:
        if e.name not in ("W", "G"):
            raise LoweringError(f"the law holds the matrix {e.name}; only W and G have values.")
        return e.name

    def _matrix_sum(self, e: MatrixSum) -> str:
        unrolled = e.doit()
        if isinstance(unrolled, MatrixSum):
            raise LoweringError(
                f"the sum over {e.index} from {e.lower} to {e.upper} has a symbolic length. "
                "Specialise the law to a depth first, such as law.at(3)."
            )
        return self._print(unrolled)

    def _matmul(self, e: sp.MatMul) -> str:
        spectral = _as_sandwich(e)
        if spectral is not None:
            return self._sandwich([spectral])
        scalar, matrices = e.as_coeff_matrices()
        factors = [A for A in matrices if not _is_identity(A)] or [sp.Identity(e.rows)]
        names = [(self.name(A), A.shape) for A in factors]
        product = self._association(names)
        return product if scalar == 1 else f"{self.name(scalar)} * ({product})"

    def _association(self, operands: list[tuple[str, tuple[Any, Any]]]) -> str:
        """Multiply from the end that costs fewer operations."""
        sizes = [self._size(operands[0][1][0], None)]
        sizes += [self._size(shape[1], None) for _, shape in operands]
        from_left = sum(sizes[0] * sizes[i] * sizes[i + 1] for i in range(1, len(operands)))
        from_right = sum(sizes[i - 1] * sizes[i] * sizes[-1] for i in range(1, len(operands)))
        texts = [name for name, _ in operands]
        if from_left <= from_right:
            return functools.reduce(lambda done, nxt: f"({done} @ {nxt})", texts)
        return functools.reduce(lambda done, nxt: f"({nxt} @ {done})", reversed(texts))

    def _matadd(self, e: sp.MatAdd) -> str:
        spectral = {term: _as_sandwich(term) for term in e.args}
        parts = [self.name(term) for term in e.args if spectral[term] is None]
        by_middle: dict[tuple[sp.Basic, sp.Basic], list[_Sandwich]] = {}
        for sandwich in spectral.values():
            if sandwich is not None:
                by_middle.setdefault((sandwich.W, sandwich.middle), []).append(sandwich)
        parts += [self._sandwich(group) for group in by_middle.values()]
        return " + ".join(parts)

    def _sandwich(self, group: list[_Sandwich]) -> str:
        terms = "".join(
            f"({self.name(s.coefficient)}, {self.name(s.left)}, {self.name(s.right)}), "
            for s in group
        )
        return f"sandwich({self.name(group[0].W)}, {self.name(group[0].middle)}, ({terms}))"

    def _integer(self, value: sp.Expr, inside: sp.Basic) -> int:
        if not isinstance(value, sp.Integer):
            raise LoweringError(
                f"{inside} has the symbolic index {value}. Specialise the law to a depth first, "
                "such as law.at(3)."
            )
        return int(value)

    def _size(self, n: sp.Expr, inside: sp.Basic | None) -> int:
        if isinstance(n, sp.Integer):
            return int(n)
        if isinstance(n, sp.Indexed):
            return self.widths[self._integer(n.indices[0], n)]
        raise LoweringError(f"the size {n} of {inside} is not a width of the network.")


def _is_identity(A: sp.Basic) -> bool:
    return isinstance(A.arg if isinstance(A, sp.Transpose) else A, sp.Identity)


class _Sandwich(NamedTuple):
    """coefficient * (WWᵀ)^left * middle * (WᵀW)^right."""

    coefficient: sp.Expr
    left: sp.Expr
    W: sp.MatrixExpr
    middle: sp.MatrixExpr
    right: sp.Expr


def _as_sandwich(term: sp.Basic) -> _Sandwich | None:
    """Read a product as a sandwich between powers of Gram matrices of W, if it holds any power."""
    if isinstance(term, PSDPower):
        term = sp.MatMul(term, evaluate=False)
    if not isinstance(term, sp.MatMul):
        return None
    coefficient, matrices = term.as_coeff_matrices()
    powers = [A for A in matrices if isinstance(A, PSDPower)]
    if not powers:
        return None
    left = right = sp.Integer(0)
    W = None
    if isinstance(matrices[0], PSDPower):
        W, left, matrices = _gram_left(matrices[0]), matrices[0].exponent, matrices[1:]
    if matrices and isinstance(matrices[-1], PSDPower):
        of_right = _gram_right(matrices[-1])
        right, matrices = matrices[-1].exponent, matrices[:-1]
        W = of_right if W in (None, of_right) else None
    if W is None or any(isinstance(A, PSDPower) for A in matrices) or not matrices:
        raise LoweringError(
            f"the fractional powers in {term} are lowered only as (W Wᵀ)^a · A · (Wᵀ W)^b with one "
            "W, from one singular value decomposition."
        )
    middle = matrices[0] if len(matrices) == 1 else sp.MatMul(*matrices)
    return _Sandwich(coefficient, left, W, middle, right)


def _gram_left(power: PSDPower) -> sp.MatrixExpr | None:
    """W, where the base is W Wᵀ."""
    base = power.base
    if isinstance(base, sp.MatMul) and len(base.args) == 2 and base.args[1] == base.args[0].T:
        return base.args[0]
    return None


def _gram_right(power: PSDPower) -> sp.MatrixExpr | None:
    """W, where the base is Wᵀ W."""
    base = power.base
    if isinstance(base, sp.MatMul) and len(base.args) == 2 and base.args[0] == base.args[1].T:
        return base.args[1]
    return None
