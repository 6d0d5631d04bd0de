r"""Matrix laws as a paper prints them, and as a terminal can show them.

Both printers are SymPy's with the few differences that the laws need: :math:`^\top` for
transposes, :math:`\nabla L(W)` for the gradient, products and sums in the order in which they were
written, and small letters :math:`w` for a parameter that is a single row.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportAttributeAccessIssue=false
# pyright: reportIncompatibleMethodOverride=false
from __future__ import annotations

from itertools import pairwise

from sympy import Add, Basic, Indexed, MatAdd, MatMul, MatrixSymbol, Transpose
from sympy.printing.latex import LatexPrinter
from sympy.printing.str import StrPrinter

__all__ = ["entry", "latex", "text"]


def latex(expr: Basic, *, vectors: bool = False) -> str:
    r"""Return LaTeX source of a law.

    Parameters
    ----------
    expr : sympy.Basic
        Any expression of the laws' grammar.
    vectors : bool
        Print W as :math:`w` and norms without index: for laws of a single output.
    """
    printer = _Latex()
    printer.vectors = vectors
    return printer.doprint(expr)


def text(expr: Basic) -> str:
    """Return a law as one line of plain text."""
    return _Text().doprint(expr)


def entry(name: str, indices: str) -> str:
    r"""LaTeX of an entry of an array, ``w1`` at ``0`` as :math:`(w_1)_0`; no index, no entry."""
    letters = name.rstrip("0123456789")
    digits = name[len(letters) :]
    array = f"{letters}_{{{digits}}}" if digits and len(letters) == 1 else name
    if not indices:
        return array
    return f"({array})_{{{indices}}}" if digits else f"{array}_{{{indices}}}"


class _Written:
    """Products and sums in the order written, the sign in front."""

    brackets = "({})"

    def _print_MatMul(self, expr: MatMul) -> str:
        number, matrices = expr.as_coeff_matrices()
        sign = "-" if not number.is_Add and number.could_extract_minus_sign() else ""
        number = -number if sign else number
        factors = ([] if number == 1 else [number]) + list(matrices)
        shown = [self._factor(f) for f in factors]
        for i, (left, right) in enumerate(pairwise(factors)):
            shown[i] += self._between(left, right)
        return sign + "".join(shown)

    def _between(self, left: Basic, right: Basic) -> str:
        return "*"

    def _print_MatAdd(self, expr: MatAdd) -> str:
        first, *others = (self.doprint(arg) for arg in expr.args)
        signed = (f" - {t[1:].lstrip()}" if t.startswith("-") else f" + {t}" for t in others)
        return first + "".join(signed)

    def _factor(self, factor: Basic) -> str:
        shown = self.doprint(factor)
        if isinstance(factor, Add) and shown.startswith("-"):
            shown = self._print_Add(factor, order="rev-lex")  # 1 - x rather than -x + 1
        return self.brackets.format(shown) if isinstance(factor, Add | MatAdd) else shown


class _Text(_Written, StrPrinter):
    def _print_Transpose(self, expr: Transpose) -> str:
        inner = self.doprint(expr.arg)
        return f"{inner}^T" if _atomic(expr.arg) else f"({inner})^T"

    def _print_Identity(self, expr: Basic) -> str:
        return "I"

    def _print_KroneckerProduct(self, expr: Basic) -> str:
        return " kron ".join(self.doprint(arg) for arg in expr.args)

    def _print_Sum(self, expr: Basic) -> str:
        term, bounds = expr.args
        j, lower, upper = (self.doprint(part) for part in bounds.args)
        return f"sum_{{{j}={lower}..{upper}}} {self.doprint(term)}"

    def _print_Pow(self, expr: Basic, rational: bool = False) -> str:
        return super()._print_Pow(expr, rational=rational).replace("**", "^")


class _Latex(_Written, LatexPrinter):
    brackets = r"\left({}\right)"
    vectors = False

    def _between(self, left: Basic, right: Basic) -> str:
        # Gram matrices and chains by juxtaposition, a thin space between the larger parts.
        return " " if all(_is_letter(m) for m in (left, right)) else r" \, "

    def _print_Transpose(self, expr: Transpose) -> str:
        inner = self.doprint(expr.arg)
        if not _atomic(expr.arg):
            inner = rf"\left({inner}\right)"
        return rf"{inner}^{{\top}}"

    def _print_Identity(self, expr: Basic) -> str:
        return "I"

    def _print_Indexed(self, expr: Indexed) -> str:
        indices = ",".join(self.doprint(i) for i in expr.indices)
        return (
            entry(str(expr.base.label), indices)
            if expr.base.label.is_Symbol
            else (super()._print_Indexed(expr))
        )

    def _print_MatrixSymbol(self, expr: MatrixSymbol, style: str = "plain") -> str:
        w = "w" if self.vectors else "W"
        named = {"W": w, "W+": f"{w}^{{+}}", "G": rf"\nabla L({w})"}
        return named.get(expr.name) or super()._print_MatrixSymbol(expr)

    def _print_KroneckerProduct(self, expr: Basic) -> str:
        return r" \otimes ".join(self.doprint(arg) for arg in expr.args)


def _atomic(matrix: Basic) -> bool:
    """Whether a matrix is printed as one symbol, so that a power of it needs no brackets."""
    return isinstance(matrix, MatrixSymbol) or type(matrix).__name__ in {"Layer", "Chain"}


def _is_letter(factor: Basic) -> bool:
    inner = factor.arg if isinstance(factor, Transpose) else factor
    named_gradient = isinstance(inner, MatrixSymbol) and inner.name == "G"
    return not named_gradient and (_atomic(inner) or inner.is_Symbol or inner.is_Mul)
