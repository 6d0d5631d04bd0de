r"""Calculus of vector fields over whole columns: gradients and Jacobians of symbolic size.

A field is a sum of scalars times columns, :math:`F = \sum c_i\, x_i`; the scalars are built of
norms :math:`\|x\|` and inner products :math:`\langle x, y\rangle`, the columns are letters of which
the Jacobian is known, such as w itself (the identity) and :math:`g = \nabla L(w)` (the Hessian H).
Then

.. math:: J_F = \sum_i c_i\, J_{x_i} + x_i\, (\nabla c_i)^\top

by the product rule, and :math:`\nabla c` by the chain rule from
:math:`\nabla\|x\| = J_x^\top x / \|x\|` and
:math:`\nabla\langle x, y\rangle = J_x^\top y + J_y^\top x`.
"""

# SymPy is not typed, and what is inferred of its constructors is wrong.
# pyright: reportArgumentType=false
# pyright: reportAttributeAccessIssue=false
# pyright: reportOperatorIssue=false
# pyright: reportReturnType=false
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sympy import Expr, MatrixExpr, S, Symbol, Transpose, diff
from sympy.printing.printer import Printer

from flowsim.symbolic.nodes import FrobeniusNorm
from flowsim.symbolic.rewriting import Rule, rewrite_fully
from flowsim.symbolic.words import MatrixPolynomial

__all__ = ["Calculus", "Inner", "contract"]


class Inner(Expr):
    r"""The inner product :math:`\langle x, y\rangle` of two columns, a scalar."""

    is_commutative = True
    is_extended_real = True

    def __new__(cls, x: MatrixExpr, y: MatrixExpr) -> Expr:  # type: ignore[misc]
        """Make the node; the order of the two does not matter, and <x, x> is a squared norm."""
        if x == y:
            return FrobeniusNorm(x) ** 2
        return super().__new__(cls, *sorted((x, y), key=lambda a: a.sort_key()))

    def _sympystr(self, printer: Printer) -> str:
        x, y = (printer.doprint(a) for a in self.args)
        return f"<{x}, {y}>"

    def _latex(self, printer: Printer, exp: str | None = None) -> str:
        x, y = (printer.doprint(a) for a in self.args)
        shown = rf"\langle {x}, {y} \rangle"
        return shown if exp is None else rf"{shown}^{{{exp}}}"


@dataclass(frozen=True)
class Calculus:
    """What is known of the letters.

    Attributes
    ----------
    jacobians : mapping
        From a column to its Jacobian, a matrix polynomial.
    symmetric : tuple of sympy.MatrixExpr
        Matrices that equal their transposes, such as a Hessian.
    gradients : mapping
        From a scalar that is only named, such as the loss, to its gradient, a column.
    """

    jacobians: Mapping[MatrixExpr, MatrixPolynomial]
    symmetric: tuple[MatrixExpr, ...] = ()
    gradients: Mapping[Symbol, MatrixPolynomial] = field(default_factory=dict)

    def normal(self, matrix: MatrixPolynomial) -> MatrixPolynomial:
        """Write symmetric letters without transposes."""
        return rewrite_fully(matrix, [Rule.of(Transpose(H), H) for H in self.symmetric])

    def gradient(self, scalar: Expr, size: Expr) -> MatrixPolynomial:
        """Return the gradient of a scalar, a column of ``size`` entries."""
        total = MatrixPolynomial((size, S.One))
        atoms = scalar.atoms(FrobeniusNorm, Inner, *map(type, self.gradients))
        for atom in sorted(atoms, key=lambda a: a.sort_key()):
            if isinstance(atom, FrobeniusNorm):
                x = atom.matrix
                part = self.jacobians[x].T @ MatrixPolynomial.of(x) * (1 / atom)
            elif isinstance(atom, Inner):
                x, y = atom.args
                part = self.jacobians[x].T @ MatrixPolynomial.of(y)
                part = part + self.jacobians[y].T @ MatrixPolynomial.of(x)
            elif atom in self.gradients:
                part = self.gradients[atom]
            else:
                continue
            stand_in = Symbol("_atom", positive=True)
            slope = diff(scalar.xreplace({atom: stand_in}), stand_in).xreplace({stand_in: atom})
            total = total + part * slope
        return self.normal(total)

    def jacobian(self, vector_field: MatrixPolynomial) -> MatrixPolynomial:
        """Return the Jacobian of a field, by the product rule.

        Raises
        ------
        ValueError
            If the field is no sum of scalars times letters.
        """
        size = vector_field.shape[0]
        total = MatrixPolynomial((size, size))
        for (word, over), c in vector_field.terms.items():
            if over is not None or len(word) != 1 or word[0].node not in self.jacobians:
                raise ValueError(f"no Jacobian is known of {vector_field}")
            column = MatrixPolynomial.of(word[0].expr)
            total = total + self.jacobians[word[0].node] * c
            total = total + column @ self.gradient(c, size).T
        return self.normal(total)


def contract(x: MatrixExpr, vector_field: MatrixPolynomial) -> Expr:
    r"""Return the scalar :math:`\langle x, F\rangle` of a letter and a field of letters."""
    total = S.Zero
    for (word, over), c in vector_field.terms.items():
        if over is not None or len(word) != 1:
            raise ValueError(f"{vector_field} is no sum of scalars times letters")
        total += c * Inner(x, word[0].node)
    return total
